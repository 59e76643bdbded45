"""The front door of API Gateway REST APIs (event format 1.0) and `chalice local`.

Both hand over decoded parameters only, and TC3 signs the raw query: it is rebuilt here, in the order received.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from chalicelib.api.body import read_event_body
from chalicelib.api.http import Gateway, Reply, Request
from chalicelib.api.signature import MAX_TC3_POST
from chalicelib.errors import ApiError, InvalidParameter, InvalidRequest


def handle(event: Mapping[str, Any], gateway: Gateway) -> Reply:
    """Answer one event, such as `app.current_request.to_original_event()` of Chalice."""
    try:
        request = _request(event)
    except ApiError as error:
        return gateway.refuse(error)
    return gateway(request)


def rebuild_queries(pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Answer the raw queries that clients send for these pairs: form encoding (Python, Go), then Node's."""
    pairs = list(pairs)
    try:
        form = "&".join([f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs])
        component = "&".join([f"{_component(name)}={_component(value)}" for name, value in pairs])
    except UnicodeEncodeError:
        raise InvalidParameter("Percent-encode parameters as UTF-8.") from None
    return tuple(dict.fromkeys((form, component)))


def _component(text: str) -> str:
    """JavaScript's encodeURIComponent, but for `'`, which the SDK escapes."""
    return quote(text, safe="!*()")


def _request(event: Mapping[str, Any]) -> Request:
    try:
        context = event["requestContext"]
        return Request(
            method=context["httpMethod"],
            path=context.get("path") or "/",
            queries=rebuild_queries(
                _pairs(event.get("multiValueQueryStringParameters"), event.get("queryStringParameters"))
            ),
            headers=_headers(_pairs(event.get("multiValueHeaders"), event.get("headers"))),
            body=read_event_body(
                event.get("body"), encoded=bool(event.get("isBase64Encoded")), limit=MAX_TC3_POST
            ),
            source_ip=(context.get("identity") or {}).get("sourceIp") or "",
        )
    except (KeyError, TypeError, AttributeError):
        raise InvalidRequest("This function takes HTTP events of format 1.0 only.") from None


def _pairs(
    multiple: Mapping[str, list[str]] | None, single: Mapping[str, str] | None
) -> list[tuple[str, str]]:
    if multiple:
        return [(name, value) for name, values in multiple.items() for value in values]
    return list((single or {}).items())


def _headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join what came more than once with commas, as every other front door does."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    return headers
