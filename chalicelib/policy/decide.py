"""Deny wins, then allow, else no: the decision over all policies that are attached to a caller."""

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.policy.document import Policy, split_resource
from chalicelib.policy.request import Request


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, and which statement of which policy decided; none where nothing matched."""

    allowed: bool
    policy: str = ""
    statement: int = -1

    @property
    def explanation(self) -> str:
        """One sentence that names nothing but the policy."""
        if self.statement < 0:
            return "no policy of yours allows it"
        return f"statement {self.statement} of the policy {self.policy} {'allows' if self.allowed else 'denies'} it"


NOTHING_MATCHED = Decision(allowed=False)


def decide(policies: Iterable[Policy], request: Request) -> Decision:
    """The decision over policies of one kind: those of a user and its groups, or those of a role."""
    wanted = split_resource(request.resource)
    allowed = NOTHING_MATCHED
    for policy in policies:
        for statement in policy.about(request.action):
            if (not statement.allows or not allowed.allowed) and statement.applies(wanted, request):
                if not statement.allows:
                    return Decision(False, policy.name, statement.position)  # noqa: FBT003 - `allowed`
                allowed = Decision(True, policy.name, statement.position)  # noqa: FBT003 - `allowed`
    return allowed


def decide_within(policies: Iterable[Policy], session: Policy | None, request: Request) -> Decision:
    """As `decide`, and within the bounds of a session's own policy: both have to allow."""
    decision = decide(policies, request)
    if session is None or not decision.allowed:
        return decision
    bounded = decide([session], request)
    return decision if bounded.allowed else bounded
