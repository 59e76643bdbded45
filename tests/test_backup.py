"""Backups of an installation on one machine: taken under load, verified, and restored where everything was lost."""

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib import backup, bootstrap, wiring
from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.formats import backup_file
from chalicelib.hsm.port import Damaged
from chalicelib.settings import Bootstrap, Settings
from tests.installation import Client, Installation, refused

ROOT = Path(__file__).resolve().parents[1]
PASSPHRASE = "correct horse battery staple"


class OnDisk(Installation):
    """An installation in a home directory, as `make run` has it."""

    def __init__(self, clock: ManualClock, home: Path) -> None:
        self.clock = clock
        self.settings = Settings(home=home, throttle=False, credential_cache_seconds=0)
        self.service: Service = wiring.build(self.settings, clock)
        found, _ = bootstrap.ensure(self.service)
        self.root: Bootstrap = found
        self.gateway = Gateway(self.service)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def running(clock: ManualClock, home: Path) -> Iterator[OnDisk]:
    installation = OnDisk(clock, home)
    with contextlib.closing(installation.service):
        yield installation


def fill(ssm: Client, kms: Client) -> str:
    ssm.CreateSecret(SecretName="kept", VersionId="v1", SecretString="the value")
    key = kms.CreateKey(Alias="kept").KeyId
    blob: str = kms.Encrypt(KeyId=key, Plaintext="a2V5c3RlYWQ=").CiphertextBlob
    return blob


def test_the_drill(running: OnDisk, clock: ManualClock, home: Path, tmp_path: Path) -> None:
    """Everything is lost but the backup and its passphrase; whatever was acknowledged before it is there again."""
    ssm = running.client("ssm")
    blob = fill(ssm, running.client("kms"))
    file = tmp_path / "backup"
    parts = backup.create(running.settings, file, PASSPHRASE)
    ssm.CreateSecret(SecretName="later", VersionId="v1", SecretString="not in the backup")
    running.service.close()
    shutil.rmtree(home)
    assert backup.restore(running.settings, file, PASSPHRASE) == parts
    restored = OnDisk(clock, home)
    with contextlib.closing(restored.service):
        ssm, kms = restored.client("ssm"), restored.client("kms")
        assert ssm.GetSecretValue(SecretName="kept", VersionId="v1").SecretString == "the value"
        assert kms.Decrypt(CiphertextBlob=blob).Plaintext == "a2V5c3RlYWQ="
        with refused("ResourceNotFound"):
            ssm.GetSecretValue(SecretName="later", VersionId="v1")
        ssm.CreateSecret(SecretName="after", VersionId="v1", SecretString="writable")
    assert not list(home.glob(".backup-*"))
    assert not list(tmp_path.glob(".*"))


