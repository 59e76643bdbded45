import pytest

from tests.actions.kms.asymmetric import b64, make
from tests.installation import Client, refused

USAGE = "PQC_DECRYPT_ML_KEM_1024"


@pytest.mark.parametrize("length", [1, 4096])
def test_what_is_encrypted_decrypts(kms: Client, length: int) -> None:
    key = make(kms, USAGE)
    text = b64(bytes(length))
    answer = kms.PostQuantumCryptoEncrypt(KeyId=key, PlainText=text)
    assert answer.KeyId == key
    assert answer.CiphertextBlob.isascii()
    assert kms.PostQuantumCryptoDecrypt(CiphertextBlob=answer.CiphertextBlob).PlainText == text
    assert kms.PostQuantumCryptoEncrypt(KeyId=key, PlainText=text).CiphertextBlob != answer.CiphertextBlob


@pytest.mark.parametrize(
    ("state", "code"),
    [("Disabled", "CmkDisabled"), ("PendingDelete", "CmkDisabled"), ("Archived", "CmkArchived")],
)
def test_enabled_keys_only(kms: Client, state: str, code: str) -> None:
    with refused(f"ResourceUnavailable.{code}"):
        kms.PostQuantumCryptoEncrypt(KeyId=make(kms, USAGE, state=state), PlainText="aGk=")


def test_refusals(kms: Client) -> None:
    key = make(kms, USAGE)
    for bad in (b64(bytes(4097)), "", "x"):
        with refused("InvalidParameterValue.InvalidPlaintext"):
            kms.PostQuantumCryptoEncrypt(KeyId=key, PlainText=bad)
    with refused("InvalidParameter"):
        kms.PostQuantumCryptoEncrypt(KeyId=make(kms, "ENCRYPT_DECRYPT", "e"), PlainText="aGk=")
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.PostQuantumCryptoEncrypt(KeyId="x", PlainText="aGk=")
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.PostQuantumCryptoEncrypt(KeyId="00000000-0000-1000-8000-000000000000", PlainText="aGk=")
