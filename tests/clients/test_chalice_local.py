"""The real `chalice local`, as `make run` starts it: stock clients over loopback, and whatever else may reach the port."""

import base64
import configparser
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.kms.v20190118.kms_client import KmsClient
from tencentcloud.ssm.v20190923.ssm_client import SsmClient

from chalicelib import bootstrap, wiring
from chalicelib.api.http import Request
from chalicelib.settings import Bootstrap, Settings
from tests.calls import code, tc3, tc3_get
from tests.security.canary import CORE, VALUE, found_in

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 30
"""Seconds on a machine that is busy with other things; the goal is 2, and `test_it_is_ready_soon` counts its work."""


class Server:
    """One process."""

    def __init__(self, home: Path, log: Path, **settings: str) -> None:
        self.log = log
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("KEYSTEAD_", "TENCENTCLOUD_"))}
        command = [str(Path(sys.executable).with_name("chalice")), "local", "--no-autoreload"]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--stage", "local", "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=ROOT,
                env={**kept, "KEYSTEAD_HOME": str(home), "PORT": str(self.port), **settings},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self.seconds, self.cpu_seconds = self._wait()
        ini = configparser.ConfigParser(interpolation=None)
        ini.read(home / "credentials")
        self.root = Bootstrap(*(ini["default"][name] for name in ("uin", "secret_id", "secret_key")))

    def _wait(self) -> tuple[float, float]:
        """Until it accepts connections: how long that took, and how much work."""
        start = time.monotonic()
        while time.monotonic() < start + STARTS_WITHIN and self.process.poll() is None:
            with (
                contextlib.suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                return time.monotonic() - start, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
            time.sleep(0.02)
        self.stop()
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        """Ask it to stop; the status that it ends with."""
        self.process.terminate()
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()

    def sdk(self, service: str, sign: str = "TC3-HMAC-SHA256", method: str = "POST", scheme: str = "") -> Any:
        """The official client. An endpoint with a scheme is how tccli is made to use plain http."""
        http = HttpProfile(
            protocol="http", endpoint=f"{scheme}127.0.0.1:{self.port}", reqMethod=method, reqTimeout=20
        )
        client = {"kms": KmsClient, "ssm": SsmClient}[service]
        credential = Credential(self.root.secret_id, self.root.secret_key)
        return client(credential, "ap-guangzhou", ClientProfile(signMethod=sign, httpProfile=http))

    def call(self, client: Any, action: str, **parameters: Any) -> dict[str, Any]:
        response: dict[str, Any] = client.call_json(action, parameters)["Response"]
        return response

    def send(self, *messages: bytes) -> bytes:
        """What comes back on one connection, until the server closes it or says no more."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
            for message in messages:
                connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while chunk := connection.recv(65536):
                    received += chunk
            return received


def wire(request: Request, target: str = "/", **headers: str) -> bytes:
    """A request as it goes over the wire."""
    query = f"?{request.queries[0]}" if request.queries[0] else ""
    sent = {**request.headers, "content-length": str(len(request.body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{request.method} {target}{query} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + request.body


def answers(received: bytes) -> list[dict[str, Any]]:
    """Every answer on a connection: 200, exactly application/json, with a RequestId."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0] == "HTTP/1.1 200 OK"
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        assert headers["content-type"] == "application/json"
        length = int(headers["content-length"])
        response = json.loads(rest[:length])["Response"]
        assert response["RequestId"]
        found.append(response)
        received = rest[length:]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second start: the first one has told the SecretKey, and nothing may tell it again."""
    home = tmp_path_factory.mktemp("keystead")
    first = wiring.build(Settings(home=home / "home"))
    bootstrap.ensure(first)
    first.close()
    running = Server(home / "home", home / "log", KEYSTEAD_THROTTLE="off")
    try:
        yield running
    finally:
        status = running.stop()
    assert status == -signal.SIGTERM
    output = running.log.read_bytes()
    assert b"Keystead serves" in output
    assert b"Traceback" not in output, output.decode()
    assert not found_in(output, [CORE, running.root.secret_key]), output.decode()


# Clients


@pytest.mark.contract
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("sign", ["TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"])
def test_the_official_sdk(server: Server, sign: str, method: str) -> None:
    name = f"{sign}-{method}"
    value = f"a+b & c=d%20 ~'\"\\/ {VALUE} 密钥 \U0001f511"
    ssm = server.sdk("ssm", sign, method)
    made = server.call(
        ssm,
        "CreateSecret",
        SecretName=name,
        VersionId="v1",
        SecretString=value,
        Tags=[{"TagKey": "a b", "TagValue": "ü"}],
    )
    assert made["SecretName"] == name
    assert server.call(ssm, "GetSecretValue", SecretName=name, VersionId="v1")["SecretString"] == value
    filters = [{"TagKey": "a b", "TagValue": ["x", "ü"]}]
    listed = server.call(ssm, "ListSecrets", TagFilters=filters, Limit=100)["SecretMetadatas"]
    assert name in [secret["SecretName"] for secret in listed]
    with pytest.raises(TencentCloudSDKException) as caught:
        server.call(ssm, "DescribeSecret", SecretName="absent")
    assert (caught.value.code, bool(caught.value.requestId)) == ("ResourceNotFound", True)
    kms = server.sdk("kms", sign, method)
    key = server.call(kms, "CreateKey", Alias=name)["KeyId"]
    plaintext = base64.b64encode(value.encode()).decode()
    blob = server.call(kms, "Encrypt", KeyId=key, Plaintext=plaintext)["CiphertextBlob"]
    assert server.call(kms, "Decrypt", CiphertextBlob=blob)["Plaintext"] == plaintext


@pytest.mark.contract
def test_an_endpoint_with_a_scheme(server: Server) -> None:
    """tccli's way to plain http: the Host header is the endpoint as it was written."""
    request = tc3(server.root, int(time.time()), "ssm", "GetRegions", host=f"http://127.0.0.1:{server.port}")
    (answer,) = answers(server.send(wire(request)))
    assert answer["Regions"]


@pytest.mark.contract
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "ssm.example.com", "localhost:8000"])
def test_any_host_that_was_signed(server: Server, host: str) -> None:
    """Clients behind other names; Node signs the name without its port."""
    request = tc3(server.root, int(time.time()), "ssm", "GetRegions", host=host)
    sent = wire(request, host=f"{host}:8000" if host == "127.0.0.1" else host)
    (answer,) = answers(server.send(sent))
    assert not code(answer)


