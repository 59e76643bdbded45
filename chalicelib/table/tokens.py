"""Key tokens in rows, put in place of older ones."""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chalicelib.formats import record
from chalicelib.hsm.port import HsmKey, KeyKind
from chalicelib.table.port import Row

Rewrap = Callable[[HsmKey], bytes]
"""Answers another token of a key, or the one that it has."""

Place = Callable[[dict[str, Any]], tuple[KeyKind, bytes]]
"""The kind of the key whose token is in a record, and what the token is bound to."""


def rewrapped(row: Row, place: Place, rewrap: Rewrap, *, listed_in: str = "") -> Row:
    """The row with the tokens that `rewrap` answers, and all else as it is, unknown members of the record included.

    The token is the member `token`, in base64, of the record itself, or of each record listed in one of its members.
    """
    members = record.decode(row.body)
    changed = False
    for holder in members.get(listed_in, ()) if listed_in else (members,):
        kind, binding = place(holder)
        token = base64.b64decode(holder["token"])
        new = rewrap(HsmKey(kind, token, binding))
        holder["token"] = base64.b64encode(new).decode()
        changed |= new != token
    return replace(row, body=record.encode(members)) if changed else row
