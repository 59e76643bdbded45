"""KS-FMT-1 and KS-FMT-2: associated data and encryption contexts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats.canonical import MalformedContext, associated_data, encryption_context

texts = st.text(st.characters(codec="utf-8"))
parts = st.lists(texts | st.binary() | st.integers(0, 2**64 - 1), max_size=5).map(tuple)
contexts = st.dictionaries(texts, texts, max_size=5)


def typed(values: tuple[object, ...]) -> list[tuple[str, object]]:
    return [(type(value).__name__, value) for value in values]


@given(texts, parts, texts, parts)
def test_different_arguments_give_different_bytes(
    domain: str, some: tuple[str | bytes | int, ...], other_domain: str, others: tuple[str | bytes | int, ...]
) -> None:
    """KS-FMT-1.1."""
    same = typed((domain, *some)) == typed((other_domain, *others))
    assert (associated_data(domain, *some) == associated_data(other_domain, *others)) is same


@pytest.mark.parametrize(
    ("some", "others"),
    [
        (("ab", "c"), ("a", "bc")),
        (("ab",), ("a", "b")),
        (("a",), ("a", "")),
        (("1",), (1,)),
        (("1",), (b"1",)),
        ((b"",), ("",)),
        ((0,), (b"\0" * 8,)),
        (("s\0\0\0\0",), ("", "")),
        (("e\u0301",), ("\u00e9",)),
    ],
)
def test_what_looks_alike_differs(
    some: tuple[str | bytes | int, ...], others: tuple[str | bytes | int, ...]
) -> None:
    """KS-FMT-1.1."""
    assert associated_data("x", *some) != associated_data("x", *others)


def test_the_domain_is_not_just_another_part() -> None:
    """KS-FMT-1.1: the same parts in two domains differ, and so do a domain and its first part exchanged."""
    assert associated_data("a", "b") != associated_data("b", "a")
    assert associated_data("a") != associated_data("b")


@pytest.mark.parametrize("part", [True, None, 1.0, bytearray(b"x"), ["a"]])
def test_other_types_are_refused(part: object) -> None:
    """KS-FMT-1.2."""
    with pytest.raises(TypeError):
        associated_data("x", part)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", [-1, 2**64, "\ud800"])
def test_values_outside_the_encoding_are_refused(part: str | int) -> None:
    """KS-FMT-1.2."""
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the contract
        associated_data("x", part)


@given(contexts, contexts)
def test_contexts_are_equal_as_maps_and_only_then(some: dict[str, str], other: dict[str, str]) -> None:
    """KS-FMT-2.1."""
    as_bytes = encryption_context(json.dumps(some))
    assert (as_bytes == encryption_context(json.dumps(other))) is (some == other)
    backwards = dict(reversed(some.items()))
    assert as_bytes == encryption_context(json.dumps(backwards, ensure_ascii=False, indent=3))


@pytest.mark.parametrize("text", [None, "", "{}", " {\n} "])
def test_no_context_has_one_form(text: str | None) -> None:
    """KS-FMT-2.2."""
    assert encryption_context(text) == b""


@given(contexts.filter(bool))
def test_a_context_with_members_is_not_absent(context: dict[str, str]) -> None:
    """KS-FMT-2.2."""
    assert encryption_context(json.dumps(context)) != b""


def test_code_points_are_not_normalised() -> None:
    """KS-FMT-2.1: two spellings of e-acute are two contexts."""
    assert encryption_context('{"a":"\u00e9"}') != encryption_context('{"a":"e\u0301"}')


@pytest.mark.parametrize(
    "text",
    [
        '{"secret":1}',
        '{"secret":null}',
        '{"secret":["x"]}',
        '{"a":{"b":"secret"}}',
        '["secret"]',
        '"secret"',
        "secret",
        '{"a":"secret","a":"secret"}',
        '{"a":"secret","\\u0061":"x"}',
        '{"a":"\\ud800"}',
        '{"a":"secret"}{}',
        "[" * 100_000,
        '{"a":' + "1" * 10_000 + "}",
    ],
)
def test_a_malformed_context_is_refused_without_being_repeated(text: str) -> None:
    """KS-FMT-2.3."""
    with pytest.raises(MalformedContext) as caught:
        encryption_context(text)
    assert isinstance(caught.value, ValueError)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(st.text())
def test_any_text_is_a_context_or_malformed(text: str) -> None:
    """KS-FMT-2.3."""
    try:
        encryption_context(text)
    except MalformedContext:
        return
    assert not text or isinstance(json.loads(text), dict)
