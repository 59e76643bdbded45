from tests.actions.cam.arrange_policies import NO_ROLE, make_role
from tests.actions.cam.test_put_role_permissions_boundary import decision
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_without_it_policies_allow_all_that_they_say(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    cam.AttachRolePolicy(AttachRoleId=role, PolicyId=11)
    cam.PutRolePermissionsBoundary(RoleId=role, PolicyId=21)
    assert decision(cam, role, "kms:ListKeys") == "deny"
    for _ in range(2):
        assert outputs(cam.DeleteRolePermissionsBoundary(RoleName="r")) == {}, "twice is no error"
    assert decision(cam, role, "kms:ListKeys") == "allow"


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    with refused("InvalidParameter.ParamError"):
        cam.DeleteRolePermissionsBoundary()
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.DeleteRolePermissionsBoundary(RoleId=named)
