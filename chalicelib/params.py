"""Reads a request's parameters into a handler's keyword-only arguments.

A handler's signature is its request model: types and limits stand there as `Annotated` metadata, and this module is
the only place that reads them. A body becomes arguments or one of four refusals:

- a name that the action does not declare: `UnknownParameter`, before anything else;
- a required value that is absent or null: `MissingParameter`;
- a value of the wrong type or form: `InvalidParameter`;
- a value outside its limits: `InvalidParameterValue`, or the code that the limit names.

A message names the full path (`Tags.0.TagKey`) and the limit, never the value.
"""

import base64
import binascii
import dataclasses
import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from chalicelib.errors import (
    ApiError,
    InvalidParameter,
    InvalidParameterValue,
    MissingParameter,
    UnknownParameter,
)

MAX_DEPTH: Final = 8
MAX_FLAT: Final = 10_000
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class Wire:
    """The name on the wire, where it is not the PascalCase of the argument's name."""

    name: str


@dataclass(frozen=True, slots=True)
class Between:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int
    error: type[ApiError] = InvalidParameterValue

    def check(self, value: int, path: str) -> None:
        if not self.low <= value <= self.high:
            raise self.error(f"{path} is a whole number from {self.low} to {self.high}.")


@dataclass(frozen=True, slots=True)
class Utf8:
    """A string of `low` to `high` bytes in UTF-8."""

    high: int
    low: int = 0
    error: type[ApiError] = InvalidParameterValue

    def check(self, value: str, path: str) -> None:
        if not self.low <= len(value.encode()) <= self.high:
            raise self.error(f"{path} has {self.low} to {self.high} bytes in UTF-8.")


@dataclass(frozen=True, slots=True)
class Characters:
    """A string of `low` to `high` characters."""

    high: int
    low: int = 0
    error: type[ApiError] = InvalidParameterValue

    def check(self, value: str, path: str) -> None:
        if not self.low <= len(value) <= self.high:
            raise self.error(f"{path} has {self.low} to {self.high} characters.")


