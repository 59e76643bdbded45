"""Checks an export of the audit trail offline: with the public key that signs its digests, and nothing else.

Written from the documented format (docs/formats.md, KS-FMT-1 and KS-FMT-30 to KS-FMT-32) and apart from the verifier
of the service: neither shares code with the other, so that a mistake in one of them is noticed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keystead import sm2

MOST_FINDINGS: Final = 1000
"""So many findings are kept; `Report.found` counts all."""

_HASH_BYTES: Final = 32
_TAG_BYTES: Final = 16
_INTEGERS: Final = ("number", "start", "end", "sealed_ms", "count")
_BYTES: Final = {"root": _HASH_BYTES, "previous": _HASH_BYTES, "key": _TAG_BYTES, "signature": None}
_DIGEST: Final = ("domain", *_INTEGERS, *_BYTES)
_HEADER: Final = ("version", "domain", "account", "public_key")
_LONGEST_PEM: Final = 1024
_TIME_BASED: Final = 7

_Hash = Callable[[bytes], bytes]


class UnusableKey(ValueError):
    """Not one PEM block with the public key of a domain: P-256 (FIPS 186-5) or SM2 (GB/T 32918)."""


@dataclass
class Report:
    """What came out. `findings` are what is wrong, at most MOST_FINDINGS of them; without any, all is well."""

    findings: list[str] = field(default_factory=list)
    found: int = 0
    """How many findings there are."""
    notes: list[str] = field(default_factory=list)
    """What is in order, and worth knowing."""
    domain: str = ""
    """A region, or `identity`."""
    account: str = ""
    """Whose events are shown in full; empty: everybody's."""
    events: int = 0
    """Events that are proven."""
    others: int = 0
    """Events of other accounts, of which only the hash is in the export."""
    digests: int = 0
    """Digests that are proven."""
    late: int = 0
    """Events that belong to no digest, but to which a sealed one of the same writer bears witness."""
    unsealed: int = 0
    """Events after the last digest."""
    first: int = 0
    """Number of the first digest; 0 where there is none."""
    last: int = 0
    """Number of the last digest; 0 where there is none."""
    start: int = 0
    """Where the time begins that is covered, in seconds since 1970; 0 is the beginning of the trail."""
    end: int = 0
    """The first second after it."""

    @property
    def is_verified(self) -> bool:
        """Whether nothing is wrong."""
        return self.found == 0

    def add(self, finding: str) -> None:
        """Note that something is wrong."""
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)


class PublicKey:
    """The key that signs a domain's digests: `python -m chalicelib.audit public-key` prints it."""

    def __init__(self, pem: str | bytes) -> None:
        """Raises UnusableKey."""
        self.der = _der(pem)
        """SubjectPublicKeyInfo."""
        self._key = _loaded(self.der)
        self.hash: _Hash = sm2.sm3 if isinstance(self._key, sm2.PublicKey) else _sha256
        """What trees and digests are hashed with: SM3 where the key is an SM2 key, else SHA-256 (KS-FMT-30)."""
        self.id = _sha256(self.der)[:_TAG_BYTES]
        """How digests name the key."""

    def is_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (DER) is the key's over `message`."""
        try:
            r, s = decode_dss_signature(signature)  # takes minimal DER alone
            if isinstance(self._key, sm2.PublicKey):
                return self._key.is_signed(message, r, s)
            self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


