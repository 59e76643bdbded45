import functools

import pytest

from chalicelib.context import IDENTITY
from chalicelib.model import user as rules
from chalicelib.table import users
from tests.actions.cam.arrange_users import caller, make_group
from tests.actions.ssm.arrange import events, outputs, together
from tests.installation import Client, Installation, refused

IN_USE = "InvalidParameter.GroupNameInUse"


def test_a_group(installation: Installation, cam: Client) -> None:
    made = cam.CreateGroup(GroupName="\u7ba1\u7406\u5458 1", Remark="r")
    assert outputs(made) == {"GroupId": made.GroupId}
    assert 10**8 <= made.GroupId < 10**9
    found = cam.GetGroup(GroupId=made.GroupId)
    assert (found.GroupName, found.Remark, found.GroupNum) == ("\u7ba1\u7406\u5458 1", "r", 0)
    (event,) = [e for e in events(installation, region=IDENTITY) if e["action"] == "CreateGroup"]
    assert event["resources"] == [f"group/{made.GroupId}"]
    assert event["parameters"] == {"GroupName": "***", "Remark": "***"}


def test_names_are_unique_in_any_case(installation: Installation, cam: Client) -> None:
    make_group(cam, "Admins")
    for name in ("Admins", "ADMINS"):
        with refused(IN_USE):
            make_group(cam, name)
    make_group(installation.client("cam", who=installation.add_account()), "Admins")


@pytest.mark.parametrize("name", ["", " ", "a ", "a" * 65, "a\n", "\x00", "a\x7fb"])
def test_names_that_are_refused(cam: Client, name: str) -> None:
    with refused("InvalidParameter.ParamError"):
        make_group(cam, name)


@pytest.mark.parametrize("name", ["a", "a" * 64, "a#b", "a/b:c", "\u7ec4" * 64, "root"])
def test_names_that_are_taken(cam: Client, name: str) -> None:
    assert cam.GetGroup(GroupId=make_group(cam, name)).GroupName == name


def test_remarks_that_are_refused(cam: Client) -> None:
    with refused("InvalidParameter.ParamError"):
        cam.CreateGroup(GroupName="g", Remark="x" * 1001)


def test_the_quota(cam: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules.MAX_GROUPS == 300
    monkeypatch.setattr(users, "MAX_GROUPS", 1)
    group = make_group(cam)
    with refused("InvalidParameter.GroupFull"):
        make_group(cam, "other")
    cam.DeleteGroup(GroupId=group)
    make_group(cam, "other")


def test_of_many_at_once_with_one_name_one_succeeds(installation: Installation, cam: Client) -> None:
    clients = [installation.client("cam") for _ in range(4)]
    ended = together([functools.partial(c.CreateGroup, GroupName="g") for c in clients])
    assert sorted(ended) == [IN_USE] * 3 + ["ok"]
    assert cam.GetAccountSummary().Group == 1


def test_a_policy_may_allow_it(installation: Installation) -> None:
    make_group(caller(installation, "CreateGroup"))
    with refused("AuthFailure.UnauthorizedOperation"):
        make_group(caller(installation, "GetGroup"), "other")
