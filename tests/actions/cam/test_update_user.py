import functools

import pytest

from tests.actions.cam.arrange_users import caller, keys_of, resource, signs, uin_of, user_with_key
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused

BEFORE = {"Remark": "r", "PhoneNum": "1", "CountryCode": "86", "Email": "a@b.example"}


def noted(cam: Client) -> dict[str, str]:
    found = cam.GetUser(Name="alice")
    return {name: getattr(found, name) for name in BEFORE}


@pytest.mark.parametrize("name", BEFORE)
def test_what_is_not_given_stays(cam: Client, name: str) -> None:
    cam.AddUser(Name="alice", **BEFORE)
    after = {"Remark": "new", "PhoneNum": "2", "CountryCode": "1", "Email": "c@d.example"}[name]
    assert outputs(cam.UpdateUser(Name="alice", **{name: after})) == {}
    assert noted(cam) == {**BEFORE, name: after}
    cam.UpdateUser(Name="alice", **{name: ""})
    assert noted(cam) == {**BEFORE, name: ""}


def test_keys_and_groups_stay(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    cam.UpdateUser(Name="alice", Remark="new", Password="Pa55word!", NeedResetPassword=0)
    assert signs(installation, who)
    assert list(keys_of(cam, who.uin)) == [who.secret_id]


def test_there_is_no_console(cam: Client) -> None:
    cam.AddUser(Name="alice", **BEFORE)
    with refused("FailedOperation"):
        cam.UpdateUser(Name="alice", ConsoleLogin=1, Remark="new")
    assert noted(cam) == BEFORE


def test_who_is_not_there(installation: Installation, cam: Client) -> None:
    uin_of(cam)
    for client, name in (
        (cam, "bob"),
        (cam, "root"),
        (installation.client("cam", who=installation.add_account()), "alice"),
    ):
        with refused("ResourceNotFound.UserNotExist"):
            client.UpdateUser(Name=name, Remark="new")
    assert cam.GetUser(Name="alice").Remark == ""


def test_changes_at_the_same_time_all_count(installation: Installation, cam: Client) -> None:
    cam.AddUser(Name="alice")
    clients = [installation.client("cam") for _ in BEFORE]
    calls = [
        functools.partial(c.UpdateUser, Name="alice", **{name: value})
        for c, (name, value) in zip(clients, BEFORE.items(), strict=True)
    ]
    assert together(calls) == ["ok"] * len(BEFORE)
    assert noted(cam) == BEFORE


def test_a_policy_may_allow_it_for_one_user(installation: Installation, cam: Client) -> None:
    uin = uin_of(cam)
    uin_of(cam, "bob")
    client = caller(installation, "UpdateUser", resource(installation, f"uin/{uin}"))
    client.UpdateUser(Name="alice", Remark="new")
    for name in ("bob", "nobody"):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.UpdateUser(Name=name, Remark="new")