@pytest.mark.contract
@pytest.mark.parametrize(
    "target", ["http://ssm.example.com/", "http://ssm.example.com", "/", "//", "/api", "/a/b/c", "*"]
)
def test_targets(server: Server, target: str) -> None:
    """In absolute form, as through a proxy, and with a prefix, as from an endpoint with a path."""
    now = int(time.time())
    requests = (
        tc3(server.root, now, "ssm", "DescribeSecret", {"SecretName": "absent"}),
        tc3_get(server.root, now, "ssm", "DescribeSecret", {"SecretName": "absent"}),
    )
    for request in requests:
        (answer,) = answers(server.send(wire(request, target)))
        assert code(answer) == "ResourceNotFound"


def test_a_connection_is_kept(server: Server) -> None:
    """And used without the 40 ms that Nagle's algorithm costs each answer in two packets."""
    ssm = server.sdk("ssm")
    server.call(ssm, "GetRegions")
    times = []
    for _ in range(20):
        start = time.monotonic()
        server.call(ssm, "GetRegions")
        times.append(time.monotonic() - start)
    assert min(times) < 0.03
    now = int(time.time())
    one, other = (wire(tc3(server.root, now, "ssm", action)) for action in ("GetRegions", "GetServiceStatus"))
    first, second = answers(server.send(one, other))
    assert first["Regions"]
    assert second["ServiceEnabled"] is True


def test_calls_at_once(server: Server) -> None:
    made: list[str] = []

    def create(at: int) -> None:
        kms = server.sdk("kms")
        made.extend(server.call(kms, "CreateKey", Alias=f"at-once-{at}-{turn}")["KeyId"] for turn in range(4))

    threads = [threading.Thread(target=create, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 24


# Whatever else reaches the port


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "FOO", "get"])
def test_other_methods(server: Server, method: str) -> None:
    request = tc3(server.root, int(time.time()), "ssm", "GetRegions", method=method)
    (answer,) = answers(server.send(wire(request)))
    expected = "UnsupportedProtocol" if method.isupper() and method != "FOO" else "InvalidRequest"
    assert code(answer) == expected


@pytest.mark.parametrize(
    "kind", ["text/plain", "", "application/json; charset=utf-8", "*/*", "application/xml", "x" * 300, "\x80"]
)
def test_other_content_types(server: Server, kind: str) -> None:
    request = tc3(server.root, int(time.time()), "ssm", "GetRegions", content_type=kind)
    (answer,) = answers(server.send(wire(request)))
    assert code(answer) in {
        "application/json; charset=utf-8": ("",),
        "": ("UnsupportedProtocol", "AuthFailure.InvalidAuthorization"),
        "\x80": ("UnsupportedProtocol", "AuthFailure.InvalidAuthorization"),
    }.get(kind, ("UnsupportedProtocol",))


