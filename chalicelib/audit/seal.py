"""Seals the audit trail: signed digests over what was written, each with the hash of the one before.

A window ends GRACE_SECONDS ago, so that what was on its way has arrived; windows follow one another without gaps, and a
window without events is joined to the next one. What arrives later still belongs to no digest, and `verify` says so.
"""

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chalicelib import ids
from chalicelib.audit import DAY, NOBODY, SEAL, by_service
from chalicelib.context import IDENTITY, Service
from chalicelib.formats import record
from chalicelib.formats.audit_digest import (
    DIGEST,
    FIRST,
    Digest,
    Leaf,
    MalformedLine,
    SignedDigest,
    key_id,
    line,
    parse,
)
from chalicelib.formats.merkle import Standard, Tree
from chalicelib.hsm import public
from chalicelib.hsm.port import Hsm, HsmKey, KeyKind, SignatureAlgorithm
from chalicelib.table import audit_digests as rows
from chalicelib.table.audit_digests import Entry, StoredDigest
from chalicelib.table.port import Conflict, Row, Table, Unacknowledged, due_kind, due_position

_log: Final = logging.getLogger("keystead")
GRACE_SECONDS: Final = 120
_PAGE: Final = 1000
_AT_ONCE: Final = 100

KINDS: Final = {Standard.SM: KeyKind.SM2, Standard.FIPS: KeyKind.EC_P256}
ALGORITHMS: Final = {
    KeyKind.SM2: SignatureAlgorithm.SM2DSA,
    KeyKind.EC_P256: SignatureAlgorithm.ECC_P256_R1,
}
STANDARDS: Final = {kind: standard for standard, kind in KINDS.items()}


class DamagedDigest(Exception):
    """The newest digest is gone, or not signed by the domain's key. Nothing is sealed on top of such a table."""


class AnchorDiffers(Exception):
    """The anchor has a digest that the table has not: the table was changed or put back, or the anchor was."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The key that signs a domain's digests; it is the service's own and belongs to no account."""

    hsm: Hsm
    key: HsmKey

    @property
    def standard(self) -> Standard:
        """The hash that goes with the key."""
        return STANDARDS[self.key.kind]

    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""
        return self.hsm.public_key(self.key)

    def sign(self, digest: Digest) -> SignedDigest:
        """The digest with its signature."""
        algorithm = ALGORITHMS[self.key.kind]
        return SignedDigest(digest, self.hsm.sign(self.key, algorithm, digest.message(), is_digest=False))

    def check(self, signed: SignedDigest) -> None:
        """Raise DamagedDigest unless the digest is signed by this key."""
        try:
            public.verify(
                self.public_key(),
                ALGORITHMS[self.key.kind],
                signed.digest.message(),
                signed.signature,
                is_digest=False,
            )
        except public.BadSignature:
            raise DamagedDigest from None


