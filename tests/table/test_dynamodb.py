"""What is DynamoDB's own: which requests are made, and what becomes of each way in which they fail.

A scripted endpoint stands in for DynamoDB, since a real one fails too seldom.
"""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.dynamodb import DynamoTable, connect
from chalicelib.table.port import (
    Add,
    Busy,
    Check,
    Conflict,
    Delete,
    Due,
    Expect,
    Op,
    Put,
    Refused,
    Row,
    TableError,
    Unacknowledged,
)

ABSENT, EXISTS, ANY = Expect.ABSENT, Expect.EXISTS, Expect.ANY
TRIES = 5


@dataclass(frozen=True)
class Answer:
    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


SILENCE = Answer(status=0)
"""No answer, though the request arrived."""
HANG_UP = Answer(status=-1)
"""No answer, and the connection ends."""
CUT_OFF = Answer(b'{"Item"')
"""The connection ends in the middle of the answer."""
CHANGED = Answer(b"{}", headers={"x-amz-crc32": "1"})
"""The answer is not what DynamoDB sent."""


def error(code: str, status: int = 400, **more: object) -> Answer:
    return Answer({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "canary", **more}, status)


def cancelled(*codes: str) -> Answer:
    return error("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


class Endpoint(ThreadingHTTPServer):
    """Answers as its script says, and then for ever with the last line of it; notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Answer] = [Answer()]
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.callers: list[int] = []
        """The port of the connection that each request came through."""
        self.end = threading.Event()

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        endpoint = cast("Endpoint", self.server)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        endpoint.asked.append((self.headers["X-Amz-Target"].partition(".")[2], request))
        endpoint.callers.append(self.client_address[1])
        answer = endpoint.script.pop(0) if len(endpoint.script) > 1 else endpoint.script[0]
        if answer is SILENCE:
            endpoint.end.wait(30)
        if answer.status <= 0:
            self.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body) + 99 * (answer is CUT_OFF)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = answer is CUT_OFF

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[Endpoint, DynamoTable]]:
    """One client for all tests: it takes longer to create than a test to run."""
    with Endpoint() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "sample")
        threading.Thread(target=endpoint.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{endpoint.server_port}"
        table = DynamoTable(connect("us-east-1", url, timeout=0.3), "main", "audit", ManualClock(0))
        yield endpoint, table
        table.close()
        endpoint.end.set()
        endpoint.shutdown()


@pytest.fixture
def endpoint(scene: tuple[Endpoint, DynamoTable]) -> Endpoint:
    scene[0].script = [Answer()]
    scene[0].asked, scene[0].callers = [], []
    return scene[0]


@pytest.fixture
def table(scene: tuple[Endpoint, DynamoTable], clock: ManualClock) -> DynamoTable:
    scene[1]._clock = clock
    return scene[1]


def put(pk: str = "p", sk: str = "s") -> Put:
    return Put(Row(pk=pk, sk=sk), ABSENT)


SINGLE: list[Op] = [put()]
SEVERAL: list[Op] = [put(), put("E#p")]
both = pytest.mark.parametrize("ops", [SINGLE, SEVERAL], ids=["single", "several"])
CROWDED = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TransactionConflictException",
    "TransactionInProgressException",
]

# Which requests are made


@pytest.mark.parametrize(
    ("op", "operation"),
    [
        (Put(Row(pk="p", sk="s"), ABSENT), "PutItem"),
        (Put(Row(pk="p", sk="s"), 4), "PutItem"),
        (Put(Row(pk="p", sk="s"), EXISTS), "UpdateItem"),
        (Put(Row(pk="p", sk="s"), ANY), "UpdateItem"),
        (Add("p", "s", 1), "UpdateItem"),
        (Delete("p", "s", ANY), "DeleteItem"),
        (Delete("p", "s", 4), "DeleteItem"),
        (Check("p", "s", EXISTS), "TransactWriteItems"),
    ],
)
def test_one_op_costs_no_transaction(table: DynamoTable, endpoint: Endpoint, op: Op, operation: str) -> None:
    table.write([op])
    assert endpoint.operations == [operation]
    table.write([op, Check("p", "t", ANY)])  # which asks for nothing
    assert endpoint.operations == [operation, operation]


def test_a_write_of_checks_for_anything_asks_nothing(table: DynamoTable, endpoint: Endpoint) -> None:
    table.write([Check("p", "s", ANY), Check("p", "t", ANY)])
    assert endpoint.asked == []


def test_a_write_across_both_tables_is_one_transaction(table: DynamoTable, endpoint: Endpoint) -> None:
    table.write([put("p"), put("E#p"), Add("E", "s", 1), Delete("e#", "s", ANY)])
    ((operation, request),) = endpoint.asked
    assert operation == "TransactWriteItems"
    steps = [(verb, step["TableName"]) for item in request["TransactItems"] for verb, step in item.items()]
    assert steps == [("Put", "main"), ("Put", "audit"), ("Update", "main"), ("Delete", "main")]


def test_reads_are_consistent_where_dynamodb_can(table: DynamoTable, endpoint: Endpoint) -> None:
    table.get("p", "s")
    endpoint.script = [Answer({"Responses": {}, "UnprocessedKeys": {}})]
    table.batch_get([("p", "s"), ("E#p", "s")])
    endpoint.script = [Answer({"Items": [], "Count": 0, "ScannedCount": 0})]
    table.query("p")
    table.scan()
    requests = [request for _, request in endpoint.asked]
    assert endpoint.operations == ["GetItem", "BatchGetItem", "Query", "Scan"]
    assert requests[0]["ConsistentRead"]
    assert requests[2]["ConsistentRead"]
    assert requests[3]["ConsistentRead"]
    assert {name: asked["ConsistentRead"] for name, asked in requests[1]["RequestItems"].items()} == {
        "main": True,
        "audit": True,
    }


def test_a_refused_call_asks_nothing(table: DynamoTable, endpoint: Endpoint) -> None:
    calls: list[Callable[[], object]] = [
        lambda: table.write([]),
        lambda: table.get("", "s"),
        lambda: table.batch_get([]),
        lambda: table.query("p", limit=0),
        lambda: table.by_index("other", "x"),
        lambda: table.due("job", 1, limit=1001),
        lambda: table.scan(after=("p", "")),
    ]
    for call in calls:
        with pytest.raises(Refused):
            call()
    assert endpoint.asked == []


def test_bounds_between_which_nothing_lies_ask_nothing(table: DynamoTable, endpoint: Endpoint) -> None:
    assert table.query("p", after="b", before="b") == table.due("job", -1) == []
    assert endpoint.asked == []


def page(first: int, *, last: bool, expires_at: int | None = None) -> Answer:
    """Two rows of a query or a scan."""
    items = [
        {
            "pk": {"S": "p"},
            "sk": {"S": f"{n}"},
            "ver": {"N": "1"},
            "number": {"N": "0"},
            "body": {"B": ""},
            **({} if expires_at is None else {"expires_at": {"N": str(expires_at)}}),
        }
        for n in range(first, first + 2)
    ]
    more = {} if last else {"LastEvaluatedKey": {"pk": {"S": "p"}, "sk": {"S": f"{first + 1}"}}}
    return Answer({"Items": items, "Count": 2, "ScannedCount": 2, **more})


def test_a_scan_reads_the_main_table_page_by_page_until_the_limit(
    table: DynamoTable, endpoint: Endpoint, clock: ManualClock
) -> None:
    script = [page(0, last=False), page(2, last=False, expires_at=clock.now()), page(4, last=True)]
    endpoint.script = [*script]
    assert [row.sk for row in table.scan(after=("o", "9"), limit=4)] == ["0", "1", "4", "5"]
    requests = [request for _, request in endpoint.asked]
    assert [(r["TableName"], r["Limit"], r["ExclusiveStartKey"]) for r in requests] == [
        ("main", 4, {"pk": {"S": "o"}, "sk": {"S": "9"}}),
        ("main", 2, {"pk": {"S": "p"}, "sk": {"S": "1"}}),
        ("main", 2, {"pk": {"S": "p"}, "sk": {"S": "3"}}),
    ]
    endpoint.script, endpoint.asked = [*script], []
    assert [row.sk for row in table.scan(limit=2)] == ["0", "1"]
    assert len(endpoint.asked) == 1
    assert "ExclusiveStartKey" not in endpoint.asked[0][1]


def test_pages_are_read_until_the_limit(table: DynamoTable, endpoint: Endpoint) -> None:
    endpoint.script = [page(0, last=False), page(2, last=False), page(4, last=True)]
    assert [row.sk for row in table.query("p", limit=3)] == ["0", "1", "2"]
    assert len(endpoint.asked) == 2
    assert endpoint.asked[1][1]["ExclusiveStartKey"] == {"pk": {"S": "p"}, "sk": {"S": "1"}}
    endpoint.script = [page(0, last=False), page(2, last=False), page(4, last=True)]
    assert [row.sk for row in table.query("p")] == ["0", "1", "2", "3", "4", "5"]


def test_due_rows_spread_over_shards(table: DynamoTable, endpoint: Endpoint) -> None:
    for n in range(64):
        table.write([Put(Row(pk=f"{n}", sk="s", due=Due("job", 5)), ABSENT)])
    partitions = {request["Item"]["due_pk"]["S"] for _, request in endpoint.asked}
    assert partitions == {f"job#{shard}" for shard in range(8)}


def test_no_boto3_is_loaded() -> None:
    code = "import sys; import chalicelib.table.dynamodb; sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Crowds


@both
@pytest.mark.parametrize("code", CROWDED)
def test_a_crowded_write_is_tried_again(
    table: DynamoTable, endpoint: Endpoint, ops: list[Op], code: str
) -> None:
    endpoint.script = [error(code), error(code), Answer()]
    table.write(ops)
    assert len(endpoint.asked) == 3


@both
def test_a_write_that_stays_crowded_is_busy(table: DynamoTable, endpoint: Endpoint, ops: list[Op]) -> None:
    endpoint.script = [error("ThrottlingException")]
    with pytest.raises(Busy):
        table.write(ops)
    assert len(endpoint.asked) == TRIES


@pytest.mark.parametrize(
    "reason", ["TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"]
)
def test_a_transaction_in_a_crowd_is_tried_again(table: DynamoTable, endpoint: Endpoint, reason: str) -> None:
    endpoint.script = [cancelled("None", reason), cancelled(reason, reason), Answer()]
    table.write(SEVERAL)
    assert len(endpoint.asked) == 3
    endpoint.script = [cancelled("None", reason)]
    with pytest.raises(Busy):
        table.write(SEVERAL)


def test_a_crowded_read_is_tried_again(table: DynamoTable, endpoint: Endpoint) -> None:
    endpoint.script = [error("ThrottlingException"), Answer()]
    assert table.get("p", "s") is None
    endpoint.script = [error("ThrottlingException")]
    for read in (
        lambda: table.get("p", "s"),
        lambda: table.query("p"),
        lambda: table.batch_get([("p", "s")]),
    ):
        endpoint.asked.clear()
        with pytest.raises(Busy):
            read()
        assert len(endpoint.asked) == TRIES


# Conflicts


def test_conflicts_are_told_by_the_places_of_the_ops(table: DynamoTable, endpoint: Endpoint) -> None:
    ops: list[Op] = [
        put("E#p"),
        Check("p", "1", ANY),
        Delete("p", "2", 3),
        Check("p", "4", EXISTS),
        put("p", "5"),
    ]
    endpoint.script = [cancelled("None", "ConditionalCheckFailed", "None", "ConditionalCheckFailed")]
    with pytest.raises(Conflict) as caught:
        table.write(ops)
    assert caught.value.positions == (2, 4)
    assert len(endpoint.asked) == 1


def test_a_condition_that_failed_outweighs_a_crowd(table: DynamoTable, endpoint: Endpoint) -> None:
    endpoint.script = [cancelled("TransactionConflict", "ConditionalCheckFailed")]
    with pytest.raises(Conflict) as caught:
        table.write(SEVERAL)
    assert caught.value.positions == (1,)


def test_a_single_conflict(table: DynamoTable, endpoint: Endpoint) -> None:
    endpoint.script = [error("ConditionalCheckFailedException")]
    with pytest.raises(Conflict) as caught:
        table.write([Check("p", "t", ANY), put()])
    assert caught.value.positions == (1,)


def test_an_add_whose_row_keeps_changing_is_busy(table: DynamoTable, endpoint: Endpoint) -> None:
    """Each time the condition fails, yet the row looks as if it held."""
    item = {"pk": {"S": "p"}, "sk": {"S": "s"}, "ver": {"N": "1"}, "number": {"N": "5"}}
    endpoint.script = [error("ConditionalCheckFailedException"), Answer({"Item": item})] * (TRIES + 1)
    with pytest.raises(Busy):
        table.write([Add("p", "s", 1, at_most=6)])
    assert endpoint.operations == ["UpdateItem", "GetItem"] * TRIES


def test_an_expired_row_that_comes_to_life_meanwhile(
    table: DynamoTable, endpoint: Endpoint, clock: ManualClock
) -> None:
    """A put of ANY finds a dead row, wants to begin afresh, and finds that another writer did."""
    keys = {"pk": {"S": "p"}, "sk": {"S": "s"}, "ver": {"N": "1"}, "number": {"N": "0"}, "body": {"B": ""}}
    dead = Answer({"Item": keys | {"expires_at": {"N": str(clock.now())}}})
    failed = error("ConditionalCheckFailedException")
    endpoint.script = [failed, dead, failed, Answer({"Item": keys}), Answer()]
    table.write([Put(Row(pk="p", sk="s"), ANY)])
    assert endpoint.operations == ["UpdateItem", "GetItem", "PutItem", "GetItem", "UpdateItem"]


# Silence


@both
@pytest.mark.parametrize(
    "silence",
    [
        pytest.param(SILENCE, id="timeout"),
        pytest.param(HANG_UP, id="connection lost"),
        pytest.param(error("InternalServerError", 500), id="500"),
        pytest.param(error("ServiceUnavailable", 503), id="503"),
        pytest.param(Answer(b"<html>Bad Gateway</html>", 502), id="502 of a proxy"),
        pytest.param(CUT_OFF, id="half an answer"),
        pytest.param(CHANGED, id="another answer"),
    ],
)
def test_a_write_without_an_answer_is_unacknowledged_and_not_repeated(
    table: DynamoTable, endpoint: Endpoint, ops: list[Op], silence: Answer
) -> None:
    endpoint.script = [silence]
    with pytest.raises(Unacknowledged):
        table.write(ops)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("silence", [SILENCE, HANG_UP, CUT_OFF, CHANGED, error("InternalServerError", 500)])
def test_a_read_without_an_answer_is_repeated(
    table: DynamoTable, endpoint: Endpoint, silence: Answer
) -> None:
    endpoint.script = [silence, Answer()]
    assert table.get("p", "s") is None
    assert len(endpoint.asked) == 2
    endpoint.script = [silence]
    with pytest.raises(Busy):
        table.get("p", "s")
    assert len(endpoint.asked) == 2 + TRIES


def test_a_client_that_found_its_credentials_later_checks_answers_too(
    endpoint: Endpoint, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    table = DynamoTable(
        connect("us-east-1", f"http://127.0.0.1:{endpoint.server_port}"), "main", "audit", clock
    )
    with pytest.raises(Busy):
        table.get("p", "s")
    assert endpoint.asked == []
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sample")
    endpoint.script = [CHANGED]
    with pytest.raises(Busy):
        table.get("p", "s")
    table.close()


FORK = """
import os, sys
from chalicelib.clock import SystemClock
from chalicelib.table.dynamodb import DynamoTable, connect
connection = connect("us-east-1", sys.argv[1])
tables = [DynamoTable(connection, main, "audit", SystemClock()) for main in ("main", "identity")]
tables[0].get("p", "parent")
child = os.fork()
tables[1].get("p", "child" if not child else "parent")
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
tables[0].get("p", "parent")
"""


def test_tables_share_a_connection_and_a_forked_child_has_its_own(endpoint: Endpoint) -> None:
    """A child that sent through its parent's socket could be given its parent's rows."""
    url = f"http://127.0.0.1:{endpoint.server_port}"
    credentials = {"AWS_ACCESS_KEY_ID": "sample", "AWS_SECRET_ACCESS_KEY": "sample"}
    subprocess.run([sys.executable, "-c", FORK, url], check=True, env=os.environ | credentials)
    ports: dict[str, set[int]] = {"parent": set(), "child": set()}
    for (_, request), port in zip(endpoint.asked, endpoint.callers, strict=True):
        ports[request["Key"]["sk"]["S"]].add(port)
    assert len(ports["parent"]) == len(ports["child"]) == 1
    assert ports["parent"] != ports["child"]


def test_nobody_at_the_address_is_busy(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    """No connection, so nothing was written."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sample")
    table = DynamoTable(connect("us-east-1", "http://127.0.0.1:1"), "main", "audit", clock)
    with pytest.raises(Busy):
        table.write(SINGLE)
    with pytest.raises(Busy):
        table.get("p", "s")
    table.close()


