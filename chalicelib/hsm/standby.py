"""Several HSMs with the same domain keys, as one: the first that works answers, the others are hot standbys.

A call goes to the next member when one is unavailable, hangs, or lacks the generation that a token names. Whatever the
caller got wrong (Damaged, WrongUse, ValueError) is answered by the first member that looked at it.
"""

import contextlib
import functools
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from chalicelib.formats import key_token
from chalicelib.hsm.port import (
    Damaged,
    Hsm,
    HsmError,
    HsmKey,
    HsmMisconfigured,
    HsmUnavailable,
    KeyKind,
    NewGeneration,
    Padding,
    Protection,
    SignatureAlgorithm,
)

T = TypeVar("T")

WORKERS: Final = 32
"""Calls at once to one member. A call that hangs for ever keeps one of them until the process ends."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds that a member is left alone after a failure: doubled with each failure from the first to the longest."""


class _Hung(HsmUnavailable):
    """No answer in time."""


@dataclass(frozen=True, slots=True)
class MemberHealth:
    """What is known of a member."""

    name: str
    state: str
    """`up`, `down`, `misconfigured`, or `not used yet`."""
    seconds: float
    """For how long."""
    error: str
    """The type of its last error; empty: there was none."""
    generations: tuple[int, ...]
    """What it had when it last answered."""