def verify(
    lines: Iterable[bytes],
    key: PublicKey,
    *,
    anchor: Iterable[bytes] = (),
    since: int | None = None,
    until: int | None = None,
    unsealed_ok: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check an export, line by line with its line ends; memory grows with the events' chains only.

    `anchor` are lines of digests that were kept elsewhere: without it (or `until`) an end that was cut off after a
    digest is not noticed. `since` and `until` are what the export has to cover, in seconds since 1970. `unsealed_ok`
    accepts events after the last digest, for which nothing stands yet. `progress` is told the number of lines read.
    Raises ValueError for an anchor without any digest, which would check nothing.
    """
    kept = _anchored(anchor)
    checking = _Verifier(key, kept, unsealed_ok=unsealed_ok)
    for number, text in enumerate(lines, 1):
        checking.take(number, text)
        if progress is not None and number % 10_000 == 0:
            progress(number)
    return checking.finish(since, until)


# Lines


class _Malformed(ValueError):
    """Not a line of an export in its one spelling."""


@dataclass(frozen=True)
class _Digest:
    domain: str
    number: int
    start: int
    end: int
    sealed_ms: int
    count: int
    root: bytes
    previous: bytes
    key: bytes
    signature: bytes

    def message(self) -> bytes:
        """What is signed (KS-FMT-31)."""
        *signed, _ = astuple(self)
        return _associated_data("audit-digest", *signed)

    def hash(self, hash_: _Hash) -> bytes:
        """What the next digest has as `previous`."""
        return hash_(_associated_data("audit-digest-hash", self.message(), self.signature))


class _Event(NamedTuple):
    id: str
    account: str
    at: int
    part: int
    chain: Any
    record: bytes


def _parsed(text: bytes) -> tuple[str, Any, bytes]:
    """Kind, value, and the record of an event (KS-FMT-32.1 and 32.2)."""
    for kind in ("event", "unsealed"):
        head = f'{{"{kind}":'.encode()
        if text.startswith(head) and text.endswith(b"}\n"):
            body = text[len(head) : -2]
            return kind, _json(body), b"\x01" + body
    members = _json(text)
    if not isinstance(members, dict) or len(members) != 1:
        raise _Malformed
    ((kind, value),) = members.items()
    if kind in ("event", "unsealed") or _spelt(members) != text:
        raise _Malformed
    return kind, value, b""


def _json(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _Malformed from None


def _refuse(_name: str) -> None:
    raise ValueError  # NaN and Infinity are no JSON


def _spelt(members: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:
        raise _Malformed from None


def _digest(value: Any) -> _Digest:
    if not isinstance(value, dict) or tuple(value) != _DIGEST or not isinstance(value["domain"], str):
        raise _Malformed
    numbers = [value[name] for name in _INTEGERS]
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise _Malformed
    found = [_bytes(value[name], size) for name, size in _BYTES.items()]
    return _Digest(value["domain"], *numbers, *found)


def _event(value: Any, record: bytes) -> _Event:
    if not isinstance(value, dict):
        raise _Malformed
    event_id, account, at, part = value.get("id"), value.get("account"), value.get("at"), value.get("part", 1)
    if not (isinstance(event_id, str) and isinstance(account, str) and type(at) is type(part) is int):
        raise _Malformed
    return _Event(event_id, account, at, part, value.get("chain"), record)


def _bytes(value: Any, size: int | None) -> bytes:
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.hex() != value or (size is not None and len(found) != size):
        raise _Malformed
    return found


def _anchored(lines: Iterable[bytes]) -> dict[int, set[_Digest]]:
    """The digests of an anchor by their numbers. A line that was cut off while it was written is passed by.

    One that was appended later under the same number does not take the place of the first: with two, none is right.
    """
    found: dict[int, set[_Digest]] = {}
    is_given = False
    for text in lines:
        is_given = True
        try:
            kind, value, _ = _parsed(text)
            if kind == "digest":
                digest = _digest(value)
                found.setdefault(digest.number, set()).add(digest)
        except _Malformed:
            continue
    if is_given and not found:
        raise ValueError("the anchor has no digest")
    return found


# Chains


class _Link(NamedTuple):
    writer: str
    number: int
    after: list[tuple[int, str]]


def _link(chain: Any) -> _Link | None:
    """[writer, number, [[number, fingerprint], ...]], or None for anything else."""
    try:
        writer, number, after = chain
        named = [(earlier, mark) for earlier, mark in after]
    except (TypeError, ValueError):
        return None
    if not isinstance(writer, str) or not all(isinstance(mark, str) for _, mark in named):
        return None
    if not all(type(each) is int for each in (number, *(earlier for earlier, _ in named))):
        return None
    return _Link(writer, number, named)


@dataclass
class _Writer:
    """One process's chain."""

    lowest: int
    written: dict[int, str] = field(default_factory=dict)
    """Number -> fingerprint of each event that is there."""
    witnessed: set[int] = field(default_factory=set)
    """Numbers of those that a sealed event has named, and rightly."""
    named: dict[int, tuple[str, str, bool]] = field(default_factory=dict)
    """Number -> fingerprint of an event that has not come yet, who names it, and whether that one is sealed."""


# The export


class _Verifier:
    def __init__(self, key: PublicKey, anchor: Mapping[int, set[_Digest]], *, unsealed_ok: bool) -> None:
        self.report = Report()
        self._key = key
        self._anchor = anchor
        self._unsealed_ok = unsealed_ok
        self._line = 0
        self._last: _Digest | None = None
        self._writers: dict[str, _Writer] = {}
        self._waiting: list[tuple[int, str, _Link | None]] = []
        """Unsealed events: line, id, link."""
        self._begin_window()

    def _begin_window(self) -> None:
        self._tree = _Tree(self._key.hash)
        self._order: tuple[int, str, int] = (0, "", 0)

    def take(self, number: int, text: bytes) -> None:
        self._line = number
        try:
            self._take(*_parsed(text))
        except _Malformed:
            self._say("is not a line of an export")

    def _take(self, kind: str, value: Any, record: bytes) -> None:
        if (self._line == 1) != (kind == "keystead_audit"):
            raise _Malformed
        if kind == "keystead_audit":
            self._take_header(value)
        elif kind == "event":
            self._take_event(_event(value, record))
        elif kind in ("other", "missing"):
            self._take_hidden(kind, value)
        elif kind == "digest":
            self._take_digest(_digest(value))
        elif kind == "unsealed":
            self._take_unsealed(_event(value, record))
        else:
            raise _Malformed

    def _say(self, what: str) -> None:
        self.report.add(f"Line {self._line} {what}.")

    def _take_header(self, value: Any) -> None:
        if not isinstance(value, dict) or tuple(value) != _HEADER:
            raise _Malformed
        version, domain, account, encoded = value.values()
        if type(version) is not int or version != 1:
            raise _Malformed
        if not all(isinstance(each, str) for each in (domain, account, encoded)):
            raise _Malformed
        self.report.domain, self.report.account = domain, account
        if encoded != base64.b64encode(self._key.der).decode():
            self._say("names another public key than the one given")

    def _take_event(self, event: _Event) -> None:
        self._check_account(event)
        order = (event.at, event.id, event.part)
        if order <= self._order:
            self._say("has an event out of order, or twice")
        self._order = order
        self.report.events += 1
        record_hash = self._key.hash(event.record)
        self._tree.add(self._tag(event.account, record_hash) + record_hash)
        self._follow(event, is_sealed=True)

    def _take_hidden(self, kind: str, value: Any) -> None:
        """An event of which there is only the leaf."""
        size = 2 if kind == "other" else 3
        if not isinstance(value, list) or len(value) != size or not isinstance(value[0], str):
            raise _Malformed
        tag, record_hash = _bytes(value[-2], _TAG_BYTES), _bytes(value[-1], _HASH_BYTES)
        if kind == "missing":
            self._say(f"stands for the event {value[0]!r}, which was sealed and is gone or changed")
        else:
            self.report.others += 1
            if not self.report.account:
                self._say("hides an event in an export of all accounts")
            elif tag == self._tag(self.report.account, record_hash):
                self._say("hides an event of the account")
        self._tree.add(tag + record_hash)

    def _take_unsealed(self, event: _Event) -> None:
        if self._tree.size:
            self._say("has an unsealed event inside a window")
        self._check_account(event)
        self._waiting.append((self._line, event.id, self._follow(event, is_sealed=False)))

    def _take_digest(self, digest: _Digest) -> None:
        report, last = self.report, self._last
        if digest.domain != report.domain:
            self._say("has a digest of another domain")
        if digest.key != self._key.id or not self._key.is_signed(digest.message(), digest.signature):
            self._say("has a digest that the key did not sign")
        if (digest.count, digest.root) != (self._tree.size, self._tree.root()):
            self._say(f"has digest {digest.number}, which does not stand for the events before it")
        if last is None:
            report.first, report.start = digest.number, digest.start
        elif (digest.number, digest.start, digest.previous) != (
            last.number + 1,
            last.end,
            last.hash(self._key.hash),
        ):
            self._say(f"has digest {digest.number}, which does not follow the one before it")
        if digest.end <= digest.start or (digest.number == 1 and digest.previous != bytes(_HASH_BYTES)):
            self._say(f"has digest {digest.number} with impossible contents")
        if self._anchor.get(digest.number, {digest}) != {digest}:
            self._say(f"has digest {digest.number}, which is not the one in the anchor")
        self._last = digest
        report.last, report.end = digest.number, digest.end
        report.digests += 1
        self._begin_window()

    def _check_account(self, event: _Event) -> None:
        if self.report.account not in ("", event.account):
            self._say("has an event of another account in full")

    def _tag(self, account: str, record_hash: bytes) -> bytes:
        try:
            return self._key.hash(_associated_data("audit-account", account, record_hash))[:_TAG_BYTES]
        except UnicodeEncodeError:  # a lone surrogate, which the service never writes
            raise _Malformed from None

    def _follow(self, event: _Event, *, is_sealed: bool) -> _Link | None:
        """Check an event against those that name it, and those that it names against what they are."""
        link = _link(event.chain)
        if link is None:
            if event.chain is not None:
                self._say("has an event whose chain cannot be read")
            return None
        name, number, after = link
        writer = self._writers.setdefault(name, _Writer(number))
        writer.lowest = min(writer.lowest, number)
        if number in writer.written:
            self._say(f"has a second event number {number} of the writer {name!r}")
        mark = _fingerprint(event.record)
        writer.written[number] = mark
        expected = writer.named.pop(number, None)
        if expected is not None:
            self._compare(writer, number, *expected)
        for earlier, its_mark in after:
            if earlier in writer.written:
                self._compare(writer, earlier, its_mark, event.id, is_sealed)
                continue
            mark, by, was_sealed = writer.named.get(earlier, (its_mark, event.id, is_sealed))
            if mark != its_mark:
                self._say_changed(earlier, by)
            writer.named[earlier] = (mark, by, was_sealed or is_sealed)
        return link

    def _compare(self, writer: _Writer, number: int, mark: str, by: str, is_sealed: bool) -> None:  # noqa: FBT001 - as `named` has it
        if writer.written[number] != mark:
            self._say_changed(number, by)
        elif is_sealed:
            writer.witnessed.add(number)

    def _say_changed(self, number: int, by: str) -> None:
        self._say(f"shows that event number {number} of a writer was changed: {by!r} names another one")

    # The end

    def finish(self, since: int | None, until: int | None) -> Report:
        report = self.report
        if self._line == 0:
            report.add("The file is empty.")
        if self._tree.size:
            report.add("The events after the last digest have none: the end of the export was cut off.")
        if self._last is None:
            report.add("The export has no digest: it proves nothing.")
        else:
            self._check_cover(self._last, since, until)
        self._check_chains()
        self._check_waiting()
        return report

    def _check_cover(self, last: _Digest, since: int | None, until: int | None) -> None:
        report = self.report
        if since is not None and report.start > since and report.first > 1:
            report.add(f"The export begins at {report.start} only: its beginning is missing.")
        if until is not None and last.end < until:
            report.add(f"The export ends at {last.end} already: its end is missing.")
        later = [
            number
            for number, digests in self._anchor.items()
            if number > last.number and (until is None or min(each.start for each in digests) < until)
        ]
        if later:
            report.add(
                f"The anchor knows digest {max(later)}, and the export ends with {last.number}: its end is missing."
            )

    def _check_chains(self) -> None:
        """Events that a later one names must be there, unless they are older than the export."""
        if self.report.account:
            self.report.notes.append(
                "Chains are checked for events in full only: the export is of one account."
            )
            return
        for name, writer in self._writers.items():
            for number, (_, by, _) in writer.named.items():
                if self.report.first == 1 or number > writer.lowest:
                    self.report.add(
                        f"Event number {number} of the writer {name!r} is missing: {by!r} names it. It was removed"
                        " before it was sealed."
                    )

    def _check_waiting(self) -> None:
        report = self.report
        for line, event_id, link in self._waiting:
            if link is not None and link.number in self._writers[link.writer].witnessed:
                report.late += 1
            elif self._unsealed_ok and self._last is not None and _seconds(event_id) >= self._last.end:
                report.unsealed += 1
            else:
                report.add(
                    f"Line {line} has the event {event_id!r}, which no digest stands for: it came late, or was inserted."
                )
        if report.late:
            report.notes.append(
                f"{report.late} events arrived after their windows were sealed; later events of their writers bear"
                " witness to them."
            )
        if report.unsealed:
            report.notes.append(
                f"{report.unsealed} events after the last digest are not sealed: made-up ones among them, and the last"
                " ones of each writer gone, would not be noticed."
            )


class _Tree:
    """A Merkle tree as RFC 6962, 2.1 has it, kept as its complete subtrees: one hash for each bit of the size."""

    def __init__(self, hash_: _Hash) -> None:
        self._hash = hash_
        self._subtrees: list[bytes] = []
        self.size = 0

    def add(self, leaf: bytes) -> None:
        node = self._hash(b"\x00" + leaf)
        size = self.size
        while size & 1:  # a subtree of equal size stands to the left
            node = self._hash(b"\x01" + self._subtrees.pop() + node)
            size >>= 1
        self._subtrees.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self._subtrees:
            return self._hash(b"")
        *left, node = self._subtrees
        for each in reversed(left):
            node = self._hash(b"\x01" + each + node)
        return node


def _associated_data(*parts: str | bytes | int) -> bytes:
    """KS-FMT-1: the domain and the parts, each with its type and length."""
    encoded = [b"keystead\x01"]
    for part in parts:
        if isinstance(part, int):
            kind, value = b"i", part.to_bytes(8, "big")
        elif isinstance(part, str):
            kind, value = b"s", part.encode()
        else:
            kind, value = b"b", part
        encoded += [kind, len(value).to_bytes(4, "big"), value]
    return b"".join(encoded)


def _fingerprint(record: bytes) -> str:
    return base64.urlsafe_b64encode(_sha256(record)[:_TAG_BYTES]).rstrip(b"=").decode()


def _seconds(event_id: str) -> int:
    """The time in an event's id, a UUID of version 7 (RFC 9562, 5.7) in its usual spelling; -1 for others."""
    try:
        value = uuid.UUID(event_id)
    except ValueError:
        return -1
    if value.version != _TIME_BASED or str(value) != event_id:
        return -1
    return (value.int >> 80) // 1000


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# Keys


def _der(pem: str | bytes) -> bytes:
    """The bytes of one PEM block "PUBLIC KEY" (RFC 7468, 3)."""
    try:
        text = pem if isinstance(pem, str) else pem.decode("ascii")
        head, *body, foot = text.split("\n") if len(text) <= _LONGEST_PEM else [""]
        lines = [line.strip() for line in (head, *body, foot) if line.strip()]
        if (lines[0], lines[-1]) != ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"):
            raise UnusableKey
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (ValueError, IndexError):
        raise UnusableKey from None


def _loaded(der: bytes) -> ec.EllipticCurvePublicKey | sm2.PublicKey:
    found = sm2.PublicKey.from_spki(der)
    if found is not None:
        return found
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UnusableKey
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise UnusableKey
    return key
