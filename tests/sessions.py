"""Clients with temporary credentials."""

from typing import Any

from chalicelib.settings import Bootstrap
from tests.installation import SM, Client, Installation


def client_of(installation: Installation, answer: Any, service: str, region: str = SM) -> Client:
    """The official client that uses the credentials in the answer of an STS action."""
    given = answer.Credentials
    who = Bootstrap("", given.TmpSecretId, given.TmpSecretKey)
    return installation.client(service, region, who, token=given.Token)


def arn(installation: Installation, name: str) -> str:
    """The RoleArn of a role of the root account."""
    return f"qcs::cam::uin/{installation.root.uin}:roleName/{name}"


def trusting(uin: str) -> dict[str, list[str]]:
    """The principal of a trust policy: a whole account."""
    return {"qcs": [f"qcs::cam::uin/{uin}:root"]}
