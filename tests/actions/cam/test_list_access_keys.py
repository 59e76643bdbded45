from tests.actions.cam.arrange_users import (
    NOBODY,
    caller,
    is_time,
    keys_of,
    new_key,
    resource,
    uin_of,
    user_with_key,
)
from tests.installation import Client, Installation, refused


def test_oldest_first_and_without_secret_keys(installation: Installation, cam: Client) -> None:
    one = user_with_key(cam)
    installation.clock.advance(1)
    two = new_key(cam, one.uin)
    listed = cam.ListAccessKeys(TargetUin=int(one.uin)).AccessKeys
    assert [key.AccessKeyId for key in listed] == [one.secret_id, two.secret_id]
    for key in listed:
        members = key._serialize(allow_none=True)
        assert set(members) == {"AccessKeyId", "Status", "CreateTime", "Description"}
        assert is_time(key.CreateTime)
    raw = str(cam.call_raw("ListAccessKeys", {"TargetUin": int(one.uin)}))
    assert one.secret_key not in raw
    assert two.secret_key not in raw


def test_ones_own_unless_another_is_named(installation: Installation, cam: Client) -> None:
    assert list(keys_of(cam)) == [installation.root.secret_id]
    assert keys_of(cam, uin_of(cam)) == {}
    client = caller(installation, "ListAccessKeys", resource(installation, "uin/${uin}"))
    assert list(keys_of(client)) == [client.sdk.credential.secret_id]


def test_who_is_not_there(installation: Installation, cam: Client) -> None:
    uin = uin_of(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, target in ((cam, NOBODY), (stranger, uin), (stranger, int(installation.root.uin))):
        with refused("InvalidParameter.UserNotExist"):
            client.ListAccessKeys(TargetUin=target)


def test_no_user_sees_the_keys_of_the_account_itself(installation: Installation, cam: Client) -> None:
    uin = uin_of(cam)
    administrator = caller(installation, "*")
    assert keys_of(administrator, uin) == {}
    with refused("OperationDenied.SubUin"):
        keys_of(administrator, installation.root.uin)
    with refused("AuthFailure.UnauthorizedOperation"):
        keys_of(caller(installation, "CreateAccessKey"), uin)
