"""`python -m chalicelib.audit`, as operators and auditors run it: the auditor has no settings, no table and no HSM."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib import ids, wiring
from chalicelib.audit import Event
from chalicelib.audit import __main__ as command
from chalicelib.audit.seal import GRACE_SECONDS
from chalicelib.clock import ManualClock, SystemClock
from chalicelib.hsm.public import to_pem
from chalicelib.jobs.seal_audit import seal_audit
from chalicelib.settings import Settings
from chalicelib.table.port import Expect, Put
from tests.audit.rig import ACCOUNT, OTHER, Rig
from tests.installation import SM

ROOT = Path(command.__file__).parents[2]


def run(home: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYSTEAD_")}
    if home is not None:
        environment["KEYSTEAD_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "chalicelib.audit", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose events are an hour old, sealed and anchored."""
    home = tmp_path_factory.mktemp("audit") / "home"
    clock = ManualClock(SystemClock().now() - 3600)
    service = wiring.build(Settings(home=home, audit_anchor=home / "anchor"), clock)
    for account in (ACCOUNT, OTHER, "0", ACCOUNT):
        clock.advance(1)
        event = Event(
            id=ids.request_id(clock.now_ms()), at_ms=clock.now_ms(), account=account, action="Encrypt"
        )
        service.trail(SM).keep(event)
    clock.advance(GRACE_SECONDS + 1)
    assert seal_audit(service, SM).done == 4
    service.close()
    return home


def test_an_export_is_verified_without_the_service(home: Path, tmp_path: Path) -> None:
    export, pem = tmp_path / "export.jsonl", tmp_path / "key.pem"
    done = run(home, "export", "--domain", SM, "--output", str(export))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(export.read_bytes().splitlines()) == 6
    pem.write_text(run(home, "public-key", "--domain", SM).stdout)

    anchor = home / "anchor" / f"{SM}.jsonl"
    done = run(None, "verify", str(export), "--public-key", str(pem), "--anchor", str(anchor), "--since", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{SM}: 4 events, digests 1 to 1, written from the beginning to 20")
    assert done.stdout.endswith("verified: 0 findings\n")

    export.write_bytes(export.read_bytes().replace(b"Encrypt", b"Decrypt", 1))
    done = run(None, "verify", str(export), "--public-key", str(pem))
    assert done.returncode == 1
    assert "WRONG: Line 6 has digest 1, which does not stand for the events before it." in done.stdout
    assert "DOES NOT VERIFY" in done.stdout


def test_an_operator_reads_what_unknown_callers_did(home: Path) -> None:
    lines = run(home, "export", "--domain", SM, "--account", "0").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[1:]].count('{"event"') == 1
    assert '"account":"0"' in "".join(lines)
    assert ACCOUNT not in "".join(lines)


def test_what_is_not_sealed_yet_is_exported_if_asked_for(home: Path) -> None:
    lines = run(home, "export", "--domain", SM, "--unsealed").stdout.splitlines()
    assert "CreateSealingKey" in lines[-1]
    assert lines[-1].startswith('{"unsealed":')


def test_digests_are_printed_as_the_anchor_has_them(home: Path) -> None:
    anchored = (home / "anchor" / f"{SM}.jsonl").read_text()
    assert run(home, "digests", "--domain", SM).stdout == anchored
    assert run(home, "digests", "--domain", SM, "--after", "1").stdout == ""


@pytest.mark.parametrize(
    ("since", "lines"), [("2000-01-01T00:00:00Z", 6), ("2000-01-01", 6), ("2100-01-01T00:00:00+08:00", 1)]
)
def test_times_are_read(home: Path, since: str, lines: int) -> None:
    done = run(home, "export", "--domain", SM, "--since", since)
    assert len(done.stdout.splitlines()) == lines


def test_what_cannot_be_done_is_said_in_a_line(home: Path, tmp_path: Path) -> None:
    for arguments, text in (
        (("export", "--domain", "mars"), "SettingError: --domain is one of: identity, ap-guangzhou"),
        (("export", "--domain", SM, "--output", str(home / "credentials" / "x")), "Error"),
        (("verify", str(tmp_path / "none"), "--public-key", str(tmp_path / "none")), "FileNotFoundError"),
        (("export", "--domain", SM, "--since", "yesterday"), "invalid"),
        ((), "COMMAND"),
    ):
        done = run(home, *arguments)
        assert done.returncode == 2
        assert text in done.stderr
        assert "Traceback" not in done.stderr


def test_a_key_that_is_no_key_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig()
    export = tmp_path / "export"
    export.write_bytes(b"".join(rig.export()))
    for text in ("x", to_pem(b"x")):
        (tmp_path / "pem").write_text(text)
        assert command.main(["verify", str(export), "--public-key", str(tmp_path / "pem")]) == 2
        assert "--public-key is one PEM block" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"garbage\n", b'{"digest":'])
def test_an_anchor_without_a_digest_is_no_anchor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    """Else a daily check with a broken anchor would pass an export whose end is missing."""
    rig = Rig()
    rig.seal()
    export, pem, anchor = tmp_path / "export", tmp_path / "pem", tmp_path / "anchor"
    export.write_bytes(b"".join(rig.export()))
    pem.write_text(to_pem(rig.public_key()))
    anchor.write_bytes(content)
    assert command.main(["verify", str(export), "--public-key", str(pem), "--anchor", str(anchor)]) == 2
    assert "a file without a digest" in capsys.readouterr().err


def test_progress_and_many_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "export").write_bytes(b"?\n" * 10_001)
    (tmp_path / "pem").write_text(to_pem(Rig().public_key()))
    arguments = ["verify", str(tmp_path / "export"), "--public-key", str(tmp_path / "pem")]
    assert command.main(arguments) == 1
    captured = capsys.readouterr()
    assert "10000 lines, 0 digests, 10000 findings" in captured.err
    assert "... and 9002 more" in captured.out


def test_a_damaged_digest_in_the_table_is_said(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = wiring.build(Settings(home=home))
    table = service.table(SM)
    (row,) = table.query(f"E#digests#{SM}", prefix="D#")
    table.write([Put(replace(row, body=row.body.replace(b'"count":4', b'"count":"4"')), Expect.EXISTS)])
    monkeypatch.setattr(wiring, "service", lambda: service)
    assert command.main(["export", "--domain", SM]) == 2
    assert "cannot be read" in capsys.readouterr().err
    table.write([Put(row, Expect.EXISTS)])
    service.close()
