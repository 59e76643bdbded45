"""Deny wins, then allow, else no: the decision over all policies that are attached to a caller."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chalicelib.policy.document import Policy, Statement, wanted_of
from chalicelib.policy.request import Request


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, and which statement of which policy decided; no statement where none matched.

    A policy without a statement is the boundary, or the session's policy, that does not allow what others do.
    """

    allowed: bool
    policy: str = ""
    statement: int = -1
    policy_id: int = 0

    @property
    def is_denial(self) -> bool:
        """Whether a statement denied it: nothing then allows it."""
        return not self.allowed and self.statement >= 0

    @property
    def explanation(self) -> str:
        """A few words that name nothing but the policy."""
        if self.statement >= 0:
            return f"statement {self.statement} of the policy {self.policy} {'allows' if self.allowed else 'denies'} it"
        return (
            f"no statement of the policy {self.policy} allows it" if self.policy else "no statement allows it"
        )


NOTHING_MATCHED = Decision(allowed=False)


def decide(policies: Iterable[Policy], request: Request) -> Decision:
    """The decision over policies of one kind: those of a user and its groups, or those of a role."""
    wanted = wanted_of(request)
    allowed = NOTHING_MATCHED
    for policy in policies:
        for statement in policy.about(request.action):
            if (not statement.allows or not allowed.allowed) and statement.applies(wanted, request):
                decision = Decision(statement.allows, policy.name, statement.position, policy.id)
                if not statement.allows:
                    return decision
                allowed = decision
    return allowed


def matching(policies: Iterable[Policy], request: Request) -> Iterator[tuple[Policy, Statement]]:
    """Every statement that applies, whether it decides or not."""
    wanted = wanted_of(request)
    for policy in policies:
        for statement in policy.about(request.action):
            if statement.applies(wanted, request):
                yield policy, statement


def decide_within(policies: Iterable[Policy], bounds: Iterable[Policy | None], request: Request) -> Decision:
    """As `decide`, and within bounds, those of them that there are: all of them have to allow, too."""
    decision = decide(policies, request)
    for bound in bounds:
        if bound is not None and decision.allowed:
            bounded = decide([bound], request)
            if not bounded.allowed:
                return bounded if bounded.statement >= 0 else Decision(False, bound.name, policy_id=bound.id)  # noqa: FBT003 - `allowed`
    return decision
