import pytest

from tests.actions.kms.arrange_keys import BOUND, decrypt, encrypt, make, product_key, state_of
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, refused


@pytest.mark.parametrize("state", ["Enabled", "Disabled"])
def test_an_archived_key_decrypts_only(kms: Client, state: str) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p")
    if state == "Disabled":
        kms.DisableKey(KeyId=key)
    for _ in range(2):  # repeating it succeeds
        assert outputs(kms.ArchiveKey(KeyId=key)) == {}
    assert (state_of(kms, key), decrypt(kms, blob)) == ("Archived", b"p")
    with refused("ResourceUnavailable.CmkArchived"):
        encrypt(kms, key)


def test_a_used_key_is_not_archived(kms: Client) -> None:
    key = make(kms)
    kms.BindCloudResource(KeyId=key, **BOUND)
    with refused("FailedOperation.CmkUsedByCloudProduct"):
        kms.ArchiveKey(KeyId=key)
    assert state_of(kms, key) == "Enabled"


def test_a_products_key_is_not_archived(kms: Client, ssm: Client) -> None:
    with refused("UnsupportedOperation.NotUserCreatedCmk"):
        kms.ArchiveKey(KeyId=product_key(kms, ssm))


@pytest.mark.parametrize("state", ["PendingDelete", "PendingImport"])
def test_other_states_refuse(kms: Client, state: str) -> None:
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.ArchiveKey(KeyId=make(kms, state=state))


def test_an_archived_key_is_not_rotated(kms: Client) -> None:
    key = make(kms)
    kms.EnableKeyRotation(KeyId=key)
    kms.ArchiveKey(KeyId=key)
    with refused("UnsupportedOperation.RotateNotSupported"):
        kms.RotateKey(KeyId=key)
    kms.CancelKeyArchive(KeyId=key)
    kms.RotateKey(KeyId=key)
