import pytest

from chalicelib.clock import ManualClock
from tests.actions.kms.arrange_data_keys import UNKNOWN, everything, make, state_of
from tests.actions.ssm.arrange import Hooked, events
from tests.installation import Client, Installation, refused


def test_up_to_a_hundred_at_once(installation: Installation, kms: Client) -> None:
    data_keys = [make(kms, f"d{number}", state="Enabled") for number in range(101)]
    with refused("InvalidParameterValue"):
        kms.DisableDataKeys(DataKeyIds=data_keys)
    assert kms.ListDataKeyDetail(KeyState=2).TotalCount == 0
    for count in (100, 101):  # the second time most of them are done already
        answer = kms.DisableDataKeys(DataKeyIds=data_keys[count - 100 : count])
        assert kms.ListDataKeyDetail(KeyState=2).TotalCount == count
        (event,) = [e for e in events(installation) if e["id"] == answer.RequestId]
        assert event["resources"] == [f"dataKey/{i}" for i in data_keys[count - 100 : count]]
        assert "error" not in event


def test_one_is_enough(kms: Client) -> None:
    data_key, other = make(kms, state="Enabled"), make(kms, "other", state="Enabled")
    kms.DisableDataKeys(DataKeyIds=[data_key])
    assert (state_of(kms, data_key), state_of(kms, other)) == ("Disabled", "Enabled")


@pytest.mark.parametrize("count", [1, 3])
def test_all_or_none(kms: Client, count: int) -> None:
    data_keys = [make(kms, f"d{number}", state="Enabled") for number in range(count)]
    pending = make(kms, "pending", state="PendingDelete")
    before = everything(kms)
    for last, error in (
        (UNKNOWN, "ResourceUnavailable.DataKeyNotFound"),
        (pending, "ResourceUnavailable.DataKeyStateNotSupport"),
        ("d", "InvalidParameterValue.InvalidDataKeyId"),
        (data_keys[0], "InvalidParameterValue.DuplicatedDataKeyId"),
    ):
        with refused(error):
            kms.DisableDataKeys(DataKeyIds=[*data_keys, last])
        assert everything(kms) == before


def test_the_list_is_required_and_not_empty(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.DisableDataKeys()
    with refused("InvalidParameterValue"):
        kms.DisableDataKeys(DataKeyIds=[])


@pytest.mark.parametrize("count", [2, 100])
def test_somebody_who_is_faster_is_seen(clock: ManualClock, count: int) -> None:
    installation = Hooked(clock)
    kms, other = installation.client("kms"), installation.client("kms")
    data_keys = [make(kms, f"d{number}") for number in range(count)]

    def schedule() -> None:
        other.ScheduleDataKeyDeletion(DataKeyId=data_keys[1], PendingWindowInDays=7)

    # The caller has read them all and is about to write; with a hundred, the event is written first.
    installation.hooked.before_write = schedule
    with refused("ResourceUnavailable.DataKeyStateNotSupport") as caught:
        kms.DisableDataKeys(DataKeyIds=data_keys)
    assert state_of(kms, data_keys[0]) == "Enabled"
    *announced, event = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert len(announced) == (count == 100)
    assert event["error"] == caught.value.code
