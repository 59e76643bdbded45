from typing import Any

from chalicelib.settings import Bootstrap
from tests.installation import Client, Installation
from tests.permissions import document, statement
from tests.sessions import arn, client_of


def identity(client: Client) -> dict[str, Any]:
    answer = client.GetCallerIdentity()
    names = ("Type", "AccountId", "UserId", "PrincipalId", "Arn")
    return {name: getattr(answer, name) for name in names}


def test_the_account_itself(installation: Installation) -> None:
    root = installation.root.uin
    assert identity(installation.client("sts")) == {
        "Type": "CAMUser",
        "AccountId": root,
        "UserId": root,
        "PrincipalId": root,
        "Arn": f"qcs::cam:{root}:uin/{root}",
    }


def test_a_user_needs_no_policy(installation: Installation) -> None:
    bob = installation.add_user("bob")
    assert identity(installation.client("sts", who=bob)) == {
        "Type": "CAMUser",
        "AccountId": installation.root.uin,
        "UserId": bob.uin,
        "PrincipalId": bob.uin,
        "Arn": f"qcs::cam:{installation.root.uin}:uin/{bob.uin}",
    }


def test_a_role(installation: Installation, sts: Client, user: Bootstrap, role: str) -> None:
    answer = sts.AssumeRole(RoleArn=arn(installation, "reader"), RoleSessionName="s1")
    assert identity(client_of(installation, answer, "sts")) == {
        "Type": "CAMRole",
        "AccountId": installation.root.uin,
        "UserId": f"{role}:s1",
        "PrincipalId": user.uin,
        "Arn": f"qcs::sts:{installation.root.uin}:assumed-role/{role}",
    }


def test_a_federated_user(installation: Installation, sts: Client, user: Bootstrap) -> None:
    answer = sts.GetFederationToken(Name="guest", Policy=document(statement("deny")))
    assert identity(client_of(installation, answer, "sts")) == {
        "Type": "CAMUser",
        "AccountId": installation.root.uin,
        "UserId": f"{user.uin}:guest",
        "PrincipalId": user.uin,
        "Arn": f"qcs::sts:{installation.root.uin}:federated-user/{user.uin}",
    }


def test_a_session_of_the_user_itself(installation: Installation, sts: Client) -> None:
    session = client_of(installation, sts.GetSessionToken(), "sts")
    assert identity(session) == identity(sts)
