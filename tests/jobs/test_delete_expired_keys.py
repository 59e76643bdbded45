"""The sweep of keys past their deletion date: killed, doubled or disturbed, it ends in the same state."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.clock import ManualClock
from chalicelib.jobs.delete_expired_keys import delete_expired_keys
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.jobs.sweep import Outcome
from chalicelib.table import keys as rows
from chalicelib.table.port import Busy, Delete, Due, Expect, Op, Put, Row, Table, Unacknowledged, due_kind
from chalicelib.table.sqlite import SqliteTable
from tests.actions.kms.arrange_keys import DAY, Shared, aliases, bring_to, encrypt, make, rotate, state_of
from tests.actions.ssm.arrange import code
from tests.installation import FIPS, SM, Installation
from tests.jobs.key_rig import World, small_pages
from tests.jobs.rig import NOON, FaultyTable, Killed, raises

KIND = due_kind(rows.DELETE_EXPIRED, SM)
DUE = ("old", "plain", "external")
KEPT = ("later", "enabled", "disabled")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Three keys are due: one with many generations, one with one, one without material."""
    small_pages(monkeypatch)
    world = World(monkeypatch, NOON - 60 * DAY)
    kms = world.kms
    for alias in (*DUE, *KEPT):
        world.ids[alias] = make(kms, alias, Type=2 if alias == "external" else 1)
    kms.EnableKeyRotation(KeyId=world.ids["old"])
    rotate(world.installation, kms, world.ids["old"], 11)
    for alias in ("old", "plain"):
        encrypt(kms, world.ids[alias])  # leaves the time of the use behind
        kms.DisableKey(KeyId=world.ids[alias])
    for alias in DUE:
        kms.ScheduleKeyDeletion(KeyId=world.ids[alias], PendingWindowInDays=7)
    kms.DisableKey(KeyId=world.ids["disabled"])
    bring_to(kms, world.ids["later"], "Disabled")
    kms.ScheduleKeyDeletion(KeyId=world.ids["later"], PendingWindowInDays=30)
    world.clock.advance(7 * DAY)
    world.due_now()
    return world


WRITES = 1 + (2 + 2 + 1) + 2 + 1
"""Take the lease; for each key its other rows, if it has any, and itself; renew after each page; give up the lease."""


def sweep(world: World, clock: ManualClock, table: Table | None = None) -> Outcome:
    return delete_expired_keys(world.process(clock, table), SM)


def check_end(world: World) -> None:
    """Whatever happened on the way: no token of theirs, a tombstone and one event each, the others untouched."""
    for alias in DUE:
        assert world.rows_of(alias) == ["M"]
        assert set(world.members(alias)) == {"tombstone", "id", "account", "region", "alias"}
        assert world.table.get(f"AL#{world.installation.root.uin}#{SM}#{alias}", "A") is None
    assert sorted(world.job_events("DeleteExpiredKey")) == sorted(world.ids[alias] for alias in DUE)
    assert set(aliases(world.kms)) == set(KEPT)
    assert len(world.members("enabled")["backing"]) == 1
    assert [row.pk.rpartition("#")[2] for row in world.table.due(KIND, NOON + 1000 * DAY)] == [
        world.ids["later"]
    ]
    assert world.quota() == 2


def test_keys_past_their_date_leave_a_tombstone_and_no_token(world: World) -> None:
    tokens = {alias: world.tokens(alias) for alias in world.ids}
    assert [len(tokens[alias]) for alias in DUE] == [12, 1, 0]
    stored = world.table.snapshot()
    assert all(token in stored for found in tokens.values() for token in found)
    outcome = sweep(world, world.start())
    assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, 3, 0, True)
    check_end(world)
    stored = world.table.snapshot()
    assert not [token for alias in DUE for token in tokens[alias] if token in stored]
    assert all(token in stored for alias in KEPT for token in tokens[alias])


def test_the_file_keeps_no_token_either(world: World, tmp_path: Path) -> None:
    clock = world.start()
    tokens = [token for alias in DUE for token in world.tokens(alias)]
    path = tmp_path / "table"
    table = SqliteTable(path, clock)
    for row in world.installation.data().values():
        table.write([Put(row, Expect.ABSENT)])
    table.close()
    assert all(token in path.read_bytes() for token in tokens)
    table = SqliteTable(path, clock)
    assert sweep(world, clock, table).done == 3
    table.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not [token for token in tokens if token in stored]


