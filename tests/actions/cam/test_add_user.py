import functools
import json
import re

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.model import user as rules
from chalicelib.table import users as rows
from tests.actions.cam.arrange_users import SECRET_KEY, caller, keys_of, names, signs, user_with_key
from tests.actions.ssm.arrange import events, outputs, together
from tests.inspected import Inspected
from tests.installation import Client, Installation, refused

CONTACT = {"PhoneNum": "13800000000", "CountryCode": "86", "Email": "alice@example.com"}


def test_a_user_without_a_key(cam: Client) -> None:
    made = cam.AddUser(Name="alice")
    assert outputs(made) == {
        "Uin": made.Uin,
        "Name": "alice",
        "Password": "",
        "SecretId": "",
        "SecretKey": "",
        "Uid": made.Uin,
        "PhoneNumVerifyLink": None,
    }
    assert 10**11 <= made.Uin < 10**12
    assert keys_of(cam, made.Uin) == {}


def test_a_user_with_a_key_can_sign_and_may_do_nothing(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    assert re.fullmatch(r"AKID[A-Za-z0-9]{32}", who.secret_id)
    assert re.fullmatch(SECRET_KEY, who.secret_key)
    assert signs(installation, who)
    assert keys_of(cam, who.uin) == {who.secret_id: "Active"}
    for service, action in (("ssm", "ListSecrets"), ("kms", "ListKeys"), ("cam", "ListUsers")):
        with refused("AuthFailure.UnauthorizedOperation"):
            getattr(installation.client(service, who=who), action)()


def test_what_is_noted_of_a_user(cam: Client) -> None:
    cam.AddUser(Name="alice", Remark="of the \u7ec4", **CONTACT)
    found = cam.GetUser(Name="alice")
    assert {name: getattr(found, name) for name in ("Remark", *CONTACT)} == {
        "Remark": "of the \u7ec4",
        **CONTACT,
    }


def test_there_is_no_console_and_no_password(cam: Client) -> None:
    with refused("FailedOperation"):
        cam.AddUser(Name="alice", ConsoleLogin=1, Password="Pa55word!")
    assert names(cam) == []
    # As Terraform sends it for users that do not log in.
    made = cam.AddUser(Name="alice", ConsoleLogin=0, NeedResetPassword=1, Password="Pa55word!")
    assert made.Password == ""
    assert cam.GetUser(Name="alice").ConsoleLogin == 0


def test_a_password_is_found_nowhere(clock: ManualClock) -> None:
    installation = Inspected(clock)
    installation.client("cam").AddUser(Name="alice", Password="c4n4ry-Pa55!", UseApi=1, **CONTACT)
    for table in installation.tables.values():
        assert b"c4n4ry" not in table.snapshot()
    (event,) = [e for e in installation.events(IDENTITY) if e["action"] == "AddUser"]
    assert event["parameters"]["Password"] == "***"
    for value in CONTACT.values():
        assert value not in json.dumps(event["parameters"])


def test_names_are_unique_in_any_case(installation: Installation, cam: Client) -> None:
    cam.AddUser(Name="alice")
    for name in ("alice", "ALICE", "root", "Root"):
        with refused("InvalidParameter.SubUserNameInUse"):
            cam.AddUser(Name=name, UseApi=1)
    assert names(cam) == ["alice"]
    other = installation.client("cam", who=installation.add_account())
    other.AddUser(Name="alice")
    assert names(cam) == names(other) == ["alice"]


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a/b", "a:b", "a#b", "\u7ec4", "a\n", "*"])
def test_names_that_are_refused(cam: Client, name: str) -> None:
    with refused("InvalidParameter.UserNameIllegal") as caught:
        cam.AddUser(Name=name)
    assert len(name) < 2 or name not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "a" * 64, "+=,.@_-", "alice@example.com", "007"])
def test_names_that_are_taken(cam: Client, name: str) -> None:
    assert cam.AddUser(Name=name).Name == name
    assert cam.GetUser(Name=name).Name == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"Remark": "x" * 1001},
        {"UseApi": 2},
        {"ConsoleLogin": -1},
        {"Email": "nobody"},
        {"PhoneNum": "call me"},
        {"CountryCode": "x"},
        {"Password": "x" * 129},
    ],
    ids=str,
)
def test_parameters_that_are_refused(cam: Client, wrong: dict[str, object]) -> None:
    with refused("InvalidParameter.ParamError"):
        cam.AddUser(Name="alice", **wrong)
    assert names(cam) == []


def test_the_quota(installation: Installation, cam: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules.MAX_USERS == 1000
    monkeypatch.setattr(rows, "MAX_USERS", 2)
    cam.AddUser(Name="a")
    cam.AddUser(Name="b", UseApi=1)
    with refused("InvalidParameter.SubUserFull"):
        cam.AddUser(Name="c", UseApi=1)
    cam.DeleteUser(Name="a")
    cam.AddUser(Name="c")
    installation.client("cam", who=installation.add_account()).AddUser(Name="a")


def test_of_many_at_once_with_one_name_one_succeeds(installation: Installation, cam: Client) -> None:
    clients = [installation.client("cam") for _ in range(4)]
    ended = together([functools.partial(c.AddUser, Name="alice", UseApi=1) for c in clients])
    assert sorted(ended) == ["InvalidParameter.SubUserNameInUse"] * 3 + ["ok"]
    assert names(cam) == ["alice"]
    assert cam.GetAccountSummary().User == 1


def test_a_policy_may_allow_it(installation: Installation) -> None:
    caller(installation, "AddUser").AddUser(Name="bob")
    with refused("AuthFailure.UnauthorizedOperation"):
        caller(installation, "GetUser").AddUser(Name="eve")


def test_what_is_recorded(installation: Installation, cam: Client) -> None:
    made = cam.AddUser(Name="alice", UseApi=1, Remark="a remark")
    (event,) = [e for e in events(installation, region=IDENTITY) if e["action"] == "AddUser"]
    assert event["resources"] == [f"user/{made.Uin}", f"accessKey/{made.SecretId}"]
    assert event["parameters"] == {"Name": "alice", "UseApi": 1, "Remark": "***"}
    assert made.SecretKey not in json.dumps(events(installation, region=IDENTITY))
