"""`keystead encrypt` and `keystead decrypt` against a whole Keystead."""

import os
import secrets
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from keystead.cli.exits import Exit
from keystead.encryption import ApiKms, Client, MasterKey, Suite

from ..client.servers import KeysteadServer
from .terminal import CommandLine

TEXT = b"4000 1234 5678 9010"


@pytest.fixture
def key_id(line: CommandLine) -> str:
    made: str = line("key", "create", "orders").json()["KeyId"]
    line.environment["KEYSTEAD_KEY"] = made
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    (path / "a.txt").write_bytes(TEXT)
    return path


def names(place: Path) -> list[str]:
    return sorted(p.name for p in place.iterdir())


@pytest.mark.usefixtures("key_id")
def test_a_file_is_encrypted_beside_itself_and_decrypted_again(line: CommandLine, place: Path) -> None:
    assert line("encrypt", str(place / "a.txt")).code == 0
    sealed = place / "a.txt.kse"
    assert TEXT not in sealed.read_bytes()
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    (place / "a.txt").unlink()
    assert line("decrypt", str(sealed)).code == 0
    assert (place / "a.txt").read_bytes() == TEXT
    assert stat.S_IMODE((place / "a.txt").stat().st_mode) == 0o600
    assert names(place) == ["a.txt", "a.txt.kse"]


@pytest.mark.usefixtures("key_id")
def test_what_is_there_is_not_replaced_unless_told(line: CommandLine, place: Path) -> None:
    line("encrypt", str(place / "a.txt"))
    sealed = (place / "a.txt.kse").read_bytes()
    assert line("encrypt", str(place / "a.txt")).code == Exit.USAGE
    (place / "a.txt").write_bytes(b"newer")
    assert line("decrypt", str(place / "a.txt.kse")).code == Exit.USAGE
    assert (place / "a.txt").read_bytes() == b"newer"
    assert (place / "a.txt.kse").read_bytes() == sealed
    assert line("decrypt", str(place / "a.txt.kse"), "--force").code == 0
    assert (place / "a.txt").read_bytes() == TEXT


@pytest.mark.usefixtures("key_id")
def test_what_is_in_the_way_is_told_before_kms_is_asked(
    line: CommandLine, keystead: KeysteadServer, place: Path
) -> None:
    (place / "a.txt.kse").write_bytes(b"")
    assert line("encrypt", str(place / "a.txt")).code == Exit.USAGE
    assert keystead.calls["GenerateDataKey"] == 0


