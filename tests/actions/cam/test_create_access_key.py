import functools
import json
import re

import pytest

from chalicelib.context import IDENTITY
from tests.actions.cam.arrange_users import (
    NOBODY,
    SECRET_KEY,
    caller,
    keys_of,
    new_key,
    resource,
    signs,
    uin_of,
    user_with_key,
)
from tests.actions.ssm.arrange import events, together
from tests.installation import Client, Installation, refused

FULL = "OperationDenied.AccessKeyOverLimit"


def test_for_a_user(installation: Installation, cam: Client) -> None:
    uin = uin_of(cam)
    made = cam.CreateAccessKey(TargetUin=uin, Description="for:ci/cd").AccessKey
    assert re.fullmatch(r"AKID[A-Za-z0-9]{32}", made.AccessKeyId)
    assert re.fullmatch(SECRET_KEY, made.SecretAccessKey)
    assert (made.Status, made.Description) == ("Active", "for:ci/cd")
    assert keys_of(cam, uin) == {made.AccessKeyId: "Active"}


def test_both_keys_sign(installation: Installation, cam: Client) -> None:
    one = user_with_key(cam)
    two = new_key(cam, one.uin)
    assert signs(installation, one)
    assert signs(installation, two)


def test_of_the_account_itself(installation: Installation, cam: Client) -> None:
    second = new_key(cam)
    theirs = installation.client("cam", who=second)
    assert set(keys_of(theirs)) == {installation.root.secret_id, second.secret_id}
    assert theirs.GetUserAppId().Uin == installation.root.uin
    with refused(FULL):
        theirs.CreateAccessKey()
    with refused(FULL):
        cam.CreateAccessKey(TargetUin=int(installation.root.uin))


def test_a_third_is_refused(cam: Client) -> None:
    who = user_with_key(cam)
    second = new_key(cam, who.uin)
    with refused(FULL):
        new_key(cam, who.uin)
    cam.DeleteAccessKey(TargetUin=int(who.uin), AccessKeyId=second.secret_id)
    new_key(cam, who.uin)


def test_many_at_once_never_make_a_third(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    clients = [installation.client("cam") for _ in range(4)]
    ended = together([functools.partial(c.CreateAccessKey, TargetUin=int(who.uin)) for c in clients])
    assert sorted(ended) == [FULL] * 3 + ["ok"]
    assert len(keys_of(cam, who.uin)) == 2


def test_no_key_outlives_a_user_that_is_deleted_at_the_same_time(
    installation: Installation, cam: Client
) -> None:
    made = []
    for _ in range(5):
        uin = uin_of(cam, "gone")
        one, two = installation.client("cam"), installation.client("cam")
        ended = together(
            [
                lambda c=one, uin=uin: made.append(new_key(c, uin)),  # type: ignore[misc]
                functools.partial(two.DeleteUser, Name="gone", Force=1),
            ]
        )
        assert ended in (["ok", "ok"], ["InvalidParameter.UserNotExist", "ok"])
    assert not any(signs(installation, who) for who in made)


def test_who_is_not_there(installation: Installation, cam: Client) -> None:
    stranger = installation.client("cam", who=installation.add_account())
    uin = uin_of(cam)
    for client, target in ((cam, NOBODY), (stranger, uin), (stranger, int(installation.root.uin))):
        with refused("InvalidParameter.UserNotExist"):
            client.CreateAccessKey(TargetUin=target)
    assert keys_of(cam, uin) == {}


def test_a_users_own_key_takes_a_policy(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    with refused("AuthFailure.UnauthorizedOperation"):
        installation.client("cam", who=who).CreateAccessKey()
    client = caller(
        installation, ["CreateAccessKey", "GetUserAppId"], [resource(installation, "uin/${uin}"), "*"]
    )
    made = new_key(client)
    assert installation.client("cam", who=made).GetUserAppId().Uin == client.GetUserAppId().Uin


def test_a_policy_may_allow_it_for_oneself_only(installation: Installation, cam: Client) -> None:
    other = uin_of(cam)
    client = caller(installation, "CreateAccessKey", resource(installation, "uin/${uin}"))
    new_key(client)
    for target in (other, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.CreateAccessKey(TargetUin=target)


def test_no_user_makes_a_key_of_the_account_itself(installation: Installation, cam: Client) -> None:
    administrator = caller(installation, "*")
    with refused("OperationDenied.SubUin"):
        administrator.CreateAccessKey(TargetUin=int(installation.root.uin))
    assert len(keys_of(cam)) == 1


@pytest.mark.parametrize("action", ["GetFederationToken", "GetSessionToken"])
def test_nor_does_a_session_of_the_account(installation: Installation, cam: Client, action: str) -> None:
    """What ends by itself must not leave a key that stays."""
    everything = '{"version": "2.0", "statement": [{"effect": "allow", "action": "*", "resource": "*"}]}'
    given = {"Name": "guest", "Policy": everything} if action == "GetFederationToken" else {}
    made = getattr(installation.client("sts"), action)(**given).Credentials
    guest = installation.client("cam")
    guest.sdk.credential.secret_id = made.TmpSecretId
    guest.sdk.credential.secret_key = made.TmpSecretKey
    guest.sdk.credential.token = made.Token
    assert guest.ListUsers().Data == []
    for refused_action in ("CreateAccessKey", "ListAccessKeys"):
        with refused("OperationDenied.SubUin"):
            getattr(guest, refused_action)()
    assert len(keys_of(cam)) == 1


@pytest.mark.parametrize("description", ["x" * 1025, "a b", "a#b", "a\n"])
def test_descriptions_that_are_refused(cam: Client, description: str) -> None:
    with refused("InvalidParameter.ParamError"):
        cam.CreateAccessKey(Description=description)
    with refused("InvalidParameter.ParamError"):
        cam.CreateAccessKey(TargetUin=-1)


def test_what_is_recorded(installation: Installation, cam: Client) -> None:
    uin = uin_of(cam)
    made = cam.CreateAccessKey(TargetUin=uin, Description="d").AccessKey
    (event,) = [e for e in events(installation, region=IDENTITY) if e["action"] == "CreateAccessKey"]
    assert event["resources"] == [f"user/{uin}", f"accessKey/{made.AccessKeyId}"]
    assert event["parameters"] == {"TargetUin": uin, "Description": "***"}
    assert made.SecretAccessKey not in json.dumps(events(installation, region=IDENTITY))
