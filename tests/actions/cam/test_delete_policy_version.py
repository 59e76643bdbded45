from tests.actions.cam.arrange_policies import NOBODY, document, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, refused


def make(cam: Client, versions: int) -> int:
    policy = make_policy(cam)
    for _ in range(versions - 1):
        cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=document("ssm:*"), SetAsDefault=False)
    return policy


def numbers(cam: Client, policy: int) -> list[int]:
    return [v.VersionId for v in cam.ListPolicyVersions(PolicyId=policy).Versions]


def test_several_at_once(cam: Client) -> None:
    policy = make(cam, 4)
    assert outputs(cam.DeletePolicyVersion(PolicyId=policy, VersionId=[2, 4, 2])) == {}
    assert numbers(cam, policy) == [3, 1]
    for gone in (2, 4):
        with refused("InvalidParameter.PolicyVersionNotExists"):
            cam.GetPolicyVersion(PolicyId=policy, VersionId=gone)


def test_all_of_them_or_none(cam: Client) -> None:
    policy = make(cam, 3)
    with refused("FailedOperation.PolicyVersionAlreadyDefault"):
        cam.DeletePolicyVersion(PolicyId=policy, VersionId=[2, 1])
    with refused("InvalidParameter.PolicyVersionNotExists"):
        cam.DeletePolicyVersion(PolicyId=policy, VersionId=[2, 4])
    with refused("InvalidParameter.ParamError"):
        cam.DeletePolicyVersion(PolicyId=policy, VersionId=[])
    assert numbers(cam, policy) == [3, 2, 1]


def test_preset_and_absent_policies(cam: Client) -> None:
    with refused("InvalidParameter.PolicyIdError"):
        cam.DeletePolicyVersion(PolicyId=1, VersionId=[1])
    with refused("InvalidParameter.PolicyIdNotExist"):
        cam.DeletePolicyVersion(PolicyId=NOBODY, VersionId=[1])
