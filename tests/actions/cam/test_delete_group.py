import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from tests.actions.cam.arrange_policies import make_policy, may
from tests.actions.cam.arrange_users import (
    NOBODY,
    caller,
    groups_of,
    make_group,
    names,
    put_into,
    resource,
    uin_of,
    user_with_key,
)
from tests.actions.ssm.arrange import outputs, together
from tests.faults.stage import check_identities
from tests.inspected import Inspected
from tests.installation import Client, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def test_a_group_that_is_gone_is_nowhere(installation: Inspected, cam: Client) -> None:
    before = set(installation.data(IDENTITY))
    group = make_group(cam)
    assert outputs(cam.DeleteGroup(GroupId=group)) == {}
    assert set(installation.data(IDENTITY)) - before == {(f"AC#{installation.root.uin}", "CT#groups")}
    for action in ("GetGroup", "DeleteGroup"):
        with refused("ResourceNotFound.GroupNotExist"):
            getattr(cam, action)(GroupId=group)
    assert make_group(cam) != group


def test_its_users_stay_and_lose_what_it_allowed(installation: Inspected, cam: Client) -> None:
    who = user_with_key(cam)
    group = make_group(cam)
    put_into(cam, group, int(who.uin))
    cam.AttachGroupPolicy(PolicyId=make_policy(cam), AttachGroupId=group)
    assert may(installation, who)
    cam.DeleteGroup(GroupId=group)
    assert not may(installation, who)
    assert names(cam) == ["alice"]
    assert groups_of(cam, int(who.uin)) == []


@pytest.mark.parametrize(
    ("members", "attached", "steps"),
    [(8, 30, 1), (9, 0, 2), (3, 31, 3), (65, 31, 5)],
)
def test_however_much_there_is(
    installation: Inspected, cam: Client, members: int, attached: int, steps: int
) -> None:
    group, other = make_group(cam), make_group(cam, "other")
    uins = [uin_of(cam, f"u{number}") for number in range(members)]
    for start in range(0, members, 20):
        put_into(cam, group, *uins[start : start + 20])
    put_into(cam, other, uins[0])
    for number in range(attached):
        cam.AttachGroupPolicy(PolicyId=make_policy(cam, f"p{number}"), AttachGroupId=group)
    cam.DeleteGroup(GroupId=group)
    assert groups_of(cam, uins[0]) == [other]
    assert groups_of(cam, uins[-1]) == ([other] if members == 1 else [])
    check_identities(installation.data(IDENTITY), installation.root.uin)
    deleted = [e for e in installation.events(IDENTITY) if e["action"] == "DeleteGroup"]
    assert len(deleted) == steps, "each step has its event"
    assert all(event["resources"] == [f"group/{group}"] for event in deleted)


def test_groups_that_are_not_there(installation: Inspected, cam: Client) -> None:
    group = make_group(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, wrong in ((cam, NOBODY), (stranger, group)):
        with refused("ResourceNotFound.GroupNotExist"):
            client.DeleteGroup(GroupId=wrong)
    assert cam.GetGroup(GroupId=group).GroupId == group


def test_nobody_joins_a_group_that_is_being_deleted(installation: Inspected, cam: Client) -> None:
    uin = uin_of(cam)
    for _ in range(4):
        group = make_group(cam)
        one, two = installation.client("cam"), installation.client("cam")
        ended = together(
            [
                functools.partial(one.AddUserToGroup, Info=[{"GroupId": group, "Uin": uin}]),
                functools.partial(two.DeleteGroup, GroupId=group),
            ]
        )
        assert ended in (["ok", "ok"], ["InvalidParameter.GroupNotExist", "ok"])
        assert groups_of(cam, uin) == []
        check_identities(installation.data(IDENTITY), installation.root.uin)


def test_a_policy_may_allow_it_for_one_group(installation: Inspected, cam: Client) -> None:
    group, other = make_group(cam), make_group(cam, "other")
    client = caller(installation, "DeleteGroup", resource(installation, f"groupId/{group}"))
    for wrong in (other, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.DeleteGroup(GroupId=wrong)
    client.DeleteGroup(GroupId=group)
