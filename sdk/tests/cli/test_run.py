"""`keystead run`: the program gets its secrets, and nobody else does."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keystead.cli.exits import Exit
from keystead.cli.run import _STEERING

from ..client.servers import KeysteadServer
from .terminal import CommandLine, Ran

VALUE = "correct-horse-battery-staple-7"
SHOW = "import os, json; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def line(line: CommandLine, keystead: KeysteadServer) -> CommandLine:
    keystead.ssm("CreateSecret", SecretName="db-password", VersionId="v1", SecretString=VALUE)
    members = {"user": "app", "pass-word": "s3cret-9", "port": 5432, "ok": True, "opts": {"a": [1]}}
    keystead.ssm("CreateSecret", SecretName="db", VersionId="v1", SecretString=json.dumps(members))
    return line


def run(line: CommandLine, *options: str, program: str = SHOW) -> Ran:
    return line.process("run", *options, "--", sys.executable, "-c", program)


def variables(line: CommandLine, *options: str) -> Any:
    return run(line, *options).json()


def test_secrets_become_variables(line: CommandLine) -> None:
    found = variables(line, "--secret", "db-password", "--secret", "db-password=PGPASSWORD")
    assert found["DB_PASSWORD"] == found["PGPASSWORD"] == VALUE
    assert found["HOME"] == str(line.home)


def test_members_of_an_object_become_variables(line: CommandLine) -> None:
    found = variables(line, "--fields", "db=DB_")
    assert {name: value for name, value in found.items() if name.startswith("DB_")} == {
        "DB_USER": "app",
        "DB_PASS_WORD": "s3cret-9",
        "DB_PORT": "5432",
        "DB_OK": "true",
        "DB_OPTS": '{"a":[1]}',
    }


def test_a_file_of_settings_refers_to_secrets(line: CommandLine, tmp_path: Path) -> None:
    settings = tmp_path / ".env"
    settings.write_text(
        '# settings\n\nMODE=test\nexport QUOTED="a = b"\nPYTHONUTF8=1\n'
        "PASSWORD=keystead:db-password\nDB_USER='keystead:db#user'\n"
    )
    found = variables(line, "--env-file", str(settings))
    wanted = {"MODE": "test", "QUOTED": "a = b", "PASSWORD": VALUE, "DB_USER": "app", "PYTHONUTF8": "1"}
    assert wanted.items() <= found.items()
    settings.write_text("MODE\n")
    assert run(line, "--env-file", str(settings)).code == Exit.USAGE
    settings.write_text("A=keystead:db#nothing\n")
    assert run(line, "--env-file", str(settings)).code == Exit.NOT_FOUND
    assert run(line, "--env-file", str(tmp_path / "absent")).code == Exit.REFUSED


def test_each_secret_is_read_once(line: CommandLine, keystead: KeysteadServer) -> None:
    variables(line, "--secret", "db", "--fields", "db=DB_", "--secret", "db=AGAIN")
    assert keystead.calls["GetSecretValue"] == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--secret", "absent"),
        ("--secret", "db-password", "--secret", "absent=B"),
        ("--fields", "db-password"),
        ("--secret", "db=9LIVES"),
        ("--secret", "db=A", "--secret", "db-password=A"),
        ("--secret", "=A"),
    ],
)
def test_nothing_runs_unless_all_is_there(
    line: CommandLine, tmp_path: Path, options: tuple[str, ...]
) -> None:
    trace = tmp_path / "ran"
    ran = run(line, *options, program=f"open({str(trace)!r}, 'w')")
    assert ran.code in (Exit.REFUSED, Exit.USAGE, Exit.NOT_FOUND)
    assert not trace.exists()
    assert VALUE not in ran.out + ran.err


def test_nothing_runs_when_the_service_is_away_or_refuses(
    line: CommandLine, keystead: KeysteadServer
) -> None:
    who = keystead.installation.add_user("alice")
    root = dict(line.environment)
    line.environment |= {"TENCENTCLOUD_SECRET_ID": who.secret_id, "TENCENTCLOUD_SECRET_KEY": who.secret_key}
    ran = run(line, "--secret", "db")
    assert (ran.code, ran.out) == (Exit.DENIED, "")
    line.environment = {**root, "KEYSTEAD_ENDPOINT": "http://127.0.0.1:1"}
    ran = run(line, "--secret", "db")
    assert (ran.code, ran.out) == (Exit.UNREACHABLE, "")


STEERING = """
    LESSOPEN LESSCLOSE MANPAGER PSQL_PAGER SUDO_EDITOR SUDO_ASKPASS XDG_CONFIG_HOME XDG_DATA_DIRS
    PATH LD_PRELOAD LD_LIBRARY_PATH DYLD_INSERT_LIBRARIES PYTHONPATH PYTHONSTARTUP NODE_OPTIONS BASH_ENV ENV IFS
    GIT_SSH_COMMAND https_proxy JAVA_TOOL_OPTIONS _JAVA_OPTIONS RUBYOPT PERL5OPT HOME KEYSTEAD_ENDPOINT Path
