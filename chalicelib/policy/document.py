"""A policy document, read strictly and compiled once.

Whatever is not understood is refused when the policy is written: a statement that cannot be evaluated would silently
never apply, which in a deny is a hole.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chalicelib.policy.condition import Condition, MalformedCondition, compile_condition
from chalicelib.policy.request import Request

VERSION: Final = "2.0"
MAX_CHARACTERS: Final = 6144
"""Of a document without white space outside strings."""
MAX_STATEMENTS: Final = 100
_MAX_CACHED: Final = 512
_SEGMENTS: Final = 6
_VARIABLE: Final = re.compile(r"\$\{(uin|owner_uin|app_id)\}")
_ACTION: Final = re.compile(r"(\*|[a-z0-9_-]+):([A-Za-z0-9*]+)")
_PRINCIPAL_KINDS: Final = ("qcs", "service", "federated")


class PolicyError(Exception):
    """The document is not a policy. `part` names what is wrong, in the words of the API's error codes."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Resource:
    """A compiled resource pattern: the head segments, and a matcher for the tail."""

    service: str
    region: str
    account: str
    covers_tail: Callable[[str, Request], bool] = field(repr=False)

    def matches(self, wanted: tuple[str, ...], request: Request) -> bool:
        """Whether the six segments of a request's resource are covered."""
        # The tail first: it is what tells most resources apart.
        return (
            self.covers_tail(wanted[5], request)
            and self.service in ("*", wanted[2])
            and self.region in ("", "*", wanted[3])
            and self._owns(wanted[4], request)
        )

    def _owns(self, account: str, request: Request) -> bool:
        if self.account == "*":
            return True
        return account == (_fill(self.account, request) or f"uin/{request.owner_uin}")


ANYTHING: Final = Resource("*", "*", "*", lambda _tail, _request: True)


@dataclass(frozen=True, slots=True)
class Statement:
    """One compiled statement."""

    position: int
    allows: bool
    actions: tuple[Callable[[str], object], ...] = field(repr=False)
    resources: tuple[Resource, ...]
    conditions: tuple[Condition, ...]
    principals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def covers(self, action: str) -> bool:
        """Whether the statement is about the action, spelled in lower case."""
        return any(match(action) for match in self.actions)

    def applies(self, wanted: tuple[str, ...], request: Request) -> bool:
        """Whether the statement, which covers the action, also covers resource and circumstances."""
        return any(r.matches(wanted, request) for r in self.resources) and all(
            c.holds(request) for c in self.conditions
        )


class Policy:
    """A compiled document. Which statements are about an action is worked out once per action."""

    def __init__(self, name: str, statements: tuple[Statement, ...]) -> None:
        self.name = name
        self.statements = statements
        self._by_action: dict[str, tuple[Statement, ...]] = {}

    def about(self, action: str) -> tuple[Statement, ...]:
        """The statements that cover the action, denials first."""
        found = self._by_action.get(action)
        if found is None:
            lower = action.lower()
            found = tuple(sorted((s for s in self.statements if s.covers(lower)), key=lambda s: s.allows))
            if len(self._by_action) < _MAX_CACHED:
                self._by_action[action] = found
        return found


