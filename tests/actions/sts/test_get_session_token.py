import pytest

from chalicelib.settings import Bootstrap
from tests import permissions
from tests.installation import Client, Installation, refused
from tests.permissions import statement
from tests.sessions import client_of

# The SDK's model calls both required; without MFA devices there is nothing to put there.
NO_DEVICE = {"SerialNumber": "", "TokenCode": ""}


def test_the_session_may_do_what_the_user_may(
    installation: Installation, sts: Client, user: Bootstrap
) -> None:
    permissions.allow(installation, user, statement(action="ssm:ListSecrets"))
    answer = sts.GetSessionToken(**NO_DEVICE)
    assert answer.ExpiredTime == installation.clock.now() + 1800
    session = client_of(installation, answer, "ssm")
    assert session.ListSecrets().TotalCount == 0
    with refused("AuthFailure.UnauthorizedOperation"):
        session.GetServiceStatus()


def test_a_session_of_the_account_itself_may_do_everything(installation: Installation) -> None:
    answer = installation.client("sts").GetSessionToken()
    assert client_of(installation, answer, "kms").ListKeys().TotalCount == 0


@pytest.mark.parametrize(
    "device", [{"SerialNumber": "qcs::cam:uin/1::mfa/softToken", "TokenCode": "123456"}, {"TokenCode": "1"}]
)
def test_a_code_that_nobody_checks_is_not_taken(sts: Client, device: dict[str, str]) -> None:
    with refused("FailedOperation.MFATypeNotSupported"):
        sts.GetSessionToken(**device)


def test_temporary_credentials_make_none(installation: Installation, sts: Client) -> None:
    with refused("FailedOperation.TempKeyNotAllowed"):
        client_of(installation, sts.GetSessionToken(), "sts").GetSessionToken()


@pytest.mark.parametrize(("who", "most"), [("root", 7200), ("user", 129600)])
def test_how_long_it_lasts(installation: Installation, sts: Client, who: str, most: int) -> None:
    client = installation.client("sts") if who == "root" else sts
    assert client.GetSessionToken(DurationSeconds=most).ExpiredTime == installation.clock.now() + most
    for seconds in (most + 1, 0):
        with refused("InvalidParameter.OverTimeError"):
            client.GetSessionToken(DurationSeconds=seconds)


def test_it_needs_permission(installation: Installation) -> None:
    with refused("AuthFailure.UnauthorizedOperation"):
        installation.client("sts", who=installation.add_user("bob")).GetSessionToken()
