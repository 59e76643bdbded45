from chalicelib.settings import Bootstrap
from tests.installation import Client, Installation, refused


def test_the_callers_own_keys(installation: Installation, sts: Client, user: Bootstrap) -> None:
    (key,) = sts.QueryApiKey().IdKeys
    assert (key.SecretId, key.Status) == (user.secret_id, 2)
    assert key.CreateTime == installation.clock.now()
    (key,) = installation.client("sts").QueryApiKey().IdKeys
    assert key.SecretId == installation.root.secret_id


def test_the_keys_of_another_user(installation: Installation, sts: Client) -> None:
    bob = installation.add_user("bob")
    (key,) = sts.QueryApiKey(TargetUin=int(bob.uin)).IdKeys
    assert key.SecretId == bob.secret_id
    with refused("AuthFailure.UnauthorizedOperation"):
        installation.client("sts", who=bob).QueryApiKey()


def test_no_such_user_and_users_of_other_accounts(installation: Installation) -> None:
    for uin in (199999999999, int(installation.add_account().uin)):
        with refused("InvalidParameter.ParamError"):
            installation.client("sts").QueryApiKey(TargetUin=uin)
