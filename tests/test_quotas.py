"""The quotas of an account in a region are the operator's to set."""

import dataclasses

import pytest

from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.settings import Settings
from tests.inspected import Inspected
from tests.installation import FIPS, refused

SMALL = Settings(throttle=False, credential_cache_seconds=0, max_secrets=2, max_keys=2)


@pytest.fixture
def small(clock: ManualClock) -> Inspected:
    return Inspected(clock, SMALL)


def set_quotas(installation: Inspected, most: int) -> None:
    """As a restart with other settings."""
    old = installation.service
    settings = dataclasses.replace(installation.settings, max_secrets=most, max_keys=most)
    service = Service(settings, installation.clock, old.table, old.hsm)
    installation.gateway = Gateway(service)


def test_a_region_takes_as_many_as_the_settings_say(small: Inspected) -> None:
    ssm, kms = small.client("ssm"), small.client("kms")
    for name in ("a", "b"):
        ssm.CreateSecret(SecretName=name, SecretString="x")
        kms.CreateKey(Alias=name)
    with refused("LimitExceeded"):
        ssm.CreateSecret(SecretName="c", SecretString="x")
    with refused("LimitExceeded.CmkLimitExceeded"):
        kms.CreateKey(Alias="c")
    assert ssm.GetServiceStatus().SecretLimit == 2
    assert (kms.GetServiceStatus().CmkLimit, kms.GetServiceStatus().CmkUserCount) == (2, 2)
    small.client("ssm", FIPS).CreateSecret(SecretName="c", SecretString="x")


def test_a_quota_that_is_raised_lets_more_in(small: Inspected) -> None:
    for name in ("a", "b"):
        small.client("ssm").CreateSecret(SecretName=name, SecretString="x")
        small.client("kms").CreateKey(Alias=name)
    set_quotas(small, 3)
    ssm, kms = small.client("ssm"), small.client("kms")
    ssm.CreateSecret(SecretName="c", SecretString="x")
    kms.CreateKey(Alias="c")
    assert (ssm.GetServiceStatus().SecretLimit, kms.GetServiceStatus().CmkLimit) == (3, 3)


def test_a_quota_below_what_is_there_lets_things_go_but_not_come_back(small: Inspected) -> None:
    keys = [small.client("kms").CreateKey(Alias=name).KeyId for name in ("a", "b")]
    for name in ("a", "b"):
        small.client("ssm").CreateSecret(SecretName=name, SecretString="x")
    set_quotas(small, 1)
    ssm, kms = small.client("ssm"), small.client("kms")
    assert ssm.ListSecrets().TotalCount == 2
    kms.DisableKeys(KeyIds=keys)
    kms.ScheduleKeyDeletion(KeyId=keys[0], PendingWindowInDays=7)
    with refused("LimitExceeded.CmkLimitExceeded"):
        kms.CancelKeyDeletion(KeyId=keys[0])
    kms.ScheduleKeyDeletion(KeyId=keys[1], PendingWindowInDays=7)
    kms.CancelKeyDeletion(KeyId=keys[0])
    ssm.DisableSecret(SecretName="a")
    ssm.DeleteSecret(SecretName="a")
    with refused("LimitExceeded"):
        ssm.CreateSecret(SecretName="c", SecretString="x")
    ssm.DisableSecret(SecretName="b")
    ssm.DeleteSecret(SecretName="b")
    ssm.CreateSecret(SecretName="c", SecretString="x")
