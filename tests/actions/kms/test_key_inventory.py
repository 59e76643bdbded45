"""Every code that the API lists for an action on CMKs has a test, or a reason why this implementation never answers it."""

from pathlib import Path

import pytest
from tencentcloud.kms.v20190118 import errorcodes

from chalicelib.api.registry import names
from tests.actions.kms.arrange_keys import ALL

HERE = Path(__file__).parent

# What test_every_key_action.py tries with every action that lists it; InternalError is tests/faults' business.
EVERYWHERE = {
    "InternalError",
    "InvalidParameterValue.InvalidKeyId",
    "ResourceUnavailable.CmkNotFound",
    "UnsupportedOperation.NotRoleOperation",
}

NEVER = {
    "FailedOperation.RotateTaskRunning": "a rotation is one write: nobody sees it running",
    "FailedOperation.TaggingError": "tags are written with the key itself, or neither is",
    "InvalidParameterValue.TagsNotExisted": "a tag comes into being with the resource that carries it",
    "UnauthorizedOperation": "a caller whom no policy allows gets AuthFailure.UnauthorizedOperation",
    "UnsupportedOperation": "the service's state can be asked for in every region",
    "UnsupportedOperation.ServiceTemporaryUnavailable": "no part of the service is ever closed",
}
# The same for single actions.
NEVER_BY_ACTION = {
    "BindCloudResource": {
        "FailedOperation.CmkUsedByCloudProduct": "binding the same resource again succeeds, and so does another one",
    },
    "RotateKey": {
        "ResourceUnavailable.CmkStateNotSupport": "RotateNotSupported says it, and makes no client try again",
    },
    "GenerateDataKey": {
        "InvalidParameterValue.InvalidKeyUsage": "InvalidParameter says it, as for Encrypt and Decrypt",
        "InvalidParameterValue.InvalidType": "it has no parameter of that kind",
        "LimitExceeded.CmkLimitExceeded": "it makes no CMK",
    },
}
# What every action tries in one place: a parameter of the wrong type (InvalidParameter).
WRONG_TYPES = "InvalidParameter"

