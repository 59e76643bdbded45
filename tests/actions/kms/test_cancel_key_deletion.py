from chalicelib.table.port import Add
from tests.actions.kms.arrange_keys import DAY, bring_to, decrypt, describe, encrypt, make, state_of
from tests.actions.ssm.arrange import outputs
from tests.installation import SM, Client, Installation, refused


def test_the_key_is_disabled_afterwards_and_opens_what_it_opened(
    installation: Installation, kms: Client
) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p")
    bring_to(kms, key, "PendingDelete")
    installation.clock.advance(7 * DAY - 1)
    assert outputs(kms.CancelKeyDeletion(KeyId=key)) == {"KeyId": key}
    shown = describe(kms, key)
    assert (shown.KeyState, shown.DeletionDate) == ("Disabled", 0)
    # The date that was cancelled means nothing any more.
    installation.clock.advance(30 * DAY)
    kms.EnableKey(KeyId=key)
    assert decrypt(kms, blob) == b"p"


def test_only_a_pending_deletion_is_cancelled(kms: Client) -> None:
    for state in ("Enabled", "Disabled", "PendingImport", "Archived"):
        with refused("ResourceUnavailable.CmkNotPendingDelete"):
            kms.CancelKeyDeletion(KeyId=make(kms, state, state))


def test_it_is_too_late_on_the_day(installation: Installation, kms: Client) -> None:
    key = make(kms, state="PendingDelete")
    installation.clock.advance(7 * DAY)
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.CancelKeyDeletion(KeyId=key)


def test_a_full_region_has_no_room_for_it(installation: Installation, kms: Client) -> None:
    # LimitExceeded.CmkLimitExceeded is not in the action's list, but nothing else says what is wrong.
    leaving = make(kms, "leaving", "PendingDelete")
    installation.service.table(SM).write([Add(f"CT#{installation.root.uin}#{SM}", "keys", 200)])
    with refused("LimitExceeded.CmkLimitExceeded"):
        kms.CancelKeyDeletion(KeyId=leaving)
    assert state_of(kms, leaving) == "PendingDelete"
