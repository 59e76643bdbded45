from tests.actions.kms.arrange_keys import make
from tests.actions.kms.switches import check_100_at_once, check_100_that_conflict, check_all_or_none, states
from tests.installation import Client, Installation


def test_up_to_100_at_once(installation: Installation, kms: Client) -> None:
    check_100_at_once(installation, kms, "EnableKeys", "Disabled", "Enabled")


def test_of_100_all_or_none(installation: Installation, kms: Client) -> None:
    check_100_that_conflict(installation, kms, "EnableKeys")


def test_all_or_none(kms: Client) -> None:
    # Codes: ResourceUnavailable.CmkStateNotSupport, InvalidParameterValue.DuplicatedKeyId
    check_all_or_none(kms, "EnableKeys", "Disabled")


def test_enabled_ones_may_be_among_them(kms: Client) -> None:
    keys = [make(kms, "a"), make(kms, "b", "Disabled")]
    kms.EnableKeys(KeyIds=keys)
    assert states(kms, keys) == {"Enabled"}
