import pytest

from tests.actions.ssm.arrange import STATES, VALUE, make, outputs, status, value, versions
from tests.installation import SM, Client, Installation, refused


def delete(ssm: Client, version: str = "v1") -> object:
    return ssm.DeleteSecretVersion(SecretName="s", VersionId=version)


def test_one_version_goes_and_the_others_stay(ssm: Client) -> None:
    make(ssm)
    ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretString="second")
    assert outputs(delete(ssm, "v2")) == {"SecretName": "s", "VersionId": "v2"}
    assert (versions(ssm), value(ssm)) == (["v1"], VALUE)
    with refused("ResourceNotFound"):
        value(ssm, version="v2")


@pytest.mark.parametrize("state", STATES)
def test_the_last_version_goes_in_any_state_and_the_secret_stays(ssm: Client, state: str) -> None:
    make(ssm, state=state)
    delete_at = ssm.DescribeSecret(SecretName="s").DeleteTime
    delete(ssm)
    assert (versions(ssm), status(ssm)) == ([], state)
    assert ssm.DescribeSecret(SecretName="s").DeleteTime == delete_at
    for version in ("v1", "SSM_Current"):
        with refused("ResourceNotFound"):
            value(ssm, version=version)


def test_nothing_of_the_value_is_left_in_the_table(installation: Installation, ssm: Client) -> None:
    make(ssm)
    delete(ssm)
    rows = installation.service.table(SM).query(f"S#{installation.root.uin}#{SM}#s")
    assert [row.sk for row in rows] == ["M"]


def test_an_unknown_version_is_not_found(ssm: Client) -> None:
    make(ssm)
    with refused("ResourceNotFound"):
        delete(ssm, "v2")
    delete(ssm)
    with refused("ResourceNotFound"):
        delete(ssm)


def test_ssm_current_names_no_version_that_is_called_otherwise(ssm: Client) -> None:
    make(ssm)
    with refused("ResourceNotFound"):
        delete(ssm, "SSM_Current")
    assert value(ssm) == VALUE
    ssm.PutSecretValue(SecretName="s", VersionId="SSM_Current", SecretString="x")
    delete(ssm, "SSM_Current")
    assert versions(ssm) == ["v1"]


def test_a_pending_secret_that_lost_a_version_is_still_deleted_in_time(
    installation: Installation, ssm: Client
) -> None:
    make(ssm, state="PendingDelete")
    delete(ssm)
    installation.clock.advance(86400)
    with refused("ResourceNotFound"):
        status(ssm)
