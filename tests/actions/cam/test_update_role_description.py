import functools

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NO_ROLE, at, make_role, role_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_only_that_changes(clock: ManualClock, installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, "r", Description="d", Tags=[{"Key": "k", "Value": "v"}])
    before = role_of(cam, role)._serialize()
    clock.advance(5)
    assert outputs(cam.UpdateRoleDescription(RoleId=role, Description="new")) == {}
    after = role_of(cam, role)._serialize()
    assert after == {**before, "UpdateTime": at(clock), "Description": "new"}
    assert outputs(cam.UpdateRoleDescription(RoleName="R", Description="")) == {}
    assert role_of(cam, role).Description == ""


def test_the_longest_description(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    cam.UpdateRoleDescription(RoleId=role, Description="\u89d2" * 1024)
    with refused("InvalidParameter.DescriptionLengthOverlimit"):
        cam.UpdateRoleDescription(RoleId=role, Description="x" * 1025)
    assert len(role_of(cam, role).Description) == 1024


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    before = role_of(cam, role)._serialize()
    with refused("InvalidParameter.ParamError"):
        cam.UpdateRoleDescription(Description="new")
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.UpdateRoleDescription(RoleId=named, Description="new")
    assert role_of(cam, role)._serialize() == before


def test_at_the_same_time_nothing_is_lost(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    one, two = installation.client("cam"), installation.client("cam")
    tags = [{"Key": "k", "Value": "v"}]
    ended = together(
        [
            functools.partial(one.UpdateRoleDescription, RoleId=role, Description="new"),
            functools.partial(two.TagRole, RoleId=role, Tags=tags),
        ]
    )
    assert ended == ["ok", "ok"]
    found = role_of(cam, role)
    assert found.Description == "new"
    assert [t.Key for t in found.Tags] == ["k"]