def test_a_destroyed_key_is_unknown_to_every_call_and_its_alias_free(world: World) -> None:
    sweep(world, world.start())
    for alias in DUE:
        key = world.ids[alias]
        for call in (
            lambda k=key: world.kms.CancelKeyDeletion(KeyId=k),
            lambda k=key: state_of(world.kms, k),
        ):
            assert code(call) == "ResourceUnavailable.CmkNotFound"
        assert make(world.kms, alias) != key


def test_a_second_run_finds_nothing_to_do(world: World) -> None:
    clock = world.start()
    sweep(world, clock)
    outcome = sweep(world, clock)
    assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, 0, 0, True)
    check_end(world)


def test_the_counted_writes_are_all_there_are(world: World) -> None:
    table = FaultyTable(world.table)
    sweep(world, world.start(), table)
    assert table.writes == WRITES


def test_killed_after_any_write_the_next_run_ends_in_the_same_state(world: World) -> None:
    for count in range(1, WRITES + 1):
        clock = world.start()
        with pytest.raises(Killed):
            sweep(world, clock, FaultyTable(world.table, count, after=raises(Killed)))
        # However far it got: nothing of these keys is left to anybody.
        for alias in DUE:
            assert code(lambda a=alias: state_of(world.kms, world.ids[a])) != "ok"  # type: ignore[misc]
        # The dead runner's lease holds others off until it runs out; only its last write gives it up.
        clock.advance(LEASE_SECONDS - 1)
        assert sweep(world, clock).ran is (count == WRITES)
        clock.advance(1)
        # A run that resumes from a cursor works to the end; the one after it looks at all once more.
        assert sweep(world, clock).finished
        sweep(world, clock)
        check_end(world)


def test_a_write_whose_answer_is_lost_or_that_is_turned_away_is_made_up_for(world: World) -> None:
    for count in range(1, WRITES + 1):
        for fault in ({"after": raises(Unacknowledged)}, {"before": raises(Busy)}):
            clock = world.start()
            sweep(world, clock, FaultyTable(world.table, count, **fault))
            for _ in range(2):
                clock.advance(LEASE_SECONDS)
                assert sweep(world, clock).finished
            check_end(world)


class Dying(FaultyTable):
    """A table that kills its process as soon as a page is done, and writes down where pages begin."""

    pages: list[str | None]

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        self.pages = [*getattr(self, "pages", []), after]
        return super().due(kind, upto, after=after, limit=limit)

    def write(self, ops: Sequence[Op]) -> None:
        super().write(ops)
        if self._after is not None and "JOB#" in str(ops[0]) and getattr(self, "pages", []):
            self._after()


def test_a_run_resumes_where_the_last_one_stopped(world: World) -> None:
    clock = world.start()
    first = Dying(world.table, after=raises(Killed))
    with pytest.raises(Killed):
        sweep(world, clock, first)
    assert first.pages == [None]
    assert len(world.job_events("DeleteExpiredKey")) == 2
    clock.advance(LEASE_SECONDS)
    second = Dying(world.table)
    outcome = sweep(world, clock, second)
    assert (outcome.done, outcome.finished) == (1, True)
    assert len(second.pages) == 1
    assert second.pages[0] is not None, "not from the beginning"
    check_end(world)


def test_two_runners_at_once_destroy_each_key_once(world: World, tmp_path: Path) -> None:
    world.start()
    # The second runner's clock is so far ahead that the lease of the first means nothing to it.
    clocks = [ManualClock(world.clock.now()), ManualClock(world.clock.now() + LEASE_SECONDS)]
    tables = [SqliteTable(tmp_path / "t", clock) for clock in clocks]
    for row in world.installation.data().values():
        tables[0].write([Put(row, Expect.ABSENT)])
    start = threading.Barrier(2)

    def work(at: int) -> Outcome:
        start.wait(10)
        return sweep(world, clocks[at], tables[at])

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(work, range(2)))
    assert sum(o.done for o in outcomes) == 3
    assert sum(o.failed for o in outcomes) == 0
    for alias in DUE:
        pk = f"K#{world.installation.root.uin}#{SM}#{world.ids[alias]}"
        assert [row.sk for row in tables[0].query(pk)] == ["M"]
    for table in tables:
        table.close()


