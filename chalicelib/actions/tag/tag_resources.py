"""Give tags to up to 10 keys and secrets of one region; those that cannot be tagged are named with the reason."""

from typing import Annotated, Any

from chalicelib import tag_store
from chalicelib.actions.parameters import NewTag, ResourceName, new_tags
from chalicelib.context import Context
from chalicelib.errors import ResourceNumPerRequest, TagNumPerRequest
from chalicelib.params import RECORDED, Items


def tag_resources(
    ctx: Context,
    *,
    resource_list: Annotated[list[ResourceName], Items(10, 1, ResourceNumPerRequest), RECORDED],
    tags: Annotated[list[NewTag], Items(10, 1, TagNumPerRequest), RECORDED],
) -> dict[str, Any]:
    ctx.request_tags = new_tags(tags)
    return {"FailedResources": tag_store.change_many(ctx, resource_list, ctx.request_tags)}
