import functools

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NO_ROLE, at, make_role, role_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_only_that_changes(clock: ManualClock, installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, "r", Description="d", Tags=[{"Key": "k", "Value": "v"}])
    before = role_of(cam, role)._serialize()
    clock.advance(5)
    assert outputs(cam.UpdateRoleConsoleLogin(RoleId=int(role), ConsoleLogin=1)) == {}
    after = role_of(cam, role)._serialize()
    assert after == {**before, "UpdateTime": at(clock), "ConsoleLogin": 1}
    assert outputs(cam.UpdateRoleConsoleLogin(RoleName="R", ConsoleLogin=0)) == {}
    assert role_of(cam, role).ConsoleLogin == 0


def test_there_is_nothing_between(installation: Installation, cam: Client) -> None:
    for wrong in (2, -1):
        with refused("InvalidParameter.ParamError"):
            cam.UpdateRoleConsoleLogin(
                RoleId=int(make_role(installation, cam, f"r{wrong}")), ConsoleLogin=wrong
            )


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    before = role_of(cam, role)._serialize()
    with refused("InvalidParameter.ParamError"):
        cam.UpdateRoleConsoleLogin(ConsoleLogin=1)
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.UpdateRoleConsoleLogin(RoleId=int(named), ConsoleLogin=1)
    assert role_of(cam, role)._serialize() == before


def test_at_the_same_time_nothing_is_lost(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    one, two = installation.client("cam"), installation.client("cam")
    tags = [{"Key": "k", "Value": "v"}]
    ended = together(
        [
            functools.partial(one.UpdateRoleConsoleLogin, RoleId=int(role), ConsoleLogin=1),
            functools.partial(two.TagRole, RoleId=role, Tags=tags),
        ]
    )
    assert ended == ["ok", "ok"]
    found = role_of(cam, role)
    assert found.ConsoleLogin == 1
    assert [t.Key for t in found.Tags] == ["k"]
