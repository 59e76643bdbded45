"""Checks an export of the audit trail with nothing but the public key (docs/audit.md, docs/formats.md, KS-FMT-32).

What is proven is that the events are those that were there when their windows were sealed: unchanged, complete, in
their order, none added. What was removed before that is missed by the events that its writer wrote afterwards.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chalicelib import ids
from chalicelib.audit.chain import fingerprint
from chalicelib.audit.seal import ALGORITHMS, STANDARDS
from chalicelib.formats.audit_digest import (
    DIGEST,
    EVENT,
    FIRST,
    HASH_BYTES,
    HEADER,
    MISSING,
    OTHER,
    TAG_BYTES,
    UNSEALED,
    Leaf,
    MalformedLine,
    SignedDigest,
    key_id,
    parse,
    read_header,
    unhex,
)
from chalicelib.formats.merkle import Tree
from chalicelib.hsm import public

MOST_FINDINGS: Final = 1000
_PAIR: Final = 2


class UnusableKey(ValueError):
    """Not a public key of a kind that digests are signed with."""


@dataclass(slots=True)
class Report:
    """What came out. `findings` are what is wrong, at most MOST_FINDINGS of them; without any, all is well."""

    findings: list[str] = field(default_factory=list)
    found: int = 0
    """How many findings there are."""
    notes: list[str] = field(default_factory=list)
    domain: str = ""
    account: str = ""
    events: int = 0
    """Events that are proven."""
    others: int = 0
    """Events of other accounts, of which only the hash is in the export."""
    digests: int = 0
    first: SignedDigest | None = None
    last: SignedDigest | None = None
    late: int = 0
    """Events that belong to no digest, but to which a sealed one of the same writer bears witness."""
    unsealed: int = 0
    """Events after the last digest."""

    def add(self, finding: str) -> None:
        """Note that something is wrong."""
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)


@dataclass(slots=True)
class _Writer:
    """What is known of one process's chain."""

    lowest: int = 0
    prints: dict[int, str] = field(default_factory=dict)
    """Number -> fingerprint of the events that are there."""
    named: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Number -> fingerprint and who names it, for events that have not come yet."""


class Verifier:
    """Reads an export line by line; `finish` tells what came out."""

    def __init__(
        self,
        public_key: bytes,
        *,
        anchor: Sequence[SignedDigest] = (),
        since: int | None = None,
        until: int | None = None,
        unsealed_ok: bool = False,
    ) -> None:
        """`since` and `until` are what the export must cover, in seconds since 1970; UnusableKey for other keys."""
        self._public_key = public_key
        self._kind = next((kind for kind in ALGORITHMS if _fits(public_key, kind)), None)
        if self._kind is None:
            raise UnusableKey
        self._hash = STANDARDS[self._kind].hash
        self._key_id = key_id(public_key)
        self._anchor = anchor
        self._since, self._until = since, until
        self._unsealed_ok = unsealed_ok
        self._tree = Tree(self._hash)
        self._order: tuple[int, str, int] = (0, "", 0)
        self._writers: dict[str, _Writer] = {}
        self._waiting: list[tuple[int, str, list[Any] | None, str]] = []
        """Unsealed events: line, id, chain, fingerprint."""
        self._vouched: set[tuple[str, int, str]] = set()
        self._anchored: dict[int, list[SignedDigest]] = {}
        for each in anchor:  # one that was appended later does not take the place of the first
            self._anchored.setdefault(each.digest.number, []).append(each)
        self._line = 0
        self._in_window = False
        self.report = Report()
        self._read: dict[str, Callable[[Any, bytes], None]] = {
            HEADER: self._header,
            EVENT: self._event,
            OTHER: self._other,
            MISSING: self._missing,
            DIGEST: self._digest,
            UNSEALED: self._unsealed,
        }

    def feed(self, text: bytes) -> None:
        """Check the next line."""
        self._line += 1
        try:
            self._take(*parse(text))
        except MalformedLine:
            self._say("is not a line of an export")

    def _take(self, kind: str, value: Any, encoded: bytes) -> None:
        if (self._line == 1) != (kind == HEADER) or kind not in self._read:
            raise MalformedLine
        self._read[kind](value, encoded)

    def finish(self) -> Report:
        """Check what only the end can tell."""
        report = self.report
        if self._line == 0:
            report.add("The file is empty.")
        if self._in_window:
            report.add("The events after the last digest have none: the end of the export was cut off.")
        if report.first is None:
            report.add("The export has no digest: it proves nothing.")
        self._check_cover()
        self._check_chains()
        self._check_unsealed()
        return report

    def _say(self, what: str) -> None:
        self.report.add(f"Line {self._line} {what}.")

    def _header(self, value: object, _encoded: bytes) -> None:
        self.report.domain, self.report.account, key = read_header(value)
        if key != self._public_key:
            self._say("names another public key than the one given")

    def _event(self, value: Any, encoded: bytes) -> None:
        self._in_window = True
        event_id, account, at, part = _named(value)
        if self.report.account not in ("", account):
            self._say("has an event of another account in full")
        order = (at, event_id, part)
        if order <= self._order:
            self._say("has an event out of order, or twice")
        self._order = order
        self.report.events += 1
        self._tree.add(Leaf.of(encoded, account, self._hash).data())
        self._follow(value.get("chain"), fingerprint(encoded), event_id, sealed=True)

    def _other(self, value: object, _encoded: bytes) -> None:
        self._in_window = True
        if not isinstance(value, list) or len(value) != _PAIR:
            raise MalformedLine
        leaf = Leaf(unhex(value[0], TAG_BYTES), unhex(value[1], HASH_BYTES))
        if not self.report.account:
            self._say("hides an event in an export of all accounts")
        elif leaf.tag == Leaf.tag_for(self.report.account, leaf.record_hash, self._hash):
            self._say("hides an event of the account")
        self.report.others += 1
        self._tree.add(leaf.data())

    def _missing(self, value: object, _encoded: bytes) -> None:
        self._in_window = True
        if not isinstance(value, list) or len(value) != _PAIR + 1 or not isinstance(value[0], str):
            raise MalformedLine
        leaf = Leaf(unhex(value[1], TAG_BYTES), unhex(value[2], HASH_BYTES))
        self._say(f"stands for the event {value[0]!r}, which was sealed and is gone or changed")
        self._tree.add(leaf.data())

    def _digest(self, value: object, _encoded: bytes) -> None:
        signed = SignedDigest.from_members(value)
        digest, last = signed.digest, self.report.last
        if digest.domain != self.report.domain:
            self._say("has a digest of another domain")
        if digest.key != self._key_id or not self._is_signed(signed):
            self._say("has a digest that the key did not sign")
        if (digest.count, digest.root) != (self._tree.size, self._tree.root()):
            self._say(f"has digest {digest.number}, which does not stand for the events before it")
        if last is not None and (digest.number, digest.start, digest.previous) != (
            last.digest.number + 1,
            last.digest.end,
            last.hash_of(self._hash),
        ):
            self._say(f"has digest {digest.number}, which does not follow the one before it")
        if digest.end <= digest.start or (last is None and digest.number == 1 and digest.previous != FIRST):
            self._say(f"has digest {digest.number} with impossible contents")
        if any(each != signed for each in self._anchored.get(digest.number, ())):
            self._say(f"has digest {digest.number}, which is not the one in the anchor")
        self.report.first = self.report.first or signed
        self.report.last = signed
        self.report.digests += 1
        self._tree = Tree(self._hash)
        self._order = (0, "", 0)
        self._in_window = False

    def _unsealed(self, value: Any, encoded: bytes) -> None:
        if self._in_window:
            self._say("has an unsealed event inside a window")
        event_id, account, _, _ = _named(value)
        if self.report.account not in ("", account):
            self._say("has an event of another account in full")
        chain, mark = value.get("chain"), fingerprint(encoded)
        self._follow(chain, mark, event_id, sealed=False)
        self._waiting.append((self._line, event_id, chain, mark))

    def _is_signed(self, signed: SignedDigest) -> bool:
        assert self._kind is not None  # noqa: S101 - checked when the verifier was made
        try:
            public.verify(
                self._public_key,
                ALGORITHMS[self._kind],
                signed.digest.message(),
                signed.signature,
                is_digest=False,
            )
        except public.BadSignature:
            return False
        return True

    def _follow(self, chain: object, mark: str, event_id: str, *, sealed: bool) -> None:
        """Check what the event names, and whether another one has named it."""
        link = _link(chain)
        if link is None:
            if chain is not None:
                self._say("has an event whose chain cannot be read")
            return
        name, number, after = link
        writer = self._writers.setdefault(name, _Writer(lowest=number))
        writer.lowest = min(writer.lowest, number)
        if number in writer.prints:
            self._say(f"has a second event number {number} of the writer {name}")
        writer.prints.setdefault(number, mark)
        named = writer.named.pop(number, None)
        if named is not None and named[0] != mark:
            self._say(f"has an event that was changed: {named[1]!r} names another one")
        for earlier, its_mark in after:
            if sealed:
                self._vouched.add((name, earlier, its_mark))
            self._look_back(name, writer, earlier, its_mark, event_id)

    def _look_back(self, name: str, writer: _Writer, earlier: int, its_mark: str, event_id: str) -> None:
        known = writer.prints.get(earlier)
        if known is None:
            # Where two name it, both have to mean the same: one of them may have been made up before it was sealed.
            known, _ = writer.named.setdefault(earlier, (its_mark, event_id))
        if known != its_mark:
            self._say(f"names another event number {earlier} of the writer {name} than the one before it")

    def _check_cover(self) -> None:
        first, last = self.report.first, self.report.last
        if first is None or last is None:
            return
        if self._since is not None and first.digest.start > self._since and first.digest.number > 1:
            self.report.add(f"The export begins at {first.digest.start} only: its beginning is missing.")
        if self._until is not None and last.digest.end < self._until:
            self.report.add(f"The export ends at {last.digest.end} already: its end is missing.")
        for each in self._anchor:
            wanted = self._until is None or each.digest.start < self._until
            if each.digest.number > last.digest.number and wanted:
                self.report.add(
                    f"The anchor knows digest {each.digest.number}, and the export ends with {last.digest.number}:"
                    " its end is missing."
                )
                break

    def _check_chains(self) -> None:
        """Events that a later one of their writer names must be there, unless they are older than the export."""
        if self.report.account:
            self.report.notes.append(
                "Chains are checked for events in full only: the export is of one account."
            )
            return
        from_the_start = self.report.first is not None and self.report.first.digest.number == 1
        for name, writer in self._writers.items():
            for number, (_, by) in writer.named.items():
                if from_the_start or number > writer.lowest:
                    self.report.add(
                        f"Event number {number} of the writer {name} is missing: {by!r} names it. It was removed"
                        " before it was sealed."
                    )

    def _check_unsealed(self) -> None:
        last = self.report.last
        for line, event_id, chain, mark in self._waiting:
            link = _link(chain)
            if link is not None and (link[0], link[1], mark) in self._vouched:
                self.report.late += 1
            elif last is not None and self._unsealed_ok and _is_after(event_id, last):
                self.report.unsealed += 1
            else:
                self.report.add(
                    f"Line {line} has the event {event_id!r}, which no digest stands for: it came late, or was"
                    " inserted."
                )
        if self.report.late:
            self.report.notes.append(
                f"{self.report.late} events arrived after their windows were sealed; later events of their writers"
                " bear witness to them."
            )
        if self.report.unsealed:
            self.report.notes.append(
                f"{self.report.unsealed} events after the last digest are not sealed: made-up ones among them, and"
                " the last ones of each writer gone, would not be noticed."
            )


def verify(
    lines: Iterable[bytes], verifier: Verifier, progress: Callable[[int], None] | None = None
) -> Report:
    """Check all lines; `progress` is told the number of lines now and then."""
    for number, text in enumerate(lines, 1):
        verifier.feed(text)
        if progress is not None and number % 10_000 == 0:
            progress(number)
    return verifier.finish()


def _fits(public_key: bytes, kind: Any) -> bool:
    try:
        public.verify(public_key, ALGORITHMS[kind], b"", b"", is_digest=False)
    except public.BadSignature:
        return True
    except ValueError:
        return False
    return False


def _named(value: object) -> tuple[str, str, int, int]:
    """Id, account, time and part of an event; raises MalformedLine."""
    if not isinstance(value, dict):
        raise MalformedLine
    found = value.get("id"), value.get("account"), value.get("at"), value.get("part", 1)
    event_id, account, at, part = found
    if not (isinstance(event_id, str) and isinstance(account, str) and type(at) is type(part) is int):
        raise MalformedLine
    return event_id, account, at, part


def _link(chain: Any) -> tuple[str, int, list[tuple[int, str]]] | None:
    """Writer, number and what was written before, as an event's chain has them; None for anything else."""
    try:
        writer, number, after = chain
        named = [(earlier, mark) for earlier, mark in after]
    except (TypeError, ValueError):
        return None
    numbers, texts = [number, *(n for n, _ in named)], [writer, *(m for _, m in named)]
    if not (all(type(n) is int for n in numbers) and all(isinstance(text, str) for text in texts)):
        return None
    return writer, number, named


def _is_after(event_id: str, last: SignedDigest) -> bool:
    """Whether the event was made after the last window, as far as its id tells."""
    at = ids.request_time_ms(event_id)
    return at is not None and at // 1000 >= last.digest.end
