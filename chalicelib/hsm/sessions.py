"""Sessions with a PKCS #11 token: who is logged in, which handles are good, and what is done when they no longer are.

A `_Connection` is one login: a keeper session, which owns the cached session objects, and a pool of sessions, of which each
operation has one to itself. When the token loses them, the whole connection is given up and the next operation makes another,
so a handle is never used with a session of another connection: handles are numbers, and a library that starts again may give
the same number to another key. A connection that was given up is closed when its last user leaves; nobody waits for a call
that hangs, except C_Finalize, for a short time, and then it does not take place.

Everything belongs to a process: a forked child starts afresh. A PIN that the token refused is never shown to it again.
"""

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from types import TracebackType
from typing import Final, TypeVar

from chalicelib.hsm import cryptoki
from chalicelib.hsm.cryptoki import CryptokiError, Module, Session
from chalicelib.hsm.port import HsmError, HsmMisconfigured, HsmUnavailable

T = TypeVar("T")

SESSIONS: Final = 64
"""Sessions that one process opens with a token, the keeper not counted."""
HANDLES: Final = 1024
"""Session objects that are cached for a token."""
WAIT_SECONDS: Final = 5.0
"""How long an operation waits for a free session, or for somebody else who connects or makes a key's object."""
QUIET_SECONDS: Final = 0.5
"""How long C_Finalize waits for calls under way. All tokens of the library stand still meanwhile."""
INITIALIZE_SECONDS: Final = 10.0
"""C_Finalize ends the sessions of all tokens of the library: a dead one may not do that to the others more often."""

REOPEN: Final = frozenset(
    {
        cryptoki.CKR_SESSION_CLOSED,
        cryptoki.CKR_SESSION_HANDLE_INVALID,
        cryptoki.CKR_OBJECT_HANDLE_INVALID,
        cryptoki.CKR_KEY_HANDLE_INVALID,
        cryptoki.CKR_USER_NOT_LOGGED_IN,
    }
)
"""The connection is lost: another one, and the operation once more."""
INITIALIZE: Final = frozenset(
    {
        cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED,
        cryptoki.CKR_DEVICE_ERROR,
        cryptoki.CKR_DEVICE_REMOVED,
        cryptoki.CKR_SLOT_ID_INVALID,
        cryptoki.CKR_TOKEN_NOT_PRESENT,
        cryptoki.CKR_TOKEN_NOT_RECOGNIZED,
    }
)
"""The library has lost the token: C_Finalize and C_Initialize, another connection, and the operation once more."""
UNAVAILABLE: Final = frozenset(
    {cryptoki.CKR_HOST_MEMORY, cryptoki.CKR_DEVICE_MEMORY, cryptoki.CKR_SESSION_COUNT}
)
"""Something is used up."""
PIN_REFUSED: Final = frozenset(
    {
        cryptoki.CKR_PIN_INCORRECT,
        cryptoki.CKR_PIN_INVALID,
        cryptoki.CKR_PIN_LEN_RANGE,
        cryptoki.CKR_PIN_EXPIRED,
        cryptoki.CKR_PIN_LOCKED,
        cryptoki.CKR_USER_PIN_NOT_INITIALIZED,
    }
)
"""Trying again would lock the token."""
_HARMLESS: Final = frozenset(
    {
        cryptoki.CKR_DATA_INVALID,
        cryptoki.CKR_DATA_LEN_RANGE,
        cryptoki.CKR_ENCRYPTED_DATA_INVALID,
        cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE,
        cryptoki.CKR_SIGNATURE_INVALID,
        cryptoki.CKR_SIGNATURE_LEN_RANGE,
        cryptoki.CKR_WRAPPED_KEY_INVALID,
        cryptoki.CKR_WRAPPED_KEY_LEN_RANGE,
    }
)
"""A caller's bad bytes say nothing about the session. After any other error it is closed, with what it made."""

_refused: Final[set[tuple[str, str, str]]] = set()
"""Module path, label and PIN of what a token refused; a forked child knows of it, too."""


