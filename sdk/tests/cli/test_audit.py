"""`keystead audit`: the trail as it is watched, and an export as an auditor checks it."""

import json
import os
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from chalicelib.hsm.public import to_pem
from tests.audit.rig import Rig
from tests.installation import SM

from keystead.cli.exits import Exit

from ..client.servers import FaultyServer, KeysteadServer, Step, refuse, respond
from .terminal import CommandLine, Ran

# tail


def names(ran: Ran) -> list[str]:
    return [each["EventName"] for each in ran.json()]


def test_the_newest_events_come_oldest_first(line: CommandLine, keystead: KeysteadServer) -> None:
    for action in ("ListSecrets", "GetRegions", "GetServiceStatus"):
        keystead.installation.clock.advance(0.001)
        keystead.ssm(action)
    assert names(line("audit", "tail"))[-3:] == ["ListSecrets", "GetRegions", "GetServiceStatus"]
    assert names(line("audit", "tail", "-n", "2", "--event", "GetRegions", "--event", "ListSecrets")) == [
        "ListSecrets",
        "GetRegions",
    ]


def test_events_are_chosen(line: CommandLine, keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="db", SecretString="x", VersionId="v1")
    keystead.ssm("ListSecrets")
    who = keystead.installation.add_user("alice")
    line.environment |= {"TENCENTCLOUD_SECRET_ID": who.secret_id, "TENCENTCLOUD_SECRET_KEY": who.secret_key}
    assert line("secret", "list").code == Exit.DENIED
    root = keystead.installation.root
    line.environment |= {"TENCENTCLOUD_SECRET_ID": root.secret_id, "TENCENTCLOUD_SECRET_KEY": root.secret_key}
    assert names(line("audit", "tail", "--user", "alice")) == ["ListSecrets"]
    assert names(line("audit", "tail", "--user", who.uin)) == ["ListSecrets"]
    assert names(line("audit", "tail", "--access-key", who.secret_id)) == ["ListSecrets"]
    assert names(line("audit", "tail", "--resource", "db")) == ["CreateSecret"]
    assert names(line("audit", "tail", "--writes", "--user", root.uin)) == ["CreateSecret"]
    (refused,) = line("audit", "tail", "--user", "alice").json()
    code = refused["CloudAuditEvent"]["errorCode"]
    assert names(line("audit", "tail", "--error", code)) == ["ListSecrets"]
    assert names(line("audit", "tail", "--request-id", refused["RequestID"])) == ["ListSecrets"]
    assert names(line("audit", "tail", "--address", "198.51.100.1")) == []
    table = line("--output", "table", "audit", "tail", "--user", "alice").out
    assert "alice" in table
    assert code in table


def test_since_shows_everything_and_pages_are_followed(line: CommandLine, keystead: KeysteadServer) -> None:
    for _ in range(60):
        keystead.ssm("GetRegions")
    assert len(names(line("audit", "tail"))) == 20
    found = line("audit", "tail", "--since", "1h", "--event", "GetRegions").json()
    assert len({each["EventId"] for each in found}) == 60
    assert len(names(line("audit", "tail", "--since", "45d", "-n", "7"))) == 7
    assert line("audit", "tail", "--since", "yesterday").code == Exit.USAGE


def test_a_long_span_is_asked_for_in_pieces(line: CommandLine, keystead: KeysteadServer) -> None:
    keystead.ssm("GetRegions")
    assert sorted(names(line("audit", "tail", "--since", "70d"))) == ["CreateAccount", "GetRegions"]
    assert keystead.calls["DescribeEvents"] >= 3
    assert line("audit", "tail", "--since", "100d").code == Exit.REFUSED  # the service keeps no longer


