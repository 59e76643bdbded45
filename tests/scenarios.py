"""One call of every action that succeeds in a small world, for the tests that must hold for all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chalicelib.api import registry
from chalicelib.api.http import Request
from chalicelib.formats import ciphertext_blob
from chalicelib.settings import Bootstrap
from tests.calls import VERSIONS, ask, code, tc3
from tests.installation import SM, Installation

VALUE: Final = "a value"
CONTEXT: Final = '{"purpose": "test"}'
BOUND: Final = {"ProductId": "cbs", "ResourceId": "disk-1"}


@dataclass(frozen=True)
class World:
    """An account with secrets and keys in the states that the actions need."""

    installation: Installation
    keys: Mapping[str, str] = field(default_factory=dict)
    """By alias: `key` and `other` are enabled, the others what their alias says."""
    blob: str = ""
    """A ciphertext under `key`, in CONTEXT."""

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


def build(installation: Installation) -> World:
    """Secrets `live` (v1, v2), `idle` (disabled) and `leaving` (scheduled for deletion), and keys by their state."""
    world = World(installation)

    def done(service: str, action: str, **parameters: Any) -> dict[str, Any]:
        response = world.call(service, action, **parameters)
        assert not code(response), response
        return response

    for name in ("live", "idle", "leaving"):
        done("ssm", "CreateSecret", SecretName=name, VersionId="v1", SecretString=VALUE)
    done("ssm", "PutSecretValue", SecretName="live", VersionId="v2", SecretString=VALUE)
    for name in ("idle", "leaving"):
        done("ssm", "DisableSecret", SecretName=name)
    done("ssm", "DeleteSecret", SecretName="leaving", RecoveryWindowInDays=7)
    aliases = ("key", "other", "idle", "archived", "leaving", "bound", "rotating")
    keys = {alias: done("kms", "CreateKey", Alias=alias)["KeyId"] for alias in aliases}
    for alias in ("idle", "leaving"):
        done("kms", "DisableKey", KeyId=keys[alias])
    done("kms", "ScheduleKeyDeletion", KeyId=keys["leaving"], PendingWindowInDays=7)
    done("kms", "ArchiveKey", KeyId=keys["archived"])
    done("kms", "BindCloudResource", KeyId=keys["bound"], **BOUND)
    done("kms", "EnableKeyRotation", KeyId=keys["rotating"])
    blob = done("kms", "Encrypt", KeyId=keys["key"], Plaintext="aGVsbG8=", EncryptionContext=CONTEXT)
    return World(installation, keys, blob["CiphertextBlob"])


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
    _key("Encrypt", Plaintext="aGVsbG8="),
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
    _plain("kms", "GenerateRandom", NumberOfBytes=32),
    _plain("kms", "ListKeys"),
    _plain("kms", "ListKeyDetail"),
    _plain("kms", "ListAlgorithms"),
    _plain("kms", "GetRegions"),
    _plain("kms", "GetServiceStatus"),
)
READING: Final = tuple(s for s in SCENARIOS if registry.find(VERSIONS[s.service], s.action).is_read)
MUTATING: Final = tuple(s for s in SCENARIOS if s not in READING)
