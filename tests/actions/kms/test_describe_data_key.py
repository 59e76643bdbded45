from tests.actions.kms.arrange_data_keys import DAY, STATES, bring_key_to, describe, make, make_key
from tests.installation import Client, Installation, refused


def test_it_answers_in_every_state(installation: Installation, kms: Client) -> None:
    for state in STATES:
        found = describe(kms, make(kms, state, state=state))
        assert (found.DataKeyName, found.KeyState) == (state, state)
        pending = installation.clock.now() + 7 * DAY
        assert found.DeletionDate == (pending if state == "PendingDelete" else 0)


def test_the_keys_name_is_its_alias_of_today(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    data_key = make(kms)
    kms.UpdateAlias(KeyId=key, Alias="renamed")
    assert describe(kms, data_key).KeyName == "renamed"
    bring_key_to(installation, kms, key, "gone")
    found = describe(kms, data_key)
    assert (found.KeyId, found.KeyName, found.KeyState) == (key, "", "Enabled")


def test_the_id_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.DescribeDataKey()
    with refused("InvalidParameter"):
        kms.call_raw("DescribeDataKey", {"DataKeyId": 1})
