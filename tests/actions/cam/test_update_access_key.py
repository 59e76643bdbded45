import functools
from dataclasses import replace

import pytest

from chalicelib.context import IDENTITY
from chalicelib.settings import Settings
from tests.actions.cam.arrange_users import (
    NO_KEY,
    NOBODY,
    caller,
    keys_of,
    new_key,
    resource,
    signs,
    uin_of,
    user_with_key,
)
from tests.actions.ssm.arrange import events, outputs, together
from tests.installation import Client, Installation, refused


def switch(cam: Client, uin: int | str, secret_id: str, status: str) -> None:
    assert outputs(cam.UpdateAccessKey(TargetUin=int(uin), AccessKeyId=secret_id, Status=status)) == {}


def test_off_and_on_again(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    other = new_key(cam, who.uin)
    for status, works in (("Inactive", False), ("Inactive", False), ("Active", True), ("Active", True)):
        switch(cam, who.uin, who.secret_id, status)
        assert signs(installation, who) is works
        assert keys_of(cam, who.uin) == {who.secret_id: status, other.secret_id: "Active"}
        assert signs(installation, other)


def test_a_key_that_is_cached_stops_within_the_setting(installation: Installation, cam: Client) -> None:
    cached = Installation(installation.clock, Settings(throttle=False, credential_cache_seconds=1))
    root = cached.client("cam")
    who = user_with_key(root)
    assert signs(cached, who)
    switch(root, who.uin, who.secret_id, "Inactive")
    assert signs(cached, who), "it was opened less than a second ago"
    cached.gateway._credentials._monotonic = lambda: 10**9
    assert not signs(cached, who)


def test_the_account_itself_keeps_a_key_that_works(installation: Installation, cam: Client) -> None:
    first = installation.root.secret_id
    with refused("FailedOperation.Accesskey"):
        cam.UpdateAccessKey(AccessKeyId=first, Status="Inactive")
    second = new_key(cam)
    cam.UpdateAccessKey(AccessKeyId=second.secret_id, Status="Inactive")
    with refused("FailedOperation.Accesskey"):
        cam.UpdateAccessKey(AccessKeyId=first, Status="Inactive")
    cam.UpdateAccessKey(AccessKeyId=second.secret_id, Status="Active")
    cam.UpdateAccessKey(AccessKeyId=first, Status="Inactive")
    assert keys_of(installation.client("cam", who=second)) == {first: "Inactive", second.secret_id: "Active"}


def test_at_the_same_time_the_account_keeps_one(installation: Installation, cam: Client) -> None:
    second = new_key(cam)
    for _ in range(3):
        clients = [installation.client("cam"), installation.client("cam", who=second)]
        ids = (installation.root.secret_id, second.secret_id)
        together(
            [
                functools.partial(c.UpdateAccessKey, AccessKeyId=i, Status="Inactive")
                for c, i in zip(clients, ids, strict=True)
            ]
        )
        working = [who for who in (installation.root, second) if signs(installation, who)]
        assert len(working) == 1
        root = installation.client("cam", who=working[0])
        for secret_id in ids:
            root.UpdateAccessKey(AccessKeyId=secret_id, Status="Active")


def test_many_switches_at_once_leave_a_key_that_opens(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    clients = [installation.client("cam") for _ in range(4)]
    together(
        [
            functools.partial(
                c.UpdateAccessKey, TargetUin=int(who.uin), AccessKeyId=who.secret_id, Status=status
            )
            for c, status in zip(clients, ("Inactive", "Active") * 2, strict=True)
        ]
    )
    status = keys_of(cam, who.uin)[who.secret_id]
    assert signs(installation, who) == (status == "Active")
    switch(cam, who.uin, who.secret_id, "Active")
    assert signs(installation, who)
    with refused("AuthFailure.SignatureFailure"):
        installation.client("cam", who=replace(who, secret_key="x" * 32)).ListUsers()


def test_keys_that_are_not_there(installation: Installation, cam: Client) -> None:
    who, other = user_with_key(cam), user_with_key(cam, "bob")
    root_key = installation.root.secret_id
    for target, secret_id in ((who.uin, NO_KEY), (who.uin, other.secret_id), (who.uin, root_key)):
        with refused("ResourceNotFound.SecretNotExist"):
            switch(cam, target, secret_id, "Inactive")
    with refused("InvalidParameter.UserNotExist"):
        switch(cam, NOBODY, who.secret_id, "Inactive")
    stranger = installation.client("cam", who=installation.add_account())
    with refused("InvalidParameter.UserNotExist"):
        switch(stranger, who.uin, who.secret_id, "Inactive")
    with refused("ResourceNotFound.SecretNotExist"):
        stranger.UpdateAccessKey(AccessKeyId=who.secret_id, Status="Inactive")
    assert all(signs(installation, each) for each in (who, other))


@pytest.mark.parametrize(
    "wrong",
    [{"Status": "active"}, {"Status": ""}, {"AccessKeyId": "x" * 32}, {"AccessKeyId": "AKID"}],
    ids=str,
)
def test_parameters_that_are_refused(installation: Installation, cam: Client, wrong: dict[str, str]) -> None:
    """A SecretKey in the place of the SecretId among them: it must not be recorded."""
    with refused("InvalidParameter.ParamError"):
        cam.UpdateAccessKey(**{"AccessKeyId": NO_KEY, "Status": "Inactive", **wrong})
    event = [e for e in events(installation, region=IDENTITY) if e["action"] == "UpdateAccessKey"][-1]
    assert not event.get("parameters")


def test_a_policy_may_allow_it_for_one_user(installation: Installation, cam: Client) -> None:
    who, other = user_with_key(cam), user_with_key(cam, "bob")
    client = caller(installation, "UpdateAccessKey", resource(installation, f"uin/{who.uin}"))
    switch(client, who.uin, who.secret_id, "Inactive")
    for uin in (other.uin, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            switch(client, uin, other.secret_id, "Inactive")
    administrator = caller(installation, "*")
    with refused("OperationDenied.SubUin"):
        switch(administrator, installation.root.uin, installation.root.secret_id, "Inactive")


def test_what_is_recorded(installation: Installation, cam: Client) -> None:
    who = user_with_key(cam)
    switch(cam, who.uin, who.secret_id, "Inactive")
    (event,) = [e for e in events(installation, region=IDENTITY) if e["action"] == "UpdateAccessKey"]
    assert event["resources"] == [f"user/{who.uin}", f"accessKey/{who.secret_id}"]
    assert event["parameters"] == {
        "TargetUin": int(who.uin),
        "AccessKeyId": who.secret_id,
        "Status": "Inactive",
    }


def test_a_user_without_keys_has_none_to_switch(cam: Client) -> None:
    with refused("ResourceNotFound.SecretNotExist"):
        switch(cam, uin_of(cam), NO_KEY, "Active")
