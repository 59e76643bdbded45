"""Signed digests of the audit trail, and the lines of its exports (docs/formats.md, KS-FMT-30 to KS-FMT-32).

A digest stands for the events that one domain wrote in a window of time: a Merkle root over them, and the hash of the
digest before. Nothing here needs a secret; the signature is made and checked by others.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from chalicelib.formats.canonical import associated_data
from chalicelib.formats.merkle import Hash

HASH_BYTES: Final = 32
TAG_BYTES: Final = 16
FIRST: Final = bytes(HASH_BYTES)
"""What stands for the digest before the first one."""

_MAX_INTEGER: Final = 2**63


class MalformedLine(ValueError):
    """Not a line of an export in its one spelling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What is signed. The window is [start, end), in seconds since 1970 by the writers' clocks."""

    domain: str
    number: int
    """From 1, without gaps."""
    start: int
    end: int
    sealed_ms: int
    """When it was made."""
    count: int
    """How many events."""
    root: bytes
    previous: bytes
    """`hash_of` the digest before."""
    key: bytes
    """The first 16 bytes of SHA-256 of the signing key's SubjectPublicKeyInfo."""

    def message(self) -> bytes:
        """The bytes that are signed."""
        return associated_data("audit-digest", *asdict(self).values())


@dataclass(frozen=True, slots=True)
class SignedDigest:
    """A digest and the signature over its message, in DER."""

    digest: Digest
    signature: bytes

    def hash_of(self, hash_: Hash) -> bytes:
        """What the next digest has as `previous`."""
        return hash_(associated_data("audit-digest-hash", self.digest.message(), self.signature))

    def members(self) -> dict[str, Any]:
        """The digest as JSON has it: bytes in lower-case hexadecimal digits."""
        members = {**asdict(self.digest), "signature": self.signature}
        return {k: v.hex() if isinstance(v, bytes) else v for k, v in members.items()}

    @classmethod
    def from_members(cls, members: object) -> Self:
        """The digest of a line; raises MalformedLine."""
        if not isinstance(members, dict) or tuple(members) != _MEMBERS:
            raise MalformedLine
        values = {name: _value(name, members[name]) for name in _MEMBERS}
        signature = values.pop("signature")
        return cls(Digest(**values), signature)


_SIZES: Final = {"root": HASH_BYTES, "previous": HASH_BYTES, "key": TAG_BYTES}
_INTEGERS: Final = ("number", "start", "end", "sealed_ms", "count")
_MEMBERS: Final = (
    "domain",
    "number",
    "start",
    "end",
    "sealed_ms",
    "count",
    "root",
    "previous",
    "key",
    "signature",
)


def _value(name: str, value: object) -> Any:
    if name == "domain":
        if not isinstance(value, str):
            raise MalformedLine
        return value
    if name in _INTEGERS:
        if type(value) is not int or not 0 <= value < _MAX_INTEGER:
            raise MalformedLine
        return value
    return unhex(value, _SIZES.get(name))


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a tree has of an event: whose it is, in a form that only shows it to who knows the account, and its hash."""

    tag: bytes
    record_hash: bytes

    @classmethod
    def of(cls, record: bytes, account: str, hash_: Hash) -> Self:
        """The leaf of an event's record."""
        record_hash = hash_(record)
        return cls(cls.tag_for(account, record_hash, hash_), record_hash)

    @staticmethod
    def tag_for(account: str, record_hash: bytes, hash_: Hash) -> bytes:
        """The tag of an event with this hash, if it is the account's."""
        return hash_(associated_data("audit-account", account, record_hash))[:TAG_BYTES]

    def data(self) -> bytes:
        """The leaf's bytes in the tree."""
        return self.tag + self.record_hash


def key_id(public_key: bytes) -> bytes:
    """How a digest names the key that signs it."""
    return hashlib.sha256(public_key).digest()[:TAG_BYTES]


def unhex(value: object, size: int | None = None) -> bytes:
    """Bytes from lower-case hexadecimal digits, of `size` if given; raises MalformedLine."""
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.hex() != value or (size is not None and len(found) != size):
        raise MalformedLine
    return found


# Lines of an export: one JSON object with one member, which says what the line is.

HEADER: Final = "keystead_audit"
EVENT: Final = "event"
OTHER: Final = "other"
MISSING: Final = "missing"
DIGEST: Final = "digest"
UNSEALED: Final = "unsealed"

VERSION: Final = 1


def line(kind: str, value: object) -> bytes:
    """A line that is not an event's."""
    text = json.dumps({kind: value}, ensure_ascii=False, separators=(",", ":"))
    return text.encode() + b"\n"


def event_line(kind: str, record: bytes) -> bytes:
    """The line of an event or of one that is not sealed: the record's bytes after its version byte, as they are."""
    return b'{"' + kind.encode() + b'":' + record[1:] + b"}\n"


def parse(text: bytes) -> tuple[str, Any, bytes]:
    """A line's kind and value, and for an event its record; raises MalformedLine.

    A line has one spelling. An event's is that of its record, which the tree authenticates byte by byte.
    """
    for kind in (EVENT, UNSEALED):
        head = b'{"' + kind.encode() + b'":'
        if text.startswith(head) and text.endswith(b"}\n"):
            body = text[len(head) : -2]
            return kind, _json(body), b"\x01" + body
    members = _json(text)
    if not isinstance(members, dict) or len(members) != 1:
        raise MalformedLine
    ((kind, value),) = members.items()
    if kind in (EVENT, UNSEALED) or line(kind, value) != text:
        raise MalformedLine
    return kind, value, b""


def _json(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedLine from None


def _refuse(_name: str) -> None:
    raise ValueError


def header(domain: str, account: str, public_key: bytes) -> bytes:
    """The first line. `account` is empty for all accounts."""
    encoded = base64.b64encode(public_key).decode()
    return line(HEADER, {"version": VERSION, "domain": domain, "account": account, "public_key": encoded})


def read_header(value: object) -> tuple[str, str, bytes]:
    """Domain, account and public key of a header; raises MalformedLine."""
    if not isinstance(value, dict) or tuple(value) != ("version", "domain", "account", "public_key"):
        raise MalformedLine
    domain, account, encoded = value["domain"], value["account"], value["public_key"]
    if (
        value["version"] != VERSION
        or type(value["version"]) is not int
        or not all(isinstance(v, str) for v in (domain, account, encoded))
    ):
        raise MalformedLine
    try:
        public_key = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise MalformedLine from None
    return domain, account, public_key
