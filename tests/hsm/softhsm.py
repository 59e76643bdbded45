"""SoftHSM2 for tests: one private token folder for each test process, with fresh labels for each test.

SoftHSM2 reads SOFTHSM2_CONF when C_Initialize runs, and a process has one SoftHSM2, so all tokens of a process are in one folder.
"""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from chalicelib.hsm import cryptoki
from chalicelib.hsm.sessions import Token

PIN = "correct horse 1234"
SO_PIN = "so 12345678"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class NewToken:
    """What the settings want to know about a token, and the environment of processes that use it."""

    module: str
    label: str
    pin: str
    configuration: str

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": self.configuration}

    def open(self, module: str = "") -> Token:
        """The token, through SoftHSM2 itself or another module in front of it."""
        return Token(cryptoki.load(module or self.module), self.label, self.pin)


@functools.cache
def module() -> str:
    """Where SoftHSM2 is; nothing where it is not installed."""
    return next(filter(os.path.exists, MODULES), "") if shutil.which("softhsm2-util") else ""


def require() -> str:
    """Skips the test where there is no SoftHSM2."""
    if not module():
        pytest.skip("SoftHSM2 is not installed (Debian: softhsm2)")
    return module()


@functools.cache
def process_folder() -> Path:
    """The token folder of this process, and SOFTHSM2_CONF set to it. It goes when the process does."""
    memory = (
        "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    )  # every change of an object is a file written
    folder = Path(tempfile.mkdtemp(prefix="keystead-softhsm-", dir=memory))
    atexit.register(_remove, folder, os.getpid())
    os.environ["SOFTHSM2_CONF"] = str(configure(folder))
    return folder


def configure(folder: Path) -> Path:
    """A configuration of SoftHSM2 with its tokens in `folder`."""
    (folder / "tokens").mkdir(parents=True, exist_ok=True)
    configuration = folder / "softhsm2.conf"
    lines = (
        f"directories.tokendir = {folder / 'tokens'}",
        "objectstore.backend = file",
        "log.level = ERROR",
        "slots.removable = false",
        "slots.mechanisms = ALL",
        "library.reset_on_fork = true",
    )
    configuration.write_text("\n".join(lines) + "\n")
    return configuration


def new_token(folder: Path | None = None, label: str = "", pin: str = PIN) -> NewToken:
    """Make a token, by default in this process's folder with a label of its own; skips where there is no SoftHSM2.

    It appears in a process in which SoftHSM2 is initialized already once that has looked for it again, which Token does.
    """
    path = require()
    folder = folder or process_folder()
    label = label or f"t-{uuid.uuid4().hex[:12]}"
    configuration = configure(folder)
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin]
    environment = {**os.environ, "SOFTHSM2_CONF": str(configuration)}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=30)
    return NewToken(path, label, pin, str(configuration))


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child
        shutil.rmtree(folder, ignore_errors=True)
