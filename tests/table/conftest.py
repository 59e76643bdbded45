"""The tables under test: SQLite in a file and in memory, and DynamoDB as ministack plays it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.port import Table
from chalicelib.table.sqlite import SqliteTable

if TYPE_CHECKING:
    from chalicelib.table.dynamodb import DynamoTable

FAR = 4_000_000_000
"""Tests begin in 2096: ministack removes what has expired by the real clock, and must not interfere."""

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sample", "AWS_SECRET_ACCESS_KEY": "sample"}
"""Any will do where nobody checks them; without, botocore would look for some on the network."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(FAR)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where a table's file goes: in memory where the system offers that, as nobody pulls the plug on these tests."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as home:
        yield Path(home) / "table.sqlite"


@pytest.fixture(params=["file", "memory", pytest.param("dynamodb", marks=pytest.mark.ministack)])
def table(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Table]:
    """Each test runs once for each adapter, on an empty table."""
    if request.param == "dynamodb":
        yield request.getfixturevalue("dynamodb")
        return
    opened = SqliteTable(":memory:" if request.param == "memory" else request.getfixturevalue("path"), clock)
    yield opened
    opened.close()


@pytest.fixture
def dynamodb(_dynamodb: "DynamoTable", clock: ManualClock) -> Iterator[Table]:
    """The adapter of DynamoDB on empty tables in ministack."""
    _dynamodb._clock = clock
    _dynamodb.create_tables()
    yield _dynamodb
    for name in (_dynamodb._main, _dynamodb._audit):
        _dynamodb._connection.delete_table(name)


@pytest.fixture(scope="session")
def _dynamodb(ministack: str) -> Iterator["DynamoTable"]:
    """One client for all tests: it takes longer to create than a test to run."""
    from chalicelib.table.dynamodb import DynamoTable, connect

    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        opened = DynamoTable(connect("us-east-1", ministack), "main", "audit", ManualClock(FAR))
        yield opened
        opened.close()
