"""The caller's secrets: read, checked, sealed and opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chalicelib import audit
from chalicelib.errors import AccessKmsError, ApiError, CmkNotFound, ResourceNotFound
from chalicelib.formats import sealed_value
from chalicelib.hsm.port import Damaged
from chalicelib.key_store import DEFAULT_SECRETS_ALIAS, SSM
from chalicelib.model.secret import Secret, SecretVersion
from chalicelib.table import keys as key_rows
from chalicelib.table import secrets as rows
from chalicelib.table.port import MAX_OPS, Conflict

if TYPE_CHECKING:
    from chalicelib.context import Context, Service
    from chalicelib.model.key import BackingKey, Key
    from chalicelib.table.port import Op, Row

_MAX_HINTS: Final = 100_000
_PURGE_AT_ONCE: Final = 20


class SecretStore:
    """The secrets of one account in one region, for one call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._account = ctx.caller.account
        self._region = ctx.region

    def get(self, name: str) -> Secret:
        """The secret, once the caller is authorised for it and the audit event names it; raises ResourceNotFound."""
        return self._admit(name, self._ctx.table.get(*rows.secret_row_key(self._account, self._region, name)))

    def list_all(self) -> list[Secret]:
        """Every secret that is not gone, oldest first, without versions."""
        found = rows.list_all(self._ctx.table, self._account, self._region)
        return [s for s in found if not s.is_gone(self._ctx.now)]

    def sealed_under(self, key_id: str) -> list[str]:
        """The names of the secrets whose values are sealed under a key."""
        names = [s.name for s in self.list_all() if s.key_id == key_id]
        found = [
            row
            for start in range(0, len(names), MAX_OPS)
            for row in self._ctx.table.batch_get(
                [rows.secret_row_key(self._account, self._region, n) for n in names[start : start + MAX_OPS]]
            )
        ]
        return [s.name for s in (rows.from_row(row) for row in found if row is not None) if s.versions]

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
        return len(found) - len(gone) < rows.MAX_SECRETS

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
        return key, key_rows.create(key)

    def seal(self, secret: Secret, version: SecretVersion, key: Key, value: bytes) -> Op:
        """The op that writes the value, sealed for its place under the key's current material."""
        sealed = sealed_value.seal(
            self._ctx.hsm, self._ctx.keys.hsm_key(key, key.current), _place(secret, version), value
        )
        return rows.put_value(secret, version.id, sealed)

    def resource(self, name: str, creator_uin: str) -> str:
        """The secret's name in policies."""
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
            self._ctx.authorise(self.resource(name, self._ctx.caller.uin))
            raise ResourceNotFound("The secret does not exist in this region.")
        self._ctx.authorise(self.resource(name, secret.creator_uin))
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
        audit.commit(table, rows.delete(secret), event.row(service.settings.audit_days))
    except Conflict:
        return False  # restored or swept by somebody else in between
    return True


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
