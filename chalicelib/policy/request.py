"""What a decision is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One action on one resource by one caller.

    `resource` has six segments; an action on no resource in particular asks for the literal `key/*` or `secret/*`, which
    a policy grants only if it names everything. `attributes` are the values that conditions look at, by condition key;
    one without values is absent. `principals` are the names that trust policies know the caller by, in six segments: a
    user's own (`qcs::cam::uin/<owner>:uin/<uin>`) and its account's (`qcs::cam::uin/<owner>:root`).
    """

    action: str
    """`service:Action`."""
    resource: str
    uin: str
    owner_uin: str
    app_id: str = ""
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    principals: frozenset[str] = frozenset()
