"""Rows that decide about access: readable, but with a seal that nobody can make who only writes to the table.

    version = 2 (1 byte) | HMAC-SHA256 (32) | JSON in UTF-8          (docs/formats.md, KS-ROW-2)

The seal covers the row's place, so a row copied to another account, user or policy is damaged. Its key, one for each
account, is kept in the identity table sealed by the HSM, and is opened once per process. What a seal cannot show: that
a row was removed, or put back as it once was.
"""

import hmac
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from chalicelib.formats.canonical import associated_data
from chalicelib.formats.record import UnreadableRecord, decode, encode
from chalicelib.hsm.port import Damaged, Hsm, HsmKey, KeyKind
from chalicelib.table.port import Conflict, Expect, Put, Row, Table, Unacknowledged
from chalicelib.table.tokens import Rewrap

VERSION: Final = b"\x02"
_KEY_BYTES: Final = 32
_HEADER: Final = 33
_TRIES: Final = 4


def rewrapped(row: Row, _domain: str, rewrap: Rewrap) -> Row:
    """The row with another key token, if it has the key of an account's seals."""
    kind, _, account = row.pk.partition("#")
    if (kind, row.sk) != ("AC", "SK"):
        return row
    members = decode(row.body)
    token = bytes.fromhex(members["token"])
    new = rewrap(HsmKey(KeyKind.AES_256, token, _binding(account)))
    return replace(row, body=encode({**members, "token": new.hex()})) if new != token else row


class RowSeals:
    """The seals of all accounts. Safe to use from many threads."""

    def __init__(self, identity: Callable[[], Table], hsm: Callable[[], Hsm]) -> None:
        self._identity = identity
        self._hsm = hsm
        self._seals: dict[str, RowSeal] = {}
        self._lock = threading.Lock()

    def of(self, account: str) -> "RowSeal":
        """The seal of an account's rows."""
        seal = self._seals.get(account)
        if seal is None:
            seal = RowSeal(account, self._identity, self._hsm)
            if seal.is_there():
                # Only accounts that exist take a place: anybody can name one that does not.
                with self._lock:
                    seal = self._seals.setdefault(account, seal)
        return seal


class RowSeal:
    """The seal of one account's rows."""

    def __init__(self, account: str, identity: Callable[[], Table], hsm: Callable[[], Hsm]) -> None:
        self.account = account
        self._identity = identity
        self._hsm = hsm
        self._key = b""

    def is_there(self) -> bool:
        """Whether the account has a key for seals yet: the first row that is sealed makes one."""
        return bool(self._key or self._load())

    def row(self, pk: str, sk: str, members: dict[str, Any], **more: Any) -> Row:
        """The sealed row; `more` as Row takes it."""
        if not self.is_there():
            self._create()
        text = encode(members)[1:]
        return Row(pk=pk, sk=sk, body=VERSION + self._seal(pk, sk, text) + text, **more)

    def members(self, row: Row) -> dict[str, Any]:
        """What the row says; Damaged unless it was sealed in this place."""
        text = row.body[_HEADER:]
        if row.body[:1] != VERSION or not self.is_there():
            raise Damaged
        if not hmac.compare_digest(self._seal(row.pk, row.sk, text), row.body[1:_HEADER]):
            raise Damaged
        members: dict[str, Any] = json.loads(text)
        return members

    def _seal(self, pk: str, sk: str, text: bytes) -> bytes:
        return hmac.digest(self._key, associated_data("sealed-row", pk, sk, text), "sha256")

    def _load(self) -> bytes:
        row = self._identity().get(*self._place)
        if row is not None:
            try:
                members = decode(row.body)
                key = HsmKey(KeyKind.AES_256, bytes.fromhex(members["token"]), _binding(self.account))
                self._key = self._hsm().decrypt(key, bytes.fromhex(members["sealed"]), _binding(self.account))
            except (UnreadableRecord, KeyError, TypeError, ValueError):
                raise Damaged from None
        return self._key

    def _create(self) -> None:
        """Make the key; of those who do so at once, all use the one that was written first."""
        hsm = self._hsm()
        binding = _binding(self.account)
        wrapping = hsm.generate(KeyKind.AES_256, binding)
        sealed = hsm.encrypt(wrapping, hsm.random(_KEY_BYTES), binding)
        body = encode({"token": wrapping.token.hex(), "sealed": sealed.hex()})
        pk, sk = self._place
        for attempt in range(_TRIES):
            try:
                self._identity().write([Put(Row(pk=pk, sk=sk, body=body), Expect.ABSENT)])
            except (Conflict, Unacknowledged):
                if attempt == _TRIES - 1:
                    raise
            if self._load():
                return

    @property
    def _place(self) -> tuple[str, str]:
        return f"AC#{self.account}", "SK"


def _binding(account: str) -> bytes:
    return associated_data("row-seal-key", account)
