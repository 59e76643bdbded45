"""A closed-loop load generator: connections that each send a request, wait for the whole answer, and send the next.

Requests are bytes that were built, and signed, beforehand, so that the generator takes as little of the machine as it
can: it shares it with what it measures. Every answer's body is checked, because an error may come as HTTP 200.
"""  # noqa: INP001 - a library of scripts

import itertools
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

_CHUNK: Final = 256 * 1024
_SILENCE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one run measured."""

    done: int
    wrong: int
    """Answers whose body was not what it should be."""
    seconds: float
    latencies: list[float]
    """Of each request, in seconds, in ascending order."""

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.done - self.wrong) / self.seconds

    def percentile(self, percent: float) -> float:
        """The time within which so many of the requests were answered, in milliseconds."""
        at = min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))
        return self.latencies[at] * 1e3


class _Connection:
    """One connection and the request that is on its way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.began = 0.0
        self.is_closing = False
        """Whether the server hangs up after this answer."""
        self._received = bytearray()
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self._address, timeout=_SILENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        self._received.clear()
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The answer's body once it is whole; ConnectionError if the server hung up."""
        chunk = self.socket.recv(_CHUNK)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._received += chunk
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._received[:end]).lower()
        self.is_closing = b"\r\nconnection: close" in head
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            whole = self._received.endswith(b"0\r\n\r\n")  # chunked: the last chunk is empty
            return bytes(self._received[end + 4 :]) if whole else None
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        return bytes(self._received[end + 4 :]) if len(self._received) >= end + 4 + length else None


def run(
    address: tuple[str, int],
    requests: Iterable[bytes],
    is_good: Callable[[bytes], bool],
    *,
    connections: int = 16,
    seconds: float = 5.0,
    warm_up: float = 0.5,
) -> Result:
    """Send `requests` over and over for so long; what is answered during `warm_up` is not counted."""
    source = itertools.cycle(requests)
    selector = selectors.DefaultSelector()
    opened = [_Connection(address) for _ in range(connections)]
    for connection in opened:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(next(source))
    latencies: list[float] = []
    wrong = 0
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    now = time.perf_counter()
    while now < end:
        ready = selector.select(_SILENCE_SECONDS)
        if not ready:
            raise TimeoutError("the server answers no more")
        for key, _ in ready:
            connection: _Connection = key.data
            body = connection.receive()
            if body is None:
                continue
            now = time.perf_counter()
            if connection.began >= begin:
                latencies.append(now - connection.began)
                wrong += not is_good(body)
            if connection.is_closing:
                selector.unregister(connection.socket)
                connection.socket.close()
                connection.open()
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(source))
    selector.close()
    for connection in opened:
        connection.socket.close()
    if not latencies:
        raise TimeoutError("the server answered nothing in time")
    return Result(len(latencies), wrong, end - begin, sorted(latencies))
