import functools

import pytest

from chalicelib.clock import ManualClock
from tests.actions.kms.arrange_data_keys import DAY, describe, everything, make, names, quota
from tests.actions.ssm.arrange import Hooked, events, together
from tests.installation import SM, Client, Installation, refused


@pytest.mark.parametrize("name", ["e", "E" * 60, "0-_"])
def test_the_name_changes_and_nothing_else(kms: Client, name: str) -> None:
    data_key = make(kms, Description="x")
    before = describe(kms, data_key)
    plaintext = kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext
    kms.UpdateDataKeyName(DataKeyId=data_key, DataKeyName=name)
    before.DataKeyName = name
    assert describe(kms, data_key).to_json_string() == before.to_json_string()
    assert kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext == plaintext
    # The old name is free, the new one is taken.
    make(kms)
    with refused("InvalidParameterValue.DataKeyNameAlreadyExists"):
        make(kms, name)


def test_a_name_that_is_none_is_refused(kms: Client) -> None:
    data_key = make(kms)
    for name in ("", "-e", "_e", "e e", "e" * 61, "\u5bc6"):
        with refused("InvalidParameterValue.InvalidDataKeyName"):
            kms.UpdateDataKeyName(DataKeyId=data_key, DataKeyName=name)
    assert names(kms) == ["d"]


def test_a_name_that_is_taken_is_refused_unless_it_is_its_own(
    installation: Installation, kms: Client
) -> None:
    data_key = make(kms)
    make(kms, "other", state="PendingDelete")
    before = everything(kms)
    with refused("InvalidParameterValue.DataKeyNameAlreadyExists"):
        kms.UpdateDataKeyName(DataKeyId=data_key, DataKeyName="other")
    kms.UpdateDataKeyName(DataKeyId=data_key, DataKeyName="d")
    assert (everything(kms), quota(installation)) == (before, 1)


def test_what_is_past_its_date_is_not_in_the_way(installation: Installation, kms: Client) -> None:
    old = make(kms, "other", state="PendingDelete")
    data_key = make(kms)
    installation.clock.advance(7 * DAY)
    kms.UpdateDataKeyName(DataKeyId=data_key, DataKeyName="other")
    assert (names(kms), quota(installation)) == (["other"], 1)
    assert installation.service.table(SM).get(f"DK#{installation.root.uin}#{SM}#{old}", "M") is None
    assert [e["resources"] for e in events(installation) if e["action"] == "DeleteExpiredDataKey"] == [
        [f"dataKey/{old}"]
    ]


def test_what_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.UpdateDataKeyName(DataKeyName="e")
    with refused("MissingParameter"):
        kms.UpdateDataKeyName(DataKeyId=make(kms))


def test_of_two_that_want_a_name_one_gets_it(installation: Installation, kms: Client) -> None:
    data_keys = [make(kms, name) for name in "ab"]
    calls = [
        functools.partial(installation.client("kms").UpdateDataKeyName, DataKeyId=i, DataKeyName="c")
        for i in data_keys
    ]
    assert sorted(together(calls)) == ["InvalidParameterValue.DataKeyNameAlreadyExists", "ok"]
    assert sorted(names(kms)) in (["a", "c"], ["b", "c"])


def test_two_names_for_one_at_once_leave_one(installation: Installation, kms: Client) -> None:
    data_key = make(kms)
    calls = [
        functools.partial(installation.client("kms").UpdateDataKeyName, DataKeyId=data_key, DataKeyName=name)
        for name in "abc"
    ]
    assert together(calls) == ["ok"] * 3
    (left,) = names(kms)
    for name in {"a", "b", "c", "d"} - {left}:
        make(kms, name)


def test_a_deletion_scheduled_meanwhile_is_seen(clock: ManualClock) -> None:
    installation = Hooked(clock)
    kms, other = installation.client("kms"), installation.client("kms")
    data_key = make(kms)

    def take_it_away() -> None:
        other.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=7)

    installation.hooked.before_write = take_it_away
    with refused("ResourceUnavailable.DataKeyStateNotSupport"):
        kms.UpdateDataKeyName(DataKeyId=data_key, DataKeyName="e")
    assert names(kms) == ["d"]
