"""Data keys serve within their limits, are asked for once, and are overwritten."""

import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keystead.encryption import CacheLimits, Client, Suite
from keystead.encryption.cache import DataKeyCache, Material, Opened
from keystead.encryption.suites import MessageKeys, wipe

from .fakes import BACKUP, PRIMARY, MemoryKms, SteppedClock
from .memory import hmac_state, in_memory


def made(calls: list[int] | None = None) -> Material:
    if calls is not None:
        calls.append(1)
    return Material(MessageKeys(Suite.AES_256_GCM, bytes(32)), b"", b"")


def keys_made(limits: CacheLimits, lengths: list[int], pause: float = 0.0) -> int:
    """How many data keys messages of these lengths take."""
    clock, calls = SteppedClock(), list[int]()
    cache = DataKeyCache(limits, clock)
    for length in lengths:
        cache.material(b"", length, lambda: made(calls))
        clock.now += pause
    return len(calls)


def test_limits() -> None:
    assert keys_made(CacheLimits(messages=4), [1] * 12) == 3
    assert keys_made(CacheLimits(messages=1), [1] * 3) == 3
    assert keys_made(CacheLimits(plaintext_bytes=100), [50] * 6) == 3
    assert keys_made(CacheLimits(plaintext_bytes=100), [50, 51, 49]) == 2, "the new key takes the place"
    assert keys_made(CacheLimits(plaintext_bytes=100), [101, 101, 1, 1]) == 3, "too long for any shared key"
    assert keys_made(CacheLimits(encrypt_seconds=10), [1] * 9, pause=5) == 5
    assert keys_made(CacheLimits(plaintext_bytes=100), [0] * 1000) == 1


def test_what_decrypts_ages_as_well() -> None:
    clock = SteppedClock()
    cache = DataKeyCache(CacheLimits(decrypt_seconds=10, keys=2), clock)
    asked: list[tuple[int, bytes]] = []

    def use(suite: int, edks: bytes, takes: float = 0.0) -> Opened:
        def make() -> Opened:
            asked.append((suite, edks))
            clock.now += takes
            return Opened(made().keys, b"", {})

        return cache.opened(suite, b"", edks, make)

    one = use(1, b"one")
    assert use(1, b"one") is one
    use(1, b"two")
    use(1, b"three")
    use(1, b"one")
    assert asked == [(1, b"one"), (1, b"two"), (1, b"three"), (1, b"one")], "the least recently used one went"
    use(2, b"one")
    assert asked[4:] == [(2, b"one")]
    clock.now += 10
    use(2, b"one", takes=6)
    clock.now += 4
    use(2, b"one")
    assert asked[5:] == [(2, b"one")] * 2, "the age counts from the question"


def test_contexts_have_their_own_data_keys() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, [BACKUP], cache=CacheLimits())
    for _ in range(3):
        for context in ({}, {"a": "b"}, {"a": "c"}):
            assert one.decrypt(one.encrypt(b"text", context)).context == context
    assert kms.calls["generate", PRIMARY.region] == 3
    assert kms.calls["encrypt", BACKUP.region] == 3
    assert kms.calls["decrypt", PRIMARY.region] == 3
    one.forget()
    one.decrypt(one.encrypt(b"text"))
    assert kms.calls["generate", PRIMARY.region] == 4
    assert kms.calls["decrypt", PRIMARY.region] == 4


def test_without_a_cache_each_message_has_its_own() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY)
    for _ in range(3):
        one.decrypt(one.encrypt(b"text"))
    assert kms.calls["generate", PRIMARY.region] == kms.calls["decrypt", PRIMARY.region] == 3


def test_what_is_not_authentic_is_not_kept() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, cache=CacheLimits())
    message = bytearray(one.encrypt(b"text"))
    message[10] ^= 1
    for _ in range(2):
        with pytest.raises(Exception, match="damaged"):
            one.decrypt(bytes(message))
    assert kms.calls["decrypt", PRIMARY.region] == 2


def test_one_thread_asks_for_all() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, cache=CacheLimits())
    together = threading.Barrier(16)

    def use(number: int) -> bytes:
        together.wait(10)
        return one.encrypt(b"%d" % number)

    with ThreadPoolExecutor(16) as threads:
        messages = list(threads.map(use, range(16)))
    assert kms.calls["generate", PRIMARY.region] == 1
    assert [one.decrypt(m).plaintext for m in messages] == [b"%d" % n for n in range(16)]


