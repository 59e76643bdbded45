"""Fixtures: a fresh installation on in-memory SQLite and a software HSM, and the official clients for it."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import requests
from tencentcloud.common import abstract_client

from chalicelib.clock import ManualClock
from tests import hsms
from tests.hsm import softhsm
from tests.installation import Client, Installation, sdk_time


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--hsm",
        choices=hsms.NAMES,
        default="software",
        help="what keeps the keys of the installations under test",
    )


def pytest_configure(config: pytest.Config) -> None:
    hsms.chosen[:] = [config.getoption("hsm")]
    if hsms.chosen == ["softhsm"] and not softhsm.module():
        raise pytest.UsageError("SoftHSM2 is not installed (Debian: softhsm2)")


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("keystead", deadline=None)
hypothesis.settings.load_profile("keystead")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock that starts now; the SDK signs by it as well."""
    clock = ManualClock(int(time.time()))
    monkeypatch.setattr(abstract_client, "time", sdk_time(clock))
    return clock


@pytest.fixture
def installation(clock: ManualClock) -> Installation:
    """A whole service."""
    return Installation(clock)


@pytest.fixture
def ssm(installation: Installation) -> Client:
    """The official Secrets Manager client, in a region of standard `sm`."""
    return installation.client("ssm")


@pytest.fixture
def kms(installation: Installation) -> Client:
    """The official KMS client, in a region of standard `sm`."""
    return installation.client("kms")


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running ministack."""
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
    deadline = time.monotonic() + 60
    headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            # The first call loads what it needs, and may take seconds.
            requests.post(f"http://127.0.0.1:{port}", data="{}", headers=headers, timeout=60)
            return
        time.sleep(0.05)
    pytest.fail("ministack did not start")
