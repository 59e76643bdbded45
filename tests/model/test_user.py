"""Users, their access keys and their groups: whatever is done to them, the rules hold."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import (
    AccessKeyNotExist,
    AccessKeyOverLimit,
    ApiError,
    GroupUserFull,
    LastActiveKey,
    UserGroupFull,
)
from chalicelib.model.group import Group
from chalicelib.model.user import ACTIVE, INACTIVE, MAX_KEYS, ROOT, KeyEntry, User

PHONE = "13800000000"
EMAIL = "alice@example.com"
USER = User(account="1", uin="2", name="alice", created_at=0, phone_num=PHONE, email=EMAIL)
ACCOUNT = User(account="1", uin="1", name="root", type=ROOT, created_at=0)
GROUP = Group(account="1", id=3, name="g", created_at=0)


def entry(secret_id: str, status: str = ACTIVE) -> KeyEntry:
    return KeyEntry(secret_id, 1, status, 0)


steps = st.lists(
    st.tuples(st.sampled_from(["add", "on", "off", "delete"]), st.sampled_from(["a", "b", "c"])), max_size=30
)


def do(user: User, step: str, secret_id: str) -> User:
    match step:
        case "add":
            return user.with_key(entry(secret_id))
        case "on":
            return user.with_status(secret_id, ACTIVE)
        case "off":
            return user.with_status(secret_id, INACTIVE)
        case _:
            return user.without_key(secret_id)


@given(steps, st.booleans())
def test_whatever_is_done_to_access_keys(done: list[tuple[str, str]], is_root: bool) -> None:  # noqa: FBT001 - drawn
    user = (ACCOUNT if is_root else USER).with_key(entry("first"))
    states = {"first": ACTIVE}
    for step, secret_id in done:
        if step == "add" and secret_id in states:
            continue  # ids are made up, and never twice
        before = user
        expected = {**states, secret_id: INACTIVE if step == "off" else ACTIVE}
        if step == "delete":
            expected.pop(secret_id)
        try:
            user = do(user, step, secret_id)
        except AccessKeyOverLimit:
            assert step == "add"
            assert len(states) == MAX_KEYS
        except AccessKeyNotExist:
            assert secret_id not in states
        except LastActiveKey:
            assert is_root
            assert ACTIVE not in expected.values()
        else:
            states = expected
            for key in user.keys:
                old = [k for k in before.keys if k.id == key.id]
                written = step in ("on", "off") and key.id == secret_id
                assert key.serial == (old[0].serial + written if old else 1)
        assert {key.id: key.status for key in user.keys} == states
        assert len(user.keys) <= MAX_KEYS
        assert not is_root or ACTIVE in states.values()


def test_the_accounts_last_active_key_stays() -> None:
    both = ACCOUNT.with_key(entry("a")).with_key(entry("b"))
    one = both.with_status("b", INACTIVE)
    for step in ("off", "delete"):
        with pytest.raises(LastActiveKey):
            do(one, step, "a")
    assert [key.id for key in one.without_key("b").keys] == ["a"]
    assert [key.id for key in one.with_status("b", ACTIVE).without_key("a").keys] == ["b"]
    user = USER.with_key(entry("a"))
    assert user.with_status("a", INACTIVE).without_key("a").keys == ()


def test_only_the_serial_that_was_written_last_counts() -> None:
    user = USER.with_key(entry("a"))
    assert user.holds("a", 1)
    off = user.with_status("a", INACTIVE)
    assert (off.holds("a", 1), off.holds("a", 2), off.holds("b", 2)) == (False, True, False)
    assert not user.without_key("a").holds("a", 1)


def test_a_key_that_is_not_there() -> None:
    user = USER.with_key(entry("a"))
    for step in ("on", "off", "delete"):
        with pytest.raises(AccessKeyNotExist):
            do(user, step, "b")
    with pytest.raises(AccessKeyNotExist):
        user.key("b")


@pytest.mark.parametrize(("count", "refusal"), [(10, None), (11, UserGroupFull)])
def test_a_user_is_in_ten_groups_at_most(count: int, refusal: type[ApiError] | None) -> None:
    user = dataclasses.replace(USER, groups=tuple(range(count - 1)))
    if refusal is None:
        assert user.joins(100).leaves(100) == user
    else:
        with pytest.raises(refusal):
            user.joins(100)


def test_a_group_has_a_hundred_users_at_most() -> None:
    full = GROUP.gains(100)
    with pytest.raises(GroupUserFull):
        full.gains(1)
    assert full.gains(-1).gains(1) == full


def test_who_is_over_a_limit_can_still_leave() -> None:
    over = dataclasses.replace(USER, groups=tuple(range(20)))
    assert over.leaves(7).groups == (*range(7), *range(8, 20))
    assert dataclasses.replace(GROUP, users=200).gains(-1).users == 199


def test_contact_data_is_not_printed() -> None:
    assert PHONE not in repr(USER)
    assert EMAIL not in repr(USER)


def test_who_is_the_account_itself() -> None:
    assert ACCOUNT.is_root
    assert not USER.is_root
