"""`keystead secret` against a whole Keystead."""

import json
import os
import stat
from pathlib import Path

import pytest

from keystead.cli.exits import Exit

from ..client.servers import KeysteadServer
from .terminal import CommandLine

VALUE = "correct-horse-battery-staple"
JSON = '{"user": "app", "password": "old", "port": 5432}'


def create(line: CommandLine, name: str, value: str | bytes = VALUE, *more: str) -> str:
    version: str = line("secret", "create", name, "--from-file", "-", *more, stdin=value).json()["VersionId"]
    return version


def value(line: CommandLine, name: str, *more: str) -> bytes:
    ran = line("secret", "get", name, "--value", *more)
    assert ran.code == 0, ran.err
    return ran.raw


def test_a_secret_is_created_from_standard_input_and_read_back(line: CommandLine) -> None:
    made = line("secret", "create", "db", "--from-file", "-", "--description", "of tests", stdin=VALUE)
    assert made.json()["SecretName"] == "db"
    assert VALUE not in made.out + made.err
    assert value(line, "db") == VALUE.encode()


def test_the_value_is_not_shown_unless_asked_for(line: CommandLine, keystead: KeysteadServer) -> None:
    create(line, "db", VALUE, "--description", "of tests")
    described = line("secret", "get", "db")
    assert described.json()["Description"] == "of tests"
    assert VALUE not in described.out + described.err
    assert keystead.calls["GetSecretValue"] == 0


