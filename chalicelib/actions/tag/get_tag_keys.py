"""The keys of the tags that keys and secrets carry, in pages."""

from typing import Annotated, Any

from chalicelib import tag_store
from chalicelib.actions.parameters import TagCategory
from chalicelib.context import Context
from chalicelib.params import RECORDED, Between, Characters


def get_tag_keys(
    ctx: Context,
    *,
    pagination_token: Annotated[str, Characters(512)] = "",
    max_results: Annotated[int, Between(1, 1000), RECORDED] = 50,
    category: TagCategory = "All",
) -> dict[str, Any]:
    found = {key for item in tag_store.visible(ctx) for key in item.tags if category != "System"}
    keys, token = tag_store.page(found, pagination_token, max_results)
    return {"PaginationToken": token, "TagKeys": keys}
