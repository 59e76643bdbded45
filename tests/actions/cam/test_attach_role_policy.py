import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.model.policy import MAX_ATTACHED
from chalicelib.table.port import Expect, Put
from tests.actions.cam.arrange_policies import (
    NO_ROLE,
    NOBODY,
    Holder,
    check_attachments,
    entities,
    listed,
    make_holder,
    make_policy,
)
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, refused

KIND = "Role"


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


@pytest.fixture
def holder(installation: Inspected, cam: Client) -> Holder:
    return make_holder(installation, cam, KIND)


def test_role_and_policy_by_name(cam: Client, holder: Holder) -> None:
    policy = make_policy(cam, "Named")
    cam.AttachRolePolicy(AttachRoleName="r", PolicyName="Named")
    cam.AttachRolePolicy(AttachRoleName="R", PolicyName="administratoraccess")
    assert holder.attached(cam) == [policy, 1]


def test_one_name_of_each_is_needed(cam: Client, holder: Holder) -> None:
    for named in ({"PolicyId": 1}, {"AttachRoleId": holder.id}, {}):
        with refused("InvalidParameter.ParamError"):
            cam.AttachRolePolicy(**named)
    with refused("InvalidParameter.RoleNotExist"):
        cam.AttachRolePolicy(PolicyId=1, AttachRoleName="other")
    with refused("InvalidParameter.RoleNotExist"):
        cam.AttachRolePolicy(PolicyId=1, AttachRoleName="other", AttachRoleId=holder.id)
    with refused("InvalidParameter.PolicyIdNotExist"):
        cam.AttachRolePolicy(PolicyName="other", AttachRoleId=holder.id)
    assert holder.attached(cam) == []


def test_attached_once_however_often(installation: Inspected, cam: Client, holder: Holder) -> None:
    policy = make_policy(cam)
    for _ in range(2):
        assert outputs(holder.attach(cam, policy)) == {}
    assert holder.attached(cam) == [policy]
    assert entities(cam, policy) == [f"3/{holder.id}"]
    assert listed(cam, policy).Attachments == 1
    check_attachments(installation)


def test_what_is_not_there(installation: Inspected, cam: Client, holder: Holder) -> None:
    policy = make_policy(cam)
    with refused("InvalidParameter.PolicyIdNotExist"):
        holder.attach(cam, NOBODY)
    with refused("InvalidParameter.RoleNotExist"):
        Holder(KIND, NO_ROLE).attach(cam, policy)
    stranger = installation.client("cam", who=installation.add_account())
    with refused("InvalidParameter.RoleNotExist"):
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