# Refusals by DynamoDB


@both
@pytest.mark.parametrize(
    "code", ["ValidationException", "AccessDeniedException", "ResourceNotFoundException"]
)
def test_a_refusal_is_an_error_of_its_own(
    table: DynamoTable, endpoint: Endpoint, ops: list[Op], code: str
) -> None:
    endpoint.script = [error(code)]
    for call in (lambda: table.write(ops), lambda: table.get("p", "s"), lambda: table.query("p")):
        endpoint.asked.clear()
        with pytest.raises(TableError, match=code) as caught:
            call()
        assert type(caught.value) is TableError
        assert "canary" not in str(caught.value)
        assert len(endpoint.asked) == 1


def test_a_row_that_dynamodb_refuses(table: DynamoTable, endpoint: Endpoint) -> None:
    endpoint.script = [cancelled("None", "ValidationError")]
    with pytest.raises(TableError) as caught:
        table.write(SEVERAL)
    assert type(caught.value) is TableError


# Half an answer to batch_get


def test_keys_that_dynamodb_left_are_asked_for_again(table: DynamoTable, endpoint: Endpoint) -> None:
    def found(*sks: str) -> list[dict[str, Any]]:
        return [{"pk": {"S": "p"}, "sk": {"S": sk}, "ver": {"N": "7"}, "number": {"N": "0"}} for sk in sks]

    def left(*sks: str) -> dict[str, Any]:
        keys = [{"pk": {"S": "p"}, "sk": {"S": sk}} for sk in sks]
        return {"main": {"Keys": keys, "ConsistentRead": True}}

    endpoint.script = [
        Answer({"Responses": {"main": found("c")}, "UnprocessedKeys": left("a", "b")}),
        Answer({"Responses": {"main": []}, "UnprocessedKeys": left("a", "b")}),
        Answer({"Responses": {"main": found("a")}, "UnprocessedKeys": {}}),
    ]
    rows = table.batch_get([("p", "a"), ("p", "b"), ("p", "c")])
    assert [row and row.sk for row in rows] == ["a", None, "c"]
    assert [request["RequestItems"] for _, request in endpoint.asked[1:]] == [left("a", "b")] * 2
    endpoint.script = [Answer({"Responses": {}, "UnprocessedKeys": left("a")})]
    with pytest.raises(Busy):
        table.batch_get([("p", "a")])


def test_nothing_is_logged_of_a_failure(
    table: DynamoTable, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    endpoint.script = [HANG_UP]
    with pytest.raises(Unacknowledged):
        table.write([Put(Row(pk="canary", sk="canary", body=b"canary"), ABSENT)])
    assert "canary" not in caplog.text
