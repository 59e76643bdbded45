"""The first start: one account, one file, whoever else starts and wherever it dies."""

import configparser
import contextlib
import json
import multiprocessing
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chalicelib import audit, bootstrap, wiring
from chalicelib.access_keys import open_access_key
from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.settings import Bootstrap, SettingError, Settings
from chalicelib.table import accounts
from tests.calls import ask, code, tc3
from tests.faults.broken import Broken, Killed, plans
from tests.inspected import NOW

SEEDED = Bootstrap("100000000001", "AKIDseeded", "seeded%;#='\"key")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "made" / "here"


def start(home: Path, wanted: Bootstrap | None = None) -> tuple[Bootstrap, Path]:
    """A process's start, and that the key it shows works."""
    service = wiring.build(Settings(home=home, bootstrap=wanted or Bootstrap()), ManualClock(NOW))
    try:
        root, path = bootstrap.ensure(service)
        assert not code(ask(Gateway(service), tc3(root, NOW, "ssm", "GetRegions")))
        return root, path
    finally:
        service.close()


def test_the_first_start_makes_a_file_that_clients_can_read(home: Path) -> None:
    root, path = start(home)
    assert path == home / "credentials"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string(path.read_text())
    assert dict(ini["default"]) == {
        "uin": root.uin,
        "secret_id": root.secret_id,
        "secret_key": root.secret_key,
        "endpoint": "http://127.0.0.1:8000",
        "regions": "ap-guangzhou,ap-beijing,ap-singapore",
    }


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_does_not_depend_on_the_umask(home: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        _, path = start(home)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_start_finds_everything_again(home: Path) -> None:
    first, path = start(home)
    text = path.read_bytes()
    assert start(home)[0] == first
    assert path.read_bytes() == text
    assert {p.name for p in home.iterdir() if p.name.startswith(".")} == set(), "no drafts are left"


def test_homes_are_different_accounts(tmp_path: Path) -> None:
    one, other = start(tmp_path / "a")[0], start(tmp_path / "b")[0]
    assert len({one.uin, other.uin, one.secret_id, other.secret_id, one.secret_key, other.secret_key}) == 6


def test_the_first_key_is_recorded_and_sealed(home: Path) -> None:
    service = wiring.build(Settings(home=home), ManualClock(NOW))
    root, _ = bootstrap.ensure(service)
    identity = service.table(IDENTITY)
    row = identity.get(*accounts.access_key_row_key(root.secret_id))
    assert row is not None
    assert root.secret_key.encode() not in row.body
    caller, secret_key = open_access_key(service.hsm(IDENTITY), accounts.access_key_from_row(row))
    assert secret_key == root.secret_key
    assert caller.is_root
    events = [
        record.decode(e.body)
        for shard in range(audit.SHARDS)
        for e in identity.by_index("resource", f"{root.uin}#{root.secret_id}#{shard}")
    ]
    assert [(e["service"], e["action"], e["account"]) for e in events] == [("cam", "CreateAccount", root.uin)]
    service.close()


# Seeds


def test_every_part_can_be_seeded(home: Path) -> None:
    assert start(home, SEEDED)[0] == SEEDED
    assert start(home)[0] == SEEDED, "later starts need no seed"
    assert start(home, SEEDED)[0] == SEEDED


@pytest.mark.parametrize("part", ["uin", "secret_id", "secret_key"])
def test_one_part_can_be_seeded(home: Path, part: str) -> None:
    value = getattr(SEEDED, part)
    root, _ = start(home, replace(Bootstrap(), **{part: value}))
    assert getattr(root, part) == value
    assert all((root.uin, root.secret_id, root.secret_key))


@pytest.mark.parametrize("part", ["uin", "secret_id", "secret_key"])
def test_another_seed_is_refused(home: Path, part: str) -> None:
    start(home, SEEDED)
    other = {"uin": "200000000002", "secret_id": "AKIDother", "secret_key": "another-key"}[part]
    with pytest.raises(SettingError, match=r"^KEYSTEAD_BOOTSTRAP_\* differ from") as caught:
        start(home, replace(SEEDED, **{part: other}))
    assert SEEDED.secret_key not in str(caught.value)
    assert other not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[default]\n",
        b"[default]\nuin = 1\nsecret_id = AKIDa\n",
        b"[default]\nuin = 1\nsecret_id =\nsecret_key = x\n",
        b"uin = 1\n",
        b"\xff\xfe",
        b"[default]\nuin = 1\nuin = 2\n",
    ],
)
def test_a_damaged_file_is_refused(home: Path, text: bytes) -> None:
    home.mkdir(parents=True)
    (home / "credentials").write_bytes(text)
    with pytest.raises(SettingError, match="is not a credentials file: restore it from a backup"):
        start(home)


# Deaths and races


def test_a_start_that_died_between_file_and_table(home: Path) -> None:
    """The file was shown to somebody: the next start stores the very key that it names."""
    service = wiring.build(Settings(home=home), ManualClock(NOW))
    bootstrap._publish(home / "credentials", service, Bootstrap())
    service.close()
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(home / "credentials")
    assert start(home)[0].secret_key == ini["default"]["secret_key"]


def test_a_draft_that_a_dead_start_left_does_no_harm(home: Path) -> None:
    home.mkdir(parents=True)
    (home / ".credentials.0123456789abcdef").write_text("half a fi")
    assert start(home)[0].secret_id.startswith("AKID")


