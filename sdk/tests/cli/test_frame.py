"""What all commands have in common: profiles, output, errors, exit codes, and that secrets stay where they belong."""

import json
import os
import re
import resource
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from keystead.cli.app import COMMANDS, _hoisted, app
from keystead.cli.exits import MEANINGS, Exit, exit_of
from keystead.cli.output import cell, printable

from ..client.servers import FaultyServer, KeysteadServer, refuse, respond, say
from .terminal import SDK, CommandLine

DOCS: Final = SDK.parent / "docs" / "cli.md"
CANARY: Final = "canary-7c1f0b9d"


def config(line: CommandLine) -> Path:
    return line.home / ".config" / "keystead" / "config.toml"


def keys(line: CommandLine) -> Path:
    return line.home / ".config" / "keystead" / "credentials"


def forget(line: CommandLine, *names: str) -> None:
    line.environment |= dict.fromkeys(names)


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == {
        code.value: text for code, text in MEANINGS.items()
    }
    assert set(MEANINGS) == set(Exit)


def test_every_command_is_documented(line: CommandLine) -> None:
    sections = re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)
    for name in commands(line):
        of_it = "".join(
            s for s in sections if f"keystead {name}" in s.partition("\n")[0] or name == "configure"
        )
        for word in (f"keystead {name}", *commands(line, name)):
            assert re.search(rf"\b{word}\b", of_it), f"{name}: {word}"


def commands(line: CommandLine, *group: str) -> list[str]:
    shown = line(*group, "--help").out
    return re.findall(r"^  ([a-z-]+)  ", shown.partition("Commands:")[2], re.MULTILINE)


def examples(text: str) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [re.split(r" # | [|<>] (?!keystead)", line)[0] for block in blocks for line in block.splitlines()]
    return [shlex.split(line.rpartition("keystead ")[2]) for line in lines if "keystead " in line]


def test_the_five_minutes_of_the_documentation(line: CommandLine, keystead: KeysteadServer) -> None:
    root = keystead.installation.root
    forget(line, "KEYSTEAD_ENDPOINT", "KEYSTEAD_REGION", "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")
    (line.home / ".keystead").mkdir()
    (line.home / ".keystead" / "credentials").write_text(
        f"[default]\nsecret_id = {root.secret_id}\nsecret_key = {root.secret_key}\n"
    )
    data = line.home / "backup.tar"
    data.write_bytes(b"all of it")
    section = DOCS.read_text().partition("## Five minutes")[2].partition("\n## ")[0]
    shown = []
    for example in examples(section):
        key_id = line("key", "list").json()[0]["KeyId"] if "KEYID" in example else ""
        words = [
            word.replace("http://127.0.0.1:8000", keystead.endpoint)
            .replace("KEYID", key_id)
            .replace("backup.tar", str(data))
            .replace("again.tar", str(line.home / "again.tar"))
            for word in example
        ]
        asks = words[:2] == ["secret", "create"]
        ran = line.on_terminal(*words, typed=(("Value:", "pw-1\n"), ("Again:", "pw-1\n")) if asks else ())
        assert ran.code == 0, ran.out
        shown.append("pw-1" in ran.out)
    assert shown == [False, False, False, True, False, False, False, False]
    assert (line.home / "again.tar").read_bytes() == b"all of it"


def test_the_examples_of_the_documentation_have_commands_and_options_that_are_there() -> None:
    found = examples(DOCS.read_text())
    assert len(found) > 40
    for words in found:
        command: Any = get_command(app)
        options = {name for parameter in command.params for name in parameter.opts}
        left = list(words)
        while left and hasattr(command, "commands") and not left[0].startswith("-"):
            command = command.get_command(None, left.pop(0))
            options |= {name for parameter in command.params for name in parameter.opts}
        ours = left[: left.index("--")] if "--" in left else left
        for word in ours:
            if word.startswith("-") and word != "-" and not (words[0] == "api" and word[2].isupper()):
                assert word.partition("=")[0] in options, words


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ResourceNotFound", Exit.NOT_FOUND),
        ("ResourceUnavailable.CmkNotFound", Exit.NOT_FOUND),
        ("InvalidParameter.PolicyIdNotExist", Exit.NOT_FOUND),
        ("AuthFailure.SecretIdNotFound", Exit.DENIED),
        ("AuthFailure.UnauthorizedOperation", Exit.DENIED),
        ("UnauthorizedOperation", Exit.DENIED),
        ("RequestLimitExceeded.UinLimitExceeded", Exit.BUSY),
        ("InternalError", Exit.BUSY),
        ("ResourceUnavailable.ResourceDisabled", Exit.REFUSED),
        ("", Exit.REFUSED),
    ],
)
def test_codes_of_the_api_have_an_exit_code(code: str, expected: Exit) -> None:
    assert exit_of(code) is expected