SECRET_LINE = f'{{"SecretString": "{CORE}"}}'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"GET /?SecretString=a {CORE} HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidRequest"),
        (f"GET /?SecretString={CORE}&x=\x01 HTTP/1.1\r\nHost: x\r\n\r\n", "MissingParameter"),
        (f"GET /?SecretString={CORE} HTTP/9.9\r\nHost: x\r\n\r\n", "InvalidRequest"),
        (f"GET http://[{CORE}/ HTTP/1.1\r\nHost: x\r\n\r\n", "MissingParameter"),
        (f"{CORE}\r\nHost: x\r\n\r\n", "InvalidRequest"),
        (f"{CORE} / HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidRequest"),
        (f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {CORE}\r\n\r\n", "InvalidRequest"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "InvalidRequest"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n", "InvalidRequest"),
        (
            f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n{SECRET_LINE}\r\n0\r\n\r\n",
            "InvalidRequest",
        ),
        (f"GET / HTTP/1.1\r\nHost: x\r\nX: {CORE}{'x' * 70_000}\r\n\r\n", "InvalidRequest"),
        ("GET / HTTP/1.1\r\n" + "X: y\r\n" * 200 + "\r\n", "InvalidRequest"),
        (f"GET /?SecretString={CORE}{'x' * 40_000} HTTP/1.1\r\nHost: x\r\n\r\n", "RequestSizeLimitExceeded"),
    ],
    ids=lambda value: None if " " in value else value,
)
def test_what_is_hardly_http(server: Server, message: str, expected: str) -> None:
    """In the API's envelope all the same, and the log, which the fixture reads, repeats none of it."""
    (answer,) = answers(server.send(message.encode("latin-1")))
    assert code(answer) == expected
    assert CORE not in json.dumps(answer)


def test_a_request_line_that_is_too_long_is_refused(server: Server) -> None:
    received = server.send(f"GET /?SecretString={CORE}{'x' * 70_000} HTTP/1.1\r\n".encode())
    assert not received or code(answers(received)[0]) == "RequestSizeLimitExceeded"


def test_values_in_refused_requests_are_not_logged(server: Server) -> None:
    now = int(time.time())
    for request in (
        tc3_get(server.root, now, "ssm", "CreateSecret", {"SecretName": VALUE, "SecretString": VALUE}),
        tc3_get(server.root, now, "ssm", "NoSuch", {"SecretString": CORE}),
        tc3(server.root, now, "ssm", "CreateSecret", {"SecretName": CORE + "/", "SecretString": CORE}),
        tc3(server.root, now, "ssm", "CreateSecret", body=SECRET_LINE.encode()),
        tc3(Bootstrap("", server.root.secret_key, CORE), now, "ssm", "GetRegions"),
    ):
        received = server.send(wire(request))
        (answer,) = answers(received)
        assert code(answer)
        assert not found_in(received, [CORE, server.root.secret_key])
    log = server.log.read_text()
    assert '"GET /" 200' in log
    assert '"POST /" 200' in log


# Starting and stopping


def test_it_is_ready_soon(server: Server, record_testsuite_property: Callable[[str, object], None]) -> None:
    """Two seconds is the goal; waiting for a processor that others use does not count."""
    record_testsuite_property("chalice_local_ready_seconds", round(server.seconds, 2))
    record_testsuite_property("chalice_local_ready_cpu_seconds", server.cpu_seconds)
    assert server.cpu_seconds < 2


@pytest.mark.contract
def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = Server(home, tmp_path / "first.log")
    try:
        ssm, kms = first.sdk("ssm"), first.sdk("kms")
        first.call(ssm, "CreateSecret", SecretName="a", VersionId="v1", SecretString="kept")
        key = first.call(kms, "CreateKey", Alias="k")["KeyId"]
        blob = first.call(kms, "Encrypt", KeyId=key, Plaintext="aGk=")["CiphertextBlob"]
    finally:
        assert first.stop() == -signal.SIGTERM
    second = Server(home, tmp_path / "second.log")
    try:
        assert second.root == first.root
        ssm, kms = second.sdk("ssm"), second.sdk("kms")
        assert second.call(ssm, "GetSecretValue", SecretName="a", VersionId="v1")["SecretString"] == "kept"
        assert second.call(kms, "Decrypt", CiphertextBlob=blob)["Plaintext"] == "aGk="
    finally:
        second.stop()
    # The first start tells how to reach it, the second only where that is written.
    told, again = (server.log.read_text() for server in (first, second))
    assert first.root.secret_key in told
    assert f"http://127.0.0.1:{first.port}" in told
    assert second.root.secret_key not in again
    assert str(home / "credentials") in again


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KEYSTEAD_NOPE", "1", "unknown settings: KEYSTEAD_NOPE"),
        ("KEYSTEAD_SEAL_PASSPHRASE", CORE, "is sealed under"),
    ],
)
def test_a_wrong_setting_ends_in_one_line(tmp_path: Path, name: str, value: str, says: str) -> None:
    first = wiring.build(Settings(home=tmp_path / "home"))
    bootstrap.ensure(first)
    first.close()
    with pytest.raises(AssertionError, match="Keystead cannot start: ") as caught:
        Server(tmp_path / "home", tmp_path / "log", **{name: value}).stop()
    told = str(caught.value)
    assert says in told
    assert "Traceback" not in told
    assert CORE not in told
