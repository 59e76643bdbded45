"""What goes to the terminal or into a pipe. Texts of the service cannot steer the terminal."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

_TIMES: Final = ("Time", "Date")
# What JSON leaves as it is and a terminal may obey: DEL, C1 (U+009B begins commands), other directions of writing.
_STEERS: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Format(str, Enum):
    """`--output`."""

    JSON = "json"
    TABLE = "table"


def default_format() -> Format:
    """A table on a terminal, JSON in a pipe."""
    return Format.TABLE if sys.stdout.isatty() else Format.JSON


def show(form: Format, members: Mapping[str, Any]) -> None:
    """One thing: its members."""
    if form is Format.JSON:
        _print(as_json(members, indent=2))
        return
    _table(None, ([name, cell(name, value)] for name, value in members.items()))


def show_all(form: Format, items: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Many things: all members of each as an array of JSON, written while it is read, or some as columns of a table."""
    if form is Format.TABLE:
        _table(columns, ([cell(name, item.get(name)) for name in columns] for item in items))
        return
    opening = "[\n"
    for item in items:
        sys.stdout.write(opening + as_json(item))
        opening = ",\n"
    _print("[]" if opening == "[\n" else "\n]")


def as_json(members: Mapping[str, Any], *, indent: int | None = None) -> str:
    """A JSON object that a terminal can show; without `indent` on one line."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf-8")  # others are not JSON
    text = json.dumps(dict(members), indent=indent, ensure_ascii=not is_unicode)
    return _STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str) -> None:
    """A line for the user, apart from the output."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """The text on one line, with control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(name: str, value: Any) -> str:
    """A value as a table shows it; seconds since 1970 as a time in UTC."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(_TIMES):
        return utc(value) if value else "-"
    if isinstance(value, (dict, list)):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(str(value))


def utc(seconds: int) -> str:
    """Seconds since 1970 as a time; as they are where there is no such time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OSError, OverflowError, ValueError):
        return str(seconds)


def _table(columns: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=columns is not None)
    for name in columns or ("", ""):
        table.add_column(name, overflow="fold", no_wrap=name.endswith("Id"))
    for row in rows:
        table.add_row(*map(Text, row))  # as Text, because brackets in a str are markup
    if not console.is_terminal:
        console.width = 10_000  # as wide as can be, to measure what the table needs
        console.width = max(80, console.measure(table).maximum)
    console.print(table)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
