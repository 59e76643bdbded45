"""Temporary credentials: whom their token lets in, until when, and what takes it back."""

from typing import Any

import pytest

from chalicelib.settings import Bootstrap
from tests import permissions
from tests.installation import Client, Installation, refused
from tests.permissions import call, document, statement
from tests.sessions import arn, client_of, trusting

BAD_TOKEN = "AuthFailure.TokenFailure"


def assume(installation: Installation, name: str = "reader") -> Any:
    return installation.client("sts").AssumeRole(RoleArn=arn(installation, name), RoleSessionName="s1")


def role(installation: Installation, name: str = "reader", *statements: dict[str, Any]) -> str:
    root = trusting(installation.root.uin)
    return permissions.add_role(
        installation, name, root, *(statements or (statement(action="ssm:ListSecrets"),))
    )


def client_with(installation: Installation, secret_id: str, secret_key: str, token: str) -> Client:
    return installation.client("ssm", who=Bootstrap("", secret_id, secret_key), token=token)


def test_the_parts_of_two_sessions_do_not_fit_together(installation: Installation) -> None:
    role(installation)
    one, other = assume(installation).Credentials, assume(installation).Credentials
    mine = one.TmpSecretId, one.TmpSecretKey, one.Token
    assert client_with(installation, *mine).ListSecrets().TotalCount == 0
    for secret_id, secret_key, token, code in (
        (one.TmpSecretId, one.TmpSecretKey, other.Token, BAD_TOKEN),
        (other.TmpSecretId, one.TmpSecretKey, one.Token, BAD_TOKEN),
        (installation.root.secret_id, one.TmpSecretKey, one.Token, BAD_TOKEN),
        (installation.root.secret_id, installation.root.secret_key, one.Token, BAD_TOKEN),
        (one.TmpSecretId, other.TmpSecretKey, one.Token, "AuthFailure.SignatureFailure"),
        (one.TmpSecretId, one.TmpSecretKey, "", BAD_TOKEN),
        ("AKIDunknown", one.TmpSecretKey, "", "AuthFailure.SecretIdNotFound"),
    ):
        with refused(code):
            client_with(installation, secret_id, secret_key, token).ListSecrets()


def test_a_changed_token_is_refused_wherever_it_was_changed(installation: Installation) -> None:
    role(installation)
    given = assume(installation).Credentials
    for at in range(0, len(given.Token), 17):
        changed = given.Token[:at] + ("A" if given.Token[at] != "A" else "B") + given.Token[at + 1 :]
        with refused(BAD_TOKEN):
            client_with(installation, given.TmpSecretId, given.TmpSecretKey, changed).ListSecrets()
    for token in (given.Token[:-1], given.Token + "A", "x", "A" * 5000):
        with refused(BAD_TOKEN):
            client_with(installation, given.TmpSecretId, given.TmpSecretKey, token).ListSecrets()


def test_a_token_of_another_installation_is_refused(installation: Installation) -> None:
    other = Installation(installation.clock)
    role(other)
    given = assume(other).Credentials
    with refused(BAD_TOKEN):
        client_with(installation, given.TmpSecretId, given.TmpSecretKey, given.Token).ListSecrets()


def test_a_token_is_no_use_without_its_secret_key(installation: Installation) -> None:
    """Whoever reads the token on its way finds no key in it that opens without the HSM."""
    role(installation)
    given = assume(installation).Credentials
    assert given.TmpSecretKey not in given.Token
    with refused("AuthFailure.SignatureFailure"):
        client_with(installation, given.TmpSecretId, given.Token[:32], given.Token).ListSecrets()


@pytest.mark.parametrize("cache_seconds", [0, 300])
def test_a_session_ends_on_time_cached_or_not(installation: Installation, cache_seconds: int) -> None:
    settings = installation.settings.__class__(throttle=False, credential_cache_seconds=cache_seconds)
    installation = Installation(installation.clock, settings)
    role(installation)
    session = client_of(installation, assume(installation), "ssm")
    assert session.ListSecrets().TotalCount == 0
    installation.clock.advance(7199)
    assert session.ListSecrets().TotalCount == 0
    installation.clock.advance(1)
    with refused(BAD_TOKEN):
        session.ListSecrets()


def test_a_roles_session_loses_what_the_role_loses(installation: Installation) -> None:
    role_id = role(installation)
    session = client_of(installation, assume(installation), "ssm")
    policy_id = permissions.create_policy(installation, statement(action="ssm:GetServiceStatus"))
    with refused("AuthFailure.UnauthorizedOperation"):
        session.GetServiceStatus()
    call(installation, "cam", "AttachRolePolicy", PolicyId=policy_id, AttachRoleId=role_id)
    assert session.GetServiceStatus().ServiceEnabled
    call(installation, "cam", "DetachRolePolicy", PolicyId=policy_id, DetachRoleId=role_id)
    with refused("AuthFailure.UnauthorizedOperation"):
        session.GetServiceStatus()