class Interfering(FaultyTable):
    """A table in which somebody else does something before the sweep's first write to a key."""

    def write(self, ops: Sequence[Op]) -> None:
        hook, touches = self._before, any("K#" in str(op) for op in ops)
        if hook is not None and touches:
            self._before = None
            hook()
        self._table.write(ops)


def test_a_deletion_cancelled_in_the_last_moment_is_cancelled_whole(world: World) -> None:
    # The call began before the date, and the sweep's index of due rows lags: the row's version decides.
    tokens = {alias: world.tokens(alias) for alias in DUE}
    clock = world.start()
    aliases_by_id = {world.ids[alias]: alias for alias in DUE}
    saved: list[str] = []

    def cancel() -> None:
        for row in world.table.due(KIND, clock.now()):
            key = rows.from_row(row)
            if aliases_by_id[key.id] in ("old", "plain"):
                world.table.write(rows.replace(key, key.cancel_deletion()))
                saved.append(aliases_by_id[key.id])

    outcome = sweep(world, clock, Interfering(world.table, before=cancel))
    assert outcome.failed == 0
    assert sorted(saved) == ["old", "plain"]
    sweep(world, clock)
    for alias in saved:
        assert state_of(world.kms, world.ids[alias]) == "Disabled"
        assert world.tokens(alias) == tokens[alias], "not a single generation is missing"
    assert world.rows_of("external") == ["M"]
    assert world.job_events("DeleteExpiredKey") == [world.ids["external"]]


def test_a_row_that_nobody_can_read_does_not_hold_up_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    clock = world.start()
    for at, body in enumerate((b"", b"no record", b"{}")):
        pk = f"K#{world.installation.root.uin}#{SM}#poison-{at}"
        due = Due(KIND, NOON - 100 * DAY)
        world.table.write([Put(Row(pk=pk, sk="M", body=body, due=due), Expect.ANY)])
    with caplog.at_level(logging.WARNING, "keystead"):
        outcome = sweep(world, clock)
    assert (outcome.done, outcome.failed, outcome.finished) == (3, 3, True)
    assert "no record" not in caplog.text
    for at in range(3):
        world.table.write([Delete(f"K#{world.installation.root.uin}#{SM}#poison-{at}", "M", Expect.ANY)])
    check_end(world)


def test_a_stolen_place_in_the_index_destroys_nothing(world: World) -> None:
    # A due row that says it is an enabled key: what it says decides, not where it was found.
    clock = world.start()
    pk = f"K#{world.installation.root.uin}#{SM}#{world.ids['enabled']}"
    row = world.table.get(pk, "M")
    assert row is not None
    world.table.write([Put(replace(row, due=Due(KIND, clock.now())), row.version)])
    outcome = sweep(world, clock)
    assert (outcome.done, outcome.failed) == (3, 0)
    assert state_of(world.kms, world.ids["enabled"]) == "Enabled"


def test_each_region_of_one_table_is_swept_by_itself(clock: ManualClock) -> None:
    installation = Shared(clock)
    clients = {region: installation.client("kms", region) for region in (SM, FIPS)}
    for kms in clients.values():
        make(kms, "kept")
        make(kms, "due", "PendingDelete")
    clock.advance(7 * DAY)
    assert delete_expired_keys(installation.service, FIPS).done == 1
    assert len(installation.shared.due(KIND, clock.now())) == 1
    pk = f"LK#{installation.root.uin}#"
    assert [len(installation.shared.query(pk + region)) for region in (SM, FIPS)] == [2, 1]
    assert delete_expired_keys(installation.service, FIPS).done == 0
    assert delete_expired_keys(installation.service, SM).done == 1
    assert [aliases(kms) for kms in clients.values()] == [["kept"], ["kept"]]


def test_each_account_keeps_its_own(installation: Installation) -> None:
    clients = [installation.client("kms", who=who) for who in (installation.root, installation.add_account())]
    ids = [make(kms, "due", "PendingDelete") for kms in clients]
    installation.clock.advance(7 * DAY)
    clients[0].CreateKey(Alias="kept")
    assert delete_expired_keys(installation.service, SM).done == 2
    for kms, key in zip(clients, ids, strict=True):
        assert code(lambda c=kms, k=key: state_of(c, k)) == "ResourceUnavailable.CmkNotFound"  # type: ignore[misc]
    assert [aliases(kms) for kms in clients] == [["kept"], []]
