"""A policy document, read strictly and compiled once.

Whatever is not understood is refused when the policy is written: a statement that cannot be evaluated would silently
never apply, which in a deny is a hole.
"""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chalicelib.policy.condition import KEYS, TRUST_KEYS, Condition, MalformedCondition, compile_condition
from chalicelib.policy.pattern import Match, expression, fill, has_variables, matcher, without_variables
from chalicelib.policy.request import Request

VERSION: Final = "2.0"
MAX_CHARACTERS: Final = 6144
"""Of a document without white space outside strings."""
MAX_STATEMENTS: Final = 100
_MAX_CACHED: Final = 512
_SEGMENTS: Final = 6
_ACTION: Final = re.compile(r"(\*|[a-z0-9_-]+):([a-z0-9*]+)")
_SERVICE: Final = re.compile(r"\*|[a-z0-9_-]+")
_REGION: Final = re.compile(r"\*?|[a-z][a-z0-9-]*")
"""Not an account, which the product also prints in this place: nothing would ever be there."""
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
class OpenResource:
    """A resource pattern with variables, which mean something once it is known who calls."""

    head: str
    """The expression of what stands before the last segment."""
    tail: str
    in_doubt: bool
    """Whether it covers a resource when a variable has no value."""

    def covers(self, wanted: str, request: Request) -> bool:
        """Whether what is wanted is covered."""
        filled = fill(self.tail, request)
        if filled is None:
            return self.in_doubt and re.match(self.head, wanted) is not None
        return _compiled(self.head, filled)(wanted) is not None


@dataclass(frozen=True, slots=True)
class Statement:
    """One compiled statement."""

    position: int
    allows: bool
    actions: tuple[Match, ...] = field(repr=False)
    resources: tuple[Match, ...] | None = field(repr=False)
    """None covers everything."""
    open_resources: tuple[OpenResource, ...]
    conditions: tuple[Condition, ...]
    principals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a trust policy, by kind: one of them has to be the caller."""

    def covers(self, action: str) -> bool:
        """Whether the statement is about the action, spelled in lower case."""
        return any(match(action) for match in self.actions)

    def applies(self, wanted: str, request: Request) -> bool:
        """Whether the statement, which covers the action, also covers what is `wanted` of it, and the circumstances."""
        # Loops, and no calls but of what is compiled: this is where the time of a decision goes.
        if self.resources is not None:
            for match in self.resources:
                if match(wanted):
                    break
            else:
                for resource in self.open_resources:
                    if resource.covers(wanted, request):
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

    def __init__(self, name: str, statements: tuple[Statement, ...], policy_id: int = 0) -> None:
        self.id = policy_id
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


def parse(text: str, *, name: str = "", policy_id: int = 0, trust: bool = False) -> Policy:
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
    return Policy(name, tuple(_statement(i, s, trust=trust) for i, s in enumerate(statements)), policy_id)


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


def wanted_of(request: Request) -> str:
    """A request's resource in the form that statements match: the account's own is marked."""
    _, _, service, region, account, tail = split_resource(request.resource)
    is_own = account == f"uin/{request.owner_uin}"
    return f"{service}:{region}:{is_own:d}:{account}:{tail}"


@functools.lru_cache(4096)
def _compiled(head: str, tail: str) -> Match:
    """A matcher of what `wanted_of` gives: in the last segment, a path covers what lies below it as well."""
    if tail == "*":
        covered = ""
    elif tail.endswith("*"):
        covered = expression(tail)
    else:
        covered = f"(?:{expression(tail)}|{expression(tail.rstrip('/') + '/*')})"
    return re.compile(head + covered, re.DOTALL).match


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
    fixed, unfilled = (None, ()) if trust else _resources(members.get("resource"), in_doubt=in_doubt)
    return Statement(
        position,
        allows,
        tuple(_action(a) for a in _texts(members.get("action"), "Action")),
        fixed,
        unfilled,
        _conditions(members.get("condition", {}), in_doubt=in_doubt, keys=TRUST_KEYS if trust else KEYS),
        _principals(members["principal"]) if trust else {},
    )


def _action(text: str) -> Match:
    name = text.lower().removeprefix("name/")
    if name != "*" and not _ACTION.fullmatch(name):
        raise PolicyError("Action", "An action is *, service:* or service:Action, with * for any letters.")
    return matcher(name)


def _resources(members: Any, *, in_doubt: bool) -> tuple[tuple[Match, ...] | None, tuple[OpenResource, ...]]:
    """Matchers of resources, None for everything, and patterns that wait for their variables."""
    fixed: list[Match] = []
    unfilled: list[OpenResource] = []
    is_everything = False
    for text in _texts(members, "Resource"):
        if text == "*":
            is_everything = True
            continue
        head, tail = _resource(text)
        if has_variables(tail):
            unfilled.append(OpenResource(head, tail, in_doubt))
        else:
            fixed.append(_compiled(head, tail))
    return None if is_everything else tuple(fixed), tuple(unfilled)


def _resource(text: str) -> tuple[str, str]:
    """The expression of what stands before the last segment, and the last segment."""
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
    if account.endswith("*"):
        owner = "[01]:[^:]*"
    elif not account or has_variables(account):
        # The product's documents mean the policy's own account by both variables when they stand here.
        owner = "1:[^:]*"
    else:
        owner = f"[01]:{re.escape(account)}"
    parts = (
        "[^:]*" if service == "*" else re.escape(service),
        "[^:]*" if region in ("", "*") else re.escape(region),
        owner,
    )
    return "".join([f"{part}:" for part in parts]), tail


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
