"""What several tests of imported key material need."""

import base64
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.actions.kms.asymmetric import b64
from tests.installation import Client

MATERIAL = bytes(range(16))
PADDINGS: dict[str, padding.AsymmetricPadding] = {
    "RSAES_PKCS1_V1_5": padding.PKCS1v15(),
    "RSAES_OAEP_SHA_1": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),  # noqa: S303 - the API's name
    "RSAES_OAEP_SHA_256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}


def make_external(kms: Client, alias: str = "external") -> str:
    """The id of a key that waits for material."""
    key_id: str = kms.CreateKey(Alias=alias, Type=2).KeyId
    return key_id


def parameters(kms: Client, key_id: str, algorithm: str = "RSAES_OAEP_SHA_256") -> Any:
    return kms.GetParametersForImport(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")


def wrap(public_key: str, material: bytes, algorithm: str = "RSAES_OAEP_SHA_256") -> str:
    """What a user does with the public key of GetParametersForImport."""
    key = load_der_public_key(base64.b64decode(public_key))
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    return b64(key.encrypt(material, PADDINGS[algorithm]))


def import_material(
    kms: Client,
    key_id: str,
    material: bytes = MATERIAL,
    valid_to: int = 0,
    algorithm: str = "RSAES_OAEP_SHA_256",
) -> Any:
    """GetParametersForImport and ImportKeyMaterial."""
    given = parameters(kms, key_id, algorithm)
    return kms.ImportKeyMaterial(
        KeyId=key_id,
        ImportToken=given.ImportToken,
        EncryptedKeyMaterial=wrap(given.PublicKey, material, algorithm),
        ValidTo=valid_to,
    )


def state(kms: Client, key_id: str) -> str:
    found: str = kms.DescribeKey(KeyId=key_id).KeyMetadata.KeyState
    return found
