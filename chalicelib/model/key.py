"""A customer master key (CMK): its states and what each action may do with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from chalicelib.errors import (
    CmkArchived,
    CmkDisabled,
    CmkStateNotSupport,
    InvalidKeyUsage,
    InvalidParameter,
    KeyPendingDelete,
    NotUserCreatedCmk,
    UnsupportedKeyUsageInCurrentRegion,
)

DAY: Final = 86400
USER: Final = "user"
MAX_KEYS: Final = 200
DEFAULT_ROTATE_DAYS: Final = 365
SYMMETRIC_USAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "ENCRYPT_DECRYPT": {"sm": "SM4", "fips": "AES_256"},
    "ENCRYPT_DECRYPT_SM4": {"sm": "SM4", "fips": "SM4"},
    "ENCRYPT_DECRYPT_AES_256": {"sm": "AES_256", "fips": "AES_256"},
}
"""Usage -> the region's standard -> algorithm. The last two are extensions: the algorithm is the user's choice."""

ASYMMETRIC_USAGES: Final = (
    "ASYMMETRIC_DECRYPT_RSA_2048",
    "ASYMMETRIC_DECRYPT_SM2",
    "ASYMMETRIC_SIGN_VERIFY_SM2",
    "ASYMMETRIC_SIGN_VERIFY_ECC",
    "ASYMMETRIC_SIGN_VERIFY_RSA_2048",
    "ASYMMETRIC_SIGN_VERIFY_ECDSA384",
)
STANDARD_TYPES: Final[Mapping[str, int]] = {"fips": 2, "sm": 4}
"""The region's standard -> KeyMetadata.Type."""


class KeyState(StrEnum):
    """The state as the API spells it."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETE = "PendingDelete"
    PENDING_IMPORT = "PendingImport"
    ARCHIVED = "Archived"


class Origin(StrEnum):
    """Where the key material comes from."""

    TENCENT_KMS = "TENCENT_KMS"
    EXTERNAL = "EXTERNAL"


@dataclass(frozen=True, slots=True)
class BackingKey:
    """One generation of a key's material, as a key token of the HSM."""

    version: int
    kind: str
    token: bytes = field(repr=False)
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A CMK without plaintext key material."""

    id: str
    account: str
    region: str
    creator_uin: str
    alias: str
    created_ms: int
    usage: str
    standard: str
    """The region's standard when the key was made: `sm` or `fips`."""
    description: str = ""
    state: KeyState = KeyState.ENABLED
    origin: Origin = Origin.TENCENT_KMS
    owner: str = USER
    rotation_enabled: bool = False
    rotate_days: int = DEFAULT_ROTATE_DAYS
    last_rotated_at: int = 0
    deletion_at: int = 0
    valid_to: int = 0
    backing: tuple[BackingKey, ...] = ()
    """Oldest first, the current one last."""
    tags: Mapping[str, str] = field(default_factory=dict)
    row_version: int = field(default=0, compare=False)

    @property
    def created_at(self) -> int:
        """Epoch seconds."""
        return self.created_ms // 1000

    @property
    def is_symmetric(self) -> bool:
        """Whether Encrypt, Decrypt and GenerateDataKey work with it."""
        return self.usage.startswith("ENCRYPT_DECRYPT")

    @property
    def next_rotate_at(self) -> int:
        """Epoch seconds; answered even while rotation is off, as the API does."""
        return (self.last_rotated_at or self.created_at) + self.rotate_days * DAY

    @property
    def current(self) -> BackingKey:
        """The material that new ciphertexts are made with."""
        return self.backing[-1]

    def metadata(self) -> dict[str, Any]:
        """KeyMetadata as the API spells it."""
        return {
            "KeyId": self.id,
            "Alias": self.alias,
            "CreateTime": self.created_at,
            "Description": self.description,
            "KeyState": self.state.value,
            "KeyUsage": self.usage,
            "Type": STANDARD_TYPES[self.standard],
            "CreatorUin": int(self.creator_uin),
            "CreatorUinString": self.creator_uin,
            "KeyRotationEnabled": self.rotation_enabled,
            "Owner": self.owner,
            "NextRotateTime": self.next_rotate_at,
            "DeletionDate": self.deletion_at,
            "Origin": self.origin.value,
            "ValidTo": self.valid_to,
            "ResourceId": f"creatorUin/{self.creator_uin}/{self.id}",
            "HsmClusterId": "",
            "RotateDays": self.rotate_days,
            "LastRotateTime": self.last_rotated_at,
            "IsSyncReplica": 0,
        }

    def check_symmetric(self) -> None:
        """The symmetric actions list no code of their own for a key of another usage."""
        if not self.is_symmetric:
            raise InvalidParameter("KeyId names an asymmetric key: this action takes symmetric ones.")

    def check_encrypts(self) -> None:
        """New ciphertexts: enabled keys only."""
        self.check_symmetric()
        if self.state is KeyState.ARCHIVED:
            raise CmkArchived
        if self.state is not KeyState.ENABLED:
            raise CmkDisabled

    def check_generates(self) -> None:
        """As `check_encrypts`; GenerateDataKey has a code of its own for a key pending deletion."""
        if self.state is KeyState.PENDING_DELETE:
            raise KeyPendingDelete
        self.check_encrypts()

    def check_decrypts(self) -> None:
        """Old ciphertexts: enabled and archived keys."""
        self.check_symmetric()
        if self.state not in (KeyState.ENABLED, KeyState.ARCHIVED):
            raise CmkDisabled

    def enable(self) -> Self:
        """Enabled from Disabled; clients send it again to an enabled key, which succeeds."""
        if self.state not in (KeyState.ENABLED, KeyState.DISABLED):
            raise CmkStateNotSupport
        return replace(self, state=KeyState.ENABLED)

    def disable(self) -> Self:
        """Disabled from Enabled; repeating it succeeds; never for a product's key."""
        if self.owner != USER:
            raise NotUserCreatedCmk
        if self.state not in (KeyState.ENABLED, KeyState.DISABLED):
            raise CmkStateNotSupport
        return replace(self, state=KeyState.DISABLED)


def algorithm(usage: str, standard: str) -> str:
    """The algorithm of a usage in a region; raises InvalidKeyUsage or UnsupportedKeyUsageInCurrentRegion."""
    if usage in SYMMETRIC_USAGES:
        return SYMMETRIC_USAGES[usage][standard]
    if usage in ASYMMETRIC_USAGES:
        raise UnsupportedKeyUsageInCurrentRegion
    raise InvalidKeyUsage
