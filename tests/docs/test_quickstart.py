"""The quickstart does what the README says, against the real server and again after its restart."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 20


def test_the_quickstart_works_and_works_again_after_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(home, tmp_path / "first.log") as port:
        first = quickstart(home, port)
    with serving(home, tmp_path / "second.log") as port:
        second = quickstart(home, port)

    assert "created the key" in first
    assert "created the secret 'quickstart' with version v1" in first
    assert "its password is 'first', its greeting b'hello'" in first
    assert "added version v2; the current password is 'password of v2'" in first
    for output in (first, second):
        assert "decrypted it to b'hello'" in output
        assert "data key of 32 bytes; its ciphertext opens to the same bytes" in output
        assert "disabled it; reading answers ResourceUnavailable.ResourceDisabled" in output
        assert "deletion in 7 days; reading answers ResourceUnavailable.ResourcePendingDeleted" in output
        assert "restored it: Disabled" in output
    # What the first run wrote, the second one reads: the value, and the ciphertext in it.
    assert key_of(second) == key_of(first)
    assert "found the secret 'quickstart' of an earlier run" in second
    assert "its password is 'password of v2', its greeting b'hello'" in second
    assert second.endswith("enabled it: the password is 'password of v3' again\n")
    # The first start says where its credentials are, the second one has no secret to tell.
    assert "SecretKey" in (tmp_path / "first.log").read_text()
    assert "SecretKey" not in (tmp_path / "second.log").read_text()


def test_the_quickstart_says_what_to_do_without_a_server(tmp_path: Path) -> None:
    done = run_quickstart(tmp_path, free_port())
    assert done.returncode == 2
    assert "start `make run` first" in done.stderr
    assert "Traceback" not in done.stderr


def key_of(output: str) -> str:
    """The key id that a run printed."""
    (line,) = [line for line in output.splitlines() if " the key " in line]
    return line.partition(" the key ")[2].split()[0]


def quickstart(home: Path, port: int) -> str:
    done = run_quickstart(home, port)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_quickstart(home: Path, port: int) -> subprocess.CompletedProcess[str]:
    return run([str(ROOT / "examples" / "quickstart.py")], home, port)


def run(
    arguments: list[str], home: Path, port: int, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, as a client of the server."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(home, port),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def serving(home: Path, log: Path) -> Iterator[int]:
    """`chalice local`, as `make run` starts it, on a free port."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("chalice")), "local", "--no-autoreload", "--stage", "local"]
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment(home, port),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        try:
            wait_for(port, server, log)
            yield port
        finally:
            server.terminate()
            server.wait(10)


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"the server did not start within {STARTS_WITHIN} s:\n{log.read_text()}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def environment(home: Path, port: int) -> dict[str, str]:
    """A shell without settings or credentials of the developer's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KEYSTEAD_", "TENCENTCLOUD_"))}
    return {**kept, "KEYSTEAD_HOME": str(home), "PORT": str(port)}
