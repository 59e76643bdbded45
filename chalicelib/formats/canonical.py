"""One encoding for everything that is authenticated beside a ciphertext (docs/formats.md, KS-FMT-1 and KS-FMT-2)."""

import json
from typing import Any, Final

_MALFORMED: Final = "EncryptionContext is a JSON object whose values are strings, without duplicate keys."
_TAG: Final = b"keystead\x01"


class MalformedContext(ValueError):
    """The encryption context is not a JSON object of strings, or names a key twice."""


def associated_data(domain: str, /, *parts: str | bytes | int) -> bytes:
    """The bytes that stand for `domain` and `parts`: different arguments never give the same bytes.

    `domain` says what the parts are (`"cmk"`), so that equal parts of two uses differ. Text is UTF-8 and is not
    normalised; an integer has 64 bits and no sign. Raises ValueError for an integer or text outside that, TypeError
    for any other type, bool included.
    """
    return _TAG + b"".join([_encode(part) for part in (domain, *parts)])


def encryption_context(text: str | None) -> bytes:
    """The canonical form of an EncryptionContext; `None`, `""` and `"{}"` give no bytes.

    Contexts are compared as maps: order, white space and escapes do not count, every code point of keys and values
    does. Raises MalformedContext. The caller has checked the length (1024 characters).
    """
    pairs = [part for member in sorted(encryption_context_members(text).items()) for part in member]
    try:
        return associated_data("encryption-context", *pairs) if pairs else b""
    except UnicodeEncodeError:
        raise MalformedContext(_MALFORMED) from None


def encryption_context_members(text: str | None) -> dict[str, str]:
    """The names and values in an EncryptionContext. Raises MalformedContext."""
    if not text:
        return {}
    try:
        members = json.loads(text, object_pairs_hook=_members)
        if not isinstance(members, dict) or not all(isinstance(value, str) for value in members.values()):
            raise MalformedContext
    except (ValueError, RecursionError):
        raise MalformedContext(_MALFORMED) from None
    return members


def _encode(part: str | bytes | int) -> bytes:
    match part:
        case str():
            kind, value = b"s", part.encode()
        case bytes():
            kind, value = b"b", part
        case int() if not isinstance(part, bool) and 0 <= part < 2**64:
            kind, value = b"i", part.to_bytes(8)
        case int() if not isinstance(part, bool):
            raise ValueError("an integer in associated data has 64 bits and no sign")
        case _:
            raise TypeError("associated data is made of str, bytes and int")
    return kind + len(value).to_bytes(4) + value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedContext
    return members
