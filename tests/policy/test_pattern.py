"""Stars, compared with every way to share out a text."""

import itertools

import pytest

from chalicelib.policy.pattern import matcher
from tests.policy.reference import wild

TEXTS = ["".join(letters) for n in range(5) for letters in itertools.product("ab", repeat=n)]


@pytest.mark.parametrize("alphabet", ["ab*", "a?*"])
def test_all_short_patterns(alphabet: str) -> None:
    for n in range(6):
        for letters in itertools.product(alphabet, repeat=n):
            pattern = "".join(letters)
            compiled = matcher(pattern)
            found = [t for t in TEXTS if compiled(t)]
            assert found == [t for t in TEXTS if wild(pattern, t, question_mark=True)], pattern


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("ab*ba", ["abba", "abxba"], ["aba", "ab", "abbab"]),
        ("*aa*a*", ["aaa", "baabab"], ["aa", "aba"]),
        ("*ab*ab*", ["abab", "xabyabz"], ["aba", "ab", "abba"]),
        ("a*?*b", ["axb", "axyb"], ["ab", "axbc"]),
        ("*[a]*", ["[a]", "x[a]y"], ["a"]),
        ("a\\*", ["a\\", "a\\b"], ["a", "a*"]),
        ("a.?", ["a.b", "a.\n"], ["abc", "a."]),
    ],
)
def test_pieces_do_not_overlap_and_have_no_other_meaning(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = matcher(pattern)
    assert {t: bool(compiled(t)) for t in yes + no} == dict.fromkeys(yes, True) | dict.fromkeys(no, False)