def test_nothing_in_the_file_can_be_read(running: OnDisk, home: Path, tmp_path: Path) -> None:
    fill(running.client("ssm"), running.client("kms"))
    file = tmp_path / "backup"
    backup.create(running.settings, file, PASSPHRASE)
    content = file.read_bytes()
    for secret in (
        b"SQLite format",
        b"kept",
        b"credentials",
        running.root.secret_key.encode(),
        PASSPHRASE.encode(),
    ):
        assert secret not in content
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_backup_under_load_is_of_one_moment(running: OnDisk, clock: ManualClock, tmp_path: Path) -> None:
    """Two regions are written in turn: whatever moment it is, the second has as many secrets as the first, or one less."""
    stopped = threading.Event()
    first, second = running.client("ssm", "ap-guangzhou"), running.client("ssm", "ap-singapore")

    def write() -> None:
        for n in range(900):
            if stopped.is_set():
                return
            for client in (first, second):
                client.CreateSecret(SecretName=f"s{n}", VersionId="v1", SecretString="x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(3):
            backup.create(running.settings, tmp_path / f"backup{n}", PASSPHRASE)
    finally:
        stopped.set()
        writer.join()
    for n in range(3):
        settings = Settings(home=tmp_path / f"home{n}", throttle=False, credential_cache_seconds=0)
        backup.restore(settings, tmp_path / f"backup{n}", PASSPHRASE)
        restored = OnDisk(clock, settings.home)
        with contextlib.closing(restored.service):
            counts = [
                restored.client("ssm", region).ListSecrets(Limit=1).TotalCount
                for region in ("ap-guangzhou", "ap-singapore")
            ]
        assert counts[0] - counts[1] in (0, 1), counts


def test_every_kind_of_damage_is_refused_and_leaves_nothing(running: OnDisk, tmp_path: Path) -> None:
    fill(running.client("ssm"), running.client("kms"))
    file = tmp_path / "backup"
    backup.create(running.settings, file, PASSPHRASE)
    good = file.read_bytes()
    head, middle = 21, len(good) // 2
    frame = 4 + int.from_bytes(good[head : head + 4])
    damaged = {
        "another magic": b"X" + good[1:],
        "another version": good[:4] + b"\x02" + good[5:],
        "another salt": good[:5] + bytes(16) + good[21:],
        "a changed byte": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "a changed length": good[:head] + b"\xff" + good[head + 1 :],
        "an early end": good[:-1],
        "only a header": good[:head],
        "nothing": b"",
        "something after the end": good + good[head : head + frame],
    }
    for what, content in damaged.items():
        (tmp_path / "damaged").write_bytes(content)
        settings = Settings(home=tmp_path / "new")
        with pytest.raises(backup.BackupError, match=r"does not open"):
            backup.restore(settings, tmp_path / "damaged", PASSPHRASE)
        assert not settings.home.exists(), what
    with pytest.raises(backup.BackupError, match="passphrase is another one"):
        backup.restore(Settings(home=tmp_path / "new"), file, PASSPHRASE + " ")


def test_frames_cannot_be_moved_left_out_or_repeated(tmp_path: Path) -> None:
    content = bytes(3 * backup_file.FRAME_BYTES + 5)
    file = tmp_path / "frames"
    with file.open("wb") as out:
        writer = backup_file.Writer(out, b"passphrase")
        writer.write(content)
        writer.finish()
    good = file.read_bytes()
    frames, at = [], 21
    while at < len(good):
        end = at + 4 + int.from_bytes(good[at : at + 4])
        frames.append(good[at:end])
        at = end
    assert len(frames) == 4

    def read(*order: int) -> bytes:
        file.write_bytes(good[:21] + b"".join(frames[n] for n in order))
        with file.open("rb") as source:
            return backup_file.Reader(source, b"passphrase").readall() or b""

    assert read(0, 1, 2, 3) == content
    for order in ((0, 2, 1, 3), (0, 1, 3), (0, 1, 2), (0, 1, 1, 2, 3), (0, 1, 2, 3, 3), (3,), (1, 2, 3)):
        with pytest.raises(Damaged):
            read(*order)


def test_verifying_writes_no_key_anywhere(running: OnDisk, tmp_path: Path) -> None:
    fill(running.client("ssm"), running.client("kms"))
    file, folder = tmp_path / "backup", tmp_path / "verified"
    parts = backup.create(running.settings, file, PASSPHRASE)
    folder.mkdir()
    assert backup.unpack(file, PASSPHRASE, folder, only_tables=True) == parts
    assert {path.suffix for path in folder.rglob("*")} == {".sqlite"}


def test_what_is_there_already_is_never_replaced(running: OnDisk, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    backup.create(running.settings, file, PASSPHRASE)
    before = file.read_bytes()
    with pytest.raises(backup.BackupError, match="exists"):
        backup.create(running.settings, file, PASSPHRASE)
    assert file.read_bytes() == before
    with pytest.raises(backup.BackupError, match="is not empty"):
        backup.restore(running.settings, file, PASSPHRASE)


def test_the_commands(home: Path, tmp_path: Path, running: OnDisk) -> None:
    running.service.close()
    passphrase, file = tmp_path / "passphrase", tmp_path / "backup"
    passphrase.write_text(PASSPHRASE + "\n")

    def run(command: str, home: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "chalicelib.backup",
                command,
                str(file),
                "--passphrase-file",
                str(passphrase),
            ],
            cwd=ROOT,
            env={"KEYSTEAD_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run("create", home).returncode == 0
    verified = run("verify", home)
    assert verified.returncode == 0
    assert "identity.sqlite" in verified.stdout
    assert run("restore", tmp_path / "new").returncode == 0
    assert (tmp_path / "new" / "credentials").read_text() == (home / "credentials").read_text()
    again = run("restore", tmp_path / "new")
    assert (again.returncode, "not empty" in again.stderr, "Traceback" in again.stderr) == (1, True, False)
    passphrase.write_text("short\n")
    file.unlink()
    refused_short = run("create", home)
    assert (refused_short.returncode, "at least 12" in refused_short.stderr) == (1, True)
    assert not file.exists()