def test_options_of_keystead_may_stand_anywhere() -> None:
    assert _hoisted(["secret", "list", "--region", "r", "--limit", "3", "--output=json"]) == [
        "--region", "r", "--output=json", "secret", "list", "--limit", "3",
    ]  # fmt: skip
    assert _hoisted(["run", "--region", "r", "--", "CMD", "--region", "x"]) == [
        "--region", "r", "run", "--", "CMD", "--region", "x",
    ]  # fmt: skip
    # What belongs to the program that `run` starts is not taken from it.
    assert _hoisted(["run", "CMD", "--output", "x"]) == ["run", "CMD", "--output", "x"]
    assert _hoisted(["secret", "get", "run", "--output", "x"]) == ["--output", "x", "secret", "get", "run"]
    assert _hoisted(["secret", "list", "--region"]) == ["--region"]


@pytest.mark.parametrize("option", ["--output", "--profile", "--region"])
def test_an_option_without_its_value_is_told(line: CommandLine, option: str) -> None:
    ran = line("secret", "key", "list", option)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert f"{option!r} requires an argument" in ran.err


def test_help_does_not_wait() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "keystead.cli", "--help"], check=True, capture_output=True, env={
        "PYTHONPATH": str(SDK)
    })  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 1.0  # some 0.2 seconds; slow machines run tests too


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['keystead', '--help']\nfrom keystead.cli import main\n"
        "try:\n main()\nexcept SystemExit: pass\n"
        "print(*sorted({'cryptography', 'ssl', 'rich', 'sqlalchemy', 'boto3', 'asyncio'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SDK)},
    )
    assert "Usage: keystead" in done.stdout
    assert done.stderr.strip() == ""


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys\nsys.modules['typer'] = None\nfrom keystead.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(SDK)},
    )
    assert done.returncode == Exit.USAGE
    assert done.stderr == "keystead: the command line needs typer: pip install 'keystead[cli]'\n"


def test_the_help_of_a_command_begins_with_its_line(line: CommandLine) -> None:
    assert commands(line) == list(COMMANDS)
    for name, (_, _, text) in COMMANDS.items():
        own = line(name, "--help").out
        assert "--help" in own
        if commands(line, name):
            assert text in own, name


# Profiles


def test_a_profile_is_written_and_used(line: CommandLine, keystead: KeysteadServer) -> None:
    ran = line("configure", "--profile", "lab", "--region", "ap-singapore")
    assert ran.code == 0
    forget(line, "KEYSTEAD_ENDPOINT", "KEYSTEAD_REGION")
    assert line("key", "list").code == Exit.USAGE
    made = line("key", "create", "orders", "--profile", "lab").json()["KeyId"]
    line.environment["KEYSTEAD_PROFILE"] = "lab"
    assert [k["KeyId"] for k in line("key", "list").json()] == [made]
    line.environment["KEYSTEAD_REGION"] = "ap-guangzhou"
    assert line("key", "list").json() == []
    assert keystead.calls["ListKeyDetail"] == 2


