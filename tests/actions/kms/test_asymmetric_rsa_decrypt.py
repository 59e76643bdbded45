from pathlib import Path

import pytest

from tests.actions.kms.asymmetric import MESSAGE, TEXT, b64, make, other_byte
from tests.actions.kms.openssl import PADDINGS, encrypt_to, needs_openssl
from tests.installation import FIPS, Client, Installation, refused

USAGE = "ASYMMETRIC_DECRYPT_RSA_2048"


@needs_openssl
@pytest.mark.parametrize("algorithm", PADDINGS)
@pytest.mark.parametrize("region", ["ap-guangzhou", FIPS])
def test_opens_what_openssl_encrypted(
    installation: Installation, region: str, algorithm: str, tmp_path: Path
) -> None:
    kms = installation.client("kms", region)
    key = make(kms, USAGE)
    pem = kms.GetPublicKey(KeyId=key).PublicKeyPem
    ciphertext = encrypt_to(pem, MESSAGE, tmp_path, *PADDINGS[algorithm])
    answer = kms.AsymmetricRsaDecrypt(KeyId=key, Ciphertext=ciphertext, Algorithm=algorithm)
    assert (answer.KeyId, answer.Plaintext) == (key, TEXT)


@needs_openssl
@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_every_bad_ciphertext_has_one_outcome(kms: Client, algorithm: str, tmp_path: Path) -> None:
    key = make(kms, USAGE)
    good = encrypt_to(kms.GetPublicKey(KeyId=key).PublicKeyPem, MESSAGE, tmp_path, *PADDINGS[algorithm])
    messages = set()
    for bad in (
        other_byte(good, 0),
        other_byte(good, 255),
        b64(bytes(256)),
        b64(b"\xff" * 256),
        b64(b"short"),
    ):
        with refused("FailedOperation.DecryptError") as caught:
            kms.AsymmetricRsaDecrypt(KeyId=key, Ciphertext=bad, Algorithm=algorithm)
        messages.add(caught.value.message)
    assert len(messages) == 1


@needs_openssl
def test_pkcs1_v15_padding_is_no_oracle(kms: Client, tmp_path: Path) -> None:
    """Implicit rejection: a bad padding decrypts to something else, always the same, and never to an error."""
    key = make(kms, USAGE)
    pem = kms.GetPublicKey(KeyId=key).PublicKeyPem
    good = encrypt_to(pem, MESSAGE, tmp_path, *PADDINGS["RSAES_PKCS1_V1_5"])
    bad = other_byte(good, 255)
    found = {
        kms.AsymmetricRsaDecrypt(KeyId=key, Ciphertext=bad, Algorithm="RSAES_PKCS1_V1_5").Plaintext
        for _ in range(3)
    }
    assert len(found) == 1
    assert TEXT not in found


def test_refusals(kms: Client) -> None:
    key = make(kms, USAGE)
    call = {"KeyId": key, "Ciphertext": b64(bytes(256)), "Algorithm": "RSAES_OAEP_SHA_256"}
    with refused("InvalidParameter"):
        kms.AsymmetricRsaDecrypt(**{**call, "Algorithm": "SM2"})
    with refused("FailedOperation.DecryptError"):
        kms.AsymmetricRsaDecrypt(**{**call, "Ciphertext": "not base64"})
    with refused("InvalidParameterValue.InvalidKeyUsage"):
        kms.AsymmetricRsaDecrypt(**{**call, "KeyId": make(kms, "ASYMMETRIC_SIGN_VERIFY_RSA_2048", "s")})
    with refused("InvalidParameterValue.InvalidKeyUsage"):
        kms.AsymmetricRsaDecrypt(**{**call, "KeyId": make(kms, "ENCRYPT_DECRYPT", "e")})
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.AsymmetricRsaDecrypt(**{**call, "KeyId": "x"})
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.AsymmetricRsaDecrypt(**{**call, "KeyId": "00000000-0000-1000-8000-000000000000"})


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "Archived"])
def test_enabled_keys_only(kms: Client, state: str) -> None:
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.AsymmetricRsaDecrypt(
            KeyId=make(kms, USAGE, state=state), Ciphertext=b64(bytes(256)), Algorithm="RSAES_OAEP_SHA_1"
        )
