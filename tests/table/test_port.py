"""The rules that both adapters share."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.table.port import MAX_TIME, Add, Due, Row, add_bounds, due_ceiling, due_position, span

names = st.text(
    st.sampled_from(["\x00", "a", "b", "\x7f", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]),
    max_size=4,
)


@given(names, names, st.none() | names, st.none() | names)
def test_a_span_holds_what_its_bounds_mean(
    name: str, prefix: str, after: str | None, before: str | None
) -> None:
    low, high = span(prefix, after, before)
    within = low.encode() <= name.encode() and (high is None or name.encode() < high.encode())
    meant = (
        name.startswith(prefix)
        and (after is None or name.encode() > after.encode())
        and (before is None or name.encode() < before.encode())
    )
    assert within == meant


@given(st.integers(0, MAX_TIME), st.integers(-5, MAX_TIME * 2), names)
def test_a_ceiling_is_above_what_is_due_and_below_the_rest(at: int, upto: int, sk: str) -> None:
    position = due_position(Row(pk="p", sk=sk, due=Due("job", at)))
    assert (position < due_ceiling(upto)) == (at <= upto)


def test_positions_of_equal_times_differ() -> None:
    rows = [Row(pk=pk, sk=sk, due=Due("job", 7)) for pk, sk in (("a", "bc"), ("ab", "c"), ("a", "b"))]
    assert len({due_position(row) for row in rows}) == 3


def test_bounds_of_an_add_are_never_wider_than_a_number() -> None:
    assert add_bounds(Add("p", "s", 1)) == add_bounds(Add("p", "s", 1, -(2**60), 2**60)) == (-(2**53), 2**53)
    assert add_bounds(Add("p", "s", 1, 0, 9)) == (0, 9)
