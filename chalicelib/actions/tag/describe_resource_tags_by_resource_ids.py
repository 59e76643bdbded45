"""The tags of keys or secrets, by their ids. What does not exist has no tags."""

import hashlib
from typing import Annotated, Any

from chalicelib import tag_store
from chalicelib.actions.parameters import TagCategory, Unsigned
from chalicelib.context import Context
from chalicelib.errors import ResourceNumPerRequest
from chalicelib.params import RECORDED, Between, Characters, Items


def describe_resource_tags_by_resource_ids(
    ctx: Context,
    *,
    service_type: Annotated[str, Characters(64), RECORDED],
    resource_prefix: Annotated[str, Characters(64), RECORDED],
    resource_ids: Annotated[
        list[Annotated[str, Characters(256)]], Items(50, 1, ResourceNumPerRequest), RECORDED
    ],
    resource_region: Annotated[str, Characters(64), RECORDED],
    offset: Unsigned = 0,
    limit: Annotated[int, Between(1, 1000), RECORDED] = 15,
    category: TagCategory = "All",
) -> dict[str, Any]:
    places = [
        tag_store.place_of(ctx, service_type, resource_prefix, resource_region, resource_id)
        for resource_id in resource_ids
    ]
    ctx.go_to(resource_region)
    found = [
        {
            "TagKey": name,
            "TagValue": value,
            "ResourceId": asked,
            "TagKeyMd5": _md5(name),
            "TagValueMd5": _md5(value),
            "ServiceType": service_type,
            "Category": "Custom",
        }
        for asked, item in zip(resource_ids, tag_store.find(ctx, places), strict=True)
        if item is not None and category != "System"
        for name, value in sorted(item.tags.items())
    ]
    return {
        "TotalCount": len(found),
        "Offset": offset,
        "Limit": limit,
        "Tags": found[offset : offset + limit],
    }


def _md5(text: str) -> str:
    """What the API wants beside each text; it protects nothing."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
