import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.settings import Settings
from tests.actions.kms.arrange_keys import (
    BOUND,
    DAY,
    decrypt,
    describe,
    encrypt,
    everything,
    make,
    product_key,
    quota,
    state_of,
)
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused

USED = "FailedOperation.CmkUsedByCloudProduct"


@pytest.mark.parametrize("state", ["Disabled", "Archived", "PendingImport"])
def test_the_key_is_pending_until_the_day(installation: Installation, kms: Client, state: str) -> None:
    key = make(kms, state=state)
    answer = kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    at = installation.clock.now() + 7 * DAY
    assert outputs(answer) == {"KeyId": key, "DeletionDate": at}
    shown = describe(kms, key)
    assert (shown.KeyState, shown.DeletionDate) == ("PendingDelete", at)
    installation.clock.advance(7 * DAY - 0.001)
    assert state_of(kms, key) == "PendingDelete"
    installation.clock.advance(0.001)
    with refused("ResourceUnavailable.CmkNotFound"):
        state_of(kms, key)


def test_limits_of_the_window(kms: Client) -> None:
    key = make(kms, state="Disabled")
    for days in (6, 31, 0, -1):
        with refused("InvalidParameter.InvalidPendingWindowInDays"):
            kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=days)
    assert state_of(kms, key) == "Disabled"
    for days in (7, 30):
        kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=days)
        kms.CancelKeyDeletion(KeyId=key)


def test_an_enabled_key_has_to_be_disabled_first(kms: Client) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p")
    with refused("ResourceUnavailable.CmkShouldBeDisabled"):
        kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert decrypt(kms, blob) == b"p"


def test_a_pending_deletion_is_neither_hastened_nor_put_off(kms: Client) -> None:
    key = make(kms, state="PendingDelete")
    before = everything(kms)
    for days in (7, 30):
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=days)
    assert everything(kms) == before


def test_a_products_key_is_never_scheduled(kms: Client, ssm: Client) -> None:
    with refused("UnsupportedOperation.NotUserCreatedCmk"):
        kms.ScheduleKeyDeletion(KeyId=product_key(kms, ssm), PendingWindowInDays=7)


def test_bound_resources_are_named(kms: Client) -> None:
    key = make(kms)
    for i in range(7):
        kms.BindCloudResource(KeyId=key, ProductId="cbs", ResourceId=f"disk-{i}")
    with refused(USED) as caught:
        kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert "7 cloud resources" in str(caught.value)
    assert "cbs/disk-0, cbs/disk-1, cbs/disk-2, cbs/disk-3, cbs/disk-4." in str(caught.value)
    for i in range(7):
        kms.UnbindCloudResource(KeyId=key, ProductId="cbs", ResourceId=f"disk-{i}")
    kms.DisableKey(KeyId=key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.BindCloudResource(KeyId=key, **BOUND)


def test_secrets_sealed_under_the_key_are_named(installation: Installation, kms: Client, ssm: Client) -> None:
    key, other = make(kms), make(kms, "other")
    for i in range(7):
        ssm.CreateSecret(SecretName=f"s{i}", VersionId="v1", SecretString="x", KmsKeyId=key)
        installation.clock.advance(1)
    ssm.CreateSecret(SecretName="elsewhere", VersionId="v1", SecretString="x", KmsKeyId=other)
    kms.DisableKey(KeyId=key)
    with refused(USED) as caught:
        kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert "7 secrets" in str(caught.value)
    assert "s0, s1, s2, s3, s4." in str(caught.value)
    assert "elsewhere" not in str(caught.value)
    assert state_of(kms, key) == "Disabled"
    # A secret that is still pending deletion can be restored: it needs its key.
    for i in range(7):
        ssm.DisableSecret(SecretName=f"s{i}")
        ssm.DeleteSecret(SecretName=f"s{i}", RecoveryWindowInDays=0 if i else 1)
    with refused(USED) as caught:
        kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert "1 secrets need the key: s0." in str(caught.value)
    installation.clock.advance(DAY)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)


def test_a_secret_without_values_does_not_hold_the_key(kms: Client, ssm: Client) -> None:
    key = make(kms)
    ssm.CreateSecret(SecretName="s", VersionId="v1", SecretString="x", KmsKeyId=key)
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    kms.DisableKey(KeyId=key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert state_of(kms, key) == "PendingDelete"


def test_a_setting_lets_keys_go_that_secrets_need(clock: ManualClock) -> None:
    settings = Settings(throttle=False, credential_cache_seconds=0, delete_keys_in_use=True)
    installation = Installation(clock, settings)
    kms, ssm = installation.client("kms"), installation.client("ssm")
    key, bound = make(kms), make(kms, "bound")
    ssm.CreateSecret(SecretName="s", VersionId="v1", SecretString="x", KmsKeyId=key)
    kms.DisableKey(KeyId=key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert state_of(kms, key) == "PendingDelete"
    # What a cloud product uses is not Secrets Manager's to give away.
    kms.BindCloudResource(KeyId=bound, **BOUND)
    with refused(USED):
        kms.ScheduleKeyDeletion(KeyId=bound, PendingWindowInDays=7)


def test_simultaneous_calls_count_once(installation: Installation, kms: Client) -> None:
    make(kms, "kept")
    key = make(kms, state="Disabled")
    clients = [installation.client("kms") for _ in range(6)]
    given = {"KeyId": key, "PendingWindowInDays": 7}
    ended = together([functools.partial(c.ScheduleKeyDeletion, **given) for c in clients])
    assert sorted(ended) == ["ResourceUnavailable.CmkStateNotSupport"] * 5 + ["ok"]
    assert quota(installation) == 1


def test_hosted_data_keys_need_their_key(kms: Client) -> None:
    key = kms.CreateKey(Alias="cmk").KeyId
    hosted = kms.GenerateDataKey(
        KeyId=key, KeySpec="AES_128", IsHostedByKms=1, DataKeyName="hosted"
    ).DataKeyId
    kms.DisableKey(KeyId=key)
    with refused("FailedOperation.CmkUsedByCloudProduct") as caught:
        kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert "hosted" in caught.value.message
    kms.ScheduleDataKeyDeletion(DataKeyId=hosted, PendingWindowInDays=7)
    assert kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7).KeyId == key
