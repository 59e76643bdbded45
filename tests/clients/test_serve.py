"""The server for production on one machine, as `make serve` starts it."""

import configparser
import contextlib
import datetime as dt
import http.client
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.kms.v20190118.kms_client import KmsClient
from tencentcloud.ssm.v20190923.ssm_client import SsmClient

from chalicelib.settings import Bootstrap
from tests.calls import tc3
from tests.docs.test_quickstart import free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "prometheus-bearer-token"
STARTS_WITHIN = 30


class Server:
    """One parent and its workers."""

    def __init__(self, home: Path, port: int = 0, **settings: str) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        self.port = port or free_port()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("KEYSTEAD_", "TENCENTCLOUD_"))}
        environment = {**kept, "KEYSTEAD_HOME": str(home), "PORT": str(self.port), **settings}
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chalicelib.serve"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.secure = "KEYSTEAD_TLS_CERTIFICATE" in settings
        self._wait()
        ini = configparser.ConfigParser(interpolation=None)
        ini.read(home / "credentials")
        self.root = ini["default"]

    def _wait(self) -> None:
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                if self.workers():
                    return
            time.sleep(0.02)
        self.kill()
        raise AssertionError(self.log.read_text())

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return [
            int(pid)
            for thread in Path(f"/proc/{self.process.pid}/task").glob("*/children")
            for pid in thread.read_text().split()
        ]

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def sdk(self, service: str, **http_options: Any) -> Any:
        scheme = "https" if self.secure else "http"
        endpoint = f"127.0.0.1:{self.port}"
        profile = HttpProfile(protocol=scheme, endpoint=endpoint, reqTimeout=20, **http_options)
        client = {"kms": KmsClient, "ssm": SsmClient}[service]
        credential = Credential(self.root["secret_id"], self.root["secret_key"])
        return client(credential, "ap-guangzhou", ClientProfile(httpProfile=profile))

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def call(client: Any, action: str, **parameters: Any) -> dict[str, Any]:
    response: dict[str, Any] = client.call_json(action, parameters)["Response"]
    return response


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("serve") / "home"
    running = Server(home, KEYSTEAD_ACCESS_LOG="on", KEYSTEAD_METRICS_TOKEN=TOKEN, KEYSTEAD_THROTTLE="off")
    yield running
    running.kill()


def test_stock_clients_work_through_every_worker(server: Server) -> None:
    ssm = server.sdk("ssm")
    call(ssm, "CreateSecret", SecretName="through", VersionId="v1", SecretString="a value of the test")
    for _ in range(20):
        found = call(server.sdk("ssm"), "GetSecretValue", SecretName="through", VersionId="v1")
        assert found["SecretString"] == "a value of the test"
    assert len(server.workers()) == 2


def cores_of(server: Server, ready: int) -> list[set[int]]:
    """On which cores each worker may run, once so many of them have begun."""
    cores: list[set[int]] = []
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end:
        with contextlib.suppress(ProcessLookupError):  # one that was killed is still on the list
            cores = sorted((os.sched_getaffinity(pid) for pid in server.workers()), key=sorted)
            if len(cores) == ready and all(len(each) == 1 for each in cores):
                break
        time.sleep(0.02)
    return cores


def test_as_many_workers_as_cores_have_one_each(tmp_path: Path) -> None:
    everywhere = os.sched_getaffinity(0)
    cores = sorted(everywhere)[:2]
    os.sched_setaffinity(0, cores)
    try:
        server = Server(tmp_path / "home", KEYSTEAD_WORKERS=str(len(cores)))
    finally:
        os.sched_setaffinity(0, everywhere)
    try:
        assert cores_of(server, len(cores)) == [{core} for core in cores]
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        while killed in server.workers():
            time.sleep(0.02)
        assert cores_of(server, len(cores)) == [{core} for core in cores]
    finally:
        server.kill()


def test_it_says_that_it_lives_and_that_it_is_ready(server: Server) -> None:
    assert server.get("/health") == (200, "alive\n")
    assert server.get("/ready") == (200, "ready\n")


def test_other_paths_belong_to_the_api(server: Server) -> None:
    status, body = server.get("/health?Action=GetRegions")
    assert status == 200
    assert json.loads(body)["Response"]["Error"]["Code"]
    assert "Response" in json.loads(server.get("/metrics")[1])


def test_metrics_count_calls_of_all_workers_and_need_the_token(server: Server) -> None:
    kms = server.sdk("kms")
    for _ in range(10):
        call(server.sdk("kms"), "GetServiceStatus")
    with pytest.raises(TencentCloudSDKException):
        call(kms, "DescribeKey", KeyId="00000000-0000-0000-0000-000000000000")
    status, text = server.get("/metrics", Authorization=f"Bearer {TOKEN}")
    assert status == 200
    assert 'keystead_requests_total{action="GetServiceStatus",code="OK",service="kms"} 10.0' in text
    assert "ResourceUnavailable.CmkNotFound" in text
    assert 'keystead_request_seconds_count{action="GetServiceStatus",service="kms"} 10.0' in text
    status, text = server.get("/metrics", Authorization="Bearer of another token")
    assert (status, "keystead" in text) == (401, False)
    status, text = server.get("/metrics", Authorization="")
    assert (status, "keystead" in text) == (401, False)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", "/metrics", body=b"")
        assert connection.getresponse().status == 401


