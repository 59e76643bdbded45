"""Accounts that work in this one as well: there is no such thing here, so the list is empty."""

from typing import Any

from chalicelib.actions.user_parameters import Number
from chalicelib.context import Context


def list_collaborators(ctx: Context, *, limit: Number = 20, offset: Number = 0) -> dict[str, Any]:
    ctx.authorise()
    return {"TotalNum": 0, "Data": []}
