"""Keys that wait for a job, in tables that can be listed and put back, and processes that work on them."""

import base64
from typing import Any, Final

import pytest
from tencentcloud.common import abstract_client

from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.formats import record
from chalicelib.jobs import sweep
from chalicelib.table.port import Table
from tests.inspected import Inspected, InspectedTable
from tests.installation import SM, Client, sdk_time

PAGE: Final = 2
"""So few that a run takes several pages."""


class World:
    """An installation, and the state of its first region's table when the jobs become due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.clock = ManualClock(at)
        monkeypatch.setattr(abstract_client, "time", sdk_time(self.clock))
        self.installation = Inspected(self.clock)
        self.kms: Client = self.installation.client("kms")
        self.ids: dict[str, str] = {}
        self.image = b""

    @property
    def table(self) -> InspectedTable:
        return self.installation.tables[SM]

    def due_now(self) -> None:
        """Everything is prepared: `start` comes back to this."""
        self.image = self.table.snapshot()

    def start(self) -> ManualClock:
        """Put everything back; the clock of the processes that follow."""
        self.table.restore(self.image)
        return ManualClock(self.clock.now())

    def process(self, clock: ManualClock, table: Table | None = None) -> Service:
        """Another process on the same rows and the same keystore."""
        on = table or self.table
        return Service(self.installation.settings, clock, lambda _domain: on, self.installation.service.hsm)

    def members(self, alias: str) -> dict[str, Any]:
        """What is in a key's own row."""
        row = self.table.get(f"K#{self.installation.root.uin}#{SM}#{self.ids[alias]}", "M")
        return record.decode(row.body) if row is not None else {}

    def rows_of(self, alias: str) -> list[str]:
        return [sk for (pk, sk) in self.installation.data() if pk.endswith(self.ids[alias])]

    def tokens(self, alias: str) -> list[bytes]:
        """Every key token of a key, as the table has it."""
        rows = [row for (pk, _), row in self.installation.data().items() if pk.endswith(self.ids[alias])]
        found = []
        for row in rows:
            members = record.decode(row.body)
            for backing in members.get("backing", [members] if "token" in members else []):
                assert len(base64.b64decode(backing["token"])) > 16
                found.append(backing["token"].encode())
        return found

    def job_events(self, action: str) -> list[str]:
        """Which keys a job's events name, oldest first."""
        found = [e for e in self.installation.events() if e.get("auth") == "job" and e["action"] == action]
        assert all(e["user_type"] == "Service" and not e.get("error") for e in found)
        return [e["resources"][0].removeprefix("key/") for e in found]

    def quota(self) -> int:
        row = self.table.get(f"CT#{self.installation.root.uin}#{SM}", "keys")
        return row.number if row is not None else 0


def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs work in pages of PAGE keys."""
    monkeypatch.setattr(sweep.run, "__kwdefaults__", {"max_seconds": sweep.MAX_SECONDS, "page": PAGE})
