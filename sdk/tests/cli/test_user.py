"""`keystead user` against a whole Keystead."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

from keystead.cli.exits import Exit
from keystead.credentials import from_file

from ..client.servers import FaultyServer, KeysteadServer, refuse, respond
from .terminal import CommandLine

CANARY = "canary-7c1f0b9d"


def test_a_user_is_created_shown_listed_and_deleted(line: CommandLine) -> None:
    made = line("user", "create", "alice", "--remark", "operations").json()
    assert made["Name"] == "alice"
    assert [each["Name"] for each in line("user", "list").json()] == ["alice"]
    shown = line("user", "get", "alice").json()
    assert (shown["Uin"], shown["Remark"], shown["AccessKeys"]) == (made["Uin"], "operations", [])
    assert line("user", "delete", "alice").code == Exit.USAGE  # nobody can be asked
    assert line("user", "delete", "alice", "--yes").json() == {"Name": "alice"}
    assert line("user", "get", "alice").code == Exit.NOT_FOUND


def test_a_secret_key_goes_into_a_file_of_its_owner_alone_and_works(
    line: CommandLine, tmp_path: Path, keystead: KeysteadServer
) -> None:
    place = tmp_path / "bob.ini"
    ran = line("user", "create", "bob", "--credentials-file", str(place))
    made = ran.json()
    found = from_file(place)
    assert made["SecretId"] == found.secret_id
    assert found.secret_key not in ran.out + ran.err
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    identity = keystead.api(found).call("sts", "2018-08-13", "GetCallerIdentity")
    assert identity["UserId"] == str(made["Uin"])


def test_a_secret_key_is_printed_when_asked_only(line: CommandLine) -> None:
    assert "SecretKey" not in line("user", "create", "carol").json()
    refused = line("user", "keys", "create", "--user", "carol")
    assert (refused.code, refused.out) == (Exit.USAGE, "")
    assert "--credentials-file" in refused.err
    assert line("user", "keys", "list", "--user", "carol").json() == []
    made = line("user", "keys", "create", "--user", "carol", "--show", "--description", "ci").json()
    assert len(made["SecretKey"]) == 32
    (listed,) = line("user", "keys", "list", "--user", "carol").json()
    assert (listed["AccessKeyId"], listed["Status"], listed["Description"]) == (
        made["SecretId"],
        "Active",
        "ci",
    )
    assert made["SecretKey"] not in line("user", "get", "carol").out


def test_keys_are_switched_and_deleted(line: CommandLine) -> None:
    made = line("user", "create", "dan", "--show").json()

    def status() -> list[str]:
        return [each["Status"] for each in line("user", "keys", "list", "--user", "dan").json()]

    disabled = line("user", "keys", "disable", made["SecretId"], "--user", "dan").json()
    assert disabled == {"AccessKeyId": made["SecretId"], "Status": "Inactive"}
    assert status() == ["Inactive"]
    assert line("user", "keys", "enable", made["SecretId"], "--user", "dan").code == Exit.OK
    assert status() == ["Active"]
    assert line("user", "delete", "dan", "--yes").code == Exit.REFUSED  # it has a key
    deleted = line("user", "keys", "delete", made["SecretId"], "--user", "dan", "--yes").json()
    assert deleted == {"AccessKeyId": made["SecretId"]}
    assert status() == []
    assert line("user", "keys", "delete", made["SecretId"], "--user", "dan", "--yes").code == Exit.NOT_FOUND


def test_own_keys_need_no_name(line: CommandLine, keystead: KeysteadServer) -> None:
    (own,) = line("user", "keys", "list").json()
    assert own["AccessKeyId"] == keystead.installation.root.secret_id


def test_an_existing_file_is_left_alone_and_nothing_is_made(line: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.write_text("mine")
    assert line("user", "create", "erin", "--credentials-file", str(place)).code == Exit.USAGE
    assert place.read_text() == "mine"
    assert line("user", "list").json() == []
    assert line("user", "create", "erin", "--credentials-file", str(tmp_path / "no" / "x")).code != Exit.OK
    assert line("user", "list").json() == []


def test_a_key_that_cannot_be_kept_is_deleted_again(line: CommandLine, tmp_path: Path) -> None:
    """A file size limit of the operating system stands for a disk that is full when the key is there already."""
    place = tmp_path / "frank.ini"
    program = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))\n"
        "from keystead.cli import main\n"
        "main()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-B", "-c", program, "user", "create", "frank", "--credentials-file", str(place)],
        env=line.variables(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == Exit.REFUSED, ran.stderr
    assert b"was deleted" in ran.stderr
    assert line("user", "keys", "list", "--user", "frank").json() == []
    assert not place.exists()


def test_a_key_that_can_neither_be_kept_nor_deleted_is_named(
    line: CommandLine, faulty: FaultyServer, tmp_path: Path
) -> None:
    line.environment["KEYSTEAD_ENDPOINT"] = faulty.endpoint
    place = tmp_path / "own.ini"

    def key(connection: socket.socket) -> None:
        place.write_text("of somebody else")
        respond(AccessKey={"AccessKeyId": "AKIDleft", "SecretAccessKey": CANARY})(connection)

    faulty.script = [key, refuse("UnauthorizedOperation")]
    ran = line("user", "keys", "create", "--credentials-file", str(place))
    assert ran.code == Exit.DENIED
    assert "AKIDleft" in ran.err
    assert CANARY not in ran.out + ran.err
    assert place.read_text() == "of somebody else"


def test_a_user_without_permission_is_denied(line: CommandLine, keystead: KeysteadServer) -> None:
    who = keystead.installation.add_user("grace")
    line.environment |= {
        "TENCENTCLOUD_SECRET_ID": who.secret_id,
        "TENCENTCLOUD_SECRET_KEY": who.secret_key,
    }
    ran = line("user", "list")
    assert ran.code == Exit.DENIED
    assert "RequestId" in ran.err
