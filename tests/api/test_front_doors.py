"""The front doors: a request that a client signed is verified behind every one of them."""

import base64
import io
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPResponse
from typing import Any
from urllib.parse import parse_qs, unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from chalice.app import Chalice, Response
from chalice.config import Config
from chalice.local import LocalGateway

from chalicelib.api import function_url, rest, wsgi
from chalicelib.api.http import Request
from chalicelib.api.signature import MAX_TC3_POST, read_claim
from chalicelib.settings import Settings
from tests.api.conftest import (
    CASES,
    NOW,
    SECRET_ID,
    SECRET_KEY,
    Case,
    Doorkeeper,
    accept,
    case_body,
    case_gateway,
    case_headers,
    case_name,
    case_settings,
    case_target,
    is_signed,
    tc3_request,
)

every_case = pytest.mark.parametrize("case", CASES, ids=case_name)

PROXIED = "POST http://kms.example/ HTTP/1.1"


def open_gateway() -> Doorkeeper:
    """A gateway that reads claims and verifies nothing."""
    return Doorkeeper(lambda request: read_claim(request, Settings()))


# Function URL


def url_event(case: Case, *, encoded: bool = False) -> dict[str, Any]:
    path, query = case_target(case)
    body = case_body(case)
    event: dict[str, Any] = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": case_headers(case),
        "requestContext": {
            "http": {"method": case["request"]["method"], "path": path, "sourceIp": "192.0.2.1"},
            "requestId": "1",
        },
        "isBase64Encoded": encoded,
    }
    if body:
        event["body"] = base64.b64encode(body).decode() if encoded else body.decode()
    return event


def is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@every_case
@pytest.mark.parametrize("encoded", [False, True])
def test_function_url(case: Case, *, encoded: bool) -> None:
    gateway = case_gateway(case)
    answer = function_url.handle(url_event(case, encoded=encoded or not is_text(case_body(case))), gateway)
    assert answer == {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"Action": case["expect"]["action"]}),
        "isBase64Encoded": False,
    }
    (request,) = gateway.requests
    assert (request.source_ip, request.body_limit) == ("192.0.2.1", 6 * 1024 * 1024)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"body": "A", "isBase64Encoded": True}, "InvalidRequest"),
        ({"body": "\ud800"}, "InvalidRequest"),
        ({"body": {}}, "InvalidRequest"),
        ({"body": "x" * 9_000_000}, "RequestSizeLimitExceeded"),
        ({"requestContext": {}}, "InvalidRequest"),
        ({"requestContext": None}, "InvalidRequest"),
        ({"headers": ["a"]}, "InvalidRequest"),
    ],
)
def test_function_url_answers_its_own_errors(change: Mapping[str, Any], code: str) -> None:
    gateway = open_gateway()
    answer = function_url.handle({**url_event(CASES[0]), **change}, gateway)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"Code": code}
    assert gateway.requests == []


def test_function_url_takes_six_megabytes() -> None:
    for over, code in ((0, None), (1, "RequestSizeLimitExceeded")):
        event = {**url_event(CASES[0]), "body": "x" * (6 * 1024 * 1024 + over)}
        assert json.loads(function_url.handle(event, open_gateway())["body"]).get("Code") == code


def test_function_url_takes_an_event_without_headers_query_and_body() -> None:
    gateway = open_gateway()
    event = {**url_event(CASES[0]), "headers": None, "rawQueryString": None, "body": None}
    function_url.handle(event, gateway)
    (request,) = gateway.requests
    assert (request.headers, request.queries, request.body) == ({}, ("",), b"")


def test_function_url_refuses_what_is_no_http_event() -> None:
    events: list[dict[str, Any]] = [{}, {"source": "aws.events"}, {"Records": []}]
    for event in events:
        assert json.loads(function_url.handle(event, open_gateway())["body"]) == {"Code": "InvalidRequest"}


# REST


def rest_event(case: Case) -> dict[str, Any]:
    """An API Gateway event: decoded parameters, headers in both forms, and no raw query."""
    path, query = case_target(case)
    headers = dict(case["request"]["headers"])
    multiple = parse_qs(query, keep_blank_values=True)
    return {
        "resource": "/",
        "path": path,
        "httpMethod": case["request"]["method"],
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in multiple.items()} or None,
        "multiValueQueryStringParameters": multiple or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": case["request"]["method"],
            "path": path,
            "resourcePath": "/",
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": base64.b64encode(case_body(case)).decode(),
        "isBase64Encoded": True,
    }


