"""One stage for each file of tests, and no pauses between tries."""

from collections.abc import Iterator

import pytest

from chalicelib import audit
from chalicelib.api import gateway
from tests.faults.stage import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.installation.service.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAUSE", 0)
    monkeypatch.setattr(gateway, "_PAUSE", 0)