@pytest.mark.usefixtures("key_id")
def test_what_appears_meanwhile_is_not_replaced(line: CommandLine, place: Path) -> None:
    sealed = line("encrypt", stdin=TEXT).raw
    child = subprocess.Popen(
        line.argv("decrypt", "--to", str(place / "out")),
        env=line.variables(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stderr is not None
    child.stdin.write(sealed[:-1])
    child.stdin.flush()
    pause = threading.Event()
    while names(place) == ["a.txt"]:
        assert child.poll() is None
        pause.wait(0.02)
    (place / "out").write_bytes(b"mine")
    child.stdin.write(sealed[-1:])
    child.stdin.close()
    assert b"--force" in child.stderr.read()
    child.stderr.close()
    assert child.wait(30) == Exit.USAGE
    assert (place / "out").read_bytes() == b"mine"
    assert names(place) == ["a.txt", "out"]


@pytest.mark.usefixtures("key_id")
def test_a_link_that_leads_nowhere_is_not_written_through(line: CommandLine, place: Path) -> None:
    (place / "a.txt.kse").symlink_to(place / "elsewhere")
    assert line("encrypt", str(place / "a.txt")).code == Exit.USAGE
    assert line("encrypt", str(place / "a.txt"), "--force").code == 0
    assert names(place) == ["a.txt", "a.txt.kse"]
    assert not (place / "a.txt.kse").is_symlink()


@pytest.mark.usefixtures("key_id")
def test_pipes(line: CommandLine) -> None:
    data = secrets.token_bytes(3 << 20)
    sealed = line.process("encrypt", stdin=data)
    assert (sealed.code, sealed.err) == (0, "")
    opened = line.process("decrypt", stdin=sealed.raw)
    assert (opened.code, opened.raw == data) == (0, True)
    checked = line.process("decrypt", "--verify-first", stdin=sealed.raw)
    assert (checked.code, checked.raw == data) == (0, True)


def test_messages_are_those_of_the_encryption_sdk(
    line: CommandLine, keystead: KeysteadServer, key_id: str
) -> None:
    client = Client(ApiKms(keystead.api()), MasterKey("ap-guangzhou", key_id))
    sealed = line("encrypt", "-c", "table=customers", "-c", "url=a=b", stdin=TEXT)
    opened = client.decrypt(sealed.raw)
    assert (opened.plaintext, opened.context) == (TEXT, {"table": "customers", "url": "a=b"})
    assert (
        line("decrypt", "--context", "table=customers", stdin=client.encrypt(TEXT, opened.context)).raw
        == TEXT
    )


@pytest.mark.usefixtures("key_id")
def test_another_context_is_refused(line: CommandLine) -> None:
    sealed = line("encrypt", "--context", "table=customers", stdin=TEXT).raw
    ran = line("decrypt", "--context", "table=orders", stdin=sealed)
    assert (ran.code, ran.raw) == (Exit.DAMAGED, b"")


@pytest.mark.usefixtures("key_id")
@pytest.mark.parametrize("pairs", [("table",), ("=x",), ("a=1", "a=2"), ("keystead-public-key=x",)])
def test_a_context_that_is_none_is_refused(line: CommandLine, pairs: tuple[str, ...]) -> None:
    options = [part for pair in pairs for part in ("--context", pair)]
    ran = line("encrypt", *options, stdin=TEXT)
    assert (ran.code, ran.raw) == (Exit.USAGE, b"")


@pytest.mark.parametrize("suite", ["aes-256-gcm", "aes-256-gcm-signed", "sm4-gcm", "sm4-gcm-signed"])
@pytest.mark.usefixtures("key_id")
def test_suites(line: CommandLine, suite: str) -> None:
    sealed = line("encrypt", "--suite", suite, stdin=TEXT).raw
    assert Suite[suite.upper().replace("-", "_")] in sealed[:8]
    assert line("decrypt", stdin=sealed).raw == TEXT
    signed = line("decrypt", "--signed-only", stdin=sealed)
    assert signed.code == (0 if suite.endswith("signed") else Exit.DAMAGED)


def test_a_backup_opens_what_the_primary_cannot(line: CommandLine, key_id: str) -> None:
    backup = line("key", "create", "backup", "--region", "ap-singapore").json()["KeyId"]
    sealed = line("encrypt", "--backup", f"ap-singapore:{backup}", stdin=TEXT).raw
    line("key", "disable", key_id).json()
    assert line("decrypt", stdin=sealed).code == Exit.REFUSED
    assert line("decrypt", "--backup", f"ap-singapore:{backup}", stdin=sealed).raw == TEXT
    assert line("decrypt", "--key", backup, "--region", "ap-singapore", stdin=sealed).raw == TEXT
    assert line("encrypt", "--backup", backup, stdin=TEXT).code == Exit.USAGE


@pytest.mark.usefixtures("key_id")
def test_a_backup_that_does_not_answer_is_told(line: CommandLine) -> None:
    ran = line("encrypt", "--backup", "ap-singapore:no-such-key", stdin=TEXT)
    assert ran.code == 0
    assert "ap-singapore:no-such-key" in ran.err
    assert line("decrypt", stdin=ran.raw).raw == TEXT
    assert line("encrypt", stdin=TEXT).err == ""


@pytest.mark.usefixtures("key_id")
def test_keys_that_were_not_named_are_not_asked(line: CommandLine, keystead: KeysteadServer) -> None:
    other = line("key", "create", "other").json()["KeyId"]
    sealed = line("encrypt", "--key", other, stdin=TEXT).raw
    ran = line("decrypt", stdin=sealed)
    assert (ran.code, ran.raw) == (Exit.NOT_FOUND, b"")
    assert keystead.calls["Decrypt"] == 0


@pytest.mark.usefixtures("key_id")
def test_a_damaged_file_leaves_nothing(line: CommandLine, place: Path) -> None:
    data = secrets.token_bytes(400_000)
    sealed = line("encrypt", stdin=data).raw
    target = place / "out"
    for position in (0, 40, len(sealed) // 2, len(sealed) - 1):
        flipped = bytearray(sealed)
        flipped[position] ^= 1
        for damaged in (bytes(flipped), sealed[:position], sealed + b"x"):
            ran = line("decrypt", "--to", str(target), stdin=damaged)
            assert ran.code in (Exit.DAMAGED, Exit.NOT_FOUND, Exit.REFUSED)
            assert names(place) == ["a.txt"]


@pytest.mark.usefixtures("key_id")
def test_a_damaged_message_in_a_pipe(line: CommandLine) -> None:
    data = secrets.token_bytes(400_000)
    cut = line("encrypt", stdin=data).raw[:-1]
    streamed = line.process("decrypt", stdin=cut)
    assert streamed.code == Exit.DAMAGED
    assert data.startswith(streamed.raw)  # authentic as far as it goes, and without its end
    assert len(streamed.raw) < len(data)
    checked = line.process("decrypt", "--verify-first", stdin=cut)
    assert (checked.code, checked.raw) == (Exit.DAMAGED, b"")


@pytest.mark.usefixtures("key_id")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_what_is_kept_until_a_message_is_checked_is_the_message(line: CommandLine) -> None:
    sealed = line("encrypt", stdin=b"needle" * 500_000).raw
    child = subprocess.Popen(
        line.argv("decrypt", "--verify-first"),
        env=line.variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert child.stdin is not None
    child.stdin.write(sealed[:-1])
    child.stdin.flush()
    kept = b""
    pause = threading.Event()
    while len(kept) < 1 << 20:
        assert child.poll() is None
        pause.wait(0.02)
        for number in Path(f"/proc/{child.pid}/fd").iterdir():
            if str(number.readlink()).endswith("(deleted)"):
                kept = number.read_bytes()
    assert sealed.startswith(kept)
    child.stdin.write(sealed[-1:])
    child.stdin.close()
    assert child.wait(30) == 0


@pytest.mark.usefixtures("key_id")
def test_a_killed_decryption_leaves_no_file_of_that_name(line: CommandLine, place: Path) -> None:
    sealed = line("encrypt", stdin=secrets.token_bytes(400_000)).raw
    child = subprocess.Popen(
        line.argv("decrypt", "--to", str(place / "out")), env=line.variables(), stdin=subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.write(sealed[:-1])
    child.stdin.flush()
    pause = threading.Event()
    while not any(p.name.startswith(".keystead-") and p.stat().st_size for p in place.iterdir()):
        assert child.poll() is None
        pause.wait(0.02)
    child.kill()
    child.wait()
    child.stdin.close()
    assert not (place / "out").exists()
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in place.glob(".keystead-*"))


@pytest.mark.usefixtures("key_id")
def test_a_message_is_not_written_to_a_terminal(line: CommandLine, place: Path) -> None:
    ran = line.on_terminal("encrypt", str(place / "a.txt"), "--to", "-")
    assert ran.code == Exit.USAGE
    assert line.on_terminal("encrypt").code == Exit.USAGE  # nothing is read from one either


@pytest.mark.usefixtures("key_id")
def test_a_terminal_sees_how_far_it_is(line: CommandLine, place: Path) -> None:
    (place / "big").write_bytes(bytes(64 << 20))
    ran = line.on_terminal("encrypt", str(place / "big"))
    assert ran.code == 0, ran.out
    assert "Encrypting" in ran.out
    assert "MB" in ran.out
    assert line("decrypt", str(place / "big.kse"), "--to", str(place / "again")).err == ""
    assert (place / "again").stat().st_size == 64 << 20


@pytest.mark.usefixtures("key_id")
def test_names_without_the_suffix_need_a_target(line: CommandLine, place: Path) -> None:
    assert line("decrypt", str(place / "a.txt")).code == Exit.USAGE
    assert line("encrypt", str(place / "nothing")).code == Exit.REFUSED
    assert line("encrypt", str(place / "a.txt"), "--to", str(place / "none" / "x")).code == Exit.REFUSED
    assert names(place) == ["a.txt"]


def test_a_key_must_be_named(line: CommandLine) -> None:
    ran = line("encrypt", stdin=TEXT)
    assert (ran.code, ran.raw) == (Exit.USAGE, b"")


@pytest.mark.usefixtures("key_id")
def test_a_service_that_is_down(line: CommandLine, place: Path) -> None:
    line.environment["KEYSTEAD_ENDPOINT"] = "http://127.0.0.1:1"
    ran = line("encrypt", str(place / "a.txt"))
    assert ran.code == Exit.UNREACHABLE
    assert names(place) == ["a.txt"]


@pytest.mark.usefixtures("key_id")
def test_a_reader_that_goes_away_ends_it_quietly(line: CommandLine, place: Path) -> None:
    (place / "big").write_bytes(bytes(8 << 20))
    line("encrypt", str(place / "big"))
    child = subprocess.Popen(
        line.argv("decrypt", str(place / "big.kse"), "--to", "-"),
        env=line.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    os.read(child.stdout.fileno(), 10)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(30) == Exit.PIPE_CLOSED
