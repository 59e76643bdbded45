"""S3 of its own process, by moto; and a line to it that breaks."""

import select
import socket
import subprocess
import sys
import threading
from typing import Any, Final

import boto3
from botocore.config import Config

_PROGRAM: Final = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until the tests let go
server.stop()
"""


class Storage:
    """moto's server."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this Python, with the program above
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def client(self, port: int | None = None) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port or self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}),
        )

    def close(self) -> None:
        self._process.communicate("")
        assert self._process.returncode == 0


class BreakingLine:
    """Passes connections on to a port, and breaks the first `breaks` answers after so many bytes."""

    def __init__(self, port: int, after: int, breaks: int) -> None:
        self._to, self._after, self.breaks = port, after, breaks
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pass, args=(near,))
            self._threads.append(thread)
            thread.start()

    def _pass(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            answered = 0
            while True:
                for each in select.select((near, far), (), ())[0]:
                    try:
                        data = each.recv(1 << 14)
                        if each is far:
                            answered += len(data)
                            if answered > self._after and self.breaks > 0:
                                self.breaks -= 1
                                return
                        (near if each is far else far).sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
