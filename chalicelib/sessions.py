"""Temporary credentials: who holds them, until when and within which bounds, all of it in their token."""

import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

from chalicelib import ids
from chalicelib.access_keys import Caller
from chalicelib.errors import OverTimeError, PolicyTooLong, TokenFailure
from chalicelib.formats import session_token
from chalicelib.hsm.port import Damaged, Hsm

ASSUMED_ROLE: Final = "AssumedRole"
FEDERATED_USER: Final = "FederatedUser"
ROOT_SECONDS: Final = 7200
USER_SECONDS: Final = 129600
_KEY: Final = 32
"""Characters of a SecretKey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a token says."""

    account: str
    uin: str
    """The role's id, or the uin of the user or account whose session it is."""
    name: str
    """The role's name, or the user's."""
    type: str
    expires_at: int
    session: str = ""
    """The name that the caller gave the session."""
    issuer: str = ""
    """The uin that asked for the credentials."""
    issued_by: str = ""
    """The access key that the session ends with; empty for a role's, which does not depend on one."""
    policy: str = field(default="", repr=False)
    """The session's own policy, which bounds what its role or user may do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the caller of an STS action gets."""

    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)


def issue(hsm: Hsm, session: Session) -> Credentials:
    """New credentials for a session; raises PolicyTooLong for a policy that does not fit into a token."""
    secret_id, secret_key = ids.temporary_secret_id(), ids.secret_key()
    # The key stays out of what is compressed: lengths of tokens tell nothing about it.
    content = secret_key.encode() + zlib.compress(_encode(session), 9)
    try:
        return Credentials(secret_id, secret_key, session_token.seal(hsm, secret_id, content))
    except session_token.TooLong:
        raise PolicyTooLong from None


def open_token(hsm: Hsm, secret_id: str, token: str) -> tuple[Session, str]:
    """The session and its SecretKey; raises TokenFailure, the same for whatever is wrong with the token."""
    try:
        content = session_token.open_sealed(hsm, secret_id, token)
    except Damaged:
        raise TokenFailure from None
    secret_key, members = content[:_KEY], zlib.decompress(content[_KEY:])
    return Session(**json.loads(members)), secret_key.decode()


def check_seconds(caller: Caller, seconds: int) -> None:
    """Raise OverTimeError for a session of the caller's own that is too long."""
    most = ROOT_SECONDS if caller.is_root else USER_SECONDS
    if seconds > most:
        raise OverTimeError(f"Such a session lasts {most} seconds at most.")


def _encode(session: Session) -> bytes:
    members: dict[str, Any] = {name: getattr(session, name) for name in Session.__dataclass_fields__}
    return json.dumps(
        {n: v for n, v in members.items() if v}, ensure_ascii=False, separators=(",", ":")
    ).encode()