def test_profiles_stay_when_another_is_written(line: CommandLine) -> None:
    config(line).parent.mkdir(parents=True)
    config(line).write_text('["a b\\"c"]\nendpoint = "https://{service}.example.com"\nallow_http = true\n')
    line("configure", "--profile", "é", "--output", "table")
    line("configure")
    text = config(line).read_text()
    assert (
        line("secret", "list", "--profile", 'a b"c', "--endpoint", "https://127.0.0.1:1").code
        == Exit.UNREACHABLE
    )
    assert '["a b\\"c"]' in text
    assert "allow_http = true" in text
    assert stat.S_IMODE(config(line).stat().st_mode) == 0o600


def test_a_missing_profile_is_told(line: CommandLine) -> None:
    ran = line("secret", "list", "--profile", "none")
    assert ran.code == Exit.USAGE
    assert "keystead configure" in ran.err


@pytest.mark.parametrize(
    "text",
    [
        "[default",
        "default = 3",
        "[default]\nendpoint = 3",
        "[default]\nsecret_key = 'x'",
        "[default]\noutput = 'xml'",
    ],
)
def test_a_broken_profile_is_told_and_not_repeated(line: CommandLine, text: str) -> None:
    config(line).parent.mkdir(parents=True)
    config(line).write_text(f"{text}\n# {CANARY}")
    ran = line("secret", "list")
    assert ran.code == Exit.USAGE
    assert str(config(line)) in ran.err
    assert CANARY not in ran.err


def test_configure_asks_and_keeps_the_key_apart(line: CommandLine, keystead: KeysteadServer) -> None:
    root = keystead.installation.root
    forget(line, "KEYSTEAD_ENDPOINT", "KEYSTEAD_REGION", "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")
    ran = line.on_terminal(
        "configure",
        typed=(
            ("Endpoint", keystead.endpoint + "\n"),
            ("Region", "\n"),
            ("SecretId", root.secret_id + "\n"),
            ("SecretKey", root.secret_key + "\n"),
        ),
    )
    assert ran.code == 0, ran.out
    assert root.secret_key not in ran.out
    assert root.secret_key not in config(line).read_text()
    assert root.secret_key in keys(line).read_text()
    assert stat.S_IMODE(keys(line).stat().st_mode) == 0o600
    assert stat.S_IMODE(keys(line).parent.stat().st_mode) == 0o700
    assert line("secret", "list").json() == []


def test_without_a_terminal_configure_needs_endpoint_and_region(line: CommandLine) -> None:
    forget(line, "KEYSTEAD_REGION")
    assert line("configure").code == Exit.USAGE
    assert not config(line).exists()


@pytest.mark.parametrize("endpoint", ["http://keystead.example.com", "ftp://x", "https://x/y", "x"])
def test_an_endpoint_that_is_none_is_refused(line: CommandLine, endpoint: str) -> None:
    assert line("configure", "--endpoint", endpoint).code == Exit.USAGE
    assert not config(line).exists()
    assert line("secret", "list", "--endpoint", endpoint).code == Exit.USAGE


def test_the_keys_of_a_named_profile_come_before_the_environment(
    line: CommandLine, keystead: KeysteadServer
) -> None:
    user = keystead.installation.add_user("reader")
    line("configure", "--profile", "reader")
    line("configure")
    section = f"secret_id = {user.secret_id}\nsecret_key = {user.secret_key}\n"
    keys(line).write_text(f"[reader]\n{section}\n[default]\n{section}")

    def signer(*options: str) -> str:
        line("secret", "list", *options)
        return keystead.seen[-1]["Authorization"]

    assert user.secret_id in signer("--profile", "reader")
    assert keystead.installation.root.secret_id in signer()
    forget(line, "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")
    assert user.secret_id in signer()


def test_credentials_come_from_the_files_of_keystead_and_tccli(
    line: CommandLine, keystead: KeysteadServer
) -> None:
    root = keystead.installation.root
    forget(line, "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")
    nobody = line("secret", "list")
    assert nobody.code == Exit.DENIED
    assert "TENCENTCLOUD_SECRET_ID" in nobody.err
    tccli = line.home / ".tccli" / "default.credential"
    tccli.parent.mkdir()
    tccli.write_text(json.dumps({"secretId": root.secret_id, "secretKey": root.secret_key}))
    assert line("secret", "list").json() == []
    own = line.home / ".keystead" / "credentials"
    own.parent.mkdir()
    own.write_text(f"[default]\nsecret_id = {root.secret_id}\nsecret_key = wrong\n")
    assert line("secret", "list").code == Exit.DENIED


