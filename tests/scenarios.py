"""One call of every action that succeeds in a small world, for the tests that must hold for all of them."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from chalicelib.api import registry
from chalicelib.api.http import Request
from chalicelib.formats import ciphertext_blob
from chalicelib.hsm.port import Padding
from chalicelib.hsm.public import encrypt_to, to_pem
from chalicelib.model.key import PQC_DECRYPT, PQC_SIGN
from chalicelib.settings import Bootstrap
from tests.calls import VERSIONS, ask, code, tc3
from tests.installation import SM, Installation

VALUE: Final = "a value"
CONTEXT: Final = '{"purpose": "test"}'
PLAINTEXT: Final = "aGVsbG8="
WRAPPING: Final = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
BOUND: Final = {"ProductId": "cbs", "ResourceId": "disk-1"}


@dataclass(frozen=True)
class World:
    """An account with secrets and keys in the states that the actions need."""

    installation: Installation
    keys: dict[str, str] = field(default_factory=dict)
    """Ids by alias: `key` and `other` are enabled and symmetric, the others what their alias says."""
    data_keys: dict[str, str] = field(default_factory=dict)
    """Ids by name, as above."""
    made: dict[str, str] = field(default_factory=dict)
    """Ciphertexts, signatures and import parameters, by what they are for."""

    @property
    def blob(self) -> str:
        """A ciphertext under `key`, in CONTEXT."""
        return self.made["blob"]

    def request(
        self,
        service: str,
        action: str,
        parameters: Mapping[str, Any],
        *,
        who: Bootstrap | None = None,
        region: str = SM,
    ) -> Request:
        now = self.installation.clock.now()
        return tc3(who or self.installation.root, now, service, action, parameters, region=region)

    def call(self, service: str, action: str, **parameters: Any) -> dict[str, Any]:
        """Call as root."""
        return ask(self.installation.gateway, self.request(service, action, parameters))

    def done(self, service: str, action: str, **parameters: Any) -> dict[str, Any]:
        """Call as root, and have it succeed."""
        response = self.call(service, action, **parameters)
        assert not code(response), response
        return response


def build(installation: Installation) -> World:
    """Secrets `live` (v1, v2), `idle` (disabled) and `leaving` (scheduled for deletion), and keys of every kind."""
    world = World(installation)
    _build_secrets(world)
    _build_keys(world)
    _build_key_pairs(world)
    _build_data_keys(world)
    return world


def _build_secrets(world: World) -> None:
    for name in ("live", "idle", "leaving"):
        world.done("ssm", "CreateSecret", SecretName=name, VersionId="v1", SecretString=VALUE)
    world.done("ssm", "PutSecretValue", SecretName="live", VersionId="v2", SecretString=VALUE)
    for name in ("idle", "leaving"):
        world.done("ssm", "DisableSecret", SecretName=name)
    world.done("ssm", "DeleteSecret", SecretName="leaving", RecoveryWindowInDays=7)


def _build_keys(world: World) -> None:
    for alias in ("key", "other", "idle", "archived", "leaving", "bound", "rotating"):
        world.keys[alias] = world.done("kms", "CreateKey", Alias=alias)["KeyId"]
    for alias in ("idle", "leaving"):
        world.done("kms", "DisableKey", KeyId=world.keys[alias])
    world.done("kms", "ScheduleKeyDeletion", KeyId=world.keys["leaving"], PendingWindowInDays=7)
    world.done("kms", "ArchiveKey", KeyId=world.keys["archived"])
    world.done("kms", "BindCloudResource", KeyId=world.keys["bound"], **BOUND)
    world.done("kms", "EnableKeyRotation", KeyId=world.keys["rotating"])
    made = world.done(
        "kms", "Encrypt", KeyId=world.keys["key"], Plaintext=PLAINTEXT, EncryptionContext=CONTEXT
    )
    world.made["blob"] = made["CiphertextBlob"]
    for alias in ("waiting", "imported"):
        key_id = world.keys[alias] = world.done("kms", "CreateKey", Alias=alias, Type=2)["KeyId"]
        given = world.done("kms", "GetParametersForImport", KeyId=key_id, **WRAPPING)
        public_key = to_pem(base64.b64decode(given["PublicKey"]))
        world.made["token"] = given["ImportToken"]
        world.made["material"] = _b64(encrypt_to(public_key, Padding.RSAES_OAEP_SHA_256, bytes(16)))
        if alias == "waiting":
            waiting = (world.made["token"], world.made["material"])
    imported = {"ImportToken": world.made["token"], "EncryptedKeyMaterial": world.made["material"]}
    world.done("kms", "ImportKeyMaterial", KeyId=world.keys["imported"], **imported)
    world.made["token"], world.made["material"] = waiting


def _build_key_pairs(world: World) -> None:
    usages = {
        "rsa": "ASYMMETRIC_DECRYPT_RSA_2048",
        "sm2": "ASYMMETRIC_DECRYPT_SM2",
        "ecc": "ASYMMETRIC_SIGN_VERIFY_ECC",
        "pqc-decrypt": PQC_DECRYPT,
        "pqc-sign": PQC_SIGN,
    }
    for alias, usage in usages.items():
        world.keys[alias] = world.done("kms", "CreateKey", Alias=alias, KeyUsage=usage)["KeyId"]
    for alias, padding in (("rsa", Padding.RSAES_OAEP_SHA_256), ("sm2", Padding.SM2_ASN1)):
        public_key = world.done("kms", "GetPublicKey", KeyId=world.keys[alias])["PublicKeyPem"]
        world.made[alias] = _b64(encrypt_to(public_key, padding, b"hello"))
    made = world.done(
        "kms", "SignByAsymmetricKey", KeyId=world.keys["ecc"], Algorithm="ECC_P256_R1", Message=PLAINTEXT
    )
    world.made["ecc"] = made["Signature"]
    made = world.done("kms", "PostQuantumCryptoSign", KeyId=world.keys["pqc-sign"], Message=PLAINTEXT)
    world.made["pqc-sign"] = made["Signature"]
    made = world.done("kms", "PostQuantumCryptoEncrypt", KeyId=world.keys["pqc-decrypt"], PlainText=PLAINTEXT)
    world.made["pqc-decrypt"] = made["CiphertextBlob"]


def _build_data_keys(world: World) -> None:
    for name in ("hosted", "other", "idle", "leaving"):
        made = world.done(
            "kms",
            "GenerateDataKey",
            KeyId=world.keys["key"],
            KeySpec="AES_256",
            IsHostedByKms=1,
            DataKeyName=name,
        )
        world.data_keys[name] = made["DataKeyId"]
    for name in ("idle", "leaving"):
        world.done("kms", "DisableDataKey", DataKeyId=world.data_keys[name])
    world.done("kms", "ScheduleDataKeyDeletion", DataKeyId=world.data_keys["leaving"], PendingWindowInDays=7)


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Scenario:
    """A call that succeeds in the world."""

    service: str
    action: str
    parameters: Callable[[World], dict[str, Any]]
    absent: Callable[[World], dict[str, Any]] | None = None
    """Changes that make it name a resource that does not exist; None where none is named."""

    def __str__(self) -> str:
        return f"{self.service}-{self.action}"


def _secret(action: str, name: str, **more: Any) -> Scenario:
    return Scenario("ssm", action, lambda _: {"SecretName": name, **more}, lambda _: {"SecretName": "absent"})


def _key(action: str, alias: str = "key", **more: Any) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"KeyId": world.keys[alias], **more},
        lambda world: {"KeyId": _another(world.keys[alias])},
    )


def _keys(action: str, alias: str) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"KeyIds": [world.keys[alias], world.keys["other"]]},
        lambda world: {"KeyIds": [_another(world.keys[alias]), world.keys["other"]]},
    )


def _data_key(action: str, name: str = "hosted", **more: Any) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"DataKeyId": world.data_keys[name], **more},
        lambda world: {"DataKeyId": _another(world.data_keys[name])},
    )


def _data_keys(action: str, name: str) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"DataKeyIds": [world.data_keys[name], world.data_keys["other"]]},
        lambda world: {"DataKeyIds": [_another(world.data_keys[name]), world.data_keys["other"]]},
    )


def _with(scenario: Scenario, **made: str) -> Scenario:
    """The scenario with parameters from what the world has made."""
    return replace(
        scenario,
        parameters=lambda world: {
            **scenario.parameters(world),
            **{name: world.made[what] for name, what in made.items()},
        },
    )


def _another(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def _for_another_key(blob: str) -> str:
    read = ciphertext_blob.decode(blob)
    return ciphertext_blob.encode(_another(read.key_id), read.backing_version, read.message)


def _plain(service: str, action: str, **parameters: Any) -> Scenario:
    return Scenario(service, action, lambda _: parameters)


SCENARIOS: Final = (
    _plain("ssm", "CreateSecret", SecretName="new", VersionId="v1", SecretString=VALUE),
    _secret("PutSecretValue", "live", VersionId="v3", SecretString=VALUE),
    _secret("UpdateSecret", "live", VersionId="v1", SecretString=VALUE),
    _secret("UpdateDescription", "live", Description="changed"),
    _secret("EnableSecret", "idle"),
    _secret("DisableSecret", "live"),
    _secret("DeleteSecret", "idle", RecoveryWindowInDays=7),
    _secret("RestoreSecret", "leaving"),
    _secret("DeleteSecretVersion", "live", VersionId="v2"),
    _secret("DescribeSecret", "live"),
    _secret("GetSecretValue", "live", VersionId="v1"),
    _secret("ListSecretVersionIds", "live"),
    _plain("ssm", "ListSecrets"),
    _plain("ssm", "GetRegions"),
    _plain("ssm", "GetServiceStatus"),
    _plain("kms", "CreateKey", Alias="new"),
    _key("DescribeKey"),
    _keys("DescribeKeys", "key"),
    _key("EnableKey", "idle"),
    _keys("EnableKeys", "idle"),
    _key("DisableKey"),
    _keys("DisableKeys", "key"),
    _key("ArchiveKey"),
    _key("CancelKeyArchive", "archived"),
    _key("ScheduleKeyDeletion", "idle", PendingWindowInDays=7),
    _key("CancelKeyDeletion", "leaving"),
    _key("UpdateAlias", Alias="renamed"),
    _key("UpdateKeyDescription", Description="changed"),
    _key("EnableKeyRotation", RotateDays=30),
    _key("DisableKeyRotation", "rotating"),
    _key("GetKeyRotationStatus"),
    _key("RotateKey", "rotating"),
    _key("ListKeyRotations"),
    _key("BindCloudResource", **BOUND),
    _key("UnbindCloudResource", "bound", **BOUND),
    _key("Encrypt", Plaintext=PLAINTEXT),
    Scenario(
        "kms",
        "Decrypt",
        lambda world: {"CiphertextBlob": world.blob, "EncryptionContext": CONTEXT},
        lambda world: {"CiphertextBlob": _for_another_key(world.blob)},
    ),
    Scenario(
        "kms",
        "ReEncrypt",
        lambda world: {
            "CiphertextBlob": world.blob,
            "SourceEncryptionContext": CONTEXT,
            "DestinationKeyId": world.keys["other"],
        },
        lambda world: {"CiphertextBlob": _for_another_key(world.blob)},
    ),
    _key("GenerateDataKey", KeySpec="AES_256"),
    _key("GetPublicKey", "rsa"),
    _with(_key("AsymmetricRsaDecrypt", "rsa", Algorithm="RSAES_OAEP_SHA_256"), Ciphertext="rsa"),
    _with(_key("AsymmetricSm2Decrypt", "sm2"), Ciphertext="sm2"),
    _key("SignByAsymmetricKey", "ecc", Algorithm="ECC_P256_R1", Message=PLAINTEXT),
    _with(
        _key("VerifyByAsymmetricKey", "ecc", Algorithm="ECC_P256_R1", Message=PLAINTEXT),
        SignatureValue="ecc",
    ),
    _key("PostQuantumCryptoEncrypt", "pqc-decrypt", PlainText=PLAINTEXT),
    Scenario(
        "kms",
        "PostQuantumCryptoDecrypt",
        lambda world: {"CiphertextBlob": world.made["pqc-decrypt"]},
        lambda world: {"CiphertextBlob": _for_another_key(world.made["pqc-decrypt"])},
    ),
    _key("PostQuantumCryptoSign", "pqc-sign", Message=PLAINTEXT),
    _with(_key("PostQuantumCryptoVerify", "pqc-sign", Message=PLAINTEXT), SignatureValue="pqc-sign"),
    _key("GetParametersForImport", "waiting", **WRAPPING),
    _with(_key("ImportKeyMaterial", "waiting"), ImportToken="token", EncryptedKeyMaterial="material"),
    _key("DeleteImportedKeyMaterial", "imported"),
    _key("ImportDataKey", ImportType=2, DataKeyName="new", ImportKeyMaterial=PLAINTEXT),
    _data_key("DescribeDataKey"),
    _data_keys("DescribeDataKeys", "hosted"),
    _data_key("EnableDataKey", "idle"),
    _data_keys("EnableDataKeys", "idle"),
    _data_key("DisableDataKey"),
    _data_keys("DisableDataKeys", "hosted"),
    _data_key("ScheduleDataKeyDeletion", "idle", PendingWindowInDays=7),
    _data_key("CancelDataKeyDeletion", "leaving"),
    _data_key("UpdateDataKeyName", DataKeyName="renamed"),
    _data_key("UpdateDataKeyDescription", Description="changed"),
    _data_key("GetDataKeyPlaintext"),
    _data_key("GetDataKeyCiphertextBlob"),
    _plain("kms", "ListDataKeys"),
    _plain("kms", "ListDataKeyDetail"),
    _plain("kms", "GenerateRandom", NumberOfBytes=32),
    _plain("kms", "ListKeys"),
    _plain("kms", "ListKeyDetail"),
    _plain("kms", "ListAlgorithms"),
    _plain("kms", "GetRegions"),
    _plain("kms", "GetServiceStatus"),
)
# Its answer is what it is called for, but the parameters have to be remembered until they are used.
_WRITING_READS: Final = {"GetParametersForImport"}

MUTATING: Final = tuple(
    s
    for s in SCENARIOS
    if s.action in _WRITING_READS or not registry.find(VERSIONS[s.service], s.action).is_read
)
READING: Final = tuple(s for s in SCENARIOS if s not in MUTATING)
