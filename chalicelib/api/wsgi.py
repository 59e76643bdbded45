"""The front door of a server on one machine: any WSGI server (PEP 3333)."""

import functools
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit
from wsgiref.types import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

from chalicelib.api.body import too_large
from chalicelib.api.http import Gateway, Request
from chalicelib.api.signature import MAX_TC3_POST
from chalicelib.errors import ApiError, InvalidRequest

_CHUNK: Final = 64 * 1024
_STATUS: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_LENGTH = re.compile(r"[0-9]{1,18}")


def application(gateway: Gateway) -> WSGIApplication:
    """Make the WSGI application of a gateway."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            request = _request(environ)
        except ApiError as error:
            reply = gateway.refuse(error)
        else:
            reply = gateway(request)
        start_response(
            _STATUS[reply.status],
            [*reply.headers, ("Content-Length", str(len(reply.body)))],
        )
        return [reply.body]

    return serve


def _request(environ: WSGIEnvironment) -> Request:
    headers = {
        _name(key): value
        for key, value in environ.items()
        if key.startswith("HTTP_") and isinstance(value, str)
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    path = environ.get("PATH_INFO") or "/"
    if not path.startswith("/"):  # `POST http://kms.example/ HTTP/1.1`, as sent through an HTTP proxy
        host, path = _absolute(path)
        headers.setdefault("host", host)
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        queries=(environ.get("QUERY_STRING") or "",),
        headers=headers,
        body=_body(environ, headers),
        source_ip=environ.get("REMOTE_ADDR") or "",
    )


@functools.lru_cache(maxsize=256)
def _name(key: str) -> str:
    """`HTTP_X_TC_ACTION` -> `x-tc-action`."""
    return key[5:].replace("_", "-").lower()


def _absolute(target: str) -> tuple[str, str]:
    try:
        url = urlsplit(target)
    except ValueError:
        raise InvalidRequest("The request target is neither a path nor a URL.") from None
    return url.netloc, url.path or "/"


def _body(environ: WSGIEnvironment, headers: dict[str, str]) -> bytes:
    """Read the body; what is too long is refused before it is read."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length:
        if not _LENGTH.fullmatch(length):
            raise InvalidRequest("Content-Length is the body's length in bytes.")
        if int(length) > MAX_TC3_POST:
            raise too_large(MAX_TC3_POST)
        body = _read(environ["wsgi.input"], int(length))
        if len(body) < int(length):
            raise InvalidRequest("The request's body is shorter than its Content-Length: send it again.")
        return body
    if environ.get("wsgi.input_terminated"):
        body = _read(environ["wsgi.input"], MAX_TC3_POST + 1)
        if len(body) > MAX_TC3_POST:
            raise too_large(MAX_TC3_POST)
        return body
    if "transfer-encoding" in headers:
        raise InvalidRequest("This server needs a Content-Length: send the body in one piece.")
    return b""


def _read(stream: InputStream, most: int) -> bytes:
    chunks = []
    while most > 0 and (chunk := stream.read(min(most, _CHUNK))):
        chunks.append(chunk)
        most -= len(chunk)
    return b"".join(chunks)
