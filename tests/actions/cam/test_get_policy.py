import json

import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NOBODY, at, document, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused

PRESET = {
    1: "AdministratorAccess",
    2: "ReadOnlyAccess",
    11: "QcloudKMSFullAccess",
    12: "QcloudKMSReadOnlyAccess",
    21: "QcloudSSMFullAccess",
    22: "QcloudSSMReadOnlyAccess",
    31: "QcloudCamFullAccess",
    32: "QcloudCamReadOnlyAccess",
    41: "QcloudAuditFullAccess",
}


def test_every_output(clock: ManualClock, cam: Client) -> None:
    policy = make_policy(cam, "p", Description="d", Tags=[{"Key": "k", "Value": ""}])
    assert outputs(cam.GetPolicy(PolicyId=policy)) == {
        "PolicyName": "p",
        "Description": "d",
        "Type": 1,
        "AddTime": at(clock),
        "UpdateTime": at(clock),
        "PolicyDocument": document(),
        "PresetAlias": "",
        "IsServiceLinkedRolePolicy": 0,
        "Tags": [{"Key": "k", "Value": ""}],
    }


@pytest.mark.parametrize("policy_id", PRESET)
def test_preset_policies(cam: Client, policy_id: int) -> None:
    found = cam.GetPolicy(PolicyId=policy_id)
    assert (found.PolicyName, found.Type) == (PRESET[policy_id], 2)
    assert json.loads(found.PolicyDocument)["version"] == "2.0"
    assert cam.ListPolicies(Scope="QCS").TotalNum == len(PRESET)


def test_the_document_is_that_of_the_default_version(cam: Client) -> None:
    policy, other = make_policy(cam), document("ssm:*")
    version = cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=other, SetAsDefault=False).VersionId
    assert cam.GetPolicy(PolicyId=policy).PolicyDocument == document()
    cam.SetDefaultPolicyVersion(PolicyId=policy, VersionId=version)
    assert cam.GetPolicy(PolicyId=policy).PolicyDocument == other


def test_another_accounts_policy_does_not_exist(installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for wanted in (policy, NOBODY, 3):
        with refused("ResourceNotFound.PolicyIdNotFound"):
            stranger.GetPolicy(PolicyId=wanted)
    make_policy(stranger)
    assert stranger.ListPolicies(Scope="Local").TotalNum == 1