@every_case
def test_rest(case: Case) -> None:
    gateway = case_gateway(case)
    assert json.loads(rest.handle(rest_event(case), gateway).body) == {"Action": case["expect"]["action"]}
    assert gateway.requests[0].source_ip == "192.0.2.1"


@every_case
def test_rest_with_single_values_only(case: Case) -> None:
    event = {**rest_event(case), "multiValueHeaders": None, "multiValueQueryStringParameters": None}
    assert json.loads(rest.handle(event, case_gateway(case)).body) == {"Action": case["expect"]["action"]}


@every_case
def test_chalice_local(case: Case) -> None:
    app = Chalice("front_doors")  # a name of its own: it stops its logger from propagating
    app.api.binary_types = []

    def door(**_: str) -> Response:
        assert app.current_request is not None
        reply = rest.handle(app.current_request.to_original_event(), case_gateway(case))
        return Response(reply.body.decode(), headers=dict(reply.headers), status_code=reply.status)

    for path in ("/", "/{stage}"):
        app.route(path, methods=["GET", "POST"], content_types=[])(door)
    answer = LocalGateway(app, Config()).handle_request(
        case["request"]["method"],
        case["request"]["target"],
        dict(case["request"]["headers"]),
        case_body(case) or None,
    )
    assert (answer["statusCode"], answer["headers"]) == (200, {"Content-Type": "application/json"})
    assert json.loads(answer["body"]) == {"Action": case["expect"]["action"]}


@pytest.mark.parametrize(
    ("pairs", "form", "component"),
    [
        ([], "", ""),
        ([("Name", "")], "Name=", "Name="),
        ([("B", "2"), ("A", "1"), ("B", "3")], "B=2&A=1&B=3", "B=2&A=1&B=3"),
        ([("A", "it's (a) *t*!~-_.")], "A=it%27s+%28a%29+%2At%2A%21~-_.", "A=it%27s%20(a)%20*t*!~-_."),
        ([("A.0", "密/&=+%")], "A.0=%E5%AF%86%2F%26%3D%2B%25", "A.0=%E5%AF%86%2F%26%3D%2B%25"),
    ],
)
def test_raw_queries_are_rebuilt(pairs: list[tuple[str, str]], form: str, component: str) -> None:
    assert rest.rebuild_queries(pairs) == tuple(dict.fromkeys((form, component)))


@pytest.mark.parametrize("query", ["", "A=a%20(b)!*%27~&Name=", "A=a+%28b%29%21%2A%27~&Name="])
def test_rest_verifies_the_query_of_node_and_of_python(query: str) -> None:
    signed = tc3_request(method="GET", query=query)
    event = {
        "headers": signed.headers,
        "multiValueQueryStringParameters": parse_qs(query, keep_blank_values=True) or None,
        "requestContext": {"httpMethod": "GET"},
        "body": None,
    }
    case = hand_signed_case()
    gateway = Doorkeeper(lambda request: accept(case, request))
    assert json.loads(rest.handle(event, gateway).body) == {"Action": "DescribeKey"}


def hand_signed_case() -> Case:
    """What `accept` must know for a request of `tc3_request`."""
    return {
        "secret_id": SECRET_ID,
        "secret_key": SECRET_KEY,
        "client": {},
        "expect": {"timestamp": NOW, "signed_host_is": "wire Host header"},
    }


def test_rest_joins_headers_that_came_twice() -> None:
    gateway = open_gateway()
    event = {
        "multiValueHeaders": {"X-TC-Action": ["A", "B"], "x-tc-action": ["C"], "Host": ["h"]},
        "headers": {"X-TC-Action": "B", "Host": "h"},
        "requestContext": {"httpMethod": "GET"},
    }
    rest.handle(event, gateway)
    assert gateway.requests[0].headers == {"x-tc-action": "A,B,C", "host": "h"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"body": "A"}, "InvalidRequest"),
        ({"body": "A" * 15_000_000}, "RequestSizeLimitExceeded"),
        ({"requestContext": {}}, "InvalidRequest"),
        ({"multiValueQueryStringParameters": {"A": 1}}, "InvalidRequest"),
        ({"multiValueQueryStringParameters": {"A": ["\ud800"]}}, "InvalidParameter"),
        ({"multiValueHeaders": ["Host"]}, "InvalidRequest"),
    ],
)
def test_rest_answers_its_own_errors(change: Mapping[str, Any], code: str) -> None:
    case = next(case for case in CASES if case["request"]["method"] == "GET")
    gateway = open_gateway()
    reply = rest.handle({**rest_event(case), **change}, gateway)
    assert reply.status == 200
    assert json.loads(reply.body) == {"Code": code}
    assert gateway.requests == []


