"""The automatic rotation: each key once when it is due, whoever dies on the way; every ciphertext still opens."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chalicelib.clock import ManualClock
from chalicelib.formats import ciphertext_blob
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.jobs.rotate_keys import rotate_keys
from chalicelib.jobs.sweep import Outcome
from chalicelib.model.key import Key
from chalicelib.table import keys as rows
from chalicelib.table.port import Busy, Delete, Due, Expect, Put, Row, Table, Unacknowledged, due_kind
from chalicelib.table.sqlite import SqliteTable
from tests.actions.kms.arrange_keys import (
    DAY,
    Shared,
    bring_to,
    call,
    decrypt,
    describe,
    encrypt,
    make,
    product_key,
    rotate,
    state_of,
)
from tests.installation import FIPS, SM, Client, Installation, refused
from tests.jobs.key_rig import World, small_pages
from tests.jobs.rig import NOON, FaultyTable, Killed, raises

KIND = due_kind(rows.ROTATE, SM)
DUE = ("a", "b", "old")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Three keys are due, one of them with so many generations that the next one overflows its row."""
    small_pages(monkeypatch)
    world = World(monkeypatch, NOON - 60 * DAY)
    for alias in (*DUE, "later", "off"):
        world.ids[alias] = make(world.kms, alias)
    world.kms.EnableKeyRotation(KeyId=world.ids["old"], RotateDays=7)
    rotate(world.installation, world.kms, world.ids["old"], 7)
    for alias in ("a", "b"):
        world.kms.EnableKeyRotation(KeyId=world.ids[alias], RotateDays=14)
    world.kms.EnableKeyRotation(KeyId=world.ids["later"], RotateDays=365)
    world.clock.advance(7 * DAY)
    world.due_now()
    return world


WRITES = 1 + len(DUE) + 2 + 1
"""Take the lease; each key; renew after each page; give up the lease."""


def sweep(world: World, clock: ManualClock, table: Table | None = None) -> Outcome:
    return rotate_keys(world.process(clock, table), SM)


def check_end(world: World) -> None:
    """Each of them was rotated once, and nothing else was touched."""
    assert sorted(world.job_events("RotateKey")) == sorted(world.ids[alias] for alias in DUE)
    generations = {alias: len(world.tokens(alias)) for alias in world.ids}
    assert generations == {"a": 2, "b": 2, "old": 9, "later": 1, "off": 1}
    assert all(len(set(world.tokens(alias))) == generations[alias] for alias in world.ids)
    assert world.table.due(KIND, world.clock.now() + DAY) == []
    assert len(world.table.due(KIND, NOON + 1000 * DAY)) == 4


def test_what_is_due_is_rotated_once_and_every_ciphertext_opens(world: World) -> None:
    world.start()
    kms, clock = world.kms, world.clock
    blobs = {alias: encrypt(kms, world.ids[alias], alias.encode()) for alias in world.ids}
    assert sweep(world, clock).done == 3
    check_end(world)
    for alias, blob in blobs.items():
        assert decrypt(kms, blob) == alias.encode()
        shown = describe(kms, world.ids[alias])
        newest = ciphertext_blob.decode(encrypt(kms, world.ids[alias])).backing_version
        if alias in DUE:
            assert shown.LastRotateTime == clock.now()
            assert shown.NextRotateTime == clock.now() + shown.RotateDays * DAY
            assert newest == ciphertext_blob.decode(blob).backing_version + 1
        else:
            assert newest == ciphertext_blob.decode(blob).backing_version


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


def test_killed_after_any_write_the_next_runs_end_in_the_same_state(world: World) -> None:
    for count in range(1, WRITES + 1):
        clock = world.start()
        with pytest.raises(Killed):
            sweep(world, clock, FaultyTable(world.table, count, after=raises(Killed)))
        clock.advance(LEASE_SECONDS - 1)
        assert sweep(world, clock).ran is (count == WRITES)
        clock.advance(1)
        for _ in range(2):
            assert sweep(world, clock).finished
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


def test_two_runners_at_once_rotate_each_key_once(world: World, tmp_path: Path) -> None:
    world.start()
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
    assert (sum(o.done for o in outcomes), sum(o.failed for o in outcomes)) == (3, 0)
    for alias, versions in (("a", 2), ("b", 2), ("old", 9)):
        found = tables[0].get(f"K#{world.installation.root.uin}#{SM}#{world.ids[alias]}", "M")
        assert found is not None
        assert rows.from_row(found).current.version == versions
    for table in tables:
        table.close()


class Lagging(FaultyTable):
    """A table whose index of due rows is behind: something has happened to them since."""

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        found = self._table.due(kind, upto, after=after, limit=limit)
        hook, self._before = self._before, None
        if hook is not None:
            hook()
        return found


