"""`EncryptionPublicKey`: the plaintext of an answer, encrypted to the caller's key."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.actions.kms.asymmetric import make
from tests.actions.kms.openssl import PADDINGS, needs_openssl, openssl
from tests.installation import Client, refused

PLAINTEXT = bytes(range(32))


@pytest.fixture
def blob(kms: Client) -> str:
    key = kms.CreateKey(Alias="symmetric").KeyId
    made: str = kms.Encrypt(KeyId=key, Plaintext=base64.b64encode(PLAINTEXT).decode()).CiphertextBlob
    return made


@needs_openssl
@pytest.mark.parametrize("algorithm", PADDINGS)
def test_rsa_to_a_key_of_openssl(kms: Client, blob: str, algorithm: str, tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(openssl("genrsa", "2048"))
    pem = openssl("rsa", "-in", str(private), "-pubout").decode()
    wrapped = kms.Decrypt(
        CiphertextBlob=blob, EncryptionPublicKey=pem, EncryptionAlgorithm=algorithm
    ).Plaintext
    opened = openssl(
        "pkeyutl", "-decrypt", "-inkey", str(private), *PADDINGS[algorithm], stdin=base64.b64decode(wrapped)
    )
    assert opened == PLAINTEXT


@needs_openssl
def test_sm2_to_a_key_of_openssl(kms: Client, blob: str, tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2"))
    pem = openssl("pkey", "-in", str(private), "-pubout").decode()
    answer = kms.Decrypt(
        CiphertextBlob=blob, EncryptionPublicKey=pem, EncryptionAlgorithm="SM2_C1C3C2_ASN1"
    ).Plaintext
    opened = openssl("pkeyutl", "-decrypt", "-inkey", str(private), stdin=base64.b64decode(answer))
    assert opened == PLAINTEXT


def test_sm2_is_the_default_in_raw_form(kms: Client, blob: str) -> None:
    """64 bytes of point without a prefix, 32 of digest, then as many as the plaintext has."""
    key = make(kms, "ASYMMETRIC_DECRYPT_SM2", "pair")
    pem = kms.GetPublicKey(KeyId=key).PublicKeyPem
    for algorithm in ({}, {"EncryptionAlgorithm": "SM2"}):
        raw = base64.b64decode(
            kms.Decrypt(CiphertextBlob=blob, EncryptionPublicKey=pem, **algorithm).Plaintext
        )
        assert len(raw) == 96 + len(PLAINTEXT)
        assert (
            base64.b64decode(kms.AsymmetricSm2Decrypt(KeyId=key, Ciphertext=_der(raw)).Plaintext) == PLAINTEXT
        )


def _der(raw: bytes) -> str:
    """The DER form of a raw SM2 ciphertext, written down by hand."""

    def integer(value: bytes) -> bytes:
        value = value.lstrip(b"\x00")
        value = b"\x00" + value if not value or value[0] & 0x80 else value
        return b"\x02" + bytes([len(value)]) + value

    octets = b"".join(b"\x04" + bytes([len(part)]) + part for part in (raw[64:96], raw[96:]))
    inner = integer(raw[:32]) + integer(raw[32:64]) + octets
    return base64.b64encode(b"\x30\x81" + bytes([len(inner)]) + inner).decode()


@pytest.mark.parametrize(
    "given",
    [
        {"EncryptionPublicKey": "x"},
        {"EncryptionPublicKey": "PEM", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
        {"EncryptionPublicKey": "PEM", "EncryptionAlgorithm": "ROT13"},
    ],
)
def test_a_key_that_does_not_fit_is_refused(kms: Client, blob: str, given: dict[str, Any]) -> None:
    pem = kms.GetPublicKey(KeyId=make(kms, "ASYMMETRIC_DECRYPT_SM2", "pair")).PublicKeyPem
    given = {**given, "EncryptionPublicKey": given["EncryptionPublicKey"].replace("PEM", pem)}
    with refused("FailedOperation.EncryptionError"):
        kms.Decrypt(CiphertextBlob=blob, **given)


def test_a_secret_can_be_wrapped_as_well(kms: Client, ssm: Client) -> None:
    ssm.CreateSecret(SecretName="s", VersionId="v", SecretString="a secret")
    key = make(kms, "ASYMMETRIC_DECRYPT_SM2", "pair")
    answer = ssm.GetSecretValue(
        SecretName="s",
        VersionId="v",
        EncryptionPublicKey=kms.GetPublicKey(KeyId=key).PublicKeyPem,
        EncryptionAlgorithm="SM2_C1C3C2_ASN1",
    )
    opened = kms.AsymmetricSm2Decrypt(KeyId=key, Ciphertext=answer.SecretString)
    assert base64.b64decode(opened.Plaintext) == b"a secret"