class Token:
    """The token with a label, logged in. For any number of threads and forked processes; nothing is touched before the first use."""

    def __init__(
        self,
        module: Module,
        label: str,
        pin: str,
        *,
        session_limit: int | None = None,
        handle_limit: int = HANDLES,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.module = module
        self.label = label
        self._pin = pin
        self._session_limit = session_limit or SESSIONS
        self._handle_limit = handle_limit
        self._wait_seconds = wait_seconds
        self._states: dict[int, _State] = {}
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label!r})"

    def call(self, operation: Callable[[Session], T]) -> T:
        """What `operation` makes of a session that is its own meanwhile; it may run twice.

        HsmUnavailable when the token is lost and does not come back at once, HsmMisconfigured when it refuses the PIN. A
        CryptokiError whose meaning depends on the operation goes through. Session objects that an operation makes with
        its session it destroys as well. It does not outlive its call: it may not keep the session or handles.
        """
        try:
            return self._once(operation)
        except _Lost:
            pass
        try:
            return self._once(operation)
        except _Lost as lost:
            raise HsmUnavailable(f"The token {self.label!r} is lost ({lost}).") from None

    def handle(self, key: Hashable, make: Callable[[Session], int]) -> "_Use":
        """For `with`, inside an operation of `call`: the handle of the object that `make` makes once for `key`.

        `make` gets the keeper session, since session objects die with theirs; it may use `handle` itself. The least
        recently used objects are destroyed when there are too many, once nobody uses them; token objects never are, so
        handles that were found may be cached like those that were made.
        """
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            raise RuntimeError("a handle is good only inside an operation of Token.call")
        return _Use(connection, key, make)

    @contextlib.contextmanager
    def inventory(self) -> Iterator[None]:
        """For `with`, around calls that look for, make or destroy token objects: one thread of this process at a time.

        Nothing else may be awaited inside. HsmUnavailable when another thread is not done in time.
        """
        # SoftHSM2 2.6.1 reads an object's file again for a thread that looks for objects, also while another thread makes that
        # object: it loses attributes, or making it fails, with CKR_TEMPLATE_INCONSISTENT or CKR_GENERAL_ERROR.
        lock = self._state().inventory
        if not lock.acquire(timeout=self._wait_seconds):
            raise HsmUnavailable(f"The token {self.label!r} does not answer.")
        try:
            yield
        finally:
            lock.release()

    def mechanisms(self) -> frozenset[int]:
        """The numbers of the mechanisms that the token lists."""
        return self.call(lambda _session: frozenset(self.module.mechanisms(self._local.connection.slot)))

    def close(self) -> None:
        """Close all sessions, which destroys all session objects. The next `call` opens others."""
        state = self._state()
        if state.connection is not None:
            state.give_up(state.connection)

    def _once(self, operation: Callable[[Session], T]) -> T:
        state = self._state()
        connection, session = self._enter(state)
        outer = getattr(self._local, "connection", None)
        self._local.connection = connection
        is_usable = False
        try:
            made = operation(session)
            is_usable = True
        except CryptokiError as caught:
            is_usable = caught.code in _HARMLESS
            error = caught
        except HsmError:
            is_usable = True
            raise
        else:
            return made
        finally:
            self._local.connection = outer
            state.library.leave(connection, session, is_usable=is_usable)
        raise self._outcome(state, connection, error) from None

    def _outcome(self, state: "_State", connection: "_Connection", error: CryptokiError) -> Exception:
        """What an error says about the connection, after what it asks for was done."""
        if error.code in REOPEN or error.code in INITIALIZE:
            state.give_up(connection)
            if error.code in INITIALIZE:
                state.library.start_again(connection.epoch, error.code)
            return _Lost(str(error))
        if error.code in UNAVAILABLE:
            return HsmUnavailable(f"The token {self.label!r} has no room ({error}).")
        return error

    def _enter(self, state: "_State") -> "tuple[_Connection, Session]":
        """A session, counted as in use until `leave`. While one is, its connection stays as it is."""
        library = state.library
        end: float | None = None
        while True:
            with library.changed:
                connection = state.connection
                if connection is not None and not library.is_starting:
                    if connection.epoch != library.epoch:  # C_Finalize closed its sessions
                        connection = state.connection = None
                    elif connection.free:
                        library.enter(connection)
                        return connection, connection.free.pop()
                    elif connection.opened < self._session_limit:
                        connection.opened += 1
                        library.enter(connection)
                        break
                end = end or time.monotonic() + self._wait_seconds
                if connection is not None or library.is_starting:
                    if not library.wait(end - time.monotonic()):
                        raise HsmUnavailable(f"All sessions with the token {self.label!r} are in use.")
                    continue
            self._connect(state, end)
        try:
            return connection, self.module.open_session(connection.slot)
        except CryptokiError as caught:
            library.leave(connection, None)
            error = self._outcome(state, connection, caught)
        if isinstance(error, CryptokiError):
            raise HsmUnavailable(f"The token {self.label!r} opens no session ({error}).")
        raise error

    def _connect(self, state: "_State", end: float) -> None:
        """Make a connection, unless somebody else just did."""
        if not state.connecting.acquire(timeout=max(end - time.monotonic(), 0)):
            raise HsmUnavailable(f"The token {self.label!r} does not answer.")
        try:
            if state.connection is None:
                connection = self._log_in(state.library)
                with state.library.changed:
                    state.connection = connection
        finally:
            state.connecting.release()

    def _log_in(self, library: "_Library") -> "_Connection":
        if (self.module.path, self.label, self._pin) in _refused:
            raise self._pin_refused()
        for is_last in (False, True):
            try:
                epoch = library.epoch
                with library.initialized():
                    return self._open(library)
            except CryptokiError as error:
                if error.code in PIN_REFUSED:
                    _refused.add((self.module.path, self.label, self._pin))
                    raise self._pin_refused() from None
                if is_last or (error.code not in INITIALIZE and error.code not in REOPEN):
                    raise HsmUnavailable(f"The token {self.label!r} does not answer ({error}).") from None
                library.start_again(epoch, error.code)
        raise AssertionError

    def _open(self, library: "_Library") -> "_Connection":
        slot, flags = self._find()
        if flags & (cryptoki.CKF_USER_PIN_LOCKED | cryptoki.CKF_USER_PIN_FINAL_TRY):
            raise HsmMisconfigured(
                f"The token {self.label!r} has at most one try of the PIN left, which is not taken: correct"
                " KEYSTEAD_PKCS11_PIN, and log in by hand, or have the PIN unlocked."
            )
        keeper = self.module.open_session(slot)
        try:
            keeper.login(self._pin.encode())
        except CryptokiError:
            _close(keeper)
            raise
        return _Connection(library, slot, keeper, self._handle_limit, self._wait_seconds)

    def _find(self) -> tuple[int, int]:
        """The slot of the token, and its flags."""
        for slot in self.module.slots():
            with contextlib.suppress(CryptokiError):  # another token, on its way out
                info = self.module.token_info(slot)
                if info.label == self.label and info.flags & cryptoki.CKF_TOKEN_INITIALIZED:
                    return slot, info.flags
        raise CryptokiError("C_GetSlotList", cryptoki.CKR_TOKEN_NOT_PRESENT)

    def _pin_refused(self) -> HsmMisconfigured:
        return HsmMisconfigured(
            f"The token {self.label!r} refused the PIN, which is not shown to it again: correct KEYSTEAD_PKCS11_PIN and restart."
        )

    def _state(self) -> "_State":
        process = os.getpid()
        state = self._states.get(process)
        if state is None:
            state = self._states.setdefault(process, _State(_library(self.module)))
            for other in [other for other in self._states if other != process]:
                self._states.pop(other, None)  # its sessions are the parent's
        return state


