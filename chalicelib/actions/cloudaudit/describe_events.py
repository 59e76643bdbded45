"""The account's events of up to 30 days, newest first."""

from typing import Annotated, Any, Final

from chalicelib.actions.event_lookup import MAX_POSITION, MAX_TIME, LookupAttribute, read_attributes
from chalicelib.audit.answer import answer
from chalicelib.audit.search import Query, find
from chalicelib.context import Context
from chalicelib.errors import InvalidParameter, TooManyEventsWanted
from chalicelib.params import RECORDED, Between, Items, OneOf

KEYS: Final = (
    "RequestId",
    "EventName",
    "ActionType",
    "PrincipalId",
    "ResourceType",
    "ResourceId",
    "ResourceName",
    "AccessKeyId",
    "SensitiveAction",
    "ApiErrorCode",
    "CamErrorCode",
    "SourceIPAddress",
    "Tags",
)
_DAY: Final = 86400
_MAX_AGE_DAYS: Final = 90
_MAX_DAYS: Final = 30
_TIME: Final = Between(1, MAX_TIME, InvalidParameter)


def describe_events(
    ctx: Context,
    *,
    start_time: Annotated[int, _TIME, RECORDED],
    end_time: Annotated[int, _TIME, RECORDED],
    next_token: Annotated[int, Between(0, MAX_POSITION, InvalidParameter)] = 0,
    max_results: Annotated[int, Between(1, 50, TooManyEventsWanted), RECORDED] = 10,
    lookup_attributes: Annotated[list[LookupAttribute], Items(10, 0, TooManyEventsWanted), RECORDED]
    | None = None,
    is_return_location: Annotated[int, OneOf((0, 1), InvalidParameter), RECORDED] = 0,
) -> dict[str, Any]:
    ctx.authorise()
    oldest = ctx.now - max(_MAX_AGE_DAYS, ctx.settings.audit_days) * _DAY
    if not oldest <= start_time <= end_time or end_time - start_time > _MAX_DAYS * _DAY:
        raise InvalidParameter("StartTime is within the last 90 days, and EndTime up to 30 days after it.")
    attributes = read_attributes(lookup_attributes or [], KEYS, InvalidParameter)
    query = Query(ctx.caller.account, start_time, end_time, attributes)
    page = find(ctx.service, query, position=next_token, limit=max_results)
    return {
        "Events": [answer(members, time_as_text=False) for members in page.events],
        "NextToken": page.position,
        "ListOver": not page.position,
        "TotalCount": len(page.events),
    }
