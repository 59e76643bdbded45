"""A customer master key (CMK): its states and what each action may do with it."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from chalicelib.errors import (
    CmkArchived,
    CmkDisabled,
    CmkNotPendingDelete,
    CmkShouldBeDisabled,
    CmkStateNotSupport,
    CmkUsedByCloudProduct,
    ExternalCmkCanNotRotate,
    InvalidKeyUsage,
    InvalidParameter,
    KeyPendingDelete,
    MaterialNotMatch,
    NotExternalCmk,
    NotUserCreatedCmk,
    RotateNotSupported,
    UnsupportedKeyUsageInCurrentRegion,
)

DAY: Final = 86400
USER: Final = "user"
DEFAULT_ROTATE_DAYS: Final = 365
SYMMETRIC_USAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "ENCRYPT_DECRYPT": {"sm": "SM4", "fips": "AES_256"},
    "ENCRYPT_DECRYPT_SM4": {"sm": "SM4", "fips": "SM4"},
    "ENCRYPT_DECRYPT_AES_256": {"sm": "AES_256", "fips": "AES_256"},
}
"""Usage -> the region's standard -> algorithm. The last two are extensions: the algorithm is the user's choice."""

DECRYPT_RSA: Final = "ASYMMETRIC_DECRYPT_RSA_2048"
DECRYPT_SM2: Final = "ASYMMETRIC_DECRYPT_SM2"
PQC_DECRYPT: Final = "PQC_DECRYPT_ML_KEM_1024"
PQC_SIGN: Final = "PQC_SIGN_VERIFY_ML_DSA_87"


@dataclass(frozen=True, slots=True)
class AsymmetricUsage:
    """What a key pair is for: its kind in the HSM, and the algorithms by which it may be used."""

    kind: str
    algorithms: tuple[str, ...]
    signs: bool
    standards: tuple[str, ...] = ("sm", "fips")
    """The standards of the regions that offer it."""


ASYMMETRIC_USAGES: Final[Mapping[str, AsymmetricUsage]] = {
    DECRYPT_SM2: AsymmetricUsage("SM2", ("SM2_C1C3C2_ASN1",), signs=False, standards=("sm",)),
    DECRYPT_RSA: AsymmetricUsage(
        "RSA_2048", ("RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"), signs=False
    ),
    "ASYMMETRIC_SIGN_VERIFY_SM2": AsymmetricUsage("SM2", ("SM2DSA",), signs=True, standards=("sm",)),
    "ASYMMETRIC_SIGN_VERIFY_ECC": AsymmetricUsage("EC_P256", ("ECC_P256_R1",), signs=True),
    "ASYMMETRIC_SIGN_VERIFY_RSA_2048": AsymmetricUsage(
        "RSA_2048", ("RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256"), signs=True
    ),
    "ASYMMETRIC_SIGN_VERIFY_ECDSA384": AsymmetricUsage("EC_P384", ("ECC_P384_R1",), signs=True),
    # The product's names of the post-quantum usages are not published.
    PQC_DECRYPT: AsymmetricUsage("ML_KEM_1024", ("ML_KEM_1024",), signs=False),
    PQC_SIGN: AsymmetricUsage("ML_DSA_87", ("ML_DSA_87",), signs=True),
}
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
    """Epoch seconds; 0 unless pending."""
    valid_to: int = 0
    """When imported material expires; 0 is never."""
    material_check: bytes = b""
    """Tells whether an import brings the same material as the first one, which stays bound to the key for ever."""
    bound: int = 0
    """How many cloud resources are bound to the key."""
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
        """New ciphertexts: enabled symmetric keys only."""
        self.check_symmetric()
        self.check_may_encrypt()

    def check_may_encrypt(self) -> None:
        """New ciphertexts of any kind: enabled keys only."""
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
        """Old ciphertexts: enabled and archived symmetric keys."""
        self.check_symmetric()
        self.check_may_decrypt()

    def check_may_decrypt(self) -> None:
        """Old ciphertexts of any kind: enabled and archived keys."""
        if self.state not in (KeyState.ENABLED, KeyState.ARCHIVED):
            raise CmkDisabled

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms by which an asymmetric key may be used; none for a symmetric one."""
        usage = ASYMMETRIC_USAGES.get(self.usage)
        return usage.algorithms if usage else ()

    def check_public(self) -> None:
        """The asymmetric actions: enabled asymmetric keys only."""
        if self.is_symmetric:
            raise InvalidParameter("KeyId names a symmetric key: this action takes asymmetric ones.")
        self._check_state(KeyState.ENABLED)

    def check_signs(self, algorithm: str) -> None:
        """Sign and verify: enabled keys, and algorithms of their usage."""
        self.check_public()
        if not ASYMMETRIC_USAGES[self.usage].signs or algorithm not in self.algorithms:
            raise InvalidParameter(
                "The key does not sign with this Algorithm: ListAlgorithms answers what fits."
            )

    def check_decrypts_asymmetric(self, usage: str) -> None:
        """Asymmetric decryption: enabled keys of exactly that usage."""
        if self.usage != usage:
            raise InvalidKeyUsage(f"This action takes keys of usage {usage}.")
        self._check_state(KeyState.ENABLED)

    def check_post_quantum(self, usage: str) -> None:
        """The post-quantum actions: keys of exactly that usage."""
        if self.usage != usage:
            raise InvalidParameter(f"This action takes keys of usage {usage}.")

    def as_of(self, now: int) -> Self:
        """The key as it is now: imported material past its date is gone, whether a job has removed it or not."""
        if not 0 < self.valid_to <= now or self.state in (KeyState.PENDING_IMPORT, KeyState.PENDING_DELETE):
            return self
        return self.drop_material()

    def is_gone(self, now: int) -> bool:
        """Whether the deletion date has passed, swept or not."""
        return self.state is KeyState.PENDING_DELETE and self.deletion_at <= now

    def enable(self) -> Self:
        """Enabled from Disabled; clients send it again to an enabled key, which succeeds."""
        self._check_state(KeyState.ENABLED, KeyState.DISABLED)
        return replace(self, state=KeyState.ENABLED)

    def disable(self) -> Self:
        """Disabled from Enabled; repeating it succeeds; never for a product's key or one in use."""
        self._check_free()
        self._check_state(KeyState.ENABLED, KeyState.DISABLED)
        return replace(self, state=KeyState.DISABLED)

    def archive(self) -> Self:
        """Archived, decrypt only, from Enabled or Disabled (Terraform archives disabled keys); repeating it succeeds."""
        self._check_free()
        self._check_state(KeyState.ENABLED, KeyState.DISABLED, KeyState.ARCHIVED)
        return replace(self, state=KeyState.ARCHIVED)

    def cancel_archive(self) -> Self:
        self._check_user_created()
        self._check_state(KeyState.ARCHIVED)
        return replace(self, state=KeyState.ENABLED)

    def check_deletable(self) -> None:
        """Deletion starts from any state in which nothing is encrypted any more."""
        self._check_free()
        if self.state is KeyState.ENABLED:
            raise CmkShouldBeDisabled
        self._check_state(KeyState.DISABLED, KeyState.PENDING_IMPORT, KeyState.ARCHIVED)

    def schedule_deletion(self, *, at: int) -> Self:
        self.check_deletable()
        return replace(self, state=KeyState.PENDING_DELETE, deletion_at=at)

    def cancel_deletion(self) -> Self:
        """Disabled again, or waiting for material where there is none."""
        if self.state is not KeyState.PENDING_DELETE:
            raise CmkNotPendingDelete
        state = KeyState.DISABLED if self.backing else KeyState.PENDING_IMPORT
        return replace(self, state=state, deletion_at=0)

    def rename(self, alias: str) -> Self:
        """Under another alias; a product finds its own key by the alias."""
        self._check_user_created()
        self._check_not_pending_delete()
        return replace(self, alias=alias)

    def describe(self, description: str) -> Self:
        self._check_not_pending_delete()
        return replace(self, description=description)

    def enable_rotation(self, days: int) -> Self:
        """Rotation may be switched on for a disabled key; it rotates while it is enabled."""
        if self.origin is Origin.EXTERNAL:
            raise ExternalCmkCanNotRotate
        self.check_symmetric()
        self._check_state(KeyState.ENABLED, KeyState.DISABLED)
        return replace(self, rotation_enabled=True, rotate_days=days)

    def disable_rotation(self) -> Self:
        return replace(self, rotation_enabled=False)

    def check_rotatable(self) -> None:
        """RotateKey: an enabled symmetric key of KMS's own material, with rotation on."""
        if (
            self.origin is Origin.EXTERNAL
            or not self.is_symmetric
            or not self.rotation_enabled
            or self.state is not KeyState.ENABLED
        ):
            raise RotateNotSupported

    def check_external(self) -> None:
        if self.origin is not Origin.EXTERNAL:
            raise NotExternalCmk

    def check_takes_import_parameters(self) -> None:
        """GetParametersForImport: any state but pending deletion."""
        self.check_external()
        self._check_not_pending_delete()

    def check_takes_material(self) -> None:
        """ImportKeyMaterial: keys that wait for material, and enabled ones that renew its end."""
        self.check_external()
        self._check_state(KeyState.ENABLED, KeyState.PENDING_IMPORT)

    def import_material(self, backing: BackingKey, material_check: bytes, *, valid_to: int) -> Self:
        """The key with its material: the first import decides what it is, later ones renew its end."""
        self.check_takes_material()
        if self.material_check and not hmac.compare_digest(self.material_check, material_check):
            raise MaterialNotMatch
        return replace(
            self, state=KeyState.ENABLED, backing=(backing,), material_check=material_check, valid_to=valid_to
        )

    def delete_material(self) -> Self:
        """Without its imported material, until the same bytes are imported again."""
        self.check_external()
        if self.bound:
            raise CmkUsedByCloudProduct
        self._check_state(KeyState.ENABLED, KeyState.DISABLED)
        return self.drop_material()

    def drop_material(self) -> Self:
        return replace(self, state=KeyState.PENDING_IMPORT, backing=(), valid_to=0)

    def bind(self) -> Self:
        """One more cloud resource uses the key, so its material must not expire by itself."""
        self._check_state(KeyState.ENABLED)
        return replace(self, bound=self.bound + 1, valid_to=0)

    def unbind(self) -> Self:
        return replace(self, bound=self.bound - 1)

    def _check_state(self, *allowed: KeyState) -> None:
        if self.state not in allowed:
            raise CmkStateNotSupport

    def _check_not_pending_delete(self) -> None:
        if self.state is KeyState.PENDING_DELETE:
            raise CmkStateNotSupport

    def _check_user_created(self) -> None:
        if self.owner != USER:
            raise NotUserCreatedCmk

    def _check_free(self) -> None:
        self._check_user_created()
        if self.bound:
            raise CmkUsedByCloudProduct


def algorithm(usage: str, standard: str) -> str:
    """The kind of key of a usage in a region; raises InvalidKeyUsage or UnsupportedKeyUsageInCurrentRegion."""
    if usage in SYMMETRIC_USAGES:
        return SYMMETRIC_USAGES[usage][standard]
    if usage not in ASYMMETRIC_USAGES:
        raise InvalidKeyUsage
    if standard not in ASYMMETRIC_USAGES[usage].standards:
        raise UnsupportedKeyUsageInCurrentRegion
    return ASYMMETRIC_USAGES[usage].kind