class StandbyHsm:
    """One domain on several HSMs. Thread-safe and fork-safe, as far as its members are."""

    def __init__(
        self,
        members: Mapping[str, Callable[[], Hsm]],
        deadline_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`members` opens each by its name, the preferred one first, when it is first needed.

        A call ends within `deadline_seconds`, whatever its members do; one that makes a key looks at the standbys then, at
        most a second for each. `now` is any clock that counts seconds.
        """
        self._members = [_Member(name, opener, now) for name, opener in members.items()]
        self._deadline = deadline_seconds
        self._probe_seconds = min(deadline_seconds / 4, 1.0)
        self._wanted: int | None = None
        self._limit: int | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(member.name for member in self._members)})"

    # Use

    def generate(self, kind: KeyKind, binding: bytes) -> HsmKey:
        """See `Hsm.generate`."""
        return self._make(lambda hsm: hsm.generate(kind, binding))

    def encrypt(self, key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.encrypt`."""
        return self._use(key, lambda hsm: hsm.encrypt(key, plaintext, associated_data))

    def decrypt(self, key: HsmKey, message: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.decrypt`."""
        return self._use(key, lambda hsm: hsm.decrypt(key, message, associated_data))

    def public_key(self, key: HsmKey) -> bytes:
        """See `Hsm.public_key`."""
        return self._use(key, lambda hsm: hsm.public_key(key))

    def sign(self, key: HsmKey, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        """See `Hsm.sign`."""
        return self._use(key, lambda hsm: hsm.sign(key, algorithm, message, is_digest=is_digest))

    def decrypt_asymmetric(self, key: HsmKey, padding: Padding, ciphertext: bytes) -> bytes:
        """See `Hsm.decrypt_asymmetric`."""
        return self._use(key, lambda hsm: hsm.decrypt_asymmetric(key, padding, ciphertext))

    def decapsulate(self, key: HsmKey, encapsulated: bytes) -> bytes:
        """See `Hsm.decapsulate`."""
        return self._use(key, lambda hsm: hsm.decapsulate(key, encapsulated))

    def import_key(
        self, wrapping_key: HsmKey, padding: Padding, wrapped: bytes, kind: KeyKind, binding: bytes
    ) -> HsmKey:
        """See `Hsm.import_key`."""
        return self._make(
            lambda hsm: hsm.import_key(wrapping_key, padding, wrapped, kind, binding), wrapping_key
        )

    def check_value(self, key: HsmKey) -> bytes:
        """See `Hsm.check_value`."""
        return self._use(key, lambda hsm: hsm.check_value(key))

    def random(self, count: int) -> bytes:
        """See `Hsm.random`."""
        return self._ask(lambda hsm: hsm.random(count))

    def rewrap(self, key: HsmKey) -> HsmKey:
        """See `Hsm.rewrap`."""
        return self._make(lambda hsm: hsm.rewrap(key), key)

    def protection(self, kind: KeyKind) -> Protection:
        """See `Hsm.protection`: the weakest that any member gives, as any may be the one that answers."""
        # What the members said when they were opened: no key is described by way of a token.
        answers = {member.protections[kind] for member in self._members if member.hsm}
        answers = answers or {self._ask(lambda hsm: hsm.protection(kind))}
        return Protection.HSM if answers == {Protection.HSM} else Protection.PROCESS

    def describe(self) -> Mapping[str, str]:
        """See `Hsm.describe`: the answering member's, with the kinds that every member makes, and `members`."""
        found = dict(self._ask(lambda hsm: hsm.describe()))
        kinds = [found["kinds"].split(","), *(m.kinds for m in self._members if m.kinds)]
        found["kinds"] = ",".join(kind for kind in kinds[0] if all(kind in each for each in kinds))
        found["members"] = self._states()
        return found

    def health(self) -> tuple[MemberHealth, ...]:
        """What each member answers now, the preferred one first; at most a second for each."""
        for member in self._members:
            self._probe(member)
        return tuple(member.health() for member in self._members)

    def close(self) -> None:
        """See `Hsm.close`. A member that hangs is left to the end of the process."""
        self._closed = True
        for member in self._members:
            member.close(self._probe_seconds)

    # Generations

    def generations(self) -> Sequence[int]:
        """See `Hsm.generations`: what any member can use, up to the newest that every member has."""
        return self._generations()

    def rotate(
        self, recipients: Sequence[bytes] = (), keep: Callable[[NewGeneration], None] | None = None
    ) -> NewGeneration:
        """See `Hsm.rotate`: a wrapped transfer brings the generation to every member.

        All members must work: a generation leaves the HSM that made it only at its birth. The others get it before
        the one that made it keeps it, and that one is the preferred member, unless another has newer generations: should
        this fail or die half-way, what new tokens are made with is still on every member, and rotating again mends it.
        """
        newest = {
            member: max(self._insist(member, lambda hsm: hsm.generations()), default=0)
            for member in self._members
        }
        birthplace = max(self._members, key=lambda member: newest[member])
        receivers = [member for member in self._members if member is not birthplace]
        transport_keys = [self._insist(member, lambda hsm: hsm.transport_key()) for member in receivers]

        def hand_out(new: NewGeneration) -> None:
            if keep is not None:
                keep(NewGeneration(new.number, new.sealed[: len(recipients)]))
            for member, sealed in zip(receivers, new.sealed[len(recipients) :], strict=True):
                self._insist(member, functools.partial(_receive, new.number, sealed))

        made = self._insist(birthplace, lambda hsm: hsm.rotate([*recipients, *transport_keys], hand_out))
        return NewGeneration(made.number, made.sealed[: len(recipients)])

    def use_generation(self, generation: int | None) -> None:
        """See `Hsm.use_generation`."""
        self._wanted = generation

    def export(self, generation: int, recipient: bytes) -> bytes:
        """See `Hsm.export`."""
        return self._ask(lambda hsm: hsm.export(generation, recipient))

    def retire(self, generation: int) -> None:
        """See `Hsm.retire`: on every member, and all must work, so that none keeps what was to be destroyed."""
        for member in self._members:
            self._insist(member, lambda hsm: hsm.random(1))
        if generation == max(self._generations(), default=0):
            raise ValueError("The newest generation cannot be retired: rotate first.")
        for member in self._members:
            self._insist(member, lambda hsm: hsm.retire(generation))

    def transport_key(self) -> bytes:
        """ValueError: each member has its own."""
        raise ValueError("A transport key belongs to one HSM: ask the member.")

    def receive(self, generation: int, sealed: bytes) -> None:  # noqa: ARG002 - the port's
        """ValueError: each member receives for itself."""
        raise ValueError(f"Generation {generation} is received by one HSM: ask the member.")

    def restore(self, generation: int, sealed: bytes, private_key: bytes) -> None:
        """See `Hsm.restore`: on every member that lacks the generation. What was done stays if one fails."""
        for member in self._members:
            self._insist(member, lambda hsm: hsm.restore(generation, sealed, private_key))

    def members(self) -> Mapping[str, Hsm]:
        """The members by name, opened: for ceremonies, which work on each. HsmError if one does not open."""
        return {member.name: self._insist(member, lambda hsm: hsm) for member in self._members}

    # How

    def _use(self, key: HsmKey, operation: Callable[[Hsm], T]) -> T:
        return self._ask(operation, key)

    def _make(self, operation: Callable[[Hsm], HsmKey], key: HsmKey | None = None) -> HsmKey:
        """A new token, of the newest generation that every member has, or else of the one asked for."""

        def make(hsm: Hsm) -> HsmKey:
            hsm.use_generation(self._wanted or self._limit)
            return operation(hsm)

        if self._limit is not None:
            self._limit = self._find_limit()
        made = self._ask(make, key)
        if all(self._has_generation(member, made) for member in self._members):
            return made
        self._limit = self._find_limit()
        return self._ask(make, key)

    def _find_limit(self) -> int | None:
        """The newest generation that every member has, if some member has newer ones."""
        newest = max(self._generations(), default=0)
        is_behind = any(member.generations[-1:] > (newest,) for member in self._members)
        return newest if is_behind else None

    def _has_generation(self, member: "_Member", made: HsmKey) -> bool:
        """Whether the member opens tokens of the generation, as far as is known.

        A member that is down counts with what it had. One that has no generation at all, or was never reached, does not
        count: it opens nothing anyway, and holding back keys for it would not change that.
        """
        generation = key_token.generation_of(made.token)
        if member.is_up and generation not in member.generations:
            # A member looks for new generations when a token names one.
            with contextlib.suppress(HsmError):
                self._attempt(member, lambda hsm: _open(hsm, made), self._probe_seconds)
            self._learn(member)
        return not member.generations or generation in member.generations

    def _generations(self) -> tuple[int, ...]:
        """What new tokens may be made with and, before it, what else some member opens."""
        for member in self._members:
            if member.is_up:
                self._learn(member)
        if not any(member.generations for member in self._members):
            return tuple(self._ask(lambda hsm: hsm.generations()))
        sets = [set(member.generations) for member in self._members if member.generations]
        newest = max(set.intersection(*sets), default=max(sets[0]))
        return tuple(sorted(generation for generation in set.union(*sets) if generation <= newest))

    def _ask(self, operation: Callable[[Hsm], T], key: HsmKey | None = None) -> T:
        """What the first member answers that can; `key` is the token that the operation opens."""
        if self._closed:
            raise HsmUnavailable("The HSM is closed.")
        end = time.monotonic() + self._deadline
        refusal: HsmError | None = None
        silent = self._members
        for last_resort in (False, True):
            asked, silent = silent, []
            for position, member in enumerate(asked):
                share = (end - time.monotonic()) / (len(asked) - position)
                if share <= 0 or not self._admit(member, last_resort=last_resort):
                    silent.append(member)
                    continue
                try:
                    return self._attempt(member, operation, share)
                except HsmUnavailable:
                    silent.append(member)
                except HsmMisconfigured as error:
                    refusal = refusal or error
                except Damaged as error:
                    if key is None or not self._lacks_generation(member, key):
                        raise
                    refusal = error
            if refusal is not None and not silent:
                raise refusal
        # Even if some member refused: a silent one might have opened what the others cannot, and that is no damage.
        raise HsmUnavailable(f"No HSM can answer: {self._states()}.")

    def _admit(self, member: "_Member", *, last_resort: bool) -> bool:
        """Whether to ask a member; one that is down has to answer a probe, once its pause is over.

        One that is being probed is in doubt, and left alone meanwhile. Before the caller gets no answer at all, the pause
        does not count, unless the member hung.
        """
        if member.is_up and not member.probing.locked():
            return True
        may_ask = member.is_due or (last_resort and not member.hung)
        return may_ask and self._probe(member, patient=last_resort)

    def _attempt(self, member: "_Member", operation: Callable[[Hsm], T], seconds: float) -> T:
        try:
            answer = member.run(operation, max(seconds - self._probe_seconds, seconds / 2))
        except (_Hung, HsmMisconfigured):
            # Slow is not dead (some keys take seconds to make), and one refused mechanism is not a wrong PIN.
            if member.is_up:
                self._probe(member)
            raise
        except HsmUnavailable as error:
            member.failed(error)
            raise
        except (Damaged, ValueError):
            member.answered()
            raise
        member.answered()
        return answer

    def _probe(self, member: "_Member", *, patient: bool = False) -> bool:
        """Whether the member answers the simplest question in a short time; one caller at a time asks it.

        A patient caller waits for that one's answer, the others take it for a no.
        """
        if not member.probing.acquire(timeout=self._probe_seconds if patient else 0):
            return False
        try:
            if not (patient and member.is_up):
                member.run(lambda hsm: hsm.random(1), self._probe_seconds)
        except (HsmUnavailable, HsmMisconfigured) as error:
            member.failed(error)
            return False
        else:
            member.answered()
            return True
        finally:
            member.probing.release()

    def _learn(self, member: "_Member") -> None:
        """Ask a member for its generations; what it had stays known if it does not answer."""
        with contextlib.suppress(HsmUnavailable, HsmMisconfigured):
            member.generations = tuple(
                self._attempt(member, lambda hsm: hsm.generations(), self._probe_seconds)
            )

    def _lacks_generation(self, member: "_Member", key: HsmKey) -> bool:
        generation = key_token.generation_of(key.token)
        self._learn(member)
        return generation not in member.generations

    def _insist(self, member: "_Member", operation: Callable[[Hsm], T]) -> T:
        """What this very member answers, however long it takes."""
        try:
            return member.run(operation, None)
        except HsmUnavailable:
            raise HsmUnavailable(f"{member.name} does not answer: every HSM must work for this.") from None

    def _states(self) -> str:
        return ", ".join(f"{member.name} {member.state}" for member in self._members)


def _receive(generation: int, sealed: bytes, hsm: Hsm) -> None:
    hsm.receive(generation, sealed)


def _open(hsm: Hsm, key: HsmKey) -> bytes:
    """Something that takes nothing but opening the token."""
    return hsm.check_value(key) if key.kind in (KeyKind.AES_256, KeyKind.SM4) else hsm.public_key(key)


class _Member:
    """One HSM, the threads that call it, and what is known of it."""

    def __init__(self, name: str, opener: Callable[[], Hsm], now: Callable[[], float]) -> None:
        self.name = name
        self.hsm: Hsm | None = None
        self.kinds: tuple[str, ...] = ()
        self.protections: Mapping[KeyKind, Protection] = {}
        self.generations: tuple[int, ...] = ()
        self.is_up = True
        """Also before it is first asked."""
        self.hung = False
        self._opener = opener
        self._refusal: HsmMisconfigured | None = None
        self._now = now
        self._since = now()
        self._retry_at = 0.0
        self._failures = 0
        self._error = ""
        self.after_fork()
        _members.add(self)

    def after_fork(self) -> None:
        """Threads and the state of locks do not survive a fork."""
        self._workers = _Workers(self.name)
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self.probing = threading.Lock()

    @property
    def state(self) -> str:
        """For people."""
        if self.is_up:
            return "up" if self.hsm else "not used yet"
        return "misconfigured" if self._refusal else "down"

    @property
    def is_due(self) -> bool:
        """Whether it works, or its pause is over."""
        return self.is_up or self._now() >= self._retry_at

    def health(self) -> MemberHealth:
        with self._lock:
            return MemberHealth(
                self.name, self.state, self._now() - self._since, self._error, self.generations
            )

    def run(self, operation: Callable[[Hsm], T], seconds: float | None) -> T:
        """What the operation answers, from another thread; HsmUnavailable if it takes longer than that."""
        return self._workers.run(lambda: operation(self._opened()), seconds)

    def answered(self) -> None:
        """It works."""
        if self.is_up and not self._failures:
            return
        with self._lock:
            if not self.is_up:
                self._since = self._now()
            self.is_up, self.hung, self._failures = True, False, 0

    def failed(self, error: HsmError) -> None:
        """It does not work, and is left alone for a while: longer each time that it is found so."""
        with self._lock:
            self._error = type(error).__name__.lstrip("_")
            if not self.is_due:
                return  # one of many calls that met the same failure
            if self.is_up:
                self._since = self._now()
            self.is_up, self.hung = False, isinstance(error, _Hung)
            self._retry_at = self._now() + min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
            self._failures = min(self._failures + 1, 16)

    def close(self, seconds: float) -> None:
        if self.hsm is not None:
            with contextlib.suppress(HsmError):
                self.run(lambda hsm: hsm.close(), seconds)
        self._workers.close()

    def _opened(self) -> Hsm:
        if self.hsm is None:
            with self._opening:
                if self._refusal is not None:
                    raise self._refusal  # opening again would try the PIN again, and tokens count that
                if self.hsm is None:
                    try:
                        hsm = self._opener()
                        self.kinds = tuple(hsm.describe()["kinds"].split(","))
                        self.protections = {kind: hsm.protection(kind) for kind in KeyKind}
                    except HsmMisconfigured as error:
                        self._refusal = error
                        raise
                    self.hsm = hsm
        return self.hsm


class _Workers:
    """A bounded number of threads, started when needed: what hangs costs one of them, never the caller.

    The one used last is used first, as each has sessions of its own.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._free = threading.Semaphore(WORKERS)
        self._idle: list[_Inbox] = []
        self._closed = False

    def run(self, work: Callable[[], T], seconds: float | None) -> T:
        end = None if seconds is None else time.monotonic() + seconds
        if not self._free.acquire(timeout=None if seconds is None else max(seconds, 0)):
            raise _Hung("Every thread waits for the HSM.")
        outcome: Future[T] = Future()
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name=f"hsm {self._name}", daemon=True).start()
        inbox.put((work, outcome))
        try:
            return outcome.result(None if end is None else end - time.monotonic())
        except TimeoutError:
            raise _Hung("The HSM does not answer.") from None

    def close(self) -> None:
        """End the idle threads, and the others once they are idle."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _serve(self, inbox: "_Inbox") -> None:
        while (job := inbox.get()) is not None:
            work, outcome = job
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
                outcome.set_exception(error)
            del job, work, outcome  # an idle thread keeps nobody's plaintext
            if self._closed:
                return
            self._idle.append(inbox)
            self._free.release()


_Inbox = queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]

_members: Final = weakref.WeakSet[_Member]()


def _after_fork() -> None:
    for member in _members:
        member.after_fork()


os.register_at_fork(after_in_child=_after_fork)
