"""Who signed, and what they may do: access keys and tokens, opened and kept for a few seconds."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from chalicelib import grants, ids, sessions
from chalicelib.access_keys import Caller, find_access_key, open_access_key
from chalicelib.api.signature import derive_signing_key
from chalicelib.authority import Authority
from chalicelib.clock import Clock
from chalicelib.errors import InvalidSecretId, SecretIdNotFound, TokenFailure
from chalicelib.hsm.port import Hsm
from chalicelib.policy.document import parse
from chalicelib.sealed_row import RowSeals
from chalicelib.sessions import ASSUMED_ROLE, FEDERATED_USER, Session
from chalicelib.table import accounts, roles
from chalicelib.table.port import Table

ID_PREFIX: Final = "AKID"

_MAX_CACHED: Final = 10_000
_MAX_DERIVED: Final = 16


@dataclass(slots=True)
class Credential:
    """Opened credentials: what a signature is checked with, and whom it stands for."""

    caller: Caller
    secret_key: str = field(repr=False)
    _derived: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)

    def signing_key(self, date: str, service: str) -> bytes:
        """The TC3 signing key of that day and scope, derived once."""
        key = self._derived.get((date, service))
        if key is None:
            key = derive_signing_key(self.secret_key, date, service)
            # A client chooses the scope's text: without a bound it could fill the memory.
            if len(self._derived) < _MAX_DERIVED:
                self._derived[date, service] = key
        return key


class Credentials:
    """Finds whom a SecretId stands for, with its policies.

    What is taken back - a key, a policy, a user, a role - works for `cache_seconds` more at most.
    """

    def __init__(
        self,
        identity: Table,
        hsm: Callable[[], Hsm],
        seals: RowSeals,
        clock: Clock,
        *,
        cache_seconds: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._hsm = hsm
        self._seals = seals
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._monotonic = monotonic
        self._cache: OrderedDict[tuple[str, bytes], tuple[float, Credential]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, secret_id: str, token: str) -> Credential:
        """The credential; raises InvalidSecretId, SecretIdNotFound or TokenFailure."""
        if not secret_id.startswith(ID_PREFIX):
            raise InvalidSecretId
        if not token and len(secret_id) == ids.TEMPORARY_CHARACTERS:
            raise TokenFailure("These are temporary credentials: send their token.")
        now = self._monotonic()
        place = secret_id, hashlib.sha256(token.encode()).digest() if token else b""
        with self._lock:
            until, cached = self._cache.get(place, (0.0, None))
        if cached is None or now >= until:
            cached = self._open_session(secret_id, token) if token else self._open_key(secret_id)
            with self._lock:
                self._cache[place] = (now + self._cache_seconds, cached)
                self._cache.move_to_end(place)
                if len(self._cache) > _MAX_CACHED:
                    self._cache.popitem(last=False)
        if 0 < cached.caller.expires_at <= self._clock.now():
            raise TokenFailure("The token has expired: request new temporary credentials.")
        return cached

    def _open_key(self, secret_id: str) -> Credential:
        key = find_access_key(self._identity, self._seals, secret_id)
        if key is None:
            raise SecretIdNotFound
        caller, secret_key = open_access_key(self._hsm(), key)
        if caller.is_root:
            return Credential(caller, secret_key)
        granted = grants.load(self._identity, self._seals, caller.account, grants.USER + caller.uin)
        caller = replace(caller, app_id=self._app_id(caller.account), authority=Authority(granted))
        return Credential(caller, secret_key)

    def _open_session(self, secret_id: str, token: str) -> Credential:
        session, secret_key = sessions.open_token(self._hsm(), secret_id, token)
        caller = Caller(
            session.account,
            session.uin,
            session.name,
            session.type,
            secret_id,
            session=session.session,
            issuer=session.issuer,
            expires_at=session.expires_at,
            app_id=self._app_id(session.account),
        )
        if caller.expires_at > self._clock.now():
            caller = replace(caller, authority=self._authority(session))
        return Credential(caller, secret_key)

    def _authority(self, session: Session) -> Authority | None:
        """What the session may do; TokenFailure where what it depends on is gone."""
        principal = grants.USER + session.uin
        if session.type == ASSUMED_ROLE:
            principal = grants.ROLE + session.uin
            if roles.find(self._identity, self._seals.of(session.account), role_id=session.uin) is None:
                raise TokenFailure("The role does not exist any more.")
        else:
            key = find_access_key(self._identity, self._seals, session.issued_by)
            if key is None:
                raise TokenFailure("The access key that the token was made with is disabled or deleted.")
            open_access_key(self._hsm(), key)  # raises Damaged unless what its row says is true
        policy = parse(session.policy, name="of the session") if session.policy else None
        if session.uin == session.account:
            return Authority(None, policy) if session.type == FEDERATED_USER else None
        return Authority(grants.load(self._identity, self._seals, session.account, principal), policy)

    def _app_id(self, account: str) -> str:
        row = self._identity.get(*accounts.account_row_key(account))
        return str(accounts.app_id_of(row)) if row is not None else ""