# WSGI


def environ(case: Case) -> dict[str, Any]:
    """What a server makes of the request (PEP 3333)."""
    path, query = case_target(case)
    body = case_body(case)
    headers = case_headers(case)
    return {
        "REQUEST_METHOD": case["request"]["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path, "latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "CONTENT_TYPE": headers.pop("content-type", ""),
        "CONTENT_LENGTH": headers.pop("content-length", ""),
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()},
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body + b"the next request"),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def call(gateway: Doorkeeper, env: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Any]:
    """Call the application under wsgiref's validator."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:
        started.append((status, headers))
        return started.append

    parts = validator(wsgi.application(gateway))(env, start_response)
    body = b"".join(parts)
    getattr(parts, "close")()  # noqa: B009 - the validator demands it, its type has none
    ((status, headers),) = started
    assert ("Content-Length", str(len(body))) in headers
    return status, headers, json.loads(body)


@every_case
def test_wsgi(case: Case) -> None:
    gateway = case_gateway(case)
    status, headers, answer = call(gateway, environ(case))
    assert (status, answer) == ("200 OK", {"Action": case["expect"]["action"]})
    assert ("Content-Type", "application/json") in headers
    assert gateway.requests[0].source_ip == "192.0.2.1"
    assert gateway.requests[0].body == case_body(case)


class Untouchable(io.BytesIO):
    """A body that must not be read."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise AssertionError("read before its length was checked")


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (str(MAX_TC3_POST + 1), "RequestSizeLimitExceeded"),
        ("9" * 18, "RequestSizeLimitExceeded"),
        ("9" * 5000, "InvalidRequest"),
        ("-1", "InvalidRequest"),
        ("+1", "InvalidRequest"),
        ("1_0", "InvalidRequest"),
        ("0x10", "InvalidRequest"),
        ("\u0661", "InvalidRequest"),
        ("2, 2", "InvalidRequest"),
    ],
)
def test_wsgi_checks_the_length_before_reading(length: str, code: str) -> None:
    gateway = open_gateway()
    env = {**environ(CASES[0]), "CONTENT_LENGTH": length, "wsgi.input": Untouchable()}
    started: list[str] = []

    def start_response(status: str, _headers: object, _info: object = None) -> Any:
        started.append(status)
        return started.append

    body = b"".join(wsgi.application(gateway)(env, start_response))
    assert (started, json.loads(body)) == (["200 OK"], {"Code": code})


def test_wsgi_refuses_a_body_that_ends_early() -> None:
    env = {**environ(CASES[0]), "wsgi.input": io.BytesIO(b"{}")}
    assert call(open_gateway(), env)[2] == {"Code": "InvalidRequest"}


