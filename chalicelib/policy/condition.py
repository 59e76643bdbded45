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
from typing import Any, Final

from chalicelib.policy.pattern import Match, fill, has_variables, matcher, without_variables
from chalicelib.policy.request import Reading, Request, read_or_none

IP: Final = "qcs:ip"
CURRENT_TIME: Final = "qcs:current_time"
RESOURCE_TAG: Final = "qcs:resource_tag"
REQUEST_TAG: Final = "qcs:request_tag"
MFA: Final = "qcs:mfa"
ENCRYPTION_CONTEXT: Final = "kms:encryption_context"
"""An extension: the members of the encryption context, spelled like tags (`key&value`)."""

KEYS: Final = frozenset(
    {IP, CURRENT_TIME, RESOURCE_TAG, REQUEST_TAG, MFA, ENCRYPTION_CONTEXT}
    | {"qcs:tag", "qcs:uin", "qcs:owner_uin", "qcs:create_uin"}
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
    holds: Callable[[Request], bool] = field(repr=False)
    """Whether a request satisfies the condition."""


def compile_condition(
    operator: str, key: str, values: Any, *, in_doubt: bool, keys: frozenset[str] = KEYS
) -> Condition:
    """The condition, or MalformedCondition. `in_doubt` is whether it holds when that cannot be told."""
    quantifier, name = _split(operator)
    if key not in keys:
        raise MalformedCondition(
            "ConditionContent", f"A condition's key is one of {', '.join(sorted(keys))}."
        )
    base = name.removesuffix("_if_exist")
    texts = _texts(values)
    try:
        if operator == _NULL_EQUAL:
            wanted_null = {_boolean(t) for t in texts}
            return Condition(key, lambda request: (not request.attributes.get(key)) in wanted_null)
        kind = _OPERATORS[base]
        # Texts with variables are read when it is known who calls.
        fixed = tuple([kind.read_wanted(t) for t in texts if not has_variables(t)])
    except (ValueError, InvalidOperation):
        raise MalformedCondition("ConditionContent", f"A value of {base} has the wrong form.") from None
    test = _test(kind, fixed, tuple([t for t in texts if has_variables(t)]), in_doubt=in_doubt)
    # Plain negative operators on several values (tags) mean: none of them.
    every = quantifier == "for_all_value" or (kind.negative and not quantifier)
    if_absent = name.endswith("_if_exist")
    reading: Reading = (key, kind.read_given)

    def holds(request: Request) -> bool:
        given = request.parsed.get(reading)
        if given is None:
            given = request.parse(reading)
        for value in given:
            if test(value, request) is not every:
                return not every
        return every if given else if_absent

    return Condition(key, holds)


def _split(operator: str) -> tuple[str, str]:
    """The operator's qualifier, if it has one, and its name."""
    quantifier, colon, name = operator.rpartition(":")
    if quantifier not in ("for_any_value", "for_all_value") and (quantifier or colon):
        raise MalformedCondition(
            "ConditionType", "An operator's qualifier is for_any_value or for_all_value."
        )
    if name.removesuffix("_if_exist") not in _OPERATORS and operator != _NULL_EQUAL:
        raise MalformedCondition(
            "ConditionType", f"An operator is one of {', '.join((*_OPERATORS, _NULL_EQUAL))}."
        )
    return quantifier, name


def _test(
    kind: "_Operator", fixed: tuple[Any, ...], unfilled: tuple[str, ...], *, in_doubt: bool
) -> Callable[[Any, Request], bool]:
    """The outcome for one value of the request, None where it could not be read."""
    matches = kind.any_of(fixed) if fixed else _matches_nothing
    negative = kind.negative

    # A caller's value is compared, never interpreted: patterns and networks stand in policies.
    def test(value: Any, request: Request) -> bool:
        if value is None:
            return in_doubt
        if matches(value):
            return not negative
        return _by_caller(kind, unfilled, value, request, in_doubt=in_doubt) if unfilled else negative

    return test


def _by_caller(
    kind: "_Operator", unfilled: tuple[str, ...], value: Any, request: Request, *, in_doubt: bool
) -> bool:
    """The outcome for a value that only texts with variables can match."""
    filled = [fill(text, request) for text in unfilled]
    wanted = [None if text is None else read_or_none(kind.read_wanted, text) for text in filled]
    known = tuple([each for each in wanted if each is not None])
    if known and kind.any_of(known)(value):
        return not kind.negative
    return in_doubt if None in wanted else kind.negative


def _matches_nothing(_value: Any) -> bool:
    return False


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


Test = Callable[[Any], Any]
"""Whether a value of the request matches one of the policy's: true or false, as Python understands it."""


def _equals(wanted: tuple[Any, ...]) -> Test:
    return frozenset(wanted).__contains__


def _lies_in(wanted: tuple[tuple[_Address, _Address], ...]) -> Test:
    def test(given: _Address) -> bool:
        for first, last in wanted:  # noqa: SIM110 - a generator costs as much again
            if first <= given <= last:
                return True
        return False

    return test


def _is_like(wanted: tuple[Match, ...]) -> Test:
    return lambda given: any(match(given) for match in wanted)


# Below one of several is below the greatest of them.
def _is_less(wanted: tuple[Any, ...]) -> Test:
    return max(wanted).__gt__  # type: ignore[no-any-return]


def _is_less_or_equal(wanted: tuple[Any, ...]) -> Test:
    return max(wanted).__ge__  # type: ignore[no-any-return]


def _is_greater(wanted: tuple[Any, ...]) -> Test:
    return min(wanted).__lt__  # type: ignore[no-any-return]


def _is_greater_or_equal(wanted: tuple[Any, ...]) -> Test:
    return min(wanted).__le__  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Operator:
    """How the request's and the policy's values are read and compared, and whether the result is turned round."""

    read_given: Callable[[str], Any]
    read_wanted: Callable[[str], Any]
    any_of: Callable[[tuple[Any, ...]], Test]
    negative: bool = False


_NULL_EQUAL: Final = "null_equal"

_OPERATORS: Final[dict[str, _Operator]] = {
    "string_equal": _Operator(str, str, _equals),
    "string_not_equal": _Operator(str, str, _equals, negative=True),
    "string_equal_ignore_case": _Operator(str.casefold, str.casefold, _equals),
    "string_not_equal_ignore_case": _Operator(str.casefold, str.casefold, _equals, negative=True),
    "string_like": _Operator(str, matcher, _is_like),
    "string_not_like": _Operator(str, matcher, _is_like, negative=True),
    **{
        f"{kind}_{name}": _Operator(read, read, any_of, negative=negative)
        for kind, read in (("numeric", _number), ("date", _time))
        for name, any_of, negative in (
            ("equal", _equals, False),
            ("not_equal", _equals, True),
            ("less_than", _is_less, False),
            ("less_than_equal", _is_less_or_equal, False),
            ("greater_than", _is_greater, False),
            ("greater_than_equal", _is_greater_or_equal, False),
        )
    },
    "ip_equal": _Operator(_address, _network, _lies_in),
    "ip_not_equal": _Operator(_address, _network, _lies_in, negative=True),
    "bool_equal": _Operator(_boolean, _boolean, _equals),
    "binary_equal": _Operator(_binary, _binary, _equals),
}
