"""What `chalice local` needs beyond Chalice: the first account, the jobs' timer, and a server that clients can use."""

import re
import sys
from http import HTTPStatus
from typing import Any

from chalice.local import ChaliceRequestHandler

from chalicelib import bootstrap
from chalicelib.api.body import too_large
from chalicelib.api.signature import MAX_GET
from chalicelib.context import IDENTITY
from chalicelib.errors import InvalidRequest
from chalicelib.hsm.port import HsmMisconfigured
from chalicelib.jobs import schedule
from chalicelib.settings import SettingError
from chalicelib.wiring import gateway, service


def start() -> None:
    """Prepare the process; called once, while `chalice local` imports the application."""
    _adapt_server()
    try:
        built = service()
        is_first = not (built.settings.home / "credentials").exists()
        root, path = bootstrap.ensure(built)
        sm2 = built.hsm(IDENTITY).describe().get("sm2", "")
    except (SettingError, HsmMisconfigured) as error:
        sys.exit(f"Keystead cannot start: {error}")
    endpoint = f"127.0.0.1:{built.settings.port}"
    if is_first:
        sys.stderr.write(bootstrap.announce(built, root, path, endpoint))
    else:
        sys.stderr.write(f"Keystead serves http://{endpoint}, credentials in {path}\n")
    sys.stderr.write(f"SM2: {sm2}\n")
    schedule.start_timer(built)


def _adapt_server() -> None:
    # Headers and body leave in two packets: with Nagle's algorithm every call waits 40 ms for a delayed ACK.
    ChaliceRequestHandler.disable_nagle_algorithm = True
    read_head = ChaliceRequestHandler.parse_request

    def parse_request(handler: Any) -> bool:
        if not read_head(handler):
            return False
        length = handler.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in handler.headers or not re.fullmatch(r"[0-9]{1,18}", length):
            handler.send_error(HTTPStatus.BAD_REQUEST)
            return False
        # The API has one path, so a proxy's absolute form and an endpoint's prefix both mean `/`.
        _, _, query = handler.path.partition("?")
        handler.path = "/?" + query if query else "/"
        return True

    def log_request(handler: Any, code: Any = "-", _size: Any = "-") -> None:
        # Not the request line: a GET carries its parameters there, secrets included.
        method = handler.command if hasattr(handler, f"do_{handler.command}") else "-"
        handler.log_message('"%s /" %s', method, code)

    def send_error(handler: Any, code: int, _message: Any = None, _explain: Any = None) -> None:
        # The server's own page repeats the request line, and logs it.
        is_long = code == HTTPStatus.REQUEST_URI_TOO_LONG
        reply = gateway().refuse(
            too_large(MAX_GET)
            if is_long
            else InvalidRequest("Send a GET or POST request of HTTP/1.1, a body with its Content-Length.")
        )
        handler.request_version = handler.protocol_version  # else a request without a version got no head
        handler.send_response(reply.status)
        for name, value in (
            *reply.headers,
            ("Content-Length", str(len(reply.body))),
            ("Connection", "close"),
        ):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body)

    ChaliceRequestHandler.parse_request = parse_request
    ChaliceRequestHandler.send_error = send_error
    ChaliceRequestHandler.log_request = log_request