def signer(service: Service, domain: str) -> Signer:
    """The domain's signing key, made on first use; that is an event of the trail too."""
    table, hsm = service.table(domain), service.hsm(domain)
    binding = rows.key_binding(domain)
    row = table.get(*rows.key_row_key(domain))
    if row is not None:
        return Signer(hsm, HsmKey(*rows.key_from_row(row), binding))
    # Identity data belongs to all regions: it takes the standard of the first one.
    regions = service.settings.regions
    standard = Standard(regions.get(domain) or next(iter(regions.values())))
    made = Signer(hsm, hsm.generate(KINDS[standard], binding))
    now_ms = service.clock.now_ms()
    name = key_id(made.public_key()).hex()
    region = "" if domain == IDENTITY else domain
    event = by_service(now_ms, "cloudaudit", "CreateSealingKey", NOBODY, region, ("sealingKey", name))
    op = rows.create_key(domain, made.key.kind, made.key.token, now_ms // 1000)
    try:
        service.trail(domain).commit([op], event)
    except Conflict:
        return signer(service, domain)  # another process was faster
    return made


@dataclass(slots=True)
class Outcome:
    """What sealing did; `failed` counts rows that could not be read, and an anchor that could not be written."""

    events: int = 0
    digests: int = 0
    failed: int = 0
    finished: bool = False


def seal(service: Service, domain: str, *, max_seconds: float, max_events: int = rows.MAX_EVENTS) -> Outcome:
    """Seal what a domain has written until GRACE_SECONDS ago, and bring the anchor up to date.

    Killed anywhere or run by two at once, every event is in one digest: the next digest's number is the condition, and
    what it stands for is written with it.
    """
    outcome = Outcome()
    finish = time.monotonic() + max_seconds
    upto = service.clock.now() - GRACE_SECONDS
    key = signer(service, domain)
    last = rows.newest(service.table(domain), domain)
    if last is not None:
        key.check(last.signed)
    while time.monotonic() < finish:
        made = _next_digest(service, domain, key, last, upto, max_events, outcome)
        if made is None:
            outcome.finished = True
            break
        last = made
    folder = service.settings.audit_anchor
    if folder is not None:
        try:
            anchor(service.table(domain), domain, folder)
        except (AnchorDiffers, OSError) as error:
            outcome.failed += 1
            _log.error("audit anchor of %s: %s", domain, type(error).__name__)
    return outcome


def _next_digest(  # noqa: PLR0917 - one caller
    service: Service,
    domain: str,
    key: Signer,
    last: StoredDigest | None,
    upto: int,
    max_events: int,
    outcome: Outcome,
) -> StoredDigest | None:
    """Seal one window that ends at `upto` or, if there is too much, earlier; None if nothing is left to seal."""
    table = service.table(domain)
    start = last.signed.digest.end if last else 0
    found, end, failed = _read(table, domain, start, upto, max_events)
    if failed:
        outcome.failed += failed
        _log.error("audit trail of %s: %d rows are no events", domain, failed)
    if not found:
        return None
    hash_ = key.standard.hash
    tree = Tree(hash_)
    entries = []
    for row in found:
        members = record.decode(row.body)
        entry = Entry(members["id"], Leaf.of(row.body, members["account"], hash_))
        tree.add(entry.leaf.data())
        entries.append(entry)
    signed = key.sign(
        Digest(
            domain=domain,
            number=last.signed.digest.number + 1 if last else 1,
            start=start,
            end=end,
            sealed_ms=service.clock.now_ms(),
            count=tree.size,
            root=tree.root(),
            previous=last.signed.hash_of(hash_) if last else FIRST,
            key=key_id(key.public_key()),
        )
    )
    lives = [row.expires_at or 0 for row in found]
    stored = StoredDigest(signed, min(lives))
    try:
        table.write(rows.create(stored, entries, max(lives) + DAY, last))
    except Conflict:
        other = rows.newest(table, domain)
        if other is None or other.signed.digest.number < signed.digest.number:
            raise DamagedDigest from None  # somebody has removed the newest one only
        key.check(other.signed)
        return other  # another run was faster; go on from there
    except Unacknowledged:
        written = rows.newest(table, domain)
        if written is None or written.signed != signed:
            raise
    outcome.digests += 1
    outcome.events += tree.size
    return replace(stored, row_version=last.row_version + 1 if last else 1)


def _read(table: Table, domain: str, start: int, upto: int, max_events: int) -> tuple[list[Row], int, int]:
    """The events written in [start, end) in the order of the trail, that end, and how many rows are none."""
    end, failed = upto, 0
    found: list[Row] = []
    after = f"{start:012d}"
    kind = due_kind(SEAL, domain)
    while start < upto:
        page = table.due(kind, upto - 1, after=after, limit=_PAGE)
        for row in page:
            if _is_event(row):
                found.append(row)
            else:
                failed += 1
        if len(page) < _PAGE:
            break
        after = due_position(page[-1])
        if not found:
            continue
        first, newest = _written(found[0]), _written(found[-1])
        if len(found) >= max_events and newest > first:
            # A second is sealed as a whole: what came of the last one may not be all of it.
            end = newest
            found = [row for row in found if _written(row) < end]
            break
    found.sort(key=lambda row: row.sk)
    return found, end, failed


def _written(row: Row) -> int:
    return row.due.at if row.due else 0


def _is_event(row: Row) -> bool:
    try:
        members = record.decode(row.body)
    except record.UnreadableRecord:
        return False
    return (
        isinstance(members.get("account"), str)
        and isinstance(members.get("id"), str)
        and ids.request_time_ms(members["id"]) is not None
    )


# The anchor: a file for each domain, to which every digest is appended, kept where the table's writers cannot reach.


def anchor(table: Table, domain: str, folder: Path) -> int:
    """Append the digests that the domain's anchor lacks; how many. Raises AnchorDiffers, OSError."""
    path = folder / f"{domain}.jsonl"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    last, is_whole = _newest_anchored(path)
    number = last.digest.number if last else 0
    if last is not None:
        newest = rows.newest(table, domain)
        # The newest is there for ever, older ones as long as their events.
        kept = [*rows.after(table, domain, number - 1, 1), *([newest] if newest else [])]
        if last not in [each.signed for each in kept]:
            raise AnchorDiffers
    appended = 0
    while True:
        page = rows.after(table, domain, number, _AT_ONCE)
        if page:
            _append(path, [each.signed for each in page], is_whole=is_whole)
            is_whole = True
            appended += len(page)
            number = page[-1].signed.digest.number
        if len(page) < _AT_ONCE:
            return appended


def digest_line(signed: SignedDigest) -> bytes:
    """A digest as it stands in exports and anchors."""
    return line(DIGEST, signed.members())


def read_anchor(text: bytes) -> list[SignedDigest]:
    """The digests of an anchor, but for lines that were cut off while they were written."""
    found = []
    for each in text.splitlines(keepends=True):
        with contextlib.suppress(MalformedLine):
            kind, value, _ = parse(each)
            if kind == DIGEST:
                found.append(SignedDigest.from_members(value))
    return found


def _newest_anchored(path: Path) -> tuple[SignedDigest | None, bool]:
    """The last digest of the file, and whether the file ends where a line does."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8192))
            tail = file.read()
    except FileNotFoundError:
        return None, True
    digests = read_anchor(tail)
    if size and not digests:
        raise AnchorDiffers
    return (digests[-1] if digests else None), tail.endswith(b"\n") or not tail


def _append(path: Path, digests: Sequence[SignedDigest], *, is_whole: bool) -> None:
    """Append lines; after a run that was cut off inside one, on a new line."""
    text = b"".join(digest_line(each) for each in digests)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text if is_whole else b"\n" + text)
        file.flush()
        os.fsync(file.fileno())
