import pytest

from chalicelib.table import users
from tests.actions.cam.arrange_users import caller, names, uin_of
from tests.installation import Client, Installation, refused


def test_no_users(cam: Client) -> None:
    assert cam.ListUsers().Data == []


def test_a_line(installation: Installation, cam: Client) -> None:
    made = cam.AddUser(Name="alice", Remark="r", PhoneNum="1", CountryCode="86", Email="a@b.example")
    (line,) = cam.ListUsers().Data
    assert line._serialize(allow_none=True) == {
        "Uin": made.Uin,
        "Name": "alice",
        "Uid": made.Uin,
        "Remark": "r",
        "ConsoleLogin": 0,
        "PhoneNum": "1",
        "CountryCode": "86",
        "Email": "a@b.example",
        "CreateTime": line.CreateTime,
        "NickName": "",
    }
    assert line.CreateTime.replace("T", " ").startswith("20")


def test_oldest_first_and_of_the_callers_account_only(installation: Installation, cam: Client) -> None:
    for name in ("c", "a", "b"):
        uin_of(cam, name)
        installation.clock.advance(1)
    stranger = installation.client("cam", who=installation.add_account())
    uin_of(stranger, "z")
    assert names(cam) == ["c", "a", "b"]
    assert names(stranger) == ["z"]


def test_more_users_than_one_read_has(cam: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "MAX_LIMIT", 2)
    made = {f"u{number}" for number in range(5)}
    for name in made:
        uin_of(cam, name)
    assert set(names(cam)) == made


def test_a_policy_may_allow_it(installation: Installation) -> None:
    assert len(caller(installation, "ListUsers").ListUsers().Data) == 1
    with refused("AuthFailure.UnauthorizedOperation"):
        caller(installation, "GetUser").ListUsers()
