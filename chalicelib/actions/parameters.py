"""Parameter types that several actions share, with the limits of the API."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from chalicelib.errors import (
    EncryptionError,
    InvalidAlias,
    InvalidCiphertext,
    InvalidDataKeyId,
    InvalidDataKeyName,
    InvalidHsmClusterId,
    InvalidKeyId,
    InvalidParameter,
    InvalidPlaintext,
    NotRoleOperation,
    ResourceDescriptionError,
    TagKeyCharacterIllegal,
    TagKeyDuplicate,
    TagKeyEmpty,
    TagKeyLengthExceeded,
    TagKeysDuplicated,
    TagValueCharacterIllegal,
    TagValueLengthExceeded,
)
from chalicelib.params import RECORDED, Base64, Between, Characters, Items, Matches, OneOf, Utf8

KeyId = Annotated[
    str,
    Matches(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "is a UUID in lower case", InvalidKeyId),
    RECORDED,
]
OptionalKeyId = Annotated[
    str,
    Matches(r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "is a UUID in lower case, or empty", InvalidKeyId),
    RECORDED,
]
KeyIds = Annotated[list[KeyId], Items(100, 1, InvalidParameter), RECORDED]
DataKeyId = Annotated[
    str,
    Matches(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "is a UUID in lower case", InvalidDataKeyId),
    RECORDED,
]
DataKeyIds = Annotated[list[DataKeyId], Items(100, 1), RECORDED]
DataKeyName = Annotated[
    str,
    Matches(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}",
        "has 1 to 60 letters, digits, - and _, and starts with a letter or digit",
        InvalidDataKeyName,
    ),
    RECORDED,
]
OptionalDataKeyName = Annotated[
    str,
    Matches(
        r"|[A-Za-z0-9][A-Za-z0-9_-]{0,59}",
        "is empty or has 1 to 60 letters, digits, - and _, and starts with a letter or digit",
        InvalidDataKeyName,
    ),
    RECORDED,
]
DataKeyDescription = Annotated[str, Utf8(100, error=InvalidParameter)]
BoundName = Annotated[
    str,
    Matches(r"[!-~]{1,128}", "has 1 to 128 visible ASCII characters", InvalidParameter),
    RECORDED,
]
Blob = Annotated[str, Characters(8192, 1, InvalidCiphertext)]
RsaPadding = Annotated[
    str, OneOf(("RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"), InvalidParameter), RECORDED
]
EncryptionAlgorithm = Annotated[str, Characters(64, error=EncryptionError), RECORDED]
Message = Annotated[bytes, Base64(4096, error=InvalidParameter)]
MessageType = Annotated[str, OneOf(("RAW", "DIGEST"), InvalidParameter), RECORDED]
SignatureValue = Annotated[bytes, Base64(8192)]
Alias = Annotated[
    str,
    Matches(
        r"(?!kms-)[A-Za-z0-9][A-Za-z0-9_-]{0,59}",
        "has 1 to 60 letters, digits, - and _, starts with a letter or digit, and not with kms-",
        InvalidAlias,
    ),
    RECORDED,
]
KeyDescription = Annotated[str, Utf8(1024, error=InvalidParameter)]
EncryptionContext = Annotated[str, Characters(1024, error=InvalidParameter)]
Plaintext = Annotated[bytes, Base64(4096, error=InvalidPlaintext)]
PageLimit = Annotated[int, Between(1, 200, InvalidParameter), RECORDED]
HsmClusterId = Annotated[str, RECORDED]
SecretName = Annotated[
    str,
    Matches(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}",
        "has 1 to 128 letters, digits, - and _, and starts with a letter or digit",
    ),
    RECORDED,
]
VersionId = Annotated[
    str,
    Matches(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
        "has 1 to 64 letters, digits, -, _ and ., and starts with a letter or digit",
    ),
    RECORDED,
]
SecretDescription = Annotated[str, Utf8(2048)]
SecretBinary = Annotated[bytes, Base64(32768, 0)]
SecretString = Annotated[str, Utf8(32768)]
Flag = Annotated[bool, RECORDED]
Unsigned = Annotated[int, Between(0, 2**63 - 1), RECORDED]

MAX_TAGS: Final = 50


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a resource: a key of 1 to 127 characters, a value of up to 255."""

    tag_key: Annotated[str, Characters(127, 1), RECORDED]
    tag_value: Annotated[str, Characters(255), RECORDED]


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Resources that carry `tag_key` with one of the values; no values: any value."""

    tag_key: Annotated[str, Characters(127, 1), RECORDED]
    tag_value: Annotated[list[Annotated[str, Characters(255)]], Items(10), RECORDED] = field(
        default_factory=list
    )


@dataclass(frozen=True, slots=True)
class MemberAccount:
    """Another account of an organisation; Keystead has no organisations."""

    member_app_id: Unsigned = 0
    member_uin: Unsigned = 0


Tags = Annotated[list[Tag], Items(MAX_TAGS), RECORDED]
TagFilters = Annotated[list[TagFilter], Items(10), RECORDED]


TagKey = Annotated[str, Characters(127, 0, TagKeyLengthExceeded), Characters(2**31, 1, TagKeyEmpty), RECORDED]
"""In the tag service, which has codes of its own for what is wrong with a tag."""
_TAG_TEXT: Final = r"(?! )[\w +\-=.:/@()\[\],，（）【】]*(?<! )"  # noqa: RUF001 - as the product allows


@dataclass(frozen=True, slots=True)
class NewTag:
    """A tag that the tag service gives to a resource."""

    tag_key: Annotated[
        TagKey, Matches(_TAG_TEXT, "has a character that is not allowed", TagKeyCharacterIllegal)
    ]
    tag_value: Annotated[
        str,
        Characters(255, error=TagValueLengthExceeded),
        Matches(_TAG_TEXT, "has a character that is not allowed", TagValueCharacterIllegal),
        RECORDED,
    ]
    category: Annotated[str, OneOf(("", "Custom", "All"), InvalidParameter), RECORDED] = ""


@dataclass(frozen=True, slots=True)
class GoneTag:
    """A tag that the tag service takes away."""

    tag_key: TagKey


TagCategory = Annotated[str, OneOf(("", "All", "Custom", "System"), InvalidParameter), RECORDED]
ResourceName = Annotated[str, Characters(512, 1, ResourceDescriptionError), RECORDED]


def new_tags(tags: Iterable[NewTag]) -> dict[str, str]:
    """Tags as a map; raises TagKeyDuplicate."""
    tags = list(tags)
    found = {t.tag_key: t.tag_value for t in tags}
    if len(found) != len(tags):
        raise TagKeyDuplicate
    return found


def tag_map(tags: Iterable[Tag]) -> dict[str, str]:
    """Tags as a map; raises TagKeysDuplicated."""
    tags = list(tags)
    found = {t.tag_key: t.tag_value for t in tags}
    if len(found) != len(tags):
        raise TagKeysDuplicated
    return found


def carries(tags: Mapping[str, str], filters: Iterable[TagFilter]) -> bool:
    """Whether a resource with `tags` passes: filters are ANDed, the values of one filter ORed."""
    return all(f.tag_key in tags and (not f.tag_value or tags[f.tag_key] in f.tag_value) for f in filters)


def refuse_member_account(member_account: MemberAccount | None) -> None:
    """Keystead has no organisations: a call on another account's keys is refused, not ignored."""
    if member_account is not None:
        raise NotRoleOperation


def check_hsm_cluster(hsm_cluster_id: str) -> None:
    """There is the shared cluster only, called `default` or nothing."""
    if hsm_cluster_id not in ("", "default"):
        raise InvalidHsmClusterId
