"""Parameter types of the actions on users, groups and access keys, and what their answers have in common."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from chalicelib.actions.policy_parameters import time_text
from chalicelib.errors import (
    FailedOperation,
    NeitherUinNorUid,
    ParamError,
    UserNameIllegal,
    UserNotExist,
)
from chalicelib.model.group import Group
from chalicelib.model.user import KeyEntry, User
from chalicelib.params import RECORDED, Between, Characters, Items, Matches
from chalicelib.table.users import Pair

UserName = Annotated[
    str,
    Matches(r"[A-Za-z0-9+=,.@_-]{1,64}", "has 1 to 64 letters, digits and +=,.@_-", UserNameIllegal),
    RECORDED,
]
Switch = Annotated[int, Between(0, 1, ParamError), RECORDED]
Remark = Annotated[str, Characters(1000, error=ParamError)]
Password = Annotated[str, Characters(128, error=ParamError)]
PhoneNum = Annotated[
    str, Matches(r"[0-9 ()-]{0,32}", "has up to 32 digits, spaces, brackets and -", ParamError)
]
CountryCode = Annotated[str, Matches(r"\+?[0-9]{0,6}", "has up to 6 digits", ParamError)]
Email = Annotated[str, Matches(r"|[^@\s]{1,64}@[^@\s]{1,190}", "is empty or an address", ParamError)]
TargetUin = Annotated[int, Between(0, 2**63 - 1, ParamError), RECORDED]
Number = Annotated[int, Between(0, 2**63 - 1, ParamError), RECORDED]
# Whoever mixes up the two halves of an access key sends the SecretKey here: it must not be recorded.
AccessKeyId = Annotated[
    str, Matches(r"AKID[A-Za-z0-9]{1,60}", "is a SecretId: AKID and letters and digits", ParamError), RECORDED
]
GroupName = Annotated[
    str,
    Matches(r"[^\x00-\x1f\x7f]{0,63}[^\s\x00-\x1f\x7f]", "has 1 to 64 printable characters", ParamError),
]
OptionalGroupName = Annotated[
    str,
    Matches(r"|[^\x00-\x1f\x7f]{0,63}[^\s\x00-\x1f\x7f]", "has up to 64 printable characters", ParamError),
]
Page = Annotated[int, Between(1, 10**6, ParamError), RECORDED]
PageSize = Annotated[int, Between(1, 200, ParamError), RECORDED]

SUB_USER: Final = 2
"""UserType of a user that an account has made."""


@dataclass(frozen=True, slots=True)
class GroupIdOfUidInfo:
    """A user and a group; Uid and Uin are the same number here."""

    group_id: Number
    uid: Number = 0
    uin: Number = 0


Memberships = Annotated[list[GroupIdOfUidInfo], Items(20, 1, ParamError), RECORDED]


def pairs_of(info: Iterable[GroupIdOfUidInfo]) -> list[Pair]:
    """Which user is meant to be in which group, each once; raises NeitherUinNorUid or UserNotExist."""
    return list(dict.fromkeys((each.group_id, uin_of(each.uin, each.uid)) for each in info))


def uin_of(uin: int, uid: int) -> str:
    """The one user that is named; raises NeitherUinNorUid, or UserNotExist for two."""
    if not uin and not uid:
        raise NeitherUinNorUid
    if uin and uid and uin != uid:
        raise UserNotExist
    return str(uin or uid)


def refuse_console(console_login: int) -> None:
    """There is no console to log in to: a user who asks for that is refused, and no password is ever kept."""
    if console_login:
        raise FailedOperation("There is no console to log in to: leave ConsoleLogin and Password out.")


def sub_account(user: User) -> dict[str, Any]:
    """SubAccountInfo as the API spells it."""
    return {
        "Uin": int(user.uin),
        "Name": user.name,
        "Uid": int(user.uin),
        "Remark": user.remark,
        "ConsoleLogin": 0,
        "PhoneNum": user.phone_num,
        "CountryCode": user.country_code,
        "Email": user.email,
        "CreateTime": time_text(user.created_at),
        "NickName": "",
    }


def group_info(group: Group) -> dict[str, Any]:
    """GroupInfo as the API spells it."""
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "CreateTime": time_text(group.created_at),
        "Remark": group.remark,
    }


def group_members(users: Iterable[User]) -> list[dict[str, Any]]:
    """GroupMemberInfo as the API spells it, oldest user first."""
    return [
        {
            "Uid": int(user.uin),
            "Uin": int(user.uin),
            "Name": user.name,
            "PhoneNum": user.phone_num,
            "CountryCode": user.country_code,
            "PhoneFlag": 0,
            "Email": user.email,
            "EmailFlag": 0,
            "UserType": SUB_USER,
            "CreateTime": time_text(user.created_at),
            "IsReceiverOwner": 0,
            "Remark": user.remark,
        }
        for user in sorted(users, key=lambda u: (u.created_at, u.uin))
    ]


def access_key(key: KeyEntry) -> dict[str, Any]:
    """AccessKey as the API spells it."""
    return {
        "AccessKeyId": key.id,
        "Status": key.status,
        "CreateTime": time_text(key.created_at),
        "Description": key.description,
    }
