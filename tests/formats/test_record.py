"""KS-ROW-1: the body of a table row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import record

values = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"))
members = st.dictionaries(st.text(st.characters(codec="utf-8")), values | st.lists(values))


@given(members)
def test_a_record_reads_back(made: dict[str, object]) -> None:
    """KS-ROW-1."""
    body = record.encode(made)
    assert body[0] == record.VERSION
    assert record.decode(body) == made


@pytest.mark.parametrize(
    "body", [b"", b"\x01", b"\x00{}", b"\x02{}", b"{}", b"\x01[]", b"\x01{", b"\x01\xff"]
)
def test_what_is_no_record_of_this_version_is_refused(body: bytes) -> None:
    """KS-ROW-1."""
    with pytest.raises(record.UnreadableRecord):
        record.decode(body)
