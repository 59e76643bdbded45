import functools

import pytest

from chalicelib.clock import ManualClock
from tests.actions.ssm.arrange import (
    DAY,
    VALUE,
    Hooked,
    make,
    names,
    outputs,
    status,
    together,
    value,
    versions,
)
from tests.installation import SM, Client, Installation, refused


@pytest.mark.parametrize("given", [{}, {"RecoveryWindowInDays": 0}])
def test_without_a_window_the_secret_is_gone_at_once(
    installation: Installation, ssm: Client, given: dict[str, int]
) -> None:
    make(ssm, state="Disabled")
    ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretString="x")
    answer = ssm.DeleteSecret(SecretName="s", **given)
    assert outputs(answer) == {"SecretName": "s", "DeleteTime": installation.clock.now(), "FlowID": None}
    assert names(ssm) == []
    with refused("ResourceNotFound"):
        status(ssm)
    # No row of it is left, values included.
    assert installation.service.table(SM).query(f"S#{installation.root.uin}#{SM}#s") == []
    # The name is free, and what comes under it is a new secret.
    make(ssm, SecretString="new")
    assert (versions(ssm), value(ssm)) == (["v1"], "new")


@pytest.mark.parametrize("days", [1, 30])
def test_with_a_window_the_secret_is_pending_until_the_day(
    installation: Installation, ssm: Client, days: int
) -> None:
    make(ssm, state="Disabled")
    answer = ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=days)
    delete_at = installation.clock.now() + days * DAY
    assert answer.DeleteTime == delete_at
    described = ssm.DescribeSecret(SecretName="s")
    assert (described.Status, described.DeleteTime) == ("PendingDelete", delete_at)
    assert ssm.ListSecrets(State=3).SecretMetadatas[0].DeleteTime == delete_at
    installation.clock.advance(days * DAY - 1)
    assert status(ssm) == "PendingDelete"
    installation.clock.advance(1)
    with refused("ResourceNotFound"):
        status(ssm)


def test_limits_of_the_window(ssm: Client) -> None:
    make(ssm, state="Disabled")
    for days in (31, -1, 2**63 - 1):
        with refused("InvalidParameterValue"):
            ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=days)
    for wrong in (1.5, True, "one", [1]):
        with refused("InvalidParameter"):
            ssm.call_raw("DeleteSecret", {"SecretName": "s", "RecoveryWindowInDays": wrong})
    assert status(ssm) == "Disabled"


def test_options_of_other_kinds_of_secrets_change_nothing_here(ssm: Client) -> None:
    make(ssm, state="Disabled")
    for mode in (2, -1):
        with refused("InvalidParameterValue"):
            ssm.DeleteSecret(SecretName="s", DeleteMode=mode)
    ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=1, CleanSSHKey=True, DeleteMode=1)
    assert status(ssm) == "PendingDelete"


@pytest.mark.parametrize("days", [0, 1])
def test_an_enabled_secret_has_to_be_disabled_first(ssm: Client, days: int) -> None:
    make(ssm)
    with refused("FailedOperation"):
        ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=days)
    assert (status(ssm), value(ssm)) == ("Enabled", VALUE)


@pytest.mark.parametrize("days", [0, 30])
def test_a_pending_deletion_is_neither_hastened_nor_put_off(ssm: Client, days: int) -> None:
    make(ssm, state="PendingDelete")
    delete_at = ssm.DescribeSecret(SecretName="s").DeleteTime
    with refused("FailedOperation"):
        ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=days)
    assert ssm.DescribeSecret(SecretName="s").DeleteTime == delete_at


def test_a_secret_without_versions_can_be_deleted(ssm: Client) -> None:
    make(ssm, state="Disabled")
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    ssm.DeleteSecret(SecretName="s")
    assert names(ssm) == []


def test_simultaneous_deletions_count_once(installation: Installation, ssm: Client) -> None:
    make(ssm, "kept")
    make(ssm, state="Disabled")
    clients = [installation.client("ssm") for _ in range(6)]
    ended = together([functools.partial(c.DeleteSecret, SecretName="s") for c in clients])
    assert sorted(ended) == ["ResourceNotFound"] * 5 + ["ok"]
    counter = installation.service.table(SM).get(f"CT#{installation.root.uin}#{SM}", "secrets")
    assert counter is not None
    assert (counter.number, names(ssm)) == (1, ["kept"])


def test_a_late_deletion_does_not_hit_a_new_secret_of_the_same_name(clock: ManualClock) -> None:
    installation = Hooked(clock)
    ssm, other = installation.client("ssm"), installation.client("ssm")
    make(ssm, state="Disabled")

    def make_anew() -> None:
        # As many writes as the old secret had: the row's version is the same again.
        other.DeleteSecret(SecretName="s")
        clock.advance(1)
        make(other, SecretString="new")
        other.UpdateDescription(SecretName="s", Description="new")

    # The caller has read the old secret and is about to write.
    installation.hooked.before_write = make_anew
    with refused("FailedOperation"):  # as told by the new one, which is enabled
        ssm.DeleteSecret(SecretName="s")
    assert (names(ssm), value(ssm)) == (["s"], "new")
