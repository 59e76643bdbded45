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

from chalicelib.policy.condition import KEYS, TRUST_KEYS, Condition, MalformedCondition, compile_condition
from chalicelib.policy.pattern import Pattern, fill, has_variables, without_variables
from chalicelib.policy.request import Request

VERSION: Final = "2.0"
MAX_CHARACTERS: Final = 6144
"""Of a document without white space outside strings."""
MAX_STATEMENTS: Final = 100
_MAX_CACHED: Final = 512
_SEGMENTS: Final = 6
_ACTION: Final = re.compile(r"(\*|[a-z0-9_-]+):([a-z0-9*]+)")
_SERVICE: Final = re.compile(r"\*|[a-z0-9_-]+")
_REGION: Final = re.compile(r"\*?|[a-z0-9-]+")
_ACCOUNT: Final = re.compile(r"\*?|uin/(\*|[0-9]+|\$\{(uin|owner_uin)\})")
_APP_ACCOUNT: Final = re.compile(r"uid/(\*|[0-9]+)")
"""In the services that name accounts by APPID; this installation has neither."""
_NAME: Final = r"[A-Za-z0-9_+=,.@-]+"
_PRINCIPALS: Final = {
    "qcs": re.compile(rf"qcs::cam::uin/[0-9]+:(root|uin/[0-9]+|saml-provider/{_NAME})"),
    "federated": re.compile(rf"qcs::cam::uin/[0-9]+:(saml-provider|oidc-provider)/{_NAME}"),
    "service": re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+"),
}
"""Kind of principal -> what its names look like."""


