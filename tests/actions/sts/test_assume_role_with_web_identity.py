import json
from typing import Any

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from tests import oidc, permissions
from tests.calls import ask, code
from tests.inspected import Inspected
from tests.installation import SM, Client, Installation, refused
from tests.permissions import statement
from tests.sessions import arn, client_of

WEB = "name/sts:AssumeRoleWithWebIdentity"


def federated(installation: Installation, provider: str = oidc.NAME) -> dict[str, list[str]]:
    return {"federated": [f"qcs::cam::uin/{installation.root.uin}:oidc-provider/{provider}"]}


def add_web_role(installation: Installation, name: str = "web", **conditions: Any) -> str:
    condition = {"string_equal": conditions} if conditions else None
    return permissions.add_role(
        installation,
        name,
        federated(installation),
        statement(action="ssm:ListSecrets"),
        action=WEB,
        condition=condition,
    )


def call(installation: Installation, token: str = "", **more: Any) -> Any:
    """As the SDK sends it: with `Authorization: SKIP`."""
    given = {
        "ProviderId": oidc.NAME,
        "WebIdentityToken": token or oidc.token(installation.clock.now()),
        "RoleArn": arn(installation, "web"),
        "RoleSessionName": "job-1",
        **more,
    }
    client = installation.client("sts")
    answer = client.sdk.call_json("AssumeRoleWithWebIdentity", given, options={"SkipSign": True})
    model = client.models.AssumeRoleWithWebIdentityResponse()
    model._deserialize(answer["Response"])
    return model


def test_the_session_may_do_what_the_role_may(installation: Installation) -> None:
    role = add_web_role(installation)
    answer = call(installation)
    assert answer.ExpiredTime == installation.clock.now() + 7200
    assert client_of(installation, answer, "ssm").ListSecrets().TotalCount == 0
    with refused("AuthFailure.UnauthorizedOperation"):
        client_of(installation, answer, "kms").ListKeys()
    identity = client_of(installation, answer, "sts").GetCallerIdentity()
    assert identity.UserId == f"{role}:job-1"


def test_a_signed_call_is_taken_too(installation: Installation) -> None:
    add_web_role(installation)
    answer = installation.client("sts").AssumeRoleWithWebIdentity(
        ProviderId=oidc.NAME,
        WebIdentityToken=oidc.token(installation.clock.now()),
        RoleArn=arn(installation, "web"),
        RoleSessionName="job-1",
    )
    assert answer.Credentials.Token


def test_the_trust_policy_says_for_whom(installation: Installation) -> None:
    add_web_role(
        installation, **{"oidc:sub": oidc.SUBJECT, "oidc:aud": oidc.AUDIENCE, "oidc:iss": oidc.ISSUER}
    )
    now = installation.clock.now()
    assert call(installation).Credentials.Token
    others: list[dict[str, Any]] = [{"sub": "repo:example/other"}, {"sub": "*"}, {"aud": "other"}]
    for claims in others:
        with refused("UnauthorizedOperation"):
            call(installation, oidc.token(now, **claims))


def test_a_role_that_trusts_others_or_does_not_exist(installation: Installation) -> None:
    root = {"qcs": [f"qcs::cam::uin/{installation.root.uin}:root"]}
    permissions.add_role(installation, "users", root, action="name/sts:*")
    permissions.add_role(installation, "other-idp", federated(installation, "other"), action="name/sts:*")
    permissions.add_role(installation, "other-action", federated(installation))
    messages = set()
    for name in ("users", "other-idp", "other-action", "absent"):
        with refused("UnauthorizedOperation") as untrusted:
            call(installation, RoleArn=arn(installation, name))
        messages.add(untrusted.value.message)
    assert len(messages) == 1


@pytest.mark.parametrize("provider", ["other", "", "idp\n", "IDP"])
def test_a_provider_that_is_not_configured(installation: Installation, provider: str) -> None:
    add_web_role(installation)
    with refused("InvalidParameter.WebIdentityTokenError" if provider else "InvalidParameter.ParamError"):
        call(installation, ProviderId=provider)


def test_a_bad_token_tells_nothing_about_roles(installation: Installation) -> None:
    add_web_role(installation)
    for name in ("web", "absent"):
        with refused("InvalidParameter.WebIdentityTokenError"):
            call(installation, "x.y.z", RoleArn=arn(installation, name))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"DurationSeconds": 43201}, "InvalidParameter.OverTimeError"),
        ({"RoleSessionName": "a:b"}, "InvalidParameter.ParamError"),
        ({"RoleArn": "web"}, "InvalidParameter.ParamError"),
    ],
)
def test_parameters_out_of_bounds(installation: Installation, members: dict[str, Any], expected: str) -> None:
    add_web_role(installation)
    with refused(expected):
        call(installation, **members)


def test_nothing_else_is_taken_unsigned(installation: Installation) -> None:
    for service, action in (("sts", "GetCallerIdentity"), ("sts", "AssumeRole"), ("ssm", "ListSecrets")):
        client: Client = installation.client(service)
        with refused("AuthFailure.InvalidAuthorization"):
            client.sdk.call_json(action, {}, options={"SkipSign": True})


def test_an_unsigned_call_has_a_timestamp_too(clock: ManualClock) -> None:
    from dataclasses import replace

    from tests.calls import tc3

    installation = Inspected(clock)
    request = tc3(installation.root, clock.now() - 301, "sts", "AssumeRoleWithWebIdentity", {})
    unsigned = replace(request, headers={**request.headers, "authorization": "SKIP"})
    assert code(ask(installation.gateway, unsigned)) == "AuthFailure.SignatureExpire"


def test_the_event_is_the_roles_accounts_and_has_no_token(clock: ManualClock) -> None:
    installation = Inspected(clock)
    add_web_role(installation)
    token = oidc.token(clock.now())
    event = installation.event(call(installation, token).RequestId, IDENTITY)
    assert event["account"] == installation.root.uin
    assert (event["user_type"], event["user"], event["session"]) == ("WebIdentityUser", oidc.NAME, "job-1")
    assert event["auth"] == "OIDC"
    assert token not in json.dumps(event)
    with refused("InvalidParameter.WebIdentityTokenError") as failed:
        call(installation, token + "x")
    event = installation.event(str(failed.value.requestId), IDENTITY)
    assert (event["account"], event["auth"]) == ("0", "SKIP")
    assert SM not in event
