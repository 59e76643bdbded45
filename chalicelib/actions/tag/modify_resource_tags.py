"""Give tags to one key or secret, and take some away."""

from typing import Annotated, Any

from chalicelib import tag_store
from chalicelib.actions.parameters import GoneTag, NewTag, ResourceName, new_tags
from chalicelib.context import Context
from chalicelib.errors import (
    DeleteTagsParamError,
    InvalidParameter,
    ResourceDescriptionError,
    TagNumPerRequest,
)
from chalicelib.params import RECORDED, Items


def modify_resource_tags(
    ctx: Context,
    *,
    resource: ResourceName,
    replace_tags: Annotated[list[NewTag], Items(10, error=TagNumPerRequest), RECORDED] | None = None,
    delete_tags: Annotated[list[GoneTag], Items(10, error=TagNumPerRequest), RECORDED] | None = None,
) -> dict[str, Any]:
    given, taken = new_tags(replace_tags or ()), {t.tag_key for t in delete_tags or ()}
    if not given and not taken:
        raise InvalidParameter("Set ReplaceTags or DeleteTags.")
    if taken & given.keys():
        raise DeleteTagsParamError
    ctx.request_tags = given
    place = tag_store.read_place(ctx, resource)
    ctx.go_to(place.region)
    if given and taken:
        # What is taken away is no tag of the request: it has to be allowed as by itself.
        tag_store.find(ctx.beside(place.region), [place])
    (item,) = tag_store.find(ctx, [place])
    if item is None:
        raise ResourceDescriptionError("The resource does not exist.")
    if ops := tag_store.change(item, given, taken):
        ctx.commit(ops)
    return {}
