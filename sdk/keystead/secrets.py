"""Secrets where an application needs them: read through a cache that knows versions, outages and rotation.

Values are read when they are asked for, never at import, and appear in no `repr`, log line or exception.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NoReturn, Protocol, TypeVar

from keystead._fork import reset_in_child
from keystead.api import ApiError, Unreachable, jitter, parsed_json
from keystead.credentials import CredentialError

CURRENT: Final = "SSM_Current"
"""The version that is the newest: what `get` reads where neither a version nor a gray release says otherwise."""

PREVIOUS_FOR: Final = 300.0
"""Seconds that a value is known after a newer one was read: as long as a rotation may take."""

_SERVICE: Final = ("ssm", "2019-09-23")
_MAX_REFRESHING: Final = 4
_LONGEST_BACKOFF: Final = 60.0
_PAUSE: Final = 0.05
_TWICE: Final = 2
_POINTS: Final = 1 << 64
_USERS: Final = ("username", "user")
_PASSWORDS: Final = ("password",)
_DATABASES: Final = ("database", "dbname")

_T = TypeVar("_T")
_Bytes = bytes  # `Secret.bytes` hides the type in its class
_log = logging.getLogger("keystead")


class Caller(Protocol):
    """What secrets are read with; `keystead.api.Api` is one."""

    def call(
        self, service: str, version: str, action: str, region: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The members of the response; ApiError or Unreachable."""


class SecretFormatError(ValueError):
    """The value is not what was asked for (text, JSON, a user and a password). The text never has any of it."""


class AuthenticationFailed(Exception):
    """Raise it inside `run` or `credentials` to say that the credentials were refused."""


class Secret:
    """One version of a secret as it was read: `text`, `bytes` or `json()`."""

    __slots__ = ("_value", "is_binary", "name", "version_id")

    def __init__(self, name: str, version_id: str, value: _Bytes, *, is_binary: bool) -> None:
        self.name = name
        """As it was asked for."""
        self.version_id = version_id
        """The real id of the version, also where SSM_Current was asked for."""
        self.is_binary = is_binary
        """Whether it was stored as SecretBinary."""
        self._value = value

    def __repr__(self) -> str:
        return f"<Secret {self.name!r} version {self.version_id!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: read it where it is used")

    @property
    def bytes(self) -> _Bytes:
        """The value: SecretBinary decoded, or SecretString in UTF-8."""
        return self._value

    @property
    def text(self) -> str:
        """The value as text; SecretFormatError where it is not UTF-8."""
        text = _decoded(self._value)
        if text is None:
            raise SecretFormatError(f"secret {self.name!r} is not text: take its bytes")
        return text

    def json(self) -> Any:
        """The value parsed as JSON; SecretFormatError where it is none."""
        parsed = parsed_json(self._value)
        if parsed is None and self._value.strip() != b"null":
            raise SecretFormatError(f"secret {self.name!r} is not JSON")
        return parsed

    def is_same(self, other: Secret) -> bool:
        """Whether both are the same version with the same value, told in constant time."""
        return self.version_id == other.version_id and hmac.compare_digest(self._value, other._value)


class Gray:
    """A gray release: some hosts read `version`, the others `stable`, until the new version has proved itself.

    Chosen are the hosts named in `hosts`, and `percent` of all others by a hash of name, version and host id: a host
    that is chosen stays so as `percent` grows, and another release begins with other hosts. `stable` is explicit
    because PutSecretValue makes the new version SSM_Current for everybody at once.
    """

    def __init__(
        self, version: str, *, stable: str, percent: float = 0.0, hosts: Collection[str] = ()
    ) -> None:
        if not 0 <= percent <= 100:  # noqa: PLR2004 - per cent
            raise ValueError("percent is from 0 to 100")
        if isinstance(hosts, str):
            raise TypeError("hosts is a collection of host ids")
        self.version = version
        self.stable = stable
        self.percent = percent
        self.hosts = frozenset(hosts)

    def __repr__(self) -> str:
        return f"Gray({self.version!r}, stable={self.stable!r}, percent={self.percent:g}, hosts={len(self.hosts)})"

    def version_for(self, name: str, host_id: str) -> str:
        """The version of secret `name` that this host reads."""
        if host_id in self.hosts:
            return self.version
        digest = hashlib.sha256(json.dumps([name, self.version, host_id]).encode()).digest()
        point = int.from_bytes(digest[:8], "big")
        return self.version if point * 100 < self.percent * _POINTS else self.stable


