"""Running jobs in every region: by hand, by the timer, and when a region fails."""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chalicelib import wiring
from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.jobs import schedule
from chalicelib.jobs.lease import Lease
from chalicelib.settings import Settings
from chalicelib.table import secrets as rows
from chalicelib.table.port import Busy, Delete, Expect, Row, Table, due_kind
from chalicelib.table.sqlite import SqliteTable
from tests.installation import FIPS, SM
from tests.jobs.rig import ACCOUNT, DAY, NOON, poison, secret, seed, service_on

JOB = "delete_expired_secrets"
ROOT = Path(schedule.__file__).parents[2]


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m chalicelib.jobs` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "chalicelib.jobs", *arguments],
        cwd=ROOT,
        env={**os.environ, "KEYSTEAD_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def lines(region: str, state: str) -> str:
    """What the command prints when one region's state is not the usual one."""
    usual = dict.fromkeys(Settings().regions, "0 done, 0 failed, finished")
    return "".join(f"{JOB} {r}: {s}\n" for r, s in {**usual, region: state}.items())


def test_the_command_runs_a_job_in_every_region_of_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    service = wiring.build(Settings(home=home))
    now = service.clock.now()
    table = service.table(SM)
    seed(table, [secret(1, now - DAY), secret(2, now + DAY)])
    table.write([poison("p", b"\x63", now - DAY)])

    found = command(home, JOB)
    assert (found.stdout, found.returncode) == (lines(SM, "1 done, 1 failed, finished"), 1)
    assert [s.name for s in rows.list_all(table, ACCOUNT, SM)] == ["s00002"]

    table.write([Delete(f"S#{ACCOUNT}#{SM}#p", "M", Expect.EXISTS)])
    found = command(home, JOB)
    assert (found.stdout, found.stderr, found.returncode) == (lines(SM, "0 done, 0 failed, finished"), "", 0)

    assert Lease(service.table(FIPS), due_kind(JOB, FIPS)).acquire(now)
    found = command(home, JOB)
    assert (found.stdout, found.returncode) == (
        lines(FIPS, "0 done, 0 failed, another runner holds the lease"),
        1,
    )
    service.close()


def test_the_command_knows_the_jobs_there_are(tmp_path: Path) -> None:
    found = command(tmp_path, "no_such_job")
    assert found.returncode == 2
    assert JOB in found.stderr
    assert list(tmp_path.iterdir()) == []


class UnreachableTable(SqliteTable):
    """A table that cannot be read."""

    def get(self, pk: str, sk: str) -> Row | None:
        raise Busy(f"{pk}, {sk}")


def test_a_region_out_of_reach_does_not_keep_the_others_from_their_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock(NOON)
    tables: dict[str, Table] = {
        region: (UnreachableTable if region == SM else SqliteTable)(":memory:", clock)
        for region in Settings().regions
    }
    service = Service(Settings(), clock, tables.__getitem__, SoftwareHsm.ephemeral)
    seed(tables[FIPS], [secret(1, NOON, region=FIPS)])
    with caplog.at_level(logging.ERROR, "keystead"):
        outcomes = schedule.run(service, JOB)
    assert {region: (o.ran, o.done, o.finished) for region, o in outcomes.items()} == {
        SM: (False, 0, False),
        "ap-beijing": (True, 0, True),
        FIPS: (True, 1, True),
    }
    assert [r.getMessage() for r in caplog.records] == [f"keystead.job failed: {JOB} in {SM}: Busy"]


def test_the_timer_runs_the_jobs_until_it_is_stopped() -> None:
    clock = ManualClock(NOON)
    table = SqliteTable(":memory:", clock)
    seed(table, [secret(1, NOON)])
    stop = schedule.start_timer(service_on(table, clock), first_seconds=0)
    (timer,) = [t for t in threading.enumerate() if t.name == "jobs"]
    end = time.monotonic() + 20
    while rows.list_all(table, ACCOUNT, SM) and time.monotonic() < end:
        time.sleep(0.02)
    stop.set()
    timer.join(10)
    assert not timer.is_alive()
    assert rows.list_all(table, ACCOUNT, SM) == []
    assert timer.daemon  # it never keeps a process from ending


def test_every_scheduled_job_can_be_run() -> None:
    clock = ManualClock(NOON)
    service = service_on(SqliteTable(":memory:", clock), clock)
    for job, minutes in schedule.EVERY_MINUTES.items():
        assert minutes > 0
        assert all(o.ran and o.finished for o in schedule.run(service, job).values())
