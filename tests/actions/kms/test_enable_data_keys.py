import pytest

from tests.actions.kms.arrange_data_keys import UNKNOWN, bring_key_to, everything, make, make_key, state_of
from tests.actions.ssm.arrange import events
from tests.installation import Client, Installation, refused


def test_up_to_a_hundred_at_once(installation: Installation, kms: Client) -> None:
    data_keys = [make(kms, f"d{number}", state="Disabled") for number in range(101)]
    with refused("InvalidParameterValue"):
        kms.EnableDataKeys(DataKeyIds=data_keys)
    assert kms.ListDataKeyDetail(KeyState=1).TotalCount == 0
    for count in (100, 101):  # the second time most of them are done already
        answer = kms.EnableDataKeys(DataKeyIds=data_keys[count - 100 : count])
        assert kms.ListDataKeyDetail(KeyState=1).TotalCount == count
        (event,) = [e for e in events(installation) if e["id"] == answer.RequestId]
        assert event["resources"] == [f"dataKey/{i}" for i in data_keys[count - 100 : count]]
        assert "error" not in event


def test_one_is_enough(kms: Client) -> None:
    data_key, other = make(kms, state="Disabled"), make(kms, "other", state="Disabled")
    kms.EnableDataKeys(DataKeyIds=[data_key])
    assert (state_of(kms, data_key), state_of(kms, other)) == ("Enabled", "Disabled")


@pytest.mark.parametrize("count", [1, 3])
def test_all_or_none(kms: Client, count: int) -> None:
    data_keys = [make(kms, f"d{number}", state="Disabled") for number in range(count)]
    pending = make(kms, "pending", state="PendingDelete")
    before = everything(kms)
    for last, error in (
        (UNKNOWN, "ResourceUnavailable.DataKeyNotFound"),
        (pending, "ResourceUnavailable.DataKeyStateNotSupport"),
        ("d", "InvalidParameterValue.InvalidDataKeyId"),
        (data_keys[0], "InvalidParameterValue.DuplicatedDataKeyId"),
    ):
        with refused(error):
            kms.EnableDataKeys(DataKeyIds=[*data_keys, last])
        assert everything(kms) == before


def test_the_list_is_required_and_not_empty(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.EnableDataKeys()
    with refused("InvalidParameterValue"):
        kms.EnableDataKeys(DataKeyIds=[])


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("Disabled", "ResourceUnavailable.CmkStateNotSupport"),
        ("gone", "ResourceUnavailable.CmkNotFound"),
    ],
)
def test_every_key_has_to_decrypt(installation: Installation, kms: Client, state: str, error: str) -> None:
    data_keys = [
        make(kms, alias, state="Disabled", KeyId=make_key(kms, alias)) for alias in ("good", "other", "bad")
    ]
    bring_key_to(installation, kms, make_key(kms, "bad"), state)
    with refused(error):
        kms.EnableDataKeys(DataKeyIds=data_keys)
    assert [state_of(kms, i) for i in data_keys] == ["Disabled"] * 3
    kms.EnableDataKeys(DataKeyIds=data_keys[:2])
    assert [state_of(kms, i) for i in data_keys] == ["Enabled", "Enabled", "Disabled"]
