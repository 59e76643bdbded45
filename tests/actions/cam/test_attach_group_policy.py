import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.model.policy import MAX_ATTACHED
from chalicelib.table.port import Expect, Put
from tests.actions.cam.arrange_policies import (
    NOBODY,
    Holder,
    check_attachments,
    entities,
    listed,
    make_holder,
    make_policy,
    may,
)
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, refused

KIND = "Group"


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


@pytest.fixture
def holder(installation: Inspected, cam: Client) -> Holder:
    return make_holder(installation, cam, KIND)


def test_all_users_of_the_group_may_what_the_policy_allows(
    installation: Inspected, cam: Client, holder: Holder
) -> None:
    user, other = installation.add_user("u"), installation.add_user("v")
    cam.AddUserToGroup(Info=[{"Uin": int(user.uin), "GroupId": holder.id}])
    assert not may(installation, user)
    holder.attach(cam, make_policy(cam))
    assert may(installation, user)
    assert not may(installation, other)
    cam.RemoveUserFromGroup(Info=[{"Uin": int(user.uin), "GroupId": holder.id}])
    assert not may(installation, user)


def test_attached_once_however_often(installation: Inspected, cam: Client, holder: Holder) -> None:
    policy = make_policy(cam)
    for _ in range(2):
        assert outputs(holder.attach(cam, policy)) == {}
    assert holder.attached(cam) == [policy]
    assert entities(cam, policy) == [f"2/{holder.id}"]
    assert listed(cam, policy).Attachments == 1
    check_attachments(installation)


def test_what_is_not_there(installation: Inspected, cam: Client, holder: Holder) -> None:
    policy = make_policy(cam)
    with refused("ResourceNotFound.PolicyIdNotFound"):
        holder.attach(cam, NOBODY)
    with refused("ResourceNotFound.GroupNotExist"):
        Holder(KIND, NOBODY).attach(cam, policy)
    stranger = installation.client("cam", who=installation.add_account())
    with refused("ResourceNotFound.GroupNotExist"):
        holder.attach(stranger, 1)
    assert holder.attached(cam) == []
    check_attachments(installation)


def test_the_limit(installation: Inspected, cam: Client, holder: Holder) -> None:
    seal, table = installation.service.seals.of(installation.root.uin), installation.tables["identity"]
    members = {"policies": [[i + 10**14, 0] for i in range(MAX_ATTACHED - 1)], "boundary": 0}
    place = (f"AC#{installation.root.uin}", f"AT#{holder.target}")
    table.write([Put(seal.row(*place, members), Expect.ANY)])
    holder.attach(cam, 1)
    with refused("InvalidParameter.AttachmentFull"):
        holder.attach(cam, 2)


def test_many_at_the_same_time_all_count(installation: Inspected, cam: Client, holder: Holder) -> None:
    policies = [make_policy(cam, f"p{i}") for i in range(4)]
    ended = together([functools.partial(holder.attach, installation.client("cam"), p) for p in policies])
    assert ended == ["ok"] * 4
    assert sorted(holder.attached(cam)) == sorted(policies)
    check_attachments(installation)
