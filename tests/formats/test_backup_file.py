"""KS-FMT-40, the backup file: what this release writes, and what a second implementation does."""

import contextlib
import functools
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from Cryptodome.Cipher import AES
from Cryptodome.Hash import CMAC

from chalicelib import backup, bootstrap, wiring
from chalicelib.formats.backup_file import FRAME_BYTES, Reader, Writer
from chalicelib.hsm.port import Damaged
from chalicelib.settings import Settings
from tests.vectors.make import Book

PASSPHRASE = b"correct horse battery staple"
HEADER = b"KSBK\x01" + bytes(range(16))
VECTOR = bytes.fromhex(
    "4b53424b01000102030405060708090a0b0c0d0e0f"
    "0000002e0105103abc82749c5af8c01514227cab8370c0066fcc904095f40664d7cc3829afcb6476b3cba608f168b1e8d01e"
    "0000002d01bde404d013d6bcd76a01fe53959a96dffbeeac5b04c5d399a705cc6637d9f79a86ce36384269e15443f0c1ad"
)
"""Two frames, `first` and `last`, under PASSPHRASE: this file opens for ever."""


@functools.cache
def key(header: bytes) -> bytes:
    return hashlib.scrypt(PASSPHRASE, salt=header[5:21], n=2**17, r=8, p=1, maxmem=2**28, dklen=32)


def place(header: bytes, number: int, *, is_last: bool) -> bytes:
    return Book.associated_data("backup", header[:21], number, int(is_last))


def frames(plaintexts: Sequence[bytes], marked: int = -1) -> list[bytes]:
    """By the tables of docs/formats.md and other libraries; the last one is marked unless another one is."""
    book, last = Book("backup file"), range(len(plaintexts))[marked]
    messages = [
        book.message("AES_256", key(HEADER), plaintext, place(HEADER, number, is_last=number == last))
        for number, plaintext in enumerate(plaintexts)
    ]
    return [len(message).to_bytes(4, "big") + message for message in messages]


def split(file: bytes) -> Iterator[bytes]:
    """The messages in a file."""
    at = 21
    while at < len(file):
        size = int.from_bytes(file[at : at + 4], "big")
        yield file[at + 4 : at + 4 + size]
        at += 4 + size
    assert at == len(file)


def opened(secret: bytes, message: bytes, ad: bytes) -> bytes:
    """KS-FMT-4 with PyCryptodome; ValueError where it does not open."""
    nonce = message[1:25]
    blocks = [bytes([0, counter]) + b"X\0" + nonce[:12] for counter in (1, 2)]
    derived = b"".join([CMAC.new(secret, block, ciphermod=AES).digest() for block in blocks])
    return (
        AES.new(derived, AES.MODE_GCM, nonce[12:])
        .update(ad)
        .decrypt_and_verify(message[25:-16], message[-16:])
    )


def read(file: bytes, passphrase: bytes = PASSPHRASE) -> bytes:
    with io.BufferedReader(Reader(io.BytesIO(file), passphrase)) as reader:
        return reader.read()


def written(*pieces: bytes) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, PASSPHRASE)
    for piece in pieces:
        writer.write(piece)
    writer.finish()
    return file.getvalue()


def test_an_old_file_opens() -> None:
    """KS-FMT-40.1"""
    assert HEADER + b"".join(frames([b"first", b"last"])) == VECTOR
    assert read(VECTOR) == b"firstlast"