def test_a_value_has_the_bytes_of_its_file(line: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "value"
    for name, content in (("text", b"two\nlines\n"), ("binary", b"\x00\xff\r\n")):
        place.write_bytes(content)
        ran = line("secret", "create", name, "--from-file", str(place))
        assert ("SecretBinary" in ran.err) == (name == "binary")
        assert value(line, name) == content


def test_text_can_be_stored_as_binary(line: CommandLine, keystead: KeysteadServer) -> None:
    create(line, "db", VALUE, "--binary")
    answer = keystead.ssm("GetSecretValue", SecretName="db", VersionId="SSM_Current")
    assert (answer["SecretString"], bool(answer["SecretBinary"])) == ("", True)
    assert value(line, "db") == VALUE.encode()


def test_a_line_end_is_a_part_of_the_value_and_one_is_told(line: CommandLine) -> None:
    ran = line("secret", "create", "a", "--from-file", "-", stdin=VALUE + "\n")
    assert "--trim" in ran.err
    assert VALUE not in ran.err
    assert value(line, "a") == VALUE.encode() + b"\n"


def test_trim_leaves_the_line_end_out(line: CommandLine) -> None:
    ran = line("secret", "create", "a", "--trim", "--from-file", "-", stdin=VALUE + "\r\n")
    assert ran.err == ""
    assert value(line, "a") == VALUE.encode()


def test_a_field_is_read_and_changed_and_the_others_stay(line: CommandLine) -> None:
    create(line, "db", JSON)
    assert line("secret", "get", "db", "--field", "password").out == "old"
    assert line("secret", "get", "db", "--field", "port").out == "5432"
    line("secret", "put", "db", "--field", "password", "--from-file", "-", stdin="new").json()
    assert json.loads(value(line, "db")) == {"user": "app", "password": "new", "port": 5432}
    missing = line("secret", "get", "db", "--field", "host")
    assert (missing.code, missing.out) == (Exit.NOT_FOUND, "")


def test_a_field_of_what_is_no_object_is_refused(line: CommandLine) -> None:
    create(line, "db")
    for ran in (
        line("secret", "get", "db", "--field", "password"),
        line("secret", "put", "db", "--field", "password", "--from-file", "-", stdin="new"),
    ):
        assert ran.code == Exit.USAGE
        assert VALUE not in ran.err
    assert value(line, "db") == VALUE.encode()


def test_a_value_goes_to_a_file_that_others_cannot_read(line: CommandLine, tmp_path: Path) -> None:
    create(line, "db")
    place = tmp_path / "value"
    assert line("secret", "get", "db", "--to-file", str(place)).raw == b""
    assert place.read_text() == VALUE
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    again = line("secret", "get", "db", "--field", "x", "--to-file", str(place))
    assert again.code == Exit.USAGE
    place.write_text("kept")
    assert line("secret", "get", "db", "--to-file", str(place)).code == Exit.USAGE
    assert place.read_text() == "kept"
    assert line("secret", "get", "db", "--to-file", str(place), "--force").code == 0
    assert place.read_text() == VALUE
    assert [p.name for p in tmp_path.iterdir()] == ["value"]


def test_a_value_goes_to_one_place(line: CommandLine, tmp_path: Path) -> None:
    create(line, "db")
    ran = line("secret", "get", "db", "--value", "--to-file", str(tmp_path / "value"))
    assert (ran.code, ran.raw, list(tmp_path.iterdir())) == (Exit.USAGE, b"", [])


def test_a_member_that_is_no_unicode_ends_it(line: CommandLine) -> None:
    create(line, "db", '{"password": "\\ud800-secret", "x": "1"}')
    ran = line("secret", "get", "db", "--field", "password")
    assert ran.code == Exit.REFUSED
    assert "secret" not in ran.out + ran.err
    assert line("secret", "put", "db", "--field", "x", "--from-file", "-", stdin="2").code == Exit.REFUSED


def test_versions_are_listed_read_and_deleted(line: CommandLine) -> None:
    first = create(line, "db", "one")
    second = line("secret", "put", "db", "--from-file", "-", stdin="two").json()["VersionId"]
    line("secret", "put", "db", "--version-id", "v3", "--from-file", "-", stdin="three").json()
    assert [v["VersionId"] for v in line("secret", "versions", "db").json()] == ["v3", second, first]
    assert value(line, "db", "--version", first) == b"one"
    assert value(line, "db") == b"three"
    assert line("secret", "delete", "db", "--version", first).code == Exit.USAGE  # nobody was asked
    line("secret", "delete", "db", "--version", first, "--yes").json()
    assert [v["VersionId"] for v in line("secret", "versions", "db").json()] == ["v3", second]


def test_a_version_is_not_said_where_no_value_is_read(line: CommandLine) -> None:
    create(line, "db")
    assert line("secret", "get", "db", "--version", "v1").code == Exit.USAGE


def test_rotation_makes_a_random_value_that_nobody_sees(line: CommandLine) -> None:
    create(line, "db")
    assert line("secret", "rotate", "db").code == Exit.USAGE
    assert value(line, "db") == VALUE.encode()
    ran = line("secret", "rotate", "db", "--yes", "--length", "40")
    made = value(line, "db").decode()
    assert len(made) == 40
    assert made.isalnum()
    assert made not in ran.out + ran.err
    line("secret", "rotate", "db", "--yes").json()
    assert value(line, "db").decode() != made


def test_rotation_of_a_field_keeps_the_others(line: CommandLine) -> None:
    create(line, "db", JSON)
    line("secret", "rotate", "db", "--field", "password", "--yes").json()
    rotated = json.loads(value(line, "db"))
    assert len(rotated.pop("password")) == 32
    assert rotated == {"user": "app", "port": 5432}


def test_what_cannot_be_rotated_by_field_stays(line: CommandLine) -> None:
    create(line, "db")
    assert line("secret", "rotate", "db", "--field", "password", "--yes").code == Exit.USAGE
    assert value(line, "db") == VALUE.encode()


def test_a_secret_is_disabled_deleted_and_restored(line: CommandLine) -> None:
    create(line, "db")
    line("secret", "disable", "db").json()
    assert line("secret", "get", "db", "--value").code == Exit.REFUSED
    line("secret", "enable", "db").json()
    assert value(line, "db") == VALUE.encode()
    line("secret", "disable", "db").json()
    line("secret", "delete", "db", "--days", "9", "--yes").json()
    assert line("secret", "get", "db").json()["Status"] == "PendingDelete"
    line("secret", "restore", "db").json()
    assert line("secret", "get", "db").json()["Status"] == "Disabled"
    line("secret", "delete", "db", "--now", "--yes").json()
    assert line("secret", "get", "db").code == Exit.NOT_FOUND


def test_deletion_waits_unless_told_otherwise(line: CommandLine, keystead: KeysteadServer) -> None:
    create(line, "db")
    line("secret", "disable", "db").json()
    refused = line("secret", "delete", "db")
    assert refused.code == Exit.USAGE
    assert "--yes" in refused.err
    assert keystead.calls["DeleteSecret"] == 0
    deleted = line("secret", "delete", "db", "--yes").json()
    assert deleted["DeleteTime"] - keystead.installation.clock.now() == pytest.approx(7 * 86400, abs=5)


def test_lists_are_read_page_by_page_and_no_further_than_asked(
    line: CommandLine, keystead: KeysteadServer
) -> None:
    for number in range(103):
        keystead.ssm(
            "CreateSecret",
            SecretName=f"s-{number:03}",
            VersionId="v1",
            SecretString="x",
            Tags=[{"TagKey": "n", "TagValue": str(number % 2)}],
        )
    names = [s["SecretName"] for s in line("secret", "list").json()]
    assert sorted(names) == [f"s-{n:03}" for n in range(103)]
    assert keystead.calls["ListSecrets"] == 2
    assert len(line("secret", "list", "--limit", "3").json()) == 3
    assert keystead.calls["ListSecrets"] == 3
    assert [s["SecretName"] for s in line("secret", "list", "--search", "042").json()] == ["s-042"]
    assert len(line("secret", "list", "--tag", "n=1").json()) == 51
    line("secret", "disable", "s-007").json()
    assert [s["SecretName"] for s in line("secret", "list", "--state", "disabled").json()] == ["s-007"]
    assert line("secret", "list", "--search", "nothing").json() == []


def test_a_value_on_the_command_line_is_refused_and_not_repeated(line: CommandLine) -> None:
    for ran in (
        line("secret", "create", "db", VALUE),
        line("secret", "put", "db", VALUE),
        line("secret", "put", "db", "--value", VALUE),
        line("secret", "put", "db", f"--value={VALUE}"),
        line("secret", "put", "db", f"--from-file={VALUE}", "--length", VALUE),
        line("secret", "put", "db", f"-x{VALUE}"),
        line.process("secret", "put", "db", VALUE),
    ):
        assert ran.code == Exit.USAGE
        assert VALUE not in ran.out + ran.err


def test_without_a_terminal_nobody_is_asked_for_a_value(line: CommandLine, keystead: KeysteadServer) -> None:
    ran = line("secret", "create", "db", stdin=VALUE)
    assert ran.code == Exit.USAGE
    assert keystead.calls["CreateSecret"] == 0


def test_a_typed_value_is_asked_for_twice_and_not_shown(line: CommandLine) -> None:
    ran = line.on_terminal(
        "secret", "create", "db", typed=(("Value:", VALUE + "\n"), ("Again:", VALUE + "\n"))
    )
    assert ran.code == 0, ran.out
    assert VALUE not in ran.out
    assert value(line, "db") == VALUE.encode()


def test_a_deletion_is_asked_for_on_a_terminal(line: CommandLine) -> None:
    create(line, "db")
    line("secret", "disable", "db").json()
    for answer in ("n\n", "\n", "\x03", "\x04"):
        assert line.on_terminal("secret", "delete", "db", typed=(("[y/N]", answer),)).code == Exit.ABORTED
        assert line("secret", "get", "db").json()["Status"] == "Disabled"
    assert line.on_terminal("secret", "delete", "db", typed=(("[y/N]", "y\n"),)).code == 0
    assert line("secret", "get", "db").json()["Status"] == "PendingDelete"


def test_a_value_that_could_steer_the_terminal_is_not_printed_there(line: CommandLine) -> None:
    create(line, "plain", "öffne\tdich")
    assert "öffne" in line.on_terminal("secret", "get", "plain", "--value").out
    create(line, "hostile", "\x1b]0;owned\x07")
    ran = line.on_terminal("secret", "get", "hostile", "--value")
    assert ran.code == Exit.USAGE
    assert "owned" not in ran.out
    assert value(line, "hostile") == b"\x1b]0;owned\x07"
    create(line, "binary", b"abc\xff")  # what is shown in its place would be copied as the value
    ran = line.on_terminal("secret", "get", "binary", "--value")
    assert ran.code == Exit.USAGE
    assert "abc" not in ran.out
    line.environment["PYTHONIOENCODING"] = "latin-1"
    create(line, "foreign", "abc\u4e2d")
    ran = line.on_terminal("secret", "get", "foreign", "--value")
    assert ran.code == Exit.USAGE
    assert "abc" not in ran.out
    line.environment["PYTHONIOENCODING"] = None


def test_what_is_no_file_is_not_replaced(line: CommandLine, tmp_path: Path) -> None:
    """As root, /dev/null or a pipe would be gone."""
    create(line, "db")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for place in (pipe, tmp_path / "link", tmp_path, Path("-")):
        assert line("secret", "get", "db", "--to-file", str(place), "--force").code == Exit.USAGE
    assert pipe.is_fifo()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "pipe"]
