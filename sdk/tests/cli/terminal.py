"""The command as a user has it: in this process for speed, as a process of its own, and on a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from typer.testing import CliRunner

from keystead.cli.app import app

_CTRL_C: Final = "\x03"
_PATIENCE: Final = 60.0
SDK: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, standard output and standard error."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class CommandLine:
    """Runs `keystead ARGUMENTS`; nothing of the user's own environment reaches it."""

    def __init__(self, endpoint: str, secret_id: str, secret_key: str, home: Path) -> None:
        self.home = home
        self.environment: dict[str, str | None] = {
            "HOME": str(home),
            "KEYSTEAD_ENDPOINT": endpoint,
            "KEYSTEAD_HOME": str(home / ".keystead"),
            "KEYSTEAD_KEY": None,
            "KEYSTEAD_PROFILE": None,
            "KEYSTEAD_REGION": "ap-guangzhou",
            "TCCLI_PROFILE": None,
            "TENCENTCLOUD_SECRET_ID": secret_id,
            "TENCENTCLOUD_SECRET_KEY": secret_key,
            "TENCENTCLOUD_TOKEN": None,
            "XDG_CONFIG_HOME": None,
        }

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Ran:
        """In this process; standard input and output are no terminals."""
        result = CliRunner().invoke(app, list(arguments), input=stdin, env=self.environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout_bytes, result.stderr)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "keystead.cli", *arguments]

    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in self.environment}
        said = {name: value for name, value in self.environment.items() if value is not None}
        return {**kept, **said, "PYTHONPATH": str(SDK)}

    def process(self, *arguments: str, stdin: bytes = b"") -> Ran:
        """As a process of its own, with pipes."""
        done = subprocess.run(
            self.argv(*arguments),
            input=stdin,
            env=self.variables(),
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr.decode())

    def on_terminal(self, *arguments: str, typed: tuple[tuple[str, str], ...] = ()) -> Ran:
        """As a process on a terminal, where each of `typed` is a prompt and what is typed after it; all of it is `out`."""
        pid, terminal = pty.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
            os.execve(sys.executable, self.argv(*arguments), self.variables())
        shown = b""
        waiting = list(typed)
        answer = ""
        end = time.monotonic() + _PATIENCE
        while True:
            assert time.monotonic() < end, shown
            if not select.select([terminal], [], [], 1)[0]:
                if answer == _CTRL_C:  # one that comes just before the program reads does not wake it
                    os.write(terminal, answer.encode())
                continue
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # Linux says so when the other side is closed
                piece = b""
            if not piece:
                break
            shown += piece
            if waiting and waiting[0][0].encode() in shown.rpartition(b"\n")[2]:
                _, answer = waiting.pop(0)
                os.write(terminal, answer.encode())
                shown += b"\n"
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        assert not waiting, shown
        return Ran(os.waitstatus_to_exitcode(status), shown.replace(b"\r\n", b"\n"), "")
