"""Data keys serve within their limits, are asked for once, and are overwritten."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keystead.encryption import CacheLimits, Client, Suite
from keystead.encryption.cache import DataKeyCache, Material
from keystead.encryption.suites import MessageKeys, wipe

from .fakes import BACKUP, PRIMARY, MemoryKms, SteppedClock


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
    opened = [object() for _ in range(3)]
    for number in range(3):
        cache.keep_opened(1, b"", bytes([number]), opened[number])  # type: ignore[arg-type]
    assert cache.opened(1, b"", b"\0") is None, "the least recently used one went"
    assert cache.opened(1, b"", b"\2") is opened[2]
    assert cache.opened(2, b"", b"\2") is None
    clock.now += 10
    assert cache.opened(1, b"", b"\2") is None


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
    assert one._cache._makers == {}


def test_keys_change_under_load() -> None:
    """Keys are dropped all the time while others use them: no message is made with an overwritten key."""
    kms = MemoryKms()
    one = Client(kms, PRIMARY, suite=Suite.SM4_GCM, cache=CacheLimits(messages=2, keys=1))
    plain = Client(kms, PRIMARY)

    def use(number: int) -> None:
        context = {"n": str(number % 3)}
        assert plain.decrypt(one.encrypt(b"text", context), context).plaintext == b"text"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(300)))


def test_secrets_are_overwritten_with_their_last_user() -> None:
    keys = MessageKeys(Suite.AES_256_GCM, bytes(32))
    secret = keys._secret
    assert any(secret)
    user = keys
    del keys
    assert any(secret), "somebody still derives from it"
    del user
    assert not any(secret)
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
