"""Detach policies from everything and delete them."""

from typing import Any, Final

from chalicelib.actions.policy_parameters import PolicyIds
from chalicelib.context import Context
from chalicelib.errors import FailedOperation, OperatePoliciesOverLimit
from chalicelib.table import policies
from chalicelib.table.port import Conflict

_AT_ONCE: Final = 8
"""As many as one write has room for."""


def delete_policy(ctx: Context, *, policy_id: PolicyIds) -> dict[str, Any]:
    wanted = dict.fromkeys(policy_id)
    if len(wanted) > _AT_ONCE:
        raise OperatePoliciesOverLimit(f"At most {_AT_ONCE} policies can be deleted at once.")
    found = [ctx.policies.get_custom(each) for each in wanted]
    if any(row is not None and row.number for row in ctx.policies.counts(found)[1::2]):
        # Without its boundary a user could do more than ever.
        raise FailedOperation("The policy is a permissions boundary: put another one in its place first.")
    for policy in found:
        ctx.policies.detach_all(policy)
    counts = ctx.policies.counts(found)
    if any(row is not None and row.number for row in counts):
        raise Conflict(())  # attached again in between
    ctx.commit(policies.delete(ctx.caller.account, found, counts))
    return {}
