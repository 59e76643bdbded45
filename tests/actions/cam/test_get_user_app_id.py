from tests.actions.cam.arrange_users import caller
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_of_the_account_itself(installation: Installation, cam: Client) -> None:
    answer = outputs(cam.GetUserAppId())
    app_id = answer.pop("AppId")
    assert answer == {"Uin": installation.root.uin, "OwnerUin": installation.root.uin}
    assert 1_250_000_000 <= app_id < 1_300_000_000
    assert cam.GetUserAppId().AppId == app_id


def test_of_a_user(installation: Installation, cam: Client) -> None:
    client = caller(installation, "GetUserAppId")
    answer = client.GetUserAppId()
    assert answer.OwnerUin == installation.root.uin
    assert answer.Uin == str(cam.ListUsers().Data[0].Uin)
    assert answer.AppId == cam.GetUserAppId().AppId
    with refused("AuthFailure.UnauthorizedOperation"):
        caller(installation, "GetUser").GetUserAppId()


def test_of_another_account(installation: Installation, cam: Client) -> None:
    other = installation.add_account()
    answer = installation.client("cam", who=other).GetUserAppId()
    assert (answer.Uin, answer.OwnerUin) == (other.uin, other.uin)
