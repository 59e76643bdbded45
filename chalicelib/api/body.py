"""The bodies that are neither plain JSON nor a form: multipart ones, and those inside an AWS event."""

import base64
import binascii
import json
import re
from typing import Any, Final, NoReturn

from chalicelib.errors import InvalidParameter, InvalidRequest, RequestSizeLimitExceeded

MAX_PARTS: Final = 4096

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\\]{1,70})"|([!#-:<-~]{1,70}))\s*(?:;|$)', re.IGNORECASE)
_DISPOSITION = re.compile(
    r'form-data;\s*name="([^"\\\r\n]{1,256})"(\s*;\s*filename="[^"\r\n]*")?', re.IGNORECASE
)


def media_type(content_type: str) -> str:
    """Answer a Content-Type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def read_multipart(content_type: str, body: bytes) -> dict[str, object]:
    """Read a multipart/form-data body into parameters, by part name.

    A part of type application/json is its JSON value, a part with a file name its bytes, every other part its text.
    Strict where RFC 7578 lets a writer choose: CRLF, no preamble, each name once. Source: the SDKs' bodies.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidParameter("The Content-Type of a multipart body must name its boundary.")
    if not body:
        return {}  # the Python SDK's body when there are no parameters
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
    first, *parts = (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)
    if first or not parts or parts.pop() not in (b"--", b"--\r\n"):
        raise InvalidParameter("The multipart body does not follow its boundary, or has too many parts.")
    parameters: dict[str, object] = {}
    for part in parts:
        name, value = _part(part)
        if name in parameters:
            raise InvalidParameter(
                "A part of the multipart body appears more than once: send each name once."
            )
        parameters[name] = value
    return parameters


def read_event_body(body: object, *, encoded: bool, limit: int) -> bytes:
    """Answer the bytes of the `body` of an AWS event, and refuse those over the limit before decoding them."""
    if body is None:
        return b""
    if isinstance(body, str):
        if len(body) > (limit + 2) // 3 * 4 + 4:
            raise too_large(limit)
        try:
            return base64.b64decode(body, validate=True) if encoded else body.encode()
        except (binascii.Error, ValueError):
            raise InvalidRequest("The request's body reached the service damaged: send it again.") from None
    if isinstance(body, bytes) and not encoded:  # `chalice local`
        return body
    raise InvalidRequest("The request's body reached the service damaged: send it again.")


def too_large(limit: int) -> RequestSizeLimitExceeded:
    """Make the error for a request over a limit of bytes."""
    return RequestSizeLimitExceeded(
        f"The request is larger than the {limit} bytes allowed: send less at once."
    )


def _part(part: bytes) -> tuple[str, object]:
    head, blank, content = part.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n"):
        raise InvalidParameter("A part of the multipart body has no headers: name it in Content-Disposition.")
    try:
        lines = head[2:].decode().split("\r\n")
    except UnicodeDecodeError:
        raise InvalidParameter("The headers of a multipart part are not UTF-8.") from None
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if disposition is None:
        raise InvalidParameter('Every part needs `Content-Disposition: form-data; name="..."`.')
    if media_type(headers.get("content-type", "")) == "application/json":
        return disposition[1], _json(content)
    if disposition[2]:
        return disposition[1], content
    try:
        return disposition[1], content.decode()
    except UnicodeDecodeError:
        raise InvalidParameter(
            "A text part of the multipart body is not UTF-8: give binary parts a filename."
        ) from None


def _json(content: bytes) -> object:
    try:
        value: object = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InvalidParameter("A part of the multipart body is not valid JSON.") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