def test_nobody_queues_for_failures() -> None:
    """Eight threads wait for a KMS that hangs and fails: for two calls at most, and not for one after another."""
    cache = DataKeyCache(CacheLimits())
    asked, fail = threading.Semaphore(0), threading.Event()

    def hangs() -> Material:
        asked.release()
        assert fail.wait(10)
        raise ConnectionError

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(cache.material, b"", 1, hangs)
        assert asked.acquire(timeout=10)
        others = [threads.submit(cache.material, b"", 1, hangs) for _ in range(7)]
        assert not asked.acquire(timeout=0.1), "the others wait for the first"
        fail.set()
        for each in (first, *others):
            assert isinstance(each.exception(10), ConnectionError)
        fail.clear()
        together = [threads.submit(cache.material, bytes([n]), 1, hangs) for n in range(8)]
        for _ in range(7 + 8):
            assert asked.acquire(timeout=10), "other contexts do not wait"
        fail.set()
        assert all(each.exception(10) for each in together)
    assert cache._going == {}


def test_what_was_asked_for_before_forgetting_is_not_kept() -> None:
    cache = DataKeyCache(CacheLimits())
    calls: list[int] = []

    def make() -> Material:
        cache.clear()
        return made(calls)

    def make_opened() -> Opened:
        cache.clear()
        return Opened(made(calls).keys, b"", {})

    for use in (lambda: cache.material(b"", 1, make), lambda: cache.opened(1, b"", b"", make_opened)):
        calls.clear()
        assert use() is not use()
        assert len(calls) == 2
    cache.material(b"", 1, lambda: made(calls))
    cache.material(b"", 1, lambda: made(calls))
    assert len(calls) == 3


def test_a_context_that_changes_meanwhile_is_the_one_that_was_given() -> None:
    """Else messages of one context would get the data key of another, for as long as it is in the cache."""

    class Changing(Mapping[str, str]):
        read = 0

        def __getitem__(self, name: str) -> str:
            if name != "table":
                raise KeyError
            self.read += 1
            return "customers" if self.read == 1 else "orders"

        def __iter__(self) -> Iterator[str]:
            return iter(["table"])

        def __len__(self) -> int:
            return 1

    one = Client(MemoryKms(), PRIMARY, cache=CacheLimits())
    for context in (Changing(), {"table": "customers"}):
        assert one.decrypt(one.encrypt(b"text", context)).context == {"table": "customers"}


def test_a_fork_in_the_middle_of_a_call() -> None:
    """The child has the lock and the turn of a thread that it does not have."""
    cache = DataKeyCache(CacheLimits())
    with cache._turn(b""), cache._lock:
        child = os.fork()
        if child == 0:  # no exit handlers of the test run
            signal.alarm(10)
            cache.material(b"", 1, made)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_that_fail_do_not_block_the_next() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, cache=CacheLimits())
    kms.down = {PRIMARY.region}
    with ThreadPoolExecutor(8) as threads:
        for attempt in [threads.submit(one.encrypt, b"text") for _ in range(8)]:
            assert attempt.exception(10) is not None
    kms.down = set()
    assert one.decrypt(one.encrypt(b"text")).plaintext == b"text"
    assert one._cache is not None
    assert one._cache._going == {}


def test_keys_change_under_load() -> None:
    """Keys are dropped all the time while others use them: no message is made with one that is gone."""
    kms = MemoryKms()
    one = Client(kms, PRIMARY, suite=Suite.SM4_GCM, cache=CacheLimits(messages=2, keys=1))
    plain = Client(kms, PRIMARY)

    def use(number: int) -> None:
        context = {"n": str(number % 3)}
        assert plain.decrypt(one.encrypt(b"text", context), context).plaintext == b"text"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(300)))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="reads its own memory")
def test_secrets_are_overwritten_with_their_last_user() -> None:
    data_key = secrets.token_bytes(32)
    keys = MessageKeys(Suite.AES_256_GCM, data_key)
    state = hmac_state(data_key)
    assert in_memory(state) > 0
    user = keys
    del keys
    assert in_memory(state) > 0, "somebody still derives from it"
    user.derive(b"core")
    del user
    assert in_memory(state) == 0


def test_buffers_are_overwritten() -> None:
    buffer = bytearray(b"secret")
    wipe(buffer)
    assert buffer == bytes(6)


@pytest.mark.parametrize(
    "limits",
    [
        {"encrypt_seconds": 0},
        {"decrypt_seconds": 0},
        {"messages": 0},
        {"messages": (1 << 32) + 1},
        {"plaintext_bytes": 0},
        {"keys": 0},
    ],
)
def test_limits_that_allow_nothing(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        CacheLimits(**limits)
