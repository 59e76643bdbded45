"""Servers on loopback: a whole Keystead, and one that fails as it is told."""

import contextlib
import io
import json
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chalicelib.api import wsgi
from chalicelib.clock import ManualClock
from tests.installation import SM, Installation

from keystead.api import Api
from keystead.credentials import Credential, Provider

CREDENTIAL = Credential("AKIDexample", "example-secret-key")


class KeysteadServer:
    """A Keystead behind HTTP/1.1 with kept connections, as behind any WSGI server."""

    def __init__(self) -> None:
        self.installation = Installation(ManualClock(int(time.time())))  # noqa: TID251 - the client signs by it
        self.calls: Counter[str] = Counter()
        self.connections = 0
        self.seen: list[dict[str, str]] = []
        application = wsgi.application(self.installation.gateway)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one segment
            disable_nagle_algorithm = True

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.calls[self.headers["X-TC-Action"]] += 1
                server.seen.append(dict(self.headers.items()))
                environ: dict[str, Any] = {
                    "REQUEST_METHOD": "POST",
                    "PATH_INFO": self.path,
                    "QUERY_STRING": "",
                    "CONTENT_TYPE": self.headers["Content-Type"],
                    "CONTENT_LENGTH": str(len(body)),
                    "REMOTE_ADDR": self.client_address[0],
                    "wsgi.input": io.BytesIO(body),
                }
                environ |= {
                    f"HTTP_{k.upper().replace('-', '_')}": v
                    for k, v in self.headers.items()
                    if k.lower() not in ("content-type", "content-length")
                }

                def start_response(status: str, headers: list[tuple[str, str]], _info: Any = None) -> Any:
                    self.send_response(int(status[:3]))
                    for pair in headers:
                        self.send_header(*pair)
                    self.end_headers()

                for chunk in application(environ, start_response):
                    self.wfile.write(chunk)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self._apis: list[Api] = []

    def api(self, credential: Provider | None = None, **options: Any) -> Api:
        root = self.installation.root
        api = Api(
            credential or Credential(root.secret_id, root.secret_key), endpoint=self.endpoint, **options
        )
        self._apis.append(api)
        return api

    def ssm(self, action: str, **parameters: Any) -> dict[str, Any]:
        return self.api().call("ssm", "2019-09-23", action, SM, parameters)

    def close(self) -> None:
        for api in self._apis:
            api.close()
        self._http.shutdown()
        self._http.server_close()


Step = Callable[[socket.socket], None]


class FaultyServer:
    """Answers each request with the next step of its script, the last one for ever."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        scheme = "http" if tls is None else "https"
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
        self.script: list[Step] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self._apis: list[Api] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            connection.settimeout(20)
            if self._tls is not None:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            with connection:
                while request := _read_request(connection):
                    self.requests.append(request)
                    step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                    step(connection)

    def api(self, credential: Credential = CREDENTIAL, **options: Any) -> Api:
        api = Api(credential, endpoint=self.endpoint, **{"timeout": 5.0, **options})
        self._apis.append(api)
        return api

    def close(self) -> None:
        for api in self._apis:
            api.close()
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    # Steps

    def wait(self, seconds: float) -> Step:
        return lambda _connection: (self.closing.wait(seconds), None)[1]


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?im)^content-length: *(\d+)", head)[1])  # type: ignore[index]
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def http(content: bytes, status: str = "200 OK", extra: str = "", length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{extra}\r\n".encode() + content


def say(data: bytes) -> Step:
    return lambda connection: connection.sendall(data)


def say_and_close(data: bytes) -> Step:
    def step(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    return step


def respond(**members: Any) -> Step:
    return say(http(json.dumps({"Response": {**members, "RequestId": "r-1"}}).encode()))


def refuse(code: str, message: str = "No.") -> Step:
    return respond(Error={"Code": code, "Message": message})
