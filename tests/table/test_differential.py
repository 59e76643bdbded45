"""SQLite and DynamoDB give the same answer to whatever they are asked."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.clock import ManualClock
from chalicelib.table.port import (
    INDEXES,
    Add,
    Check,
    Condition,
    Conflict,
    Delete,
    Due,
    Expect,
    Op,
    Put,
    Row,
    Table,
    due_position,
)
from chalicelib.table.sqlite import SqliteTable

pytestmark = [pytest.mark.contract, pytest.mark.ministack]

PARTITIONS = ["p", "E#p", "q"]
ORDER = ["a", "a\x00", "aé", "a\U0001f511", "b", "\uffff"]
KINDS = ["job", "job#1"]
VALUES = ["u", "v"]

_runs = itertools.count()

Step = int | list[Op]
"""Seconds that pass, or a write."""

keys = st.tuples(st.sampled_from(PARTITIONS), st.sampled_from(ORDER))
expectations: st.SearchStrategy[Condition] = st.sampled_from([*Expect, Expect.ANY, 1, 2, 3])
texts = st.sampled_from(ORDER)


@st.composite
def ops(draw: st.DrawFn, key: tuple[str, str]) -> Op:
    pk, sk = key
    kind = draw(st.sampled_from(["put", "put", "put", "add", "delete", "check"]))
    if kind == "put":
        row = Row(
            pk=pk,
            sk=sk,
            body=draw(st.binary(max_size=3)),
            expires_at=draw(st.none() | st.none() | st.integers(0, 8)),
            due=draw(st.none() | st.builds(Due, st.sampled_from(KINDS), st.integers(0, 3))),
            index=draw(st.dictionaries(st.sampled_from(INDEXES), st.sampled_from(VALUES), max_size=2)),
        )
        return Put(row, draw(expectations))
    if kind == "add":
        bound = st.none() | st.integers(-3, 5)
        return Add(pk, sk, draw(st.integers(-3, 3)), draw(bound), draw(bound))
    expect = draw(expectations)
    return Delete(pk, sk, expect) if kind == "delete" else Check(pk, sk, expect)


writes = st.lists(keys, min_size=1, max_size=5, unique=True).flatmap(
    lambda chosen: st.tuples(*map(ops, chosen)).map(list)
)
steps: st.SearchStrategy[list[Step]] = st.lists(st.integers(1, 4) | writes | writes | writes, max_size=12)


class Renamed:
    """A table whose names are of one run alone, and whose rows expire relative to its beginning."""

    def __init__(self, table: Table, run: int, begin: int) -> None:
        self._table = table
        self._run = f"{run}/"
        self._begin = begin

    def partition(self, pk: str) -> str:
        return f"E#{self._run}" if pk == "E#p" else self._run + pk

    def write(self, ops: Sequence[Op]) -> tuple[int, ...]:
        """The places that conflict."""
        try:
            self._table.write([self._rename(op) for op in ops])
        except Conflict as conflict:
            return conflict.positions
        return ()

    def _rename(self, op: Op) -> Op:
        if not isinstance(op, Put):
            return replace(op, pk=self.partition(op.pk))
        row = replace(
            op.row,
            pk=self.partition(op.row.pk),
            expires_at=None if op.row.expires_at is None else self._begin + op.row.expires_at,
            due=None if op.row.due is None else Due(self._run + op.row.due.kind, op.row.due.at),
            index={name: self._run + value for name, value in op.row.index.items()},
        )
        return Put(row, op.expect)

    def all(self) -> list[Row | None]:
        return self._table.batch_get(
            [(self.partition(pk), sk) for pk, sk in itertools.product(PARTITIONS, ORDER)]
        )

    def query(self, pk: str, bounds: dict[str, str], limit: int, *, reverse: bool) -> list[Row]:
        return self._table.query(self.partition(pk), limit=limit, reverse=reverse, **bounds)

    def found(self, index: str, value: str, after: str | None) -> list[Row]:
        """In an order of their own, where the index has none: among rows of equal `sk`."""
        rows = self._table.by_index(index, self._run + value, after=after)
        assert [row.sk for row in rows] == sorted(row.sk for row in rows)
        return sorted(rows, key=lambda row: (row.sk, row.pk))

    def scan(self, limit: int) -> set[tuple[str, str, int]]:
        """The run's own rows, page by page; the tables of earlier runs are not empty."""
        found: list[Row] = []
        while page := self._table.scan(after=(found[-1].pk, found[-1].sk) if found else None, limit=limit):
            found += page
        own = [(row.pk, row.sk, row.version) for row in found if row.pk.startswith(self._run)]
        assert len(set(own)) == len(own)
        return set(own)

    def due(self, kind: str, upto: int, limit: int) -> list[Row]:
        rows: list[Row] = []
        while page := self._table.due(
            self._run + kind, upto, limit=limit, after=due_position(rows[-1]) if rows else None
        ):
            rows += page
        return rows


@given(
    steps,
    st.fixed_dictionaries({}, optional={"prefix": texts, "after": texts, "before": texts}),
    st.integers(1, 3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_steps_end_the_same(
    dynamodb: Table, clock: ManualClock, steps: list[Step], bounds: dict[str, str], limit: int
) -> None:
    run = next(_runs)
    lite = SqliteTable(":memory:", clock)
    tables = [Renamed(table, run, clock.now()) for table in (lite, dynamodb)]

    def agree(ask: Callable[[Renamed], object]) -> None:
        ours, theirs = map(ask, tables)
        assert ours == theirs

    for step in steps:
        if isinstance(step, int):
            clock.advance(step)
        else:
            agree(lambda table, ops=step: table.write(ops))  # type: ignore[misc]
        agree(Renamed.all)
    for pk in PARTITIONS:
        agree(lambda table, pk=pk: table.query(pk, bounds, limit, reverse=False))  # type: ignore[misc]
        agree(lambda table, pk=pk: table.query(pk, bounds, 100, reverse=True))  # type: ignore[misc]
    for index, value in itertools.product(INDEXES[:2], VALUES):
        agree(lambda table, i=index, v=value: table.found(i, v, bounds.get("after")))  # type: ignore[misc]
    agree(lambda table: table.scan(limit + 20))
    for kind, upto in zip(KINDS, (1, 3), strict=True):
        agree(lambda table, k=kind, u=upto: table.due(k, u, limit + 2))  # type: ignore[misc]
    lite.close()
