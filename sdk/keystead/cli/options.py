"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from keystead.cli.exits import Exit, Failure

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="May be repeated.")]


def tags(pairs: Sequence[str] | None) -> list[dict[str, str]] | None:
    """Tags of the API from KEY=VALUE; None where there are none."""
    if not pairs:
        return None
    read = [pair.partition("=") for pair in pairs]
    if not all(key and equals for key, equals, _ in read):
        raise Failure("A tag is KEY=VALUE.", Exit.USAGE)
    return [{"TagKey": key, "TagValue": value} for key, _, value in read]


def tag_filters(pairs: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """TagFilters of a list: what has all of these tags."""
    return [{"TagKey": tag["TagKey"], "TagValue": [tag["TagValue"]]} for tag in tags(pairs) or ()] or None
