from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.settings import Bootstrap
from chalicelib.table import accounts
from tests.actions.cam.arrange_users import DAY, NO_KEY, caller, new_key, resource, user_with_key
from tests.actions.ssm.arrange import code
from tests.installation import FIPS, SM, Client, Installation, refused

HOUR = 3600


def used(cam: Client, *ids: str) -> dict[str, tuple[Any, Any]]:
    rows = cam.GetSecurityLastUsed(SecretIdList=list(ids)).SecretIdLastUsedRows
    return {row.SecretId: (row.LastUsedDate, row.LastSecretUsedDate) for row in rows}


def at(seconds: int) -> tuple[str, int]:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}", seconds


@pytest.fixture
def hour(installation: Installation) -> int:
    """A clock at the beginning of an hour."""
    installation.clock.advance(HOUR - installation.clock.now() % HOUR)
    return installation.clock.now()


def test_a_key_that_was_never_used(cam: Client) -> None:
    who = user_with_key(cam)
    assert used(cam, who.secret_id) == {who.secret_id: (None, None)}


@pytest.mark.parametrize(("service", "region"), [("ssm", SM), ("kms", FIPS), ("cam", ""), ("sts", "")])
def test_a_use_anywhere_counts(installation: Installation, cam: Client, service: str, region: str) -> None:
    who = user_with_key(cam)
    action = {"ssm": "ListSecrets", "kms": "ListKeys", "cam": "ListUsers", "sts": "GetCallerIdentity"}[
        service
    ]
    code(getattr(installation.client(service, region, who), action))
    assert used(cam, who.secret_id) == {who.secret_id: at(installation.clock.now())}


def test_what_is_refused_and_what_only_rehearses_is_a_use(installation: Installation, cam: Client) -> None:
    for parameters in ({"SecretName": "absent"}, {"SecretName": "absent", "DryRun": True}, {"Nope": 1}):
        who = user_with_key(cam, f"u{len(parameters)}{'Nope' in parameters}")
        client = installation.client("ssm", who=who)
        assert code(lambda c=client, p=parameters: c.call_raw("DescribeSecret", p)) != "ok"  # type: ignore[misc]
        assert used(cam, who.secret_id)[who.secret_id][1] == installation.clock.now()


def test_a_wrong_signature_is_none(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    thief = Bootstrap(who.uin, who.secret_id, "x" * 32)
    assert code(installation.client("ssm", who=thief).ListSecrets) == "AuthFailure.SignatureFailure"
    assert used(cam, who.secret_id) == {who.secret_id: (None, None)}


def test_it_is_exact_to_the_hour_and_costs_one_row_an_hour(
    installation: Installation, cam: Client, hour: int
) -> None:
    who = user_with_key(cam)
    ssm = installation.client("ssm", who=who)
    table = installation.service.table(SM)
    versions = []
    for minutes in (0, 59, 61, 119, 120):
        installation.clock.advance(hour + minutes * 60 - installation.clock.now())
        code(ssm.ListSecrets)
        row = table.get(*accounts.use_row_key(who.secret_id))
        assert row is not None
        versions.append((row.version, used(cam, who.secret_id)[who.secret_id][1]))
    assert versions == [
        (1, hour),
        (1, hour),
        (2, hour + 61 * 60),
        (2, hour + 61 * 60),
        (3, hour + 120 * 60),
    ]


def test_the_latest_of_all_regions(installation: Installation, cam: Client, hour: int) -> None:
    who = user_with_key(cam)
    for service, region in (("ssm", SM), ("kms", FIPS), ("ssm", "ap-beijing")):
        code(installation.client(service, region, who).GetRegions)
        assert used(cam, who.secret_id) == {who.secret_id: at(installation.clock.now())}
        installation.clock.advance(60)


def test_it_is_forgotten_after_400_days(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    code(installation.client("ssm", who=who).ListSecrets)
    begin = installation.clock.now()
    installation.clock.advance(400 * DAY - 1)
    assert used(cam, who.secret_id) == {who.secret_id: at(begin)}
    installation.clock.advance(1)
    assert used(cam, who.secret_id) == {who.secret_id: (None, None)}


def test_temporary_credentials_leave_no_row(installation: Installation, cam: Client) -> None:
    policy = '{"version": "2.0", "statement": [{"effect": "allow", "action": "*", "resource": "*"}]}'
    made = installation.client("sts").GetFederationToken(Name="guest", Policy=policy).Credentials
    guest = installation.client("ssm")
    guest.sdk.credential.secret_id = made.TmpSecretId
    guest.sdk.credential.secret_key = made.TmpSecretKey
    guest.sdk.credential.token = made.Token
    guest.ListSecrets()
    assert installation.service.table(SM).get(*accounts.use_row_key(made.TmpSecretId)) is None


def test_keys_that_are_not_the_accounts_are_left_out(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    other = installation.add_account()
    assert list(used(cam, NO_KEY, other.secret_id, who.secret_id, who.secret_id)) == [who.secret_id]
    assert used(installation.client("cam", who=other), who.secret_id) == {}
    cam.DeleteAccessKey(TargetUin=int(who.uin), AccessKeyId=who.secret_id)
    assert used(cam, who.secret_id) == {}


def test_the_accounts_own_keys(installation: Installation, cam: Client) -> None:
    second = new_key(cam)
    cam.ListUsers()
    found = used(cam, installation.root.secret_id, second.secret_id)
    assert found == {
        installation.root.secret_id: at(installation.clock.now()),
        second.secret_id: (None, None),
    }


@pytest.mark.parametrize("wrong", [[], [NO_KEY] * 11, [1]], ids=str)
def test_lists_that_are_refused(cam: Client, wrong: list[object]) -> None:
    with refused("InvalidParameter"):
        cam.call_raw("GetSecurityLastUsed", {"SecretIdList": wrong})


def test_a_policy_may_allow_it_for_one_user(installation: Installation, cam: Client) -> None:
    who, other = user_with_key(cam), user_with_key(cam, "bob")
    client = caller(installation, "GetSecurityLastUsed", resource(installation, f"uin/{who.uin}"))
    assert list(used(client, who.secret_id)) == [who.secret_id]
    for secret_id in (other.secret_id, NO_KEY):
        with refused("AuthFailure.UnauthorizedOperation"):
            used(client, who.secret_id, secret_id)
