import functools

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NO_ROLE, at, make_role, role_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_only_that_changes(clock: ManualClock, installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, "r", Description="d", Tags=[{"Key": "k", "Value": "v"}])
    before = role_of(cam, role)._serialize()
    clock.advance(5)
    assert outputs(cam.UpdateRoleSessionDuration(RoleId=int(role), SessionDuration=43200)) == {}
    after = role_of(cam, role)._serialize()
    assert after == {**before, "UpdateTime": at(clock), "SessionDuration": 43200}
    assert outputs(cam.UpdateRoleSessionDuration(RoleName="R", SessionDuration=0)) == {}
    assert role_of(cam, role).SessionDuration == 7200


def test_limits(installation: Installation, cam: Client) -> None:
    role = int(make_role(installation, cam))
    for wrong in (-1, 43201):
        with refused("InvalidParameter.ParamError"):
            cam.UpdateRoleSessionDuration(RoleId=role, SessionDuration=wrong)


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    before = role_of(cam, role)._serialize()
    with refused("InvalidParameter.ParamError"):
        cam.UpdateRoleSessionDuration(SessionDuration=43200)
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.UpdateRoleSessionDuration(RoleId=int(named), SessionDuration=43200)
    assert role_of(cam, role)._serialize() == before


def test_at_the_same_time_nothing_is_lost(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    one, two = installation.client("cam"), installation.client("cam")
    tags = [{"Key": "k", "Value": "v"}]
    ended = together(
        [
            functools.partial(one.UpdateRoleSessionDuration, RoleId=int(role), SessionDuration=43200),
            functools.partial(two.TagRole, RoleId=role, Tags=tags),
        ]
    )
    assert ended == ["ok", "ok"]
    found = role_of(cam, role)
    assert found.SessionDuration == 43200
    assert [t.Key for t in found.Tags] == ["k"]