@pytest.mark.parametrize("name", ["", "a]b", "a\nb", "DEFAULT", "x" * 65])
def test_names_that_would_break_the_files_are_refused(line: CommandLine, name: str) -> None:
    ran = line("configure", f"--profile={name}")
    assert ran.code == (Exit.USAGE if name else 0)  # an empty one is none


@pytest.mark.parametrize("region", ["x y", "\udcff", "ap\n", "é"])
def test_a_region_that_is_no_name_is_told(line: CommandLine, region: str) -> None:
    line.environment["KEYSTEAD_REGION"] = None
    for words in (
        ("key", "list"),
        ("user", "list"),
        ("secret", "get", "x", "--value"),
        ("run", "--secret", "x", "--", "true"),
        ("configure",),
    ):
        ran = line("--region", region, *words)
        assert (ran.code, ran.out) == (Exit.USAGE, "")
        assert "ap-guangzhou" in ran.err
    assert not config(line).exists()


def test_texts_beyond_the_first_plane_stay_what_they_are(line: CommandLine) -> None:
    config(line).parent.mkdir(parents=True)
    config(line).write_text('[lab]\nca_file = "/\U00020000\\u007f.pem"\n')
    assert line("configure", "--profile", "\U00020001").code == 0
    before = config(line).read_text()
    assert line("configure", "--profile", "\U00020001").code == 0
    assert config(line).read_text() == before
    assert '"/\U00020000\\u007f.pem"' in before


def test_files_that_are_links_stay_links(line: CommandLine) -> None:
    config(line).parent.mkdir(parents=True)
    kept = line.home / "kept.toml"
    kept.write_text('[lab]\nregion = "r"\n')
    config(line).symlink_to(kept)
    assert line("configure").code == 0
    assert config(line).is_symlink()
    assert '["default"]' in kept.read_text()


def test_a_user_without_a_home_is_told(line: CommandLine) -> None:
    # What Python has may be out of the other user's reach: imported before.
    program = (
        "import os, pwd, tomllib, keystead.cli.app, keystead.cli.key, keystead.credentials\n"
        "os.setuid(54321)\nkeystead.cli.main()\n"
    )
    if os.getuid():
        pytest.skip("only root can become a user without a name")
    variables = {name: value for name, value in line.variables().items() if name != "HOME"}
    ran = subprocess.run(
        [sys.executable, "-B", "-c", program, "key", "list"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == Exit.USAGE, ran.stderr
    assert ran.stderr == "keystead: This user has no home directory: set HOME.\n"


def test_a_broken_profile_does_not_break_completion(line: CommandLine) -> None:
    config(line).parent.mkdir(parents=True)
    config(line).write_text("[default")
    line.environment |= {
        "COMP_CWORD": "2",
        "COMP_WORDS": "keystead --profile ",
        "_KEYSTEAD_COMPLETE": "complete_bash",
    }
    ran = line.process()
    assert (ran.out.strip(), ran.err) == ("", "")


# Output


def test_json_is_json_whatever_the_locale(line: CommandLine) -> None:
    line.environment["PYTHONIOENCODING"] = "gbk"
    text = "\u4e2d\xe9\U0001f511"
    assert line("key", "create", "orders", "--description", text).code == 0
    assert json.loads(line.process("key", "list").raw)[0]["Description"] == text


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        ("<&-", "secret create db", Exit.USAGE),
        ("<&-", "secret create db --from-file -", Exit.REFUSED),
        ("<&-", "secret delete db", Exit.USAGE),
        ("<&-", "secret list", Exit.OK),
        (">&-", "secret list", Exit.REFUSED),
        (">/dev/full", "secret list", Exit.REFUSED),
        (">/dev/full", "--help", Exit.REFUSED),
        (">/dev/full", "secret --help", Exit.REFUSED),
        (">/dev/full", "--show-completion bash", Exit.REFUSED),
        (">&-", "secret list --output table", Exit.REFUSED),
        ("2>&-", "secret get db", Exit.NOT_FOUND),
        ("<&- >&- 2>&-", "secret get db", Exit.NOT_FOUND),
    ],
)
def test_files_that_take_nothing_are_no_surprise(
    line: CommandLine, closed: str, arguments: str, code: Exit
) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'exec "$@" {arguments} {closed}', "sh", *line.argv()],  # noqa: S607
        env=line.variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "2>&-" in closed or ran.stderr.count("\n") == (code != 0)


