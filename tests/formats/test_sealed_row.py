"""Sealed rows: only the service makes them, and only for their place. KS-ROW-2."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chalicelib.clock import ManualClock
from chalicelib.formats import record
from chalicelib.hsm.port import Damaged
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.sealed_row import RowSeals
from chalicelib.table.port import Expect, Put, Row
from tests.inspected import InspectedTable

PLACE = ("AC#1", "U#2")
MEMBERS = {"name": "\u540d", "n": 1}


@pytest.fixture
def table() -> InspectedTable:
    return InspectedTable(":memory:", ManualClock(1_800_000_000))


@pytest.fixture
def hsm() -> SoftwareHsm:
    return SoftwareHsm.ephemeral("identity")


@pytest.fixture
def seals(table: InspectedTable, hsm: SoftwareHsm) -> RowSeals:
    return RowSeals(lambda: table, lambda: hsm)


def test_a_row_says_what_was_written(seals: RowSeals) -> None:
    row = seals.of("1").row(*PLACE, MEMBERS, expires_at=5)
    assert (row.pk, row.sk, row.expires_at) == (*PLACE, 5)
    assert seals.of("1").members(row) == MEMBERS
    assert row.body.startswith(b"\x02")
    assert row.body.endswith('{"name":"\u540d","n":1}'.encode()), "readable"


def test_every_process_opens_it(table: InspectedTable, hsm: SoftwareHsm, seals: RowSeals) -> None:
    row = seals.of("1").row(*PLACE, MEMBERS)
    assert RowSeals(lambda: table, lambda: hsm).of("1").members(row) == MEMBERS
    assert len(table.rows()) == 1, "one key"


def test_any_changed_or_missing_byte_is_damage(seals: RowSeals) -> None:
    """KS-ROW-2.1"""
    seal = seals.of("1")
    row = seal.row(*PLACE, MEMBERS)
    bodies = [row.body[:at] + bytes([row.body[at] ^ 1]) + row.body[at + 1 :] for at in range(len(row.body))]
    bodies += [row.body[:at] for at in range(len(row.body))]
    bodies += [row.body + b" ", record.encode(MEMBERS), b"\x01" + row.body[1:], b"\x02" + bytes(32) + b"{}"]
    for body in bodies:
        with pytest.raises(Damaged):
            seal.members(replace(row, body=body))


@pytest.mark.parametrize("place", [("AC#1", "U#3"), ("AC#2", "U#2"), ("AC#1U#", "2"), ("AC#1", "U#2 ")])
def test_it_opens_in_its_place_only(seals: RowSeals, place: tuple[str, str]) -> None:
    """KS-ROW-2.1"""
    row = seals.of("1").row(*PLACE, MEMBERS)
    with pytest.raises(Damaged):
        seals.of("1").members(replace(row, pk=place[0], sk=place[1]))


def test_accounts_have_keys_of_their_own(table: InspectedTable, seals: RowSeals) -> None:
    row = seals.of("1").row(*PLACE, MEMBERS)
    seals.of("2").row(*PLACE, MEMBERS)
    with pytest.raises(Damaged):
        seals.of("2").members(row)
    keys = {pk: stored.body for (pk, _), stored in table.rows().items()}
    assert keys.keys() == {"AC#1", "AC#2"}
    assert keys["AC#1"] != keys["AC#2"]


def copied(table: InspectedTable, _seals: RowSeals) -> bytes:
    return table.rows()["AC#2", "SK"].body


def made_up(_table: InspectedTable, _seals: RowSeals) -> bytes:
    """What somebody writes who has an HSM, but not this one."""
    other_table, other = InspectedTable(":memory:", ManualClock(0)), SoftwareHsm.ephemeral("identity")
    RowSeals(lambda: other_table, lambda: other).of("1").row(*PLACE, MEMBERS)
    return other_table.rows()["AC#1", "SK"].body


def malformed(_table: InspectedTable, _seals: RowSeals) -> bytes:
    return record.encode({"token": "x", "sealed": 1})


@pytest.mark.parametrize("forge", [copied, made_up, malformed])
def test_another_key_is_not_taken(
    table: InspectedTable,
    hsm: SoftwareHsm,
    seals: RowSeals,
    forge: Callable[[InspectedTable, RowSeals], bytes],
) -> None:
    row = seals.of("1").row(*PLACE, MEMBERS)
    seals.of("2").row(*PLACE, MEMBERS)
    table.write([Put(Row(pk="AC#1", sk="SK", body=forge(table, seals)), Expect.EXISTS)])
    later = RowSeals(lambda: table, lambda: hsm)
    for call in (lambda: later.of("1").members(row), lambda: later.of("1").row(*PLACE, MEMBERS)):
        with pytest.raises(Damaged):
            call()


def test_a_lost_key_opens_nothing(table: InspectedTable, hsm: SoftwareHsm, seals: RowSeals) -> None:
    """KS-ROW-2.2"""
    row = seals.of("1").row(*PLACE, MEMBERS)
    table.restore(InspectedTable(":memory:", ManualClock(0)).snapshot())
    later = RowSeals(lambda: table, lambda: hsm)
    with pytest.raises(Damaged):
        later.of("1").members(row)
    assert not table.rows(), "reading makes no key"
    new = later.of("1").row(*PLACE, MEMBERS)
    with pytest.raises(Damaged):
        later.of("1").members(row)
    assert later.of("1").members(new) == MEMBERS


def test_of_many_first_writers_all_use_one_key(table: InspectedTable, hsm: SoftwareHsm) -> None:
    """KS-ROW-2.2"""
    processes = [RowSeals(lambda: table, lambda: hsm) for _ in range(4)]
    start = threading.Barrier(len(processes))

    def write(seals: RowSeals) -> Row:
        start.wait()
        return seals.of("1").row(*PLACE, MEMBERS)

    with ThreadPoolExecutor(len(processes)) as pool:
        rows = list(pool.map(write, processes))
    for seals in processes:
        assert [seals.of("1").members(row) for row in rows] == [MEMBERS] * len(rows)


def test_a_seal_does_not_hold_accounts_that_do_not_exist(table: InspectedTable, seals: RowSeals) -> None:
    for account in range(100):
        with pytest.raises(Damaged):
            seals.of(str(account)).members(Row(pk="AC#1", sk="x", body=b"\x02"))
    assert not seals._seals
    assert not table.rows()
