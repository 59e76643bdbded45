"""Writes the sealed trail of a domain as JSON lines that prove themselves (docs/formats.md, KS-FMT-32)."""

from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.audit import SEAL
from chalicelib.audit.seal import digest_line, signer
from chalicelib.context import Service
from chalicelib.formats import record
from chalicelib.formats.audit_digest import EVENT, MISSING, OTHER, UNSEALED, Leaf, event_line, header, line
from chalicelib.formats.merkle import Hash
from chalicelib.table import audit_digests as rows
from chalicelib.table.audit_digests import Entry, StoredDigest
from chalicelib.table.port import Row, Table, due_kind, due_position

_PAGE = 1000
_DIGESTS = 100
_MARGIN_SECONDS = 3600
"""Windows whose events are about to expire are left out: an export takes its time."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is exported: the windows that overlap [since, until), in seconds since 1970."""

    since: int = 0
    until: int = 2**40
    account: str = ""
    """Only this account's events in full; empty: everybody's."""
    unsealed: bool = False
    """Events that belong to no digest yet, too."""


def export(service: Service, domain: str, span: Span) -> Iterator[bytes]:
    """The lines of an export, whole windows only, read from the table as they are asked for."""
    table = service.table(domain)
    key = signer(service, domain)
    yield header(domain, span.account, key.public_key())
    hash_ = key.standard.hash
    sealed_until = 0
    for stored in _windows(table, domain, span, service.clock.now() + _MARGIN_SECONDS):
        yield from _window(table, domain, stored, span.account, hash_)
        sealed_until = stored.signed.digest.end
    newest = rows.newest(table, domain)
    if span.unsealed and (newest is None or sealed_until == newest.signed.digest.end):
        for row in _written(table, domain, sealed_until, min(span.until, service.clock.now() + 1)):
            if _is_for(row, span.account):
                yield event_line(UNSEALED, row.body)


def _windows(table: Table, domain: str, span: Span, alive_at: int) -> Iterator[StoredDigest]:
    number, is_first = 0, True
    while True:
        page = rows.after(table, domain, number, _DIGESTS)
        for stored in page:
            digest = stored.signed.digest
            if digest.start >= span.until:
                return
            # Once a window is in, none is left out: a gap would look like a removed digest, and rightly so.
            if not is_first or (digest.end > span.since and stored.events_until > alive_at):
                is_first = False
                yield stored
        if len(page) < _DIGESTS:
            return
        number = page[-1].signed.digest.number


def _window(table: Table, domain: str, stored: StoredDigest, account: str, hash_: Hash) -> Iterator[bytes]:
    digest = stored.signed.digest
    found: dict[bytes, Row] = {}
    for row in _written(table, domain, digest.start, digest.end):
        found.setdefault(hash_(row.body), row)
    sealed = set()
    for entry in rows.entries(table, domain, digest.number):
        written = found.get(entry.leaf.record_hash)
        sealed.add(entry.leaf.record_hash)
        if not account or entry.leaf.tag == Leaf.tag_for(account, entry.leaf.record_hash, hash_):
            yield event_line(EVENT, written.body) if written else _missing(entry)
        else:
            yield line(OTHER, [entry.leaf.tag.hex(), entry.leaf.record_hash.hex()])
    yield digest_line(stored.signed)
    for row in sorted((row for mark, row in found.items() if mark not in sealed), key=lambda row: row.sk):
        if _is_for(row, account):
            yield event_line(UNSEALED, row.body)


def _missing(entry: Entry) -> bytes:
    return line(MISSING, [entry.id, entry.leaf.tag.hex(), entry.leaf.record_hash.hex()])


def _written(table: Table, domain: str, start: int, end: int) -> Iterator[Row]:
    kind, after = due_kind(SEAL, domain), f"{start:012d}"
    while start < end:
        page = table.due(kind, end - 1, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = due_position(page[-1])


def _is_for(row: Row, account: str) -> bool:
    if not account:
        return True
    try:
        return record.decode(row.body).get("account") == account
    except record.UnreadableRecord:
        return True  # whoever made it unreadable must not choose who does not see it
