import functools

import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NO_ROLE, at, make_role, role_of, trust
from tests.actions.cam.test_create_role import MALFORMED
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_only_that_changes(clock: ManualClock, installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, "r", Description="d", Tags=[{"Key": "k", "Value": "v"}])
    before = role_of(cam, role)._serialize()
    clock.advance(5)
    assert outputs(cam.UpdateAssumeRolePolicy(RoleId=role, PolicyDocument=trust("1"))) == {}
    after = role_of(cam, role)._serialize()
    assert after == {**before, "UpdateTime": at(clock), "PolicyDocument": trust("1")}
    assert outputs(cam.UpdateAssumeRolePolicy(RoleName="R", PolicyDocument=trust("2"))) == {}
    assert role_of(cam, role).PolicyDocument == trust("2")


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_trust_policy_changes_nothing(installation: Installation, cam: Client, case: str) -> None:
    role = make_role(installation, cam)
    text, code = MALFORMED[case]
    with refused(f"InvalidParameter.{code}"):
        cam.UpdateAssumeRolePolicy(RoleId=role, PolicyDocument=text)
    assert role_of(cam, role).PolicyDocument == trust(installation.root.uin)


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    before = role_of(cam, role)._serialize()
    with refused("InvalidParameter.ParamError"):
        cam.UpdateAssumeRolePolicy(PolicyDocument=trust("1"))
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.UpdateAssumeRolePolicy(RoleId=named, PolicyDocument=trust("1"))
    assert role_of(cam, role)._serialize() == before


def test_at_the_same_time_nothing_is_lost(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    one, two = installation.client("cam"), installation.client("cam")
    tags = [{"Key": "k", "Value": "v"}]
    ended = together(
        [
            functools.partial(one.UpdateAssumeRolePolicy, RoleId=role, PolicyDocument=trust("1")),
            functools.partial(two.TagRole, RoleId=role, Tags=tags),
        ]
    )
    assert ended == ["ok", "ok"]
    found = role_of(cam, role)
    assert found.PolicyDocument == trust("1")
    assert [t.Key for t in found.Tags] == ["k"]
