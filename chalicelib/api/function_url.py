"""The front door of a Lambda function URL: payload format 2.0, which keeps the raw query string."""

from collections.abc import Mapping
from typing import Any, Final

from chalicelib.api.body import read_event_body
from chalicelib.api.http import Gateway, Request
from chalicelib.errors import ApiError, InvalidRequest

BODY_LIMIT: Final = 6 * 1024 * 1024
"""What Lambda takes in one synchronous invocation."""


def handle(event: Mapping[str, Any], gateway: Gateway) -> dict[str, Any]:
    """Answer one event. Whatever is wrong with it is answered in the API's envelope."""
    try:
        request = _request(event)
    except ApiError as error:
        reply = gateway.refuse(error)
    else:
        reply = gateway(request)
    return {
        "statusCode": reply.status,
        "headers": dict(reply.headers),
        "body": reply.body.decode(),
        "isBase64Encoded": False,
    }


def _request(event: Mapping[str, Any]) -> Request:
    try:
        http = event["requestContext"]["http"]
        return Request(
            method=http["method"],
            path=event.get("rawPath") or "/",
            queries=(event.get("rawQueryString") or "",),
            headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
            body=read_event_body(
                event.get("body"), encoded=bool(event.get("isBase64Encoded")), limit=BODY_LIMIT
            ),
            source_ip=http.get("sourceIp") or "",
            body_limit=BODY_LIMIT,
        )
    except (KeyError, TypeError, AttributeError):
        raise InvalidRequest("This function takes HTTP events of payload format 2.0 only.") from None
