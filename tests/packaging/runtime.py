"""The code bundle under AWS's own runtime client, as Lambda runs it.

The Runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) is played by a small server.
"""

import base64
import contextlib
import http.server
import json
import queue
import secrets
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import requests
from requests.adapters import BaseAdapter
from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.kms.v20190118.kms_client import KmsClient
from tencentcloud.ssm.v20190923.ssm_client import SsmClient

from chalicelib import bootstrap, wiring
from chalicelib.clock import SystemClock
from chalicelib.context import NOTHING
from chalicelib.settings import Bootstrap, Settings
from chalicelib.table.dynamodb import DynamoTable, connect

CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "sample",
    "AWS_SECRET_ACCESS_KEY": "sample",
    "AWS_REGION": "us-east-1",
}
HOST: Final = "example.lambda-url.on.aws"
_NATIVE: Final = ("Cryptodome", "_cffi_backend", "cffi", "cryptography")
_RUNTIME: Final = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
_CLIENTS: Final = {"kms": KmsClient, "ssm": SsmClient}
_START: Final = """
import sys
sys.path[1:1] = {path!r}
from awslambdaric.__main__ import main
main(["bootstrap", {handler!r}])
"""

Event = Callable[[requests.PreparedRequest], dict[str, Any]]


class RuntimeApi:
    """Hands one event at a time to the runtime client, and takes its answer."""

    def __init__(self) -> None:
        self.events: queue.Queue[bytes] = queue.Queue()
        self.answers: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.asked = threading.Event()
        """Set once the function has started and asks for its first event."""
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.asked.set()
                event = api.events.get()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000")
                self.send_header("Lambda-Runtime-Aws-Request-Id", "00000000-0000-4000-8000-000000000000")
                self.send_header("Lambda-Runtime-Deadline-Ms", "32503680000000")
                self.send_header(
                    "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:1:function:f"
                )
                self.send_header("Content-Length", str(len(event)))
                self.end_headers()
                self.wfile.write(event)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.answers.put((self.path.rpartition("/")[2], body))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_args: object) -> None:
                """A function's process is killed while it waits for its next event."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def invoke(self, event: Any) -> Any:
        """What the function answers; AssertionError with what it says if it fails."""
        self.events.put(json.dumps(event).encode())
        kind, body = self.answers.get(timeout=20)
        assert kind == "response", body.decode()
        return json.loads(body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Function:
    """One function's process."""

    def __init__(
        self, path: list[Path], handler: str, environment: Mapping[str, str], log: Path, *flags: str
    ) -> None:
        self.api = RuntimeApi()
        program = _START.format(path=[str(folder) for folder in path], handler=handler)
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", *flags, "-c", program],
                cwd=path[-1],
                env={
                    "AWS_LAMBDA_RUNTIME_API": self.api.address,
                    "HOME": "/nowhere",
                    **CREDENTIALS,
                    **environment,
                },
                stdout=out,
                stderr=out,
            )
        self.invoke = self.api.invoke

    def cpu_seconds(self) -> float:
        """What the threads that the process has now have worked so far, its start included."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.api.close()


class Installed:
    """Tables in an emulator of DynamoDB, keys in a layer, and a root account: what a deployed stage has."""

    def __init__(self, endpoint: str, bundle: Path, folder: Path) -> None:
        """Takes CREDENTIALS from the environment. `bundle` is the functions' code directory."""
        self.home = folder / "home"
        self.path = [_beside(folder / "runtime", _RUNTIME), _beside(folder / "native", _NATIVE), bundle]
        names = {name: f"lambda-{name}" for name in ("identity", "data", "audit")}
        self.environment = {
            "KEYSTEAD_STAGE": "dev",
            "KEYSTEAD_HOME": str(self.home),
            "KEYSTEAD_SEAL_KEY": secrets.token_hex(32),
            "KEYSTEAD_TABLE": "dynamodb",
            "KEYSTEAD_TABLE_ENDPOINT": endpoint,
            "KEYSTEAD_AWS_REGION": "us-east-1",
            **{f"KEYSTEAD_TABLE_{name.upper()}": table for name, table in names.items()},
        }
        connection = connect("us-east-1", endpoint)
        for name in ("identity", "data"):
            DynamoTable(connection, names[name], names["audit"], SystemClock()).create_tables()
        service = wiring.build(Settings.from_environment(self.environment))
        with contextlib.closing(service):
            self.root: Bootstrap = bootstrap.ensure(service)[0]
            for region in service.settings.regions:
                service.hsm(region)

    @contextlib.contextmanager
    def function(
        self, handler: str, *more: Path, variables: Mapping[str, str] = NOTHING, flags: Sequence[str] = ()
    ) -> Iterator[Function]:
        """A process with that handler. `more` is searched first; `flags` are Python's."""
        log = self.home / f"{handler}.log"
        started = Function([*more, *self.path], handler, {**self.environment, **variables}, log, *flags)
        try:
            yield started
        finally:
            started.close()


def _beside(folder: Path, names: tuple[str, ...]) -> Path:
    """A folder with these parts of this environment: the bundle's native code may be for another architecture."""
    folder.mkdir()
    for name in names:
        for path in Path(sysconfig.get_path("platlib")).glob(f"{name}*"):
            (folder / path.name).symlink_to(path)
    return folder


class Invoking(BaseAdapter):
    """Carries the official client's requests to a function as events, in place of a socket."""

    def __init__(self, function: Function, event: Event) -> None:
        super().__init__()
        self._function, self._event = function, event

    def send(self, request: requests.PreparedRequest, *_args: Any, **_kwargs: Any) -> requests.Response:
        answer = self._function.invoke(self._event(request))
        response = requests.Response()
        response.status_code = answer["statusCode"]
        response.headers.update(answer.get("headers") or {})
        response._content = answer["body"].encode()
        response.request, response.url = request, str(request.url)
        return response

    def close(self) -> None:
        pass


def payload_2(request: requests.PreparedRequest, **changes: str) -> dict[str, Any]:
    """As a function URL sends it; `changes` are other headers."""
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    return {
        "version": "2.0",
        "rawPath": "/",
        "rawQueryString": str(request.url).partition("?")[2],
        "headers": {**headers, **changes},
        "requestContext": {"http": {"method": request.method, "path": "/", "sourceIp": "192.0.2.7"}},
        "body": base64.b64encode(_body(request)).decode(),
        "isBase64Encoded": True,
    }


def payload_1(request: requests.PreparedRequest) -> dict[str, Any]:
    """As a REST API of API Gateway sends it."""
    return {
        "resource": "/",
        "path": "/",
        "httpMethod": request.method,
        "headers": dict(request.headers),
        "multiValueHeaders": {name: [value] for name, value in request.headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/",
            "httpMethod": request.method,
            "path": "/",
            "identity": {"sourceIp": "192.0.2.7"},
        },
        "body": _body(request).decode(),
        "isBase64Encoded": False,
    }


def sdk(
    installed: Installed,
    function: Function,
    service: str = "ssm",
    event: Event = payload_2,
    host: str = HOST,
) -> AbstractClient:
    """The official client of a service."""
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=host))
    credential = Credential(installed.root.secret_id, installed.root.secret_key)
    client = _CLIENTS[service](credential, "ap-guangzhou", profile)
    client.request.conn._session.mount("http://", Invoking(function, event))
    return client


def _body(request: requests.PreparedRequest) -> bytes:
    body = request.body or b""
    return body.encode() if isinstance(body, str) else bytes(body)
