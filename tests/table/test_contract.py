"""What the table promises, whichever adapter keeps the promise."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.port import (
    MAX_BODY,
    MAX_KIND,
    MAX_LIMIT,
    MAX_NUMBER,
    MAX_OPS,
    MAX_PK,
    MAX_SK,
    MAX_TIME,
    MAX_VALUE,
    Add,
    Check,
    Condition,
    Conflict,
    Delete,
    Due,
    Expect,
    Op,
    Put,
    Refused,
    Row,
    Table,
    due_position,
)

pytestmark = pytest.mark.contract

ABSENT, EXISTS, ANY = Expect.ABSENT, Expect.EXISTS, Expect.ANY
State = Literal["absent", "present", "expired"]


@pytest.fixture
def put(table: Table) -> Callable[..., Row]:
    """Puts a row, whatever is there."""

    def put_row(pk: str = "p", sk: str = "s", **fields: object) -> Row:
        row = replace(Row(pk=pk, sk=sk), **fields)  # type: ignore[arg-type]
        table.write([Put(row, ANY)])
        return row

    return put_row


@pytest.fixture
def in_state(table: Table, clock: ManualClock) -> Callable[..., None]:
    """Brings a row into a state; one that is or was there has version 2 and number 7."""

    def bring(state: State, pk: str = "p", sk: str = "s") -> None:
        if state == "absent":
            return
        end = clock.now() + 10 if state == "expired" else None
        row = Row(pk=pk, sk=sk, body=b"old", expires_at=end, due=Due("job", 5), index={"user": "u"})
        table.write([Put(row, ABSENT)])
        table.write([Add(pk, sk, 7)])
        if state == "expired":
            clock.advance(10)

    return bring


def sks(rows: Sequence[Row]) -> list[str]:
    return [row.sk for row in rows]


def conflict(table: Table, ops: Sequence[Op]) -> tuple[int, ...]:
    with pytest.raises(Conflict) as caught:
        table.write(ops)
    return caught.value.positions


# Rows


def test_a_row_comes_back_as_it_was_written(table: Table, clock: ManualClock) -> None:
    row = Row(
        pk="tenant/é",
        sk="\U0001f511\x00 #1",
        body=bytes(range(256)),
        expires_at=clock.now() + 1,
        due=Due("rotate#daily", 123_456),
        index={"user": "ü", "resource": "r#1", "action": "a", "error": "e"},
    )
    table.write([Put(row, ABSENT)])
    assert table.get(row.pk, row.sk) == replace(row, version=1)


def test_a_bare_row_comes_back_bare(table: Table) -> None:
    table.write([Put(Row(pk="p", sk="s"), ABSENT)])
    assert table.get("p", "s") == Row(pk="p", sk="s", version=1)


def test_an_absent_row_is_none(table: Table) -> None:
    assert table.get("p", "s") is None


def test_rows_of_the_trail_are_rows_like_others(table: Table) -> None:
    table.write([Put(Row(pk="E#1", sk="s", body=b"event"), ABSENT)])
    assert table.get("E#1", "s") == Row(pk="E#1", sk="s", body=b"event", version=1)
    assert conflict(table, [Put(Row(pk="E#1", sk="s"), ABSENT)]) == (0,)


@pytest.mark.parametrize("expect", [ANY, EXISTS, 1])
def test_a_put_replaces_the_whole_row(table: Table, clock: ManualClock, expect: Condition) -> None:
    bare = Row(pk="p", sk="s", body=b"1")
    end = clock.now() + 9
    full = Row(
        pk="p", sk="s", body=b"2", expires_at=end, due=Due("job", 1), index={"user": "u", "error": "e"}
    )
    for old, new in ((bare, full), (full, bare)):
        table.write([Delete("p", "s", ANY)])
        table.write([Put(old, ABSENT)])
        table.write([Put(new, expect)])
        assert table.get("p", "s") == replace(new, version=2)


def test_each_put_counts_the_version_by_one_and_resets_the_number(table: Table) -> None:
    row = Row(pk="p", sk="s", version=41, number=41)
    expectations: list[Condition] = [ABSENT, 2, EXISTS, ANY]
    for n, expect in enumerate(expectations):
        table.write([Put(row, expect)])
        assert table.get("p", "s") == replace(row, version=2 * n + 1, number=0)
        table.write([Add("p", "s", 5)])
        assert table.get("p", "s") == replace(row, version=2 * n + 2, number=5)


def test_a_row_put_again_after_a_delete_begins_at_version_1(table: Table, put: Callable[..., Row]) -> None:
    put()
    put()
    table.write([Delete("p", "s", 2)])
    row = put()
    assert table.get("p", "s") == replace(row, version=1)


# Conditions

HOLDS: dict[State, tuple[Condition, ...]] = {
    "absent": (ABSENT, ANY),
    "present": (EXISTS, ANY, 2),
    "expired": (ABSENT, ANY),
}
EVERY: tuple[Condition, ...] = (ABSENT, EXISTS, ANY, 0, 1, 2, 3)


def test_put_under_a_condition(
    table: Table, in_state: Callable[..., None], subtests: pytest.Subtests
) -> None:
    for state, expect in product(HOLDS, EVERY):
        with subtests.test(state=state, expect=expect):
            row = Row(pk=f"{state} {expect}", sk="s", body=b"new")
            in_state(state, row.pk)
            before = table.get(row.pk, "s")
            if expect in HOLDS[state]:
                table.write([Put(row, expect)])
                assert table.get(row.pk, "s") == replace(row, version=3 if state == "present" else 1)
            else:
                assert conflict(table, [Put(row, expect)]) == (0,)
                assert table.get(row.pk, "s") == before


def test_delete_under_a_condition(
    table: Table, in_state: Callable[..., None], subtests: pytest.Subtests
) -> None:
    for state, expect in product(HOLDS, EVERY):
        with subtests.test(state=state, expect=expect):
            pk = f"{state} {expect}"
            in_state(state, pk)
            before = table.get(pk, "s")
            if expect in HOLDS[state]:
                table.write([Delete(pk, "s", expect)])
                assert table.get(pk, "s") is None
            else:
                assert conflict(table, [Delete(pk, "s", expect)]) == (0,)
                assert table.get(pk, "s") == before


@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
def test_check_of_a_condition(
    table: Table, in_state: Callable[..., None], subtests: pytest.Subtests, *, company: bool
) -> None:
    for state, expect in product(HOLDS, EVERY):
        with subtests.test(state=state, expect=expect):
            pk = f"{state} {expect}"
            in_state(state, pk)
            before = table.get(pk, "s")
            ops: list[Op] = [Check(pk, "s", expect)]
            if company:
                ops.insert(0, Put(Row(pk=pk, sk="other"), ABSENT))
            if expect in HOLDS[state]:
                table.write(ops)
            else:
                assert conflict(table, ops) == (len(ops) - 1,)
            assert table.get(pk, "s") == before
            assert (table.get(pk, "other") is not None) == (company and expect in HOLDS[state])


@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
def test_nothing_of_an_expired_row_outlives_a_put_of_any(
    table: Table, in_state: Callable[..., None], *, company: bool
) -> None:
    in_state("expired")
    row = Row(pk="p", sk="s")
    others: list[Op] = [Put(Row(pk="p", sk="other"), ANY), Add("p", "third", 1)] if company else []
    table.write([*others, Put(row, ANY)])
    assert table.get("p", "s") == replace(row, version=1)
    assert table.due("job", 99) == []
    assert table.by_index("user", "u") == []


def test_a_conflict_names_every_op_that_failed_in_the_order_of_the_ops(
    table: Table, in_state: Callable[..., None]
) -> None:
    for n in range(5):
        in_state("present", sk=f"is{n}")
    for n in range(5):
        in_state("expired", sk=f"was{n}")
    ops: list[Op] = [
        Add("p", "is0", 5, at_most=11),  # fails
        Put(Row(pk="p", sk="was0"), ANY),
        Put(Row(pk="p", sk="is1"), ABSENT),  # fails
        Check("p", "nothing", ABSENT),
        Delete("p", "was1", EXISTS),  # fails
        Put(Row(pk="E#p", sk="event"), ABSENT),
        Check("p", "was2", EXISTS),  # fails
        Add("p", "was3", 1, at_most=1),
        Put(Row(pk="p", sk="is2"), 2),
        Delete("p", "is3", 1),  # fails
        Check("p", "is4", 2),
        Check("p", "nothing at all", ANY),
        Add("p", "was4", 1, at_least=8),  # fails
        Put(Row(pk="E#p", sk="missing"), EXISTS),  # fails
        Delete("p", "nothing here", ANY),
    ]
    assert conflict(table, ops) == (0, 2, 4, 6, 9, 12, 13)
    assert sks(table.query("p")) == [f"is{n}" for n in range(5)]
    assert {row.version for row in table.query("p")} == {2}
    assert table.get("E#p", "event") is None


def test_every_kind_of_op_in_one_write(table: Table, in_state: Callable[..., None]) -> None:
    for sk in ("a", "b", "c", "d"):
        in_state("present", sk=sk)
    in_state("expired", sk="e")
    in_state("expired", sk="f")
    table.write(
        [
            Add("p", "e", 4),
            Put(Row(pk="p", sk="a"), 2),
            Delete("p", "b", 2),
            Check("p", "c", EXISTS),
            Put(Row(pk="p", sk="f"), ANY),
            Add("p", "d", -7, at_least=0),
            Put(Row(pk="E#p", sk="g"), ABSENT),
            Check("p", "h", ANY),
            Add("p", "i", 1),
        ]
    )
    found = {row.sk: (row.version, row.number) for row in table.query("p")}
    assert found == {"a": (3, 0), "c": (2, 7), "d": (3, 0), "e": (1, 4), "f": (1, 0), "i": (1, 1)}
    assert table.get("E#p", "g") is not None


def test_100_ops_are_written_together(table: Table) -> None:
    ops = [Put(Row(pk=f"{'E#' if n % 3 else ''}p", sk=f"{n:03d}", body=b"x"), ABSENT) for n in range(MAX_OPS)]
    table.write(ops)
    assert len(table.query("p")) + len(table.query("E#p")) == MAX_OPS


def test_of_100_ops_none_is_written_if_one_fails(table: Table, put: Callable[..., Row]) -> None:
    put(sk="057")
    ops = [Put(Row(pk="p", sk=f"{n:03d}"), ABSENT) for n in range(MAX_OPS)]
    assert conflict(table, ops) == (57,)
    assert sks(table.query("p")) == ["057"]


def test_the_largest_row(table: Table) -> None:
    row = Row(
        pk="p" * MAX_PK,
        sk="s" * MAX_SK,
        body=b"b" * MAX_BODY,
        expires_at=MAX_TIME,
        due=Due("k" * MAX_KIND, MAX_TIME),
        index=dict.fromkeys(("user", "resource", "action", "error"), "v" * MAX_VALUE),
    )
    table.write([Put(row, ABSENT)])
    table.write([Put(row, 1)])
    assert table.get(row.pk, row.sk) == replace(row, version=2)
    assert table.query(row.pk, prefix="s" * MAX_SK) == [replace(row, version=2)]
    assert table.query(row.pk, prefix="s" * (MAX_SK - 1)) == [replace(row, version=2)]
    assert table.query(row.pk, after=row.sk) == []
    assert table.by_index("user", "v" * MAX_VALUE) == [replace(row, version=2)]
    assert table.due("k" * MAX_KIND, MAX_TIME) == [replace(row, version=2)]


# Add


@pytest.mark.parametrize("state", ["absent", "expired"])
def test_add_creates_its_row_at_0(table: Table, in_state: Callable[..., None], state: State) -> None:
    in_state(state)
    table.write([Add("p", "s", -3)])
    assert table.get("p", "s") == Row(pk="p", sk="s", number=-3, version=1)
    assert table.due("job", 99) == []


def test_add_keeps_everything_else(table: Table, clock: ManualClock) -> None:
    row = Row(pk="p", sk="s", body=b"b", expires_at=clock.now() + 9, due=Due("job", 5), index={"user": "u"})
    table.write([Put(row, ABSENT)])
    table.write([Add("p", "s", 40)])
    table.write([Add("p", "s", 2)])
    assert table.get("p", "s") == replace(row, version=3, number=42)
    assert table.due("job", 5) == table.by_index("user", "u") == [replace(row, version=3, number=42)]


# n, at_least, at_most
SUMS: list[tuple[int, int | None, int | None]] = [
    (1, None, None),
    (1, 1, 8),
    (1, 8, 8),
    (1, 9, None),
    (1, 2, None),
    (1, None, 7),
    (1, None, 0),
    (-7, 0, None),
    (-8, 0, None),
    (-7, -7, 0),
    (0, 0, 0),
    (0, 7, 7),
    (5, 12, 5),
]


def test_adding_nothing_gives_the_row_a_new_version(table: Table) -> None:
    table.write([Add("p", "s", 5)])
    table.write([Add("p", "s", 0), Put(Row(pk="p", sk="other"), Expect.ABSENT)])
    assert table.get("p", "s") == Row(pk="p", sk="s", version=2, number=5)


def test_add_within_bounds(table: Table, in_state: Callable[..., None], subtests: pytest.Subtests) -> None:
    for state, (n, at_least, at_most) in product(HOLDS, SUMS):
        with subtests.test(state=state, n=n, at_least=at_least, at_most=at_most):
            pk = f"{state} {n} {at_least} {at_most}"
            in_state(state, pk)
            before = table.get(pk, "s")
            result = n + (7 if state == "present" else 0)
            op = Add(pk, "s", n, at_least, at_most)
            if (at_least is None or at_least <= result) and (at_most is None or result <= at_most):
                table.write([op])
                after = table.get(pk, "s")
                assert after is not None
                assert (after.number, after.version) == (result, 3 if state == "present" else 1)
            else:
                assert conflict(table, [Put(Row(pk=pk, sk="other"), ANY), op]) == (1,)
                assert conflict(table, [op]) == (0,)
                assert table.get(pk, "s") == before
                assert table.get(pk, "other") is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_has_an_end(table: Table, sign: int) -> None:
    table.write([Add("p", "s", sign * MAX_NUMBER)])
    assert conflict(table, [Add("p", "s", sign)]) == (0,)
    assert conflict(table, [Add("p", "s", sign, -MAX_NUMBER * 9, MAX_NUMBER * 9)]) == (0,)
    row = table.get("p", "s")
    assert row is not None
    assert row.number == sign * MAX_NUMBER


# Expiry


def test_a_row_expires_when_its_time_comes(table: Table, put: Callable[..., Row], clock: ManualClock) -> None:
    row = put(expires_at=clock.now() + 10, due=Due("job", 5), index={"user": "u"})
    clock.advance(9)
    there = [replace(row, version=1)]
    assert [table.get("p", "s")] == table.batch_get([("p", "s")]) == table.query("p") == there
    assert table.due("job", 5) == table.by_index("user", "u") == there
    clock.advance(1)
    assert [table.get("p", "s")] == table.batch_get([("p", "s")]) == [None]
    assert table.query("p") == table.due("job", 5) == table.by_index("user", "u") == []


def test_expired_rows_take_no_place_under_a_limit(
    table: Table, put: Callable[..., Row], clock: ManualClock
) -> None:
    for n in range(30):
        end = None if n % 10 == 9 else clock.now() + 1
        put(sk=f"{n:02d}", expires_at=end, due=Due("job", n), index={"user": "u"})
    clock.advance(1)
    living = ["09", "19", "29"]
    assert sks(table.query("p", limit=3)) == sks(table.due("job", 99, limit=3)) == living
    assert sks(table.by_index("user", "u", limit=3)) == living
    assert sks(table.query("p", limit=1, reverse=True)) == ["29"]


def test_a_row_that_expired_at_once_was_never_there(
    table: Table, put: Callable[..., Row], clock: ManualClock
) -> None:
    put(expires_at=clock.now())
    put(sk="0", expires_at=0)
    assert table.query("p") == []
    table.write([Put(Row(pk="p", sk="s"), ABSENT), Put(Row(pk="p", sk="0"), ABSENT)])


# Reads of many rows


def test_batch_get_answers_in_the_order_of_the_keys(table: Table, put: Callable[..., Row]) -> None:
    keys = [(f"{'E#' if n % 2 else ''}p{n % 7}", f"{n * 37 % 100:02d}") for n in range(MAX_OPS)]
    for pk, sk in keys[10:90]:
        put(pk, sk, body=sk.encode())
    rows = table.batch_get(keys)
    assert rows[:10] == rows[90:] == [None] * 10
    assert [(row.pk, row.sk, row.body) for row in rows if row] == [(p, s, s.encode()) for p, s in keys[10:90]]


def test_batch_get_of_more_than_an_answer_holds(table: Table, put: Callable[..., Row]) -> None:
    for n in range(60):
        put(sk=f"{n:02d}", body=bytes([n]) * MAX_BODY)
    rows = table.batch_get([("p", f"{n:02d}") for n in reversed(range(60))])
    assert [row.body[0] for row in rows if row] == list(reversed(range(60)))


def test_query_of_more_than_a_page_holds(table: Table, put: Callable[..., Row]) -> None:
    for n in range(12):
        put(sk=f"{n:02d}", body=bytes(MAX_BODY), index={"user": "u"})
    assert sks(table.query("p")) == sks(table.by_index("user", "u")) == [f"{n:02d}" for n in range(12)]
    assert sks(table.query("p", limit=7, reverse=True)) == [f"{n:02d}" for n in range(11, 4, -1)]


# In the order of their UTF-8 bytes, which is not that of UTF-16 code units.
NAMES = [
    "\x00",
    "A",
    "a",
    "a\x00",
    "a#",
    "aa",
    "ab",
    "a\x7f",
    "aé",
    "a\ud7ff",
    "a\ue000",
    "a\uffff",
    "a\U0001f511",
]
NAMES += ["a\U0010ffff", "a\U0010ffffb", "b", "é", "\uffff", "\U00010000", "\U0010ffff"]


def test_rows_come_in_the_order_of_their_utf8(table: Table, put: Callable[..., Row]) -> None:
    assert sorted(NAMES, key=str.encode) == NAMES
    for n, name in enumerate(NAMES):
        put(sk=NAMES[n * 7 % len(NAMES)], index={"user": "u"})
        put("other", name)
    assert sks(table.query("p")) == sks(table.by_index("user", "u")) == NAMES
    assert sks(table.query("p", reverse=True)) == NAMES[::-1]
    assert sks(table.by_index("user", "u", reverse=True)) == NAMES[::-1]


def test_reads_between_bounds(table: Table, put: Callable[..., Row]) -> None:
    for name in NAMES:
        put(sk=name, index={"user": "u"})
    prefixes = ["", "a", "a#", "a\ud7ff", "a\U0010ffff", "\U0010ffff", "\x00", "zz", "\x7f" * MAX_SK]
    afters = [None, "", "A", "aa", "a\uffff", "\U0010ffff", "~" * MAX_SK]
    befores = [None, "", "a", "a\U0010ffffb", "\U0010ffff" * (MAX_SK // 4)]
    for prefix, after, before in product(prefixes, afters, befores):
        within = [
            name
            for name in NAMES
            if name.startswith(prefix)
            and (after is None or name > after)
            and (before is None or name < before)
        ]
        for reverse, limit in ((False, 2), (True, 2), (False, 100)):
            expected = within[:: -1 if reverse else 1][:limit]
            found = table.query("p", prefix=prefix, after=after, before=before, limit=limit, reverse=reverse)
            assert sks(found) == expected
            if not prefix:
                found = table.by_index("user", "u", after=after, before=before, limit=limit, reverse=reverse)
                assert sks(found) == expected


def test_query_knows_only_its_partition(table: Table, put: Callable[..., Row]) -> None:
    put("p", "1")
    put("p ", "2")
    put("P", "3")
    assert sks(table.query("p")) == ["1"]
    assert table.query("q") == []


def test_paging_by_the_last_row(table: Table, put: Callable[..., Row]) -> None:
    for n in range(25):
        put(sk=f"{n:02d}")
    pages = [table.query("p", limit=10)]
    while len(pages[-1]) == 10:
        pages.append(table.query("p", limit=10, after=pages[-1][-1].sk))
    assert [sks(page) for page in pages] == [
        [f"{n:02d}" for n in numbers] for numbers in (range(10), range(10, 20), range(20, 25))
    ]
    assert sks(table.query("p", limit=3, before="05", reverse=True)) == ["04", "03", "02"]


# Indexes


def test_an_index_finds_rows_of_every_partition(table: Table, put: Callable[..., Row]) -> None:
    put("p", "3", index={"user": "u", "action": "a"})
    put("q", "1", index={"user": "u"})
    put("E#1", "2", index={"user": "u", "error": "x"})
    put("E#2", "4", index={"user": "v", "action": "a"})
    put("p", "5")
    assert sks(table.by_index("user", "u")) == ["1", "2", "3"]
    assert sks(table.by_index("user", "u", reverse=True, limit=2)) == ["3", "2"]
    assert sks(table.by_index("user", "u", after="1", before="3")) == ["2"]
    assert sks(table.by_index("user", "v")) == ["4"]
    assert sks(table.by_index("action", "a")) == ["3", "4"]
    assert sks(table.by_index("error", "x")) == ["2"]
    assert table.by_index("resource", "u") == []


def test_a_row_leaves_an_index_with_the_put_that_says_so(table: Table, put: Callable[..., Row]) -> None:
    put(index={"user": "u", "action": "a"})
    put(index={"action": "b"})
    assert table.by_index("user", "u") == table.by_index("action", "a") == []
    assert sks(table.by_index("action", "b")) == ["s"]
    table.write([Delete("p", "s", ANY)])
    assert table.by_index("action", "b") == []


# Due rows


def test_due_rows_come_in_the_order_of_their_times(table: Table, put: Callable[..., Row]) -> None:
    for n in range(40):
        put(f"{'E#' if n % 4 == 0 else ''}p{n}", due=Due("job", n * 17 % 40 * 1000))
    put(due=Due("other", 0))
    found = table.due("job", 30_000)
    assert [row.due for row in found] == [Due("job", at) for at in range(0, 31_000, 1000)]
    assert [row.due for row in table.due("job", 29_999, limit=2)] == [Due("job", 0), Due("job", 1000)]
    assert table.due("job", -1) == []
    assert len(table.due("job", 10**15)) == 40
    assert sks(table.due("other", 0)) == ["s"]


def test_due_rows_of_one_time_are_paged_by_their_position(table: Table, put: Callable[..., Row]) -> None:
    expected = sorted((put(f"p{n}", due=Due("job", 5)) for n in range(50)), key=due_position)
    found: list[Row] = []
    while page := table.due("job", 5, limit=7, after=due_position(found[-1]) if found else None):
        assert len(page) <= 7
        found += page
    assert [row.pk for row in found] == [row.pk for row in expected]
    assert table.due("job", 5, after="~") == []


def test_a_row_is_due_no_more_once_a_put_says_so(table: Table, put: Callable[..., Row]) -> None:
    put(due=Due("job", 5))
    put(due=Due("job", 9))
    assert table.due("job", 8) == []
    assert len(table.due("job", 9)) == 1
    put()
    assert table.due("job", 9) == []
    put(due=Due("job", 5))
    table.write([Delete("p", "s", ANY)])
    assert table.due("job", 9) == []


def test_kinds_do_not_mix(table: Table, put: Callable[..., Row]) -> None:
    for n, kind in enumerate(["job", "job#1", "job#1#2", "jo"]):
        put(sk=str(n), due=Due(kind, n))
    assert [row.due for row in table.due("job#1", 9)] == [Due("job#1", 1)]
    assert [row.due for row in table.due("job", 9)] == [Due("job", 0)]


# Scans


def scanned(table: Table, limit: int) -> list[Row]:
    """All that pages of a scan have."""
    found: list[Row] = []
    while True:
        page = table.scan(after=(found[-1].pk, found[-1].sk) if found else None, limit=limit)
        found += page
        if len(page) < limit:
            return found


TRAIL = ("E#", "E#1", "E#\U0010ffff")
NO_TRAIL = ("D", "DK#1", "E", "E\x00", 'E"', "E$", "E$#", "EE", "F", "e#", "\x00", "é", "\U0010ffff")


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_a_scan_has_every_row_once_but_the_trail(
    table: Table, put: Callable[..., Row], clock: ManualClock, limit: int
) -> None:
    rows = [put(pk, sk, body=pk.encode()) for pk in NO_TRAIL for sk in ("a", "\U0010ffff")]
    for pk in TRAIL:
        put(pk, "a")
    put("gone", "a", expires_at=clock.now() + 5)
    clock.advance(5)
    table.write([Add("D", "a", 3)])
    found = scanned(table, limit)
    assert len(found) == len(rows)
    expected = {(row.pk, row.sk): replace(row, version=1) for row in rows}
    expected["D", "a"] = replace(expected["D", "a"], version=2, number=3)
    assert {(row.pk, row.sk): row for row in found} == expected
    assert scanned(table, limit) == found  # always in the same order


def test_a_scan_of_nothing_is_empty(table: Table, put: Callable[..., Row]) -> None:
    put("E#1", "a")
    assert table.scan() == []


def test_a_scan_goes_on_from_a_row_that_is_gone_and_misses_none_that_stays(
    table: Table, put: Callable[..., Row], clock: ManualClock
) -> None:
    for number in range(40):
        put(f"p{number % 5}", f"{number:02d}", expires_at=clock.now() + 9 if number % 7 == 0 else None)
    whole = scanned(table, 1000)
    stays = [(row.pk, row.sk) for place, row in enumerate(whole) if place % 3 and row.expires_at is None]
    seen: list[tuple[str, str]] = []
    while page := table.scan(after=seen[-1] if seen else None, limit=3):
        seen += [(row.pk, row.sk) for row in page]
        for row in page:  # its last one is where the next page begins
            if (row.pk, row.sk) not in stays:
                table.write([Delete(row.pk, row.sk, ANY)])
            else:
                table.write([Put(row, row.version)])
        clock.advance(1)
    assert len(set(seen)) == len(seen)
    assert [key for key in seen if key in stays] == stays


def test_a_scan_reads_rows_of_more_than_a_page(table: Table, put: Callable[..., Row]) -> None:
    for number in range(6):
        put(f"p{number}", body=bytes(MAX_BODY))
    assert sorted(row.pk for row in table.scan()) == [f"p{number}" for number in range(6)]


# Limits

LONG_PK, LONG_SK = "é" * (MAX_PK // 2) + "x", "é" * (MAX_SK // 2) + "x"


BEYOND_WRITES: dict[str, list[Op]] = {
    "none": [],
    "too many": [Check("p", str(n), ANY) for n in range(MAX_OPS + 1)],
    "a row twice": [Put(Row(pk="p", sk="s"), ANY), Check("p", "s", ANY)],
    "no pk": [Put(Row(pk="", sk="s"), ANY)],
    "no sk": [Add("p", "", 1)],
    "long pk": [Delete(LONG_PK, "s", ANY)],
    "long sk": [Check("p", LONG_SK, ANY)],
    "not unicode": [Check("p", "\ud800", ANY)],
    "large body": [Put(Row(pk="p", sk="s", body=bytes(MAX_BODY + 1)), ANY)],
    "large write": [Put(Row(pk="p", sk=str(n), body=bytes(MAX_BODY)), ANY) for n in range(11)],
    "unknown index": [Put(Row(pk="p", sk="s", index={"other": "x"}), ANY)],
    "empty index value": [Put(Row(pk="p", sk="s", index={"user": ""}), ANY)],
    "long value": [Put(Row(pk="p", sk="s", index={"user": "x" * (MAX_VALUE + 1)}), ANY)],
    "empty kind": [Put(Row(pk="p", sk="s", due=Due("", 1)), ANY)],
    "long kind": [Put(Row(pk="p", sk="s", due=Due("k" * (MAX_KIND + 1), 1)), ANY)],
    "due before time": [Put(Row(pk="p", sk="s", due=Due("k", -1)), ANY)],
    "due after time": [Put(Row(pk="p", sk="s", due=Due("k", MAX_TIME + 1)), ANY)],
    "expired before time": [Put(Row(pk="p", sk="s", expires_at=-1), ANY)],
    "expires after time": [Put(Row(pk="p", sk="s", expires_at=MAX_TIME + 1), ANY)],
    "large n": [Add("p", "s", MAX_NUMBER + 1)],
    "small n": [Add("p", "s", -MAX_NUMBER - 1)],
}

BEYOND_READS: dict[str, Callable[[Table], object]] = {
    "no pk": lambda t: t.get("", "s"),
    "long sk": lambda t: t.get("p", LONG_SK),
    "no keys": lambda t: t.batch_get([]),
    "too many keys": lambda t: t.batch_get([("p", str(n)) for n in range(MAX_OPS + 1)]),
    "a key twice": lambda t: t.batch_get([("p", "s"), ("p", "s")]),
    "a key without sk": lambda t: t.batch_get([("p", "s"), ("p", "")]),
    "query without pk": lambda t: t.query(""),
    "limit 0": lambda t: t.query("p", limit=0),
    "limit -1": lambda t: t.query("p", limit=-1),
    "large limit": lambda t: t.query("p", limit=MAX_LIMIT + 1),
    "long prefix": lambda t: t.query("p", prefix=LONG_SK),
    "long after": lambda t: t.query("p", after=LONG_SK),
    "before is not unicode": lambda t: t.query("p", before="\udfff"),
    "not an index": lambda t: t.by_index("pk", "p"),
    "empty value": lambda t: t.by_index("user", ""),
    "index limit 0": lambda t: t.by_index("user", "u", limit=0),
    "index long before": lambda t: t.by_index("user", "u", before=LONG_SK),
    "no kind": lambda t: t.due("", 1),
    "due limit 0": lambda t: t.due("job", 1, limit=0),
    "due large limit": lambda t: t.due("job", 1, limit=MAX_LIMIT + 1),
    "due long after": lambda t: t.due("job", 1, after=LONG_SK),
    "scan limit 0": lambda t: t.scan(limit=0),
    "scan large limit": lambda t: t.scan(limit=MAX_LIMIT + 1),
    "scan after no pk": lambda t: t.scan(after=("", "s")),
    "scan after long sk": lambda t: t.scan(after=("p", LONG_SK)),
}


def test_a_write_beyond_a_limit_is_refused(table: Table, subtests: pytest.Subtests) -> None:
    for name, ops in BEYOND_WRITES.items():
        with subtests.test(name), pytest.raises(Refused):
            table.write(ops)


def test_a_read_beyond_a_limit_is_refused(table: Table, subtests: pytest.Subtests) -> None:
    for name, read in BEYOND_READS.items():
        with subtests.test(name), pytest.raises(Refused):
            read(table)


def test_a_refusal_comes_before_anything_is_asked(table: Table, subtests: pytest.Subtests) -> None:
    table.close()  # whoever tried to read or write now would fail in another way
    for name, ops in BEYOND_WRITES.items():
        with subtests.test(name), pytest.raises(Refused):
            table.write(ops)
    for name, read in BEYOND_READS.items():
        with subtests.test(name), pytest.raises(Refused):
            read(table)


def test_limits_reach_to_their_ends(table: Table, put: Callable[..., Row]) -> None:
    put()
    assert sks(table.query("p", limit=MAX_LIMIT)) == ["s"]
    assert sks(table.query("p", limit=1)) == ["s"]
    assert table.due("job", MAX_TIME, limit=MAX_LIMIT) == []
    assert sks(table.scan(limit=MAX_LIMIT)) == ["s"]
    assert table.scan(after=("p" * MAX_PK, "s" * MAX_SK), limit=1) in ([], table.scan())


def test_a_refusal_tells_no_values(table: Table) -> None:
    with pytest.raises(Refused) as caught:
        table.write([Put(Row(pk="canary", sk="canary", index={"user": "canary" * MAX_VALUE}), ANY)])
    assert not re.search("canary", str(caught.value))
