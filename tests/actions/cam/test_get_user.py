from tests.actions.cam.arrange_users import caller, resource, uin_of
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_everything_that_clients_read_is_there(cam: Client) -> None:
    """Terraform takes every output without a look whether it is null."""
    uin = uin_of(cam)
    assert outputs(cam.GetUser(Name="alice")) == {
        "Uin": uin,
        "Name": "alice",
        "Uid": uin,
        "Remark": "",
        "ConsoleLogin": 0,
        "PhoneNum": "",
        "CountryCode": "",
        "Email": "",
        "RecentlyLoginIP": "",
        "RecentlyLoginTime": "",
    }


def test_the_case_of_a_name_does_not_matter(cam: Client) -> None:
    uin = uin_of(cam, "Alice")
    found = cam.GetUser(Name="aLICE")
    assert (found.Uin, found.Name) == (uin, "Alice")


def test_who_is_not_there(installation: Installation, cam: Client) -> None:
    uin_of(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, name in ((cam, "bob"), (cam, "root"), (stranger, "alice")):
        with refused("ResourceNotFound.UserNotExist"):
            client.GetUser(Name=name)
    with refused("InvalidParameter.UserNameIllegal"):
        cam.GetUser(Name="a#b")


def test_a_policy_may_allow_it_for_one_user_or_for_all(installation: Installation, cam: Client) -> None:
    uin = uin_of(cam)
    uin_of(cam, "bob")
    one = caller(installation, "GetUser", resource(installation, f"uin/{uin}"))
    assert one.GetUser(Name="alice").Uin == uin
    for name in ("bob", "nobody"):
        with refused("AuthFailure.UnauthorizedOperation"):
            one.GetUser(Name=name)
    every = caller(installation, "GetUser", resource(installation, "uin/*"))
    assert every.GetUser(Name="alice").Uin == uin
    with refused("ResourceNotFound.UserNotExist"):
        every.GetUser(Name="nobody")
