from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NO_ROLE, at, make_role, trust
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_every_member_by_id_and_by_name(clock: ManualClock, installation: Installation, cam: Client) -> None:
    role, made_at = make_role(installation, cam, "r", Tags=[{"Key": "k", "Value": "v"}]), at(clock)
    clock.advance(5)
    cam.UpdateRoleDescription(RoleId=role, Description="d")
    root = installation.root.uin
    for named in ({"RoleId": role}, {"RoleName": "r"}, {"RoleName": "R"}, {"RoleId": role, "RoleName": "r"}):
        assert outputs(cam.GetRole(**named)) == {
            "RoleInfo": {
                "RoleId": role,
                "RoleName": "r",
                "PolicyDocument": trust(root),
                "Description": "d",
                "AddTime": made_at,
                "UpdateTime": at(clock),
                "ConsoleLogin": 0,
                "RoleType": "user",
                "SessionDuration": 7200,
                "DeletionTaskId": "",
                "Tags": [{"Key": "k", "Value": "v"}],
                "RoleArn": f"qcs::cam::uin/{root}:roleName/r",
            }
        }


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, "r")
    for named in ({"RoleId": NO_ROLE}, {"RoleName": "s"}, {"RoleId": role, "RoleName": "s"}):
        with refused("InvalidParameter.RoleNotExist"):
            cam.GetRole(**named)
    for named in ({}, {"RoleId": "r"}, {"RoleId": "1#M"}):
        with refused("InvalidParameter.ParamError"):
            cam.GetRole(**named)
    stranger = installation.client("cam", who=installation.add_account())
    for named in ({"RoleId": role}, {"RoleName": "r"}):
        with refused("InvalidParameter.RoleNotExist"):
            stranger.GetRole(**named)
