"""Encrypted columns for SQLAlchemy 2 (extra `keystead[sqlalchemy]`).

    class Customer(Base):
        __tablename__ = "customers"
        id: Mapped[int] = mapped_column(primary_key=True)
        card: Mapped[str | None] = mapped_column(Encrypted(client, "customers.card"))
        card_index: Mapped[str | None] = mapped_column(BlindIndex(index_key, "customers.card"), index=True)

Each value is one message of docs/encryption-sdk-format.md, bound to the name of its column, in a column of bytes. NULL stays NULL.
docs/integrations.md says what is protected and what is not, and how to migrate.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from secrets import token_bytes
from typing import Any, Final, Literal

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Dialect,
    Engine,
    Enum,
    LargeBinary,
    Null,
    String,
    Table,
    and_,
    literal,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.exc import DontWrapMixin, InvalidRequestError
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine

from keystead.credentials import CredentialError
from keystead.encryption.client import Client
from keystead.encryption.errors import EncryptionError

COLUMN: Final = "column"
"""The name in the context under which a message has the name of its column."""
ROW: Final = "row"
"""The name in the context under which the message of a RowEncrypted attribute has the primary key of its row."""

_INDEX_KEY_BYTES: Final = 32
_INDEX_PURPOSE: Final = {"purpose": "blind index"}
_INDEX_INFO: Final = b"keystead blind index 1 "

Kind = type[TypeEngine[Any]] | TypeEngine[Any]
"""A type of SQLAlchemy, or its class."""


class ColumnError(EncryptionError, DontWrapMixin):
    """A value could not be encrypted or decrypted; `__cause__` is the EncryptionError or CredentialError, if it is one.

    SQLAlchemy does not wrap it. Any other error it does, with the statement's parameters in the message, here still in plain.
    """


class _Codec:
    """Values of one of SQLAlchemy's types as bytes, and back."""

    def __init__(self, client: Client, name: str, kind: Kind, context: Mapping[str, str] | None) -> None:
        made = kind() if isinstance(kind, type) else kind
        self._encode: Callable[[Any], bytes]
        self._decode: Callable[[bytes], Any]
        if isinstance(made, LargeBinary):
            self._encode, self._decode = _bytes, bytes
        elif isinstance(made, JSON):
            self._encode, self._decode = _json, json.loads
        elif isinstance(made, String) and not isinstance(made, Enum):
            self._encode, self._decode = str.encode, bytes.decode
        else:
            raise TypeError("An encrypted column is a String, LargeBinary or JSON.")
        if not {COLUMN, ROW}.isdisjoint(context or {}):
            raise ValueError(f"The names {COLUMN} and {ROW} of a context belong to the column.")
        self._client, self._name = client, name
        self._context = {**(context or {}), COLUMN: name}

    def seal(self, value: Any, **more: str) -> bytes | None:
        if value is None:
            return None
        try:
            return self._client.encrypt(self._encode(value), self._context | more)
        except Exception as error:  # noqa: BLE001 - see ColumnError
            failure = _failure(f"A value of {self._name} cannot be encrypted", error)
        raise failure

    def open(self, message: Any, **more: str) -> Any:
        if message is None:
            return None
        try:
            return self._decode(self._client.decrypt(_bytes(message), self._context | more).plaintext)
        except Exception as error:  # noqa: BLE001 - see ColumnError
            failure = _failure(f"A value of {self._name} cannot be decrypted", error)
        raise failure


class _NullOnly(TypeDecorator.Comparator[Any]):
    """Ciphertexts say nothing about values, but for NULL."""

    _comparing: frozenset[Any] = frozenset()

    def operate(self, op: Any, *other: Any, **options: Any) -> Any:
        """Only what can be answered."""
        if op in self._comparing:
            return super().operate(op, *other, **options)
        if op in _ASKING and len(other) == 1:
            # With itself SQLAlchemy compares a column where it looks it up.
            is_itself = isinstance(other[0], ColumnElement) and hash(other[0]) == hash(self.expr)
            if other[0] is None or isinstance(other[0], Null) or is_itself:
                return super().operate(op, *other, **options)
        raise InvalidRequestError(
            f"An encrypted column cannot be compared, searched or sorted ({op.__name__}): only IS NULL, and a "
            "BlindIndex is for equality."
        )

    reverse_operate = operate


class _Equality(_NullOnly):
    _comparing = frozenset((operators.eq, operators.ne, operators.in_op, operators.not_in_op))


_ASKING: Final = (operators.eq, operators.ne, operators.is_, operators.is_not)


