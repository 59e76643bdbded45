from tests.actions.kms.arrange_keys import decrypt, encrypt, make, product_key, state_of
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, refused


def test_the_key_is_enabled_afterwards_whatever_it_was_before(kms: Client) -> None:
    key = make(kms, state="Disabled")
    kms.ArchiveKey(KeyId=key)
    assert outputs(kms.CancelKeyArchive(KeyId=key)) == {}
    assert state_of(kms, key) == "Enabled"
    assert decrypt(kms, encrypt(kms, key, b"p")) == b"p"


def test_only_archived_keys_leave_the_archive(kms: Client) -> None:
    for state in ("Enabled", "Disabled", "PendingDelete", "PendingImport"):
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            kms.CancelKeyArchive(KeyId=make(kms, state, state))


def test_a_products_key_is_never_there(kms: Client, ssm: Client) -> None:
    with refused("UnsupportedOperation.NotUserCreatedCmk"):
        kms.CancelKeyArchive(KeyId=product_key(kms, ssm))
