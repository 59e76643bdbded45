"""Every common error code of the product document is answered by some call, or a reason stands here why not."""

from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.settings import Settings
from tests import scenarios
from tests.calls import ask, code, tc3, v1
from tests.inspected import NOW, Inspected
from tests.installation import SM
from tests.scenarios import World

# The common error codes of the product document (private edition, 2025-10-20), in its order.
COMMON = (
    "AuthFailure.InvalidSecretId",
    "AuthFailure.MFAFailure",
    "AuthFailure.SecretIdNotFound",
    "AuthFailure.SignatureExpire",
    "AuthFailure.SignatureFailure",
    "AuthFailure.TokenFailure",
    "AuthFailure.UnauthorizedOperation",
    "DryRunOperation",
    "FailedOperation",
    "InternalError",
    "InvalidAction",
    "InvalidParameter",
    "InvalidParameterValue",
    "LimitExceeded",
    "MissingParameter",
    "NoSuchVersion",
    "RequestLimitExceeded",
    "ResourceInUse",
    "ResourceInsufficient",
    "ResourceNotFound",
    "ResourceUnavailable",
    "UnauthorizedOperation",
    "UnknownParameter",
    "UnsupportedOperation",
    "UnsupportedProtocol",
    "UnsupportedRegion",
)
# Answered with a second part only: the document lists the bare code beside the ones that say more.
MORE_EXACT = {
    "ResourceInUse": "ResourceInUse.SecretExists",
    "ResourceUnavailable": "ResourceUnavailable.ResourceDisabled",
}
UNREACHABLE = {
    "AuthFailure.MFAFailure": "no policy here demands a second factor, and no session carries one",
    "ResourceInsufficient": "keys and secrets are rows: what runs out is a quota, and that is LimitExceeded",
    "UnauthorizedOperation": "a denial by policy is AuthFailure.UnauthorizedOperation; no service denies on its own",
}
# What a call of GetRegions needs to be refused with the code: changes to its headers or parameters.
REFUSED_TC3 = {
    "AuthFailure.InvalidAuthorization": {"authorization": "TC3-HMAC-SHA256 x"},
    "AuthFailure.SignatureExpire": {"x-tc-timestamp": str(NOW - 301)},
    "AuthFailure.SignatureFailure": {"x-tc-timestamp": str(NOW + 1)},
    "AuthFailure.TokenFailure": {"x-tc-token": "token"},
    "NoSuchVersion": {"x-tc-version": "2000-01-01"},
    "InvalidAction": {"x-tc-action": "NoSuch"},
    "UnsupportedRegion": {"x-tc-region": "mars"},
    "UnsupportedProtocol": {"content-type": "text/plain"},
    "MissingParameter": {"x-tc-action": ""},
    "InvalidParameter": {"x-tc-timestamp": "now"},
}
REFUSED_V1 = {
    "AuthFailure.InvalidSecretId": {"SecretId": "id"},
    "AuthFailure.SecretIdNotFound": {"SecretId": "AKIDabc"},
    "AuthFailure.SignatureExpire": {"Timestamp": str(NOW + 301)},
    "AuthFailure.TokenFailure": {"Token": "token"},
    "NoSuchVersion": {"Version": "2000-01-01"},
    "InvalidAction": {"Action": "NoSuch"},
    "UnsupportedRegion": {"Region": "mars"},
    "MissingParameter": {"Nonce": ""},
    "InvalidParameter": {"Nonce": "-"},
    "UnknownParameter": {"Nope": "1"},
    "DryRunOperation": {"DryRun": "true"},
}
# A call in the world that is refused with the code.
REFUSED_CALLS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "DryRunOperation": ("ssm", "GetRegions", {"DryRun": True}),
    "FailedOperation": ("ssm", "EnableSecret", {"SecretName": "leaving"}),
    "InvalidParameter": ("ssm", "DescribeSecret", {"SecretName": 1}),
    "InvalidParameterValue": ("ssm", "DescribeSecret", {"SecretName": "-"}),
    "MissingParameter": ("ssm", "DescribeSecret", {}),
    "ResourceInUse.SecretExists": ("ssm", "CreateSecret", {"SecretName": "live", "SecretString": "x"}),
    "ResourceNotFound": ("ssm", "DescribeSecret", {"SecretName": "absent"}),
    "ResourceUnavailable.ResourceDisabled": (
        "ssm",
        "GetSecretValue",
        {"SecretName": "idle", "VersionId": "v1"},
    ),
    "UnknownParameter": ("ssm", "DescribeSecret", {"Nope": 1}),
    "UnsupportedOperation": ("kms", "CreateWhiteBoxKey", {}),
}
# Tests of their own, below or in other files.
ELSEWHERE = {
    "AuthFailure.UnauthorizedOperation": "test_a_user_without_a_policy",
    "InternalError": "test_gateway.py",
    "LimitExceeded": "test_the_eleventh_version",
    "RequestLimitExceeded": "test_too_many_requests",
}