class Encrypted(TypeDecorator[Any]):
    """The type of an encrypted column.

    - `name`: what its values are bound to, "table.column". It stays the same when the column is renamed: values that were written
      under another name do not open.
    - `type_`: String (any text), LargeBinary or JSON: what the values are in Python.
    - `context`: more pairs that each value gets, and must have.

    Raises ColumnError in statements. Comparisons raise InvalidRequestError, except for `is_(None)` and `is_not(None)`; what SQLAlchemy
    does not ask a type about (`order_by(column)`, `distinct`, `group_by`, functions) sees the messages.
    """

    impl = LargeBinary
    cache_ok = True
    comparator_factory = _NullOnly

    def __init__(
        self,
        client: Client,
        name: str,
        type_: Kind = String,
        context: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        # By these, which are named as the parameters are, SQLAlchemy tells one type from another in its cache.
        self.client, self.name, self.type_ = client, name, type_
        self.context = tuple(sorted((context or {}).items()))
        self._codec = _Codec(client, name, type_, context)

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """The message."""
        return self._codec.seal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The value, which is authentic."""
        return self._codec.open(value)

    def __repr__(self) -> str:
        return f"Encrypted({self.name!r})"


class RowEncrypted:
    """An attribute of a mapped class whose value is bound to its row as well: in another row it does not open.

        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        card_sealed: Mapped[bytes | None]
        card = RowEncrypted(client, "customers.card", "card_sealed")

    - `stored`: the attribute with the messages, of bytes.
    - `key`: the attribute with the row's primary key. It must have its value before this one is set, so it cannot be one that the
      database makes. Its text (`str`) is in the context.

    It is decrypted each time it is read, and costs a call to KMS each time unless the client has a cache: no two rows share a data
    key. Raises ColumnError.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        stored: str,
        *,
        key: str = "id",
        type_: Kind = String,
        context: Mapping[str, str] | None = None,
    ) -> None:
        self._codec = _Codec(client, name, type_, context)
        self._name, self._stored, self._key = name, stored, key

    def __get__(self, row: object | None, owner: type) -> Any:
        """The value of the row; of the class, this."""
        if row is None:
            return self
        return self._codec.open(getattr(row, self._stored), **{ROW: self._row(row)})

    def __set__(self, row: object, value: Any) -> None:
        """Encrypt the value."""
        setattr(row, self._stored, self._codec.seal(value, **{ROW: self._row(row)}))

    def _row(self, row: object) -> str:
        key = getattr(row, self._key)
        if key is None:
            raise ColumnError(f"Give the row its key ({self._key}) before its {self._name}.")
        return str(key)


class BlindIndexKey:
    """The secret of blind indexes, 32 bytes, kept as a message that `create` made. Threads may share it.

    KMS is asked for it at the first use of each name, and not again.
    """

    def __init__(self, client: Client, message: bytes) -> None:
        self._client, self._message = client, message
        self._macs: dict[str, hmac.HMAC] = {}

    @staticmethod
    def create(client: Client) -> bytes:
        """A new secret, encrypted. Keep the message where the application's settings are: without it, indexes must be made anew."""
        return client.encrypt(token_bytes(_INDEX_KEY_BYTES), _INDEX_PURPOSE)

    def digest(self, name: str, text: str) -> bytes:
        """32 bytes: HMAC-SHA-256 (RFC 2104) of the text, with a key for each name by HKDF-Expand (RFC 5869).

        Raises what the client raises.
        """
        mac = self._macs.get(name)
        if mac is None:
            key = self._client.decrypt(self._message, _INDEX_PURPOSE).plaintext
            own = HKDFExpand(hashes.SHA256(), _INDEX_KEY_BYTES, _INDEX_INFO + name.encode()).derive(key)
            mac = self._macs[name] = hmac.HMAC(own, hashes.SHA256())
        mac = mac.copy()
        mac.update(text.encode())
        return mac.finalize()


class BlindIndex(TypeDecorator[Any]):
    """The type of a column by which an encrypted one is found: it is given the text, and keeps a keyed hash of it.

        select(Customer).where(Customer.card_index == "4000 1234")

    - `name`: "table.column"; indexes of one name and key have equal hashes for equal texts.
    - `normalize`: makes one of texts that should be found as one (`str.casefold`).

    It tells whoever reads the table which rows have equal values; see docs/integrations.md before you use it. What is read from it is
    the hash. Raises ColumnError in statements; comparisons other than ==, != and IN raise InvalidRequestError.
    """

    impl = LargeBinary
    cache_ok = True
    comparator_factory = _Equality

    def __init__(self, key: BlindIndexKey, name: str, normalize: Callable[[str], str] | None = None) -> None:
        super().__init__(32)
        self.key, self.name, self.normalize = key, name, normalize

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """The hash of the text."""
        if value is None:
            return None
        if not isinstance(value, str):
            # A hash that was read and written again would be hashed twice.
            raise ColumnError(f"A blind index of {self.name} is made of text only.")
        try:
            return self.key.digest(self.name, self.normalize(value) if self.normalize else value)
        except Exception as error:  # noqa: BLE001 - see ColumnError
            failure = _failure(f"A blind index of {self.name} cannot be made", error)
        raise failure

    def __repr__(self) -> str:
        return f"BlindIndex({self.name!r})"


