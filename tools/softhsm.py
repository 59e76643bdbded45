"""`make run HSM=softhsm`: start a program on SoftHSM2, with a token of its own in `<home>/softhsm`.

usage: python -m tools.softhsm HOME COMMAND...

The first start makes the folder, mode 0700, with SoftHSM2's configuration, a random PIN in a file of mode 0600, and the
token. Later starts, and several at once, find it there. For development: whoever reads the folder has the keys.
"""

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

LABEL: Final = "keystead"
MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
"""Where distributions put it."""

_UTIL: Final = "softhsm2-util"


class Failure(Exception):
    """Why there is no token; the text says what to do."""


def main() -> None:
    """Prepare the token and become the command."""
    if len(sys.argv) < 3:  # noqa: PLR2004 - the home and a command
        sys.exit(__doc__)
    home, command = Path(sys.argv[1]), sys.argv[2:]
    try:
        settings = prepare(home)
    except Failure as failure:
        sys.exit(str(failure))
    variables = [f"{name}={value}" for name, value in settings.items()]
    surplus = ["-u", "KEYSTEAD_PKCS11_PIN"]  # the PIN is in a file
    os.execvp("env", ["env", *surplus, *variables, *command])  # noqa: S606, S607 - the caller's own command


def prepare(home: Path) -> dict[str, str]:
    """Make what is missing; the environment of a program that uses the token."""
    module = next(filter(os.path.exists, MODULES), "")
    if not module or not shutil.which(_UTIL):
        raise Failure("SoftHSM2 is not installed: on Debian and Ubuntu, `apt-get install softhsm2`.")
    if any((home / "hsm").glob("*.keys")):
        raise Failure(
            f"The keys of {home} are in the software HSM, and stay there: set KEYSTEAD_HOME to another directory."
        )
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = (home / "softhsm").absolute()
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of starts at once, one makes the token
        _make(folder, is_used=(home / "identity.sqlite").exists())
    return {
        **_environment(folder),
        "KEYSTEAD_HSM": "pkcs11",
        "KEYSTEAD_PKCS11_MODULE": module,
        "KEYSTEAD_PKCS11_TOKENS": LABEL,
        "KEYSTEAD_PKCS11_PIN_FILE": str(folder / "pin"),
    }


def _make(folder: Path, *, is_used: bool) -> None:
    """The configuration, the PIN and the token, each unless it is there; not once the home has been used with them."""
    tokens, pin = folder / "tokens", folder / "pin"
    tokens.mkdir(mode=0o700, exist_ok=True)
    _write(
        folder / "softhsm2.conf",
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
    )
    if _is_there(folder):
        if not pin.exists():
            raise Failure(f"{pin} is missing: put back its backup. Without it nothing opens.")
        return
    if not pin.exists():
        _write(pin, secrets.token_hex(16))
    elif is_used:
        raise Failure(
            f"The token in {tokens} is gone: put back its backup. Or remove {pin}, which makes an empty token for the"
            " ceremony to restore the domain keys into (docs/hsm.md)."
        )
    # Nobody needs the officer's PIN again: there is one token, and a forgotten PIN shall not be set anew.
    options = ["--label", LABEL, "--pin", pin.read_text(), "--so-pin", secrets.token_hex(16)]
    _run(folder, "--init-token", "--free", *options)


def _is_there(folder: Path) -> bool:
    labels = [line.partition(":")[2].strip() for line in _run(folder, "--show-slots") if "Label:" in line]
    return LABEL in labels


def _run(folder: Path, *options: str) -> list[str]:
    variables = [f"{name}={value}" for name, value in _environment(folder).items()]
    done = subprocess.run(  # noqa: S603 - the options are ours
        ["env", *variables, _UTIL, *options],  # noqa: S607 - where the system has it
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise Failure(f"{_UTIL} {options[0]} failed: {done.stderr.strip()}")
    return done.stdout.splitlines()


def _environment(folder: Path) -> dict[str, str]:
    return {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")}


def _write(path: Path, text: str) -> None:
    """Make a file appear whole, for its owner alone."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    Path(draft).rename(path)


if __name__ == "__main__":
    main()