class Credentials:
    """User and password of a JSON secret, and its other members: `c.user`, `c.password`, `c["port"]`, `c.get("ssl")`.

    The members are found in any case: `user` or `username`, `password`, `database` or `dbname`.
    """

    def __init__(self, secret: Secret, refresh: Callable[[Secret], Secret]) -> None:
        self._refresh = refresh
        self._take(secret)

    def __repr__(self) -> str:
        return f"<Credentials of {self.secret!r}>"

    def __getitem__(self, member: str) -> Any:
        return self._members[member.lower()]

    def get(self, member: str, default: Any = None) -> Any:
        """A member in any case, or `default`."""
        return self._members.get(member.lower(), default)

    @property
    def user(self) -> str:
        """The user's name."""
        return self._text(_USERS)

    @property
    def password(self) -> str:
        """The password."""
        return self._text(_PASSWORDS)

    @property
    def host(self) -> str | None:
        """The database's host, where the secret has it."""
        host = self.get("host")
        return host if isinstance(host, str) else None

    @property
    def port(self) -> int | None:
        """The database's port, where the secret has it."""
        port = self.get("port")
        return int(port) if isinstance(port, (int, str)) and str(port).isdecimal() else None

    @property
    def database(self) -> str | None:
        """The database's name, where the secret has it."""
        return next((v for v in map(self.get, _DATABASES) if isinstance(v, str)), None)

    def rejected(self) -> bool:
        """Say that these credentials were refused: they are read again and this object has the newest.

        True where they changed, so that another attempt makes sense. Raises what the read raises.
        """
        newest = self._refresh(self.secret)
        changed = not newest.is_same(self.secret)
        self._take(newest)
        return changed

    def _take(self, secret: Secret) -> None:
        parsed = secret.json()
        if not isinstance(parsed, dict):
            parsed = None  # tools that report failures show variables
            raise SecretFormatError(f"secret {secret.name!r} is not a JSON object")
        self.secret = secret
        """The secret that they are members of; `rejected` replaces it."""
        self._members = {member.lower(): value for member, value in parsed.items()}

    def _text(self, names: tuple[str, ...]) -> str:
        for name in names:
            if isinstance(self._members.get(name), str):
                return str(self._members[name])
        raise SecretFormatError(f"secret {self.secret.name!r} has no member {' or '.join(names)} with text")


class _Entry:
    """What is known of one (name, version): a secret, or the failure to read it."""

    __slots__ = (
        "expires_at",
        "failure",
        "failures",
        "previous",
        "previous_until",
        "refresh_at",
        "secret",
        "stale_until",
    )

    def __init__(self) -> None:
        self.secret: Secret | None = None
        self.previous: Secret | None = None
        self.previous_until = 0.0
        self.failure: Exception | None = None
        self.failures = 0
        self.refresh_at = 0.0
        self.expires_at = 0.0
        self.stale_until = 0.0


class _Load:
    """One request on its way, which whoever wants the same waits for."""

    __slots__ = ("done", "failure", "secret")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.secret: Secret | None = None
        self.failure: Exception | None = None


_Key = tuple[str, str]