def test_a_roles_session_ends_with_the_role(installation: Installation) -> None:
    role_id = role(installation)
    session = client_of(installation, assume(installation), "ssm")
    call(installation, "cam", "DeleteRole", RoleId=role_id)
    with refused(BAD_TOKEN):
        session.ListSecrets()
    role(installation)  # of the same name, but another one
    with refused(BAD_TOKEN):
        session.ListSecrets()


def test_a_trust_policy_counts_when_a_session_starts(installation: Installation) -> None:
    role_id = role(installation)
    session = client_of(installation, assume(installation), "ssm")
    nobody = trusting(installation.add_account().uin)
    trust = document({"effect": "allow", "action": "name/sts:AssumeRole", "principal": nobody})
    call(installation, "cam", "UpdateAssumeRolePolicy", RoleId=role_id, PolicyDocument=trust)
    assert session.ListSecrets().TotalCount == 0
    with refused("UnauthorizedOperation"):
        assume(installation)


@pytest.mark.parametrize("action", ["GetSessionToken", "GetFederationToken"])
def test_a_users_session_ends_with_the_key_that_opened_it(installation: Installation, action: str) -> None:
    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement(action=["sts:*", "ssm:*"]))
    members = {} if action == "GetSessionToken" else {"Name": "guest", "Policy": document(statement())}
    answer = getattr(installation.client("sts", who=alice), action)(**members)
    session = client_of(installation, answer, "ssm")
    assert session.ListSecrets().TotalCount == 0
    key = {"TargetUin": int(alice.uin), "AccessKeyId": alice.secret_id}
    call(installation, "cam", "UpdateAccessKey", **key, Status="Inactive")
    with refused(BAD_TOKEN):
        session.ListSecrets()
    call(installation, "cam", "UpdateAccessKey", **key, Status="Active")
    assert session.ListSecrets().TotalCount == 0
    call(installation, "cam", "UpdateAccessKey", **key, Status="Inactive")
    call(installation, "cam", "DeleteAccessKey", **key)
    with refused(BAD_TOKEN):
        session.ListSecrets()


def test_a_users_session_loses_what_the_user_loses(installation: Installation) -> None:
    alice = installation.add_user("alice")
    policy_id = permissions.allow(installation, alice, statement(action=["sts:*", "ssm:*"]))
    session = client_of(installation, installation.client("sts", who=alice).GetSessionToken(), "ssm")
    assert session.ListSecrets().TotalCount == 0
    call(installation, "cam", "DetachUserPolicy", PolicyId=policy_id, DetachUin=int(alice.uin))
    with refused("AuthFailure.UnauthorizedOperation"):
        session.ListSecrets()


def test_a_federated_user_of_the_account_is_not_the_account(installation: Installation) -> None:
    """Two ways to prove who one is must not end in the same identity."""
    answer = installation.client("sts").GetFederationToken(Name="root", Policy=document(statement("deny")))
    for service, action, members in (
        ("ssm", "ListSecrets", {}),
        ("kms", "CreateKey", {"Alias": "a"}),
        ("cam", "AddUser", {"Name": "eve"}),
        ("tag", "GetResources", {}),
        ("cloudaudit", "GetAttributeKey", {}),
    ):
        with refused("AuthFailure.UnauthorizedOperation"):
            getattr(client_of(installation, answer, service), action)(**members)


def test_a_boundary_bounds_sessions_too(installation: Installation) -> None:
    role_id = role(installation, "reader", statement())
    boundary = permissions.create_policy(installation, statement(action="ssm:*"))
    call(installation, "cam", "PutRolePermissionsBoundary", RoleId=role_id, PolicyId=boundary)
    answer = assume(installation)
    assert client_of(installation, answer, "ssm").ListSecrets().TotalCount == 0
    with refused("AuthFailure.UnauthorizedOperation"):
        client_of(installation, answer, "kms").ListKeys()


def test_no_row_is_written_for_a_token(installation: Installation) -> None:
    from chalicelib.context import IDENTITY
    from tests.inspected import Inspected

    installation = Inspected(installation.clock)
    role(installation)
    before = installation.data(IDENTITY)
    answer = assume(installation)
    client_of(installation, answer, "ssm").ListSecrets()
    assert installation.data(IDENTITY) == before
