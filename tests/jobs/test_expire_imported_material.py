"""Imported material whose end has come: removed once, whoever dies on the way."""

from collections.abc import Callable

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.jobs.expire_imported_material import expire_imported_material
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.model.key import Key
from chalicelib.table import keys
from chalicelib.table.port import Table, Unacknowledged
from tests.actions.kms.importing import MATERIAL, import_material, make_external, state
from tests.installation import SM, Client, Installation
from tests.jobs.rig import FaultyTable, Killed


def kill() -> None:
    raise Killed


def go_silent() -> None:
    raise Unacknowledged


def over(installation: Installation, table: Table) -> Service:
    """Another process on the same rows."""
    return Service(installation.settings, installation.clock, lambda _domain: table, installation.service.hsm)


@pytest.fixture
def key(kms: Client, clock: ManualClock) -> str:
    """A key whose material has just come to its end."""
    key_id = make_external(kms)
    import_material(kms, key_id, valid_to=clock.now() + 60)
    clock.advance(60)
    return key_id


def stored(installation: Installation, key_id: str) -> Key:
    row = installation.service.table(SM).get(*keys.key_row_key(installation.root.uin, SM, key_id))
    assert row is not None
    return keys.from_row(row)


def test_the_token_leaves_the_table(installation: Installation, kms: Client, key: str) -> None:
    assert stored(installation, key).backing
    outcome = expire_imported_material(installation.service, SM)
    assert (outcome.done, outcome.failed, outcome.finished) == (1, 0, True)
    assert stored(installation, key).backing == ()
    assert state(kms, key) == "PendingImport"
    assert expire_imported_material(installation.service, SM).done == 0
    import_material(kms, key, MATERIAL)
    assert state(kms, key) == "Enabled"


def test_material_that_was_renewed_stays(installation: Installation, kms: Client, key: str) -> None:
    import_material(kms, key)
    assert expire_imported_material(installation.service, SM).done == 0
    assert state(kms, key) == "Enabled"


def test_a_key_of_another_region_is_left_alone(installation: Installation, key: str) -> None:
    assert expire_imported_material(installation.service, "ap-beijing").done == 0
    assert stored(installation, key).backing


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("fault", [kill, go_silent])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_fault_at_any_write_is_made_good_by_the_next_run(
    installation: Installation, key: str, at: int, fault: Callable[[], None], moment: str
) -> None:
    table = FaultyTable(installation.service.table(SM), at, **{moment: fault})
    try:
        expire_imported_material(over(installation, table), SM)
    except Killed:
        assert fault is kill
    installation.clock.advance(LEASE_SECONDS + 1)
    expire_imported_material(installation.service, SM)
    assert stored(installation, key).backing == ()
    assert stored(installation, key).state == "PendingImport"
