"""Encrypted files: they read as plain ones do, appear whole or not at all, and give nothing that was changed."""

import csv
import gc
import io
import json
import os
import resource
import signal
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.encryption import (
    CacheLimits,
    Client,
    Damaged,
    KeysUnavailable,
    Suite,
    Unsigned,
    Weak,
    WrongContext,
)
from keystead.integrations.files import open_encrypted

from ..encryption import reference
from ..encryption.fakes import BACKUP, PRIMARY, STRONG, MemoryKms

KMS = MemoryKms()
CONTEXT = {"report": "2026"}
DATA: dict[str, Any] = {"wb": b"bytes" * 9, "w": "text" * 9}
SOME = [Suite.AES_256_GCM, Suite.SM4_GCM_SIGNED, Suite.SM4_CBC_128_WITH_SIGNATURE]


def client(suite: Suite = Suite.AES_256_GCM, frame_bytes: int = 10, **options: Any) -> Client:
    return Client(KMS, PRIMARY, suite=suite, frame_bytes=frame_bytes, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.kse"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 60)),
        st.tuples(st.just("read1"), st.integers(0, 60)),
        st.tuples(st.just("readinto"), st.integers(0, 60)),
        st.tuples(st.just("readline"), st.integers(-1, 30)),
        st.tuples(st.just("readlines"), st.just(-1)),
        st.tuples(st.just("tell"), st.just(0)),
        st.tuples(st.just("set"), st.integers(0, 90)),
        st.tuples(st.just("end"), st.integers(-20, 20)),
        st.tuples(st.just("current"), st.integers(-20, 20)),
    ),
    max_size=25,
)


def step(file: Any, what: str, number: int) -> Any:
    """What a file answers. How much `read1` gives is the file's own business: it is read on from there."""
    match what:
        case "read" | "readline":
            return getattr(file, what)(number)
        case "read1":
            found = file.read1(number)
            return found + file.read(number - len(found))
        case "readinto":
            buffer = bytearray(number)
            return file.readinto(buffer), buffer
        case "readlines":
            return file.readlines()
        case "tell":
            return file.tell()
    end = file.seek(0, io.SEEK_END)
    whence = ("set", "current", "end").index(what)
    return file.seek(max(number, -end if whence == io.SEEK_END else 0), whence)


@settings(max_examples=150, deadline=None)
@given(
    suite=st.sampled_from(list(Suite)),
    frame_bytes=st.sampled_from([1, 7, 16, 31, 1000]),
    plaintext=st.binary(max_size=80).map(lambda data: data.replace(b"\0", b"\n")),
    steps=STEPS,
    buffer=st.sampled_from([1, 13, 8192]),
)
def test_a_reader_is_a_bytes_io(
    suite: Suite, frame_bytes: int, plaintext: bytes, steps: list[tuple[str, int]], buffer: int
) -> None:
    one = client(suite, frame_bytes, allow_weak=True)
    like = io.BytesIO(plaintext)
    with io.BufferedReader(one.reader(io.BytesIO(one.encrypt(plaintext))), buffer) as file:
        for what, number in steps:
            assert step(file, what, number) == step(like, what, number)


@settings(max_examples=60, deadline=None)
@given(
    suite=st.sampled_from(STRONG),
    frame_bytes=st.sampled_from([1, 7, 1000]),
    pieces=st.lists(st.binary(max_size=30), max_size=6),
)
def test_a_writer_makes_the_message(suite: Suite, frame_bytes: int, pieces: list[bytes]) -> None:
    one = client(suite, frame_bytes)
    sink = io.BytesIO()
    writer = one.writer(sink, CONTEXT)
    for piece in pieces:
        assert writer.write(memoryview(piece)) == len(piece)
    assert writer.tell() == sum(map(len, pieces))
    writer.finish()
    found = one.decrypt(sink.getvalue(), CONTEXT)
    assert found.plaintext == b"".join(pieces)
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="closed"):
        writer.finish()


