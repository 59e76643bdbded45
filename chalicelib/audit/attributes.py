"""What events can be searched by: the attribute keys of CloudAudit."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from chalicelib.audit.answer import (
    is_authorisation_error,
    is_sensitive,
    resource_names,
    resource_types,
    tags_of,
    user_name,
)

REQUEST_ID: Final = "RequestId"
EVENT_NAME: Final = "EventName"

Members = dict[str, Any]


class Attribute(NamedTuple):
    """A key and the value that events must have."""

    key: str
    value: str


class MalformedValue(ValueError):
    """The value is none that the key can have."""


def check(attribute: Attribute) -> None:
    """Raise MalformedValue for a value that no event can have."""
    allowed = _VALUES.get(attribute.key)
    if allowed is not None and attribute.value not in allowed:
        raise MalformedValue(f"{attribute.key} is one of {', '.join(allowed)}.")
    if attribute.key == "Tags":
        _tags(attribute.value)


def fits(members: Members, attributes: Sequence[Attribute]) -> bool:
    """Whether an event has all the values; any of them, where an event name is given several times."""
    names = {each.value for each in attributes if each.key == EVENT_NAME}
    if names and members.get("action") not in names:
        return False
    return all(_FITS[key](members, value) for key, value in attributes if key != EVENT_NAME)


def indexed(attributes: Sequence[Attribute]) -> tuple[str, list[str]] | None:
    """The index that has most likely the fewest events for the attributes, and the value to look up there."""
    for index, keys in _INDEXES.items():
        for key, value in attributes:
            if key in keys and value:
                return index, [value]
    return None


def _tags(text: str) -> list[tuple[str, str]]:
    try:
        found = json.loads(text)
        return [(str(each["key"]), str(each["value"])) for each in found]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MalformedValue('Tags is a JSON list such as [{"key":"a","value":"b"}].') from None


def _has_tags(members: Members, text: str) -> bool:
    given = {(each["key"], each["value"]) for each in tags_of(members)}
    return given.issuperset(_tags(text))


def _has_error(members: Members, code: str, *, is_authorisation: bool) -> bool:
    return members.get("error") == code and is_authorisation_error(code) == is_authorisation


_INDEXES: Final[Mapping[str, tuple[str, ...]]] = {
    "resource": ("ResourceName", "ResourceId"),
    "error": ("ApiErrorCode", "CamErrorCode"),
    "user": ("PrincipalId",),
}
_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "ActionType": ("Read", "Write"),
    "ReadOnly": ("true", "false"),
    "SensitiveAction": ("0", "1"),
}
_FITS: Final[Mapping[str, Callable[[Members, str], bool]]] = {
    REQUEST_ID: lambda members, value: members["id"] == value,
    "ActionType": lambda members, value: members.get("read", False) == (value == "Read"),
    "ReadOnly": lambda members, value: members.get("read", False) == (value == "true"),
    "Username": lambda members, value: value in (user_name(members), members.get("uin")),
    "PrincipalId": lambda members, value: members.get("uin") == value,
    "ResourceType": lambda members, value: value in resource_types(members),
    "ResourceId": lambda members, value: value in resource_names(members),
    "ResourceName": lambda members, value: value in resource_names(members),
    "AccessKeyId": lambda members, value: members.get("secret_id") == value,
    "SensitiveAction": lambda members, value: is_sensitive(members) == (value == "1"),
    "ApiErrorCode": lambda members, value: _has_error(members, value, is_authorisation=False),
    "CamErrorCode": lambda members, value: _has_error(members, value, is_authorisation=True),
    "SourceIPAddress": lambda members, value: members.get("ip") == value,
    "Tags": _has_tags,
}
