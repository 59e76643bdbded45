"""What a decision is about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import InvalidOperation
from typing import Any

Reading = tuple[str, Callable[[str], Any]]
"""An attribute's key, and how its values are read."""


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
    parsed: dict[Reading, tuple[Any, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Attributes as conditions read them: each is read once, however many conditions look at it."""

    def parse(self, reading: Reading) -> tuple[Any, ...]:
        """The values of an attribute, each as it is read, or None where that fails; none if it is absent."""
        key, read = reading
        values = tuple([read_or_none(read, value) for value in self.attributes.get(key, ())])
        self.parsed[reading] = values
        return values


def read_or_none(read: Callable[[str], Any], text: str) -> Any:
    """What is read, or None if that cannot be."""
    try:
        return read(text)
    except (ValueError, InvalidOperation):
        return None


def pairs(members: Mapping[str, str]) -> tuple[str, ...]:
    """Names and values as conditions spell them: `name&value`, with `%26` for a `&` in the name."""
    return tuple(
        [f"{name.replace('%', '%25').replace('&', '%26')}&{value}" for name, value in members.items()]
    )