def test_wsgi_reads_ten_megabytes() -> None:
    gateway = open_gateway()
    body = bytes(MAX_TC3_POST)
    call(gateway, {**environ(CASES[0]), "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)})
    assert len(gateway.requests[0].body) == MAX_TC3_POST


@pytest.mark.parametrize(
    ("size", "code"), [(5, None), (MAX_TC3_POST, None), (MAX_TC3_POST + 1, "RequestSizeLimitExceeded")]
)
def test_wsgi_reads_chunks_where_the_server_ends_them(size: int, code: str | None) -> None:
    gateway = open_gateway()
    env = environ(CASES[0])
    del env["CONTENT_LENGTH"]
    env |= {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(bytes(size)),
    }
    answer = call(gateway, env)[2]
    if code:
        assert (answer, gateway.requests) == ({"Code": code}, [])
    else:
        assert len(gateway.requests[0].body) == size


def test_wsgi_refuses_chunks_where_the_server_does_not_end_them() -> None:
    env = {**environ(CASES[0]), "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    assert call(open_gateway(), env)[2] == {"Code": "InvalidRequest"}


def test_wsgi_makes_up_no_content_type() -> None:
    gateway = open_gateway()
    call(gateway, {**environ(CASES[0]), "CONTENT_TYPE": "", "CONTENT_LENGTH": ""})
    assert "content-type" not in gateway.requests[0].headers


def test_wsgi_takes_a_post_without_a_length_as_empty() -> None:
    gateway = open_gateway()
    env = environ(CASES[0])
    del env["CONTENT_LENGTH"]
    call(gateway, env)
    assert gateway.requests[0].body == b""


@pytest.mark.parametrize(
    ("target", "path"),
    [("http://kms.example/", "/"), ("http://kms.example", "/"), ("http://kms.example:80/api", "/api")],
)
def test_wsgi_takes_a_target_in_absolute_form(target: str, path: str) -> None:
    gateway = open_gateway()
    serve = wsgi.application(gateway)
    for headers in ({"HTTP_HOST": "kms.example"}, {}):
        env = {name: value for name, value in environ(CASES[0]).items() if name != "HTTP_HOST"}
        serve({**env, **headers, "PATH_INFO": target}, lambda *_: lambda _: None)
    assert [request.path for request in gateway.requests] == [path, path]
    assert gateway.requests[0].headers["host"] == "kms.example"
    assert gateway.requests[1].headers["host"].startswith("kms.example")


def test_wsgi_refuses_a_target_that_is_none() -> None:
    body = b"".join(
        wsgi.application(open_gateway())(
            {**environ(CASES[0]), "PATH_INFO": "http://[kms/"}, lambda *_: lambda _: None
        )
    )
    assert json.loads(body) == {"Code": "InvalidRequest"}


# The captured bytes through a real socket


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Door:
    """A wsgiref server whose gateway can be changed."""

    def __init__(self) -> None:
        self.gateway = open_gateway()
        self.server = WSGIServer(("127.0.0.1", 0), Quiet)
        self.server.set_app(self.serve)

    def serve(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return wsgi.application(self.gateway)(env, start_response)

    def ask(self, raw: bytes) -> Any:
        with socket.create_connection(("127.0.0.1", self.server.server_port), timeout=10) as connection:
            connection.sendall(raw)
            response = HTTPResponse(connection)
            response.begin()
            assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
            return json.loads(response.read())


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    door = Door()
    thread = threading.Thread(target=door.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield door
    door.server.shutdown()
    thread.join()
    door.server.server_close()


def raw_request(case: Case, line: str = "") -> bytes:
    wire = case["request"]
    lines = [line or f"{wire['method']} {wire['target']} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in wire["headers"]]
    return "\r\n".join([*lines, "", ""]).encode() + case_body(case)


@every_case
def test_the_captured_bytes_through_a_socket(door: Door, case: Case) -> None:
    door.gateway = case_gateway(case)
    assert door.ask(raw_request(case)) == {"Action": case["expect"]["action"]}


def test_absolute_form_through_a_socket(door: Door) -> None:
    case = CASES[0]
    door.gateway = case_gateway(case)
    assert door.ask(raw_request(case, PROXIED)) == {"Action": case["expect"]["action"]}
    assert door.gateway.requests[0].path == "/"


# One answer behind every door


@pytest.mark.parametrize("case", [case for case in CASES if is_signed(case)][::5], ids=case_name)
def test_another_key_is_refused_behind_every_door(case: Case) -> None:
    other = {**case, "secret_key": case["secret_key"] + "x"}
    for answer in (
        json.loads(function_url.handle(url_event(case, encoded=True), case_gateway(other))["body"]),
        json.loads(rest.handle(rest_event(case), case_gateway(other)).body),
        call(case_gateway(other), environ(case))[2],
    ):
        assert answer == {"Code": "AuthFailure.SignatureFailure"}


def test_every_door_hands_over_the_same_request() -> None:
    for case in CASES:
        url, gate, server = case_gateway(case), case_gateway(case), case_gateway(case)
        function_url.handle(url_event(case, encoded=True), url)
        rest.handle(rest_event(case), gate)
        call(server, environ(case))
        seen = [gateway.requests[0] for gateway in (url, gate, server)]
        assert len({(r.method, r.path, r.body, r.headers["host"], r.source_ip) for r in seen}) == 1
        assert {claims(case, request) for request in seen} == {claims(case, seen[0])}


def claims(case: Case, request: Request) -> str:
    claim = read_claim(request, case_settings(case))
    return repr((claim, claim.parameters, claim.token))
