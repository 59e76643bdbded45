"""Streams and files: bounded memory, nothing released early, targets that appear whole or not at all."""

import asyncio
import io
import os
import secrets
import tracemalloc
from pathlib import Path

import pytest

from keystead.encryption import AsyncClient, CacheLimits, Client, Damaged, Suite

from .fakes import BACKUP, PRIMARY, STRONG, MemoryKms


class Endless:
    """So many zeros, some at a time, as a socket gives them."""

    def __init__(self, size: int, at_once: int = 5000) -> None:
        self.left = size
        self._at_once = at_once

    def read(self, size: int, /) -> bytes:
        piece = bytes(min(self.left, size, self._at_once))
        self.left -= len(piece)
        return piece


class Counting(io.RawIOBase):
    """A raw sink: it takes a part of what it is given."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.taken += data[:7]
        return min(7, len(data))


@pytest.mark.parametrize("suite", [Suite.AES_256_GCM, Suite.SM4_GCM_SIGNED])
def test_memory_is_bounded(suite: Suite, tmp_path: Path) -> None:
    one = Client(MemoryKms(), PRIMARY, suite=suite)
    size = 32 << 20
    tracemalloc.start()
    try:
        with (tmp_path / "message").open("wb") as sink:
            one.encrypt_stream(Endless(size, 1 << 15), sink)
        with (tmp_path / "message").open("rb") as source, (tmp_path / "plain").open("wb") as sink:
            one.decrypt_stream(source, sink)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "plain").stat().st_size == size


def test_sources_and_sinks_that_take_their_time() -> None:
    one = Client(MemoryKms(), PRIMARY, frame_bytes=100)
    sink = Counting()
    assert one.encrypt_stream(Endless(1234, 3), sink) == len(sink.taken)
    assert one.decrypt(bytes(sink.taken)).plaintext == bytes(1234)
    opened = Counting()
    one.decrypt_stream(io.BytesIO(sink.taken), opened)
    assert opened.taken == bytes(1234)


def test_a_source_that_has_nothing_yet_is_not_at_its_end() -> None:
    """A file that does not block, as sockets and pipes can be: what came so far would pass for everything."""
    one = Client(MemoryKms(), PRIMARY, frame_bytes=100)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        os.write(writing, bytes(150))
        sink = io.BytesIO()
        for buffering in (0, -1):
            source = open(reading, "rb", buffering, closefd=False)  # noqa: SIM115 - a descriptor
            with pytest.raises(BlockingIOError):
                one.encrypt_stream(source, sink)
            with pytest.raises(BlockingIOError):
                one.decrypt_stream(source, sink)
        with pytest.raises(Damaged):
            one.decrypt(sink.getvalue())
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_sink_that_takes_nothing_is_no_sink() -> None:
    one = Client(MemoryKms(), PRIMARY)
    message = one.encrypt(bytes(1 << 20))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        with open(writing, "wb", 0, closefd=False) as sink:
            with pytest.raises(BlockingIOError):
                one.encrypt_stream(Endless(1 << 20), sink)
            with pytest.raises(BlockingIOError):
                one.decrypt_stream(io.BytesIO(message), sink)
    finally:
        os.close(reading)
        os.close(writing)


def test_sinks_may_keep_what_they_are_given() -> None:
    """What is no file of Python's may keep the pieces: they are its own then."""
    one = Client(MemoryKms(), PRIMARY, frame_bytes=100)
    plaintext = secrets.token_bytes(1234)
    pieces: list[bytes] = []

    class Keeping:
        def write(self, data: bytes, /) -> None:
            pieces.append(data)

    one.encrypt_stream(io.BytesIO(plaintext), Keeping())
    assert all(type(piece) is bytes for piece in pieces)
    assert one.decrypt(b"".join(pieces)).plaintext == plaintext
    message = io.BytesIO(b"".join(pieces))
    pieces.clear()
    one.decrypt_stream(message, Keeping())
    assert b"".join(pieces) == plaintext


