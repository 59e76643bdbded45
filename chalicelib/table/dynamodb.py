"""The table on DynamoDB: a main table and one for the audit trail, written together where a write spans both.

Rows whose `pk` starts with AUDIT_PREFIX are in the second one.

It uses PynamoDB's connection and expressions, not its models: two models would mean two clients, and a client costs more
to create than all else in a cold start.
"""

import contextlib
import heapq
import os
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, TypeVar
from zlib import crc32

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ProxyConnectionError,
)
from pynamodb.connection import Connection
from pynamodb.connection.base import MetaTable
from pynamodb.exceptions import PynamoDBException, VerboseClientError
from pynamodb.expressions.condition import And, Condition, Or
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from chalicelib.clock import Clock
from chalicelib.table.port import (
    AUDIT_PREFIX,
    DUE_SHARDS,
    INDEXES,
    MAX_KIND,
    MAX_PK,
    MAX_SK,
    Add,
    Busy,
    Check,
    Conflict,
    Delete,
    Due,
    Expect,
    Op,
    Put,
    Row,
    TableError,
    Unacknowledged,
    add_bounds,
    due_ceiling,
    due_position,
    key_of,
    span,
    validate_index,
    validate_key,
    validate_keys,
    validate_range,
    validate_scan,
    validate_text,
    validate_write,
)
from chalicelib.table.port import Condition as Expectation

_TRIES: Final = 5
_PAUSE: Final = 0.025  # seconds before the second try, at most; doubled for each further one
_CONNECT_SECONDS: Final = 1.0

_CROWDED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_HOPELESS: Final = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})
_NEVER_SENT: Final = (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
)
_ERRORS: Final = (BotoCoreError, ClientError, PynamoDBException)

_KEYS: Final = {"due": ("due_pk", "due_sk"), **{name: (name, "sk") for name in INDEXES}}
_OPTIONAL: Final = ("expires_at", "due_pk", "due_sk", *INDEXES)
_SINGLE: Final = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}

_connections: Final[weakref.WeakSet[Connection]] = weakref.WeakSet()

_Item = dict[str, dict[str, Any]]
_T = TypeVar("_T")


def connect(region: str, endpoint: str | None = None, *, timeout: float = 3.0) -> Connection:
    """What the tables of a process share: one client, so that a cold start makes one, and one TLS connection.

    No request is repeated unless it is certain that the one before it had no effect. `timeout` is how many seconds
    DynamoDB has for an answer.
    """
    connection = _Connection(
        region=region,
        host=endpoint,
        connect_timeout_seconds=_CONNECT_SECONDS,
        read_timeout_seconds=timeout,
        max_retry_attempts=0,
        max_pool_connections=32,
    )
    _connections.add(connection)
    return connection


class _Connection(Connection):
    """One whose clients check every answer: PynamoDB makes another client where the last one found no credentials."""

    _checking: object = None

    @property
    def client(self) -> Any:
        client = super().client
        if client is not self._checking:
            client.meta.events.register("before-parse.dynamodb", _must_be_whole)
            self._checking = client
        return client


def _after_fork() -> None:
    """A child that used its parent's sockets would get its parent's answers."""
    for connection in _connections:
        connection.client.close()


os.register_at_fork(after_in_child=_after_fork)


