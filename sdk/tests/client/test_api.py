import datetime as dt
import ipaddress
import json
import os
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.installation import SM

from keystead import api as api_module
from keystead.api import TENCENT_CLOUD, Api, ApiError, Unreachable, authorization
from keystead.credentials import Credential

from .servers import (
    CREDENTIAL,
    FaultyServer,
    KeysteadServer,
    http,
    refuse,
    respond,
    say,
    say_and_close,
)

WIRE = Path(__file__).parents[3] / "tests/wire"
READ = ("ssm", "2019-09-23", "GetSecretValue", SM)
WRITE = ("ssm", "2019-09-23", "PutSecretValue", SM)


def api(server: FaultyServer, pauses: list[float] | None = None, **options: Any) -> Api:
    sleep = time.sleep if pauses is None else pauses.append
    return server.api(sleep=sleep, **options)


# Signatures


def _posts() -> list[Any]:
    vectors = json.loads((WIRE / "python-sdk.json").read_text())
    return [
        v
        for v in vectors
        if v["expect"]["algorithm"] == "TC3-HMAC-SHA256"
        and v["request"]["method"] == "POST"
        and "body" in v["request"]
        and "unsigned" not in v["name"]
        and "multipart" not in v["name"]
        and v["expect"]["canonical_uri"] == "/"
    ]


@pytest.mark.parametrize("vector", _posts(), ids=lambda v: v["name"])
def test_signatures_of_the_official_sdk(vector: Any) -> None:
    sent = {name.lower(): value for name, value in vector["request"]["headers"]}
    signed = [
        ("Host", vector["expect"]["signed_host"]),
        ("Content-Type", sent["content-type"]),
    ]
    made = authorization(
        Credential(vector["secret_id"], vector["secret_key"]),
        vector["client"]["service"],
        vector["expect"]["timestamp"],
        signed,
        vector["request"]["body"].encode(),
    )
    assert made == sent["authorization"]


def test_there_are_vectors() -> None:
    assert len(_posts()) >= 15


def test_signature_of_the_product_document() -> None:
    vectors = json.loads((WIRE / "seed-vectors.json").read_text())["vectors"]
    vector = next(v for v in vectors if v["name"] == "v3-post-json-as-displayed")
    made = authorization(
        Credential(vector["secret_id"], vector["secret_key"]),
        vector["service"],
        vector["timestamp"],
        [("content-type", vector["content_type"]), ("host", vector["host"])],
        vector["payload"].encode(),
    )
    assert made == vector["authorization"]


def test_action_version_region_and_a_fresh_id_are_signed(keystead: KeysteadServer) -> None:
    client = keystead.api()
    for _ in range(2):
        client.call("ssm", "2019-09-23", "ListSecrets", SM)
    first, second = (h["Authorization"] for h in keystead.seen)
    assert "SignedHeaders=content-type;host;x-tc-action;x-tc-region;x-tc-traceid;x-tc-version," in first
    assert first.split("Signature=")[1] != second.split("Signature=")[1]


def test_a_changed_action_or_region_is_refused(keystead: KeysteadServer) -> None:
    class Forger(Api):
        def _headers(self, *arguments: Any) -> dict[str, str]:
            return {**super()._headers(*arguments), **forged}

    root = keystead.installation.root
    client = Forger(Credential(root.secret_id, root.secret_key), endpoint=keystead.endpoint)
    forged: dict[str, str] = {}
    client.call("ssm", "2019-09-23", "ListSecrets", SM)
    for forged in ({"X-TC-Action": "GetRegions"}, {"X-TC-Region": "ap-singapore"}):  # noqa: B007 - closed over
        with pytest.raises(ApiError) as caught:
            client.call("ssm", "2019-09-23", "ListSecrets", SM)
        assert caught.value.code == "AuthFailure.SignatureFailure"
    client.close()


# Answers


def test_a_secret_through_a_whole_keystead(keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="db", VersionId="v1", SecretString="密码 é😀")
    answer = keystead.ssm("GetSecretValue", SecretName="db", VersionId="SSM_Current")
    assert (answer["SecretString"], answer["VersionId"]) == ("密码 é😀", "v1")
    assert answer["RequestId"]


