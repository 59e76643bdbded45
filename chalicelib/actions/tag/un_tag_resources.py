"""Take tags from up to 10 keys and secrets of one region; those that cannot be changed are named with the reason."""

from typing import Annotated, Any

from chalicelib import tag_store
from chalicelib.actions.parameters import ResourceName, TagKey
from chalicelib.context import Context
from chalicelib.errors import ResourceNumPerRequest, TagNumPerRequest
from chalicelib.params import RECORDED, Items


def un_tag_resources(
    ctx: Context,
    *,
    resource_list: Annotated[list[ResourceName], Items(10, 1, ResourceNumPerRequest), RECORDED],
    tag_keys: Annotated[list[TagKey], Items(10, 1, TagNumPerRequest), RECORDED],
) -> dict[str, Any]:
    return {"FailedResources": tag_store.change_many(ctx, resource_list, {}, tag_keys)}
