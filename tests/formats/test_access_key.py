"""KS-ROW-3: the row of an access key."""

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.access_keys import add_access_key, change_access_key, find_access_key, open_access_key
from chalicelib.formats import record
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.model.user import ACTIVE, INACTIVE, User
from chalicelib.table import accounts
from chalicelib.table.accounts import AccessKey
from chalicelib.table.port import Op, Put, Row

HSM = SoftwareHsm.ephemeral("identity")
USER = User(account="100000000001", uin="100000000002", name="alice", created_at=5)
SECRET_KEY = "the SecretKey"

CHANGES: dict[str, Any] = {
    "id": "AKIDother",
    "account": "100000000009",
    "uin": "100000000001",
    "user_name": "bob",
    "user_type": "Root",
    "status": INACTIVE,
    "serial": 2,
    "created_at": 8,
}


def row_of(op: Op) -> Row:
    assert isinstance(op, Put)
    return replace(op.row, version=1)


@pytest.fixture
def made() -> tuple[User, Row]:
    user, op = add_access_key(HSM, USER, "AKIDone", SECRET_KEY, 7)
    return user, row_of(op)


def test_what_the_row_has(made: tuple[User, Row]) -> None:
    """KS-ROW-3: members and associated data, as documented."""
    _, row = made
    assert (row.pk, row.sk) == ("AK#AKIDone", "K")
    members = record.decode(row.body)
    assert {name: value for name, value in members.items() if name not in ("token", "sealed")} == {
        "id": "AKIDone",
        "account": "100000000001",
        "uin": "100000000002",
        "user": "alice",
        "user_type": "CAMUser",
        "status": "Active",
        "serial": 1,
        "created": 7,
    }
    key = accounts.access_key_from_row(row)
    binding = associated_data("access-key", "100000000001", "100000000002", "AKIDone")
    place = associated_data(
        "access-key-secret",
        "AKIDone",
        "100000000001",
        "100000000002",
        "alice",
        "CAMUser",
        "Active",
        1,
        7,
    )
    opened = HSM.decrypt(HsmKey(KeyKind.AES_256, key.token, binding), key.sealed, place)
    assert opened.decode() == SECRET_KEY


@pytest.mark.parametrize("member", CHANGES)
def test_every_member_is_authenticated(made: tuple[User, Row], member: str) -> None:
    """KS-ROW-3.1."""
    key = accounts.access_key_from_row(made[1])
    assert {*CHANGES, "token", "sealed", "row_version"} == set(AccessKey.__dataclass_fields__)
    caller, secret_key = open_access_key(HSM, key)
    assert (caller.uin, caller.name, caller.type, secret_key) == (USER.uin, "alice", "CAMUser", SECRET_KEY)
    with pytest.raises(Damaged):
        open_access_key(HSM, replace(key, **{member: CHANGES[member]}))


def test_what_is_sealed_fits_no_other_key(made: tuple[User, Row]) -> None:
    """KS-ROW-3.1."""
    _, op = add_access_key(HSM, USER, "AKIDtwo", SECRET_KEY, 7)
    one, two = accounts.access_key_from_row(made[1]), accounts.access_key_from_row(row_of(op))
    for mixed in (replace(one, token=two.token), replace(one, sealed=two.sealed), replace(two, id=one.id)):
        with pytest.raises(Damaged):
            open_access_key(HSM, mixed)


def test_a_change_of_the_status_seals_anew(made: tuple[User, Row]) -> None:
    """KS-ROW-3.2."""
    user, row = made
    first = accounts.access_key_from_row(row)
    user, op = change_access_key(HSM, user, first, INACTIVE)
    second = accounts.access_key_from_row(row_of(op))
    assert (second.status, second.serial, second.token) == (INACTIVE, 2, first.token)
    assert user.keys[0].serial == 2
    assert open_access_key(HSM, second)[1] == SECRET_KEY
    for mixed in (
        replace(second, status=ACTIVE),
        replace(second, status=ACTIVE, serial=1),
        replace(second, sealed=first.sealed),
        replace(first, serial=2),
    ):
        with pytest.raises(Damaged):
            open_access_key(HSM, mixed)
    assert not user.holds(first.id, first.serial)
    assert user.holds(second.id, second.serial)


def test_a_changed_row_is_not_sealed_anew(made: tuple[User, Row]) -> None:
    """Switching a key off must not give a thief's edit a seal."""
    user, row = made
    key = accounts.access_key_from_row(row)
    with pytest.raises(Damaged):
        change_access_key(HSM, user, replace(key, user_type="Root"), INACTIVE)


def test_an_id_that_is_too_long_is_not_looked_up() -> None:
    assert find_access_key(None, None, "AKID" + "x" * 61) is None  # type: ignore[arg-type]
