from tests.actions.ssm.arrange import make, names, outputs, status, value
from tests.installation import Client, refused


def test_a_disabled_secret_cannot_be_read(ssm: Client) -> None:
    make(ssm)
    assert outputs(ssm.DisableSecret(SecretName="s")) == {"SecretName": "s"}
    assert status(ssm) == "Disabled"
    assert names(ssm, State=2) == ["s"]
    with refused("ResourceUnavailable.ResourceDisabled"):
        value(ssm)


def test_disabling_a_disabled_secret_succeeds(ssm: Client) -> None:
    make(ssm)
    for _ in range(3):
        ssm.DisableSecret(SecretName="s")
    assert status(ssm) == "Disabled"


def test_a_secret_pending_deletion_stays_pending(ssm: Client) -> None:
    make(ssm, state="PendingDelete")
    delete_at = ssm.DescribeSecret(SecretName="s").DeleteTime
    with refused("FailedOperation"):
        ssm.DisableSecret(SecretName="s")
    assert (status(ssm), ssm.DescribeSecret(SecretName="s").DeleteTime) == ("PendingDelete", delete_at)
