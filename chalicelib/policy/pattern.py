"""Patterns: `*` for any text, `?` for any character, and variables for who calls.

A pattern becomes one regular expression that never comes back to what it has matched: the leftmost place for each piece
between stars leaves the most room for the next. No pattern, however many stars it has, makes a match slow.
"""

import functools
import re
from collections.abc import Callable
from typing import Final

from chalicelib.policy.request import Request

Match = Callable[[str], re.Match[str] | None]

_VARIABLE: Final = re.compile(r"\$\{(uin|owner_uin|app_id)\}")
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_=+,.@-]+")
"""Values that a variable may have: none is empty, reaches into another path or acts as a wildcard."""


def expression(pattern: str) -> str:
    """The regular expression, for DOTALL, of the texts that a pattern covers as a whole."""
    first, *others = [_piece(piece) for piece in re.sub(r"\*+", "*", pattern).split("*")]
    if not others:
        return rf"{first}\Z"
    middle = "".join([f"(?>.*?{piece})" for piece in others[:-1]])
    # What ends with a star matches whatever follows.
    return rf"{first}{middle}.*{others[-1]}\Z" if others[-1] else first + middle


def matcher(pattern: str) -> Match:
    """Tells whether a pattern covers all of a text."""
    return re.compile(expression(pattern), re.DOTALL).match


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


def _piece(text: str) -> str:
    return ".".join([re.escape(part) for part in text.split("?")])
