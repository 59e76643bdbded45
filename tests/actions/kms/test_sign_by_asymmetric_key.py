import base64
import hashlib
from pathlib import Path

import pytest

from tests.actions.kms.asymmetric import MESSAGE, SIGNERS, TEXT, b64, make
from tests.actions.kms.openssl import needs_openssl, verifies
from tests.installation import Client, refused

OPTIONS = {
    "SM2DSA": ("-sm3", "-sigopt", "distid:1234567812345678"),
    "ECC_P256_R1": ("-sha256",),
    "ECC_P384_R1": ("-sha384",),
    "RSA_PKCS1_SHA_256": ("-sha256",),
    # -1: the salt has the length of the digest, exactly.
    "RSA_PSS_SHA_256": ("-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"),
}
DIGESTS = {
    "ECC_P256_R1": hashlib.sha256(MESSAGE).digest(),
    "ECC_P384_R1": hashlib.sha384(MESSAGE).digest(),
    "RSA_PKCS1_SHA_256": hashlib.sha256(MESSAGE).digest(),
    "RSA_PSS_SHA_256": hashlib.sha256(MESSAGE).digest(),
}


@needs_openssl
@pytest.mark.parametrize("algorithm", SIGNERS)
def test_openssl_verifies_the_signature_of_a_message(kms: Client, algorithm: str, tmp_path: Path) -> None:
    key = make(kms, SIGNERS[algorithm])
    signature = kms.SignByAsymmetricKey(KeyId=key, Algorithm=algorithm, Message=TEXT).Signature
    pem = kms.GetPublicKey(KeyId=key).PublicKeyPem
    assert verifies(pem, signature, MESSAGE, tmp_path, *OPTIONS[algorithm])
    assert not verifies(pem, signature, MESSAGE + b".", tmp_path, *OPTIONS[algorithm])


@needs_openssl
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_a_digest_is_signed_as_the_message_it_is_of(kms: Client, algorithm: str, tmp_path: Path) -> None:
    key = make(kms, SIGNERS[algorithm])
    signature = kms.SignByAsymmetricKey(
        KeyId=key, Algorithm=algorithm, Message=b64(DIGESTS[algorithm]), MessageType="DIGEST"
    ).Signature
    assert verifies(
        kms.GetPublicKey(KeyId=key).PublicKeyPem, signature, MESSAGE, tmp_path, *OPTIONS[algorithm]
    )


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_limits(kms: Client, algorithm: str) -> None:
    key = make(kms, SIGNERS[algorithm])
    call = {"KeyId": key, "Algorithm": algorithm}
    assert kms.SignByAsymmetricKey(**call, Message=b64(bytes(1))).Signature
    assert kms.SignByAsymmetricKey(**call, Message=b64(bytes(4096)), MessageType="RAW").Signature
    assert kms.SignByAsymmetricKey(**call, Message=b64(bytes(32)), MessageType="DIGEST").Signature
    for bad in ({"Message": b64(bytes(4097))}, {"Message": ""}, {"Message": "x"}):
        with refused("InvalidParameter"):
            kms.SignByAsymmetricKey(**call, **bad)
    for length in (1, 31, 33, 4096):
        with refused("InvalidParameter"):
            kms.SignByAsymmetricKey(**call, Message=b64(bytes(length)), MessageType="DIGEST")
    with refused("InvalidParameter"):
        kms.SignByAsymmetricKey(**call, Message=TEXT, MessageType="OTHER")


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_key_signs_by_the_algorithms_of_its_usage_only(kms: Client, algorithm: str) -> None:
    key = make(kms, SIGNERS[algorithm])
    for other, usage in {**SIGNERS, "NONE": "", "ML_DSA_87": ""}.items():
        if usage != SIGNERS[algorithm]:
            with refused("InvalidParameter"):
                kms.SignByAsymmetricKey(KeyId=key, Algorithm=other, Message=TEXT)


def test_refusals(kms: Client) -> None:
    call = {"Algorithm": "SM2DSA", "Message": TEXT}
    for usage in ("ASYMMETRIC_DECRYPT_SM2", "ASYMMETRIC_DECRYPT_RSA_2048", "ENCRYPT_DECRYPT"):
        with refused("InvalidParameter"):
            kms.SignByAsymmetricKey(KeyId=make(kms, usage, usage.lower()), **call)
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.SignByAsymmetricKey(KeyId="x", **call)
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.SignByAsymmetricKey(KeyId="00000000-0000-1000-8000-000000000000", **call)
    with refused("MissingParameter"):
        kms.SignByAsymmetricKey(**call)


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "Archived"])
def test_enabled_keys_only(kms: Client, state: str) -> None:
    key = make(kms, "ASYMMETRIC_SIGN_VERIFY_ECC", state=state)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.SignByAsymmetricKey(KeyId=key, Algorithm="ECC_P256_R1", Message=TEXT)


def test_signatures_of_sm2_and_ecdsa_are_der(kms: Client) -> None:
    for algorithm in ("SM2DSA", "ECC_P256_R1", "ECC_P384_R1"):
        key = make(kms, SIGNERS[algorithm], algorithm)
        signature = kms.SignByAsymmetricKey(KeyId=key, Algorithm=algorithm, Message=TEXT).Signature
        assert base64.b64decode(signature)[0] == 0x30
