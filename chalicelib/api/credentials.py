"""Who signed: access keys opened from the identity table, kept for a few seconds."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from chalicelib.access_keys import Caller, open_access_key
from chalicelib.api.signature import derive_signing_key
from chalicelib.errors import InvalidSecretId, SecretIdNotFound, TokenFailure
from chalicelib.hsm.port import Hsm
from chalicelib.table import accounts
from chalicelib.table.port import Table

ID_PREFIX: Final = "AKID"

_MAX_CACHED: Final = 10_000
_MAX_DERIVED: Final = 16


@dataclass(slots=True)
class Credential:
    """An opened access key: what a signature is checked with."""

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
    """Finds the access key of a SecretId. A key that is disabled stops working within `cache_seconds`."""

    def __init__(
        self,
        identity: Table,
        hsm: Callable[[], Hsm],
        *,
        cache_seconds: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._hsm = hsm
        self._cache_seconds = cache_seconds
        self._monotonic = monotonic
        self._cache: OrderedDict[str, tuple[float, Credential]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, secret_id: str, token: str) -> Credential:
        """The credential; raises InvalidSecretId, SecretIdNotFound or TokenFailure."""
        if token:
            raise TokenFailure("The token was not made here: permanent keys are used without one.")
        if not secret_id.startswith(ID_PREFIX):
            raise InvalidSecretId
        now = self._monotonic()
        with self._lock:
            until, cached = self._cache.get(secret_id, (0.0, None))
        if cached is not None and now < until:
            return cached
        credential = self._open(secret_id)
        with self._lock:
            self._cache[secret_id] = (now + self._cache_seconds, credential)
            self._cache.move_to_end(secret_id)
            if len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)
        return credential

    def _open(self, secret_id: str) -> Credential:
        pk, sk = accounts.access_key_row_key(secret_id)
        row = self._identity.get(pk, sk) if len(pk) <= len("AK#") + 64 else None
        key = accounts.access_key_from_row(row) if row else None
        if key is None or key.status != accounts.ACTIVE or key.id != secret_id:
            raise SecretIdNotFound
        return Credential(*open_access_key(self._hsm(), key))
