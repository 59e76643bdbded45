import functools

from tests.actions.cam.arrange_policies import NOBODY, document, make_policy, may
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_back_and_forth(installation: Installation, cam: Client) -> None:
    user, policy = installation.add_user("u"), make_policy(cam)
    cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(user.uin))
    cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=document("ssm:*"), SetAsDefault=False)
    for version, allowed in ((2, False), (1, True), (2, False), (2, False)):
        assert outputs(cam.SetDefaultPolicyVersion(PolicyId=policy, VersionId=version)) == {}
        assert may(installation, user) == allowed
        found = cam.ListPolicyVersions(PolicyId=policy).Versions
        assert [v.VersionId for v in found if v.IsDefaultVersion] == [version]


def test_what_is_not_there(cam: Client) -> None:
    policy = make_policy(cam)
    with refused("InvalidParameter.PolicyVersionNotExists"):
        cam.SetDefaultPolicyVersion(PolicyId=policy, VersionId=2)
    with refused("InvalidParameter.PolicyIdError"):
        cam.SetDefaultPolicyVersion(PolicyId=1, VersionId=1)
    with refused("InvalidParameter.PolicyIdNotExist"):
        cam.SetDefaultPolicyVersion(PolicyId=NOBODY, VersionId=1)


def test_the_default_is_never_a_version_that_is_gone(installation: Installation, cam: Client) -> None:
    for _ in range(5):
        policy = make_policy(cam)
        cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=document(), SetAsDefault=False)
        one, two = installation.client("cam"), installation.client("cam")
        ended = together(
            [
                functools.partial(one.SetDefaultPolicyVersion, PolicyId=policy, VersionId=2),
                functools.partial(two.DeletePolicyVersion, PolicyId=policy, VersionId=[2]),
            ]
        )
        assert ended in (
            ["ok", "FailedOperation.PolicyVersionAlreadyDefault"],
            ["InvalidParameter.PolicyVersionNotExists", "ok"],
        )
        assert cam.GetPolicy(PolicyId=policy).PolicyDocument == document()
        cam.DeletePolicy(PolicyId=[policy])
