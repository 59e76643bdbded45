"""The one shape of an answer."""

import json
from collections.abc import Mapping
from typing import Any, Final

from chalicelib.api.http import Reply
from chalicelib.errors import ApiError

_JSON: Final = json.JSONEncoder(separators=(",", ":"))


def answer(request_id: str, members: Mapping[str, Any], trace_id: str = "") -> Reply:
    """A success: `{"Response": {..., "RequestId": "..."}}`."""
    return _reply({**members, "RequestId": request_id}, trace_id)


def refusal(request_id: str, error: ApiError, trace_id: str = "") -> Reply:
    """A failure; RequestId is never missing, or the Python SDK fails with a KeyError."""
    return _reply({"Error": {"Code": error.code, "Message": str(error)}, "RequestId": request_id}, trace_id)


def _reply(response: Mapping[str, Any], trace_id: str) -> Reply:
    body = _JSON.encode({"Response": response}).encode()
    reply = Reply(body)
    if trace_id:
        # The Node SDK reports the trace id of the answer.
        reply = Reply(body, headers=(*reply.headers, ("X-TC-TraceId", trace_id)))
    return reply
