"""Conditions: operators over the attributes of a request.

An attribute that is absent satisfies no operator, negative ones included, unless its name ends in `_if_exist`. The
values of one key are alternatives: one of them is enough for a positive operator, all must differ for a negative one.
What cannot be compared (a variable without a value, a text that is no number) leaves a doubt: a permission is then not
given, and a denial stands.
"""

import base64
import binascii
import functools
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from operator import eq, ge, gt, le, lt
from typing import Any, Final

from chalicelib.policy.pattern import Pattern, fill, has_variables, without_variables
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
TRUST_KEYS: Final = KEYS | {"sts:external_id", "oidc:iss", "oidc:aud", "oidc:sub"}
"""Those of a role's trust policy."""


class MalformedCondition(Exception):
    """The condition cannot be evaluated. `part` as in PolicyError."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key."""

    key: str
    test: Callable[[tuple[str, ...], Request], bool] = field(repr=False)
    if_absent: bool

    def holds(self, request: Request) -> bool:
        """Whether the request satisfies the condition."""
        values = request.attributes.get(self.key)
        return self.test(values, request) if values else self.if_absent


def compile_condition(
    operator: str, key: str, values: Any, *, in_doubt: bool, keys: frozenset[str] = KEYS
) -> Condition:
    """The condition, or MalformedCondition. `in_doubt` is whether it holds when that cannot be told."""
    quantifier, colon, name = operator.rpartition(":")
    if quantifier not in ("for_any_value", "for_all_value") and (quantifier or colon):
        raise MalformedCondition(
            "ConditionType", "An operator's qualifier is for_any_value or for_all_value."
        )
    base = name.removesuffix("_if_exist")
    if base not in _OPERATORS and operator != _NULL_EQUAL:
        raise MalformedCondition(
            "ConditionType", f"An operator is one of {', '.join((*_OPERATORS, _NULL_EQUAL))}."
        )
    if key not in keys:
        raise MalformedCondition(
            "ConditionContent", f"A condition's key is one of {', '.join(sorted(keys))}."
        )
    texts = _texts(values)
    try:
        if operator == _NULL_EQUAL:
            wanted_null = {_boolean(t) for t in texts}
            return Condition(key, lambda _values, _request: False in wanted_null, True in wanted_null)
        _, read, _, _ = _OPERATORS[base]
        comparison = _Comparison(
            *_OPERATORS[base],
            # Texts with variables are read when it is known who calls.
            fixed=tuple(read(t) for t in texts if not has_variables(t)),
            open=tuple(t for t in texts if has_variables(t)),
            in_doubt=in_doubt,
        )
    except (ValueError, InvalidOperation):
        raise MalformedCondition("ConditionContent", f"A value of {base} has the wrong form.") from None
    # Plain negative operators on several values (tags) mean: none of them.
    every = quantifier == "for_all_value" or (comparison.negative and not quantifier)

    def test(given: tuple[str, ...], request: Request) -> bool:
        for value in given:
            if comparison.holds(value, request) is not every:
                return not every
        return every

    return Condition(key, test, name.endswith("_if_exist"))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One operator with the values that a policy compares with."""

    read_given: Callable[[str], Any]
    read_wanted: Callable[[str], Any]
    compare: Callable[[Any, Any], bool]
    negative: bool
    fixed: tuple[Any, ...]
    """What the policy compares with, as read."""
    open: tuple[str, ...]
    """The same, where a variable has to be filled in first."""
    in_doubt: bool

    def holds(self, value: str, request: Request) -> bool:
        # A caller's value is compared, never interpreted: patterns and networks stand in policies.
        given = _read(self.read_given, value)
        if given is None:
            return self.in_doubt
        for wanted in self.fixed:
            if self.compare(given, wanted):
                return not self.negative
        if not self.open:
            return self.negative
        filled = [_read(self.read_wanted, fill(text, request)) for text in self.open]
        if any(wanted is not None and self.compare(given, wanted) for wanted in filled):
            return not self.negative
        return self.in_doubt if None in filled else self.negative


def _read(read: Callable[[str], Any], text: str | None) -> Any:
    try:
        return None if text is None else read(text)
    except (ValueError, InvalidOperation):
        return None


def _texts(values: Any) -> list[str]:
    values = values if isinstance(values, list) else [values]
    if not values or not all(isinstance(v, str | int | float) for v in values):
        raise MalformedCondition(
            "ConditionContent", "A condition has values: texts, numbers or true and false."
        )
    texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    if any(has_variables(without_variables(t)) for t in texts):
        raise MalformedCondition(
            "ConditionContent", "A variable is one of ${uin}, ${owner_uin} and ${app_id}."
        )
    return texts


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError
    return number


@functools.lru_cache(1024)
def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_Address = tuple[int, int]
"""Version and number: in this form an address of one version lies in no network of the other."""


@functools.lru_cache(1024)
def _address(text: str) -> _Address:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.version, int(address)


def _network(text: str) -> tuple[_Address, _Address]:
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError  # addresses of this kind are compared as IPv4
    first, last = network.network_address, network.broadcast_address
    return (first.version, int(first)), (last.version, int(last))


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None


def _inside(given: _Address, wanted: tuple[_Address, _Address]) -> bool:
    return wanted[0] <= given <= wanted[1]


def _like(given: str, wanted: Pattern) -> bool:
    return wanted.matches(given)


_NULL_EQUAL: Final = "null_equal"

_Operator = tuple[Callable[[str], Any], Callable[[str], Any], Callable[[Any, Any], bool], bool]


_OPERATORS: Final[dict[str, _Operator]] = {
    "string_equal": (str, str, eq, False),
    "string_not_equal": (str, str, eq, True),
    "string_equal_ignore_case": (str.casefold, str.casefold, eq, False),
    "string_not_equal_ignore_case": (str.casefold, str.casefold, eq, True),
    "string_like": (str, Pattern.of, _like, False),
    "string_not_like": (str, Pattern.of, _like, True),
    **{
        f"{kind}_{name}": (read, read, compare, negative)
        for kind, read in (("numeric", _number), ("date", _time))
        for name, compare, negative in (
            ("equal", eq, False),
            ("not_equal", eq, True),
            ("less_than", lt, False),
            ("less_than_equal", le, False),
            ("greater_than", gt, False),
            ("greater_than_equal", ge, False),
        )
    },
    "ip_equal": (_address, _network, _inside, False),
    "ip_not_equal": (_address, _network, _inside, True),
    "bool_equal": (_boolean, _boolean, eq, False),
    "binary_equal": (_binary, _binary, eq, False),
}
"""Name -> how the request's and the policy's values are read, how the two compare, whether the result is turned round."""
