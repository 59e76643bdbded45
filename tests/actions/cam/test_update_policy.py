import functools

import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import MALFORMED, NOBODY, at, document, make_policy, may
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_what_is_named_changes_and_the_rest_stays(clock: ManualClock, cam: Client) -> None:
    policy = make_policy(cam, "p", Description="first")
    before, made_at = cam.GetPolicy(PolicyId=policy), at(clock)
    clock.advance(60)
    assert outputs(cam.UpdatePolicy(PolicyId=policy, Description="second")) == {"PolicyId": policy}
    after = cam.GetPolicy(PolicyId=policy)
    assert (after.PolicyName, after.PolicyDocument) == ("p", before.PolicyDocument)
    assert (after.Description, after.AddTime, after.UpdateTime) == ("second", made_at, at(clock))
    assert cam.ListPolicyVersions(PolicyId=policy).Versions[0].VersionId == 1


def test_a_new_document_applies_at_once(installation: Installation, cam: Client) -> None:
    user, policy = installation.add_user("u"), make_policy(cam, text=document("ssm:*"))
    cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(user.uin))
    assert not may(installation, user)
    cam.UpdatePolicy(PolicyId=policy, PolicyDocument=document("kms:*"))
    assert may(installation, user)


def test_a_new_document_is_a_new_version_in_the_place_of_the_old_one(cam: Client) -> None:
    policy = make_policy(cam)
    cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=document("ssm:*"), SetAsDefault=False)
    for _ in range(6):
        cam.UpdatePolicy(PolicyId=policy, PolicyDocument=document("kms:Decrypt"))
    versions = cam.ListPolicyVersions(PolicyId=policy).Versions
    assert [(v.VersionId, v.IsDefaultVersion) for v in versions] == [(8, 1), (2, 0)]
    with refused("InvalidParameter.PolicyVersionNotExists"):
        cam.GetPolicyVersion(PolicyId=policy, VersionId=1)
    assert cam.GetPolicyVersion(PolicyId=policy, VersionId=2).PolicyVersion.Document == document("ssm:*")


def test_with_an_id_the_name_is_a_new_one(cam: Client) -> None:
    policy = make_policy(cam, "old")
    cam.UpdatePolicy(PolicyId=policy, PolicyName="new")
    assert cam.GetPolicy(PolicyId=policy).PolicyName == "new"
    other = make_policy(cam, "old")
    for name in ("new", "NEW", "ReadOnlyAccess"):
        with refused("FailedOperation.PolicyNameInUse"):
            cam.UpdatePolicy(PolicyId=other, PolicyName=name)
    cam.UpdatePolicy(PolicyId=other, PolicyName="Old")
    assert cam.GetPolicy(PolicyId=other).PolicyName == "Old"


def test_without_an_id_the_name_tells_which(cam: Client) -> None:
    policy = make_policy(cam, "p")
    assert cam.UpdatePolicy(PolicyName="P", Description="d").PolicyId == policy
    assert (cam.GetPolicy(PolicyId=policy).PolicyName, cam.GetPolicy(PolicyId=policy).Description) == (
        "p",
        "d",
    )
    with refused("InvalidParameter.ParamError"):
        cam.UpdatePolicy(Description="d")
    with refused("ResourceNotFound.PolicyIdNotFound"):
        cam.UpdatePolicy(PolicyName="q", Description="d")
    with refused("ResourceNotFound.PolicyIdNotFound"):
        cam.UpdatePolicy(PolicyId=NOBODY, Description="d")


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_policy_changes_nothing(cam: Client, case: str) -> None:
    policy = make_policy(cam)
    text, code = MALFORMED[case]
    with refused(f"InvalidParameter.{code}"):
        cam.UpdatePolicy(PolicyId=policy, PolicyDocument=text, Description="d")
    found = cam.GetPolicy(PolicyId=policy)
    assert (found.PolicyDocument, found.Description) == (document(), "")


def test_preset_policies_stay_as_they_are(cam: Client) -> None:
    for named in ({"PolicyId": 1}, {"PolicyName": "AdministratorAccess"}):
        with refused("InvalidParameter.PolicyIdError"):
            cam.UpdatePolicy(**named, Description="d")
    with refused("InvalidParameter.ParamError"):
        cam.UpdatePolicy(PolicyId=make_policy(cam), Alias="mine")


def test_updates_at_the_same_time_all_count(installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    clients = [installation.client("cam") for _ in range(4)]
    text = document("ssm:*")
    ended = together(
        [functools.partial(c.UpdatePolicy, PolicyId=policy, PolicyDocument=text) for c in clients]
    )
    assert ended == ["ok"] * 4
    (version,) = cam.ListPolicyVersions(PolicyId=policy).Versions
    assert version.VersionId == 5
