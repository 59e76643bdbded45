"""The caller's hosted data keys: read, checked, kept and opened."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from chalicelib import audit, ids
from chalicelib.errors import (
    CmkDisabled,
    CmkNotFound,
    CmkStateNotSupport,
    DataKeyLimitExceeded,
    DataKeyNameAlreadyExists,
    DataKeyNotFound,
    DuplicatedDataKeyId,
    InternalError,
    InvalidCiphertext,
    InvalidImportKeyMaterial,
    InvalidKeyId,
)
from chalicelib.formats import ciphertext_blob
from chalicelib.hsm.port import Damaged
from chalicelib.model.data_key import DataKey, DataKeyState
from chalicelib.model.key import KeyState
from chalicelib.table import data_keys as rows
from chalicelib.table.keys import key_row_key
from chalicelib.table.port import MAX_OPS, Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chalicelib.context import Context, Service
    from chalicelib.model.key import Key, Origin
    from chalicelib.table.port import Op, Row


class DataKeyStore:
    """The hosted data keys of one account in one region, for one call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._account = ctx.caller.account
        self._region = ctx.region

    def get(self, data_key_id: str) -> DataKey:
        """The data key, once the caller is authorised for it and the event names it; raises DataKeyNotFound."""
        row_key = rows.data_key_row_key(self._account, self._region, data_key_id)
        return self._admit(data_key_id, self._ctx.table.get(*row_key))

    def get_many(self, data_key_ids: Sequence[str]) -> list[DataKey]:
        """As `get`, for all or none of up to 100 ids; raises DuplicatedDataKeyId."""
        if len(set(data_key_ids)) != len(data_key_ids):
            raise DuplicatedDataKeyId
        wanted = [rows.data_key_row_key(self._account, self._region, i) for i in data_key_ids]
        found = self._ctx.table.batch_get(wanted)
        return [self._admit(i, row) for i, row in zip(data_key_ids, found, strict=True)]

    def list_all(self) -> list[DataKey]:
        """Every data key that is not gone, oldest first."""
        found = rows.list_all(self._ctx.table, self._account, self._region)
        return [d for d in found if not d.is_gone(self._ctx.now)]

    def visible(self) -> list[DataKey]:
        """As `list_all`, but only what the caller may see in the called list, which is authorised by this."""
        return self._ctx.visible("dataKey/*", self.list_all(), self.resource)

    def shown(self, found: Iterable[DataKey]) -> list[DataKey]:
        """Those that ListDataKeys would show to the caller."""
        decide = functools.partial(self._ctx.decide, action="kms:ListDataKeys")
        return [d for d in found if decide(self.resource(d), creator_uin=d.creator_uin, tags=d.tags).allowed]

    def encrypted_under(self, key_id: str) -> list[DataKey]:
        """The data keys that a CMK encrypts, but for those that are pending deletion themselves."""
        return [
            d for d in self.list_all() if d.key_id == key_id and d.state is not DataKeyState.PENDING_DELETE
        ]

    def keys_of(self, data_keys: Sequence[DataKey]) -> list[Key]:
        """The CMK of each, for the service's own use; raises CmkNotFound."""
        found = self._key_rows(data_keys)
        return [self._ctx.keys.peek(found[d.key_id], d.key_id) for d in data_keys]

    def metadata(self, data_keys: Sequence[DataKey]) -> list[dict[str, Any]]:
        """DataKeyMetadata of each, with its CMK's alias; that is empty for a CMK which is gone."""
        found = self._key_rows(data_keys)
        return [d.metadata(self._alias(d.key_id, found[d.key_id])) for d in data_keys]

    def new(
        self,
        key: Key,
        plaintext: bytes,
        blob: str,
        *,
        name: str,
        origin: Origin,
        description: str,
        tags: Mapping[str, str],
    ) -> DataKey:
        """A data key that `key` has encrypted as `blob`, without a context; nothing is written yet."""
        data_key_id = ids.key_id(self._ctx.now_ms)
        # An event is found by the first resource that it names.
        self._ctx.event.resources.insert(0, ("dataKey", data_key_id))
        return DataKey(
            id=data_key_id,
            account=self._account,
            region=self._region,
            creator_uin=self._ctx.caller.uin,
            key_id=key.id,
            name=name,
            number_of_bytes=len(plaintext),
            created_ms=self._ctx.now_ms,
            blob=blob,
            sealed=self._ctx.keys.encrypt(key, plaintext, _context(data_key_id)),
            description=description,
            origin=origin,
            tags=tags,
        )

    def open_import(self, blob: str, key_id: str) -> tuple[Key, bytes]:
        """The CMK of a CiphertextBlob without a context, and the plaintext.

        Raises InvalidKeyId unless the CMK is `key_id`, where that is given, and InvalidImportKeyMaterial.
        """
        try:
            named = ciphertext_blob.decode(blob).key_id
        except Damaged:
            raise InvalidImportKeyMaterial from None
        if key_id not in ("", named):
            raise InvalidKeyId("ImportKeyMaterial is not a ciphertext of the key KeyId.")
        key = self._ctx.keys.to_use(named)
        key.check_generates()
        try:
            return key, self._ctx.keys.open_blob(blob, "")[2]
        except InvalidCiphertext:
            raise InvalidImportKeyMaterial from None

    def create(self, data_key: DataKey) -> None:
        """Commit a new data key; raises DataKeyNameAlreadyExists and DataKeyLimitExceeded."""
        self._commit_name(rows.create(data_key), data_key.name)

    def rename(self, data_key: DataKey, name: str) -> None:
        """Commit another name; raises DataKeyNameAlreadyExists."""
        self._commit_name(rows.replace(data_key, data_key.rename(name)), name)

    def plaintext(self, data_key: DataKey) -> bytes:
        """The data key in plain, if its state and its CMK's allow that; the caller is authorised for the CMK too."""
        data_key.check_shows_plaintext()
        try:
            _, _, plaintext = self._ctx.keys.open_blob(data_key.sealed, _context(data_key.id))
        except CmkDisabled:
            if self._ctx.keys.find_for_service(data_key.key_id).state is KeyState.DISABLED:
                raise
            raise CmkStateNotSupport from None
        except InvalidCiphertext:
            raise InternalError(
                "The stored data key does not open: it was changed outside this service."
            ) from None
        return plaintext

    def resource(self, data_key: DataKey) -> str:
        """The data key's name in policies."""
        return self._name(data_key.creator_uin, data_key.id)

    def _name(self, creator_uin: str, data_key_id: str) -> str:
        return f"qcs::kms:{self._region}:uin/{self._account}:dataKey/creatorUin/{creator_uin}/{data_key_id}"

    def _commit_name(self, ops: Sequence[Op], name: str) -> None:
        """Commit ops of which number 1 takes the name, and number 3 a place of the quota if there is one."""
        try:
            self._ctx.commit(ops, {1: DataKeyNameAlreadyExists, 3: DataKeyLimitExceeded})
        except DataKeyNameAlreadyExists:
            # What is past its deletion date must not be in the way, swept or not.
            if self._make_room(name):
                raise Conflict(()) from None
            raise

    def _make_room(self, name: str) -> bool:
        """Sweep a data key past its deletion date that still has the name; whether the name is free then."""
        row = self._ctx.table.get(*rows.name_row_key(self._account, self._region, name))
        if row is None:
            return True
        owner = rows.data_key_row_key(self._account, self._region, rows.name_owner(row))
        return purge(self._ctx.service, self._region, *owner)

    def _admit(self, data_key_id: str, row: Row | None) -> DataKey:
        self._ctx.event.note("dataKey", data_key_id)
        data_key = rows.from_row(row) if row is not None else None
        if (
            data_key is None
            or (data_key.account, data_key.region, data_key.id) != (self._account, self._region, data_key_id)
            or data_key.is_gone(self._ctx.now)
        ):
            # Who may not touch data keys does not learn which ones exist.
            creators = dict.fromkeys((self._ctx.caller.uin, self._account))
            self._ctx.authorise_one_of(*(self._name(uin, data_key_id) for uin in creators))
            raise DataKeyNotFound
        self._ctx.authorise(self.resource(data_key), creator_uin=data_key.creator_uin, tags=data_key.tags)
        return data_key

    def _key_rows(self, data_keys: Iterable[DataKey]) -> dict[str, Row | None]:
        """The rows of the CMKs, in as few calls as possible."""
        key_ids = sorted({d.key_id for d in data_keys})
        found: list[Row | None] = []
        for start in range(0, len(key_ids), MAX_OPS):
            wanted = [key_row_key(self._account, self._region, i) for i in key_ids[start : start + MAX_OPS]]
            found += self._ctx.table.batch_get(wanted)
        return dict(zip(key_ids, found, strict=True))

    def _alias(self, key_id: str, row: Row | None) -> str:
        try:
            return self._ctx.keys.peek(row, key_id).alias
        except CmkNotFound:
            return ""


def purge(service: Service, region: str, pk: str, sk: str) -> bool:
    """Delete the rows of a data key whose deletion date has passed, with an event of its own; False if there is none.

    Run twice, or by two at once, it deletes once: the row's version is the condition.
    """
    table = service.table(region)
    row = table.get(pk, sk)
    data_key = rows.from_row(row) if row is not None else None
    now_ms = service.clock.now_ms()
    if data_key is None or not data_key.is_gone(now_ms // 1000):
        return False
    event = audit.by_service(
        now_ms, "kms", "DeleteExpiredDataKey", data_key.account, region, ("dataKey", data_key.id)
    )
    try:
        service.trail(region).commit(rows.delete(data_key), event)
    except Conflict:
        return False  # saved or swept by somebody else in between
    return True


def _context(data_key_id: str) -> str:
    """What the sealed plaintext is bound to, beside its CMK's account and region: it opens for no other data key."""
    return json.dumps({"keystead:dataKey": data_key_id})
