import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.actions.kms.asymmetric import MESSAGE, TEXT, b64, make
from tests.installation import Client, refused

USAGE = "PQC_SIGN_VERIFY_ML_DSA_87"


def test_the_signature_is_ml_dsa_87(kms: Client) -> None:
    key = make(kms, USAGE)
    signature = base64.b64decode(kms.PostQuantumCryptoSign(KeyId=key, Message=TEXT).Signature)
    assert len(signature) == 4627  # FIPS 204, table 2
    public_key = load_der_public_key(base64.b64decode(kms.GetPublicKey(KeyId=key).PublicKey))
    assert isinstance(public_key, MLDSA87PublicKey)
    public_key.verify(signature, MESSAGE)


def test_limits_and_refusals(kms: Client) -> None:
    key = make(kms, USAGE)
    assert kms.PostQuantumCryptoSign(KeyId=key, Message=b64(bytes(4096))).Signature
    for bad in (b64(bytes(4097)), "", "x"):
        with refused("InvalidParameter"):
            kms.PostQuantumCryptoSign(KeyId=key, Message=bad)
    with refused("InvalidParameter"):
        kms.PostQuantumCryptoSign(KeyId=make(kms, "ASYMMETRIC_SIGN_VERIFY_ECC", "e"), Message=TEXT)
    with refused("InvalidParameter"):
        kms.SignByAsymmetricKey(KeyId=key, Algorithm="SM2DSA", Message=TEXT)
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.PostQuantumCryptoSign(KeyId="x", Message=TEXT)
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.PostQuantumCryptoSign(KeyId="00000000-0000-1000-8000-000000000000", Message=TEXT)
    with refused("MissingParameter"):
        kms.PostQuantumCryptoSign(KeyId=key)


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "Archived"])
def test_enabled_keys_only(kms: Client, state: str) -> None:
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.PostQuantumCryptoSign(KeyId=make(kms, USAGE, state=state), Message=TEXT)