def parse(text: str, *, name: str = "", trust: bool = False) -> Policy:
    """The policy in a JSON text, or PolicyError. `trust`: a role's trust policy, which names principals, not resources."""
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise PolicyError("PolicyDocument", "The policy is a JSON object without duplicate names.") from None
    if not isinstance(document, dict) or set(document) - {"version", "statement"}:
        raise PolicyError("PolicyDocument", "A policy has the members version and statement.")
    if len(json.dumps(document, ensure_ascii=False, separators=(",", ":"))) > MAX_CHARACTERS:
        raise PolicyError("PolicyDocumentLength", f"A policy has at most {MAX_CHARACTERS} characters.")
    if document.get("version") != VERSION:
        raise PolicyError("Version", f'The version of a policy is "{VERSION}".')
    statements = document.get("statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not 1 <= len(statements) <= MAX_STATEMENTS:
        raise PolicyError("Statement", f"statement is a list of 1 to {MAX_STATEMENTS} statements.")
    return Policy(name, tuple(_statement(i, s, trust=trust) for i, s in enumerate(statements)))


def split_resource(resource: str) -> tuple[str, ...]:
    """The six segments of a resource's name; PolicyError for any other text.

    The product also prints names without the empty project segment, and without account: both are completed.
    """
    parts = resource.split(":")
    if parts[0] == "qcs" and len(parts) == _SEGMENTS - 2:
        parts = ["qcs", "", parts[1], parts[2], "", parts[3]]
    elif parts[0] == "qcs" and len(parts) == _SEGMENTS - 1:
        parts.insert(1, "")
    if len(parts) != _SEGMENTS or parts[0] != "qcs" or parts[1]:
        raise PolicyError("ResourceQcs", "A resource is * or qcs::service:region:account:name.")
    return tuple(parts)


def _tail(pattern: str) -> Callable[[str, Request], bool]:
    """A matcher for the last segment: `*` covers anything, and a path covers what lies below it."""
    if pattern == "*":
        return lambda _tail, _request: True
    if "${" in pattern:
        return lambda tail, request: bool(
            _tail_regex(pattern, request.uin, request.owner_uin, request.app_id)(tail)
        )
    if "*" not in pattern:
        below = pattern.rstrip("/") + "/"
        return lambda tail, _request: tail == pattern or tail.startswith(below)
    match = _tail_regex(pattern, "", "", "")
    return lambda tail, _request: bool(match(tail))


@functools.lru_cache(4096)
def _tail_regex(pattern: str, uin: str, owner_uin: str, app_id: str) -> Callable[[str], object]:
    values = {"uin": uin, "owner_uin": owner_uin, "app_id": app_id}
    # Values are filled in after the wildcards were read, so that none of them can act as one.
    parts = _VARIABLE.split(pattern)
    regex = "".join(
        re.escape(values[part]) if i % 2 else ".*".join(re.escape(p) for p in part.split("*"))
        for i, part in enumerate(parts)
    )
    return re.compile(f"(?s:{regex})(?:/.*)?").fullmatch


def _fill(text: str, request: Request) -> str:
    return _VARIABLE.sub(lambda m: request.variables[m[1]], text) if "$" in text else text


def _statement(position: int, members: Any, *, trust: bool) -> Statement:
    allowed = {"effect", "action", "condition", "principal"} | (set() if trust else {"resource"})
    if not isinstance(members, dict) or set(members) - allowed:
        raise PolicyError("Statement", f"A statement has the members {', '.join(sorted(allowed))}.")
    if members.get("effect") not in ("allow", "deny"):
        raise PolicyError("Effect", "effect is allow or deny.")
    if trust != ("principal" in members):
        raise PolicyError("Principal", "principal stands in trust policies, and only there.")
    try:
        conditions = tuple(
            compile_condition(operator, key, values)
            for operator, keys in _object(members.get("condition", {})).items()
            for key, values in _object(keys).items()
        )
    except MalformedCondition as error:
        raise PolicyError("Condition", str(error)) from None
    return Statement(
        position,
        members["effect"] == "allow",
        tuple(_action(a) for a in _texts(members.get("action"), "Action")),
        (ANYTHING,) if trust else tuple(_resource(r) for r in _texts(members.get("resource"), "Resource")),
        conditions,
        _principals(members["principal"]) if trust else {},
    )


def _action(text: str) -> Callable[[str], object]:
    name = text.removeprefix("name/")
    if name == "*":
        return lambda _action: True
    match = _ACTION.fullmatch(name)
    if match is None:
        raise PolicyError("Action", "An action is *, service:* or service:Action, with * for any letters.")
    pattern = name.lower()
    if "*" not in pattern:
        return pattern.__eq__
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*"))).fullmatch


def _resource(text: str) -> Resource:
    if text == "*":
        return ANYTHING
    _, _, service, region, account, tail = split_resource(text)
    if not service or not tail:
        raise PolicyError("ResourceQcs", "A resource names its service and what it is, * for any.")
    if account not in ("", "*") and not re.fullmatch(r"ui[nd]/(\*|\d+|\$\{(uin|owner_uin)\})", account):
        raise PolicyError("ResourceUin", "The account of a resource is empty, * or uin/<the account's uin>.")
    return Resource(service, region, "*" if account.endswith("/*") else account, _tail(tail))


def _principals(members: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(members, dict) or not members or set(members) - set(_PRINCIPAL_KINDS):
        raise PolicyError("Principal", f"principal has the members {', '.join(_PRINCIPAL_KINDS)}.")
    return {kind: tuple(_texts(values, "Principal")) for kind, values in members.items()}


def _texts(value: Any, part: str) -> Iterable[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
        raise PolicyError(part, f"{part.lower()} is a text or a list of texts, and not empty.")
    return values


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError("Condition", "condition maps operators to maps of keys to values.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members
