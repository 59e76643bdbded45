"""Taking on a role: who may, and the credentials that come of it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import unquote_plus

from chalicelib import sessions
from chalicelib.context import IDENTITY, Context
from chalicelib.errors import (
    OverTimeError,
    ParamError,
    PolicyTooLong,
    ResouceError,
    StrategyFormatError,
    StrategyInvalid,
)
from chalicelib.grants import compile_trust
from chalicelib.model.role import MAX_SESSION_DURATION, Role
from chalicelib.params import RECORDED, Between, Characters, Matches
from chalicelib.policy.decide import decide
from chalicelib.policy.document import PolicyError, parse
from chalicelib.policy.request import Request
from chalicelib.sessions import ASSUMED_ROLE, Session
from chalicelib.table import roles

RoleArn = Annotated[str, Characters(300, 1, ParamError), RECORDED]
SessionName = Annotated[
    str,
    Matches(r"[A-Za-z0-9_+=,.@-]{2,128}", "has 2 to 128 letters, digits and + = , . @ - _", ParamError),
    RECORDED,
]
RoleSeconds = Annotated[int, Between(1, MAX_SESSION_DURATION, OverTimeError), RECORDED]
SessionPolicy = Annotated[str, Characters(32768, error=PolicyTooLong)]

DEFAULT_SECONDS: Final = 7200
CHAINED_SECONDS: Final = 3600
"""How long a session lasts at most that was opened from another role's."""
_ARN: Final = re.compile(r"qcs::cam::uin/([1-9][0-9]{0,19}):(role|roleName)/([A-Za-z0-9+=,.@_/-]{1,200})")


@dataclass(frozen=True, slots=True)
class RoleName:
    """What a RoleArn says."""

    account: str
    id: str
    name: str

    def names(self, role: Role | None) -> list[str]:
        """How policies may call the role."""
        role_id, name = (role.id, role.name) if role else (self.id, self.name)
        parts = [f"role/{role_id}"] * bool(role_id) + [f"roleName/{name}"] * bool(name)
        return [f"qcs::cam::uin/{self.account}:{part}" for part in parts]


def read_arn(arn: str) -> RoleName:
    """What the RoleArn says; raises ParamError."""
    match = _ARN.fullmatch(arn)
    if match is None:
        raise ParamError(
            "RoleArn is qcs::cam::uin/<account>:roleName/<name> or qcs::cam::uin/<account>:role/<id>."
        )
    account, kind, rest = match.groups()
    return RoleName(account, rest if kind == "role" else "", rest if kind == "roleName" else "")


def find_role(ctx: Context, wanted: RoleName) -> Role | None:
    """The role, if it exists; the event names it."""
    ctx.event.note("role", wanted.id or wanted.name)
    seal = ctx.service.seals.of(wanted.account)
    return roles.find(ctx.service.table(IDENTITY), seal, role_id=wanted.id, name=wanted.name)


def trusts(
    role: Role,
    action: str,
    *,
    owner_uin: str,
    principals: Iterable[str],
    attributes: Mapping[str, tuple[str, ...]],
) -> bool:
    """Whether the role's trust policy lets one of the principals take it on."""
    request = Request(
        action=action,
        resource=f"qcs::cam::uin/{owner_uin}:role/{role.id}",
        uin="",
        owner_uin=owner_uin,
        attributes=attributes,
        principals=frozenset(principals),
    )
    return decide([compile_trust(role.document)], request).allowed


def open_session(
    ctx: Context, account: str, role: Role, *, name: str, seconds: int, issuer: str, policy: str = ""
) -> dict[str, Any]:
    """The answer with the credentials of a role's session; raises OverTimeError."""
    if seconds > role.session_duration:
        raise OverTimeError(f"A session of this role lasts {role.session_duration} seconds at most.")
    return issue(
        ctx,
        Session(
            account=account,
            uin=role.id,
            name=role.name,
            type=ASSUMED_ROLE,
            session=name,
            expires_at=ctx.now + seconds,
            issuer=issuer,
            policy=policy,
        ),
    )


def issue(ctx: Context, session: Session) -> dict[str, Any]:
    """The answer with a session's credentials."""
    credentials = sessions.issue(ctx.service.hsm(IDENTITY), session)
    return {
        "Credentials": {
            "Token": credentials.token,
            "TmpSecretId": credentials.secret_id,
            "TmpSecretKey": credentials.secret_key,
        },
        "ExpiredTime": session.expires_at,
        "Expiration": f"{datetime.fromtimestamp(session.expires_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def read_policy(text: str) -> str:
    """A session's policy as JSON: it comes plain, or URL-encoded once."""
    policy = text if text.lstrip()[:1] == "{" else unquote_plus(text)
    try:
        parse(policy)
    except PolicyError as error:
        if error.part == "PolicyDocument":
            raise StrategyFormatError from None
        if error.part == "PolicyDocumentLength":
            raise PolicyTooLong(str(error)) from None
        if error.part.startswith("Resource"):
            raise ResouceError(str(error)) from None
        raise StrategyInvalid(f"Policy: {error}") from None
    return policy
