"""What several tests of users, groups and access keys need."""

import re
from typing import Any

from chalicelib.settings import Bootstrap
from tests.actions.ssm.arrange import code
from tests.installation import Client, Installation
from tests.permissions import allow, statement

NOBODY = 10**15 + 1
"""A number that no user or group has."""
NO_KEY = "AKID" + "x" * 32
SECRET_KEY = r"[A-Za-z0-9]{32}"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
DAY = 86400


def user_with_key(cam: Client, name: str = "alice") -> Bootstrap:
    """A user that was made with an access key."""
    made = cam.AddUser(Name=name, UseApi=1)
    return Bootstrap(str(made.Uin), made.SecretId, made.SecretKey)


def uin_of(cam: Client, name: str = "alice") -> int:
    """The uin of a new user."""
    return int(cam.AddUser(Name=name).Uin)


def new_key(cam: Client, uin: int | str = 0) -> Bootstrap:
    """A new access key of the caller, or of a user."""
    made = cam.CreateAccessKey(**({"TargetUin": int(uin)} if uin else {})).AccessKey
    return Bootstrap(str(uin), made.AccessKeyId, made.SecretAccessKey)


def make_group(cam: Client, name: str = "g") -> int:
    return int(cam.CreateGroup(GroupName=name).GroupId)


def put_into(cam: Client, group: int, *uins: int) -> None:
    cam.AddUserToGroup(Info=[{"GroupId": group, "Uin": uin} for uin in uins])


def users_of(cam: Client, group: int) -> list[int]:
    return [user.Uin for user in cam.ListUsersForGroup(GroupId=group, Rp=200).UserInfo]


def groups_of(cam: Client, uin: int) -> list[int]:
    return [group.GroupId for group in cam.ListGroupsForUser(SubUin=uin, Rp=200).GroupInfo]


def names(cam: Client) -> list[str]:
    return [user.Name for user in cam.ListUsers().Data]


def keys_of(cam: Client, uin: int | str = 0) -> dict[str, str]:
    """The states of access keys by id."""
    given = {"TargetUin": int(uin)} if uin else {}
    return {key.AccessKeyId: key.Status for key in cam.ListAccessKeys(**given).AccessKeys}


def signs(installation: Installation, who: Bootstrap) -> bool:
    """Whether an access key can sign, whatever its holder may do."""
    ended = code(lambda: installation.client("ssm", who=who).ListSecrets())
    assert ended in ("ok", "AuthFailure.UnauthorizedOperation", "AuthFailure.SecretIdNotFound")
    return ended != "AuthFailure.SecretIdNotFound"


def caller(installation: Installation, action: str | list[str], resource: str | list[str] = "*") -> Client:
    """The client of a user that may do these actions of CAM to these resources, and nothing else."""
    who = installation.add_user(f"caller-{installation.clock.now_ms()}")
    installation.clock.advance(0.001)
    actions = [action] if isinstance(action, str) else action
    allow(installation, who, statement(action=[f"cam:{a}" for a in actions], resource=resource))
    return installation.client("cam", who=who)


def resource(installation: Installation, path: str) -> str:
    """A resource of the account, as policies spell it."""
    return f"qcs::cam::uin/{installation.root.uin}:{path}"


def is_time(text: Any) -> bool:
    return re.fullmatch(TIME, text) is not None