def test_a_message_that_was_not_finished_is_none() -> None:
    one, sink = client(), io.BytesIO()
    with one.writer(sink) as writer:
        writer.write(bytes(25))
    with pytest.raises(Damaged):
        one.decrypt(sink.getvalue())
    with pytest.raises(Damaged):
        one.reader(sink)


@pytest.mark.parametrize("suite", SOME, ids=lambda suite: suite.name)
@pytest.mark.parametrize("length", [0, 20, 25])
def test_every_changed_byte_is_refused(suite: Suite, length: int) -> None:
    """All that is read is compared: whoever reads it all learns of a change anywhere."""
    one = client(suite, cache=CacheLimits())
    message = one.encrypt(bytes(length), CONTEXT)
    for at in range(len(message)):
        changed = bytearray(message)
        changed[at] ^= 1 << at % 8
        with pytest.raises((Damaged, KeysUnavailable, Weak)):
            one.reader(io.BytesIO(changed), CONTEXT).readall()


@pytest.mark.parametrize("suite", SOME, ids=lambda suite: suite.name)
@pytest.mark.parametrize("length", [0, 20, 25])
def test_a_cut_or_longer_file_is_not_opened(suite: Suite, length: int) -> None:
    one = client(suite, cache=CacheLimits())
    message = one.encrypt(bytes(length), CONTEXT)
    for end in range(len(message)):
        with pytest.raises((Damaged, KeysUnavailable)):
            one.reader(io.BytesIO(message[:end]))
    for more in (1, 15, 20, 24, 29, 30, 34, 64):
        with pytest.raises(Damaged):
            one.reader(io.BytesIO(message + bytes(more)))
        with pytest.raises(Damaged):
            one.reader(io.BytesIO(message + message[-more:]))


def test_a_frame_that_is_not_read_is_not_checked_unless_signed() -> None:
    for suite in (Suite.AES_256_GCM, Suite.AES_256_GCM_SIGNED):
        one = client(suite)
        message = bytearray(one.encrypt(b"0123456789" * 5))
        message[-64 * suite.signed - (30 * 4 + 20) + 5] ^= 1  # in the second of six frames
        if suite.signed:
            with pytest.raises(Damaged):
                one.reader(io.BytesIO(message))
            continue
        reader = one.reader(io.BytesIO(message))
        assert reader.read(10) == b"0123456789"
        for _ in range(2):
            with pytest.raises(Damaged):
                reader.read(10)
            assert reader.tell() == 10
        reader.seek(25)
        assert reader.read(5) == b"56789"


@pytest.mark.parametrize("suite", [Suite.AES_256_GCM, Suite.AES_256_GCM_SIGNED])
def test_who_can_decrypt_cannot_change_a_signed_file_that_is_open(suite: Suite) -> None:
    """With the data key and after the signature was checked, a frame is replaced by one that opens."""
    data_keys = []

    class Telling(MemoryKms):
        def decrypt(self, region: str, key_id: str, ciphertext: str, context: Mapping[str, str]) -> bytes:
            data_keys.append(super().decrypt(region, key_id, ciphertext, context))
            return data_keys[-1]

    one = Client(Telling(), PRIMARY, suite=suite, frame_bytes=10)
    source = io.BytesIO(one.encrypt(b"0123456789" * 3))
    reader = one.reader(source)
    message = source.getvalue()
    _, key = reference.derived(message, data_keys[0])
    source.seek(len(message) - 64 * suite.signed - 20 - 3 * 30)
    source.write(reference.seal(suite, key, 0, b"forged one", last=False))
    if suite.signed:
        with pytest.raises(Damaged):
            reader.read(10)
    else:
        assert reader.read(10) == b"forged one"


def test_a_file_that_is_cut_while_it_is_open(path: Path) -> None:
    with open_encrypted(path, "wb", client()) as file:
        file.write(bytes(100))
    with open_encrypted(path, "rb", client()) as opened:
        os.truncate(path, path.stat().st_size - 100)
        with pytest.raises(Damaged):
            opened.read()


