import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import (
    NO_ROLE,
    NOBODY,
    check_attachments,
    document,
    listed,
    make_policy,
    make_role,
)
from tests.actions.ssm.arrange import outputs
from tests.inspected import Inspected
from tests.installation import Client, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def decision(cam: Client, role: str, action: str) -> str:
    return str(cam.call_raw("SimulatePolicy", {"RoleId": role, "ActionName": action})["Decision"])


def test_only_what_both_allow_is_allowed(installation: Inspected, cam: Client) -> None:
    role = make_role(installation, cam)
    lists = make_policy(cam, "lists", document("kms:List*"))
    assert outputs(cam.PutRolePermissionsBoundary(RoleId=role, PolicyId=lists)) == {}
    assert decision(cam, role, "kms:ListKeys") == "deny"
    cam.AttachRolePolicy(AttachRoleId=role, PolicyId=11)
    assert [decision(cam, role, a) for a in ("kms:ListKeys", "kms:GenerateRandom")] == ["allow", "deny"]
    cam.PutRolePermissionsBoundary(RoleName="r", PolicyId=1)
    assert decision(cam, role, "kms:GenerateRandom") == "allow"
    assert listed(cam, lists).AttachEntityBoundaryCount == 0
    check_attachments(installation)


def test_what_is_not_there(installation: Inspected, cam: Client) -> None:
    role = make_role(installation, cam)
    with refused("InvalidParameter.PolicyIdNotExist"):
        cam.PutRolePermissionsBoundary(RoleId=role, PolicyId=NOBODY)
    with refused("InvalidParameter.ParamError"):
        cam.PutRolePermissionsBoundary(PolicyId=1)
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.PutRolePermissionsBoundary(RoleId=named, PolicyId=1)
    check_attachments(installation)