def test_a_refusal_has_code_message_and_request_id(keystead: KeysteadServer) -> None:
    with pytest.raises(ApiError) as caught:
        keystead.ssm("GetSecretValue", SecretName="none", VersionId="v1")
    error = caught.value
    assert error.code == "ResourceNotFound"
    assert error.message
    assert error.request_id in str(error)
    assert keystead.calls["GetSecretValue"] == 1


def test_temporary_credentials_send_their_token(faulty: FaultyServer) -> None:
    faulty.script = [respond()]
    temporary = Credential("AKIDtmp", "key", token="tok")
    faulty.api(temporary).call(*READ)
    assert b"X-TC-Token: tok\r\n" in faulty.requests[0]


# Connections


def test_one_connection_serves_many_calls(keystead: KeysteadServer) -> None:
    client = keystead.api()
    for _ in range(20):
        client.call("ssm", "2019-09-23", "ListSecrets", SM)
    assert keystead.connections == 1


def test_threads_share_the_client(keystead: KeysteadServer) -> None:
    for n in range(8):
        keystead.ssm("CreateSecret", SecretName=f"s{n}", VersionId="v1", SecretString=f"value-{n}")
    client = keystead.api()

    def read(n: int) -> bool:
        answer = client.call(*READ, {"SecretName": f"s{n % 8}", "VersionId": "v1"})
        return bool(answer["SecretString"] == f"value-{n % 8}")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))
    assert keystead.connections <= 8 + 8


def test_a_connection_that_the_server_closed_is_not_used(faulty: FaultyServer) -> None:
    faulty.script = [say_and_close(http(b'{"Response": {"RequestId": "1"}}'))]
    client = api(faulty, retries=0)
    for _ in range(3):
        client.call(*WRITE)
        time.sleep(0.05)
    assert faulty.connections == 3


def test_a_connection_out_of_step_is_not_used(faulty: FaultyServer) -> None:
    # Somebody's second answer on the wire would be taken for that of the next call.
    one = http(b'{"Response": {"SecretString": "mine"}}')
    faulty.script = [
        say(one + http(b'{"Response": {"SecretString": "not mine"}}')),
        respond(SecretString="2nd"),
    ]
    client = api(faulty)
    client.call(*READ)
    time.sleep(0.05)
    assert client.call(*READ)["SecretString"] == "2nd"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_does_not_share_sockets(faulty: FaultyServer) -> None:
    faulty.script = [respond()]
    client = api(faulty)
    client.call(*READ)
    child = os.fork()
    if child == 0:
        try:
            client.call(*READ)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    client.call(*READ)
    assert faulty.connections == 2


# Faults


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    pauses: list[float] = []
    client = Api(CREDENTIAL, endpoint=f"http://127.0.0.1:{port}", retries=3, sleep=pauses.append)
    with pytest.raises(Unreachable, match="ConnectionRefusedError") as caught:
        client.call(*WRITE)
    assert not caught.value.was_sent
    assert len(pauses) == 3


@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>Bad gateway</html>", "502 Bad Gateway"),
        http(b'{"Response": {"Sec'),
        http(b"[]"),
        http(b'{"Response": 5}'),
        http(b"\xff\xfe"),
        http(b"[" * 200_000),
        http(b'{"Response": {}}', "500 Internal Server Error"),
    ],
    ids=["502", "cut", "list", "number", "not utf-8", "deep", "500"],
)
def test_what_is_not_api_3_is_tried_again_for_reads_only(faulty: FaultyServer, answer: bytes) -> None:
    faulty.script = [say(answer), respond(SecretString="x")]
    assert api(faulty, []).call(*READ)["SecretString"] == "x"
    faulty.requests.clear()
    faulty.script = [say(answer)]
    with pytest.raises(Unreachable):
        api(faulty, []).call(*WRITE)
    assert len(faulty.requests) == 1