@pytest.mark.parametrize(
    "change",
    [
        Key.disable_rotation,
        lambda key: key.enable_rotation(365),
        lambda key: key.describe("changed, and due as before"),
    ],
    ids=["off", "later", "changed"],
)
def test_a_key_is_rotated_as_it_is_now_not_as_the_index_has_it(
    world: World, change: Callable[[Key], Key]
) -> None:
    clock = world.start()
    pk = f"K#{world.installation.root.uin}#{SM}#{world.ids['a']}"
    kept: list[str] = []

    def interfere() -> None:
        row = world.table.get(pk, "M")
        assert row is not None
        old = rows.from_row(row)
        new = change(old)
        world.table.write(rows.replace(old, new))
        kept.append(new.description)

    outcome = sweep(world, clock, Lagging(world.table, before=interfere))
    still_due = bool(kept[0])
    assert (outcome.done, outcome.failed) == (3 if still_due else 2, 0)
    assert len(world.tokens("a")) == (2 if still_due else 1)
    assert world.members("a")["description"] == kept[0]


def test_only_enabled_keys_are_rotated_and_late_ones_once(installation: Installation, kms: Client) -> None:
    keys = {}
    for state in ("Enabled", "Disabled", "PendingDelete", "Archived"):
        keys[state] = make(kms, state)
        kms.EnableKeyRotation(KeyId=keys[state], RotateDays=7)
        if state == "PendingDelete":
            kms.DisableKey(KeyId=keys[state])
            kms.ScheduleKeyDeletion(KeyId=keys[state], PendingWindowInDays=30)
        else:
            bring_to(kms, keys[state], state)
    installation.clock.advance(7 * DAY - 1)
    assert rotate_keys(installation.service, SM).done == 0
    installation.clock.advance(1)
    outcome = rotate_keys(installation.service, SM)
    assert (outcome.done, outcome.failed) == (1, 0)
    # Three periods late, it is one rotation, and the next one counts from it.
    installation.clock.advance(21 * DAY)
    kms.EnableKey(KeyId=keys["Disabled"])
    kms.CancelKeyArchive(KeyId=keys["Archived"])
    assert rotate_keys(installation.service, SM).done == 3
    assert rotate_keys(installation.service, SM).done == 0
    for state, generations in (("Enabled", 3), ("Disabled", 2), ("Archived", 2), ("PendingDelete", 1)):
        assert call(kms, "ListKeyRotations", KeyId=keys[state])["TotalCount"] == generations
    assert state_of(kms, keys["PendingDelete"]) == "PendingDelete"


def test_a_rotation_by_hand_moves_the_date_and_the_job_counts_for_the_daily_limit(
    installation: Installation, kms: Client
) -> None:
    key = make(kms)
    kms.EnableKeyRotation(KeyId=key, RotateDays=7)
    installation.clock.advance(6 * DAY)
    kms.RotateKey(KeyId=key)
    installation.clock.advance(DAY)
    assert rotate_keys(installation.service, SM).done == 0
    installation.clock.advance(6 * DAY)
    assert rotate_keys(installation.service, SM).done == 1
    with refused("RequestLimitExceeded.RotateRateLimited"):
        kms.RotateKey(KeyId=key)


def test_a_products_key_is_rotated(installation: Installation, kms: Client, ssm: Client) -> None:
    key = product_key(kms, ssm)
    kms.EnableKeyRotation(KeyId=key, RotateDays=7)
    installation.clock.advance(7 * DAY)
    assert rotate_keys(installation.service, SM).done == 1
    assert ssm.GetSecretValue(SecretName="s", VersionId="v1").SecretString == "x"


def test_a_row_that_nobody_can_read_does_not_hold_up_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    clock = world.start()
    places = [f"K#{world.installation.root.uin}#{SM}#poison-{at}" for at in range(3)]
    for pk, body in zip(places, (b"", b"no record", b"{}"), strict=True):
        world.table.write([Put(Row(pk=pk, sk="M", body=body, due=Due(KIND, 1)), Expect.ANY)])
    with caplog.at_level(logging.WARNING, "keystead"):
        outcome = sweep(world, clock)
    assert (outcome.done, outcome.failed, outcome.finished) == (3, 3, True)
    assert "no record" not in caplog.text
    for pk in places:
        world.table.write([Delete(pk, "M", Expect.ANY)])
    check_end(world)


def test_each_region_of_one_table_is_rotated_by_itself(clock: ManualClock) -> None:
    installation = Shared(clock)
    clients = {region: installation.client("kms", region) for region in (SM, FIPS)}
    keys = {region: make(kms) for region, kms in clients.items()}
    blobs = {region: encrypt(kms, keys[region], b"p") for region, kms in clients.items()}
    for region, kms in clients.items():
        kms.EnableKeyRotation(KeyId=keys[region], RotateDays=7)
    clock.advance(7 * DAY)
    assert rotate_keys(installation.service, FIPS).done == 1
    assert describe(clients[SM], keys[SM]).LastRotateTime == 0
    assert rotate_keys(installation.service, FIPS).done == 0
    assert rotate_keys(installation.service, SM).done == 1
    for region, kms in clients.items():
        assert decrypt(kms, blobs[region]) == b"p"
        assert describe(kms, keys[region]).LastRotateTime == clock.now()