class DynamoTable:
    """Rows in the tables `main` and `audit`."""

    def __init__(self, connection: Connection, main: str, audit: str, clock: Clock) -> None:
        self._connection = connection
        self._client = connection.client
        self._main = main
        self._audit = audit
        self._clock = clock
        for name in (main, audit):
            with contextlib.suppress(ValueError):  # the audit table is that of other tables, too
                connection.add_meta_table(MetaTable(_schema(name)))

    def get(self, pk: str, sk: str) -> Row | None:
        validate_key(pk, sk)
        row = self._fetch(pk, sk)
        return row if row is not None and _alive(row, self._clock.now()) else None

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        validate_keys(keys)
        wanted: dict[str, dict[str, Any]] = {}
        for pk, sk in keys:
            asked = wanted.setdefault(self._table_of(pk), {"Keys": [], "ConsistentRead": True})
            asked["Keys"].append({"pk": {"S": pk}, "sk": {"S": sk}})
        found: dict[tuple[str, str], Row] = {}
        fruitless = 0
        while wanted:
            _pause(fruitless)
            answer = _read(partial(self._connection.dispatch, "BatchGetItem", {"RequestItems": wanted}))
            rows = [_row(item) for items in answer["Responses"].values() for item in items]
            found |= {(row.pk, row.sk): row for row in rows}
            wanted = answer.get("UnprocessedKeys") or {}
            fruitless = 0 if rows else fruitless + 1
            if fruitless == _TRIES:
                raise Busy("DynamoDB leaves keys unprocessed")
        now = self._clock.now()
        return [row if (row := found.get(key)) is not None and _alive(row, now) else None for key in keys]

    def query(
        self,
        pk: str,
        *,
        prefix: str = "",
        after: str | None = None,
        before: str | None = None,
        limit: int = 100,
        reverse: bool = False,
    ) -> list[Row]:
        validate_text("pk", pk, MAX_PK)
        validate_range(limit, prefix, after, before)
        bounds = span(prefix, after, before)
        return list(islice(self._rows(self._table_of(pk), None, pk, bounds, limit, reverse=reverse), limit))

    def by_index(
        self,
        index: str,
        value: str,
        *,
        after: str | None = None,
        before: str | None = None,
        limit: int = 100,
        reverse: bool = False,
    ) -> list[Row]:
        validate_index(index, value)
        validate_range(limit, after, before)
        bounds = span("", after, before)
        found = (
            self._rows(table, index, value, bounds, limit, reverse=reverse)
            for table in (self._main, self._audit)
        )
        return list(islice(heapq.merge(*found, key=lambda row: row.sk, reverse=reverse), limit))

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        validate_text("kind", kind, MAX_KIND)
        validate_range(limit, after)
        bounds = (f"{after}\x00" if after else "", due_ceiling(upto))
        found = (
            self._rows(table, "due", f"{kind}#{shard}", bounds, limit // DUE_SHARDS + 1)
            for table in (self._main, self._audit)
            for shard in range(DUE_SHARDS)
        )
        return list(islice(heapq.merge(*found, key=due_position), limit))

    def scan(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[Row]:
        validate_scan(after, limit)
        start: Any = None if after is None else {"pk": {"S": after[0]}, "sk": {"S": after[1]}}
        now = self._clock.now()
        rows: list[Row] = []
        while True:
            ask = partial(
                self._connection.scan,
                self._main,
                consistent_read=True,
                exclusive_start_key=start,
                limit=limit - len(rows),
            )
            page = _read(ask)
            rows += [row for item in page["Items"] if _alive(row := _row(item), now)]
            start = page.get("LastEvaluatedKey")
            if start is None or len(rows) == limit:
                return rows

    def write(self, ops: Sequence[Op]) -> None:
        validate_write(ops)
        # A Check of ANY asks for nothing, and DynamoDB has no way to say it.
        places = [
            place for place, op in enumerate(ops) if not (isinstance(op, Check) and op.expect is Expect.ANY)
        ]
        over_dead: set[int] = (
            set()
        )  # the places of ops whose rows have expired, but are still in DynamoDB's way
        crowd: Busy | None = None
        for attempt in range(_TRIES):
            _pause(attempt)
            now = self._clock.now()
            try:
                unmet = self._send(
                    [self._step(ops[place], now, afresh=place in over_dead) for place in places]
                )
            except Busy as busy:
                crowd = busy
                continue
            if not unmet:
                return
            over_dead = self._over_dead(ops, [places[number] for number in unmet], over_dead)
        raise Busy("the rows change faster than this write can follow") from crowd

    def create_tables(self) -> None:
        """Create both tables, if they are not there, and wait for them; for tests and emulators."""
        for name in (self._main, self._audit):
            schema = _schema(name)
            try:
                self._connection.create_table(
                    name,
                    attribute_definitions=schema["AttributeDefinitions"],
                    key_schema=schema["KeySchema"],
                    global_secondary_indexes=[
                        {
                            "index_name": i["IndexName"],
                            "key_schema": i["KeySchema"],
                            "projection": i["Projection"],
                        }
                        for i in schema["GlobalSecondaryIndexes"]
                    ],
                    billing_mode="PAY_PER_REQUEST",
                )
            except PynamoDBException as error:
                if error.cause_response_code != "ResourceInUseException":
                    raise
                continue
            while self._connection.describe_table(name)["TableStatus"] != "ACTIVE":
                time.sleep(_PAUSE)
            self._connection.update_time_to_live(name, "expires_at")

    def close(self) -> None:
        """Close idle connections; another table that shares them opens new ones."""
        self._client.close()

    def _table_of(self, pk: str) -> str:
        return self._audit if pk.startswith(AUDIT_PREFIX) else self._main

    def _fetch(self, pk: str, sk: str) -> Row | None:
        """The row, even if it has expired."""
        answer = _read(partial(self._connection.get_item, self._table_of(pk), pk, sk, consistent_read=True))
        return _row(answer["Item"]) if "Item" in answer else None

    def _rows(
        self,
        table: str,
        index: str | None,
        value: str,
        bounds: tuple[str, str | None],
        limit: int,
        *,
        reverse: bool = False,
    ) -> Iterator[Row]:
        """The rows of one partition, asked for page by page as long as somebody wants more."""
        low, high = bounds
        if high is not None and low >= high:
            return
        order = _KEYS[index][1] if index else "sk"
        now = self._clock.now()
        start = None
        while True:
            page = _read(
                partial(
                    self._connection.query,
                    table,
                    value,
                    _between(order, low, high),
                    consistent_read=index is None,
                    exclusive_start_key=start,
                    index_name=index,
                    limit=limit + 2,  # the bounds themselves may come along
                    scan_index_forward=not reverse,
                )
            )
            for item in page["Items"]:
                row = _row(item)
                if low <= item[order]["S"] and (high is None or item[order]["S"] < high) and _alive(row, now):
                    yield row
            start = page.get("LastEvaluatedKey")
            if start is None:
                return

    def _send(self, steps: Sequence[tuple[str, dict[str, Any]]]) -> list[int]:
        """Make one request; the numbers of the steps whose conditions did not hold, so that nothing was written."""
        if not steps:
            return []
        verb, request = steps[0]
        if len(steps) == 1 and verb in _SINGLE:
            verb = _SINGLE[verb]
        else:
            verb, request = "TransactWriteItems", {"TransactItems": [dict([step]) for step in steps]}
        try:
            self._connection.dispatch(verb, request)
        except _ERRORS as error:
            unmet = _unmet(error)
            if not unmet:
                raise _meaning(error, Unacknowledged) from error
            return unmet
        return []

    def _step(self, op: Op, now: int, *, afresh: bool) -> tuple[str, dict[str, Any]]:
        """The request for one op, as a verb of TransactWriteItems and its arguments.

        What does not care whether its row exists goes on from the row's version and number: an Update, unless the
        row is dead, when it has to begin `afresh`.
        """
        pk, sk = key_of(op)
        ask = partial(self._connection.get_operation_kwargs, self._table_of(pk), pk, sk)
        match op:
            case Put(row, expect) if afresh or expect is Expect.ABSENT or isinstance(expect, int):
                version = expect + 1 if isinstance(expect, int) else 1
                condition = _expected(Expect.ABSENT if afresh else expect, now)
                return "Put", ask(key="Item", attributes=_item(row, version), condition=condition)
            case Put(row, expect):
                item = _item(row, version=0)
                actions: list[Action] = [
                    Path("body").set(item["body"]),
                    Path("number").set(0),
                    Path("ver").add(1),
                ]
                actions += [Path(n).set(item[n]) if n in item else Path(n).remove() for n in _OPTIONAL]
                return "Update", ask(actions=actions, condition=_overwritable(expect, now))
            case Add(n=n) if afresh:
                item = _item(Row(pk=pk, sk=sk), version=1) | {"number": {"N": str(n)}}
                return "Put", ask(key="Item", attributes=item, condition=_expected(Expect.ABSENT, now))
            case Add(n=n):
                actions = [Path("number").add(n), Path("ver").add(1)]
                return "Update", ask(actions=actions, condition=_within(op, now))
            case Delete(expect=expect):
                return "Delete", ask(condition=_expected(expect, now))
            case Check(expect=expect):
                return "ConditionCheck", ask(condition=_expected(expect, now))

    def _over_dead(self, ops: Sequence[Op], failed: Sequence[int], over_dead: set[int]) -> set[int]:
        """Look at the rows of the ops that failed: which ones have to begin afresh at the next try.

        Raises Conflict if an op failed for more than the expired row that DynamoDB has not yet removed.
        """
        conflicts = []
        now = self._clock.now()
        for place in failed:
            op = ops[place]
            if not isinstance(op, Add) and op.expect is not Expect.ANY:
                conflicts.append(place)
                continue
            row = self._fetch(*key_of(op))
            is_dead = row is not None and not _alive(row, now)
            if isinstance(op, Add):
                low, high = add_bounds(op)
                if not low <= (0 if row is None or is_dead else row.number) + op.n <= high:
                    conflicts.append(place)
            over_dead = over_dead | {place} if is_dead else over_dead - {place}
        if conflicts:
            raise Conflict(conflicts)
        return over_dead


def _must_be_whole(response_dict: dict[str, Any], **_: object) -> None:
    """Stop botocore from taking a cut-off answer for an empty one: a row would seem to be absent."""
    body, headers = response_dict["body"], response_dict["headers"]
    expected = int(headers.get("content-length", len(body)))
    if len(body) != expected or crc32(body) != int(headers.get("x-amz-crc32", crc32(body))):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=expected)


def _read(request: Callable[[], _T]) -> _T:
    """The answer to a request that changes nothing, which is repeated while that may help."""
    failure: TableError | None = None
    for attempt in range(_TRIES):
        _pause(attempt)
        try:
            return request()
        except _ERRORS as error:
            failure = _meaning(error, Busy)
            failure.__cause__ = error
        if not isinstance(failure, Busy):
            break
    raise failure or Busy


def _pause(attempt: int) -> None:
    """Wait before each try but the first: up to twice as long each time, at random, so that a crowd disperses."""
    if attempt:
        time.sleep(secrets.randbelow(int(_PAUSE * 2 ** (attempt - 1) * 1_000_000)) / 1_000_000)


def _unmet(error: Exception) -> list[int]:
    """The numbers of the conditions that did not hold, if that is what the error says."""
    if not isinstance(error, VerboseClientError):
        return []
    if _code(error) == "ConditionalCheckFailedException":
        return [0]
    reasons = error.cancellation_reasons
    return [n for n, reason in enumerate(reasons) if reason and reason.code == "ConditionalCheckFailed"]


def _meaning(error: Exception, doubt: type[TableError]) -> TableError:
    """What an error means to the caller; `doubt` if the request may have had its effect."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, _NEVER_SENT):
        return Busy("DynamoDB is out of reach")
    if not isinstance(cause, VerboseClientError):
        return doubt("no answer from DynamoDB")
    code = _code(cause)
    if code in _CROWDED:
        return Busy("DynamoDB is crowded")
    if code == "TransactionCanceledException":
        reasons = {reason.code for reason in cause.cancellation_reasons if reason}
        return TableError("DynamoDB refused a row") if reasons & _HOPELESS else Busy("DynamoDB is crowded")
    answer = cause.__cause__.response if isinstance(cause.__cause__, ClientError) else {}
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return doubt("DynamoDB failed")
    return TableError(f"DynamoDB refused the request: {code}")


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _expected(expect: Expectation, now: int) -> Condition | None:
    """The expectation as a condition; rows past their time are absent, though still there."""
    match expect:
        case Expect.ANY:
            return None
        case Expect.ABSENT:
            return Or(Path("pk").does_not_exist(), Path("expires_at") <= now)
        case Expect.EXISTS:
            return And(Path("pk").exists(), _living(now))
        case version:
            return And(Path("ver") == version, _living(now))


def _overwritable(expect: Expectation, now: int) -> Condition:
    return _living(now) if expect is Expect.ANY else And(Path("pk").exists(), _living(now))


def _within(op: Add, now: int) -> Condition:
    """That the sum is within its bounds, where there is a number to add to, or none at all."""
    low, high = add_bounds(op)
    number = Path("number")
    sum_fits = And(_living(now), And(number >= low - op.n, number <= high - op.n))
    return Or(Path("pk").does_not_exist(), sum_fits) if low <= op.n <= high else sum_fits


def _living(now: int) -> Condition:
    """That the row has not expired; true also of a row that does not exist."""
    return Or(Path("expires_at").does_not_exist(), Path("expires_at") > now)


def _between(order: str, low: str, high: str | None) -> Condition | None:
    """Both bounds included, as DynamoDB has it; a bound that is longer than a key may be is left to the reader."""
    if len(low.encode()) > MAX_SK:
        low = low[:-1]
    if high is not None and len(high.encode()) > MAX_SK:
        high = None
    if high is None:
        return Path(order) >= low if low else None
    return Path(order).between(low, high) if low else Path(order) <= high


def _item(row: Row, version: int) -> _Item:
    """The row's attributes beside its key."""
    item: _Item = {"body": {"B": row.body}, "ver": {"N": str(version)}, "number": {"N": "0"}}
    item |= {name: {"S": value} for name, value in row.index.items()}
    if row.expires_at is not None:
        item["expires_at"] = {"N": str(row.expires_at)}
    if row.due is not None:
        position = due_position(row)
        item["due_pk"] = {"S": f"{row.due.kind}#{int(position[-1], 16) % DUE_SHARDS}"}
        item["due_sk"] = {"S": position}
    return item


def _row(item: _Item) -> Row:
    due = None
    if "due_pk" in item:
        due = Due(item["due_pk"]["S"].rpartition("#")[0], int(item["due_sk"]["S"].partition("#")[0]))
    return Row(
        pk=item["pk"]["S"],
        sk=item["sk"]["S"],
        version=int(item["ver"]["N"]),
        number=int(item["number"]["N"]),
        body=item["body"]["B"] if "body" in item else b"",  # an Add that makes its row gives it none
        expires_at=int(item["expires_at"]["N"]) if "expires_at" in item else None,
        due=due,
        index={name: item[name]["S"] for name in INDEXES if name in item},
    )


def _alive(row: Row, now: int) -> bool:
    return row.expires_at is None or row.expires_at > now


def _schema(name: str) -> dict[str, Any]:
    """The table as CreateTable has it."""
    attributes = dict.fromkeys(["pk", "sk", *(key for keys in _KEYS.values() for key in keys)])
    return {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in attributes],
        "KeySchema": _key_schema("pk", "sk"),
        "GlobalSecondaryIndexes": [
            {"IndexName": index, "KeySchema": _key_schema(*keys), "Projection": {"ProjectionType": "ALL"}}
            for index, keys in _KEYS.items()
        ],
    }


def _key_schema(partition: str, order: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": order, "KeyType": "RANGE"},
    ]
