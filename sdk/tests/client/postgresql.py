"""A real PostgreSQL of its own: a fresh cluster behind a socket of its folder that asks for passwords.

It asks for them in clear and checks them by scram-sha-256 itself: the driver takes 20 ms for its side of scram.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"  # initdb refuses root


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, wherever Debian or the PATH has them."""
    places = [Path(p).parent for p in [shutil.which("pg_ctl")] if p]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if all((p / n).exists() for n in ("initdb", "pg_ctl"))), None)


@contextmanager
def running() -> Iterator[tuple["PostgreSQL", str]]:
    """One in a folder that goes with it, and the password of `admin`; skips where there are no programs."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    # Not below tmp_path, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="keystead-postgresql-"))
    password = secrets.token_hex(16)
    try:
        server = PostgreSQL(found, folder, password)
        try:
            yield server, password
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


class PostgreSQL:
    """One cluster in `folder`, with the superuser `admin`; on loopback as well where a port is given."""

    def __init__(self, bin_folder: Path, folder: Path, admin_password: str, port: int | None = None) -> None:
        self._bin, self._data = bin_folder, folder / "data"
        self._user = USER if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        password_file = folder / "password"
        password_file.write_text(admin_password)
        if self._user:
            shutil.chown(password_file, self._user)
        self._run(
            "initdb", "-D", str(self._data), "-U", "admin", "-A", "password", "--no-sync",
            "--pwfile", str(password_file), "-E", "UTF8", "--locale", "C",
        )  # fmt: skip
        password_file.unlink()
        self.socket = str(folder / f".s.PGSQL.{port or 5432}")
        options = (
            f"-c port={port or 5432} -c listen_addresses={'127.0.0.1' if port else ''} -c unix_socket_directories={folder} "
            "-c fsync=off -c shared_buffers=16MB -c max_connections=60"
        )
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - programs of the system, with the test's own arguments
            [self._bin / program, *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
            user=self._user,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed with {done.returncode}")
