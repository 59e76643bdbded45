"""The caller's secrets: read, checked, sealed and opened."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from chalicelib import audit
from chalicelib.errors import AccessKmsError, ApiError, CmkNotFound, ResourceNotFound
from chalicelib.formats import sealed_value
from chalicelib.hsm.port import Damaged
from chalicelib.key_store import DEFAULT_SECRETS_ALIAS, SSM
from chalicelib.model.secret import Secret, SecretState, SecretVersion
from chalicelib.table import keys as key_rows
from chalicelib.table import replicas
from chalicelib.table import secrets as rows
from chalicelib.table.port import MAX_OPS, MAX_TIME, Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chalicelib.context import Context, Service
    from chalicelib.model.key import BackingKey, Key
    from chalicelib.table.port import Op, Row, Table

_MAX_HINTS: Final = 100_000
_MAX_LISTED: Final = 10_000
_PURGE_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Listing:
    """All secrets of an account in a region, as they were at one version of its lists."""

    version: int
    secrets: tuple[Secret, ...]
    first_gone_at: int
    """When the first of them is past its deletion date."""
    seen_at: int
    """When the version was first seen."""
    is_settled: bool
    """Whether they were read so much later that they are all of that version."""


class Listings:
    """The lists that were read last, each good until its version is another one. Safe to call from many threads.

    `settling` is for how many seconds a reader may see only some of the rows that one write has changed.
    """

    def __init__(self, settling: int = 0) -> None:
        self._settling = settling
        self._loading = threading.Lock()
        self._read: OrderedDict[tuple[str, str], Listing] = OrderedDict()

    def read(self, table: Table, account: str, region: str, now: int) -> Listing:
        """The list, in one read where nothing has changed since the last call."""
        before = self._read.get((account, region))
        version = rows.lines_version(table, account, region)
        if before is not None and before.version == version and before.is_settled:
            return before
        with self._loading:  # many threads at once would need much memory, all for the same
            last = self._read.get((account, region))
            # Before the lines: what changes in between changes the version, too.
            version = rows.lines_version(table, account, region)
            if last is not None and last.version != version:
                last = None
            if last is not None and last is not before:
                return last  # read by somebody else since this call began
            seen_at = last.seen_at if last is not None else now
            secrets = tuple(rows.list_all(table, account, region))
            dates = [s.delete_at for s in secrets if s.state is SecretState.PENDING_DELETE]
            is_settled = now - seen_at >= self._settling
            listing = Listing(version, secrets, min(dates, default=MAX_TIME), seen_at, is_settled)
            self._remember((account, region), listing)
            return listing

    def _remember(self, place: tuple[str, str], listing: Listing) -> None:
        if len(listing.secrets) > _MAX_LISTED:
            return  # it would drive out all others, and itself
        self._read[place] = listing
        self._read.move_to_end(place)
        while sum(len(each.secrets) or 1 for each in self._read.values()) > _MAX_LISTED:
            self._read.popitem(last=False)


class SecretStore:
    """The secrets of one account in one region, for one call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._account = ctx.caller.account
        self._region = ctx.region

    def get(self, name: str) -> Secret:
        """The secret, once the caller is authorised for it and the audit event names it; raises ResourceNotFound."""
        return self._unless_copied(self.get_copy(name))

    def get_copy(self, name: str) -> Secret:
        """As `get`, for a call that may change a replica, too."""
        return self._admit(name, self._ctx.table.get(*rows.secret_row_key(self._account, self._region, name)))

    def find_many(self, names: Sequence[str]) -> list[Secret | None]:
        """As `get`, for up to 100 names, with None for what does not exist."""
        found: list[Secret | None] = []
        rows_found = self._ctx.table.batch_get(
            [rows.secret_row_key(self._account, self._region, n) for n in names]
        )
        for name, row in zip(names, rows_found, strict=True):
            try:
                found.append(self._unless_copied(self._admit(name, row)))
            except ResourceNotFound:
                found.append(None)
        return found

    def list_all(self) -> Sequence[Secret]:
        """Every secret that is not gone, oldest first, without versions."""
        listings = self._ctx.service.listings
        listing = listings.read(self._ctx.table, self._account, self._region, self._ctx.now)
        if self._ctx.now < listing.first_gone_at:
            return listing.secrets
        return [s for s in listing.secrets if not s.is_gone(self._ctx.now)]

    def visible(self) -> list[Secret]:
        """As `list_all`, but only what the caller may see in the called list, which is authorised by this."""
        return self._ctx.visible("secret/*", self.list_all(), self.resource)

    def shown(self, found: Iterable[Secret]) -> list[Secret]:
        """Those that ListSecrets would show to the caller."""
        decide = functools.partial(self._ctx.decide, action="ssm:ListSecrets")
        return [s for s in found if decide(self.resource(s), creator_uin=s.creator_uin, tags=s.tags).allowed]

    def sealed_under(self, key_id: str) -> list[Secret]:
        """The secrets whose values are sealed under a key."""
        names = [s.name for s in self.list_all() if s.key_id == key_id]
        found = [
            row
            for start in range(0, len(names), MAX_OPS)
            for row in self._ctx.table.batch_get(
                [rows.secret_row_key(self._account, self._region, n) for n in names[start : start + MAX_OPS]]
            )
        ]
        return [s for s in (rows.from_row(row) for row in found if row is not None) if s.versions]

    def make_room(self, name: str) -> bool:
        """Sweep what is past its deletion date and in the way of a new secret; whether there is room for it then."""
        row_key = rows.secret_row_key(self._account, self._region, name)
        purge(self._ctx.service, self._region, *row_key)
        if self._ctx.table.get(*row_key) is not None:
            return False
        found = rows.list_all(self._ctx.table, self._account, self._region)
        gone = [s for s in found if s.is_gone(self._ctx.now)]
        for s in gone[:_PURGE_AT_ONCE]:
            purge(self._ctx.service, self._region, *rows.secret_row_key(s.account, s.region, s.name))
        return len(found) - len(gone) < self._ctx.settings.max_secrets

    def read(self, name: str, version_id: str) -> tuple[SecretVersion, bytes]:
        """A version and its value. Warm, this is one read: the last call's key id and version tell which rows."""
        found = self._read_rows(name, version_id)
        while True:
            try:
                return found[1], self._open(*found)
            except Damaged:
                # The rows of one read may straddle somebody's write: only rows that hold still are damaged.
                again = self._read_rows(name, version_id)
                if again == found:
                    raise AccessKmsError(
                        "The stored value does not open: it was changed outside this service."
                    ) from None
                found = again

    def _read_rows(self, name: str, version_id: str) -> tuple[Secret, SecretVersion, Row | None, Row | None]:
        place = (self._account, self._region, name)
        hint = (*place, version_id)
        key_id, real_id = self._ctx.service.hints.get(hint, ("", version_id))
        wanted = [rows.secret_row_key(*place), rows.value_row_key(*place, real_id)]
        if key_id:
            wanted.append(key_rows.key_row_key(self._account, self._region, key_id))
        secret_row, value_row, key_row = (*self._ctx.table.batch_get(wanted), None)[:3]
        secret = self._admit(name, secret_row)
        version = secret.version(version_id)
        secret.check_readable()
        if (secret.key_id, version.id) != (key_id, real_id):
            self._remember(hint, (secret.key_id, version.id))
            value_row, key_row = self._ctx.table.batch_get(
                [
                    rows.value_row_key(*place, version.id),
                    key_rows.key_row_key(self._account, self._region, secret.key_id),
                ]
            )
        return secret, version, key_row, value_row

    def values(self, secret: Secret, versions: Sequence[SecretVersion]) -> list[bytes]:
        """The values of some versions as they were read, whatever the secret's state, for the service's own use.

        Raises AccessKmsError, or Damaged where the rows were written since.
        """
        if not versions:
            return []
        place = (self._account, self._region, secret.name)
        key_row, *value_rows = self._ctx.table.batch_get(
            [
                key_rows.key_row_key(self._account, self._region, secret.key_id),
                *(rows.value_row_key(*place, version.id) for version in versions),
            ]
        )
        return [
            self._open(secret, version, key_row, value_row)
            for version, value_row in zip(versions, value_rows, strict=True)
        ]

    def key_for(self, key_id: str) -> Key:
        """The CMK for new values: it must exist in the region, be symmetric and enabled, or AccessKmsError."""
        try:
            key = self._ctx.keys.find_for_service(key_id)
            key.check_encrypts()
        except ApiError:
            raise AccessKmsError from None
        return key

    def default_key(self) -> tuple[Key, list[Op]]:
        """Secrets Manager's own CMK, and the ops that create it where it does not exist yet."""
        key = self._ctx.keys.find_default()
        if key is not None:
            return key, []
        key = self._ctx.keys.new(
            alias=DEFAULT_SECRETS_ALIAS,
            usage="ENCRYPT_DECRYPT",
            description="Default key of Secrets Manager",
            owner=SSM,
        )
        return key, key_rows.create(key, self._ctx.settings.max_keys)

    def seal(self, secret: Secret, version: SecretVersion, key: Key, value: bytes) -> Op:
        """The op that writes the value, sealed for its place under the key's current material."""
        sealed = sealed_value.seal(
            self._ctx.hsm, self._ctx.keys.hsm_key(key, key.current), _place(secret, version), value
        )
        return rows.put_value(secret, version.id, sealed)

    def resource(self, secret: Secret) -> str:
        """The secret's name in policies."""
        return self._name(secret.creator_uin, secret.name)

    def _name(self, creator_uin: str, name: str) -> str:
        return f"qcs::ssm:{self._region}:uin/{self._account}:secret/creatorUin/{creator_uin}/{name}"

    def _open(
        self, secret: Secret, version: SecretVersion, key_row: Row | None, value_row: Row | None
    ) -> bytes:
        try:
            key = self._ctx.keys.peek(key_row, secret.key_id)
            key.check_decrypts()
            backing = self._backing(key, version.key_version)
        except ApiError:
            raise AccessKmsError from None
        if value_row is None:
            raise Damaged
        return sealed_value.open_sealed(
            self._ctx.hsm, self._ctx.keys.hsm_key(key, backing), _place(secret, version), value_row.body
        )

    def _backing(self, key: Key, version: int) -> BackingKey:
        for backing in key.backing:
            if backing.version == version:
                return backing
        row = self._ctx.table.get(*key_rows.backing_row_key(key.account, key.region, key.id, version))
        if row is None:
            raise CmkNotFound
        return key_rows.backing_from_row(row)

    def _admit(self, name: str, row: Row | None) -> Secret:
        self._ctx.event.note("secret", name)
        secret = rows.from_row(row) if row is not None else None
        if (
            secret is None
            or (secret.account, secret.region, secret.name) != (self._account, self._region, name)
            or secret.is_gone(self._ctx.now)
        ):
            # Who may not touch secrets does not learn which ones exist.
            creators = dict.fromkeys((self._ctx.caller.uin, self._account))
            self._ctx.authorise_one_of(*(self._name(uin, name) for uin in creators))
            raise ResourceNotFound("The secret does not exist in this region.")
        self._ctx.authorise(self.resource(secret), creator_uin=secret.creator_uin, tags=secret.tags)
        return secret

    def _unless_copied(self, secret: Secret) -> Secret:
        """The secret, unless the call would change a replica."""
        if not self._ctx.event.is_read:
            secret.check_own()
        return secret

    def _remember(self, hint: tuple[str, ...], needed: tuple[str, str]) -> None:
        hints = self._ctx.service.hints
        if len(hints) >= _MAX_HINTS:
            hints.clear()
        hints[hint] = needed


