from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NOBODY, at, document, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_newest_first(clock: ManualClock, cam: Client) -> None:
    policy, times = make_policy(cam), [at(clock)]
    for _ in range(2):
        clock.advance(5)
        times.append(at(clock))
        cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=document(), SetAsDefault=False)
    assert outputs(cam.ListPolicyVersions(PolicyId=policy)) == {
        "Versions": [
            {"VersionId": 3, "CreateDate": times[2], "IsDefaultVersion": 0},
            {"VersionId": 2, "CreateDate": times[1], "IsDefaultVersion": 0},
            {"VersionId": 1, "CreateDate": times[0], "IsDefaultVersion": 1},
        ]
    }
    (only,) = cam.ListPolicyVersions(PolicyId=11).Versions
    assert (only.VersionId, only.IsDefaultVersion) == (1, 1)


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    with refused("ResourceNotFound.PolicyIdNotFound"):
        cam.ListPolicyVersions(PolicyId=NOBODY)
    with refused("ResourceNotFound.PolicyIdNotFound"):
        installation.client("cam", who=installation.add_account()).ListPolicyVersions(PolicyId=policy)
