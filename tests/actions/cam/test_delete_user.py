import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from tests.actions.cam.arrange_policies import make_policy
from tests.actions.cam.arrange_users import (
    caller,
    groups_of,
    make_group,
    names,
    new_key,
    put_into,
    resource,
    signs,
    uin_of,
    user_with_key,
    users_of,
)
from tests.actions.ssm.arrange import outputs, together
from tests.faults.stage import check_identities
from tests.inspected import Inspected
from tests.installation import Client, Installation, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def test_a_user_that_is_gone_is_nowhere(installation: Inspected, cam: Client) -> None:
    before = installation.data(IDENTITY)
    uin = uin_of(cam)
    assert outputs(cam.DeleteUser(Name="alice")) == {}
    assert names(cam) == []
    left = installation.data(IDENTITY)
    assert {key for key in left if key not in before} == {(f"AC#{installation.root.uin}", "CT#users")}
    for action in ("GetUser", "DeleteUser"):
        with refused("ResourceNotFound.UserNotExist"):
            getattr(cam, action)(Name="alice")
    assert uin_of(cam) != uin, "another one of the same name"


def test_keys_are_in_the_way_unless_it_is_forced(installation: Inspected, cam: Client) -> None:
    who = user_with_key(cam)
    second = new_key(cam, who.uin)
    for force in ({}, {"Force": 0}):
        with refused("OperationDenied.HaveKeys"):
            cam.DeleteUser(Name="alice", **force)
    assert signs(installation, who)
    cam.DeleteUser(Name="alice", Force=1)
    assert not signs(installation, who)
    assert not signs(installation, second)
    assert not [key for key in installation.data(IDENTITY) if who.secret_id in key[0]]


def test_keys_that_are_switched_off_are_in_the_way_too(cam: Client) -> None:
    who = user_with_key(cam)
    cam.UpdateAccessKey(TargetUin=int(who.uin), AccessKeyId=who.secret_id, Status="Inactive")
    with refused("OperationDenied.HaveKeys"):
        cam.DeleteUser(Name="alice")
    cam.DeleteAccessKey(TargetUin=int(who.uin), AccessKeyId=who.secret_id)
    cam.DeleteUser(Name="alice")


def test_memberships_and_attachments_go_with_it(installation: Inspected, cam: Client) -> None:
    uin, other = uin_of(cam), uin_of(cam, "bob")
    groups = [make_group(cam, f"g{number}") for number in range(10)]
    for group in groups:
        put_into(cam, group, uin, other)
    policies = [make_policy(cam, f"p{number}") for number in range(3)]
    for policy in policies:
        cam.AttachUserPolicy(PolicyId=policy, AttachUin=uin)
    cam.PutUserPermissionsBoundary(PolicyId=policies[0], TargetUin=uin)
    new_key(cam, uin)
    cam.DeleteUser(Name="alice", Force=1)
    assert all(users_of(cam, group) == [other] for group in groups)
    assert sorted(groups_of(cam, other)) == sorted(groups)
    for policy in policies:
        assert cam.ListEntitiesForPolicy(PolicyId=policy).TotalNum == 0
        cam.DeletePolicy(PolicyId=[policy])
    check_identities(installation.data(IDENTITY), installation.root.uin)


@pytest.mark.parametrize("attached", [29, 31, 95])
def test_however_much_is_attached(installation: Inspected, cam: Client, attached: int) -> None:
    who = user_with_key(cam)
    put_into(cam, make_group(cam), int(who.uin))
    policies = [make_policy(cam, f"p{number}") for number in range(attached)]
    for policy in policies:
        cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(who.uin))
    cam.DeleteUser(Name="alice", Force=1)
    assert names(cam) == []
    assert not signs(installation, who)
    check_identities(installation.data(IDENTITY), installation.root.uin)
    assert sum(p.Attachments for p in cam.ListPolicies(Rp=200, Scope="Local").List) == 0
    deleted = [e for e in installation.events(IDENTITY) if e["action"] == "DeleteUser"]
    assert all(f"user/{who.uin}" in event["resources"] for event in deleted)
    assert len(deleted) == {29: 1, 31: 3, 95: 5}[attached], "each step has its event"


def test_who_is_not_there(installation: Inspected, cam: Client) -> None:
    uin_of(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, name in ((cam, "bob"), (cam, "root"), (stranger, "alice")):
        with refused("ResourceNotFound.UserNotExist"):
            client.DeleteUser(Name=name, Force=1)
    assert names(cam) == ["alice"]
    with refused("InvalidParameter.ParamError"):
        cam.DeleteUser(Name="alice", Force=2)


def test_of_many_at_once_one_succeeds(installation: Inspected, cam: Client) -> None:
    uin_of(cam)
    clients = [installation.client("cam") for _ in range(4)]
    ended = together([functools.partial(c.DeleteUser, Name="alice") for c in clients])
    assert sorted(ended) == ["ResourceNotFound.UserNotExist"] * 3 + ["ok"]
    assert cam.GetAccountSummary().User == 0


def test_nobody_joins_a_group_while_being_deleted(installation: Inspected, cam: Client) -> None:
    group = make_group(cam)
    for _ in range(4):
        uin = uin_of(cam)
        one, two = installation.client("cam"), installation.client("cam")
        ended = together(
            [
                functools.partial(one.AddUserToGroup, Info=[{"GroupId": group, "Uin": uin}]),
                functools.partial(two.DeleteUser, Name="alice"),
            ]
        )
        assert ended in (["ok", "ok"], ["ResourceNotFound.UserNotExist", "ok"])
        check_identities(installation.data(IDENTITY), installation.root.uin)


def test_a_policy_may_allow_it_for_one_user(installation: Installation, cam: Client) -> None:
    uin = uin_of(cam)
    uin_of(cam, "bob")
    client = caller(installation, "DeleteUser", resource(installation, f"uin/{uin}"))
    for name in ("bob", "nobody"):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.DeleteUser(Name=name)
    client.DeleteUser(Name="alice")