def test_context_and_options_of_the_client_are_kept_to(path: Path) -> None:
    with open_encrypted(path, "w", client(), CONTEXT) as file:
        file.write("text")
    with open_encrypted(path, "rb", client()) as opened:
        assert opened.raw.context == CONTEXT
    with pytest.raises(WrongContext):
        open_encrypted(path, "r", client(), {"report": "2025"})
    with pytest.raises(Unsigned):
        open_encrypted(path, "r", client(signed_only=True))
    with pytest.raises(ValueError, match="opened with"):
        open_encrypted(path, "a", client())  # type: ignore[call-overload]


def test_it_is_the_format_of_encrypt_file(path: Path, tmp_path: Path) -> None:
    with open_encrypted(path, "wb", client(), CONTEXT) as file:
        file.write(b"by open_encrypted")
    client().decrypt_file(path, tmp_path / "plain", CONTEXT)
    client().encrypt_file(tmp_path / "plain", path)
    with open_encrypted(path, "rb", client()) as opened:
        assert opened.read() == b"by open_encrypted"


def test_csv_json_and_text(path: Path) -> None:
    with open_encrypted(path, "w", client(), newline="") as file:
        csv.writer(file).writerows([["name", "Ort"], ["Zoë", "Zürich\r\n8000"]])
    with open_encrypted(path, "r", client(), newline="") as file:
        assert list(csv.reader(file)) == [["name", "Ort"], ["Zoë", "Zürich\r\n8000"]]
    with open_encrypted(path, "w", client(), encoding="gb18030") as file:
        json.dump({"合同": [1, 2]}, file, ensure_ascii=False)
    with open_encrypted(path, "r", client(), encoding="gb18030") as file:
        assert json.load(file) == {"合同": [1, 2]}
    with open_encrypted(path, "r", client()) as file, pytest.raises(UnicodeDecodeError):
        file.read()


def test_archives(path: Path, tmp_path: Path) -> None:
    members = {"one": b"1" * 5000, "two": b"22", "folder/three": bytes(range(256)) * 20}
    one = client(Suite.SM4_GCM_SIGNED, 1000)
    with open_encrypted(path, "wb", one) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with open_encrypted(path, "rb", one) as opened, tarfile.open(fileobj=opened) as archive:
        archive.extractall(tmp_path / "tar", filter="data")
    with open_encrypted(path, "wb", one) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    with open_encrypted(path, "rb", one) as opened, zipfile.ZipFile(opened) as packed:
        assert packed.read("two") == b"22"
        packed.extractall(tmp_path / "zip")  # noqa: S202 - it was packed here
    for folder in ("tar", "zip"):
        assert {name: (tmp_path / folder / name).read_bytes() for name in members} == members


def test_a_file_appears_when_it_is_closed(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o644)
    file = open_encrypted(path, "wb", client())
    file.write(b"a secret that is long enough to be seen" * 100)
    assert path.read_bytes() == b"old"
    (waiting,) = set(path.parent.iterdir()) - {path}
    assert waiting.stat().st_mode & 0o777 == 0o600
    assert len(waiting.read_bytes()) > 3900
    assert b"secret" not in waiting.read_bytes()
    assert not file.seekable()
    with pytest.raises(io.UnsupportedOperation):
        file.seek(0)
    file.close()
    file.close()
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_errors_in_the_block_leave_what_was_there(path: Path, mode: Literal["wb", "w"]) -> None:
    path.write_bytes(b"old")
    for error in (LookupError, KeyboardInterrupt):
        with pytest.raises(error), open_encrypted(path, mode, client()) as file:  # noqa: PT012 - it is the block
            file.write(DATA[mode])
            raise error
        assert file.closed
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_file_that_is_forgotten_is_discarded(path: Path, mode: Literal["wb", "w"]) -> None:
    file = open_encrypted(path, mode, client())
    file.write(DATA[mode])
    del file
    gc.collect()
    assert list(path.parent.iterdir()) == []


