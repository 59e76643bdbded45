"""The tags of keys and secrets, by the names that policies use: found, shown and changed where the resource is."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from chalicelib.errors import (
    ApiError,
    PaginationTokenInvalid,
    RegionInvalid,
    ResourceAttachedTags,
    ResourceDescriptionError,
    ResourceIdInvalid,
    ResourceNumPerRequest,
    ResourcePrefixInvalid,
    ServiceTypeInvalid,
)
from chalicelib.key_store import KeyStore
from chalicelib.model.key import Key
from chalicelib.policy.document import PolicyError, split_resource
from chalicelib.secret_store import SecretStore
from chalicelib.table import keys as key_rows
from chalicelib.table import secrets as secret_rows
from chalicelib.table.port import MAX_OPS, Add, key_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from chalicelib.context import Context
    from chalicelib.model.secret import Secret
    from chalicelib.table.port import Op

MAX_TAGS: Final = 50
PREFIXES: Final = {"kms": "key", "ssm": "secret"}
"""Service -> how the names of its resources start."""

_ACCOUNT: Final = re.compile(r"(?:uin/)?([0-9]{0,20})")
_ID: Final = re.compile(r"(?:creatorUin/([0-9]{1,20})/)?([A-Za-z0-9][A-Za-z0-9_-]{0,127})")


@dataclass(frozen=True, slots=True)
class Place:
    """What names a key or a secret: its creator may be left out."""

    service: str
    region: str
    creator_uin: str
    id: str


def read_place(ctx: Context, resource: str) -> Place:
    """What a six-segment name says; raises ResourceDescriptionError or RegionInvalid.

    The account is the caller's own, and may be left out: Terraform sends `uin/`.
    """
    try:
        _, project, service, region, account, path = split_resource(resource)
    except PolicyError:
        raise ResourceDescriptionError from None
    owner = _ACCOUNT.fullmatch(account)
    prefix, _, resource_id = path.partition("/")
    if (
        project
        or owner is None
        or owner[1] not in ("", ctx.caller.account)
        or PREFIXES.get(service) != prefix
    ):
        raise ResourceDescriptionError
    try:
        return place_of(ctx, service, prefix, region, resource_id)
    except ResourceIdInvalid:
        raise ResourceDescriptionError from None


def place_of(ctx: Context, service: str, prefix: str, region: str, resource_id: str) -> Place:
    """The same from its parts; raises the error that names the wrong one."""
    if service not in PREFIXES:
        raise ServiceTypeInvalid
    if prefix != PREFIXES[service]:
        raise ResourcePrefixInvalid
    if region not in ctx.settings.regions:
        raise RegionInvalid
    match = _ID.fullmatch(resource_id)
    if match is None:
        raise ResourceIdInvalid
    return Place(service, region, match[1] or "", match[2])


def find(ctx: Context, places: Sequence[Place]) -> list[Key | Secret | None]:
    """What is there, once the caller is authorised for each; all places are of one service, in the context's region."""
    ids = list(dict.fromkeys(place.id for place in places))
    found: Sequence[Key | Secret | None] = (
        ctx.keys.find_many(ids) if places[0].service == "kms" else ctx.secrets.find_many(ids)
    )
    by_id = dict(zip(ids, found, strict=True))
    return [_if_named(place, by_id[place.id]) for place in places]


def name_of(item: Key | Secret) -> str:
    """The six-segment name of a key or secret."""
    service, path = (
        ("kms", f"key/{resource_id(item)}")
        if isinstance(item, Key)
        else ("ssm", f"secret/{resource_id(item)}")
    )
    return f"qcs::{service}:{item.region}:uin/{item.account}:{path}"


def resource_id(item: Key | Secret) -> str:
    """What the tag service calls a resource id."""
    return f"creatorUin/{item.creator_uin}/{item.id if isinstance(item, Key) else item.name}"


def visible(ctx: Context) -> list[Key | Secret]:
    """Every key and secret of the account, in all regions, that the caller may see; by name."""
    found: list[Key | Secret] = []
    for region in ctx.settings.regions:
        there = ctx.beside(region)
        found += KeyStore(there).list_all()
        found += SecretStore(there).list_all()
    return sorted(ctx.visible("*", found, name_of), key=name_of)


def change(item: Key | Secret, given: Mapping[str, str], taken: Collection[str] = ()) -> list[Op]:
    """The ops that give tags to a resource and take some away, as it was read; none where nothing changes.

    Raises ResourceAttachedTags.
    """
    tags = {**{name: value for name, value in item.tags.items() if name not in taken}, **given}
    if len(tags) > MAX_TAGS:
        raise ResourceAttachedTags
    if tags == item.tags:
        return []
    if isinstance(item, Key):
        return key_rows.replace(item, replace(item, tags=tags))
    return secret_rows.replace(item, replace(item, tags=tags))


def change_many(
    ctx: Context, resources: Sequence[str], given: Mapping[str, str], taken: Collection[str] = ()
) -> list[dict[str, str]]:
    """Commit the same change to several resources of one region; the API's FailedResources.

    Where none of them can be changed, the first one's error is the call's.
    """
    ops: list[Op] = []
    failed: list[tuple[str, ApiError]] = []
    region = ""
    for resource in dict.fromkeys(resources):
        try:
            place = read_place(ctx, resource)
            if region not in ("", place.region):
                raise RegionInvalid("The resources of one call are in one region: call again for this one.")
            if not region:
                region = place.region
                ctx.go_to(region)
            (item,) = find(ctx, [place])
            if item is None:
                raise ResourceDescriptionError("The resource does not exist.")
            # Several secrets change the version of one list.
            more = [op for op in change(item, given, taken) if not isinstance(op, Add) or op not in ops]
            if len(ops) + len(more) > MAX_OPS:
                raise ResourceNumPerRequest(
                    "One write does not hold so many replicas: call again for this one."
                )
            ops += more
        except ApiError as error:
            failed.append((resource, error))
    if len(failed) == len(set(resources)):
        raise failed[0][1]
    if len({key_of(op) for op in ops}) < len(ops):
        raise ResourceDescriptionError("A resource is named twice.")
    if ops:
        ctx.commit(ops)
    return [{"Resource": name, "Code": error.code, "Message": str(error)} for name, error in failed]


def page(found: Iterable[str], token: str, most: int) -> tuple[list[str], str]:
    """The texts, in order, that come after the one in the token, and the token of the next page, if there is one."""
    try:
        after = base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise PaginationTokenInvalid from None
    texts = sorted(text for text in found if text > after)
    more = len(texts) > most
    return texts[:most], base64.urlsafe_b64encode(texts[most - 1].encode()).decode() if more else ""


def is_one_of(name: str, places: Collection[Place]) -> bool:
    """Whether a resource's full name is one of those."""
    _, _, service, region, _, path = split_resource(name)
    _, _, creator_uin, resource = path.split("/")
    return any(Place(service, region, uin, resource) in places for uin in ("", creator_uin))


def _if_named(place: Place, item: Key | Secret | None) -> Key | Secret | None:
    """The resource, unless its name says another creator than it has."""
    return item if item is not None and place.creator_uin in ("", item.creator_uin) else None
