"""Fixtures: a fresh installation on in-memory SQLite and a software HSM, and the official clients for it."""

import time

import pytest
from tencentcloud.common import abstract_client

from chalicelib.clock import ManualClock
from tests.installation import Client, Installation, sdk_time


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
