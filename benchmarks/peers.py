"""Keystead and the servers that it is compared with, each started on a free port with an empty data folder.

Every peer builds the requests of the same operations and knows what a good answer looks like.
"""  # noqa: INP001 - a library of scripts

import base64
import configparser
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from chalicelib.api.signature import derive_signing_key
from chalicelib.clock import SystemClock

MESSAGE: Final = secrets.token_bytes(1024)
SECRET: Final = secrets.token_hex(2048)
"""4 KB."""
REGION: Final = "ap-singapore"
"""Of standard `fips`: everything is AES-256-GCM there, as with the peers."""
_START_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Operation:
    """Requests to send over and over, and the check of their answers' bodies."""

    requests: Iterable[bytes]
    is_good: Callable[[bytes], bool]


class Peer(Protocol):
    """A running server."""

    name: str
    address: tuple[str, int]
    pids: Callable[[], list[int]]
    ready_seconds: float

    def operation(self, name: str) -> Operation | None:
        """The requests of `encrypt`, `decrypt`, `generate_data_key`, `get_secret`, `create_secret` or `list_secrets`.

        None where the server has no such operation.
        """


class Keystead:
    """`python -m chalicelib.serve` on SQLite: durable, audit on, no throttle."""

    name = "keystead"

    def __init__(self, home: Path, workers: int = 2) -> None:
        port = free_port()
        self.address = ("127.0.0.1", port)
        environment = {
            "KEYSTEAD_HOME": str(home),
            "PORT": str(port),
            "KEYSTEAD_THROTTLE": "off",
            "KEYSTEAD_WORKERS": str(workers),
            "KEYSTEAD_MAX_SECRETS": "100000",
        }
        self._server = start(
            [sys.executable, "-m", "chalicelib.serve"], environment, home.with_suffix(".log")
        )
        self.ready_seconds = wait_until(self._answers, self._server)
        self.pids = lambda: tree(self._server.pid)
        ini = configparser.ConfigParser(interpolation=None)
        ini.read(home / "credentials")
        self._who = ini["default"]
        self._key_id = ""
        self._blob = ""

    def operation(self, name: str) -> Operation | None:
        """See `Peer.operation`."""
        plaintext = base64.b64encode(MESSAGE).decode()
        if not self._key_id:
            key = self.ask("kms", "CreateKey", {"Alias": "benchmark", "KeyUsage": "ENCRYPT_DECRYPT_AES_256"})
            self._key_id = key["KeyId"]
            self._blob = self.ask("kms", "Encrypt", {"KeyId": self._key_id, "Plaintext": plaintext})[
                "CiphertextBlob"
            ]
            for n in range(1000):
                made = {"SecretName": f"listed-{n:04d}", "VersionId": "v1", "SecretString": "value"}
                self.ask("ssm", "CreateSecret", made)
            self.ask("ssm", "CreateSecret", {"SecretName": "read", "VersionId": "v1", "SecretString": SECRET})
        if name == "create_secret":
            return Operation(map(self._creation, range(10**9)), _no_error(b"VersionId"))
        repeated: dict[str, tuple[str, str, dict[str, Any]]] = {
            "empty": ("ssm", "GetServiceStatus", {}),
            "encrypt": ("kms", "Encrypt", {"KeyId": self._key_id, "Plaintext": plaintext}),
            "decrypt": ("kms", "Decrypt", {"CiphertextBlob": self._blob}),
            "generate_data_key": ("kms", "GenerateDataKey", {"KeyId": self._key_id, "KeySpec": "AES_256"}),
            "get_secret": ("ssm", "GetSecretValue", {"SecretName": "read", "VersionId": "v1"}),
            "list_secrets": ("ssm", "ListSecrets", {"Offset": 100, "Limit": 100}),
        }
        if name not in repeated:
            return None
        return Operation([self.signed(*repeated[name])], _no_error(b'"RequestId"'))

    def ask(self, service: str, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an action once."""
        body = json.loads(exchange(self.address, self.signed(service, action, parameters)))
        answer: dict[str, Any] = body["Response"]
        if "Error" in answer:
            raise RuntimeError(answer["Error"])
        return answer

    def signed(self, service: str, action: str, parameters: Mapping[str, Any]) -> bytes:
        """A signed request, good for five minutes."""
        body = json.dumps(parameters).encode()
        host = f"{self.address[0]}:{self.address[1]}"
        who = self._who["secret_id"], self._who["secret_key"]
        return message("POST", "/", tc3(who, host, service, action, body), body)

    def close(self) -> None:
        """Stop the server."""
        stop(self._server)

    def _answers(self) -> bool:
        return b'"RequestId"' in exchange(self.address, message("POST", "/", {"Host": "localhost"}, b"{}"))

    def _creation(self, _n: int) -> bytes:
        name = f"made-{secrets.token_hex(8)}"
        return self.signed(
            "ssm", "CreateSecret", {"SecretName": name, "VersionId": "v1", "SecretString": SECRET}
        )


class OpenBao:
    """OpenBao with raft storage, transit and KV v2, and an audit file."""

    name = "openbao"

    def __init__(self, home: Path, program: str) -> None:
        port = free_port()
        self.address = ("127.0.0.1", port)
        (home / "raft").mkdir(parents=True)
        config = home / "config.hcl"
        config.write_text(
            f"""
storage "raft" {{
  path = "{home / "raft"}"
  node_id = "benchmark"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
audit "file" "file" {{
  options {{
    file_path = "{home / "audit.log"}"
  }}
}}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{free_port()}"
"""
        )
        self._server = start([program, "server", f"-config={config}"], {}, home.with_suffix(".log"))
        self._token = ""
        self.ready_seconds = wait_until(self._answers, self._server)
        self.pids = lambda: tree(self._server.pid)
        keys = self.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._token = keys["root_token"]
        self.ask("PUT", "sys/unseal", {"key": keys["keys"][0]})
        wait_until(self._is_active, self._server)
        self.ask("POST", "sys/mounts/transit", {"type": "transit"})
        self.ask("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        self.ask("POST", "transit/keys/benchmark", {"type": "aes256-gcm96"})
        time.sleep(2)  # KV v2 upgrades itself after it is mounted
        plaintext = base64.b64encode(MESSAGE).decode()
        sealed = self.ask("POST", "transit/encrypt/benchmark", {"plaintext": plaintext})
        self._blob = sealed["data"]["ciphertext"]
        self.ask("POST", "secret/data/read", {"data": {"value": SECRET}})

    def operation(self, name: str) -> Operation | None:
        """See `Peer.operation`."""
        plaintext = base64.b64encode(MESSAGE).decode()
        match name:
            case "encrypt":
                return self._repeat(
                    "POST", "transit/encrypt/benchmark", {"plaintext": plaintext}, b"vault:v1:"
                )
            case "decrypt":
                return self._repeat(
                    "POST", "transit/decrypt/benchmark", {"ciphertext": self._blob}, b"plaintext"
                )
            case "generate_data_key":
                return self._repeat(
                    "POST", "transit/datakey/plaintext/benchmark", {"bits": 256}, b"plaintext"
                )
            case "get_secret":
                return self._repeat("GET", "secret/data/read", None, SECRET.encode())
            case "create_secret":
                return Operation(map(self._creation, range(10**9)), lambda body: b"created_time" in body)
        return None

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Call it once."""
        content = exchange(self.address, self._message(method, path, body))
        answer: dict[str, Any] = json.loads(content) if content else {}
        if answer.get("errors"):
            raise RuntimeError(answer["errors"])
        return answer

    def close(self) -> None:
        """Stop the server."""
        stop(self._server)

    def _answers(self) -> bool:
        return b"initialized" in exchange(self.address, self._message("GET", "sys/seal-status", None))

    def _is_active(self) -> bool:
        return bool(self.ask("GET", "sys/leader", None).get("is_self"))

    def _repeat(self, method: str, path: str, body: Mapping[str, Any] | None, mark: bytes) -> Operation:
        return Operation([self._message(method, path, body)], lambda answer: mark in answer)

    def _creation(self, _n: int) -> bytes:
        return self._message("POST", f"secret/data/{secrets.token_hex(8)}", {"data": {"value": SECRET}})

    def _message(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        headers = {"Host": "localhost", "X-Vault-Token": self._token, "Content-Type": "application/json"}
        return message(method, f"/v1/{path}", headers, json.dumps(body).encode() if body is not None else b"")


class AwsLike:
    """MiniStack or moto server: the API of AWS. Neither checks signatures, and neither keeps anything durably."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], port: int, log: Path
    ) -> None:
        self.name = name
        self.address = ("127.0.0.1", port)
        self._server = start(command, environment, log)
        self.ready_seconds = wait_until(self._answers, self._server)
        self.pids = lambda: tree(self._server.pid)
        plaintext = base64.b64encode(MESSAGE).decode()
        self._key_id = self.ask("kms", "CreateKey", {})["KeyMetadata"]["KeyId"]
        sealed = self.ask("kms", "Encrypt", {"KeyId": self._key_id, "Plaintext": plaintext})
        self._blob = sealed["CiphertextBlob"]
        self.ask("secretsmanager", "CreateSecret", {"Name": "read", "SecretString": SECRET})

    def operation(self, name: str) -> Operation | None:
        """See `Peer.operation`."""
        plaintext = base64.b64encode(MESSAGE).decode()
        match name:
            case "encrypt":
                return self._repeat(
                    "kms", "Encrypt", {"KeyId": self._key_id, "Plaintext": plaintext}, b"CiphertextBlob"
                )
            case "decrypt":
                return self._repeat("kms", "Decrypt", {"CiphertextBlob": self._blob}, b"Plaintext")
            case "generate_data_key":
                asked = {"KeyId": self._key_id, "KeySpec": "AES_256"}
                return self._repeat("kms", "GenerateDataKey", asked, b"Plaintext")
            case "get_secret":
                return self._repeat("secretsmanager", "GetSecretValue", {"SecretId": "read"}, SECRET.encode())
            case "create_secret":
                return Operation(map(self._creation, range(10**9)), lambda body: b"ARN" in body)
        return None

    def ask(self, service: str, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call it once."""
        answer: dict[str, Any] = json.loads(
            exchange(self.address, self._message(service, action, parameters))
        )
        if "__type" in answer:
            raise RuntimeError(answer["__type"])
        return answer

    def close(self) -> None:
        """Stop the server."""
        stop(self._server)

    def _answers(self) -> bool:
        return b"Keys" in exchange(self.address, self._message("kms", "ListKeys", {}))

    def _repeat(self, service: str, action: str, parameters: Mapping[str, Any], mark: bytes) -> Operation:
        return Operation([self._message(service, action, parameters)], lambda answer: mark in answer)

    def _creation(self, _n: int) -> bytes:
        made = {
            "Name": secrets.token_hex(8),
            "SecretString": SECRET,
            "ClientRequestToken": secrets.token_hex(16),
        }
        return self._message("secretsmanager", "CreateSecret", made)

    def _message(self, service: str, action: str, parameters: Mapping[str, Any]) -> bytes:
        prefix = {"kms": "TrentService", "secretsmanager": "secretsmanager"}[service]
        headers = {
            "Host": f"{service}.us-east-1.amazonaws.com",
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{prefix}.{action}",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/"
            f"{service}/aws4_request, SignedHeaders=host, Signature=00",
        }
        return message("POST", "/", headers, json.dumps(parameters).encode())


def ministack(home: Path, python: str) -> AwsLike:
    """MiniStack, as the tests use it."""
    port = free_port()
    environment = {"GATEWAY_PORT": str(port), "MINISTACK_HOST": "127.0.0.1"}
    return AwsLike("ministack", [python, "-m", "ministack.app"], environment, port, home.with_suffix(".log"))


def moto(home: Path, program: str) -> AwsLike:
    """The server that moto ships."""
    port = free_port()
    return AwsLike("moto", [program, "-p", str(port)], {}, port, home.with_suffix(".log"))


def tc3(who: tuple[str, str], host: str, service: str, action: str, body: bytes) -> dict[str, str]:
    """The headers of a request that is signed with TC3-HMAC-SHA256; `who` is SecretId and SecretKey."""
    at = SystemClock().now()
    date = time.strftime("%Y-%m-%d", time.gmtime(at))
    scope = f"{date}/{service}/tc3_request"
    canonical = (
        f"POST\n/\n\ncontent-type:application/json\nhost:{host}\n\ncontent-type;host\n"
        + hashlib.sha256(body).hexdigest()
    )
    text = f"TC3-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = derive_signing_key(who[1], date, service)
    return {
        "Host": host,
        "Content-Type": "application/json",
        "X-TC-Action": action,
        "X-TC-Version": {"kms": "2019-01-18", "ssm": "2019-09-23"}[service],
        "X-TC-Region": REGION,
        "X-TC-Timestamp": str(at),
        "Authorization": f"TC3-HMAC-SHA256 Credential={who[0]}/{scope},"
        f" SignedHeaders=content-type;host, Signature={hmac.digest(key, text.encode(), 'sha256').hex()}",
    }


def message(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """An HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value)]
    if body or method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """Send one request on a connection of its own; the answer's body."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.read()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(command: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a server; what it says goes into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        everything = {**os.environ, **environment}
        return subprocess.Popen(command, env=everything, stdout=out, stderr=out, start_new_session=True)


def wait_until(answers: Callable[[], bool], server: subprocess.Popen[bytes]) -> float:
    """Wait for a server's first good answer; how long that took, in seconds."""
    begin = time.perf_counter()
    while time.perf_counter() < begin + _START_SECONDS:
        if server.poll() is not None:
            raise RuntimeError(f"{server.args!r} ended with status {server.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if answers():
                return time.perf_counter() - begin
        time.sleep(0.005)
    raise TimeoutError(f"{server.args!r} does not answer")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    return [pid, *(below for child in _children(pid) for below in tree(child))]


def _children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, thread.read_text().split())


def _no_error(mark: bytes) -> Callable[[bytes], bool]:
    return lambda body: mark in body and b'"Error"' not in body