def test_a_terminal_gets_a_table_and_a_pipe_json(line: CommandLine) -> None:
    made = line("key", "create", "orders").json()["KeyId"]
    table = re.sub("\x1b.*?m", "", line.on_terminal("key", "list").out)
    assert re.search(r"KeyId +Alias +KeyState", table)
    assert made in table
    assert re.search(
        r"CreateTime +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", line("key", "describe", made, "--output", "table").out
    )
    assert line("key", "list").json()[0]["KeyId"] == made
    assert json.loads(line.on_terminal("key", "list", "--output", "json").out)[0]["KeyId"] == made
    line("configure", "--output", "table")
    assert "Alias" in line("key", "list").out
    assert line("key", "list", "--output", "json").json()


def test_a_table_in_a_pipe_is_as_wide_as_it_needs(line: CommandLine, keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="s", VersionId="v", SecretString="x", Description="d" * 300)
    assert "d" * 300 in line("secret", "list", "--output", "table").out
    assert "d" * 300 in line("secret", "get", "s", "--output", "table").out


HOSTILE: Final = "[bold]\x1b]0;owned\x07\x9b2J\u202egpj.exe\nnext"


@pytest.mark.parametrize("form", ["json", "table"])
def test_texts_of_others_cannot_steer_the_terminal(
    line: CommandLine, faulty: FaultyServer, form: str
) -> None:
    faulty.script = [respond(SecretName=HOSTILE, Description=HOSTILE)]
    line.environment["KEYSTEAD_ENDPOINT"] = faulty.endpoint
    shown = line.process("secret", "get", "s", "--output", form).out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "[bold]" in shown
    if form == "json":
        assert json.loads(shown)["Description"] == HOSTILE


def test_errors_cannot_steer_the_terminal(line: CommandLine, faulty: FaultyServer) -> None:
    faulty.script = [refuse("FailedOperation", HOSTILE)]
    line.environment["KEYSTEAD_ENDPOINT"] = faulty.endpoint
    ran = line("secret", "get", "s")
    assert ran.code == Exit.REFUSED
    assert ran.err.count("\n") == 1
    assert printable(ran.err[:-1]) == ran.err[:-1]


def test_cells() -> None:
    assert cell("CreateTime", 0) == cell("Description", "") == cell("x", None) == "-"
    assert cell("CreateTime", 86400) == "1970-01-02 00:00:00Z"
    assert cell("KeyRotationEnabled", True) == "yes"  # noqa: FBT003
    assert cell("Tags", [{"a": "b"}]) == '[{"a": "b"}]'


def test_characters_that_the_locale_lacks_do_not_end_it(line: CommandLine, keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="s", VersionId="v", SecretString="x", Description="钥匙")
    line.environment["PYTHONIOENCODING"] = "ascii"
    ran = line.process("secret", "get", "s")
    assert ran.json()["Description"] == "钥匙"


# Errors


def test_an_error_is_one_line_with_the_request(line: CommandLine) -> None:
    ran = line("secret", "get", "none")
    assert (ran.code, ran.out) == (Exit.NOT_FOUND, "")
    assert re.fullmatch(r"keystead: ResourceNotFound: .+ \(RequestId [0-9a-f-]{36}\)\n", ran.err)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("InternalError", Exit.BUSY), ("LimitExceeded", Exit.REFUSED), ("UnauthorizedOperation", Exit.DENIED)],
)
def test_a_refusal_ends_with_its_code(
    line: CommandLine, faulty: FaultyServer, code: str, expected: Exit
) -> None:
    faulty.script = [refuse(code)]
    line.environment["KEYSTEAD_ENDPOINT"] = faulty.endpoint
    assert line("secret", "disable", "s").code == expected


