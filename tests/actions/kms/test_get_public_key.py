import base64

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.actions.kms.asymmetric import SIGNERS, make
from tests.actions.kms.openssl import needs_openssl, openssl
from tests.installation import FIPS, Client, Installation, refused

USAGES = sorted({*SIGNERS.values(), "ASYMMETRIC_DECRYPT_RSA_2048", "ASYMMETRIC_DECRYPT_SM2"})


@needs_openssl
@pytest.mark.parametrize("usage", USAGES)
def test_pem_and_der_are_one_key_that_openssl_reads(kms: Client, usage: str) -> None:
    answer = kms.GetPublicKey(KeyId=(key := make(kms, usage)))
    assert answer.KeyId == key
    lines = answer.PublicKeyPem.split("\n")
    assert (lines[0], lines[-2], lines[-1]) == ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----", "")
    assert {len(line) for line in lines[1:-3]} <= {64}
    assert "".join(lines[1:-2]) == answer.PublicKey
    der = openssl("pkey", "-pubin", "-outform", "DER", stdin=answer.PublicKeyPem.encode())
    assert der == base64.b64decode(answer.PublicKey)


@pytest.mark.parametrize("usage", ["PQC_DECRYPT_ML_KEM_1024", "PQC_SIGN_VERIFY_ML_DSA_87"])
def test_post_quantum_keys_have_a_public_half_too(kms: Client, usage: str) -> None:
    pem = kms.GetPublicKey(KeyId=make(kms, usage)).PublicKeyPem.encode()
    assert load_pem_public_key(pem) is not None


def test_a_key_keeps_its_public_half(kms: Client) -> None:
    key = make(kms, "ASYMMETRIC_SIGN_VERIFY_SM2")
    assert kms.GetPublicKey(KeyId=key).PublicKey == kms.GetPublicKey(KeyId=key).PublicKey


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "Archived"])
def test_enabled_keys_only(kms: Client, state: str) -> None:
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.GetPublicKey(KeyId=make(kms, "ASYMMETRIC_DECRYPT_RSA_2048", state=state))


def test_refusals(kms: Client, installation: Installation) -> None:
    with refused("InvalidParameter"):
        kms.GetPublicKey(KeyId=kms.CreateKey(Alias="symmetric").KeyId)
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.GetPublicKey(KeyId="x")
    with refused("ResourceUnavailable.CmkNotFound"):
        installation.client("kms", FIPS).GetPublicKey(KeyId=make(kms, "ASYMMETRIC_DECRYPT_RSA_2048"))
