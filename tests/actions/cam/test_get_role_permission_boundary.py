from tests.actions.cam.arrange_policies import NO_ROLE, document, make_policy, make_role
from tests.actions.cam.test_get_user_permission_boundary import NONE
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_none_and_a_policy(installation: Installation, cam: Client) -> None:
    role, policy = make_role(installation, cam), make_policy(cam, "p")
    assert outputs(cam.GetRolePermissionBoundary(RoleId=role)) == NONE
    cam.PutRolePermissionsBoundary(RoleId=role, PolicyId=policy)
    assert outputs(cam.GetRolePermissionBoundary(RoleId=role)) == {
        "PolicyId": policy,
        "PolicyName": "p",
        "PolicyDocument": document(),
        "PolicyType": 1,
        "CreateMode": 2,
    }
    cam.DeleteRolePermissionsBoundary(RoleId=role)
    assert outputs(cam.GetRolePermissionBoundary(RoleId=role)) == NONE


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.GetRolePermissionBoundary(RoleId=named)
