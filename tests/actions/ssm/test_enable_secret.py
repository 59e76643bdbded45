from tests.actions.ssm.arrange import VALUE, make, names, outputs, status, value
from tests.installation import Client, refused


def test_a_disabled_secret_is_enabled_and_can_be_read(ssm: Client) -> None:
    make(ssm, state="Disabled")
    assert outputs(ssm.EnableSecret(SecretName="s")) == {"SecretName": "s"}
    assert (status(ssm), value(ssm)) == ("Enabled", VALUE)
    assert names(ssm, State=1) == ["s"]


def test_enabling_an_enabled_secret_succeeds(ssm: Client) -> None:
    make(ssm)
    for _ in range(2):
        ssm.EnableSecret(SecretName="s")
    assert (status(ssm), value(ssm)) == ("Enabled", VALUE)


def test_a_secret_pending_deletion_has_to_be_restored_first(ssm: Client) -> None:
    make(ssm, state="PendingDelete")
    with refused("FailedOperation"):
        ssm.EnableSecret(SecretName="s")
    ssm.RestoreSecret(SecretName="s")
    ssm.EnableSecret(SecretName="s")
    assert (status(ssm), value(ssm)) == ("Enabled", VALUE)