@pytest.mark.parametrize(
    "step",
    [
        say_and_close(b""),
        say_and_close(b"HTTP/1.1 20"),
        say_and_close(http(b'{"Response": {"SecretString": "hal', length=60)),
        say_and_close(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"Response": {"SecretString": "hal'
        ),
        say_and_close(http(b'{"Response": {"SecretString": "looks whole"}}', length=60)),
        say_and_close(b"topsecret garbage\r\n\r\n"),
    ],
    ids=["nothing", "status", "body", "chunks", "short", "garbage"],
)
def test_a_connection_cut_in_the_answer(faulty: FaultyServer, step: Any) -> None:
    faulty.script = [step, step, respond(SecretString="whole")]
    pauses: list[float] = []
    assert api(faulty, pauses).call(*READ)["SecretString"] == "whole"
    assert len(pauses) == 2
    faulty.requests.clear()
    faulty.script = [step]
    with pytest.raises(Unreachable) as caught:
        api(faulty, []).call(*WRITE)
    assert caught.value.was_sent
    assert len(faulty.requests) == 1
    assert "secret" not in str(caught.value)


def test_a_slow_server_is_given_up(faulty: FaultyServer) -> None:
    faulty.script = [faulty.wait(5)]
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=r"no answer within 0\.2 seconds"):
        api(faulty, timeout=0.2, retries=0).call(*READ)
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("head", [b"", http(b"", length=1000)], ids=["in the head", "in the body"])
def test_a_server_that_drips_is_given_up(faulty: FaultyServer, head: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200:
            connection.sendall(bytes([byte]))
            faulty.closing.wait(0.05)

    faulty.script = [drip]
    begin = time.monotonic()
    with pytest.raises(Unreachable, match="no answer"):
        api(faulty, timeout=0.3, retries=0).call(*READ)
    assert time.monotonic() - begin < 2


def test_an_answer_without_end_is_refused(faulty: FaultyServer) -> None:
    faulty.script = [say_and_close(http(b" " * (33 * 1024 * 1024)))]
    with pytest.raises(Unreachable, match="too long"):
        api(faulty, retries=0, timeout=20).call(*READ)


@pytest.mark.parametrize(
    ("code", "for_reads", "for_writes"),
    [
        ("RequestLimitExceeded", 3, 3),
        ("RequestLimitExceeded.UinLimitExceeded", 3, 3),
        ("RequestLimitExceeded.RotateRateLimited", 1, 1),
        ("InternalError", 3, 1),
        ("InternalError.DbError", 3, 1),
        ("ResourceNotFound", 1, 1),
        ("AuthFailure.SignatureExpire", 1, 1),
    ],
)
def test_what_is_tried_again(faulty: FaultyServer, code: str, for_reads: int, for_writes: int) -> None:
    faulty.script = [refuse(code)]
    for call, wanted in ((READ, for_reads), (WRITE, for_writes)):
        faulty.requests.clear()
        with pytest.raises(ApiError) as caught:
            api(faulty, [], retries=2).call(*call)
        assert caught.value.code == code
        assert len(faulty.requests) == wanted


def test_the_caller_may_know_better(faulty: FaultyServer) -> None:
    faulty.script = [refuse("InternalError"), respond(Done=1)]
    assert api(faulty, []).call(*WRITE, {"A": 1}, repeatable=True)["Done"] == 1
    faulty.script = [refuse("InternalError")]
    faulty.requests.clear()
    with pytest.raises(ApiError):
        api(faulty, []).call(*READ, {"A": 1}, repeatable=False)
    assert len(faulty.requests) == 1


def test_pauses_have_full_jitter(faulty: FaultyServer) -> None:
    faulty.script = [refuse("RequestLimitExceeded")]
    pauses: list[float] = []
    with pytest.raises(ApiError):
        api(faulty, pauses, retries=8).call(*READ)
    assert len(set(pauses)) == 8
    assert all(0 <= pause < min(5, 0.1 * 2**n) for n, pause in enumerate(pauses))


def test_every_attempt_is_signed_anew(faulty: FaultyServer) -> None:
    faulty.script = [refuse("RequestLimitExceeded"), respond()]
    api(faulty, []).call(*WRITE)
    signatures = {r.split(b"Signature=")[1][:64] for r in faulty.requests}
    assert len(signatures) == 2


# TLS


def _certificate(folder: Path, address: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.timezone.utc)  # noqa: TID251 - TLS goes by it
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{address}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def _tls_server(path: Path) -> FaultyServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = FaultyServer(context)
    server.script = [respond(SecretString="x")]
    return server


def test_tls_keeps_connections_and_checks_certificates(tmp_path: Path) -> None:
    mine, other = _certificate(tmp_path, "127.0.0.1"), _certificate(tmp_path, "127.0.0.2")
    server = _tls_server(mine)
    client = Api(CREDENTIAL, endpoint=server.endpoint, ca_file=mine)
    for _ in range(3):
        assert client.call(*READ)["SecretString"] == "x"
    assert server.connections == 1
    client.close()
    for authorities in (None, other):
        with pytest.raises(Unreachable, match="certificate is not trusted"):
            Api(CREDENTIAL, endpoint=server.endpoint, ca_file=authorities, retries=0).call(*READ)
    assert len(server.requests) == 3
    server.close()
    server = _tls_server(other)
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        Api(CREDENTIAL, endpoint=server.endpoint, ca_file=other, retries=0).call(*READ)
    assert not server.requests
    server.close()


def test_plain_http_needs_a_word() -> None:
    with pytest.raises(ValueError, match="secrets"):
        Api(CREDENTIAL, endpoint="http://keystead:8000")
    Api(CREDENTIAL, endpoint="http://keystead:8000", allow_http=True)
    for endpoint in ("http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000"):
        Api(CREDENTIAL, endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "kms.example",
        "ftp://kms.example",
        "https://kms.example/path",
        "https://kms.example/?a=b",
        "https://me:pw@kms.example",
        "https://kms.example:x",
        "https://",
        "https://a b",
        "http://127.0.0.1.evil.example",
    ],
)
def test_other_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"endpoint|secrets"):
        Api(CREDENTIAL, endpoint=endpoint)


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        (TENCENT_CLOUD, "ssm.tencentcloudapi.com"),
        ("https://{service}.internal.tencentcloudapi.com:443/", "ssm.internal.tencentcloudapi.com"),
        ("https://Keystead.example:8443", "keystead.example:8443"),
        ("http://[::1]:80", "[::1]"),
    ],
)
def test_the_host_of_a_service(endpoint: str, host: str) -> None:
    assert api_module._split(endpoint, allow_http=False)[1].replace("{service}", "ssm") == host


