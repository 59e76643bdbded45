import functools

from tests.actions.kms.arrange_keys import decrypt, encrypt, make, state_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_a_disabled_key_works_again(kms: Client) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p")
    kms.DisableKey(KeyId=key)
    with refused("ResourceUnavailable.CmkDisabled"):
        decrypt(kms, blob)
    assert outputs(kms.EnableKey(KeyId=key)) == {}
    assert (state_of(kms, key), decrypt(kms, blob)) == ("Enabled", b"p")


def test_repeating_it_succeeds(installation: Installation, kms: Client) -> None:
    key = make(kms)
    for _ in range(2):
        kms.EnableKey(KeyId=key)
    clients = [installation.client("kms") for _ in range(4)]
    assert together([functools.partial(c.EnableKey, KeyId=key) for c in clients]) == ["ok"] * 4
    assert state_of(kms, key) == "Enabled"


def test_other_states_are_left_by_other_actions(kms: Client) -> None:
    for state in ("PendingDelete", "PendingImport", "Archived"):
        key = make(kms, state, state)
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            kms.EnableKey(KeyId=key)
        assert state_of(kms, key) == state
