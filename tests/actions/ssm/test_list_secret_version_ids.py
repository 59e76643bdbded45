import pytest

from tests.actions.ssm.arrange import STATES, make, outputs, versions
from tests.installation import Client, Installation


def test_versions_come_newest_first_with_their_times(installation: Installation, ssm: Client) -> None:
    made_at = installation.clock.now()
    make(ssm)
    for i in (2, 3):
        installation.clock.advance(10)
        ssm.PutSecretValue(SecretName="s", VersionId=f"v{i}", SecretString="x")
    assert outputs(ssm.ListSecretVersionIds(SecretName="s")) == {
        "SecretName": "s",
        "Versions": [
            {"VersionId": "v3", "CreateTime": made_at + 20},
            {"VersionId": "v2", "CreateTime": made_at + 10},
            {"VersionId": "v1", "CreateTime": made_at},
        ],
    }


def test_versions_of_one_moment_come_in_the_order_they_were_made(ssm: Client) -> None:
    make(ssm, VersionId="b")
    for version in ("c", "a"):
        ssm.PutSecretValue(SecretName="s", VersionId=version, SecretString="x")
    assert versions(ssm) == ["a", "c", "b"]


@pytest.mark.parametrize("state", STATES)
def test_it_answers_in_every_state(ssm: Client, state: str) -> None:
    make(ssm, state=state)
    assert versions(ssm) == ["v1"]


def test_no_versions_are_an_empty_list_not_null(ssm: Client) -> None:
    make(ssm)
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    assert outputs(ssm.ListSecretVersionIds(SecretName="s")) == {"SecretName": "s", "Versions": []}
