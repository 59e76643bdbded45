"""Two Keysteads, one for each region, on loopback: either can be switched off for good."""

import threading
import time
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from chalicelib.api import wsgi
from chalicelib.clock import ManualClock
from tests.installation import Installation

from keystead.api import Api
from keystead.credentials import Credential


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class Region:
    """A whole Keystead that serves one region."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.installation = Installation(ManualClock(int(time.time())))  # noqa: TID251 - the client signs by it
        self._server = WSGIServer(("127.0.0.1", 0), Quiet)
        self._server.set_app(wsgi.application(self.installation.gateway))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        root = self.installation.root
        self.api = Api(
            Credential(root.secret_id, root.secret_key),
            endpoint=f"http://127.0.0.1:{self._server.server_port}",
            timeout=5,
            retries=1,
        )

    def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        return self.api.call("kms", "2019-01-18", action, self.name, parameters)

    def create_key(self) -> str:
        return str(self.call("CreateKey", Alias=f"documents-{self.name}")["KeyId"])

    def destroy(self) -> None:
        """Switch it off; its keys are gone with its memory."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def by_region(*regions: Region) -> Callable[[str], Api]:
    apis = {region.name: region.api for region in regions}
    return lambda name: apis[name]
