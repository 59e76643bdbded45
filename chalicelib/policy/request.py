"""What a decision is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One action on one resource by one caller.

    `resource` has six segments; an action on no resource in particular asks for the literal `key/*` or `secret/*`, which
    a policy grants only if it names everything. `attributes` are the values that conditions look at, by condition key.
    """

    action: str
    """`service:Action`."""
    resource: str
    uin: str
    owner_uin: str
    app_id: str = ""
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def variables(self) -> Mapping[str, str]:
        """What `${...}` in resources and condition values stands for."""
        return {"uin": self.uin, "owner_uin": self.owner_uin, "app_id": self.app_id}
