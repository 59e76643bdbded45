import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.policies import DETACH_AT_ONCE
from tests.actions.cam.arrange_policies import (
    KINDS,
    NOBODY,
    Counted,
    check_attachments,
    entities,
    identity_rows,
    make_holder,
    make_policy,
    make_role,
    may,
)
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, Installation, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def test_nothing_is_left_of_it(installation: Inspected, cam: Client) -> None:
    make_policy(cam, "stays")
    before = identity_rows(installation).keys()
    policy = make_policy(cam)
    for kind in KINDS:
        holder = make_holder(installation, cam, kind)
        holder.attach(cam, policy)
    assert outputs(cam.DeletePolicy(PolicyId=[policy])) == {}
    assert holder.attached(cam) == []
    with refused("ResourceNotFound.PolicyIdNotFound"):
        cam.GetPolicy(PolicyId=policy)
    left = identity_rows(installation).keys() - before
    assert not [sk for _, sk in left if str(policy) in sk]
    check_attachments(installation)
    assert make_policy(cam) != policy, "its name is free"


def test_what_it_allowed_is_denied(installation: Inspected, cam: Client) -> None:
    user, policy = installation.add_user("u"), make_policy(cam)
    cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(user.uin))
    assert may(installation, user)
    cam.DeletePolicy(PolicyId=[policy])
    assert not may(installation, user)


def test_more_attachments_than_one_write_takes(installation: Inspected, cam: Client) -> None:
    policy = make_policy(cam)
    for i in range(DETACH_AT_ONCE + 2):
        cam.AttachRolePolicy(PolicyId=policy, AttachRoleId=make_role(installation, cam, f"r{i}"))
    assert len(entities(cam, policy)) == DETACH_AT_ONCE + 2
    cam.DeletePolicy(PolicyId=[policy])
    check_attachments(installation)
    told = [e for e in installation.events("identity") if e["action"] == "DeletePolicy"]
    assert len(told) == 3, "each step has its event"
    assert {e["uin"] for e in told} == {installation.root.uin}


def test_all_of_them_or_none(installation: Inspected, cam: Client) -> None:
    policies = [make_policy(cam, f"p{i}") for i in range(9)]
    for last, code in (
        (NOBODY, "ResourceNotFound.PolicyIdNotFound"),
        (1, "InvalidParameter.PolicyIdError"),
    ):
        with refused(code):
            cam.DeletePolicy(PolicyId=[policies[0], last])
    with refused("InvalidParameter.OperatePoliciesOverLimit"):
        cam.DeletePolicy(PolicyId=policies)
    assert cam.ListPolicies(Scope="Local").TotalNum == 9
    cam.DeletePolicy(PolicyId=[*policies[:8], policies[0]])
    assert [p.PolicyId for p in cam.ListPolicies(Scope="Local").List] == policies[8:]
    check_attachments(installation)


@pytest.mark.parametrize("kind", ["User", "Role"])
def test_a_boundary_is_not_deleted(installation: Inspected, cam: Client, kind: str) -> None:
    holder, policy = make_holder(installation, cam, kind), make_policy(cam)
    named = {"TargetUin": holder.id} if kind == "User" else {"RoleId": holder.id}
    getattr(cam, f"Put{kind}PermissionsBoundary")(PolicyId=policy, **named)
    with refused("FailedOperation"):
        cam.DeletePolicy(PolicyId=[policy])
    getattr(cam, f"Delete{kind}PermissionsBoundary")(**named)
    cam.DeletePolicy(PolicyId=[policy])
    check_attachments(installation)


def test_nothing_is_attached_to_a_policy_that_is_being_deleted(installation: Inspected, cam: Client) -> None:
    for round_ in range(4):
        policy = make_policy(cam)
        roles = [make_role(installation, cam, f"r{round_}-{i}") for i in range(4)]
        attach = [
            functools.partial(installation.client("cam").AttachRolePolicy, PolicyId=policy, AttachRoleId=r)
            for r in roles
        ]
        delete = functools.partial(installation.client("cam").DeletePolicy, PolicyId=[policy])
        ended = together([*attach[:2], delete, *attach[2:]])
        assert set(ended) <= {"ok", "InvalidParameter.PolicyIdNotExist", "InternalError"}, ended
        if ended[2] != "ok":
            cam.DeletePolicy(PolicyId=[policy])
        check_attachments(installation)
        with refused("ResourceNotFound.PolicyIdNotFound"):
            cam.GetPolicy(PolicyId=policy)


@pytest.mark.parametrize("read", [1, 2, 3, 4])
def test_what_is_attached_in_between_is_detached_too(clock: ManualClock, read: int) -> None:
    installation = Counted(clock)
    cam, rival = installation.client("cam"), installation.client("cam")
    policy, role = make_policy(cam), make_role(installation, cam)
    # After the caller's row and key have been read.
    attach = functools.partial(rival.AttachRolePolicy, PolicyId=policy, AttachRoleId=role)
    installation.identity.do_before(2 + read, attach)
    cam.DeletePolicy(PolicyId=[policy])
    assert installation.identity.is_done()
    assert cam.ListAttachedRolePolicies(RoleId=role, Page=1, Rp=20).List == []
    check_attachments(installation)


def test_another_accounts_policy_stays(installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    with refused("ResourceNotFound.PolicyIdNotFound"):
        installation.client("cam", who=installation.add_account()).DeletePolicy(PolicyId=[policy])
    assert cam.GetPolicy(PolicyId=policy).PolicyName == "p"