"""
HARMLESS = """
    DB_PASSWORD GIT_TOKEN NODE_AUTH_TOKEN SSH_PRIVATE_KEY GEM_HOST_API_KEY APP_PATH NPM_TOKEN TENCENTCLOUD_SECRET_KEY
"""


def test_which_variables_steer_programs() -> None:
    assert [each for each in STEERING.split() if not _STEERING.fullmatch(each)] == []
    assert [each for each in HARMLESS.split() if _STEERING.fullmatch(each)] == []


def test_a_secret_does_not_steer_programs_unless_that_is_said(line: CommandLine) -> None:
    ran = line.process("run", "--secret", "db-password=LD_PRELOAD", "--", "true")
    assert ran.code == Exit.USAGE
    assert "--allow LD_PRELOAD" in ran.err


def test_a_writer_of_secrets_does_not_choose_what_runs(line: CommandLine, keystead: KeysteadServer) -> None:
    members = json.dumps({"LD_PRELOAD": "/evil.so", "user": "app"})
    keystead.ssm("PutSecretValue", SecretName="db", VersionId="v2", SecretString=members)
    assert run(line, "--fields", "db").code == Exit.USAGE
    assert variables(line, "--fields", "db", "--allow", "LD_PRELOAD")["LD_PRELOAD"] == "/evil.so"


def test_values_that_no_variable_takes(line: CommandLine, keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="binary", VersionId="v1", SecretBinary="/w==")
    keystead.ssm("CreateSecret", SecretName="zero", VersionId="v1", SecretBinary="YQBi")
    keystead.ssm("CreateSecret", SecretName="half", VersionId="v1", SecretString='{"a": "\\ud800"}')
    for named in (("--secret", "binary"), ("--secret", "zero"), ("--fields", "half")):
        ran = run(line, *named)
        assert (ran.code, ran.out) == (Exit.REFUSED, "")


def test_exit_codes_are_those_of_the_program(line: CommandLine, tmp_path: Path) -> None:
    assert run(line, program="raise SystemExit(42)").code == 42
    assert run(line, program="import os; os.kill(os.getpid(), 9)").code == -9
    assert line.process("run", "--", "no-such-program-at-all").code == 127
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert line.process("run", "--", str(plain)).code == 126


def test_options_of_the_program_stay_its_own(line: CommandLine) -> None:
    echo = "import sys; print(sys.argv[1:])"
    ran = line.process("run", "--", sys.executable, "-c", echo, "--region", "x", "--output=json", "--", "-f")
    assert ran.out.strip() == "['--region', 'x', '--output=json', '--', '-f']"


def test_the_program_takes_this_ones_place(line: CommandLine) -> None:
    """One process: signals reach the program, and nothing with the secrets waits behind it."""
    program = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    process = subprocess.Popen(
        line.argv("run", "--secret", "db-password", "--", sys.executable, "-c", program),
        env=line.variables(),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    if Path("/proc/self").exists():
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert VALUE.encode() not in arguments
        assert VALUE.encode() in Path(f"/proc/{process.pid}/environ").read_bytes()
        held = [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert not [each for each in held if each.startswith("socket:")]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
    process.stdout.close()


def test_what_python_ignores_is_not_ignored_by_the_program(line: CommandLine) -> None:
    ran = line.process("run", "--", "sh", "-c", "kill -PIPE $$; echo still here")
    assert (ran.code, ran.out) == (-signal.SIGPIPE, "")


def test_credentials_are_handed_on_unless_said(line: CommandLine) -> None:
    assert "TENCENTCLOUD_SECRET_KEY" in variables(line, "--secret", "db")
    found = variables(line, "--secret", "db", "--drop-credentials")
    assert not [each for each in found if each.startswith("TENCENTCLOUD_SECRET")]


def test_no_secret_is_left_in_files_or_output(line: CommandLine, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    line.environment["TMPDIR"] = str(temporary)
    ran = run(line, "--secret", "db-password", program="pass")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert not [
        each for each in tmp_path.rglob("*") if each.is_file() and VALUE.encode() in each.read_bytes()
    ]
    assert not list(temporary.iterdir())


def test_a_file_of_settings_may_be_written_by_an_editor_of_windows(line: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "env"
    place.write_bytes("\ufeffFIRST=a\u2028b\r\nSECOND=c\r\n".encode())
    found = variables(line, "--env-file", str(place))
    assert (found["FIRST"], found["SECOND"]) == ("a\u2028b", "c")


def test_a_broken_line_of_a_file_is_told_and_not_repeated(line: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "env"
    for text in ("https://app:hunter2@db/?a=b", "hunter2 x=y", "hunter2"):
        place.write_text(f"MODE=x\n{text}\n")
        ran = run(line, "--env-file", str(place))
        assert (ran.code, ran.out) == (Exit.USAGE, "")
        assert "line 2" in ran.err
        assert "hunter2" not in ran.err


def test_what_no_program_can_take_is_told(line: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "env"
    place.write_bytes(b"MODE=a\0b\n")
    ran = run(line, "--env-file", str(place))
    assert (ran.code, ran.out) == (Exit.REFUSED, "")
    assert "MODE" in ran.err
    assert "Traceback" not in ran.err
    assert line.process("run", "--", "").code == 127