def test_a_sink_that_fails_once_gets_no_more(path: Path) -> None:
    """The error may be swallowed, as by a logging handler: the file that lacks something must not appear."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    file = open_encrypted(path, "wb", client(frame_bytes=1 << 16))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, limit[1]))
    try:
        with pytest.raises(OSError, match="large"):
            file.write(bytes(1 << 18))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, kept)
    with pytest.raises(ValueError, match="closed"):
        file.write(b"and more")
    with pytest.raises(ValueError, match="closed"):
        file.close()
    assert list(path.parent.iterdir()) == []


def test_what_cannot_begin_leaves_nothing(path: Path) -> None:
    kms = MemoryKms()
    kms.down = {PRIMARY.region}
    with pytest.raises(KeysUnavailable):
        open_encrypted(path, "wb", Client(kms, PRIMARY))
    with pytest.raises(LookupError):
        open_encrypted(path, "w", client(), encoding="no such one")
    assert list(path.parent.iterdir()) == []
    path.write_bytes(client().encrypt(b"text"))
    with pytest.raises(LookupError):
        open_encrypted(path, "r", client(), encoding="no such one")
    with pytest.raises(FileNotFoundError):
        open_encrypted(path.parent / "none", "rb", client())
    path.write_bytes(b"")
    with pytest.raises(Damaged):
        open_encrypted(path, "rb", client())


def test_nothing_is_written_to_what_was_discarded(path: Path) -> None:
    file = open_encrypted(path, "wb", client())
    file.discard()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"1")


def test_the_folder_may_change_before_it_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = path.parent / "other"
    other.mkdir()
    monkeypatch.chdir(path.parent)
    with open_encrypted(path.name, "wb", client()) as file:
        file.write(b"text")
        monkeypatch.chdir(other)
    assert sorted(path.parent.rglob("*")) == [path, other]


@pytest.mark.parametrize("written", ["new", "file.kse"])
def test_healing_does_not_write_over_what_came_meanwhile(path: Path, written: str) -> None:
    class Slow(MemoryKms):
        """Somebody writes the file while it answers."""

        def encrypt(self, region: str, key_id: str, plaintext: bytes, context: Mapping[str, str]) -> str:
            new = path.with_name(written)
            new.write_bytes(b"newer")
            new.replace(path)
            return super().encrypt(region, key_id, plaintext, context)

    kms = Slow()
    path.write_bytes(Client(kms, PRIMARY).encrypt(b"older"))
    with pytest.raises(OSError, match="meanwhile"):
        Client(kms, PRIMARY, [BACKUP]).heal_file(path)
    assert path.read_bytes() == b"newer"
    assert list(path.parent.iterdir()) == [path]


def test_a_healed_file_is_read(path: Path) -> None:
    kms = MemoryKms()
    kms.down = {BACKUP.region}
    one = Client(kms, PRIMARY, [BACKUP], frame_bytes=10)
    with open_encrypted(path, "w", one) as file:
        file.write("0123456789" * 5)
    kms.down = set()
    assert one.heal_file(path) == 1
    kms.down = {PRIMARY.region}
    with open_encrypted(path, "r", one) as file:
        file.seek(27)
        assert file.read(3) == "789"


def test_memory_is_bounded_and_frames_are_read_alone(path: Path) -> None:
    one = Client(KMS, PRIMARY)
    size = 32 << 20
    tracemalloc.start()
    try:
        with open_encrypted(path, "wb", one) as file:
            for _ in range(size >> 16):
                file.write(bytes(1 << 16))
        with open_encrypted(path, "rb", one) as opened:
            while opened.read(1 << 16):
                pass
            assert opened.tell() == size
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    with path.open("rb") as read, one.reader(Counting(read)) as reader:
        before = Counting.total
        reader.seek(size // 2)
        assert reader.read(10) == bytes(10)
        assert Counting.total - before < 200_000


class Counting:
    """How much is read of a file."""

    total = 0

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.close, self._read = file.seek, file.close, file.read

    def read(self, size: int) -> bytes:
        Counting.total += size
        return self._read(size)
