import functools

from chalicelib.model.data_key import MAX_DATA_KEYS
from tests.actions.kms.arrange_data_keys import DAY, bring_key_to, describe, make, make_key, quota, row_of
from tests.actions.kms.test_generate_data_key import fill
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_it_is_disabled_afterwards(installation: Installation, kms: Client) -> None:
    data_key = make(kms, state="PendingDelete")
    installation.clock.advance(7 * DAY - 1)
    assert outputs(kms.CancelDataKeyDeletion(DataKeyId=data_key)) == {"DataKeyId": data_key}
    found = describe(kms, data_key)
    assert (found.KeyState, found.DeletionDate) == ("Disabled", 0)
    assert row_of(installation, data_key).due is None
    assert quota(installation) == 1
    installation.clock.advance(30 * DAY)
    kms.EnableDataKey(DataKeyId=data_key)
    assert len(kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext) == 44


def test_what_is_not_pending_is_refused(kms: Client) -> None:
    for state in ("Enabled", "Disabled"):
        with refused("ResourceUnavailable.DataKeyNotPendingDelete"):
            kms.CancelDataKeyDeletion(DataKeyId=make(kms, state, state=state))
    with refused("MissingParameter"):
        kms.CancelDataKeyDeletion()


def test_it_takes_a_place_of_the_quota_again(installation: Installation, kms: Client) -> None:
    data_key = make(kms, state="PendingDelete")
    fill(installation, MAX_DATA_KEYS)
    with refused("LimitExceeded.DataKeyLimitExceeded"):
        kms.CancelDataKeyDeletion(DataKeyId=data_key)
    assert describe(kms, data_key).KeyState == "PendingDelete"
    fill(installation, MAX_DATA_KEYS - 1)
    kms.CancelDataKeyDeletion(DataKeyId=data_key)
    assert quota(installation) == MAX_DATA_KEYS


def test_a_key_that_waits_for_its_own_deletion_comes_first(installation: Installation, kms: Client) -> None:
    key, data_key = make_key(kms), make(kms)
    kms.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=30)
    bring_key_to(installation, kms, key, "PendingDelete")
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.CancelDataKeyDeletion(DataKeyId=data_key)
    kms.CancelKeyDeletion(KeyId=key)
    kms.CancelDataKeyDeletion(DataKeyId=data_key)
    assert describe(kms, data_key).KeyState == "Disabled"


def test_many_at_once_count_once(installation: Installation, kms: Client) -> None:
    data_key = make(kms, state="PendingDelete")
    clients = [installation.client("kms") for _ in range(5)]
    ended = together([functools.partial(c.CancelDataKeyDeletion, DataKeyId=data_key) for c in clients])
    assert sorted(ended) == ["ResourceUnavailable.DataKeyNotPendingDelete"] * 4 + ["ok"]
    assert quota(installation) == 1
