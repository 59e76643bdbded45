"""The tables under test: SQLite in a file and in memory, and DynamoDB as ministack plays it."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.port import Table
from chalicelib.table.sqlite import SqliteTable

FAR = 4_000_000_000
"""Tests begin in 2096: ministack removes what has expired by the real clock, and must not interfere."""

_names = itertools.count()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(FAR)


@pytest.fixture(params=["file", "memory", pytest.param("dynamodb", marks=pytest.mark.ministack)])
def table(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Table]:
    """Each test runs once for each adapter, on an empty table."""
    if request.param == "dynamodb":
        opened: Table = request.getfixturevalue("open_dynamodb")()
    elif request.param == "file":
        opened = SqliteTable(request.getfixturevalue("tmp_path") / "table.sqlite", clock)
    else:
        opened = SqliteTable(":memory:", clock)
    yield opened
    opened.close()


@pytest.fixture
def open_dynamodb(ministack: str, clock: ManualClock) -> Callable[[], Table]:
    """Opens an empty DynamoDB table."""
    from chalicelib.table.dynamodb import DynamoTable

    def open_table() -> Table:
        name = f"{os.getpid()}-{next(_names)}"
        opened = DynamoTable(f"main-{name}", f"audit-{name}", "us-east-1", clock, ministack)
        opened.create_tables()
        return opened

    return open_table


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any credentials do where nobody checks them; without, botocore would look for some on the network."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sample")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sample")


@pytest.fixture
def ministack(_ministack_url: str, aws_credentials: None) -> str:
    """The address of a running ministack."""
    return _ministack_url


@pytest.fixture(scope="session")
def _ministack_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = os.environ.get("KEYSTEAD_MINISTACK", ".venv-ministack/bin/ministack")
    if shutil.which(program) is None:
        pytest.skip("ministack is not installed: `make ministack`, or KEYSTEAD_MINISTACK=path")
    home = tmp_path_factory.mktemp("ministack")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [Path(program).absolute()], cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _await(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail("ministack did not start")