def test_a_frame_is_released_when_it_is_authentic() -> None:
    """And not before: of three frames with a bad second one, the first alone leaves."""
    one = Client(MemoryKms(), PRIMARY, frame_bytes=16)
    message = bytearray(one.encrypt(b"0123456789abcdef" * 3))
    for from_end, released in ((20, 16), (20 + 36, 0), (20 + 72, 0)):
        changed = bytearray(message)
        changed[-from_end - 1] ^= 1
        sink = io.BytesIO()
        with pytest.raises(Damaged):
            one.decrypt_stream(io.BytesIO(changed), sink)
        assert len(sink.getvalue()) == released


def test_a_stream_with_a_length_shares_a_data_key() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, cache=CacheLimits())
    for length in (10, 10, None, 12):
        sink = io.BytesIO()
        one.encrypt_stream(Endless(10), sink, length=length)
        assert one.decrypt(sink.getvalue()).plaintext == bytes(10)
    assert kms.calls["generate", PRIMARY.region] == 2
    sink = io.BytesIO()
    with pytest.raises(ValueError, match="length"):
        one.encrypt_stream(Endless(10), sink, length=9)
    with pytest.raises(Damaged):
        one.decrypt(sink.getvalue())


@pytest.mark.parametrize("suite", STRONG, ids=lambda suite: suite.name)
def test_files(suite: Suite, tmp_path: Path) -> None:
    one = Client(MemoryKms(), PRIMARY, [BACKUP], suite=suite, cache=CacheLimits())
    plaintext = secrets.token_bytes(200_000)
    plain, message, back = (tmp_path / name for name in ("plain", "message", "back"))
    plain.write_bytes(plaintext)
    one.encrypt_file(plain, str(message), {"a": "b"})
    assert one.decrypt_file(message, back, {"a": "b"}) == {"a": "b"}
    assert back.read_bytes() == plaintext
    assert back.stat().st_mode & 0o777 == 0o600
    one.encrypt_file(plain, plain)
    assert one.decrypt(plain.read_bytes()).plaintext == plaintext
    one.decrypt_file(plain, plain)
    assert plain.read_bytes() == plaintext
    assert {path.name for path in tmp_path.iterdir()} == {"plain", "message", "back"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="has no /proc")
def test_files_that_do_not_say_their_length(tmp_path: Path) -> None:
    one = Client(MemoryKms(), PRIMARY, cache=CacheLimits())
    one.encrypt_file("/proc/self/status", tmp_path / "message")
    assert one.decrypt((tmp_path / "message").read_bytes()).plaintext.startswith(b"Name:")


def test_a_bad_file_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    one = Client(MemoryKms(), PRIMARY, frame_bytes=10)
    target, message = tmp_path / "target", tmp_path / "message"
    target.write_bytes(b"old")
    message.write_bytes(one.encrypt(bytes(100))[:-1])
    with pytest.raises(Damaged):
        one.decrypt_file(message, target)
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_asyncio(tmp_path: Path) -> None:
    kms = MemoryKms()
    one = AsyncClient(Client(kms, PRIMARY, [BACKUP], cache=CacheLimits()))
    path = tmp_path / "file"
    path.write_bytes(b"of the file")

    async def work() -> None:
        messages = await asyncio.gather(*(one.encrypt(b"%d" % n, {"n": "x"}) for n in range(20)))
        found = await asyncio.gather(*(one.decrypt(m, {"n": "x"}) for m in messages))
        assert [each.plaintext for each in found] == [b"%d" % n for n in range(20)]
        sink, back = io.BytesIO(), io.BytesIO()
        await one.encrypt_stream(io.BytesIO(b"stream"), sink)
        await one.decrypt_stream(io.BytesIO(sink.getvalue()), back)
        assert back.getvalue() == b"stream"
        kms.down = {BACKUP.region}
        await one.encrypt_file(path, path, {"file": "1"})
        kms.down = set()
        assert await one.heal_file(path) == 1
        assert await one.heal(path.read_bytes()) == path.read_bytes()
        assert await one.decrypt_file(path, path) == {"file": "1"}
        assert path.read_bytes() == b"of the file"

    asyncio.run(work())
    assert kms.calls["generate", PRIMARY.region] == 3