class SecretCache:
    """Secrets of one region, kept for `ttl` seconds: `SecretCache(api, "ap-guangzhou").get("db")`.

    Threads that want the same wait for one request. In the last `ahead` part of its time, at a moment that differs from
    process to process, a value is read anew in the background. Where the service cannot be reached or is busy, a value
    is served for `stale_for` more seconds; a refusal (deleted, disabled, not authorised) ends that at once. Refusals
    and failures are remembered for `negative_ttl` seconds, and not more than `max_entries` versions in all.

    `gray` is looked at in every `get` without a version: change the mapping to widen a release. `host_id` is this host
    in it. `on_change(old, new)` is told of every value that differs from the one before it.

    One object serves all threads, and goes on after a fork.
    """

    def __init__(
        self,
        api: Caller,
        region: str,
        *,
        ttl: float = 300.0,
        ahead: float = 0.2,
        stale_for: float = 3600.0,
        negative_ttl: float = 1.0,
        max_entries: int = 1000,
        gray: Mapping[str, Gray] | None = None,
        host_id: str | None = None,
        on_change: Callable[[Secret, Secret], None] | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = lambda: jitter(1.0),
    ) -> None:
        if not (ttl > 0 and 0 <= ahead < 1 and stale_for >= 0 and negative_ttl >= 0 and max_entries > 0):
            raise ValueError(
                "ttl and max_entries are more than 0, ahead from 0 to less than 1, the rest not negative"
            )
        self._api = api
        self._region = region
        self._ttl = ttl
        self._ahead = ahead
        self._stale_for = stale_for
        self._negative_ttl = negative_ttl
        self._max_entries = max_entries
        self._gray = {} if gray is None else gray
        self._host_id = socket.gethostname() if host_id is None else host_id
        self._on_change = on_change
        self._clock = _seconds if clock is None else clock
        self._sleep = sleep
        self._random = random
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._reset()
        reset_in_child(self)

    def __repr__(self) -> str:
        return f"<SecretCache of {self._region}, {len(self._entries)} entries>"

    def get(self, name: str, version: str | None = None) -> Secret:
        """The secret, at most `ttl` seconds old while the service can be read.

        `version` is a version id or SSM_Current; without it a gray release of `name` decides, else it is SSM_Current.
        Raises ApiError (ResourceNotFound, AuthFailure...) or Unreachable.
        """
        key = self._key(name, version)
        while True:
            with self._lock:
                found = self._known(key)
                if found is not None:
                    return found
                load, mine = self._join(key)
            found = self._outcome(key, load, mine=mine)
            if found is not None:
                return found

    def refresh(self, name: str, version: str | None = None, *, than: Secret | None = None) -> Secret:
        """Read the secret now, whatever its age. Raises as `get`, also where a stale value is there.

        With `than`, the secret that was found wanting, another one that is known already is the answer: a thousand
        threads with the same refused password make one request.
        """
        key = self._key(name, version)
        first: _Load | None = None
        while True:
            with self._lock:
                entry = self._entries.get(key)
                known = None if entry is None or self._clock() >= entry.expires_at else entry.secret
                if than is not None and known is not None and not known.is_same(than):
                    return known
                load, mine = self._join(key)
                # A request that left before this call may bring what this call has found wanting.
                early = not mine and (first is None or load is first)
                first = load if first is None else first
            if mine:
                self._run(key, load)
            else:
                load.done.wait()
            if early:
                continue
            if load.failure is not None:
                raise _again(load.failure)
            if load.secret is not None:
                return load.secret

    def run(
        self,
        name: str,
        function: Callable[[Credentials], _T],
        *,
        is_auth_failure: Callable[[BaseException], bool] | None = None,
        patience: float = 0.0,
        version: str | None = None,
    ) -> _T:
        """`function(credentials)`, once more with newer credentials where they were refused.

        Refused is what `is_auth_failure(error)` says, and AuthenticationFailed always. The secret is then read again;
        where that does not help, the value before it is tried once, because a rotation stores the new password before
        the database knows it; that value is known for PREVIOUS_FOR seconds. A rotation that goes the other way round is
        waited out for up to `patience` seconds, with an attempt or two in each: mind databases that lock accounts. The
        last failure of `function` is raised as it is.
        """
        secret = self.get(name, version)
        deadline = self._clock() + patience
        pause = _PAUSE
        tried: list[Secret] = []
        while True:
            held = self._held(secret, version)
            try:
                return function(held)
            except Exception as error:
                if not _is_auth_failure(error, is_auth_failure):
                    raise
                failure = error
            tried.append(held.secret)
            newest, previous = self._newest(name, version, held.secret), self._previous(name, version)
            # At most twice: answers that differ from replica to replica would be tried in turn for ever.
            if newest and not newest.is_same(held.secret) and sum(map(newest.is_same, tried)) < _TWICE:
                secret = newest
            elif previous and not any(map(previous.is_same, tried)):
                secret = previous
            elif self._clock() < deadline:
                self._sleep(self._random() * pause)
                pause = min(1.0, pause * 2)
                secret = self._newest(name, version, None) or secret
            else:
                raise failure

    @contextmanager
    def credentials(
        self,
        name: str,
        *,
        is_auth_failure: Callable[[BaseException], bool] | None = None,
        version: str | None = None,
    ) -> Generator[Credentials, None, None]:
        """Credentials for a block: `with cache.credentials("db") as c: connect(c.user, c.password)`.

        Where the block raises what `is_auth_failure(error)` knows, or AuthenticationFailed, the secret is read again
        before the error goes on, so that the next attempt has the newest. Inside, `c.rejected()` does the same.
        """
        held = self._held(self.get(name, version), version)
        try:
            yield held
        except Exception as error:
            if _is_auth_failure(error, is_auth_failure):
                self._newest(name, version, held.secret)
            raise

    def forget(self, name: str | None = None) -> None:
        """Drop all versions of a secret, or everything: the next `get` reads."""
        with self._lock:
            for held in (self._entries, self._loads):  # what is on its way now is older than this call
                for key in [k for k in held if name in (None, k[0])]:
                    del held[key]

    # Reading

    def _key(self, name: str, version: str | None) -> _Key:
        if version is None:
            gray = self._gray.get(name)
            version = CURRENT if gray is None else gray.version_for(name, self._host_id)
        return name, version

    def _known(self, key: _Key) -> Secret | None:
        """What is answered without waiting; None where the service has to be asked first. With the lock held."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        now = self._clock()
        if entry.secret is None:
            if entry.failure is not None and now < entry.refresh_at:
                raise _again(entry.failure)
            return None
        # Where the service failed just now, an expired value is served while it is asked again.
        failing = entry.failure is not None and now < entry.refresh_at + _LONGEST_BACKOFF
        if now < entry.expires_at or (failing and now < entry.stale_until):
            if now >= entry.refresh_at:
                self._refresh_behind(key)
            return entry.secret
        return None

    def _join(self, key: _Key) -> tuple[_Load, bool]:
        """The request on its way, or a new one that the caller has to make. With the lock held."""
        load = self._loads.get(key)
        if load is not None:
            return load, False
        load = self._loads[key] = _Load()
        return load, True

    def _outcome(self, key: _Key, load: _Load, *, mine: bool) -> Secret | None:
        """The secret of a request, or a stale one where it failed; None where nobody finished it."""
        if mine:
            self._run(key, load)
        else:
            load.done.wait()
        if load.secret is not None:
            return load.secret
        if load.failure is None:
            return None
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.secret is not None and self._clock() < entry.stale_until:
                return entry.secret
        raise _again(load.failure)

    def _run(self, key: _Key, load: _Load) -> None:
        """Make the request and let everybody know, whatever ends it."""
        changed: tuple[Secret, Secret] | None = None
        try:
            asked_at = self._clock()
            try:
                load.secret = self._read(*key)
            except Exception as error:  # noqa: BLE001 - waiting threads must get it too
                load.failure = _again(error)
            with self._lock:
                if self._loads.get(key) is load:  # else it was forgotten meanwhile
                    changed = self._note(key, load, asked_at)
        finally:
            with self._lock:
                if self._loads.get(key) is load:
                    del self._loads[key]
            load.done.set()
        if changed is not None and self._on_change is not None:
            try:
                self._on_change(*changed)
            except Exception as error:  # noqa: BLE001 - the reader of the secret has no part in it
                _log.warning("secret %s: on_change failed: %s", key[0], type(error).__name__)

    def _note(self, key: _Key, load: _Load, asked_at: float) -> tuple[Secret, Secret] | None:
        """Keep what a request brought; the old and the new secret where they differ. With the lock held."""
        if load.secret is not None:
            return self._loaded(key, load.secret, asked_at)
        if load.failure is not None:
            self._failed(key, load.failure)
        return None

    def _read(self, name: str, version: str) -> Secret:
        answer = self._api.call(
            *_SERVICE, "GetSecretValue", self._region, {"SecretName": name, "VersionId": version}
        )
        found = _secret(name, version, answer)
        if found is None:
            answer.clear()  # tools that report failures show variables
            raise Unreachable(f"GetSecretValue of {name!r} was not answered with its value")
        return found

    def _loaded(self, key: _Key, secret: Secret, asked_at: float) -> tuple[Secret, Secret] | None:
        entry = self._entry(key)
        old = entry.secret
        is_new = old is None or not old.is_same(secret)
        if is_new:
            entry.previous, entry.previous_until = old, asked_at + PREVIOUS_FOR
        entry.secret = secret
        entry.failure, entry.failures = None, 0
        # Its age counts from the question: the value may have been replaced while the answer travelled.
        entry.expires_at = asked_at + self._ttl
        entry.refresh_at = entry.expires_at - self._ttl * self._ahead * (1 - self._random() / 2)
        entry.stale_until = entry.expires_at + self._stale_for
        return (old, secret) if old is not None and is_new else None

    def _failed(self, key: _Key, failure: Exception) -> None:
        name, version = key
        entry = self._entry(key)
        now = self._clock()
        is_refusal = isinstance(failure, ApiError) and not failure.is_passing
        if is_refusal or now >= entry.stale_until:
            entry.secret = entry.previous = None
        entry.failure = failure
        entry.failures += 1
        wait = self._negative_ttl
        if entry.secret is not None:
            # Meanwhile there is an answer, so that a service in trouble is asked less and less.
            wait = min(_LONGEST_BACKOFF, wait * 2 ** min(entry.failures - 1, 10)) * (0.5 + self._random() / 2)
            code = failure.code if isinstance(failure, ApiError) else type(failure).__name__
            age = now - entry.expires_at + self._ttl
            _log.warning("secret %s version %s: kept, %d seconds old: %s", name, version, age, code)
        entry.refresh_at = now + wait

    def _entry(self, key: _Key) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
        return entry

    def _refresh_behind(self, key: _Key) -> None:
        """Read in the background, unless somebody does or enough threads are at it. With the lock held."""
        if key in self._loads or not self._slots.acquire(blocking=False):
            return
        load, _ = self._join(key)
        slots = self._slots

        def work() -> None:
            try:
                self._run(key, load)
            finally:
                slots.release()

        try:
            threading.Thread(target=work, name="keystead-refresh", daemon=True).start()
        except RuntimeError:  # the interpreter ends, or there are no threads left: the next `get` tries
            del self._loads[key]
            load.done.set()
            slots.release()

    # Credentials

    def _held(self, secret: Secret, version: str | None) -> Credentials:
        return Credentials(secret, lambda than: self.refresh(secret.name, version, than=than))

    def _previous(self, name: str, version: str | None) -> Secret | None:
        with self._lock:
            entry = self._entries.get(self._key(name, version))
            if entry is None or self._clock() >= entry.previous_until:
                return None
            return entry.previous

    def _newest(self, name: str, version: str | None, than: Secret | None) -> Secret | None:
        try:
            return self.refresh(name, version, than=than)
        except (ApiError, Unreachable, CredentialError) as error:
            _log.warning(
                "secret %s: refused credentials could not be read again: %s", name, type(error).__name__
            )
            return None

    # Processes

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loads: dict[_Key, _Load] = {}
        self._slots = threading.BoundedSemaphore(_MAX_REFRESHING)


class AsyncSecretCache:
    """A `SecretCache` for asyncio, for one event loop: `await AsyncSecretCache(cache).get("db")`.

    A value that is there is answered at once; requests run in the loop's default threads, one for all coroutines that
    want the same. A coroutine that is cancelled leaves the request to the others. Threads may go on using `cache`.
    """

    def __init__(self, cache: SecretCache) -> None:
        self._cache = cache
        self._loads: dict[tuple[str, str | None], asyncio.Future[Secret]] = {}

    async def get(self, name: str, version: str | None = None) -> Secret:
        """As `SecretCache.get`."""
        cache = self._cache
        with cache._lock:  # noqa: SLF001 - of this module; nobody waits while holding it
            found = cache._known(cache._key(name, version))  # noqa: SLF001
        if found is not None:
            return found
        key = name, version
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = asyncio.ensure_future(asyncio.to_thread(cache.get, name, version))
            load.add_done_callback(lambda done: self._end(key, done))
        try:
            return await asyncio.shield(load)
        except (ApiError, Unreachable) as error:
            failure = _again(error)
        raise failure

    async def refresh(self, name: str, version: str | None = None, *, than: Secret | None = None) -> Secret:
        """As `SecretCache.refresh`."""
        return await asyncio.to_thread(self._cache.refresh, name, version, than=than)

    @asynccontextmanager
    async def credentials(
        self,
        name: str,
        *,
        is_auth_failure: Callable[[BaseException], bool] | None = None,
        version: str | None = None,
    ) -> AsyncGenerator[Credentials, None]:
        """As `SecretCache.credentials`, with `async with`; `c.rejected()` waits, so call it in a thread."""
        cache = self._cache
        held = cache._held(await self.get(name, version), version)  # noqa: SLF001
        try:
            yield held
        except Exception as error:
            if _is_auth_failure(error, is_auth_failure):
                await asyncio.to_thread(cache._newest, name, version, held.secret)  # noqa: SLF001
            raise

    def forget(self, name: str | None = None) -> None:
        """As `SecretCache.forget`."""
        self._cache.forget(name)
        for key in [key for key in self._loads if name in (None, key[0])]:
            del self._loads[key]

    def _end(self, key: tuple[str, str | None], load: asyncio.Future[Secret]) -> None:
        if self._loads.get(key) is load:
            del self._loads[key]
        if not load.cancelled():
            load.exception()  # nobody may be left who asks for it


def _seconds() -> float:
    """A clock that nobody sets and that goes on while the machine sleeps, where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def _is_auth_failure(error: Exception, told: Callable[[BaseException], bool] | None) -> bool:
    return isinstance(error, AuthenticationFailed) or (told is not None and told(error))


def _again(error: Exception) -> Exception:
    """A copy to raise in another thread: what is raised in many keeps growing its traceback, and the frames in it."""
    return copy.copy(error) if isinstance(error, (ApiError, Unreachable)) else error


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _secret(name: str, version: str, answer: Mapping[str, Any]) -> Secret | None:
    """The secret of an answer; None where there is no value in it, or that of something else."""
    version_id = str(answer.get("VersionId") or version)
    if answer.get("SecretName", name) != name or version not in (CURRENT, version_id):
        return None
    text, binary = answer.get("SecretString"), answer.get("SecretBinary")
    if isinstance(text, str) and text:
        return Secret(name, version_id, text.encode(), is_binary=False)
    if not isinstance(binary, str) or not binary:
        return None
    try:
        return Secret(name, version_id, base64.b64decode(binary, validate=True), is_binary=True)
    except ValueError:
        return None
