import functools

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from tests.actions.cam.arrange_users import (
    NO_KEY,
    NOBODY,
    caller,
    keys_of,
    new_key,
    resource,
    signs,
    user_with_key,
)
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, Installation, refused


def delete(cam: Client, uin: int | str, secret_id: str) -> None:
    assert outputs(cam.DeleteAccessKey(TargetUin=int(uin), AccessKeyId=secret_id)) == {}


def test_it_stops_at_once_and_for_good(installation: Installation, cam: Client) -> None:
    """Active as well: Terraform does not switch keys off before it deletes them."""
    who = user_with_key(cam)
    other = new_key(cam, who.uin)
    delete(cam, who.uin, who.secret_id)
    assert not signs(installation, who)
    assert signs(installation, other)
    assert keys_of(cam, who.uin) == {other.secret_id: "Active"}
    with refused("ResourceNotFound.SecretNotExist"):
        delete(cam, who.uin, who.secret_id)
    with refused("ResourceNotFound.SecretNotExist"):
        cam.UpdateAccessKey(TargetUin=int(who.uin), AccessKeyId=who.secret_id, Status="Active")
    delete(cam, who.uin, other.secret_id)
    assert keys_of(cam, who.uin) == {}


def test_the_accounts_own_key_is_replaced(installation: Installation, cam: Client) -> None:
    with refused("FailedOperation.Accesskey"):
        cam.DeleteAccessKey(AccessKeyId=installation.root.secret_id)
    second = new_key(cam)
    theirs = installation.client("cam", who=second)
    theirs.DeleteAccessKey(AccessKeyId=installation.root.secret_id)
    assert not signs(installation, installation.root)
    assert list(keys_of(theirs)) == [second.secret_id]
    with refused("FailedOperation.Accesskey"):
        theirs.DeleteAccessKey(AccessKeyId=second.secret_id)
    third = new_key(theirs)
    theirs.UpdateAccessKey(AccessKeyId=third.secret_id, Status="Inactive")
    with refused("FailedOperation.Accesskey"):
        theirs.DeleteAccessKey(AccessKeyId=second.secret_id)
    theirs.DeleteAccessKey(AccessKeyId=third.secret_id)
    assert signs(installation, second)


def test_at_the_same_time_the_account_keeps_one(installation: Installation, cam: Client) -> None:
    second = new_key(cam)
    clients = [installation.client("cam"), installation.client("cam", who=second)]
    ids = (installation.root.secret_id, second.secret_id)
    together([functools.partial(c.DeleteAccessKey, AccessKeyId=i) for c, i in zip(clients, ids, strict=True)])
    assert sum(signs(installation, who) for who in (installation.root, second)) == 1


def test_keys_that_are_not_there(installation: Installation, cam: Client) -> None:
    who, other = user_with_key(cam), user_with_key(cam, "bob")
    for secret_id in (NO_KEY, other.secret_id, installation.root.secret_id):
        with refused("ResourceNotFound.SecretNotExist"):
            delete(cam, who.uin, secret_id)
    stranger = installation.client("cam", who=installation.add_account())
    for client, uin in ((cam, NOBODY), (stranger, who.uin)):
        with refused("InvalidParameter.UserNotExist"):
            delete(client, uin, who.secret_id)
    with refused("InvalidParameter.ParamError"):
        delete(cam, who.uin, "x" * 32)
    assert all(signs(installation, each) for each in (who, other))


def test_a_policy_may_allow_it_for_one_user(installation: Installation, cam: Client) -> None:
    who, other = user_with_key(cam), user_with_key(cam, "bob")
    client = caller(installation, "DeleteAccessKey", resource(installation, f"uin/{who.uin}"))
    with refused("AuthFailure.UnauthorizedOperation"):
        delete(client, other.uin, other.secret_id)
    delete(client, who.uin, who.secret_id)
    administrator = caller(installation, "*")
    with refused("OperationDenied.SubUin"):
        delete(administrator, installation.root.uin, installation.root.secret_id)


def test_nothing_of_it_stays_but_that_the_account_had_it(clock: ManualClock) -> None:
    installation = Inspected(clock)
    cam = installation.client("cam")

    def rows() -> set[tuple[str, str]]:
        return {key for key in installation.data(IDENTITY) if key[0].startswith("AK#")}

    before = rows()
    who = user_with_key(cam)
    delete(cam, who.uin, who.secret_id)
    assert rows() == before
    second = new_key(cam)
    cam.DeleteAccessKey(AccessKeyId=second.secret_id)
    assert rows() - before == {(f"AK#{second.secret_id}", "D")}
