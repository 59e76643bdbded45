from typing import Any

import pytest

from tests import permissions
from tests.actions.ssm.arrange import VALUE, make, names, value, versions
from tests.installation import FIPS, SM, Client, Installation, refused

BEIJING = "ap-beijing"


def replicate(ssm: Client, *regions: str, name: str = "s", **more: str) -> list[dict[str, Any]]:
    wanted = [{"Region": region, **more} for region in regions]
    answer = ssm.call_raw("ReplicateSecret", {"SecretName": name, "ReplicaRegions": wanted})
    assert answer["SecretName"] == name
    return list(answer["ReplicationStatus"])


def status(ssm: Client, name: str = "s") -> dict[str, tuple[str, str]]:
    described = ssm.call_raw("DescribeSecret", {"SecretName": name})
    return {s["Region"]: (s["Status"], s["StatusMessage"]) for s in described.get("ReplicationStatus", [])}


@pytest.fixture
def there(installation: Installation) -> Client:
    return installation.client("ssm", FIPS)


def test_a_copy_is_in_the_other_region_and_in_step(
    installation: Installation, ssm: Client, there: Client
) -> None:
    make(ssm, Description="d", Tags=[{"TagKey": "team", "TagValue": "red"}])
    (found,) = replicate(ssm, FIPS)
    assert found == {
        "Region": FIPS,
        "KmsKeyId": "",
        "Status": "InProgress",
        "StatusMessage": "",
        "LastSyncedTime": 0,
    }
    described = ssm.call_raw("DescribeSecret", {"SecretName": "s"})
    assert described["ReplicationStatus"] == [
        {**found, "Status": "InSync", "LastSyncedTime": installation.clock.now()}
    ]
    copy = there.call_raw("DescribeSecret", {"SecretName": "s"})
    assert (copy["Description"], copy["Status"], copy["PrimaryRegion"]) == ("d", "Enabled", SM)
    assert copy["KmsKeyId"] != described["KmsKeyId"], "each region seals under a key of its own"
    assert value(there) == VALUE
    assert names(there, TagFilters=[{"TagKey": "team", "TagValue": ["red"]}]) == ["s"]


def test_every_change_of_the_primary_follows(installation: Installation, ssm: Client, there: Client) -> None:
    make(ssm)
    replicate(ssm, FIPS, BEIJING)
    ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretBinary="AAH/")
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="other")
    assert (versions(there), value(there), value(there, version="v2")) == (["v2", "v1"], "other", "AAH/")
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v2")
    ssm.UpdateDescription(SecretName="s", Description="new")
    root = installation.root.uin
    name = f"qcs::ssm:{SM}:uin/{root}:secret/creatorUin/{root}/s"
    installation.client("tag").TagResources(ResourceList=[name], Tags=[{"TagKey": "a", "TagValue": "b"}])
    assert names(there, TagFilters=[{"TagKey": "a"}]) == ["s"]
    assert versions(there) == ["v1"]
    ssm.DisableSecret(SecretName="s")
    for region in (FIPS, BEIJING):
        copy = installation.client("ssm", region).DescribeSecret(SecretName="s")
        assert (copy.Description, copy.Status) == ("new", "Disabled")
    with refused("ResourceUnavailable.ResourceDisabled"):
        value(there)
    assert status(ssm) == {FIPS: ("InSync", ""), BEIJING: ("InSync", "")}


def test_a_disabled_secret_can_be_replicated(ssm: Client, there: Client) -> None:
    make(ssm, state="Disabled")
    replicate(ssm, FIPS)
    assert there.DescribeSecret(SecretName="s").Status == "Disabled"
    ssm.EnableSecret(SecretName="s")
    assert value(there) == VALUE


def test_the_copy_is_sealed_under_the_key_that_was_named(
    installation: Installation, ssm: Client, there: Client
) -> None:
    make(ssm)
    key = installation.client("kms", FIPS).CreateKey(Alias="k").KeyId
    replicate(ssm, FIPS, KmsKeyId=key)
    assert there.DescribeSecret(SecretName="s").KmsKeyId == key
    assert value(there) == VALUE
    for region, unusable in ((FIPS, "other"), (BEIJING, key)):
        with refused("InvalidParameterValue" if region == FIPS else "FailedOperation.AccessKmsError"):
            replicate(ssm, region, KmsKeyId=unusable)


