"""A secret: its states, its versions, and what each action may do to it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from chalicelib.errors import (
    FailedOperation,
    InvalidParameterValue,
    LimitExceeded,
    OperationDenied,
    ResourceDisabled,
    ResourceNotFound,
    ResourcePendingDeleted,
    VersionIdExists,
)

MAX_VERSIONS: Final = 10
CURRENT: Final = "SSM_Current"
DAY: Final = 86400


class SecretState(StrEnum):
    """The state as the API spells it."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETE = "PendingDelete"


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version. `serial` counts the writes of the secret: a value row from an earlier write does not open."""

    id: str
    created_at: int
    serial: int
    is_binary: bool
    key_version: int
    """The version of the CMK's backing key that the value is sealed under."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A region that holds a copy of a primary."""

    region: str
    key_id: str
    """The CMK there; empty: Secrets Manager's own."""
    link: str
    """Tells this replication from an earlier one to the same region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret without its values."""

    uid: str
    """Tells this secret from a deleted one of the same name."""
    account: str
    region: str
    name: str
    creator_uin: str
    key_id: str
    default_key: bool
    created_ms: int
    description: str = ""
    state: SecretState = SecretState.ENABLED
    delete_at: int = 0
    """Epoch seconds; 0 unless pending."""
    serial: int = 0
    versions: tuple[SecretVersion, ...] = ()
    """In the order of their creation."""
    tags: Mapping[str, str] = field(default_factory=dict)
    replicas: tuple[Replica, ...] = ()
    """Of a primary: the regions that hold copies."""
    link: str = ""
    """Of a replica, or what was one: which replication made it."""
    primary_region: str = ""
    """Of a replica: where its primary is. Empty for a secret of its own."""
    source_version: int = 0
    """Of a replica: the `row_version` of its primary that it was copied from last."""
    row_version: int = field(default=0, compare=False)
    """The version of the table row that this was read from."""

    @property
    def created_at(self) -> int:
        """Epoch seconds."""
        return self.created_ms // 1000

    def is_gone(self, now: int) -> bool:
        """Whether the deletion date has passed, swept or not."""
        return self.state is SecretState.PENDING_DELETE and self.delete_at <= now

    def version(self, version_id: str) -> SecretVersion:
        """The version of that id; `SSM_Current` is the newest one where no version has that name."""
        for version in self.versions:
            if version.id == version_id:
                return version
        if version_id == CURRENT and self.versions:
            return self.versions[-1]
        raise ResourceNotFound(
            "The secret has no version with this VersionId: ListSecretVersionIds answers those there are."
        )

    def metadata(self) -> dict[str, Any]:
        """What lists and DescribeSecret have in common, as the API spells it. No member is ever null."""
        return {
            "SecretName": self.name,
            "Description": self.description,
            "KmsKeyId": self.key_id,
            "CreateUin": int(self.creator_uin),
            "CreateUinString": self.creator_uin,
            "Status": self.state.value,
            "DeleteTime": self.delete_at,
            "CreateTime": self.created_at,
            "SecretType": 0,
            "ProductName": "default",
            "ResourceID": "",
            "ResourceName": "",
            "ProjectID": 0,
            "AssociatedInstanceIDs": [],
            "TargetUin": 0,
            "RotationFrequency": 0,
            "EncryptType": 0,
        }

    def check_readable(self) -> None:
        """Values of enabled secrets only."""
        if self.state is SecretState.DISABLED:
            raise ResourceDisabled
        if self.state is SecretState.PENDING_DELETE:
            raise ResourcePendingDeleted

    def check_writable(self) -> None:
        """Enabled and disabled secrets change; one that is pending deletion has to be restored first."""
        if self.state is SecretState.PENDING_DELETE:
            raise FailedOperation("The secret is scheduled for deletion: restore it first.")

    def enable(self) -> Self:
        self.check_writable()
        return replace(self, state=SecretState.ENABLED)

    def disable(self) -> Self:
        self.check_writable()
        return replace(self, state=SecretState.DISABLED)

    def check_deletable(self) -> None:
        """Deletion starts from Disabled: nobody can be reading the secret any more."""
        self.check_writable()
        if self.replicas:
            raise FailedOperation("The secret has replicas: stop its replication first.")
        if self.state is SecretState.ENABLED:
            raise FailedOperation("Disable the secret before you delete it.")

    def schedule_deletion(self, *, at: int) -> Self:
        self.check_deletable()
        return replace(self, state=SecretState.PENDING_DELETE, delete_at=at)

    def restore(self) -> Self:
        if self.state is not SecretState.PENDING_DELETE:
            raise FailedOperation("Only a secret that is scheduled for deletion can be restored.")
        return replace(self, state=SecretState.DISABLED, delete_at=0)

    def describe(self, description: str) -> Self:
        self.check_writable()
        return replace(self, description=description)

    def replica_by(self, link: str) -> Replica | None:
        """The replica of that link."""
        return next((replica for replica in self.replicas if replica.link == link), None)

    def with_replicas(self, added: Sequence[Replica]) -> Self:
        return replace(self, replicas=(*self.replicas, *added))

    def without_replicas(self, links: Collection[str]) -> Self:
        return replace(self, replicas=tuple(r for r in self.replicas if r.link not in links))

    def check_own(self) -> None:
        """A replica changes with its primary only."""
        if self.primary_region:
            raise OperationDenied(
                "The secret is a replica: change it in its primary's region, or stop its replication here."
            )

    def promote(self) -> Self:
        """The replica as a secret of its own; it keeps its link, by which its primary is told."""
        return replace(self, primary_region="", source_version=0)

    def add_version(self, version_id: str, *, now: int, is_binary: bool, key_version: int) -> Self:
        """A new version, which becomes the current one."""
        self.check_writable()
        if any(v.id == version_id for v in self.versions):
            raise VersionIdExists
        if len(self.versions) >= MAX_VERSIONS:
            raise LimitExceeded(f"A secret has at most {MAX_VERSIONS} versions: delete one first.")
        serial = self.serial + 1
        added = SecretVersion(version_id, now, serial, is_binary, key_version)
        return replace(self, serial=serial, versions=(*self.versions, added))

    def update_version(self, version_id: str, *, is_binary: bool, key_version: int) -> Self:
        """The same version with another value; it keeps its place and its creation time."""
        self.check_writable()
        old = self.version(version_id)
        serial = self.serial + 1
        new = replace(old, serial=serial, is_binary=is_binary, key_version=key_version)
        return replace(self, serial=serial, versions=tuple(new if v is old else v for v in self.versions))

    def drop_version(self, version_id: str) -> Self:
        """Without the version: any state, the last version too; only the exact id, never the current one by alias."""
        if all(v.id != version_id for v in self.versions):
            raise ResourceNotFound("The secret has no version with this VersionId.")
        return replace(self, versions=tuple(v for v in self.versions if v.id != version_id))


def plain_value(secret_string: str, secret_binary: bytes, *, max_bytes: int) -> tuple[bytes, bool]:
    """The bytes of a new value and whether it is binary: exactly one of the two parameters is not empty."""
    if bool(secret_string) == bool(secret_binary):
        raise InvalidParameterValue(
            "Set exactly one of SecretString and SecretBinary, and not to an empty value."
        )
    value = secret_binary or secret_string.encode()
    if len(value) > max_bytes:
        raise InvalidParameterValue(f"A secret value has at most {max_bytes} bytes.")
    return value, bool(secret_binary)
