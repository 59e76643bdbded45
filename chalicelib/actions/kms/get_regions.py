"""The regions in which keys can be kept."""

from typing import Any

from chalicelib.context import Context


def get_regions(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    return {"Regions": list(ctx.settings.regions)}
