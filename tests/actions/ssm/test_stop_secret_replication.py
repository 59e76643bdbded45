import pytest

from chalicelib.jobs import schedule
from tests.actions.ssm.arrange import VALUE, make, names, value
from tests.actions.ssm.test_replicate_secret import BEIJING, replicate, status
from tests.installation import FIPS, Client, Installation, refused


@pytest.fixture
def there(installation: Installation) -> Client:
    return installation.client("ssm", FIPS)


def stop(ssm: Client, *regions: str) -> list[str]:
    answer = ssm.call_raw("StopSecretReplication", {"SecretName": "s", "Regions": list(regions)})
    return [s["Region"] for s in answer["ReplicationStatus"]]


def test_at_the_primary_the_named_replicas_become_secrets_of_their_own(
    installation: Installation, ssm: Client, there: Client
) -> None:
    make(ssm)
    replicate(ssm, FIPS, BEIJING)
    assert stop(ssm, FIPS) == [BEIJING]
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="later")
    assert value(there) == VALUE
    there.UpdateSecret(SecretName="s", VersionId="v1", SecretString="mine")
    assert (value(ssm), value(there)) == ("later", "mine")
    assert value(installation.client("ssm", BEIJING)) == "later"
    assert "PrimaryRegion" not in there.call_raw("DescribeSecret", {"SecretName": "s"})
    there.DisableSecret(SecretName="s")
    there.DeleteSecret(SecretName="s")
    replicate(ssm, FIPS)
    assert value(there) == "later"


def test_where_the_replica_is_the_primary_learns_of_it(ssm: Client, there: Client) -> None:
    make(ssm)
    replicate(ssm, FIPS)
    assert stop(there) == []
    assert status(ssm) == {}
    there.PutSecretValue(SecretName="s", VersionId="v2", SecretString="mine")
    assert (value(there), value(there, version="v2")) == (VALUE, "mine")
    ssm.DisableSecret(SecretName="s")
    ssm.DeleteSecret(SecretName="s")
    assert names(there) == ["s"]
    replicate(there, BEIJING)
    assert status(there) == {BEIJING: ("InSync", "")}


def test_what_cannot_be_stopped(ssm: Client, there: Client) -> None:
    make(ssm)
    with refused("FailedOperation"):
        stop(ssm, FIPS)
    replicate(ssm, FIPS)
    for client, regions in ((ssm, ()), (there, (BEIJING,))):
        with refused("InvalidParameterValue"):
            stop(client, *regions)
    with refused("FailedOperation"):
        stop(ssm, FIPS, BEIJING)
    assert status(ssm) == {FIPS: ("InSync", "")}
    stop(there, FIPS)
    with refused("InvalidParameterValue"):
        stop(there)


def test_nothing_is_left_to_do(installation: Installation, ssm: Client, there: Client) -> None:
    make(ssm)
    replicate(ssm, FIPS, BEIJING)
    stop(there)
    stop(ssm, BEIJING)
    outcomes = schedule.run(installation.service, "replicate_secrets").values()
    assert [(o.done, o.failed, o.finished) for o in outcomes] == [(0, 0, True)] * 3
