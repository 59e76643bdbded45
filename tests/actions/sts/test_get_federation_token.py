from typing import Any

import pytest

from chalicelib.settings import Bootstrap
from tests import permissions
from tests.installation import Client, Installation, refused
from tests.permissions import document, statement
from tests.sessions import client_of

LIST = document(statement(action="ssm:*"))


def test_the_session_may_do_what_user_and_policy_allow(
    installation: Installation, sts: Client, user: Bootstrap
) -> None:
    permissions.allow(installation, user, statement(action=["ssm:ListSecrets", "kms:ListKeys"]))
    answer = sts.GetFederationToken(Name="guest", Policy=LIST)
    assert answer.ExpiredTime == installation.clock.now() + 1800
    assert client_of(installation, answer, "ssm").ListSecrets().TotalCount == 0
    with refused("AuthFailure.UnauthorizedOperation"):  # the user's, but not in the policy
        client_of(installation, answer, "kms").ListKeys()
    with refused("AuthFailure.UnauthorizedOperation"):  # in the policy, but not the user's
        client_of(installation, answer, "ssm").GetServiceStatus()


def test_a_session_of_the_account_itself_is_bounded_too(installation: Installation) -> None:
    answer = installation.client("sts").GetFederationToken(Name="guest", Policy=LIST)
    assert client_of(installation, answer, "ssm").ListSecrets().TotalCount == 0
    with refused("AuthFailure.UnauthorizedOperation"):
        client_of(installation, answer, "kms").ListKeys()
    with refused("AuthFailure.UnauthorizedOperation"):
        client_of(installation, answer, "cam").ListUsers()


def test_the_policy_is_required(sts: Client) -> None:
    with refused("MissingParameter"):
        sts.GetFederationToken(Name="guest")
    with refused("InvalidParameter.ParamError"):
        sts.GetFederationToken(Name="guest", Policy="")
    with refused("InvalidParameter.StrategyFormatError"):
        sts.GetFederationToken(Name="guest", Policy="x")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "*", "n" * 129])
def test_names_that_are_none(sts: Client, name: str) -> None:
    with refused("InvalidParameter.ParamError"):
        sts.GetFederationToken(Name=name, Policy=LIST)


@pytest.mark.parametrize(("who", "most"), [("root", 7200), ("user", 129600)])
def test_how_long_it_lasts(installation: Installation, sts: Client, who: str, most: int) -> None:
    client = installation.client("sts") if who == "root" else sts
    members: dict[str, Any] = {"Name": "guest", "Policy": LIST}
    assert client.GetFederationToken(**members, DurationSeconds=most).Credentials.Token
    for seconds in (most + 1, 0):
        with refused("InvalidParameter.OverTimeError"):
            client.GetFederationToken(**members, DurationSeconds=seconds)


def test_temporary_credentials_make_none(installation: Installation, sts: Client) -> None:
    answer = sts.GetFederationToken(Name="guest", Policy=document(statement()))
    with refused("UnsupportedOperation"):
        client_of(installation, answer, "sts").GetFederationToken(Name="guest", Policy=LIST)


def test_it_needs_permission(installation: Installation) -> None:
    with refused("AuthFailure.UnauthorizedOperation"):
        installation.client("sts", who=installation.add_user("bob")).GetFederationToken(
            Name="guest", Policy=LIST
        )
