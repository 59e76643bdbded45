"""What the holder of credentials may do: the grants of its user or role, within the bounds of a session."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chalicelib.grants import Grants
from chalicelib.policy.decide import Decision, decide
from chalicelib.policy.document import Policy
from chalicelib.policy.request import Request

_OF_RESOURCES: Final = ("qcs:create_uin", "qcs:resource_tag", "qcs:tag")
"""What conditions look at that differs between the items of a list."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Decides for a caller that is not the root account itself."""

    grants: Grants | None
    """None: those of the root account, which are everything, in a session that has a policy of its own."""
    session: Policy | None = None
    """The policy that a session was opened with."""

    def decide(self, request: Request) -> Decision:
        """Whether the caller may do it, and which statement decided."""
        if self.grants is None:
            return decide([self.session] if self.session else [], request)
        return self.grants.decide(request, self.session)

    def allows_some(self, request: Request) -> bool:
        """Whether the action is allowed on some resource, if not the request's, in the request's circumstances."""

        def is_allowed(policies: Iterable[Policy]) -> bool:
            return any(
                statement.allows
                and all(c.key in _OF_RESOURCES or c.holds(request) for c in statement.conditions)
                for policy in policies
                for statement in policy.about(request.action)
            )

        grants, bounds = self.grants, [self.session] if self.session else []
        if grants is None:
            return is_allowed(bounds)
        bounds += [grants.boundary] if grants.boundary else []
        return is_allowed(grants.policies) and all(is_allowed([bound]) for bound in bounds)