def test_repeating_it_succeeds_and_changes_nothing(ssm: Client, there: Client) -> None:
    make(ssm)
    replicate(ssm, FIPS)
    replicate(ssm, FIPS)
    assert status(ssm) == {FIPS: ("InSync", "")}
    assert names(there) == ["s"]


def test_what_cannot_be_replicated(installation: Installation, ssm: Client, there: Client) -> None:
    make(ssm)
    with refused("UnsupportedRegion"):
        replicate(ssm, "ap-nowhere")
    for regions in ((SM,), (FIPS, FIPS), ()):
        with refused("InvalidParameterValue"):
            replicate(ssm, *regions)
    make(there)
    with refused("ResourceInUse.SecretExists"):
        replicate(ssm, FIPS)
    with refused("ResourceNotFound"):
        replicate(ssm, FIPS, name="absent")
    make(ssm, "leaving", "PendingDelete")
    with refused("FailedOperation"):
        replicate(ssm, FIPS, name="leaving")
    assert names(there) == ["s"]
    assert not status(ssm)


def test_a_replica_changes_with_its_primary_only(
    installation: Installation, ssm: Client, there: Client
) -> None:
    make(ssm)
    replicate(ssm, FIPS)
    named = {"SecretName": "s"}
    changes: dict[str, dict[str, Any]] = {
        "PutSecretValue": {"VersionId": "v2", "SecretString": "x"},
        "UpdateSecret": {"VersionId": "v1", "SecretString": "x"},
        "UpdateDescription": {"Description": "x"},
        "DisableSecret": {},
        "EnableSecret": {},
        "DeleteSecret": {},
        "RestoreSecret": {},
        "DeleteSecretVersion": {"VersionId": "v1"},
        "ReplicateSecret": {"ReplicaRegions": [{"Region": BEIJING}]},
    }
    for action, parameters in changes.items():
        with refused("OperationDenied"):
            there.call_raw(action, {**named, **parameters})
    root = installation.root.uin
    name = f"qcs::ssm:{FIPS}:uin/{root}:secret/creatorUin/{root}/s"
    with refused("OperationDenied"):
        installation.client("tag").TagResources(ResourceList=[name], Tags=[{"TagKey": "a", "TagValue": "b"}])
    with refused("ResourceInUse.SecretExists"):
        make(there)
    assert value(there) == VALUE


def test_a_primary_is_not_deleted_while_it_has_replicas(ssm: Client) -> None:
    make(ssm, state="Disabled")
    replicate(ssm, FIPS)
    for days in (0, 7):
        with refused("FailedOperation"):
            ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=days)
    ssm.call_raw("StopSecretReplication", {"SecretName": "s", "Regions": [FIPS]})
    ssm.DeleteSecret(SecretName="s")


def test_it_takes_a_permission_in_both_regions(
    installation: Installation, ssm: Client, there: Client
) -> None:
    make(ssm)
    who = installation.add_user("ops")
    root = installation.root.uin
    ops = installation.client("ssm", SM, who)

    def allow(action: str, resource: str) -> None:
        statement: dict[str, Any] = {"effect": "allow", "action": action, "resource": resource}
        permissions.allow(installation, who, statement)

    with refused("AuthFailure.UnauthorizedOperation"):
        replicate(ops, FIPS)
    allow("ssm:ReplicateSecret", f"qcs::ssm:{SM}:uin/{root}:secret/creatorUin/{root}/s")
    with refused("AuthFailure.UnauthorizedOperation"):
        replicate(ops, FIPS)
    assert names(there) == []
    allow("ssm:CreateSecret", f"qcs::ssm:{FIPS}:uin/{root}:secret/*")
    replicate(ops, FIPS)
    assert value(there) == VALUE
    with refused("AuthFailure.UnauthorizedOperation"):
        replicate(ops, BEIJING)
