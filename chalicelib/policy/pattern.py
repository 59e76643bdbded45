"""Patterns: `*` for any text, `?` for any character, and variables for who calls.

Matched piece by piece instead of by one regular expression: no pattern, however many stars it has, makes a match slow.
"""

import functools
import re
from dataclasses import dataclass
from typing import Final

from chalicelib.policy.request import Request

_VARIABLE: Final = re.compile(r"\$\{(uin|owner_uin|app_id)\}")
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_=+,.@-]+")
"""Values that a variable may have: none is empty, reaches into another path or acts as a wildcard."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The texts between the stars."""

    pieces: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """The pattern that is written like this."""
        return cls(tuple(re.sub(r"\*+", "*", text).split("*")))

    def matches(self, text: str) -> bool:
        """Whether the pattern covers all of the text."""
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return len(text) == len(first) and _find(first, text, 0, len(text)) == 0
        start, end = len(first), len(text) - len(last)
        if start > end or _find(first, text, 0, start) or _find(last, text, end, len(text)) != end:
            return False
        # The leftmost place for each piece leaves the most room for the next: no need to come back.
        for piece in self.pieces[1:-1]:
            at = _find(piece, text, start, end)
            if at < 0:
                return False
            start = at + len(piece)
        return True


def has_variables(text: str) -> bool:
    """Whether something has to be filled in before the text means anything."""
    return "${" in text


def without_variables(text: str) -> str:
    """What is left without the variables that there are: no `${`, if it has no others."""
    return _VARIABLE.sub("", text)


def fill(text: str, request: Request) -> str | None:
    """The text for this caller; None where the caller has no value for a variable, or none that is harmless."""
    return _fill(text, request.uin, request.owner_uin, request.app_id)


@functools.lru_cache(4096)
def _fill(text: str, uin: str, owner_uin: str, app_id: str) -> str | None:
    values = {"uin": uin, "owner_uin": owner_uin, "app_id": app_id}
    if not all(_HARMLESS.fullmatch(values[name]) for name in _VARIABLE.findall(text)):
        return None
    return _VARIABLE.sub(lambda match: values[match[1]], text)


def _find(piece: str, text: str, start: int, end: int) -> int:
    if "?" not in piece:
        return text.find(piece, start, end)
    regex = "".join("." if c == "?" else re.escape(c) for c in piece)
    found = re.compile(regex, re.DOTALL).search(text, start, end)
    return found.start() if found else -1