@dataclass(frozen=True, slots=True)
class Matches:
    """A string that matches `pattern` as a whole; `says` completes the sentence "<path> ..."."""

    pattern: str
    says: str
    error: type[ApiError] = InvalidParameterValue

    def check(self, value: str, path: str) -> None:
        if not re.fullmatch(self.pattern, value):
            raise self.error(f"{path} {self.says}.")


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a closed list of strings or integers."""

    options: tuple[str, ...] | tuple[int, ...]
    error: type[ApiError] = InvalidParameterValue

    def check(self, value: str | int, path: str) -> None:
        if value not in self.options:
            raise self.error(f"{path} is one of {', '.join(map(str, self.options))}.")


@dataclass(frozen=True, slots=True)
class Base64:
    """Bytes in canonical standard base64 (RFC 4648, 4); `low` and `high` bound the decoded length."""

    high: int
    low: int = 1
    error: type[ApiError] = InvalidParameterValue

    def decode(self, text: str, path: str) -> bytes:
        """The bytes, or `error`: one text for each value, so other alphabets, spaces and loose bits are refused."""
        try:
            value = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            value = None
        if (
            value is None
            or base64.b64encode(value).decode() != text
            or not self.low <= len(value) <= self.high
        ):
            raise self.error(f"{path} is the standard base64 of {self.low} to {self.high} bytes.")
        return value


@dataclass(frozen=True, slots=True)
class Items:
    """A list of `low` to `high` members."""

    high: int
    low: int = 0
    error: type[ApiError] = InvalidParameterValue

    def check(self, value: list[Any], path: str) -> None:
        if not self.low <= len(value) <= self.high:
            raise self.error(f"{path} has {self.low} to {self.high} members.")


class Recorded:
    """Marks a value that the audit trail may keep: names, ids, numbers. Everything else is masked there."""


RECORDED: Final = Recorded()
MASK: Final = "***"

Parser = Callable[[Any, str, bool], Any]
"""(value, path, lexical) -> the typed value. `lexical`: every scalar came as a string (v1 requests and GET)."""


@dataclass(frozen=True, slots=True)
class _Field:
    argument: str
    wire: str
    parse: Parser
    required: bool
    text: bool
    recorded: bool


class Parameters:
    """The compiled request model of one handler."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        hints = typing.get_type_hints(handler, include_extras=True)
        arguments = [p for p in inspect.signature(handler).parameters.values() if p.kind is p.KEYWORD_ONLY]
        self._fields = {
            f.wire: f
            for f in (_field(p.name, hints[p.name], required=p.default is p.empty) for p in arguments)
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that the action knows, by their names on the wire."""
        return tuple(self._fields)

    def read(self, body: Mapping[str, Any], *, lexical: bool) -> dict[str, Any]:
        """The handler's keyword arguments, or a refusal. Absent optional parameters are left out."""
        return _read_fields(self._fields, body, "", lexical=lexical)

    def recorded(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What of a body that was read the audit trail keeps: values only where they are marked as harmless."""
        return {
            name: _masked(value) if self._fields[name].recorded else MASK
            for name, value in body.items()
            if value is not None
        }


def _read_fields(
    fields: Mapping[str, _Field], body: Mapping[str, Any], path: str, *, lexical: bool
) -> dict[str, Any]:
    for name in body:
        if name not in fields:
            raise UnknownParameter(f"{path}{_printable(name)} is not a parameter of this action.")
    given = {}
    for name, field in fields.items():
        value = body.get(name)
        # Untyped GET clients send `Name=` for a member that is not set.
        if value is None or (lexical and value == "" and not field.text):
            if field.required:
                raise MissingParameter(f"{path}{name} is required.")
            continue
        given[field.argument] = field.parse(value, path + name, lexical)
    return given


def _printable(name: str) -> str:
    """A parameter's name is echoed only where it looks like a name: anything else might be a value gone astray."""
    return name if re.fullmatch(r"[A-Za-z]{1,40}", name) else "A name in the request"


def _masked(value: Any) -> Any:
    """The value, but for texts that no name or id looks like: they, too, might have gone astray."""
    if isinstance(value, dict):
        return {name: _masked(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_masked(member) for member in value]
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z0-9._:-]{0,128}", value) else MASK
    return value


def _field(argument: str, hint: Any, *, required: bool) -> _Field:
    base, metadata = _unwrap(hint)
    names = [m.name for m in metadata if isinstance(m, Wire)]
    wire = names[0] if names else "".join(part.capitalize() for part in argument.split("_"))
    return _Field(
        argument,
        wire,
        _parser(base, metadata),
        required,
        text=base in (str, bytes),
        recorded=any(isinstance(m, Recorded) for m in metadata),
    )


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """`Annotated[T, ...] | None` and `Annotated[T | None, ...]` -> (T, metadata)."""
    metadata: tuple[Any, ...] = ()
    while True:
        if typing.get_origin(hint) is Annotated:
            metadata += hint.__metadata__
            hint = hint.__origin__
        elif typing.get_origin(hint) in (types.UnionType, typing.Union):
            (hint,) = [t for t in typing.get_args(hint) if t is not types.NoneType]
        else:
            return hint, metadata


def _parser(base: Any, metadata: tuple[Any, ...]) -> Parser:
    checks = [m.check for m in metadata if hasattr(m, "check")]
    if base is bytes:
        (codec,) = [m for m in metadata if isinstance(m, Base64)]
        parse: Parser = functools.partial(_bytes, codec)
    elif typing.get_origin(base) is list:
        (member,) = typing.get_args(base)
        parse = functools.partial(_list, _parser(*_unwrap(member)))
    elif isinstance(base, type) and dataclasses.is_dataclass(base):
        hints = typing.get_type_hints(base, include_extras=True)
        fields = [
            _field(
                f.name,
                hints[f.name],
                required=f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
            )
            for f in dataclasses.fields(base)
        ]
        parse = functools.partial(_struct, base, {f.wire: f for f in fields})
    else:
        parse = {str: _text, int: _integer, bool: boolean}[base]
    if not checks:
        return parse

    def parse_and_check(value: Any, path: str, lexical: bool) -> Any:
        parsed = parse(value, path, lexical)
        for check in checks:
            check(parsed, path)
        return parsed

    return parse_and_check


def _text(value: Any, path: str, _lexical: bool) -> str:
    if not isinstance(value, str):
        raise InvalidParameter(f"{path} is a string.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidParameter(f"{path} is not valid Unicode text.") from None
    return value


def _integer(value: Any, path: str, _lexical: bool) -> int:
    # A decimal string is taken in JSON too: an official example sends one (ImportKeyMaterial, ValidTo).
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if type(value) is not int:
        raise InvalidParameter(f"{path} is a whole number.")
    if not -_INT64 <= value < _INT64:
        raise InvalidParameterValue(f"{path} does not fit in 64 bits.")
    return value


def boolean(value: Any, path: str, lexical: bool) -> bool:
    """The boolean, or InvalidParameter."""
    if lexical and value in ("true", "True", "false", "False"):
        return bool(value in ("true", "True"))
    if not isinstance(value, bool):
        raise InvalidParameter(f"{path} is true or false.")
    return value


def _bytes(codec: Base64, value: Any, path: str, lexical: bool) -> bytes:
    return codec.decode(_text(value, path, lexical), path)


def _list(member: Parser, value: Any, path: str, lexical: bool) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidParameter(f"{path} is a list.")
    return [member(v, f"{path}.{i}", lexical) for i, v in enumerate(value)]


def _struct(
    struct: Callable[..., Any], fields: Mapping[str, _Field], value: Any, path: str, lexical: bool
) -> Any:
    if not isinstance(value, dict):
        raise InvalidParameter(f"{path} is an object.")
    return struct(**_read_fields(fields, value, path + ".", lexical=lexical))


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object, read strictly: UTF-8, no duplicate names, no NaN; an empty body is an empty object."""
    if not body:
        return {}
    try:
        value = _JSON.decode(body.decode())
    except (ValueError, RecursionError):
        raise InvalidParameter("The body is a JSON object in UTF-8 without duplicate names.") from None
    if not isinstance(value, dict):
        raise InvalidParameter("The body is a JSON object.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _refuse_constant(_name: str) -> None:
    raise ValueError


_JSON: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def nest(flat: Mapping[str, str]) -> dict[str, Any]:
    """`{"Tags.0.TagKey": "a"}` -> `{"Tags": [{"TagKey": "a"}]}`; list indexes count from 0 without gaps."""
    if len(flat) > MAX_FLAT:
        raise InvalidParameter(f"The request has more than {MAX_FLAT} parameters.")
    root: dict[str, Any] = {}
    for name, value in flat.items():
        parts = name.split(".")
        if len(parts) > MAX_DEPTH or not all(parts):
            raise InvalidParameter("A parameter's name is a path such as Tags.0.TagKey.")
        node = root
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise InvalidParameter("A parameter is sent both as a value and as an object.")
        if parts[-1] in node:
            raise InvalidParameter("A parameter is sent both as a value and as an object.")
        node[parts[-1]] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    members = {name: _lists(value) for name, value in node.items()}
    if not all(name.isascii() and name.isdigit() for name in members):
        return members
    try:
        return [members[str(i)] for i in range(len(members))]
    except KeyError:
        raise InvalidParameter("List indexes count from 0 without gaps.") from None
