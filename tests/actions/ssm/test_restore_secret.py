from chalicelib.jobs import schedule
from tests.actions.ssm.arrange import DAY, VALUE, make, outputs, status, value
from tests.installation import SM, Client, Installation, refused


def test_a_restored_secret_is_disabled_and_whole(installation: Installation, ssm: Client) -> None:
    make(ssm, state="PendingDelete", Description="d")
    assert outputs(ssm.RestoreSecret(SecretName="s")) == {"SecretName": "s"}
    described = ssm.DescribeSecret(SecretName="s")
    assert (described.Status, described.DeleteTime, described.Description) == ("Disabled", 0, "d")
    assert ssm.ListSecrets(State=2).SecretMetadatas[0].DeleteTime == 0
    # The old date means nothing any more.
    installation.clock.advance(2 * DAY)
    assert schedule.run(installation.service, "delete_expired_secrets")[SM].done == 0
    ssm.EnableSecret(SecretName="s")
    assert value(ssm) == VALUE


def test_only_a_pending_secret_is_restored(ssm: Client) -> None:
    make(ssm)
    with refused("FailedOperation"):
        ssm.RestoreSecret(SecretName="s")
    assert status(ssm) == "Enabled"
    ssm.DisableSecret(SecretName="s")
    with refused("FailedOperation"):
        ssm.RestoreSecret(SecretName="s")
    assert status(ssm) == "Disabled"


def test_a_restored_secret_can_be_deleted_again(installation: Installation, ssm: Client) -> None:
    make(ssm, state="PendingDelete")
    ssm.RestoreSecret(SecretName="s")
    installation.clock.advance(100)
    answer = ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=2)
    assert answer.DeleteTime == installation.clock.now() + 2 * DAY
    # The first date passes without effect.
    installation.clock.advance(DAY)
    assert status(ssm) == "PendingDelete"
