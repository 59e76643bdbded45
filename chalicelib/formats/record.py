"""The body of a table row: a version byte, then JSON in UTF-8 (docs/formats.md, KS-ROW).

Not a place for plaintext: whatever is secret is sealed before it gets here.
"""

import json
from typing import Any, Final

VERSION: Final = 1
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class UnreadableRecord(Exception):
    """The row was written by a newer release, or damaged."""


def encode(members: dict[str, Any]) -> bytes:
    """The bytes of a record."""
    return b"\x01" + _JSON.encode(members).encode()


def decode(body: bytes) -> dict[str, Any]:
    """The record's members; raises UnreadableRecord."""
    if body[:1] != b"\x01":
        raise UnreadableRecord("unknown record version")
    try:
        members = json.loads(body[1:])
    except ValueError:
        raise UnreadableRecord("not a record") from None
    if not isinstance(members, dict):
        raise UnreadableRecord("not a record")
    return members