@pytest.mark.parametrize("size", [0, FRAME_BYTES, FRAME_BYTES + 1])
def test_the_frames_are_as_the_document_has_them(size: int) -> None:
    """KS-FMT-40.1: all frames but the last one are full, and there is always one."""
    plaintext = bytes(n % 251 for n in range(1 << 10)) * (size // (1 << 10)) + b"x" * (size % (1 << 10))
    file = written(plaintext[: size // 3], plaintext[size // 3 :])
    assert file[:5] == b"KSBK\x01"
    messages = list(split(file))
    assert [len(message) - 41 for message in messages] == [
        *[FRAME_BYTES] * (max(size - 1, 0) // FRAME_BYTES),
        size - max(size - 1, 0) // FRAME_BYTES * FRAME_BYTES,
    ]
    secret = key(file[:21])
    parts = [
        opened(secret, message, place(file, number, is_last=number == len(messages) - 1))
        for number, message in enumerate(messages)
    ]
    assert b"".join(parts) == plaintext


def test_two_files_of_the_same_content_have_nothing_in_common() -> None:
    """KS-FMT-40.2: a salt and nonces of their own."""
    one, other = written(b"x" * 64), written(b"x" * 64)
    assert one[5:21] != other[5:21]
    assert not {one[n : n + 8] for n in range(21 + 5, len(one) - 8)} & {
        other[n : n + 8] for n in range(21 + 5, len(other) - 8)
    }


def damaged() -> dict[str, bytes]:
    one, two, three = frames([b"1", b"2", b"3"])
    mixed = bytearray(HEADER + one + two + three)
    mixed[-20] ^= 1
    return {
        "left out": HEADER + one + three,
        "first left out": HEADER + two + three,
        "last left out": HEADER + one + two,
        "moved": HEADER + two + one + three,
        "repeated": HEADER + one + two + two + three,
        "added": HEADER + one + two + three + three,
        "marked too early": HEADER + b"".join(frames([b"1", b"2", b"3"], marked=1)),
        "changed": bytes(mixed),
        "cut off": (HEADER + one + two + three)[:-1],
        "cut off in a length": HEADER + one + two + three[:3],
        "another salt": HEADER[:-1] + b"\x10" + one + two + three,
        "another version": HEADER[:4] + b"\x02" + HEADER[5:] + one + two + three,
        "no frame": HEADER,
        "too long a frame": HEADER + (FRAME_BYTES + 42).to_bytes(4, "big") + bytes(FRAME_BYTES + 42),
        "too short a frame": HEADER + (40).to_bytes(4, "big") + bytes(40),
    }


def test_whatever_is_wrong_is_damage(subtests: pytest.Subtests) -> None:
    """KS-FMT-40.3"""
    for what, file in damaged().items():
        with subtests.test(what), pytest.raises(Damaged):
            read(file)


def test_nothing_of_a_frame_comes_out_before_it_is_whole() -> None:
    """KS-FMT-40.3"""
    one, two, three = frames([b"1", b"2", b"3"])
    reader = Reader(io.BytesIO(HEADER + one + two + three[:-1] + b"x"), PASSPHRASE)
    assert (reader.read(1), reader.read(1)) == (b"1", b"2")
    with pytest.raises(Damaged):
        reader.read(1)


def test_another_passphrase_is_damage() -> None:
    """KS-FMT-40.2"""
    with pytest.raises(Damaged):
        read(VECTOR, PASSPHRASE + b" ")


def archive(entries: dict[str, bytes]) -> bytes:
    """A backup file with these entries."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return written(packed.getvalue())


def test_the_archive_is_as_the_document_has_it(tmp_path: Path) -> None:
    """KS-FMT-40.4"""
    settings = Settings(home=tmp_path / "home", regions={"ap-guangzhou": "sm"})
    with contextlib.closing(wiring.build(settings)) as service:
        bootstrap.ensure(service)
        service.table("ap-guangzhou").get("p", "s")
    backup.create(settings, tmp_path / "backup", PASSPHRASE.decode())
    with tarfile.open(fileobj=io.BytesIO(read((tmp_path / "backup").read_bytes()))) as tar:
        contents = {entry.name: tar.extractfile(entry) for entry in tar.getmembers() if entry.isreg()}
        read_contents = {name: file.read() for name, file in contents.items() if file is not None}
        assert len(tar.getnames()) == len(read_contents)
    *keys, first, second, last = read_contents
    assert keys[:2] == ["credentials", "seal.key"]
    assert set(keys[2:]) == {f"hsm/{file.name}" for file in (settings.home / "hsm").glob("*.keys")}
    assert (first, second, last) == ("identity.sqlite", "ap-guangzhou.sqlite", "manifest.json")
    manifest = json.loads(read_contents.pop("manifest.json"))
    assert manifest["version"] == 1
    assert {name: (part["bytes"], part["sha256"]) for name, part in manifest["parts"].items()} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in read_contents.items()
    }
    assert {name for name, part in manifest["parts"].items() if "rows" in part} == {first, second}


@pytest.mark.parametrize("name", ["../credentials", "hsm/../x.keys", "more", "/etc/passwd", "hsm/a.keys/b"])
def test_an_entry_that_no_backup_has_is_refused(tmp_path: Path, name: str) -> None:
    """KS-FMT-40.4: whoever has the passphrase only must not write elsewhere than into the home directory."""
    (tmp_path / "backup").write_bytes(archive({name: b"x", "manifest.json": b"{}"}))
    with pytest.raises(backup.BackupError, match="what no backup has"):
        backup.unpack(tmp_path / "backup", PASSPHRASE.decode(), tmp_path / "home")
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_a_list_that_is_not_that_of_the_parts_is_refused(tmp_path: Path) -> None:
    """KS-FMT-40.4"""
    for manifest in ({"version": 1, "parts": {}}, {"version": 2, "parts": {}}):
        (tmp_path / "backup").write_bytes(
            archive({"credentials": b"x", "manifest.json": json.dumps(manifest).encode()})
        )
        home = tmp_path / str(manifest["version"])
        with pytest.raises(backup.BackupError, match="not those of its list"):
            backup.unpack(tmp_path / "backup", PASSPHRASE.decode(), home)
