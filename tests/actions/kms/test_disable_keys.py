from tests.actions.kms.arrange_keys import BOUND, make
from tests.actions.kms.switches import check_100_at_once, check_100_that_conflict, check_all_or_none, states
from tests.installation import Client, Installation, refused


def test_up_to_100_at_once(installation: Installation, kms: Client) -> None:
    check_100_at_once(installation, kms, "DisableKeys", "Enabled", "Disabled")


def test_of_100_all_or_none(installation: Installation, kms: Client) -> None:
    check_100_that_conflict(installation, kms, "DisableKeys")


def test_all_or_none(kms: Client) -> None:
    # Codes: ResourceUnavailable.CmkStateNotSupport, InvalidParameterValue.DuplicatedKeyId
    check_all_or_none(kms, "DisableKeys", "Enabled")


def test_disabled_ones_may_be_among_them_and_used_ones_not(kms: Client) -> None:
    keys = [make(kms, "a"), make(kms, "b", "Disabled")]
    kms.DisableKeys(KeyIds=keys)
    assert states(kms, keys) == {"Disabled"}
    used, free = make(kms, "used"), make(kms, "free")
    kms.BindCloudResource(KeyId=used, **BOUND)
    with refused("FailedOperation.CmkUsedByCloudProduct"):
        kms.DisableKeys(KeyIds=[free, used])
    assert states(kms, [free, used]) == {"Enabled"}
