from tests.actions.kms.arrange_keys import BOUND, decrypt, encrypt, make, state_of
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, refused


def test_a_disabled_key_neither_encrypts_nor_decrypts(kms: Client) -> None:
    key = make(kms)
    blob = encrypt(kms, key)
    assert outputs(kms.DisableKey(KeyId=key)) == {}
    for call in (lambda: encrypt(kms, key), lambda: decrypt(kms, blob)):
        with refused("ResourceUnavailable.CmkDisabled"):
            call()


def test_repeating_it_succeeds(kms: Client) -> None:
    key = make(kms)
    for _ in range(3):
        kms.DisableKey(KeyId=key)
    assert state_of(kms, key) == "Disabled"


def test_a_key_that_a_resource_uses_stays_enabled_until_that_is_over(kms: Client) -> None:
    key = make(kms)
    kms.BindCloudResource(KeyId=key, **BOUND)
    with refused("FailedOperation.CmkUsedByCloudProduct"):
        kms.DisableKey(KeyId=key)
    kms.UnbindCloudResource(KeyId=key, **BOUND)
    kms.DisableKey(KeyId=key)
    assert state_of(kms, key) == "Disabled"


def test_other_states_are_left_by_other_actions(kms: Client) -> None:
    for state in ("PendingDelete", "PendingImport", "Archived"):
        key = make(kms, state, state)
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            kms.DisableKey(KeyId=key)
        assert state_of(kms, key) == state
