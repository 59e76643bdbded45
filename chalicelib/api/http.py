"""The request and the reply, free of any front door's shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.errors import ApiError


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as received.

    `queries` holds the candidates for the raw query string: one where the front door kept the bytes of the wire, the
    likely encodings where it only passed decoded pairs on. Header names are in lower case, values as received.
    `body_limit` is the front door's own limit in bytes.
    """

    method: str
    path: str
    queries: tuple[str, ...]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    source_ip: str
    body_limit: int = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. The API answers 200 always: clients lose the error code with any other status."""

    body: bytes = field(repr=False)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


class Gateway(Protocol):
    """What every front door hands its requests to. Neither call raises."""

    def __call__(self, request: Request, /) -> Reply:
        """Answer a request."""
        ...

    def refuse(self, error: ApiError, /) -> Reply:
        """Answer for what the front door could not make a request of."""
        ...
