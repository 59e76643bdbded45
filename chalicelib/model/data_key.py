"""A hosted data key: its states and what each action may do with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from chalicelib.errors import (
    CmkStateNotSupport,
    DataKeyDisabled,
    DataKeyNotPendingDelete,
    DataKeyPendingDelete,
    DataKeyStateNotSupport,
)
from chalicelib.model.key import USER, Key, KeyState, Origin

MAX_DATA_KEYS: Final = 500
"""Of an account in a region, those pending deletion not counted. The product's own number is not published."""


class DataKeyState(StrEnum):
    """The state as the API spells it."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETE = "PendingDelete"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """A data key that KMS keeps, encrypted under a CMK."""

    id: str
    account: str
    region: str
    creator_uin: str
    key_id: str
    """The CMK."""
    name: str
    number_of_bytes: int
    created_ms: int
    blob: str = field(repr=False)
    """The CiphertextBlob that the user may have: Decrypt opens it without a context."""
    sealed: str = field(repr=False)
    """The same plaintext bound to this data key: what is answered in plain comes from here."""
    description: str = ""
    state: DataKeyState = DataKeyState.ENABLED
    origin: Origin = Origin.TENCENT_KMS
    owner: str = USER
    deletion_at: int = 0
    """Epoch seconds; 0 unless pending."""
    tags: Mapping[str, str] = field(default_factory=dict)
    row_version: int = field(default=0, compare=False)

    def metadata(self, key_name: str) -> dict[str, Any]:
        """DataKeyMetadata as the API spells it; `key_name` is the CMK's alias."""
        return {
            "DataKeyId": self.id,
            "KeyId": self.key_id,
            "KeyName": key_name,
            "DataKeyName": self.name,
            "NumberOfBytes": self.number_of_bytes,
            "CreateTime": self.created_ms // 1000,
            "Description": self.description,
            "KeyState": self.state.value,
            "CreatorUin": int(self.creator_uin),
            "CreatorUinString": self.creator_uin,
            "Owner": self.owner,
            "DeletionDate": self.deletion_at,
            "Origin": self.origin.value,
            "HsmClusterId": "",
            "ResourceId": f"creatorUin/{self.creator_uin}/{self.id}",
            "IsSyncReplica": 0,
        }

    def is_gone(self, now: int) -> bool:
        """Whether the deletion date has passed, swept or not."""
        return self.state is DataKeyState.PENDING_DELETE and self.deletion_at <= now

    def check_shows_plaintext(self) -> None:
        """GetDataKeyPlaintext: enabled data keys; each other state has a code of its own."""
        if self.state is DataKeyState.DISABLED:
            raise DataKeyDisabled
        if self.state is DataKeyState.PENDING_DELETE:
            raise DataKeyPendingDelete

    def check_shows_ciphertext(self) -> None:
        """GetDataKeyCiphertextBlob: enabled data keys, whatever the CMK's state, which Decrypt will look at."""
        if self.state is not DataKeyState.ENABLED:
            raise DataKeyStateNotSupport

    def enable(self, key: Key) -> Self:
        """Enabled from Disabled, if the CMK `key` can decrypt; repeating it succeeds."""
        self._check_not_pending_delete()
        if key.state not in (KeyState.ENABLED, KeyState.ARCHIVED):
            raise CmkStateNotSupport
        return replace(self, state=DataKeyState.ENABLED)

    def disable(self) -> Self:
        """Disabled from Enabled; repeating it succeeds."""
        self._check_not_pending_delete()
        return replace(self, state=DataKeyState.DISABLED)

    def schedule_deletion(self, *, at: int) -> Self:
        """From Enabled too, unlike a CMK."""
        self._check_not_pending_delete()
        return replace(self, state=DataKeyState.PENDING_DELETE, deletion_at=at)

    def cancel_deletion(self, key: Key) -> Self:
        """Disabled again, whatever it was before; not while the CMK `key` waits for its own deletion."""
        if self.state is not DataKeyState.PENDING_DELETE:
            raise DataKeyNotPendingDelete
        if key.state is KeyState.PENDING_DELETE:
            raise CmkStateNotSupport
        return replace(self, state=DataKeyState.DISABLED, deletion_at=0)

    def rename(self, name: str) -> Self:
        self._check_not_pending_delete()
        return replace(self, name=name)

    def describe(self, description: str) -> Self:
        self._check_not_pending_delete()
        return replace(self, description=description)

    def _check_not_pending_delete(self) -> None:
        if self.state is DataKeyState.PENDING_DELETE:
            raise DataKeyStateNotSupport
