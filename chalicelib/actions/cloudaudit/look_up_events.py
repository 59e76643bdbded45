"""The account's events of up to 7 days, newest first: the older form of DescribeEvents."""

from typing import Annotated, Any, Final

from chalicelib.actions.event_lookup import MAX_POSITION, MAX_TIME, LookupAttribute, read_attributes
from chalicelib.audit.answer import answer
from chalicelib.audit.search import Query, find
from chalicelib.context import Context
from chalicelib.errors import (
    InvalidParameter,
    MaxResultOutOfRange,
    TimeMissing,
    TimeReversed,
    TimeSpanTooLong,
    UnknownAttributeKey,
)
from chalicelib.params import RECORDED, Between, Items, Matches, OneOf

KEYS: Final = (
    "RequestId",
    "EventName",
    "ReadOnly",
    "Username",
    "ResourceType",
    "ResourceName",
    "AccessKeyId",
)
_MAX_SECONDS: Final = 7 * 86400
_TIME: Final = Between(0, MAX_TIME, TimeMissing)


def look_up_events(
    ctx: Context,
    *,
    start_time: Annotated[int, _TIME, RECORDED] = 0,
    end_time: Annotated[int, _TIME, RECORDED] = 0,
    lookup_attributes: Annotated[list[LookupAttribute], Items(10, 0, UnknownAttributeKey), RECORDED]
    | None = None,
    next_token: Annotated[
        str, Matches(r"[0-9]{0,16}", "comes from the answer before", InvalidParameter)
    ] = "",
    max_results: Annotated[int, Between(1, 50, MaxResultOutOfRange), RECORDED] = 10,
    mode: Annotated[str, OneOf(("standard", "quick"), InvalidParameter), RECORDED] = "standard",
) -> dict[str, Any]:
    ctx.authorise()
    if not start_time or not end_time:
        raise TimeMissing
    if start_time > end_time:
        raise TimeReversed
    if end_time - start_time > _MAX_SECONDS:
        raise TimeSpanTooLong
    position = int(next_token or 0)
    if position > MAX_POSITION:
        raise InvalidParameter("NextToken comes from the answer before.")
    attributes = read_attributes(lookup_attributes or [], KEYS, UnknownAttributeKey)
    query = Query(ctx.caller.account, start_time, end_time, attributes)
    page = find(ctx.service, query, position=position, limit=max_results)
    return {
        "Events": [answer(members, time_as_text=True) for members in page.events],
        "NextToken": str(page.position) if page.position else "",
        "ListOver": not page.position,
        "TotalCount": len(page.events),
    }
