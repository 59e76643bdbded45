import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.policies import DETACH_AT_ONCE
from tests.actions.cam.arrange_policies import (
    NO_ROLE,
    check_attachments,
    entities,
    identity_rows,
    make_policy,
    make_role,
)
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def test_nothing_is_left_of_it(installation: Inspected, cam: Client) -> None:
    make_role(installation, cam, "stays")
    policy = make_policy(cam)
    before = identity_rows(installation).keys()
    role = make_role(installation, cam)
    cam.AttachRolePolicy(AttachRoleId=role, PolicyId=policy)
    cam.PutRolePermissionsBoundary(RoleId=role, PolicyId=policy)
    assert outputs(cam.DeleteRole(RoleName="r")) == {}
    left = identity_rows(installation).keys() - before
    assert all(sk.startswith("PC#") for _, sk in left), "counters stay"
    assert entities(cam, policy) == []
    check_attachments(installation)
    cam.DeletePolicy(PolicyId=[policy])
    assert make_role(installation, cam) != role, "its name is free"


def test_more_attachments_than_one_write_takes(installation: Inspected, cam: Client) -> None:
    role = make_role(installation, cam)
    policies = [make_policy(cam, f"p{i}") for i in range(DETACH_AT_ONCE + 3)]
    for policy in policies:
        cam.AttachRolePolicy(AttachRoleId=role, PolicyId=policy)
    cam.DeleteRole(RoleId=role)
    check_attachments(installation)
    assert entities(cam, policies[0]) == entities(cam, policies[-1]) == []
    told = [e for e in installation.events("identity") if e["action"] == "DeleteRole"]
    assert [e["resources"] for e in told] == [[f"role/{role}"]] * 2, "each step has its event"


def test_a_dry_run_detaches_nothing(installation: Inspected, cam: Client) -> None:
    role = make_role(installation, cam)
    policies = [make_policy(cam, f"p{i}") for i in range(DETACH_AT_ONCE + 1)]
    for policy in policies:
        cam.AttachRolePolicy(AttachRoleId=role, PolicyId=policy)
    before = identity_rows(installation)
    with refused("DryRunOperation"):
        cam.call_raw("DeleteRole", {"RoleId": role, "DryRun": True})
    assert identity_rows(installation) == before


def test_nothing_is_attached_to_a_role_that_is_being_deleted(installation: Inspected, cam: Client) -> None:
    policy = make_policy(cam)
    for _ in range(4):
        role = make_role(installation, cam)
        one, two = installation.client("cam"), installation.client("cam")
        ended = together(
            [
                functools.partial(one.AttachRolePolicy, PolicyId=policy, AttachRoleId=role),
                functools.partial(two.DeleteRole, RoleId=role),
            ]
        )
        assert ended in (["ok", "ok"], ["InvalidParameter.RoleNotExist", "ok"])
        check_attachments(installation)


def test_what_is_not_there(installation: Inspected, cam: Client) -> None:
    role = make_role(installation, cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.DeleteRole(RoleId=named)
    assert cam.DescribeRoleList(Page=1, Rp=1).TotalNum == 1