def test_no_answer_to_a_change_leaves_doubt(line: CommandLine, faulty: FaultyServer) -> None:
    faulty.script = [say(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")]
    line.environment["KEYSTEAD_ENDPOINT"] = faulty.endpoint
    ran = line("secret", "disable", "s")
    assert ran.code == Exit.UNREACHABLE
    assert "not known" in ran.err
    assert len(faulty.requests) == 1
    line.environment["KEYSTEAD_ENDPOINT"] = "http://127.0.0.1:1"
    ran = line("secret", "disable", "s")
    assert ran.code == Exit.UNREACHABLE
    assert "not known" not in ran.err


def test_an_unexpected_error_shows_no_variables(line: CommandLine, faulty: FaultyServer) -> None:
    # An answer without the members that the command needs.
    faulty.script = [respond()]
    line.environment["KEYSTEAD_ENDPOINT"] = faulty.endpoint
    ran = line.process("secret", "put", "s", "--from-file", "-", stdin=CANARY.encode())
    assert ran.code != 0
    assert CANARY not in ran.out + ran.err
    assert str(line.environment["TENCENTCLOUD_SECRET_KEY"]) not in ran.err


def test_a_secret_is_nowhere_but_where_it_was_asked_for(line: CommandLine, keystead: KeysteadServer) -> None:
    json_value = json.dumps({"user": "u", "password": CANARY})
    ran = [
        line("secret", "create", "s", "--from-file", "-", stdin=json_value),
        line("secret", "create", "s", "--from-file", "-", stdin=json_value),
        line("secret", "put", "s", "--field", "password", "--from-file", "-", stdin=CANARY),
        line("secret", "put", "s", "--version-id", "!", "--from-file", "-", stdin=json_value),
        line("secret", "put", "s", "--version-id", "2", "--from-file", "-", stdin=json_value * 3000),
        line("secret", "get", "s"),
        line("secret", "get", "s", "--field", "none"),
        line("secret", "get", "s", "--value", "--output", "table", "--version", "none"),
        line("secret", "versions", "s"),
        line("secret", "list", "--output", "table"),
        line("secret", "rotate", "s", "--field", "password"),
        line("api", "ssm", "PutSecretValue", "--SecretName", "s", "--SecretString", "-", stdin=CANARY),
        line("api", "kms", "Encrypt", "--KeyId", "x", "--Plaintext", "-", stdin=CANARY),
        line("key", "import", "x", "--from-file", "-", stdin=CANARY),
        line("encrypt", "--key", "x", stdin=CANARY),
    ]
    assert {r.code for r in ran} == {0, Exit.REFUSED, Exit.USAGE, Exit.NOT_FOUND}
    for number, one in enumerate(ran):
        assert CANARY.encode() not in one.raw, number
        assert CANARY not in one.err, number
        assert str(line.environment["TENCENTCLOUD_SECRET_KEY"]) not in one.out + one.err
    assert not list(line.home.iterdir())
    assert (
        keystead.ssm("GetSecretValue", SecretName="s", VersionId="SSM_Current")["SecretString"] == json_value
    )


def test_completion_scripts_are_there(line: CommandLine) -> None:
    for shell, sign in (("bash", "complete "), ("zsh", "compdef"), ("fish", "complete ")):
        line.environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
        ran = line.process("--show-completion", shell)
        assert sign in ran.out, shell


def test_profile_names_are_completed(line: CommandLine) -> None:
    line("configure", "--profile", "lab")
    line.environment |= {
        "_KEYSTEAD_COMPLETE": "complete_bash",
        "COMP_WORDS": "keystead --profile ",
        "COMP_CWORD": "2",
    }
    ran = line.process()
    assert ran.out.split() == ["lab"]
    # The options of keystead may stand anywhere: what is asked for is still the command's.
    line.environment |= {"COMP_WORDS": "keystead secret get --region r --val", "COMP_CWORD": "5"}
    assert line.process().out.split() == ["--value"]