@pytest.fixture(scope="module")
def world() -> World:
    return scenarios.build(Inspected())


def test_every_common_code_is_accounted_for() -> None:
    reached = {*REFUSED_TC3, *REFUSED_V1, *REFUSED_CALLS, *ELSEWHERE}
    wanted = {MORE_EXACT.get(common, common) for common in COMMON}
    assert wanted - reached == set(UNREACHABLE)


@pytest.mark.parametrize("expected", REFUSED_TC3)
def test_what_tc3_requests_are_refused_for(expected: str) -> None:
    installation = Inspected()
    request = tc3(installation.root, NOW, "ssm", "GetRegions", headers=REFUSED_TC3[expected])
    assert code(ask(installation.gateway, request)) == expected


@pytest.mark.parametrize("expected", REFUSED_V1)
def test_what_v1_requests_are_refused_for(expected: str) -> None:
    installation = Inspected()
    request = v1(installation.root, NOW, "ssm", "GetRegions", common=REFUSED_V1[expected])
    assert code(ask(installation.gateway, request)) == expected


@pytest.mark.parametrize("expected", REFUSED_CALLS)
def test_what_calls_are_refused_for(world: World, expected: str) -> None:
    service, action, parameters = REFUSED_CALLS[expected]
    assert code(world.call(service, action, **parameters)) == expected


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "get", ""])
def test_other_methods_are_refused(method: str) -> None:
    installation = Inspected()
    for request in (
        tc3(installation.root, NOW, "ssm", "GetRegions", method=method),
        v1(installation.root, NOW, "ssm", "GetRegions", method=method),
    ):
        assert code(ask(installation.gateway, request)) == "UnsupportedProtocol"


def test_a_user_without_a_policy() -> None:
    installation = Inspected()
    request = tc3(installation.add_user("u"), NOW, "ssm", "GetRegions")
    assert code(ask(installation.gateway, request)) == "AuthFailure.UnauthorizedOperation"


def test_the_eleventh_version(world: World) -> None:
    def put(version: int) -> str:
        return code(
            world.call("ssm", "PutSecretValue", SecretName="idle", VersionId=f"n{version}", SecretString="x")
        )

    assert [put(version) for version in range(10)] == [""] * 9 + ["LimitExceeded"]


def test_too_many_requests() -> None:
    installation = Inspected(settings=Settings(rates={"ssm.GetRegions": 2}))
    codes = [code(ask(installation.gateway, tc3(installation.root, NOW, "ssm", "GetRegions"))) for _ in "123"]
    assert codes == ["", "", "RequestLimitExceeded"]
    (refused,) = [event for event in installation.events() if "error" in event]
    assert refused["error"] == "RequestLimitExceeded"
    assert (refused["account"], refused["secret_id"], refused["region"]) == (
        installation.root.uin,
        installation.root.secret_id,
        SM,
    )


def test_a_request_that_is_too_large() -> None:
    installation = Inspected()
    for request in (
        tc3(installation.root, NOW, "ssm", "GetRegions", method="GET", query="A=" + "x" * 32767),
        tc3(installation.root, NOW, "ssm", "GetRegions", body=b" " * (10 * 1024 * 1024 + 1)),
        v1(installation.root, NOW, "ssm", "GetRegions", common={"A": "x" * 1024 * 1024}),
    ):
        assert code(ask(installation.gateway, request)) == "RequestSizeLimitExceeded"
