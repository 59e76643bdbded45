"""The values that tags of the given keys have, in pages."""

from typing import Annotated, Any

from chalicelib import tag_store
from chalicelib.actions.parameters import TagCategory, TagKey
from chalicelib.context import Context
from chalicelib.errors import TagNumPerRequest
from chalicelib.params import RECORDED, Between, Characters, Items


def get_tag_values(
    ctx: Context,
    *,
    tag_keys: Annotated[list[TagKey], Items(20, 1, TagNumPerRequest), RECORDED],
    pagination_token: Annotated[str, Characters(1024)] = "",
    max_results: Annotated[int, Between(1, 1000), RECORDED] = 50,
    category: TagCategory = "All",
) -> dict[str, Any]:
    wanted = set(tag_keys) if category != "System" else set()
    found = {
        f"{key}\n{value}": (key, value)
        for item in tag_store.visible(ctx)
        for key, value in item.tags.items()
        if key in wanted
    }
    names, token = tag_store.page(found, pagination_token, max_results)
    pairs = [found[name] for name in names]
    return {
        "PaginationToken": token,
        "Tags": [{"TagKey": key, "TagValue": value, "Category": "Custom"} for key, value in pairs],
    }