def render_item(kind: str, item: object, autogen_context: object) -> str | Literal[False]:  # noqa: ARG001 - Alembic's
    """For Alembic: `context.configure(..., render_item=render_item)`. Revisions have columns of bytes, and need no client."""
    if kind == "type" and isinstance(item, Encrypted):
        return "sa.LargeBinary()"
    if kind == "type" and isinstance(item, BlindIndex):
        return "sa.LargeBinary(length=32)"
    return False


def heal(engine: Engine, client: Client, column: Column[Any], *, batch: int = 500) -> int:
    """`Client.heal` for each value of a column of messages that lacks an EDK; how many values were written anew."""
    return _rewrite(engine, column, batch, lambda old: client.heal(old) if client.missing(old) else old)


def reencrypt(engine: Engine, client: Client, column: Column[Any], *, batch: int = 500) -> int:
    """Encrypt each value of a column of messages anew, under the client's CMKs and suite and the value's own context.

    How many were written. The client must be able to open them; afterwards no value has EDKs of other CMKs, backups aside.
    """

    def again(old: bytes) -> bytes:
        found = client.decrypt(old)
        return client.encrypt(found.plaintext, found.context)

    return _rewrite(engine, column, batch, again)


def encrypt_existing(engine: Engine, plain: Column[Any], *targets: Column[Any], batch: int = 500) -> int:
    """Give each row where the first target is NULL and `plain` is not the values of `plain` in the targets; how many rows.

    Targets are columns of the same table, Encrypted and BlindIndex. It goes on where it was killed.
    """
    table, keys = _table_of(plain)
    empty = and_(targets[0].is_(None), plain.is_not(None))
    written = 0
    for rows in _batches(engine, keys, plain, empty, batch):
        with engine.begin() as connection:
            for *key, value in rows:
                change = update(table).where(_is(keys, key), empty).values(dict.fromkeys(targets, value))
                written += connection.execute(change).rowcount
    return written


def _rewrite(engine: Engine, column: Column[Any], batch: int, change: Callable[[bytes], bytes]) -> int:
    """Change messages, batch by batch in the order of the primary key. A value that changes meanwhile is left alone."""
    table, keys = _table_of(column)
    raw = type_coerce(column, LargeBinary)
    written = 0
    for rows in _batches(engine, keys, raw, raw.is_not(None), batch):
        changed = [(key, bytes(old), change(bytes(old))) for *key, old in rows]
        with engine.begin() as connection:
            for key, old, new in changed:
                if new != old:
                    where = _is(keys, key), raw == old
                    values = {column: literal(new, LargeBinary)}
                    written += connection.execute(update(table).where(*where).values(values)).rowcount
    return written


def _batches(
    engine: Engine, keys: list[Column[Any]], column: Any, condition: Any, batch: int
) -> Iterable[list[tuple[Any, ...]]]:
    query = select(*keys, column).where(condition).order_by(*keys).limit(batch)
    after = query
    while True:
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(after)]
        if rows:
            yield rows
        if len(rows) < batch:
            return
        after = query.where(tuple_(*keys) > rows[-1][: len(keys)])


def _table_of(column: Column[Any]) -> tuple[Table, list[Column[Any]]]:
    table: object = column.table
    if not isinstance(table, Table) or not list(table.primary_key):
        raise ValueError("The column is one of a Table (`Customer.__table__.c.card`) with a primary key.")
    return table, list(table.primary_key)


def _is(keys: list[Column[Any]], values: Iterable[Any]) -> Any:
    return and_(*(key == value for key, value in zip(keys, values, strict=True)))


def _failure(what: str, error: Exception) -> ColumnError:
    """What to raise, where `error` is not being handled any more: others than these may have a part of the value."""
    failure = ColumnError(f"{what} ({type(error).__name__}).")
    failure.__cause__ = error if isinstance(error, EncryptionError | CredentialError) else None
    return failure


def _bytes(value: Any) -> bytes:
    return bytes(memoryview(value))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
