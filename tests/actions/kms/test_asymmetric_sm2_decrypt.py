import base64
from pathlib import Path

import pytest

from tests.actions.kms.asymmetric import MESSAGE, TEXT, b64, make, other_byte
from tests.actions.kms.openssl import encrypt_to, needs_openssl
from tests.installation import FIPS, Client, Installation, refused

USAGE = "ASYMMETRIC_DECRYPT_SM2"


@needs_openssl
def test_opens_what_openssl_encrypted(kms: Client, tmp_path: Path) -> None:
    key = make(kms, USAGE)
    ciphertext = encrypt_to(kms.GetPublicKey(KeyId=key).PublicKeyPem, MESSAGE, tmp_path)
    answer = kms.AsymmetricSm2Decrypt(KeyId=key, Ciphertext=ciphertext)
    assert (answer.KeyId, answer.Plaintext) == (key, TEXT)


@needs_openssl
def test_every_changed_byte_has_one_outcome(kms: Client, tmp_path: Path) -> None:
    key = make(kms, USAGE)
    good = encrypt_to(kms.GetPublicKey(KeyId=key).PublicKeyPem, MESSAGE, tmp_path)
    messages = set()
    for at in range(len(base64.b64decode(good))):
        with refused("FailedOperation.DecryptError") as caught:
            kms.AsymmetricSm2Decrypt(KeyId=key, Ciphertext=other_byte(good, at))
        messages.add(caught.value.message)
    assert len(messages) == 1


@needs_openssl
def test_at_most_256_bytes(kms: Client, tmp_path: Path) -> None:
    key = make(kms, USAGE)
    pem = kms.GetPublicKey(KeyId=key).PublicKeyPem
    sizes = {n: encrypt_to(pem, bytes([7]) * n, tmp_path) for n in (140, 160)}
    assert len(base64.b64decode(sizes[140])) <= 256 < len(base64.b64decode(sizes[160]))
    assert (
        base64.b64decode(kms.AsymmetricSm2Decrypt(KeyId=key, Ciphertext=sizes[140]).Plaintext)
        == bytes([7]) * 140
    )
    with refused("FailedOperation.DecryptError"):
        kms.AsymmetricSm2Decrypt(KeyId=key, Ciphertext=sizes[160])


def test_refusals(kms: Client, installation: Installation) -> None:
    call = {"KeyId": make(kms, USAGE), "Ciphertext": b64(b"\x30\x00")}
    with refused("FailedOperation.DecryptError"):
        kms.AsymmetricSm2Decrypt(**call)
    with refused("InvalidParameterValue.InvalidKeyUsage"):
        kms.AsymmetricSm2Decrypt(**{**call, "KeyId": make(kms, "ASYMMETRIC_SIGN_VERIFY_SM2", "s")})
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.AsymmetricSm2Decrypt(**{**call, "KeyId": "x"})
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.AsymmetricSm2Decrypt(**{**call, "KeyId": "00000000-0000-1000-8000-000000000000"})
    with refused("UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion"):
        make(installation.client("kms", FIPS), USAGE)


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "Archived"])
def test_enabled_keys_only(kms: Client, state: str) -> None:
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.AsymmetricSm2Decrypt(KeyId=make(kms, USAGE, state=state), Ciphertext=b64(b"\x30\x00"))
