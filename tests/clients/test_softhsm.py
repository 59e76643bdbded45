"""`make run HSM=softhsm`: the bundle on a token of its own, which no start makes twice and no start makes anew."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.test_quickstart import free_port, key_of, quickstart, wait_for
from tests.hsm import softhsm as softhsm2
from tools import softhsm

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.softhsm


@pytest.fixture(autouse=True)
def installed() -> None:
    softhsm2.require()


@contextmanager
def running(home: Path, log: Path, *options: str) -> Iterator[int]:
    """`make run` with these options, on a free port."""
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KEYSTEAD_", "SOFTHSM2_", "MAKE"))}
    with log.open("w") as file:
        process = subprocess.Popen(
            ["make", "run", f"PORT={port}", f"KEYSTEAD_HOME={home}", *options],
            cwd=ROOT,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_for(port, process, log)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_quickstart_works_on_it_and_again_after_a_restart(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    home = tmp_path / "home"
    with running(home, tmp_path / "first.log", "HSM=softhsm") as port:
        first = quickstart(home, port)
    with running(home, tmp_path / "second.log") as port:  # a home stays with what keeps its keys
        second = quickstart(home, port)
    assert key_of(second) == key_of(first)
    assert "found the secret 'quickstart' of an earlier run" in second
    assert not list((home / "hsm").glob("*.keys"))
    pin = (home / "softhsm/pin").read_text()
    assert pin not in (tmp_path / "first.log").read_text() + (tmp_path / "second.log").read_text()


def test_only_the_owner_can_open_what_it_makes(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        settings = softhsm.prepare(tmp_path / "home")
    finally:
        os.umask(before)
    folder = tmp_path / "home/softhsm"
    assert {
        path: stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, folder / "tokens")
    } == {
        folder.parent: 0o700,
        folder: 0o700,
        folder / "tokens": 0o700,
    }
    assert stat.S_IMODE((folder / "pin").stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{32}", (folder / "pin").read_text())
    assert (folder / "pin").read_text() not in " ".join(settings.values())


def test_starts_at_once_make_one_token_and_later_ones_find_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.softhsm", str(tmp_path / "home"), "env"]
    starts = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [start.communicate(timeout=60) for start in starts]
    assert [start.returncode for start in starts] == [0] * 4, answers
    pin = (tmp_path / "home/softhsm/pin").read_text()
    assert len(list((tmp_path / "home/softhsm/tokens").iterdir())) == 1
    settings = softhsm.prepare(tmp_path / "home")
    assert (tmp_path / "home/softhsm/pin").read_text() == pin
    assert len(list((tmp_path / "home/softhsm/tokens").iterdir())) == 1
    for output, _ in answers:
        assert {f"{name}={value}" for name, value in settings.items()} <= set(output.splitlines())


def test_a_start_that_died_half_way_is_finished_by_the_next_one(tmp_path: Path) -> None:
    softhsm.prepare(tmp_path)
    shutil.rmtree(tmp_path / "softhsm/tokens")
    (tmp_path / "softhsm/softhsm2.conf").unlink()
    pin = (tmp_path / "softhsm/pin").read_text()
    softhsm.prepare(tmp_path)
    assert (tmp_path / "softhsm/pin").read_text() == pin
    assert len(list((tmp_path / "softhsm/tokens").iterdir())) == 1


def test_a_token_that_is_gone_is_not_made_anew_once_there_are_tables(tmp_path: Path) -> None:
    softhsm.prepare(tmp_path)
    (tmp_path / "identity.sqlite").touch()
    softhsm.prepare(tmp_path)
    shutil.move(tmp_path / "softhsm/tokens", tmp_path / "backup")
    with pytest.raises(softhsm.Failure, match="is gone: put back its backup"):
        softhsm.prepare(tmp_path)
    shutil.rmtree(tmp_path / "softhsm/tokens")
    shutil.move(tmp_path / "backup", tmp_path / "softhsm/tokens")
    pin = (tmp_path / "softhsm/pin").rename(tmp_path / "pin")
    with pytest.raises(softhsm.Failure, match="pin is missing: put back its backup"):
        softhsm.prepare(tmp_path)
    pin.rename(tmp_path / "softhsm/pin")
    softhsm.prepare(tmp_path)


def test_a_home_of_the_software_hsm_stays_one(tmp_path: Path) -> None:
    (tmp_path / "hsm").mkdir()
    (tmp_path / "hsm/identity.keys").touch()
    with pytest.raises(softhsm.Failure, match="are in the software HSM"):
        softhsm.prepare(tmp_path)
    assert not (tmp_path / "softhsm").exists()


def test_without_softhsm2_the_message_names_the_package(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.softhsm", str(tmp_path / "home"), "true"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr == "SoftHSM2 is not installed: on Debian and Ubuntu, `apt-get install softhsm2`.\n"
    assert not (tmp_path / "home").exists()
