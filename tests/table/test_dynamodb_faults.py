"""A whole service on DynamoDB whose requests fail, one after the other: listed codes, no loss, no double effect.

A proxy in front of ministack does what DynamoDB and networks do.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast

import pytest
import requests

from chalicelib.audit import SHARDS
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.settings import Settings
from chalicelib.table.dynamodb import DynamoTable, connect
from chalicelib.table.port import Table
from tests.calls import ask, code, tc3
from tests.installation import SM, Installation
from tests.table.conftest import CREDENTIALS, FAR

pytestmark = [pytest.mark.slow, pytest.mark.ministack, pytest.mark.timeout(600)]

TIMEOUT: Final = 1.0
NOTHING_DONE: Final = "The service is busy: nothing was done; try again."
UNKNOWN: Final = "The outcome is unknown: read the resource before you try again."
FAULTS: Final = ("throttled", "conflict", "failed", "lost", "done", "slow", "partial")
TOLD_NOTHING: Final = ("throttled", "conflict")
"""DynamoDB says that it did nothing."""
EVERY: Final = 10**6
VALUE: Final = "a value"


class Proxy(ThreadingHTTPServer):
    """Passes requests on to ministack, but those from number `first` to `last`, which fail."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.operations: list[str] = []
        self.fail("", 0, 0)

    def fail(self, fault: str, first: int, last: int) -> None:
        self.fault, self.first, self.last = fault, first, last
        self.operations.clear()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        proxy = cast("Proxy", self.server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        proxy.operations.append(operation)
        fault = proxy.fault if proxy.first <= len(proxy.operations) <= proxy.last else ""
        match fault:
            case "throttled":
                self.answer(400, {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"})
            case "conflict" if operation == "TransactWriteItems":
                reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
                kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
                self.answer(400, {"__type": kind, "message": "", "CancellationReasons": reasons})
            case "conflict":
                self.answer(400, {"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException"})
            case "failed":
                self.answer(500, {"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"})
            case "lost":
                self.close_connection = True
            case "done":
                self.passed_on(body)
                self.close_connection = True
            case "slow":
                self.passed_on(body)
                threading.Event().wait(TIMEOUT + 0.3)
                self.close_connection = True
            case "partial" if operation == "BatchGetItem":
                self.answer(200, without_all_but_one(json.loads(body), self.passed_on(body).json()))
            case _:
                answer = self.passed_on(body)
                self.answer(answer.status_code, answer.json())

    def passed_on(self, body: bytes) -> requests.Response:
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("host", "content-length")
        }
        return requests.post(cast("Proxy", self.server).target, data=body, headers=headers, timeout=30)

    def answer(self, status: int, members: Mapping[str, Any]) -> None:
        content = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def without_all_but_one(asked: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """As if DynamoDB had read one key and then had enough."""
    left: dict[str, Any] = {}
    found: dict[str, Any] = {}
    keys = [(table, key) for table, part in asked["RequestItems"].items() for key in part["Keys"]]
    for number, (table, key) in enumerate(keys):
        if number:
            left.setdefault(table, {"Keys": [], "ConsistentRead": True})["Keys"].append(key)
        else:
            items = answer["Responses"].get(table, [])
            found[table] = [item for item in items if (item["pk"], item["sk"]) == (key["pk"], key["sk"])]
    return {"Responses": found, "UnprocessedKeys": left}


class OnDynamo(Installation):
    """A service on such tables."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.connection = connect("us-east-1", f"http://127.0.0.1:{proxy.server_port}", timeout=TIMEOUT)
        # Events expire, and ministack removes what has expired by the real clock: the time is far away.
        super().__init__(ManualClock(FAR), Settings(throttle=False, max_secrets=10_000, max_keys=10_000))

    def open_table(self, domain: str) -> Table:
        main = "faults-identity" if domain == IDENTITY else "faults-data"
        table = DynamoTable(self.connection, main, "faults-audit", self.clock)
        table.create_tables()
        return table

    def run(self, service: str, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return ask(self.gateway, tc3(self.root, self.clock.now(), service, action, parameters))

    def effects(self, action: str, name: str) -> int:
        """How many events tell that the action has succeeded on something of that name."""
        table = self.service.table(SM)
        rows = [
            row
            for shard in range(SHARDS)
            for row in table.by_index("action", f"{self.root.uin}#{action}#{shard}", limit=1000)
        ]
        events = [record.decode(row.body) for row in rows]
        return sum("error" not in event and name in json.dumps(event) for event in events)


@pytest.fixture(scope="module")
def installation(ministack: str) -> Iterator[OnDynamo]:
    with Proxy(ministack) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        made = OnDynamo(proxy)
        yield made
        made.service.close()
        proxy.shutdown()


def plans(operations: list[str]) -> Iterator[tuple[str, int, int]]:
    """Each fault at each request, and for ever from the last one on."""
    for fault in FAULTS:
        for number, operation in enumerate(operations, 1):
            if fault != "partial" or operation == "BatchGetItem":
                yield fault, number, number
        if fault not in ("partial", "slow"):
            yield fault, len(operations), EVERY


@dataclass(frozen=True)
class Call:
    """A call that makes something of a name, and what repeating it answers."""

    service: str
    action: str
    parameters: Callable[[str], dict[str, Any]]
    again: str
    first: tuple[str, str] | None = None
    """What has to be called before it, with the same name."""

    def prepare(self, installation: OnDynamo, name: str) -> None:
        installation.proxy.fail("", 0, 0)
        if self.first is not None:
            assert not code(installation.run(*self.first, secret(name)))
        installation.proxy.operations.clear()

    def run(self, installation: OnDynamo, name: str) -> dict[str, Any]:
        return installation.run(self.service, self.action, self.parameters(name))


def secret(name: str, version: str = "v1") -> dict[str, Any]:
    return {"SecretName": name, "VersionId": version, "SecretString": VALUE}


WRITES: Final = (
    Call("ssm", "CreateSecret", secret, "ResourceInUse.SecretExists"),
    Call(
        "ssm",
        "PutSecretValue",
        lambda name: secret(name, "v2"),
        "ResourceInUse.VersionIdExists",
        first=("ssm", "CreateSecret"),
    ),
    Call("kms", "CreateKey", lambda name: {"Alias": name}, "InvalidParameterValue.AliasAlreadyExists"),
)


@pytest.mark.parametrize("call", WRITES, ids=lambda call: call.action)
def test_a_write_happens_once_or_not_at_all_and_its_event_tells(
    installation: OnDynamo, call: Call, subtests: pytest.Subtests
) -> None:
    names = (f"{call.action}-{n}" for n in itertools.count())
    for name in itertools.islice(names, 2):  # the second one is warm
        call.prepare(installation, name)
        assert not code(call.run(installation, name))
    healthy = list(installation.proxy.operations)
    assert "TransactWriteItems" in healthy
    for fault, first, last in plans(healthy):
        with subtests.test(f"{fault} at {first} of {healthy}{' and ever after' if last == EVERY else ''}"):
            name = next(names)
            call.prepare(installation, name)
            installation.proxy.fail(fault, first, last)
            response = call.run(installation, name)
            installation.proxy.fail("", 0, 0)
            happened = installation.effects(call.action, name)
            if code(response):
                assert response["Error"]["Code"] == "InternalError"
                assert response["Error"]["Message"] in (NOTHING_DONE, UNKNOWN)
                assert not happened or response["Error"]["Message"] == UNKNOWN
                assert not happened or fault not in TOLD_NOTHING
            else:
                assert happened == 1
            assert code(call.run(installation, name)) == (call.again if happened else "")
            assert installation.effects(call.action, name) == 1


def test_a_read_answers_rightly_or_not_at_all_and_is_recorded(
    installation: OnDynamo, subtests: pytest.Subtests
) -> None:
    assert not code(installation.run("ssm", "CreateSecret", secret("read")))
    asked = {"SecretName": "read", "VersionId": "v1"}
    for _ in range(2):
        installation.proxy.fail("", 0, 0)
        assert not code(installation.run("ssm", "GetSecretValue", asked))
    healthy = list(installation.proxy.operations)
    assert healthy == ["BatchGetItem", "PutItem"]
    for fault, first, last in plans(healthy):
        with subtests.test(f"{fault} at {first} of {healthy}{' and ever after' if last == EVERY else ''}"):
            told = installation.effects("GetSecretValue", "read")
            installation.proxy.fail(fault, first, last)
            response = installation.run("ssm", "GetSecretValue", asked)
            installation.proxy.fail("", 0, 0)
            recorded = installation.effects("GetSecretValue", "read") - told
            if code(response):
                assert response["Error"]["Code"] == "InternalError"
                assert VALUE not in json.dumps(response)
                assert recorded <= 1
            else:
                assert response["SecretString"] == VALUE
                assert recorded == 1
            assert last == EVERY or not code(response), "one fault is no outage"
