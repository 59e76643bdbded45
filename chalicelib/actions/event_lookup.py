"""What the searches of CloudAudit share: search conditions, times and positions, with the limits of the API."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from chalicelib.audit import attributes
from chalicelib.audit.attributes import Attribute, MalformedValue
from chalicelib.errors import ApiError, InvalidParameter
from chalicelib.params import RECORDED, Characters

MAX_TIME: Final = 9_999_999_998
"""Seconds: events are sorted by milliseconds of 13 digits."""
MAX_POSITION: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class LookupAttribute:
    """A search condition."""

    attribute_key: Annotated[str, Characters(64, 1, InvalidParameter), RECORDED]
    attribute_value: Annotated[str, Characters(1024, 1, InvalidParameter), RECORDED]


def read_attributes(
    given: Sequence[LookupAttribute], keys: Collection[str], unknown: type[ApiError]
) -> list[Attribute]:
    """The conditions; raises `unknown` for other keys, and InvalidParameter for values that no event can have."""
    found = [Attribute(each.attribute_key, each.attribute_value) for each in given]
    if any(each.key not in keys for each in found):
        raise unknown(f"AttributeKey is one of {', '.join(keys)}.")
    try:
        for each in found:
            attributes.check(each)
    except MalformedValue as error:
        raise InvalidParameter(str(error)) from None
    return found
