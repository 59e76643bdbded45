"""Conditions: operators over the attributes of a request.

An attribute that is absent satisfies no operator, negative ones included, unless its name ends in `_if_exist`. The
values of one key are alternatives: one of them is enough for a positive operator, all must differ for a negative one.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from chalicelib.policy.request import Request

IP: Final = "qcs:ip"
CURRENT_TIME: Final = "qcs:current_time"
RESOURCE_TAG: Final = "qcs:resource_tag"
REQUEST_TAG: Final = "qcs:request_tag"
ENCRYPTION_CONTEXT: Final = "kms:encryption_context"
"""An extension: the members of the encryption context, spelled like tags (`key&value`)."""

KEYS: Final = frozenset(
    {IP, CURRENT_TIME, RESOURCE_TAG, REQUEST_TAG, ENCRYPTION_CONTEXT}
    | {"qcs:tag", "qcs:uin", "qcs:owner_uin", "qcs:create_uin", "qcs:mfa"}
)
"""The keys that there are: one that nobody ever sets would make a denial void."""

_VARIABLE: Final = re.compile(r"\$\{(uin|owner_uin|app_id)\}")


class MalformedCondition(Exception):
    """The condition cannot be evaluated."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key."""

    key: str
    holds_for: Callable[[tuple[str, ...], Request], bool] = field(repr=False)
    if_exists: bool
    null: bool | None = None
    """For `null_equal`: whether the key has to be absent."""

    def holds(self, request: Request) -> bool:
        """Whether the request satisfies the condition."""
        values = request.attributes.get(self.key)
        if self.null is not None:
            return (values is None) == self.null
        if values is None:
            return self.if_exists
        return self.holds_for(values, request)


def compile_condition(operator: str, key: str, values: Any) -> Condition:
    """The condition, or MalformedCondition."""
    if key not in KEYS:
        raise MalformedCondition(f"A condition's key is one of {', '.join(sorted(KEYS))}.")
    values = values if isinstance(values, list) else [values]
    texts = [_text(v) for v in values]
    if not texts:
        raise MalformedCondition("A condition has at least one value.")
    quantifier, _, name = operator.rpartition(":")
    if quantifier not in ("", "for_any_value", "for_all_value"):
        raise MalformedCondition("An operator's qualifier is for_any_value or for_all_value.")
    if name == "null_equal" and not quantifier:
        return Condition(key, lambda _values, _request: False, if_exists=False, null=_boolean(texts[0]))
    if_exists = name.endswith("_if_exist")
    base = name.removesuffix("_if_exist")
    if base not in _OPERATORS:
        raise MalformedCondition(f"An operator is one of {', '.join((*_OPERATORS, 'null_equal'))}.")
    read, compare, negative = _OPERATORS[base]
    try:
        # Texts with variables are read when it is known who calls.
        wanted = [None if "${" in t else read(t) for t in texts]
    except (ValueError, InvalidOperation):
        raise MalformedCondition(f"A value of {base} has the wrong form.") from None
    comparison = _Comparison(texts, wanted, read, compare, negative)
    every = quantifier == "for_all_value"

    def holds_for(given: tuple[str, ...], request: Request) -> bool:
        # Plain negative operators on several values (tags) mean: none of them.
        results = (comparison.holds(value, request) for value in given)
        return bool(given) and (all(results) if every or (negative and not quantifier) else any(results))

    return Condition(key, holds_for, if_exists)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One operator with the values that a policy compares with."""

    texts: list[str]
    wanted: list[Any]
    """The texts as read; None where a variable has to be filled in first."""
    read: Callable[[str], Any]
    compare: Callable[[Any, Any], bool]
    negative: bool

    def holds(self, value: str, request: Request) -> bool:
        try:
            # A pattern is on the policy's side only: what a caller sends is compared, never interpreted.
            given = value if self.read in (_like, _network) else self.read(value)
            found = any(
                self.compare(given, self.read(_fill(text, request, self.read)) if parsed is None else parsed)
                for text, parsed in zip(self.texts, self.wanted, strict=True)
            )
        except (ValueError, InvalidOperation):
            return False
        return found != self.negative


def _fill(text: str, request: Request, read: Callable[[str], Any]) -> str:
    def value(match: re.Match[str]) -> str:
        filled = request.variables[match[1]]
        return filled.replace("*", "").replace("?", "") if read is _like else filled

    return _VARIABLE.sub(value, text)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise MalformedCondition("A condition's value is a text, a number or a boolean.")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise MalformedCondition("The value is true or false.")
    return text.lower() == "true"


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError
    return number


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _inside(given: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    address = ipaddress.ip_address(given)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address in network


def _like(text: str) -> Callable[[str], object]:
    regex = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in text)
    return re.compile(f"(?s:{regex})").fullmatch


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None


def _equal(given: Any, wanted: Any) -> bool:
    return bool(given == wanted)


_Operator = tuple[Callable[[str], Any], Callable[[Any, Any], bool], bool]

_OPERATORS: Final[dict[str, _Operator]] = {
    "string_equal": (str, _equal, False),
    "string_not_equal": (str, _equal, True),
    "string_equal_ignore_case": (str.casefold, _equal, False),
    "string_not_equal_ignore_case": (str.casefold, _equal, True),
    "string_like": (_like, lambda given, match: bool(match(given)), False),
    "string_not_like": (_like, lambda given, match: bool(match(given)), True),
    **{
        f"{kind}_{name}": (read, compare, negative)
        for kind, read in (("numeric", _number), ("date", _time))
        for name, compare, negative in (
            ("equal", _equal, False),
            ("not_equal", _equal, True),
            ("less_than", lambda given, wanted: bool(given < wanted), False),
            ("less_than_equal", lambda given, wanted: bool(given <= wanted), False),
            ("greater_than", lambda given, wanted: bool(given > wanted), False),
            ("greater_than_equal", lambda given, wanted: bool(given >= wanted), False),
        )
    },
    "ip_equal": (_network, _inside, False),
    "ip_not_equal": (_network, _inside, True),
    "bool_equal": (_boolean, _equal, False),
    "binary_equal": (_binary, _equal, False),
}
"""Name -> how a value is read, how the two sides compare, whether the result is turned round."""
