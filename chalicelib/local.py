"""What `chalice local` needs beyond Chalice: the first account, the jobs' timer, and a server that clients can use."""

import sys
from typing import Any
from urllib.parse import urlsplit

from chalice.local import ChaliceRequestHandler

from chalicelib import bootstrap
from chalicelib.jobs import schedule
from chalicelib.wiring import service


def start() -> None:
    """Prepare the process; called once, while `chalice local` imports the application."""
    _adapt_server()
    built = service()
    is_first = not (built.settings.home / "credentials").exists()
    root, path = bootstrap.ensure(built)
    endpoint = f"127.0.0.1:{built.settings.port}"
    if is_first:
        sys.stderr.write(bootstrap.announce(built, root, path, endpoint))
    else:
        sys.stderr.write(f"Keystead serves http://{endpoint}, credentials in {path}\n")
    schedule.start_timer(built)


def _adapt_server() -> None:
    # Headers and body leave in two packets: with Nagle's algorithm every call waits 40 ms for a delayed ACK.
    ChaliceRequestHandler.disable_nagle_algorithm = True
    read_head = ChaliceRequestHandler.parse_request

    def parse_request(handler: Any) -> bool:
        if not read_head(handler):
            return False
        # The API has one path, so a proxy's absolute form and an endpoint's prefix both mean `/`.
        query = urlsplit(handler.path).query
        handler.path = "/?" + query if query else "/"
        return True

    def log_request(handler: Any, code: Any = "-", _size: Any = "-") -> None:
        # Not the request line: a GET carries its parameters there, secrets included.
        handler.log_message('"%s /" %s', handler.command, code)

    ChaliceRequestHandler.parse_request = parse_request
    ChaliceRequestHandler.log_request = log_request
