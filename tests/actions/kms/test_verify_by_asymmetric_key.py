import base64

import pytest

from tests.actions.kms.asymmetric import SIGNERS, TEXT, b64, make, other_byte
from tests.installation import FIPS, Client, Installation, refused


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_bad_signature_is_an_answer(kms: Client, algorithm: str) -> None:
    key = make(kms, SIGNERS[algorithm])
    good = kms.SignByAsymmetricKey(KeyId=key, Algorithm=algorithm, Message=TEXT).Signature
    call = {"KeyId": key, "Algorithm": algorithm, "Message": TEXT}
    assert kms.VerifyByAsymmetricKey(**call, SignatureValue=good).SignatureValid is True
    assert (
        kms.VerifyByAsymmetricKey(**{**call, "Message": b64(b"other")}, SignatureValue=good).SignatureValid
        is False
    )
    length = len(base64.b64decode(good))
    for at in (0, length // 2, length - 1):
        bad = other_byte(good, at)
        assert kms.VerifyByAsymmetricKey(**call, SignatureValue=bad).SignatureValid is False
    assert kms.VerifyByAsymmetricKey(**call, SignatureValue=b64(b"\x00")).SignatureValid is False


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_another_key_has_not_signed_it(kms: Client, algorithm: str) -> None:
    signature = kms.SignByAsymmetricKey(
        KeyId=make(kms, SIGNERS[algorithm]), Algorithm=algorithm, Message=TEXT
    ).Signature
    other = make(kms, SIGNERS[algorithm], "other")
    answer = kms.VerifyByAsymmetricKey(
        KeyId=other, Algorithm=algorithm, Message=TEXT, SignatureValue=signature
    )
    assert answer.SignatureValid is False


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_digest_verifies_as_a_digest(kms: Client, algorithm: str) -> None:
    call = {"KeyId": make(kms, SIGNERS[algorithm]), "Algorithm": algorithm, "Message": b64(bytes(32))}
    signature = kms.SignByAsymmetricKey(**call, MessageType="DIGEST").Signature
    assert kms.VerifyByAsymmetricKey(**call, MessageType="DIGEST", SignatureValue=signature).SignatureValid
    assert not kms.VerifyByAsymmetricKey(**call, SignatureValue=signature).SignatureValid


def test_refusals(kms: Client, installation: Installation) -> None:
    key = make(kms, "ASYMMETRIC_SIGN_VERIFY_ECC")
    call = {"KeyId": key, "Algorithm": "ECC_P256_R1", "Message": TEXT, "SignatureValue": "AA=="}
    with refused("InvalidParameterValue"):
        kms.VerifyByAsymmetricKey(**{**call, "SignatureValue": "no base64"})
    with refused("InvalidParameter"):
        kms.VerifyByAsymmetricKey(**{**call, "Algorithm": "SM2DSA"})
    with refused("InvalidParameter"):
        kms.VerifyByAsymmetricKey(**call, MessageType="DIGEST")
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.VerifyByAsymmetricKey(**{**call, "KeyId": "x"})
    with refused("ResourceUnavailable.CmkNotFound"):
        installation.client("kms", FIPS).VerifyByAsymmetricKey(**call)
    for method in (kms.DisableKey, kms.ArchiveKey):
        method(KeyId=key)
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            kms.VerifyByAsymmetricKey(**call)
