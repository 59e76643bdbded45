import functools

from tests.actions.ssm.arrange import VALUE, make, outputs, status, together, value, versions
from tests.installation import Client, Installation, refused


def test_a_version_is_overwritten_in_place(installation: Installation, ssm: Client) -> None:
    make(ssm)
    ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretString="second")
    before = ssm.ListSecretVersionIds(SecretName="s").to_json_string()
    installation.clock.advance(60)
    answer = ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="new")
    assert outputs(answer) == {"SecretName": "s", "VersionId": "v1"}
    assert (value(ssm, version="v1"), value(ssm, version="v2")) == ("new", "second")
    after = ssm.ListSecretVersionIds(SecretName="s")
    assert [(v.VersionId, v.CreateTime) for v in after.Versions] == [
        ("v2", installation.clock.now() - 60),
        ("v1", installation.clock.now() - 60),
    ]
    assert '"v2"' in before
    assert value(ssm, version="SSM_Current") == "second"


def test_text_becomes_bytes_and_back(ssm: Client) -> None:
    make(ssm)
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretBinary="AP8=")
    answer = ssm.GetSecretValue(SecretName="s", VersionId="v1")
    assert (answer.SecretString, answer.SecretBinary) == ("", "AP8=")
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="text")
    answer = ssm.GetSecretValue(SecretName="s", VersionId="v1")
    assert (answer.SecretString, answer.SecretBinary) == ("text", "")


def test_a_version_that_does_not_exist_is_not_made(ssm: Client) -> None:
    make(ssm)
    with refused("ResourceNotFound"):
        ssm.UpdateSecret(SecretName="s", VersionId="v2", SecretString="x")
    assert (versions(ssm), value(ssm)) == (["v1"], VALUE)
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    for version in ("v1", "SSM_Current"):
        with refused("ResourceNotFound"):
            ssm.UpdateSecret(SecretName="s", VersionId=version, SecretString="x")


def test_ssm_current_updates_the_version_that_reads_answer_with(ssm: Client) -> None:
    make(ssm)
    ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretString="second")
    answer = ssm.UpdateSecret(SecretName="s", VersionId="SSM_Current", SecretString="new")
    assert answer.VersionId == "v2"
    assert (value(ssm, version="v1"), value(ssm, version="v2")) == (VALUE, "new")


def test_a_disabled_secret_is_updated_and_stays_disabled(ssm: Client) -> None:
    make(ssm, state="Disabled")
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="new")
    assert status(ssm) == "Disabled"
    ssm.EnableSecret(SecretName="s")
    assert value(ssm) == "new"


def test_a_secret_pending_deletion_is_not_updated(ssm: Client) -> None:
    make(ssm, state="PendingDelete")
    with refused("FailedOperation"):
        ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="new")
    ssm.RestoreSecret(SecretName="s")
    ssm.EnableSecret(SecretName="s")
    assert value(ssm) == VALUE


def test_the_key_has_to_be_enabled(ssm: Client, kms: Client) -> None:
    key = kms.CreateKey(Alias="k").KeyId
    make(ssm, KmsKeyId=key)
    kms.DisableKey(KeyId=key)
    with refused("FailedOperation.AccessKmsError"):
        ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="new")
    # What the secret itself refuses is told first.
    with refused("ResourceNotFound"):
        ssm.UpdateSecret(SecretName="s", VersionId="v2", SecretString="new")
    kms.EnableKey(KeyId=key)
    assert value(ssm) == VALUE


def test_simultaneous_updates_leave_one_whole_value(installation: Installation, ssm: Client) -> None:
    make(ssm)
    clients = [installation.client("ssm") for _ in range(6)]

    def update(client: Client, i: int) -> None:
        client.UpdateSecret(SecretName="s", VersionId="v1", SecretString=f"by {i}" * 500)

    ended = together([functools.partial(update, c, i) for i, c in enumerate(clients)])
    assert ended == ["ok"] * 6
    assert value(ssm) in [f"by {i}" * 500 for i in range(6)]


def test_updates_do_not_count_as_versions(ssm: Client) -> None:
    make(ssm)
    for i in range(12):
        ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString=f"{i}")
    assert (versions(ssm), value(ssm)) == (["v1"], "11")