class _Lost(Exception):
    """The connection was given up; the operation may run on another one."""


class _Library:
    """What the tokens of one library in one process have in common. Its lock guards their connections, too."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.changed = threading.Condition(threading.Lock())
        self.epoch = 0
        """Counts C_Initialize: sessions and handles are good in one epoch."""
        self.is_starting = False
        self.users = 0
        """Threads inside the library."""
        self.earliest_start = 0.0
        self._waiting = 0
        self._is_initialized = False
        self._initializing = threading.Lock()

    def enter(self, connection: "_Connection") -> None:
        """Count a user. The caller has the lock."""
        self.users += 1
        connection.users += 1

    def leave(self, connection: "_Connection", session: Session | None, *, is_usable: bool = True) -> None:
        """The end of what `enter` began; the session is another's now, or closed."""
        if session is not None and not is_usable:
            _close(session)
            session = None
        with self.changed:
            if session is None:
                connection.opened -= 1
            else:
                connection.free.append(session)
            connection.users -= 1
            is_last = connection.is_given_up and not connection.users
            if not is_last:
                self._exit()
        if is_last:
            self._close(connection)

    def give_up(self, connection: "_Connection") -> None:
        """Close it once nobody uses it. The caller has seen to it that nobody begins to."""
        with self.changed:
            if connection.is_given_up or connection.epoch != self.epoch:
                return
            connection.is_given_up = True
            if connection.users:
                return
            self.users += 1
        self._close(connection)

    def wait(self, seconds: float) -> bool:
        """Until something has changed; False if nothing did. The caller has the lock."""
        self._waiting += 1
        try:
            return self.changed.wait(seconds)
        finally:
            self._waiting -= 1

    @contextlib.contextmanager
    def initialized(self) -> Iterator[None]:
        """The library, initialized, for calls without a connection."""
        with self.changed:
            end = time.monotonic() + WAIT_SECONDS
            while self.is_starting:
                if not self.wait(end - time.monotonic()):
                    raise HsmUnavailable("The PKCS #11 library does not start.")
            self.users += 1
        try:
            self._initialize()
            yield
        finally:
            with self.changed:
                self._exit()

    def _initialize(self) -> None:
        if not self._initializing.acquire(timeout=WAIT_SECONDS):
            raise HsmUnavailable("The PKCS #11 library does not start.")
        try:
            if not self._is_initialized:
                self.module.initialize()
                self._is_initialized = True
        finally:
            self._initializing.release()

    def start_again(self, epoch: int, code: int) -> None:
        """C_Finalize and C_Initialize, once for all who ask in the same epoch.

        Unless somebody stays inside the library, or it was done a short time ago: then a new connection must do.
        """
        with self.changed:
            now = time.monotonic()
            is_gone = code == cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED  # and all sessions with it
            if self.epoch != epoch or self.is_starting or (now < self.earliest_start and not is_gone):
                return
            self.earliest_start = now + INITIALIZE_SECONDS
            self.is_starting = True
            end = now + QUIET_SECONDS
            while self.users and self.wait(end - time.monotonic()):
                pass
            is_quiet = not self.users
        try:
            if is_quiet:
                self._is_initialized = False
                with contextlib.suppress(CryptokiError):
                    self.module.finalize()
                with contextlib.suppress(CryptokiError):  # whoever connects next tries again, and reports it
                    self.module.initialize()
                    self._is_initialized = True
        finally:
            with self.changed:
                self.epoch += is_quiet
                self.is_starting = False
                self.changed.notify_all()

    def _close(self, connection: "_Connection") -> None:
        """Counted as a user by the caller, so that no other epoch begins meanwhile."""
        try:
            connection.close()
        finally:
            with self.changed:
                self._exit()

    def _exit(self) -> None:
        self.users -= 1
        if self._waiting:
            self.changed.notify_all()