def purge(service: Service, region: str, pk: str, sk: str) -> bool:
    """Delete the rows of a secret whose deletion date has passed, with an event of its own; False if there is none.

    Run twice, or by two at once, it deletes once: the row's version is the condition.
    """
    table = service.table(region)
    row = table.get(pk, sk)
    secret = rows.from_row(row) if row is not None else None
    now_ms = service.clock.now_ms()
    if secret is None or not secret.is_gone(now_ms // 1000):
        return False
    event = audit.by_service(
        now_ms, "ssm", "DeleteExpiredSecret", secret.account, region, ("secret", secret.name)
    )
    try:
        service.trail(region).commit(rows.delete(secret), event)
    except Conflict:
        return False  # restored or swept by somebody else in between
    return True


def replication_status(table: Table, secret: Secret, row_version: int) -> list[dict[str, Any]]:
    """How far the replicas of a primary are behind this version of its row, as the API spells it."""
    found = replicas.statuses(table, secret, secret.replicas)
    return [
        {
            "Region": replica.region,
            "KmsKeyId": replica.key_id,
            "Status": "Failed"
            if status.message
            else "InSync"
            if status.serial == row_version
            else "InProgress",
            "StatusMessage": status.message,
            "LastSyncedTime": status.at,
        }
        for replica, status in zip(secret.replicas, found, strict=True)
    ]


def _place(secret: Secret, version: SecretVersion) -> tuple[str | int, ...]:
    """What a sealed value is bound to: a row copied or put back anywhere else does not open."""
    return (
        secret.account,
        secret.region,
        secret.name,
        secret.uid,
        version.id,
        version.serial,
        "binary" if version.is_binary else "string",
        secret.key_id,
        version.key_version,
    )
