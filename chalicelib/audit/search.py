"""Finds an account's events, newest first, with a bounded number of reads for each page (docs/audit.md).

An event is in the table of the domain that its call touched, so every search merges several tables, and in each of them
the shards of an index or of a day. A page ends when it is full, or when it has looked at so many events or days that
held nothing: then the next page goes on from a position that says how far this one got.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chalicelib import ids
from chalicelib.audit import DAY, SHARDS, partition, pointed
from chalicelib.audit.attributes import EVENT_NAME, REQUEST_ID, Attribute, fits, indexed
from chalicelib.context import IDENTITY, Service
from chalicelib.formats import record
from chalicelib.table import accounts
from chalicelib.table.port import Row, Table

MOST_LOOKED_AT: Final = 2_000
"""Events that one page looks at, at most."""
MOST_DAYS: Final = 8
"""Days without an index that one page goes back through, at most."""

_FIRST_PAGE: Final = 16
_NEXT_PAGE: Final = 100
_MILLISECONDS: Final = 1000
_TIE_BITS: Final = 12
_AFTER_ALL: Final = "~"

Members = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """Events of an account from `since` to `until`, seconds since 1970 and both included, that fit every attribute."""

    account: str
    since: int
    until: int
    attributes: Sequence[Attribute]
    """Several EventName mean any of them."""

    @property
    def low(self) -> str:
        """A text below the `sk` of all events of that time."""
        return f"{self.since * _MILLISECONDS:013d}"

    @property
    def high(self) -> str:
        """A text above them."""
        return f"{(self.until + 1) * _MILLISECONDS:013d}"


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, newest first, and the position where the next page begins; 0 if there is none."""

    events: list[Members]
    position: int


@dataclass(frozen=True, slots=True)
class _Found:
    """An event, or, without a row, the news that all events above `sk` have been seen."""

    sk: str
    row: Row | None


def find(service: Service, query: Query, *, position: int, limit: int) -> Page:
    """The page that begins at `position`, 0 for the first one.

    It has up to `limit` events; only events that share a millisecond and 12 random bits are never torn apart.
    """
    high = min(query.high, _bound(position)) if position else query.high
    events: list[Members] = []
    last = 0
    seen: set[str] = set()
    for looked_at, found in enumerate(_newest_first(service, query, high)):
        here = _position(found.sk)
        if found.row is None:
            return Page(events, here)
        if here != last and (len(events) >= limit or looked_at >= MOST_LOOKED_AT):
            return Page(events, last)
        last = here
        members = _members(found.row) if found.row.sk not in seen else {}
        seen.add(found.row.sk)
        if members.get("account") == query.account and fits(members, query.attributes):
            events.append(members)
    return Page(events, 0)


def _members(row: Row) -> Members:
    """What the row says; nothing if it is damaged, which `verify` reports and no search stumbles over."""
    try:
        return record.decode(row.body)
    except record.UnreadableRecord:
        return {}


# A position is a number, because DescribeEvents has numbers for it: the milliseconds of the last event that was looked
# at, and the first random bits of its id. Up to 2039 it fits into the 53 bits that every JSON reader keeps.


def _position(sk: str) -> int:
    at_ms, _, event_id = sk.partition("#")
    tie = int(event_id[15:18] or "0", 16)
    return int(at_ms) << _TIE_BITS | tie


def _bound(position: int) -> str:
    """A text that is above the `sk` of every event after the position, and of no other."""
    at_ms, tie = position >> _TIE_BITS, position & ((1 << _TIE_BITS) - 1)
    digits = f"{at_ms:012x}"
    return f"{at_ms:013d}#{digits[:8]}-{digits[8:]}-7{tie:03x}-"


