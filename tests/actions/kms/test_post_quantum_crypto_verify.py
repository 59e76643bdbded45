import pytest

from tests.actions.kms.asymmetric import TEXT, b64, make, other_byte
from tests.installation import Client, refused

USAGE = "PQC_SIGN_VERIFY_ML_DSA_87"


def test_a_bad_signature_is_an_answer(kms: Client) -> None:
    key = make(kms, USAGE)
    good = kms.PostQuantumCryptoSign(KeyId=key, Message=TEXT).Signature
    call = {"KeyId": key, "Message": TEXT}
    assert kms.PostQuantumCryptoVerify(**call, SignatureValue=good).SignatureValid is True
    for bad in (other_byte(good, 0), other_byte(good, 4626), b64(b"short")):
        assert kms.PostQuantumCryptoVerify(**call, SignatureValue=bad).SignatureValid is False
    other = make(kms, USAGE, "other")
    assert kms.PostQuantumCryptoVerify(KeyId=other, Message=TEXT, SignatureValue=good).SignatureValid is False
    answer = kms.PostQuantumCryptoVerify(KeyId=key, Message=b64(b"other"), SignatureValue=good)
    assert answer.SignatureValid is False


def test_refusals(kms: Client) -> None:
    call = {"KeyId": make(kms, USAGE), "Message": TEXT, "SignatureValue": "AA=="}
    with refused("InvalidParameterValue"):
        kms.PostQuantumCryptoVerify(**{**call, "SignatureValue": "x"})
    with refused("InvalidParameter"):
        kms.PostQuantumCryptoVerify(**{**call, "Message": b64(bytes(4097))})
    with refused("InvalidParameter"):
        kms.PostQuantumCryptoVerify(**{**call, "KeyId": make(kms, "ASYMMETRIC_SIGN_VERIFY_ECC", "e")})
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.PostQuantumCryptoVerify(**{**call, "KeyId": "x"})
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.PostQuantumCryptoVerify(**{**call, "KeyId": "00000000-0000-1000-8000-000000000000"})


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "Archived"])
def test_enabled_keys_only(kms: Client, state: str) -> None:
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.PostQuantumCryptoVerify(KeyId=make(kms, USAGE, state=state), Message=TEXT, SignatureValue="AA==")
