from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NOBODY, at, document, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_every_member(clock: ManualClock, cam: Client) -> None:
    policy, made_at = make_policy(cam), at(clock)
    clock.advance(5)
    cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=document("ssm:*"), SetAsDefault=True)
    expected = {
        1: {"CreateDate": made_at, "IsDefaultVersion": 0, "Document": document()},
        2: {"CreateDate": at(clock), "IsDefaultVersion": 1, "Document": document("ssm:*")},
    }
    for version, members in expected.items():
        found = outputs(cam.GetPolicyVersion(PolicyId=policy, VersionId=version))
        assert found == {"PolicyVersion": {"VersionId": version, **members}}


def test_a_preset_policy_has_one_version(cam: Client) -> None:
    found = cam.GetPolicyVersion(PolicyId=1, VersionId=1).PolicyVersion
    assert (found.IsDefaultVersion, found.Document) == (1, cam.GetPolicy(PolicyId=1).PolicyDocument)
    with refused("InvalidParameter.PolicyVersionNotExists"):
        cam.GetPolicyVersion(PolicyId=1, VersionId=2)


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    for version in (0, 2):
        with refused("InvalidParameter.PolicyVersionNotExists"):
            cam.GetPolicyVersion(PolicyId=policy, VersionId=version)
    with refused("ResourceNotFound.PolicyIdNotFound"):
        cam.GetPolicyVersion(PolicyId=NOBODY, VersionId=1)
    stranger = installation.client("cam", who=installation.add_account())
    with refused("ResourceNotFound.PolicyIdNotFound"):
        stranger.GetPolicyVersion(PolicyId=policy, VersionId=1)