def _newest_first(service: Service, query: Query, high: str) -> Iterator[_Found]:
    tables = _tables(service)
    request_ids = [value for key, value in query.attributes if key == REQUEST_ID]
    if request_ids:
        return iter(_of_request(tables, query, high, request_ids[0]))
    index = _index(service, query)
    if index is None:
        return _by_day(tables, query, high)
    name, values = index
    return _merged(
        _by_index(table, name, f"{query.account}#{value}#{shard}", query.low, high)
        for table in tables
        for value in values
        for shard in range(SHARDS)
    )


def _tables(service: Service) -> list[Table]:
    """The tables that hold events: with DynamoDB all domains have one table of events in common."""
    if service.settings.table == "dynamodb":
        return [service.table(IDENTITY)]
    return [service.table(domain) for domain in (IDENTITY, *service.settings.regions)]


def _index(service: Service, query: Query) -> tuple[str, list[str]] | None:
    """The index that narrows the search down most, and the values to look up; None if there is none for it."""
    found = indexed(query.attributes)
    if found is not None:
        return found
    # Not by Username: names are given anew, to users and roles, and the index knows who has one now.
    for key, value in query.attributes:
        if key == "AccessKeyId" and (uin := _uin_of_key(service, query.account, value)):
            return "user", [uin]
    names = [value for key, value in query.attributes if key == EVENT_NAME]
    return ("action", names) if names else None


def _uin_of_key(service: Service, account: str, secret_id: str) -> str:
    row = service.table(IDENTITY).get(*accounts.access_key_row_key(secret_id))
    members = record.decode(row.body) if row is not None else {}
    return str(members.get("uin", "")) if members.get("account") == account else ""


def _of_request(tables: Sequence[Table], query: Query, high: str, request_id: str) -> list[_Found]:
    """A request id says when and in which shard: no index is needed (ADR 0009)."""
    at_ms = ids.request_time_ms(request_id)
    if at_ms is None:
        return []
    prefix = f"{at_ms:013d}#{request_id}"
    day = at_ms // _MILLISECONDS // DAY
    partitions = [partition(query.account, day, shard) for shard in {0, int(request_id[-1], 16) % SHARDS}]
    rows = [row for table in tables for pk in partitions for row in table.query(pk, prefix=prefix)]
    found = [_Found(row.sk, row) for row in rows if query.low < row.sk < high]
    return sorted(found, key=lambda each: each.sk, reverse=True)


def _by_day(tables: Sequence[Table], query: Query, high: str) -> Iterator[_Found]:
    newest = int(high[:13]) // _MILLISECONDS // DAY
    oldest = query.since // DAY
    for number, day in enumerate(range(newest, oldest - 1, -1), 1):
        yield from _merged(
            _of_partition(table, partition(query.account, day, shard), query.low, high)
            for table in tables
            for shard in range(SHARDS)
        )
        if number == MOST_DAYS and day > oldest:
            yield _Found(f"{day * DAY * _MILLISECONDS:013d}", None)


def _merged(sources: "Iterator[Iterator[_Found]]") -> Iterator[_Found]:
    return heapq.merge(*sources, key=lambda found: found.sk, reverse=True)


def _of_partition(table: Table, pk: str, low: str, high: str) -> Iterator[_Found]:
    limit = _FIRST_PAGE
    while low < high:
        page = table.query(pk, after=low, before=high, limit=limit, reverse=True)
        yield from (_Found(row.sk, row) for row in page)
        if len(page) < limit:
            return
        high, limit = page[-1].sk, _NEXT_PAGE


def _by_index(table: Table, index: str, value: str, low: str, high: str) -> Iterator[_Found]:
    limit = _FIRST_PAGE
    while low < high:
        page = table.by_index(index, value, after=low, before=high, limit=limit, reverse=True)
        keys = list(dict.fromkeys(pointed(row) for row in page if pointed(row) != (row.pk, row.sk)))
        behind = dict(zip(keys, table.batch_get(keys), strict=True)) if keys else {}
        for row in page:
            event = behind.get(pointed(row), row)
            if event is not None:
                yield _Found(row.sk, event)
        if len(page) < limit:
            return
        high, limit = page[-1].sk, _NEXT_PAGE
