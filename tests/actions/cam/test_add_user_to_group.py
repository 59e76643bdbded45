import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.model import group as group_rules
from chalicelib.model import user as user_rules
from tests.actions.cam.arrange_policies import make_policy, may
from tests.actions.cam.arrange_users import (
    NOBODY,
    caller,
    groups_of,
    make_group,
    put_into,
    resource,
    uin_of,
    user_with_key,
    users_of,
)
from tests.actions.ssm.arrange import outputs, together
from tests.faults.stage import check_identities
from tests.inspected import Inspected
from tests.installation import Client, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def test_a_user_gains_what_the_group_may(installation: Inspected, cam: Client) -> None:
    who = user_with_key(cam)
    group = make_group(cam)
    cam.AttachGroupPolicy(PolicyId=make_policy(cam), AttachGroupId=group)
    assert not may(installation, who)
    assert outputs(cam.AddUserToGroup(Info=[{"GroupId": group, "Uin": int(who.uin)}])) == {}
    assert may(installation, who)


def test_many_users_and_groups_at_once(installation: Inspected, cam: Client) -> None:
    uins = [uin_of(cam, f"u{number}") for number in range(4)]
    groups = [make_group(cam, f"g{number}") for number in range(5)]
    pairs = [{"GroupId": group, "Uin": uin} for group in groups for uin in uins]
    cam.AddUserToGroup(Info=[*pairs[:19], pairs[0]])
    cam.AddUserToGroup(Info=pairs)
    for group in groups:
        assert sorted(users_of(cam, group)) == sorted(uins)
    for uin in uins:
        assert sorted(groups_of(cam, uin)) == sorted(groups)
    check_identities(installation.data(IDENTITY), installation.root.uin)


@pytest.mark.parametrize("named", [("Uin",), ("Uid",), ("Uin", "Uid")])
def test_uid_and_uin_are_one_number(cam: Client, named: tuple[str, ...]) -> None:
    uin, group = uin_of(cam), make_group(cam)
    cam.AddUserToGroup(Info=[{"GroupId": group, **dict.fromkeys(named, uin)}])
    assert users_of(cam, group) == [uin]


def test_users_that_are_not_named_rightly(installation: Inspected, cam: Client) -> None:
    uin, other, group = uin_of(cam), uin_of(cam, "bob"), make_group(cam)
    stranger = installation.client("cam", who=installation.add_account())
    theirs = uin_of(stranger)
    good = {"GroupId": group, "Uin": uin}
    for wrong, refusal in (
        ({"GroupId": group}, "InvalidParameter.UserUinAndUinNotAllNull"),
        ({"GroupId": group, "Uin": uin, "Uid": other}, "ResourceNotFound.UserNotExist"),
        ({"GroupId": group, "Uin": NOBODY}, "ResourceNotFound.UserNotExist"),
        ({"GroupId": group, "Uin": theirs}, "ResourceNotFound.UserNotExist"),
        ({"GroupId": group, "Uin": int(installation.root.uin)}, "ResourceNotFound.UserNotExist"),
        ({"GroupId": NOBODY, "Uin": uin}, "InvalidParameter.GroupNotExist"),
        ({"GroupId": group, "Uin": -1}, "InvalidParameter.ParamError"),
        ({"Uin": uin}, "MissingParameter"),
    ):
        with refused(refusal):
            cam.AddUserToGroup(Info=[good, wrong])
        assert users_of(cam, group) == [], "all of them, or none"
    with refused("InvalidParameter.GroupNotExist"):
        stranger.AddUserToGroup(Info=[{"GroupId": group, "Uin": theirs}])


def test_how_many_at_once(cam: Client) -> None:
    group = make_group(cam)
    for count in (0, 21):
        with refused("InvalidParameter.ParamError"):
            cam.call_raw("AddUserToGroup", {"Info": [{"GroupId": group, "Uin": 1}] * count})


def test_the_groups_of_a_user_and_the_users_of_a_group_have_a_limit(
    cam: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (user_rules.MAX_GROUPS_OF_USER, user_rules.MAX_USERS_OF_GROUP) == (10, 100)
    monkeypatch.setattr(user_rules, "MAX_GROUPS_OF_USER", 2)
    monkeypatch.setattr(group_rules, "MAX_USERS_OF_GROUP", 2)
    groups = [make_group(cam, f"g{number}") for number in range(3)]
    uins = [uin_of(cam, f"u{number}") for number in range(3)]
    put_into(cam, groups[0], *uins[:2])
    put_into(cam, groups[1], uins[0])
    with refused("InvalidParameter.UserGroupFull"):
        put_into(cam, groups[2], uins[1], uins[0])
    with refused("InvalidParameter.GroupUserFull"):
        put_into(cam, groups[0], uins[2])
    put_into(cam, groups[0], *uins[:2])
    assert users_of(cam, groups[2]) == []


def test_at_the_same_time_no_limit_is_passed(
    installation: Inspected, cam: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_rules, "MAX_USERS_OF_GROUP", 2)
    group = make_group(cam)
    uins = [uin_of(cam, f"u{number}") for number in range(4)]
    calls = [functools.partial(put_into, installation.client("cam"), group, uin) for uin in uins]
    assert sorted(together(calls)) == ["InvalidParameter.GroupUserFull"] * 2 + ["ok"] * 2
    assert len(users_of(cam, group)) == 2
    check_identities(installation.data(IDENTITY), installation.root.uin)


def test_a_policy_may_allow_it_for_one_group(installation: Inspected, cam: Client) -> None:
    uin, group, other = uin_of(cam), make_group(cam), make_group(cam, "other")
    client = caller(installation, "AddUserToGroup", resource(installation, f"groupId/{group}"))
    put_into(client, group, uin)
    for wrong in (other, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.AddUserToGroup(Info=[{"GroupId": group, "Uin": uin}, {"GroupId": wrong, "Uin": uin}])
    assert groups_of(cam, uin) == [group]


def test_what_is_recorded(installation: Inspected, cam: Client) -> None:
    uin, group = uin_of(cam), make_group(cam)
    put_into(cam, group, uin)
    (event,) = [e for e in installation.events(IDENTITY) if e["action"] == "AddUserToGroup"]
    assert event["resources"] == [f"group/{group}", f"user/{uin}"]
    assert event["parameters"] == {"Info": [{"GroupId": group, "Uin": uin}]}