class _State:
    """A token in one process."""

    def __init__(self, library: _Library) -> None:
        self.library = library
        self.connecting = threading.Lock()
        self.inventory = threading.Lock()
        """See `Token.inventory`."""
        self.connection: _Connection | None = None

    def give_up(self, connection: "_Connection") -> None:
        """Use it no more."""
        with self.library.changed:
            if self.connection is connection:
                self.connection = None
        self.library.give_up(connection)


class _Handle:
    """A cached handle."""

    __slots__ = ("is_dropped", "users", "value")

    def __init__(self, value: int) -> None:
        self.value = value
        self.users = 1
        self.is_dropped = False


class _Connection:
    """One login. Fields are guarded by the library's lock."""

    def __init__(
        self, library: _Library, slot: int, keeper: Session, handle_limit: int, wait_seconds: float
    ) -> None:
        self.library = library
        self.epoch = library.epoch
        self.slot = slot
        self.free: list[Session] = []
        self.opened = 0
        """Sessions, those in use included, the keeper not."""
        self.users = 0
        self.is_given_up = False
        self._keeper = keeper
        self._keeping = threading.RLock()
        """Held while the keeper is used."""
        self._limit = handle_limit
        self._wait_seconds = wait_seconds
        self._handles: OrderedDict[Hashable, _Handle] = OrderedDict()
        self._dropped: list[int] = []
        """No longer used, not yet destroyed."""

    def find(self, key: Hashable) -> _Handle | None:
        """A cached handle, counted as in use."""
        with self.library.changed:
            handle = self._handles.get(key)
            if handle is not None:
                handle.users += 1
                self._handles.move_to_end(key)
            return handle

    def make(self, key: Hashable, make: Callable[[Session], int]) -> _Handle:
        """As `find`, but made if there is none."""
        if not self._keeping.acquire(timeout=self._wait_seconds):
            raise HsmUnavailable("The token does not answer.")
        try:
            handle = self.find(key)
            if handle is None:
                handle = _Handle(make(self._keeper))
                with self.library.changed:
                    while len(self._handles) >= self._limit:
                        self._drop(self._handles.popitem(last=False)[1])
                    self._handles[key] = handle
                self._destroy_dropped()
            return handle
        finally:
            self._keeping.release()

    def release(self, handle: _Handle) -> None:
        """The end of what `find` or `make` began."""
        with self.library.changed:
            handle.users -= 1
            if handle.is_dropped:
                self._drop(handle)

    def close(self) -> None:
        """Close all sessions: nobody uses them."""
        for session in (*self.free, self._keeper):
            _close(session)

    def _destroy_dropped(self) -> None:
        """Destroy what was dropped and is not in use, unless it is a token object. The caller has the keeper."""
        with self.library.changed:
            dropped, self._dropped = self._dropped, []
        for handle in dropped:
            with contextlib.suppress(CryptokiError):  # it is gone
                is_token = self._keeper.get_attributes(handle, [cryptoki.CKA_TOKEN])[cryptoki.CKA_TOKEN]
                if is_token == b"\0":
                    self._keeper.destroy_object(handle)

    def _drop(self, handle: _Handle) -> None:
        handle.is_dropped = True
        if not handle.users:
            self._dropped.append(handle.value)


class _Use:
    """A handle for the length of a `with`."""

    __slots__ = ("_connection", "_handle", "_key", "_make")

    def __init__(self, connection: _Connection, key: Hashable, make: Callable[[Session], int]) -> None:
        self._connection = connection
        self._key = key
        self._make = make

    def __enter__(self) -> int:
        self._handle = self._connection.find(self._key) or self._connection.make(self._key, self._make)
        return self._handle.value

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self._connection.release(self._handle)


_libraries: Final[dict[tuple[int, str], _Library]] = {}


def _library(module: Module) -> _Library:
    key = os.getpid(), module.path
    library = _libraries.get(key)
    if library is None:
        library = _libraries.setdefault(key, _Library(module))
        for other in [other for other in _libraries if other[0] != key[0]]:
            _libraries.pop(other, None)
    return library


def _close(session: Session) -> None:
    with contextlib.suppress(CryptokiError):  # a lost one is closed
        session.close()
