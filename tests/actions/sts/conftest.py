import pytest

from chalicelib.settings import Bootstrap
from tests import permissions
from tests.installation import Client, Installation
from tests.permissions import statement
from tests.sessions import trusting


@pytest.fixture
def user(installation: Installation) -> Bootstrap:
    """A user who may use all of sts."""
    made = installation.add_user("alice")
    permissions.allow(installation, made, statement(action="sts:*"))
    return made


@pytest.fixture
def sts(installation: Installation, user: Bootstrap) -> Client:
    """The user's client."""
    return installation.client("sts", who=user)


@pytest.fixture
def role(installation: Installation) -> str:
    """The id of the role `reader`: it trusts the account, lasts 12 hours and may read secrets."""
    root = trusting(installation.root.uin)
    reading = statement(action=["ssm:GetSecretValue", "ssm:DescribeSecret"])
    permissions.call(installation, "ssm", "CreateSecret", SecretName="db", VersionId="v1", SecretString="x")
    return permissions.add_role(installation, "reader", root, reading)
