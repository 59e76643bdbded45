import functools

import pytest

from chalicelib.formats import record
from tests.actions.kms.arrange_data_keys import DAY, describe, make, names, quota, row_of, state_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import SM, Client, Installation, refused


@pytest.mark.parametrize("days", [7, 30])
@pytest.mark.parametrize("state", ["Enabled", "Disabled"])
def test_it_is_pending_until_its_date(installation: Installation, kms: Client, state: str, days: int) -> None:
    data_key = make(kms, state=state)
    answer = outputs(kms.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=days))
    date = installation.clock.now() + days * DAY
    assert answer == {"DataKeyId": data_key, "DeletionDate": date}
    found = describe(kms, data_key)
    assert (found.KeyState, found.DeletionDate) == ("PendingDelete", date)
    due = row_of(installation, data_key).due
    assert due is not None
    assert (due.kind, due.at) == (f"delete_expired_data_keys#{SM}", date)
    assert quota(installation) == 0
    installation.clock.advance(days * DAY - 1)
    assert state_of(kms, data_key) == "PendingDelete"
    installation.clock.advance(1)
    with refused("ResourceUnavailable.DataKeyNotFound"):
        describe(kms, data_key)


def test_limits_of_the_window(kms: Client) -> None:
    data_key = make(kms)
    for days in (0, 6, 31, -7, 2**40):
        with refused("InvalidParameter.InvalidPendingWindowInDays"):
            kms.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=days)
    assert state_of(kms, data_key) == "Enabled"


def test_what_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.ScheduleDataKeyDeletion(PendingWindowInDays=7)
    with refused("MissingParameter"):
        kms.ScheduleDataKeyDeletion(DataKeyId=make(kms))


def test_a_date_is_neither_hastened_nor_put_off(kms: Client) -> None:
    data_key = make(kms, state="PendingDelete")
    date = describe(kms, data_key).DeletionDate
    for days in (7, 30):
        with refused("ResourceUnavailable.DataKeyStateNotSupport"):
            kms.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=days)
    assert describe(kms, data_key).DeletionDate == date


def test_many_at_once_count_once(installation: Installation, kms: Client) -> None:
    make(kms, "kept")
    data_key = make(kms)
    clients = [installation.client("kms") for _ in range(5)]
    calls = [
        functools.partial(c.ScheduleDataKeyDeletion, DataKeyId=data_key, PendingWindowInDays=7)
        for c in clients
    ]
    assert sorted(together(calls)) == ["ResourceUnavailable.DataKeyStateNotSupport"] * 4 + ["ok"]
    assert (quota(installation), sorted(names(kms))) == (1, ["d", "kept"])
    assert record.decode(row_of(installation, data_key).body)["state"] == "PendingDelete"