def test_the_access_log_has_every_call_and_no_secret(server: Server) -> None:
    ssm = server.sdk("ssm")
    value = "f3b1a9-never-in-a-log"
    made = call(ssm, "CreateSecret", SecretName="logged", VersionId="v1", SecretString=value)
    get = call(server.sdk("ssm", reqMethod="GET"), "GetSecretValue", SecretName="logged", VersionId="v1")
    assert get["SecretString"] == value
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    mine = next(line for line in lines if line["request_id"] == made["RequestId"])
    assert (mine["call"], mine["code"], mine["region"]) == ("ssm:CreateSecret", "OK", "ap-guangzhou")
    assert (mine["account"], mine["ip"]) == (server.root["uin"], "127.0.0.1")
    text = server.log.read_text()
    assert value not in text
    assert server.root["secret_key"] not in text  # a first start shows it on a terminal only
    assert TOKEN not in text


def test_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    server = Server(tmp_path / "home", KEYSTEAD_THROTTLE="off")
    acknowledged: list[str] = []
    stopped = threading.Event()

    def write(thread: int) -> None:
        client = server.sdk("ssm")
        for n in range(10_000):
            if stopped.is_set():
                return
            name = f"t{thread}-{n}"
            try:
                call(client, "CreateSecret", SecretName=name, VersionId="v1", SecretString=name)
            except TencentCloudSDKException:
                client = server.sdk("ssm")  # the connection went with its worker
                continue
            acknowledged.append(name)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for round_ in range(6):
            time.sleep(0.6)
            victims = server.workers()
            os.kill(victims[round_ % len(victims)], signal.SIGKILL)
    finally:
        time.sleep(0.6)
        stopped.set()
        for thread in threads:
            thread.join(30)
    assert server.process.poll() is None
    end = time.monotonic() + 10
    while len(server.workers()) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(server.workers()) == 2
    assert len(acknowledged) > 20
    server.kill()  # the whole group at once, the parent included
    server = Server(server.home, KEYSTEAD_THROTTLE="off")
    client = server.sdk("ssm")
    for name in acknowledged:
        assert call(client, "GetSecretValue", SecretName=name, VersionId="v1")["SecretString"] == name
    assert server.stop() == 0


def test_it_finishes_what_it_is_answering_before_it_stops(tmp_path: Path) -> None:
    """Eight calls have arrived but for their last bytes, which come once it was told to stop."""
    server = Server(tmp_path / "home", KEYSTEAD_THROTTLE="off")
    root = Bootstrap(*(server.root[name] for name in ("uin", "secret_id", "secret_key")))
    request = tc3(root, int(time.time()), "kms", "GetServiceStatus", {})
    names = {**request.headers, "content-length": str(len(request.body))}
    head = "POST / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in names.items()) + "\r\n"
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        address = ("127.0.0.1", server.port)
        begun = [stack.enter_context(socket.create_connection(address, 20)) for _ in range(8)]
        for connection in begun:
            connection.sendall(head.encode() + request.body[:1])
        time.sleep(0.5)
        server.process.terminate()
        time.sleep(0.5)
        for connection in begun:
            connection.sendall(request.body[1:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(20) == 0


def test_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    settings = {"KEYSTEAD_TLS_CERTIFICATE": str(certificate), "KEYSTEAD_TLS_KEY": str(key)}
    server = Server(tmp_path / "home", 0, **settings)
    try:
        client = server.sdk("kms", certification=str(certificate))
        assert call(client, "GetServiceStatus")["ServiceEnabled"]
        context = ssl.create_default_context(cafile=str(certificate))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            with (
                socket.create_connection(("127.0.0.1", server.port)) as raw,
                context.wrap_socket(raw, server_hostname="127.0.0.1") as secure,
            ):
                assert secure.version() == version.name.replace("_", ".")
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as plain:
            plain.request("GET", "/health")
            with pytest.raises((OSError, http.client.HTTPException)):
                plain.getresponse()
    finally:
        server.kill()


def test_what_keeps_it_from_starting_is_said_in_one_line(tmp_path: Path) -> None:
    for settings, says in (
        ({"KEYSTEAD_TLS_KEY": "x"}, "belong together"),
        ({"KEYSTEAD_WORKERS": "0"}, "KEYSTEAD_WORKERS"),
        ({"KEYSTEAD_STAGE": "prod"}, "KEYSTEAD_SOFTWARE_HSM_IN_PRODUCTION"),
        ({"KEYSTEAD_TLS_CERTIFICATE": "/nowhere.pem", "KEYSTEAD_TLS_KEY": "/nowhere.key"}, "No such file"),
    ):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KEYSTEAD_")}
        done = subprocess.run(
            [sys.executable, "-m", "chalicelib.serve"],
            cwd=ROOT,
            env={**kept, "KEYSTEAD_HOME": str(tmp_path / "home"), "PORT": str(free_port()), **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("Keystead cannot start: ")
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
