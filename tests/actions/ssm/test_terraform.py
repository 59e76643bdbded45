"""The orders in which Terraform's provider calls, with what it reads between the calls."""

from tests.actions.ssm.arrange import make, names, status, versions
from tests.installation import Client, Installation, refused

# What the provider dereferences without a check.
DEREFERENCED = (
    "SecretName",
    "Description",
    "KmsKeyId",
    "SecretType",
    "AdditionalConfig",
    "CreateUin",
    "Status",
    "DeleteTime",
    "CreateTime",
)


def read_secret(ssm: Client) -> None:
    described = ssm.DescribeSecret(SecretName="s")
    assert [name for name in DEREFERENCED if getattr(described, name) is None] == []
    assert described.KmsKeyId


def create_secret(ssm: Client, *, is_enabled: bool) -> None:
    # The provider makes a secret with a version that it does not want.
    ssm.CreateSecret(SecretName="s", VersionId="default", SecretString="default", Description="d")
    ssm.DeleteSecretVersion(SecretName="s", VersionId="default")
    if not is_enabled:
        ssm.DisableSecret(SecretName="s")
    read_secret(ssm)
    assert versions(ssm) == []


def test_a_secret_is_created_changed_and_destroyed(installation: Installation, ssm: Client) -> None:
    create_secret(ssm, is_enabled=True)
    assert names(ssm, SearchSecretName="s", Limit=200) == ["s"]
    ssm.UpdateDescription(SecretName="s", Description="")
    for action in ("DisableSecret", "EnableSecret", "EnableSecret"):
        getattr(ssm, action)(SecretName="s")
        read_secret(ssm)
    ssm.DisableSecret(SecretName="s")
    ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=0)
    with refused("ResourceNotFound"):
        ssm.DescribeSecret(SecretName="s")


def test_a_disabled_secret_is_created_and_destroyed_with_a_window(ssm: Client) -> None:
    create_secret(ssm, is_enabled=False)
    # Destroying disables whatever the state is.
    ssm.DisableSecret(SecretName="s")
    ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=7)
    assert status(ssm) == "PendingDelete"


def test_a_version_is_created_read_updated_and_destroyed(ssm: Client) -> None:
    create_secret(ssm, is_enabled=True)
    ssm.PutSecretValue(SecretName="s", VersionId="v1", SecretString="one")
    read_secret(ssm)
    assert versions(ssm) == ["v1"]
    read = ssm.GetSecretValue(SecretName="s", VersionId="v1")
    assert (read.SecretString, read.SecretBinary) == ("one", "")
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretBinary="AP8=")
    read = ssm.GetSecretValue(SecretName="s", VersionId="v1")
    assert (read.SecretString, read.SecretBinary) == ("", "AP8=")
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    with refused("ResourceNotFound"):
        ssm.GetSecretValue(SecretName="s", VersionId="v1")


def test_a_version_of_a_disabled_secret_is_destroyed(ssm: Client) -> None:
    create_secret(ssm, is_enabled=False)
    ssm.PutSecretValue(SecretName="s", VersionId="v1", SecretString="one")
    read_secret(ssm)
    assert versions(ssm) == ["v1"]
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    # Not ResourceDisabled: the provider waits for this very code.
    with refused("ResourceNotFound"):
        ssm.GetSecretValue(SecretName="s", VersionId="v1")


def test_another_region_is_another_state_file(installation: Installation, ssm: Client) -> None:
    create_secret(ssm, is_enabled=True)
    beijing = installation.client("ssm", region="ap-beijing")
    with refused("ResourceNotFound"):
        beijing.DescribeSecret(SecretName="s")
    make(beijing, "s")
    assert versions(ssm) == []