def test_names_cannot_bring_headers_or_hosts_along() -> None:
    client = Api(CREDENTIAL, endpoint=TENCENT_CLOUD)
    for call in (("ssm.evil/", "1", "A", ""), ("ssm", "1\r\nX: y", "A", ""), ("ssm", "1", "A", "r\n")):
        with pytest.raises(ValueError, match="names"):
            client.call(*call)


def test_nothing_secret_is_shown(faulty: FaultyServer) -> None:
    client = api(faulty)
    assert "example-secret-key" not in repr(client) + repr(CREDENTIAL)
    faulty.script = [say(http(b'{"Response": {"SecretString": "topsecret"'))]
    with pytest.raises(Unreachable) as caught:
        api(faulty, retries=0).call(*READ)
    error: BaseException | None = caught.value
    while error is not None:
        assert "topsecret" not in repr(error.__dict__) + repr(error.args) + str(error)
        frames = error.__traceback__
        while frames is not None:
            if frames.tb_frame.f_code.co_filename == api_module.__file__:
                assert "topsecret" not in repr(frames.tb_frame.f_locals)
            frames = frames.tb_next
        error = error.__context__


def test_closing_while_threads_call(keystead: KeysteadServer) -> None:
    client = keystead.api()
    over = threading.Event()

    def close() -> None:
        while not over.wait(0.002):
            client.close()

    closer = threading.Thread(target=close)
    closer.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.call("ssm", "2019-09-23", "ListSecrets", SM), range(60)))
    over.set()
    closer.join()