_ALL = ("InternalError", "UnauthorizedOperation")
_ONE = (
    *_ALL,
    "InvalidParameterValue.InvalidKeyId",
    "ResourceUnavailable.CmkNotFound",
)
_STATE = "ResourceUnavailable.CmkStateNotSupport"
_USED = "FailedOperation.CmkUsedByCloudProduct"
_CLOSED = "UnsupportedOperation.ServiceTemporaryUnavailable"
_ROLE = "UnsupportedOperation.NotRoleOperation"
_NOT_OURS = "UnsupportedOperation.NotUserCreatedCmk"
_TWICE = "InvalidParameterValue.DuplicatedKeyId"
_CLUSTER = "InvalidParameterValue.InvalidHsmClusterId"
_TAGS = (
    "FailedOperation.TaggingError",
    "InvalidParameterValue.TagKeysDuplicated",
    "InvalidParameterValue.TagsNotExisted",
)
_DISABLED = "ResourceUnavailable.CmkDisabled"
_BLOB = "InvalidParameterValue.InvalidCiphertext"
_BAD = "InvalidParameter"
# Action -> its codes, those of the Go SDK.
LISTED: dict[str, tuple[str, ...]] = {
    "ArchiveKey": (*_ONE, _BAD, _STATE, _USED, _CLOSED, _ROLE, _NOT_OURS),
    "BindCloudResource": (
        "FailedOperation.CmkUsedByCloudProduct",
        "InternalError",
        _BAD,
        "InvalidParameterValue.InvalidKeyId",
        "ResourceUnavailable.CmkNotFound",
        _STATE,
        _CLOSED,
    ),
    "CancelKeyArchive": (*_ONE, _BAD, _STATE, _CLOSED, _ROLE, _NOT_OURS),
    "CancelKeyDeletion": (*_ONE, "ResourceUnavailable.CmkNotPendingDelete", _CLOSED, _ROLE),
    "CreateKey": (
        *_ALL,
        *_TAGS,
        _BAD,
        "InvalidParameterValue.AliasAlreadyExists",
        "InvalidParameterValue.InvalidAlias",
        _CLUSTER,
        "InvalidParameterValue.InvalidKeyUsage",
        "InvalidParameterValue.InvalidType",
        "LimitExceeded.CmkLimitExceeded",
        _CLOSED,
        "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion",
    ),
    "Decrypt": (
        *_ALL,
        "FailedOperation.EncryptionError",
        _BAD,
        _BLOB,
        _DISABLED,
        "ResourceUnavailable.CmkNotFound",
    ),
    "DescribeKey": (*_ONE, _BAD, _ROLE),
    "DescribeKeys": (*_ONE, _BAD, _TWICE, _ROLE),
    "DisableKey": (*_ONE, _BAD, _STATE, _USED, _CLOSED, _ROLE),
    "DisableKeyRotation": (*_ONE, _BAD, _ROLE),
    "DisableKeys": (*_ONE, _BAD, _TWICE, _STATE, _USED, _CLOSED, _ROLE),
    "EnableKey": (*_ONE, _BAD, _STATE, _CLOSED, _ROLE),
    "EnableKeyRotation": (
        *_ONE,
        _BAD,
        "InvalidParameterValue",
        _STATE,
        "UnsupportedOperation.ExternalCmkCanNotRotate",
        _CLOSED,
        _ROLE,
    ),
    "EnableKeys": (*_ONE, _BAD, _TWICE, _STATE, _CLOSED, _ROLE),
    "Encrypt": (
        *_ONE,
        _BAD,
        "InvalidParameterValue.InvalidPlaintext",
        "ResourceUnavailable.CmkArchived",
        _DISABLED,
    ),
    "GenerateDataKey": (
        *_ONE,
        *_TAGS,
        "FailedOperation.EncryptionError",
        _BAD,
        "InvalidParameterValue.DataKeyNameAlreadyExists",
        "InvalidParameterValue.InvalidDataKeyName",
        _CLUSTER,
        "InvalidParameterValue.InvalidKeyUsage",
        "InvalidParameterValue.InvalidType",
        "LimitExceeded.CmkLimitExceeded",
        "LimitExceeded.DataKeyLimitExceeded",
        _DISABLED,
        "ResourceUnavailable.KeyPendingDelete",
    ),
    "GenerateRandom": (*_ALL, _BAD),
    "GetKeyRotationStatus": (*_ONE, _BAD, _ROLE),
    "GetRegions": ("InternalError",),
    "GetServiceStatus": (*_ALL, "UnsupportedOperation"),
    "ListAlgorithms": _ALL,
    "ListKeyDetail": (*_ALL, _BAD, _CLUSTER, _ROLE),
    "ListKeyRotations": (),  # an extension
    "ListKeys": (*_ALL, _BAD, _CLUSTER),
    "ReEncrypt": (*_ONE, _BAD, _BLOB, _DISABLED),
    "RotateKey": (
        *_ONE,
        "FailedOperation.RotateTaskRunning",
        _BAD,
        "RequestLimitExceeded.RotateRateLimited",
        _STATE,
        "UnsupportedOperation.RotateNotSupported",
    ),
    "ScheduleKeyDeletion": (
        *_ONE,
        _USED,
        "InvalidParameter.InvalidPendingWindowInDays",
        "ResourceUnavailable.CmkShouldBeDisabled",
        _STATE,
        _CLOSED,
        _ROLE,
    ),
    "UnbindCloudResource": (*_ONE, _BAD, "ResourceUnavailable.CloudResourceBindingNotFound", _CLOSED),
    "UpdateAlias": (
        *_ONE,
        _BAD,
        "InvalidParameterValue.AliasAlreadyExists",
        "InvalidParameterValue.InvalidAlias",
        _CLOSED,
        _ROLE,
    ),
    "UpdateKeyDescription": (*_ONE, _BAD, _CLOSED, _ROLE),
}


def text_of(action: str) -> str:
    """The tests of an action; those of EnableKeys and DisableKeys share a part."""
    paths = [*HERE.glob(f"test_{names('kms')[action]}*.py")]
    if action in ("EnableKeys", "DisableKeys"):
        paths.append(HERE / "switches.py")
    return "".join(path.read_text() for path in paths)


@pytest.mark.parametrize("action", ALL)
def test_each_listed_code_is_tried_or_explained(action: str) -> None:
    reasons = {*EVERYWHERE, *NEVER, *NEVER_BY_ACTION.get(action, {}), WRONG_TYPES}
    # Some tests spell a code in two parts: f"ResourceUnavailable.{code}".
    text = text_of(action)
    missing = [
        code
        for code in sorted(set(LISTED[action]) - reasons)
        if f'"{code}"' not in text and f'"{code.rpartition(".")[2]}"' not in text
    ]
    assert missing == []


def test_the_lists_and_reasons_speak_of_codes_that_the_service_has() -> None:
    known = {text for text in vars(errorcodes).values() if isinstance(text, str)}
    listed = {code for codes in LISTED.values() for code in codes}
    assert listed <= known
    assert {*NEVER, *EVERYWHERE} <= listed
    assert all(set(codes) <= set(LISTED[action]) for action, codes in NEVER_BY_ACTION.items())
    assert all(reason for reasons in (NEVER, *NEVER_BY_ACTION.values()) for reason in reasons.values())


def test_each_action_has_its_list_and_its_tests() -> None:
    assert set(LISTED) == set(ALL) <= set(names("kms"))
    assert [a for a in ALL if not (HERE / f"test_{names('kms')[a]}.py").exists()] == []