class PolicyError(Exception):
    """The document is not a policy. `part` names what is wrong, in the words of the API's error codes."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part

    @property
    def code(self) -> str:
        """The error code of cam that says so."""
        return (
            f"InvalidParameter.{self.part}{'OverLimit' if self.part == 'PolicyDocumentLength' else 'Error'}"
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """A compiled resource pattern: the head segments, and a matcher for the tail."""

    service: str
    region: str
    account: str
    """`*`, or empty for the account that the policy belongs to."""
    covers_tail: Callable[[str, Request], bool] = field(repr=False)

    def matches(self, wanted: tuple[str, ...], request: Request) -> bool:
        """Whether the six segments of a request's resource are covered."""
        # The tail first: it is what tells most resources apart.
        return (
            self.covers_tail(wanted[5], request)
            and self.service in ("*", wanted[2])
            and self.region in ("", "*", wanted[3])
            and (self.account == "*" or wanted[4] == (self.account or f"uin/{request.owner_uin}"))
        )


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
    """Of a trust policy, by kind: one of them has to be the caller."""

    def covers(self, action: str) -> bool:
        """Whether the statement is about the action, spelled in lower case."""
        return any(match(action) for match in self.actions)

    def applies(self, wanted: tuple[str, ...], request: Request) -> bool:
        """Whether the statement, which covers the action, also covers resource and circumstances."""
        # Loops: this is where the time of a decision goes.
        for resource in self.resources:
            if resource.matches(wanted, request):
                break
        else:
            return False
        for condition in self.conditions:
            if not condition.holds(request):
                return False
        return not self.principals or self._names(request.principals)

    def _names(self, caller: frozenset[str]) -> bool:
        return any(not caller.isdisjoint(names) for names in self.principals.values())


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
        characters = len(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
    except (ValueError, RecursionError):
        raise PolicyError("PolicyDocument", "The policy is a JSON object without duplicate names.") from None
    if not isinstance(document, dict) or set(document) - {"version", "statement"}:
        raise PolicyError("PolicyDocument", "A policy has the members version and statement.")
    if characters > MAX_CHARACTERS:
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
    if parts[0] == "qcs" and 1 < len(parts) < _SEGMENTS:
        if parts[1]:
            parts.insert(1, "")
        if len(parts) == _SEGMENTS - 1:
            parts.insert(4, "")
    if len(parts) != _SEGMENTS or parts[0] != "qcs":
        raise PolicyError("ResourceQcs", "A resource is * or qcs::service:region:account:name.")
    return tuple(parts)


def _tail(text: str, *, in_doubt: bool) -> Callable[[str, Request], bool]:
    if not has_variables(text):
        covers = _covers(text)
        return lambda tail, _request: covers(tail)

    def covers_for(tail: str, request: Request) -> bool:
        filled = fill(text, request)
        return in_doubt if filled is None else _covers(filled)(tail)

    return covers_for


@functools.lru_cache(4096)
def _covers(text: str) -> Callable[[str], bool]:
    """A matcher for the last segment: `*` covers anything, and a path covers what lies below it."""
    if text == "*":
        return lambda _tail: True
    below = text.rstrip("/") + "/"
    if "*" not in text:
        return lambda tail: tail == text or tail.startswith(below)
    patterns = [Pattern.of(text), Pattern.of(below + "*")]
    # What ends with a star covers what lies below already.
    return patterns[0].matches if text.endswith("*") else lambda tail: any(p.matches(tail) for p in patterns)


def _statement(position: int, members: Any, *, trust: bool) -> Statement:
    allowed = {"effect", "action", "condition", "principal"} | (set() if trust else {"resource"})
    if not isinstance(members, dict) or set(members) - allowed:
        raise PolicyError("Statement", f"A statement has the members {', '.join(sorted(allowed))}.")
    if members.get("effect") not in ("allow", "deny"):
        raise PolicyError("Effect", "effect is allow or deny.")
    if trust != ("principal" in members):
        raise PolicyError("Principal", "principal stands in trust policies, and only there.")
    allows = members["effect"] == "allow"
    # Whether a part applies when that cannot be told: a denial does.
    in_doubt = not allows
    return Statement(
        position,
        allows,
        tuple(_action(a) for a in _texts(members.get("action"), "Action")),
        (ANYTHING,)
        if trust
        else tuple(_resource(r, in_doubt=in_doubt) for r in _texts(members.get("resource"), "Resource")),
        _conditions(members.get("condition", {}), in_doubt=in_doubt, keys=TRUST_KEYS if trust else KEYS),
        _principals(members["principal"]) if trust else {},
    )


def _action(text: str) -> Callable[[str], object]:
    name = text.lower().removeprefix("name/")
    if name != "*" and not _ACTION.fullmatch(name):
        raise PolicyError("Action", "An action is *, service:* or service:Action, with * for any letters.")
    return Pattern.of(name).matches


def _resource(text: str, *, in_doubt: bool) -> Resource:
    if text == "*":
        return ANYTHING
    _, project, service, region, account, tail = split_resource(text)
    if project:
        raise PolicyError("ResourceProject", "The project of a resource is empty.")
    if not _SERVICE.fullmatch(service):
        raise PolicyError("ResourceQcs", "A resource names its service in lower case, * for any.")
    if not _REGION.fullmatch(region):
        raise PolicyError("ResourceRegion", "The region of a resource is one region, or empty or * for any.")
    if not _ACCOUNT.fullmatch(account) and not (
        service in ("cos", "cas") and _APP_ACCOUNT.fullmatch(account)
    ):
        raise PolicyError("ResourceUin", "The account of a resource is empty, * or uin/<the account's uin>.")
    if not tail or "?" in tail or "$" in without_variables(tail):
        raise PolicyError(
            "ResourceContent",
            "A resource says what it is, with * for any text and the variables ${uin}, ${owner_uin} and ${app_id}.",
        )
    # The product's documents mean the account by both variables when they stand here.
    account = "*" if account.endswith("*") else "" if has_variables(account) else account
    return Resource(service, region, account, _tail(tail, in_doubt=in_doubt))


def _conditions(members: Any, *, in_doubt: bool, keys: frozenset[str]) -> tuple[Condition, ...]:
    if not isinstance(members, dict) or not all(isinstance(v, dict) and v for v in members.values()):
        raise PolicyError(
            "Condition", "condition maps operators to maps of keys to values, none of them empty."
        )
    try:
        return tuple(
            compile_condition(operator, key, values, in_doubt=in_doubt, keys=keys)
            for operator, by_key in members.items()
            for key, values in by_key.items()
        )
    except MalformedCondition as error:
        raise PolicyError(error.part, str(error)) from None


def _principals(members: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(members, dict) or not members or set(members) - set(_PRINCIPALS):
        raise PolicyError("Principal", f"principal has the members {', '.join(_PRINCIPALS)}.")
    found = {kind: tuple(_texts(names, "Principal")) for kind, names in members.items()}
    for kind, names in found.items():
        if not all(_PRINCIPALS[kind].fullmatch(name) for name in names):
            part = "Principal" if kind == "service" else "PrincipalQcs"
            raise PolicyError(
                part, "A principal is qcs::cam::uin/<account>:<root, user or provider> or a service."
            )
    return found


def _texts(value: Any, part: str) -> Iterable[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
        raise PolicyError(part, f"{part.lower()} is a text or a list of texts, and not empty.")
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members
