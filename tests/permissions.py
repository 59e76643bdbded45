"""Policies for the tests' users, written and attached by the CAM actions."""

import itertools
import json
from collections.abc import Mapping
from typing import Any, Final

from chalicelib.settings import Bootstrap
from tests.calls import ask, code, tc3
from tests.installation import Installation

_numbers: Final = itertools.count(1)


def statement(effect: str = "allow", action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    """One statement of a policy."""
    return {"effect": effect, "action": action, "resource": resource, **more}


def document(*statements: Mapping[str, Any]) -> str:
    """A policy with these statements."""
    return json.dumps({"version": "2.0", "statement": list(statements)})


def call(installation: Installation, service: str, action: str, **parameters: Any) -> dict[str, Any]:
    """Call as root, and have it succeed."""
    request = tc3(installation.root, installation.clock.now(), service, action, parameters)
    response = ask(installation.gateway, request)
    assert not code(response), response
    return response


def create_policy(installation: Installation, *statements: Mapping[str, Any]) -> int:
    """The id of a new policy, attached to nobody."""
    name = f"policy-{next(_numbers)}"
    made = call(installation, "cam", "CreatePolicy", PolicyName=name, PolicyDocument=document(*statements))
    return int(made["PolicyId"])


def allow(installation: Installation, who: Bootstrap, *statements: Mapping[str, Any]) -> int:
    """The id of a new policy that is attached to the user."""
    policy_id = create_policy(installation, *statements)
    call(installation, "cam", "AttachUserPolicy", PolicyId=policy_id, AttachUin=int(who.uin))
    return policy_id


def add_role(
    installation: Installation,
    name: str,
    principal: Mapping[str, Any],
    *statements: Mapping[str, Any],
    action: str = "name/sts:AssumeRole",
    condition: Mapping[str, Any] | None = None,
    seconds: int = 43200,
) -> str:
    """The id of a new role that trusts the principal and may do what the statements say."""
    trust = {
        "effect": "allow",
        "action": action,
        "principal": dict(principal),
        **({"condition": condition} if condition else {}),
    }
    made = call(
        installation,
        "cam",
        "CreateRole",
        RoleName=name,
        PolicyDocument=document(trust),
        SessionDuration=seconds,
    )
    role_id = str(made["RoleId"])
    if statements:
        policy_id = create_policy(installation, *statements)
        call(installation, "cam", "AttachRolePolicy", PolicyId=policy_id, AttachRoleId=role_id)
    return role_id
