"""Keys and secrets of all regions with their tags: those that are named, or those that carry tags, in pages."""

from typing import Annotated, Any

from chalicelib import tag_store
from chalicelib.actions.parameters import ResourceName, TagFilter, carries
from chalicelib.context import Context
from chalicelib.errors import ResourceNumPerRequest, TagFiltersLengthExceeded
from chalicelib.params import RECORDED, Between, Characters, Items


def get_resources(
    ctx: Context,
    *,
    resource_list: Annotated[list[ResourceName], Items(10, error=ResourceNumPerRequest), RECORDED]
    | None = None,
    tag_filters: Annotated[list[TagFilter], Items(6, error=TagFiltersLengthExceeded), RECORDED] | None = None,
    pagination_token: Annotated[str, Characters(512)] = "",
    max_results: Annotated[int, Between(1, 200), RECORDED] = 50,
) -> dict[str, Any]:
    found = {
        tag_store.name_of(item): item
        for item in tag_store.visible(ctx)
        if (item.tags or resource_list) and carries(item.tags, tag_filters or ())
    }
    if resource_list:
        places = {tag_store.read_place(ctx, name) for name in resource_list}
        names, token = [n for n in found if tag_store.is_one_of(n, places)], ""
    else:
        names, token = tag_store.page(found, pagination_token, max_results)
    return {
        "PaginationToken": token,
        "ResourceTagMappingList": [
            {
                "Resource": name,
                "Tags": [
                    {"TagKey": key, "TagValue": value, "Category": "Custom"}
                    for key, value in sorted(found[name].tags.items())
                ],
            }
            for name in names
        ],
    }
