from tests.actions.kms.arrange_keys import STATES, make, product_key
from tests.installation import Client


def test_the_encryption_sdk_finds_an_open_service_of_the_flagship_edition(kms: Client) -> None:
    status = kms.GetServiceStatus()
    assert (status.ServiceEnabled, status.UserLevel, status.InvalidType) == (True, 1, 1)
    assert (status.CmkUserCount, status.CmkLimit) == (0, 200)


def test_it_counts_the_keys_that_the_quota_counts(kms: Client, ssm: Client) -> None:
    for state in STATES:
        make(kms, state, state)
    product_key(kms, ssm)
    assert kms.GetServiceStatus().CmkUserCount == 4
