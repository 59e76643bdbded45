"""The blocks of sdk/README.md do what they say, one after the other, against a Keystead."""

import contextlib
import io
import json
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.installation import SM

from keystead.api import Api

from .client.postgresql import PostgreSQL, programs
from .client.servers import KeysteadServer

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "sdk" / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
ENDPOINT = "http://127.0.0.1:8000"


def blocks(language: str, within: str = PAGE) -> list[str]:
    return [code for name, code in BLOCK.findall(within) if name == language]


def section(title: str) -> str:
    """From a heading to the next one."""
    found = re.search(rf"^##+ {title}\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


class Session:
    """One session of Python, as the reader has it."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.names: dict[str, Any] = {}

    def run(self, block: str) -> None:
        """What a block prints stands behind it."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.replace(ENDPOINT, self._endpoint), "sdk/README.md", "exec"), self.names)  # noqa: S102
        assert printed.getvalue().splitlines() == PRINTS.findall(block)


@pytest.fixture
def keystead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeysteadServer]:
    """A Keystead that left its access key where it does at its first start; the reader is in that directory."""
    server = KeysteadServer()
    root = server.installation.root
    (tmp_path / ".keystead").mkdir()
    (tmp_path / ".keystead" / "credentials").write_text(
        f"[default]\nsecret_id = {root.secret_id}\nsecret_key = {root.secret_key}\n"
    )
    for name in ("SECRET_ID", "SECRET_KEY", "TOKEN", "SESSION_TOKEN"):
        monkeypatch.delenv(f"TENCENTCLOUD_{name}", raising=False)
    monkeypatch.delenv("KEYSTEAD_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    yield server
    server.close()


@pytest.fixture
def session(keystead: KeysteadServer) -> Iterator[Session]:
    made = Session(keystead.endpoint)
    yield made
    for name in ("api", "reader"):
        if isinstance(made.names.get(name), Api):
            made.names[name].close()


def test_a_newcomer_can_follow_it(session: Session) -> None:
    """All but the part that needs a database, in the page's order."""
    rotation = blocks("python", section("A password that rotates"))
    others = [block for block in blocks("python") if block not in rotation]
    assert len(rotation) == 2
    assert len(others) == 9
    for block in others:
        session.run(block)
    assert sum(len(PRINTS.findall(block)) for block in others) >= 10


def test_the_part_with_a_database(session: Session, keystead: KeysteadServer) -> None:
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="keystead-postgresql-"))
    try:
        server = PostgreSQL(found, folder, "admin's", port)
        try:
            follow_rotation(session, keystead, port)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def follow_rotation(session: Session, keystead: KeysteadServer, port: int) -> None:
    pg8000 = pytest.importorskip("pg8000.native", reason="pg8000 is not installed (PyPI)")

    def value(password: str) -> str:
        where = {"host": "127.0.0.1", "port": port, "database": "postgres"}
        return json.dumps({"user": "app", "password": password, **where})

    admin = pg8000.Connection("admin", host="127.0.0.1", port=port, database="postgres", password="admin's")
    admin.run("CREATE TABLE orders AS SELECT generate_series(1, 3)")
    admin.run("CREATE ROLE app LOGIN PASSWORD 'one'")
    admin.run("GRANT SELECT ON orders TO app")
    keystead.ssm("CreateSecret", SecretName="db", VersionId="v1", SecretString=value("one"))

    session.run(blocks("python", section("Begin"))[0].replace("# 0", "# 1"))
    session.run(blocks("python", section("Read secrets"))[0])
    first, block = blocks("python", section("A password that rotates"))
    session.run(first)
    keystead.ssm("PutSecretValue", SecretName="db", VersionId="v2", SecretString=value("two"))
    admin.run("ALTER ROLE app PASSWORD 'two'")
    with pytest.raises(pg8000.Error):
        session.run(block)
    session.run(block)
    keystead.ssm("PutSecretValue", SecretName="db", VersionId="v3", SecretString=value("three"))
    admin.run("ALTER ROLE app PASSWORD 'three'")
    session.run(first)
    admin.close()


def test_the_commands_are_there() -> None:
    assert [line for block in blocks("sh", section("Begin")) for line in block.splitlines()] == [
        "make run",
        "pip install ./sdk",
    ]
    assert re.search(r"^run: ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert (ROOT / "sdk" / "pyproject.toml").exists()


def test_the_command_line(keystead: KeysteadServer, tmp_path: Path) -> None:
    """Each line of its part, in a directory where a first start left an access key."""
    pytest.importorskip("typer", reason="typer is not installed (the extra `cli`)")
    from .cli.terminal import CommandLine

    install, *lines = "".join(blocks("sh", section("Command line"))).splitlines()
    assert install == "pip install './sdk[cli]'"
    line = CommandLine(keystead.endpoint, "", "", tmp_path)
    for name in ("ENDPOINT", "REGION"):
        line.environment[f"KEYSTEAD_{name}"] = None  # it is configured
    for name in ("ID", "KEY"):
        line.environment[f"TENCENTCLOUD_SECRET_{name}"] = None
    key = keystead.api().call("kms", "2019-01-18", "CreateKey", SM, {"Alias": "of-the-readme"})["KeyId"]
    (tmp_path / "backup.tar").write_bytes(b"of the readme")
    printed = []
    for each in lines:
        program, *arguments = shlex.split(each.replace(ENDPOINT, keystead.endpoint), comments=True)
        assert program == "keystead"
        arguments = [key if argument == "KEYID" else argument for argument in arguments]
        if arguments[-1] == "psql":
            arguments[-1:] = [sys.executable, "-c", "import os; print(os.environ['PGPASSWORD'])"]
        if arguments[:2] == ["secret", "create"]:
            typed = (("Value:", "the value\n"), ("Again:", "the value\n"))
            ran = line.on_terminal(*arguments, typed=typed)
        else:
            ran = line.process(*arguments)
        assert ran.code == 0, (each, ran.err)
        printed.append(ran.out.strip())
    assert [out for out in printed if "the value" in out] == ["the value"] * 2, (
        "it is shown where it is asked for"
    )
    assert (tmp_path / "backup.tar.kse").read_bytes().startswith(b"KSE\1")


def test_a_block_that_prints_something_else_is_found(session: Session) -> None:
    with pytest.raises(AssertionError):
        session.run("print(1)  # 2")