class Following:
    """`keystead audit tail -f` as a process."""

    def __init__(self, line: CommandLine, *options: str) -> None:
        self._process = subprocess.Popen(
            line.argv("audit", "tail", "-f", "--every", "1", *options),
            env=line.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def next(self) -> Any:
        assert not self.is_quiet(20)
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def is_quiet(self, seconds: float) -> bool:
        assert self._process.stdout is not None
        return not select.select([self._process.stdout], [], [], seconds)[0]

    def stop(self) -> int:
        self._process.terminate()
        self._process.communicate(timeout=20)
        return self._process.returncode


def test_following_shows_what_is_new_once_and_not_itself(line: CommandLine, keystead: KeysteadServer) -> None:
    keystead.installation.clock.advance(0.001)
    for _ in range(3):
        keystead.ssm("GetRegions")
    following = Following(line, "-n", "1")
    try:
        assert following.next()["EventName"] == "GetRegions"
        keystead.ssm("ListSecrets")
        shown = following.next()
        assert shown["EventName"] == "ListSecrets"
        assert isinstance(shown["CloudAuditEvent"], dict)
        assert following.is_quiet(3.5)
        assert 3 <= keystead.calls["DescribeEvents"] <= 20
    finally:
        following.stop()


def test_following_outlives_a_service_in_trouble(line: CommandLine) -> None:
    server = FaultyServer()
    line.environment["KEYSTEAD_ENDPOINT"] = server.endpoint

    def found(*ids: str) -> Step:
        now = str(int(time.time()))
        events = [{"EventId": each, "EventName": each, "EventTime": now} for each in ids]
        return respond(Events=events, ListOver=True, NextToken=0)

    trouble = [refuse("InternalError")] * 4  # as often as the client tries
    server.script = [found("a"), found("a"), *trouble, found("b", "a")]
    following = Following(line)
    try:
        assert [following.next()["EventId"] for _ in "ab"] == ["a", "b"]
        assert following.is_quiet(2.5)
    finally:
        following.stop()
        server.close()


def test_following_ends_where_it_is_not_allowed(line: CommandLine, keystead: KeysteadServer) -> None:
    who = keystead.installation.add_user("alice")
    line.environment |= {"TENCENTCLOUD_SECRET_ID": who.secret_id, "TENCENTCLOUD_SECRET_KEY": who.secret_key}
    assert line("audit", "tail", "-f").code == Exit.DENIED


@pytest.mark.parametrize("every", ["nan", "inf", "0", "1000000"])
def test_a_pause_that_is_none_is_refused(line: CommandLine, keystead: KeysteadServer, every: str) -> None:
    assert line("audit", "tail", "-f", "--every", every).code == Exit.USAGE
    assert keystead.calls["DescribeEvents"] == 0


# verify


@pytest.fixture(scope="module")
def rig() -> Rig:
    made = Rig()
    made.windows([3, 2])
    return made


@pytest.fixture
def files(rig: Rig, tmp_path: Path) -> tuple[str, str, str]:
    """An export, the key, and the anchor."""
    lines = rig.export()
    paths = [tmp_path / name for name in ("export.jsonl", "key.pem", "anchor.jsonl")]
    paths[0].write_bytes(b"".join(lines))
    paths[1].write_text(to_pem(rig.public_key()))
    paths[2].write_bytes(b"".join(each for each in lines if each.startswith(b'{"digest"')))
    return str(paths[0]), str(paths[1]), str(paths[2])


@pytest.fixture
def auditor(tmp_path: Path) -> CommandLine:
    """Has no credentials, and no service to reach."""
    made = CommandLine("", "", "", tmp_path / "auditor")
    made.environment |= {"KEYSTEAD_REGION": None, "KEYSTEAD_ENDPOINT": None}
    return made


def test_an_export_is_verified_with_nothing_but_the_key(
    auditor: CommandLine, files: tuple[str, str, str]
) -> None:
    export, key, anchor = files
    told = auditor("audit", "verify", export, "--key", key, "--anchor", anchor, "--since", "0").json()
    assert (told["Verified"], told["Events"], told["Domain"], told["Notes"]) == (True, 6, SM, [])
    alone = auditor.process("audit", "verify", export, "--key", key)
    assert alone.code == Exit.OK
    assert "Without --anchor" in json.loads(alone.out)["Notes"][0]


def test_an_export_that_was_changed_ends_with_a_code_of_its_own(
    auditor: CommandLine, files: tuple[str, str, str]
) -> None:
    export, key, anchor = files
    good = Path(export).read_bytes()
    Path(export).write_bytes(good.replace(b'"Encrypt"', b'"Decrypt"', 1))
    ran = auditor("audit", "verify", export, "--key", key)
    assert ran.code == Exit.DAMAGED
    assert "does NOT verify" in ran.err
    assert json.loads(ran.out)["FindingCount"] >= 1
    table = auditor("--output", "table", "audit", "verify", export, "--key", key)
    assert (table.code, table.err.count("WRONG")) == (Exit.DAMAGED, json.loads(ran.out)["FindingCount"])
    Path(export).write_bytes(b"".join(good.splitlines(keepends=True)[:5]))
    assert auditor("audit", "verify", export, "--key", key).code == Exit.OK  # a whole window is gone
    assert auditor("audit", "verify", export, "--key", key, "--anchor", anchor).code == Exit.DAMAGED


def test_a_time_that_no_calendar_has_is_told_with_the_rest(
    auditor: CommandLine, files: tuple[str, str, str]
) -> None:
    export, key, _ = files
    far = re.sub(rb'"end":[0-9]+', b'"end":%d' % (1 << 62), Path(export).read_bytes())
    Path(export).write_bytes(far)
    ran = auditor("audit", "verify", export, "--key", key)
    assert ran.code == Exit.DAMAGED
    assert json.loads(ran.out)["To"] == str(1 << 62)


def test_files_that_are_not_what_they_should_be(auditor: CommandLine, files: tuple[str, str, str]) -> None:
    export, key, _ = files
    assert auditor("audit", "verify", export, "--key", export).code == Exit.USAGE
    assert auditor("audit", "verify", export, "--key", key, "--anchor", key).code == Exit.USAGE
    assert auditor("audit", "verify", export, "--key", key, "--anchor", os.devnull).code == Exit.USAGE
    assert auditor("audit", "verify", "absent", "--key", key).code == Exit.REFUSED
    assert auditor("audit", "verify", os.devnull, "--key", key).code == Exit.DAMAGED


def test_a_file_without_line_ends_does_not_fill_the_memory(
    auditor: CommandLine, files: tuple[str, str, str], tmp_path: Path
) -> None:
    export, key, _ = files
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.write(Path(export).read_bytes())
        file.truncate(1 << 30)  # zeros, without a place on the disk
    begun = time.monotonic()
    ran = auditor("audit", "verify", str(huge), "--key", key)
    assert ran.code == Exit.DAMAGED
    assert time.monotonic() - begun < 60
