"""Every code that the API lists for an action has a test, or a reason why this implementation never answers it."""

from pathlib import Path

import pytest
from tencentcloud.ssm.v20190923 import errorcodes

from chalicelib.api.registry import names

HERE = Path(__file__).parent

# What tests/actions/ssm/test_every_action.py tries with every action that lists it.
EVERYWHERE = {"InternalError"}
NAMED = {"ResourceNotFound", "InvalidParameterValue"}

NEVER = {
    "OperationDenied.AutoRotatedResource": "there are no secrets that the service rotates",
    "OperationDenied.RoleNotExist": "Secrets Manager needs no service role to use a key of its own account",
    "InvalidParameterValue.TagsNotExisted": "a tag comes into being with the resource that carries it",
    "ResourceNotFound.SecretNotExist": "Terraform compares with the bare code ResourceNotFound",
    "ResourceUnavailable": "its only cause, a secret that is still being made, does not exist",
    "ResourceUnavailable.NotPurchased": "the service is open for every account",
    "ResourceUnavailable.ResourceUninitialized": "a secret is whole as soon as it can be found",
    "UnauthorizedOperation": "a caller whom no policy allows gets AuthFailure.UnauthorizedOperation",
}
# The same for single actions: no state forbids them, or the states that do have codes of their own.
NEVER_BY_ACTION = {
    "DeleteSecretVersion": {"FailedOperation"},
    "ListSecretVersionIds": {"FailedOperation"},
    "ListSecrets": {"FailedOperation"},
}

_ALL = ("InternalError", "UnauthorizedOperation")
_OPEN = (*_ALL, "InvalidParameterValue", "ResourceUnavailable.NotPurchased")
_ONE = (*_OPEN, "ResourceNotFound")
# Action -> its codes, those of the Go SDK and those of the private edition's document together.
LISTED = {
    "CreateSecret": (
        *_OPEN,
        "FailedOperation.AccessKmsError",
        "InvalidParameterValue.TagKeysDuplicated",
        "InvalidParameterValue.TagsNotExisted",
        "LimitExceeded",
        "ResourceInUse.SecretExists",
    ),
    "DeleteSecret": (*_ONE, "FailedOperation", "ResourceUnavailable.ResourceUninitialized"),
    "DeleteSecretVersion": (*_ONE, "FailedOperation", "ResourceUnavailable.ResourceUninitialized"),
    "DescribeSecret": (*_ONE, "OperationDenied.RoleNotExist", "ResourceUnavailable"),
    "DisableSecret": (*_ONE, "FailedOperation", "ResourceUnavailable.ResourceUninitialized"),
    "EnableSecret": (*_ONE, "FailedOperation", "ResourceUnavailable.ResourceUninitialized"),
    "GetRegions": _ALL,
    "GetSecretValue": (
        *_ONE,
        "FailedOperation",
        "FailedOperation.AccessKmsError",
        "OperationDenied.RoleNotExist",
        "ResourceNotFound.SecretNotExist",
        "ResourceUnavailable.ResourceDisabled",
        "ResourceUnavailable.ResourcePendingDeleted",
        "ResourceUnavailable.ResourceUninitialized",
    ),
    "GetServiceStatus": _ALL,
    "ListSecretVersionIds": (*_ONE, "FailedOperation"),
    "ListSecrets": (*_OPEN, "FailedOperation"),
    "PutSecretValue": (
        *_ONE,
        "FailedOperation",
        "FailedOperation.AccessKmsError",
        "LimitExceeded",
        "OperationDenied.AutoRotatedResource",
        "ResourceInUse.VersionIdExists",
    ),
    # The service's own: what the API lists for actions like them.
    "ReplicateSecret": (
        *_ONE,
        "FailedOperation",
        "FailedOperation.AccessKmsError",
        "ResourceInUse.SecretExists",
    ),
    "RestoreSecret": (*_ONE, "FailedOperation"),
    "StopSecretReplication": (*_ONE, "FailedOperation"),
    "UpdateDescription": (*_ONE, "FailedOperation"),
    "UpdateSecret": (
        *_ONE,
        "FailedOperation",
        "FailedOperation.AccessKmsError",
        "OperationDenied.AutoRotatedResource",
    ),
}


@pytest.mark.parametrize(("action", "module"), names("ssm").items())
def test_each_listed_code_is_tried_or_explained(action: str, module: str) -> None:
    text = (HERE / f"test_{module}.py").read_text()
    expected = set(LISTED[action]) - EVERYWHERE - set(NEVER) - NEVER_BY_ACTION.get(action, set())
    if "ResourceNotFound" in LISTED[action]:
        expected -= NAMED
    assert [code for code in sorted(expected) if f'"{code}"' not in text] == []


def test_the_lists_and_reasons_speak_of_codes_that_the_service_has() -> None:
    known = {text for text in vars(errorcodes).values() if isinstance(text, str)}
    listed = {code for codes in LISTED.values() for code in codes}
    assert listed <= known
    assert set(NEVER) <= listed
    assert all(codes <= set(LISTED[action]) for action, codes in NEVER_BY_ACTION.items())


def test_each_action_has_its_list_and_each_test_its_action() -> None:
    assert set(LISTED) == set(names("ssm"))
    general = {"test_every_action", "test_inventory", "test_secret_values", "test_states", "test_terraform"}
    assert {p.stem for p in HERE.glob("test_*.py")} - general == {f"test_{m}" for m in names("ssm").values()}