def test_every_fault_while_the_account_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAUSE", 0)
    installation = Broken()
    saboteur = installation.saboteur
    empty = installation.tables[IDENTITY].snapshot()
    saboteur.rest()
    bootstrap.store(installation.service, SEEDED)
    calls = tuple(saboteur.calls)
    whole = len(installation.tables[IDENTITY].rows())
    assert len(calls) >= 4
    for fault, first, last in plans(calls):
        installation.tables[IDENTITY].restore(empty)
        installation.service.seals._seals.clear()
        saboteur.fail(fault, first, last)
        with contextlib.suppress(Exception, Killed):
            bootstrap.store(installation.service, SEEDED)
        saboteur.rest()
        bootstrap.store(installation.service, SEEDED)
        rows = installation.tables[IDENTITY].rows()
        assert len(rows) == whole, (fault, first, last)
        assert ("AK#AKIDseeded", "K") in rows
        assert ("AC#100000000001", "U#100000000001") in rows
        assert not code(ask(installation.gateway, tc3(SEEDED, NOW, "ssm", "GetRegions")))


def test_two_first_starts_with_one_account_keep_both_keys() -> None:
    """Two homes over one table, seeded with the account's number: the slower one adds its key to the account."""
    installation = Broken()
    theirs = replace(SEEDED, secret_id="AKIDtheirs")

    def overtake(name: str) -> None:
        if name == "write":
            installation.saboteur.before = None
            bootstrap.store(installation.service, theirs)

    installation.saboteur.before = overtake
    bootstrap.store(installation.service, SEEDED)
    for who in (SEEDED, theirs):
        assert not code(ask(installation.gateway, tc3(who, NOW, "ssm", "GetRegions")))


def test_the_root_key_can_be_replaced_and_a_later_start_does_not_bring_the_old_one_back() -> None:
    installation = Broken()
    bootstrap.store(installation.service, SEEDED)

    def call(who: Bootstrap, action: str, **given: Any) -> dict[str, Any]:
        return ask(installation.gateway, tc3(who, NOW, "cam", action, given))

    made = call(SEEDED, "CreateAccessKey")["AccessKey"]
    new = replace(SEEDED, secret_id=made["AccessKeyId"], secret_key=made["SecretAccessKey"])
    assert not code(call(new, "DeleteAccessKey", AccessKeyId=SEEDED.secret_id))
    rows = installation.tables[IDENTITY].rows()
    for who in (SEEDED, new):
        bootstrap.store(installation.service, who)
    assert installation.tables[IDENTITY].rows() == rows
    assert code(call(SEEDED, "ListAccessKeys")) == "AuthFailure.SecretIdNotFound"
    assert [key["AccessKeyId"] for key in call(new, "ListAccessKeys")["AccessKeys"]] == [new.secret_id]


def test_where_both_keys_are_lost_a_start_makes_another_one() -> None:
    installation = Broken()
    for number in range(10):
        who = replace(SEEDED, secret_id=f"AKID{number}")
        bootstrap.store(installation.service, who)
        assert not code(ask(installation.gateway, tc3(who, NOW, "ssm", "GetRegions")))
    rows = installation.tables[IDENTITY].rows("pk NOT LIKE 'E#%'")
    with pytest.raises(SettingError, match="has 10 access keys already"):
        bootstrap.store(installation.service, replace(SEEDED, secret_id="AKIDmore"))
    assert installation.tables[IDENTITY].rows("pk NOT LIKE 'E#%'") == rows
    refused = ask(installation.gateway, tc3(who, NOW, "cam", "CreateAccessKey"))
    assert code(refused) == "OperationDenied.AccessKeyOverLimit"
    for number in range(9):
        given = {"AccessKeyId": f"AKID{number}"}
        assert not code(ask(installation.gateway, tc3(who, NOW, "cam", "DeleteAccessKey", given)))


def run_start(home: str, ready: int, results: str) -> None:
    os.read(ready, 1)
    root, _ = start(Path(home))
    Path(results, str(os.getpid())).write_text(json.dumps([root.uin, root.secret_id, root.secret_key]))


def test_first_starts_that_race_agree(home: Path, tmp_path: Path) -> None:
    """Real processes, let go at once."""
    results = tmp_path / "results"
    results.mkdir()
    ready, go = os.pipe()
    fork = multiprocessing.get_context("fork")
    starts = [fork.Process(target=run_start, args=(str(home), ready, str(results))) for _ in range(4)]
    for process in starts:
        process.start()
    os.write(go, b"x" * len(starts))
    for process in starts:
        process.join(30)
    os.close(ready)
    os.close(go)
    assert [process.exitcode for process in starts] == [0] * len(starts)
    agreed = [json.loads(path.read_text()) for path in results.iterdir()]
    root, _ = start(home)
    assert agreed == [[root.uin, root.secret_id, root.secret_key]] * len(starts)


# By hand


def test_the_command_prints_what_a_client_needs(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "chalicelib.bootstrap"],
            env={"KEYSTEAD_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run()
    assert first.returncode == 0, first.stderr
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(tmp_path / "credentials")
    for name in ("secret_id", "secret_key"):
        assert ini["default"][name] in first.stdout
    assert "ap-guangzhou (sm), ap-beijing (sm), ap-singapore (fips)" in first.stdout
    assert run().stdout == first.stdout


def test_the_snippet_is_python_that_names_this_installation(home: Path) -> None:
    service = wiring.build(Settings(home=home, bootstrap=SEEDED), ManualClock(NOW))
    root, path = bootstrap.ensure(service)
    text = bootstrap.announce(service, root, path, "127.0.0.1:8123")
    service.close()
    snippet = text.partition("(pip install tencentcloud-sdk-python-ssm):\n")[2]
    code_lines = [line.removeprefix("  ") for line in snippet.splitlines()]
    compile("\n".join(code_lines), "snippet", "exec")
    assert 'endpoint="127.0.0.1:8123"' in snippet
    assert "http://127.0.0.1:8123" in text
