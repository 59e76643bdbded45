"""The job: what it seals, killed, twice, after a damage, and its anchor."""

import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from chalicelib.audit import seal as sealing
from chalicelib.audit.seal import AnchorDiffers, DamagedDigest, anchor, read_anchor, seal, signer
from chalicelib.context import Service
from chalicelib.formats import audit_digest, record
from chalicelib.hsm.port import Damaged
from chalicelib.jobs import schedule
from chalicelib.jobs.lease import Lease
from chalicelib.jobs.seal_audit import seal_audit
from chalicelib.settings import Settings
from chalicelib.table import audit_digests as rows
from chalicelib.table.port import (
    MAX_LIMIT,
    MAX_OPS,
    Busy,
    Delete,
    Due,
    Expect,
    Put,
    Row,
    Table,
    Unacknowledged,
    due_kind,
)
from tests.audit.rig import ACCOUNT, DOMAINS, Rig
from tests.faults.broken import Behind, Fault, Killed, Saboteur
from tests.installation import FIPS, SM


def digests(rig: Rig, domain: str = SM) -> list[tuple[int, int]]:
    found = rows.after(cast(Table, rig.rows(domain)), domain, 0, 1000)
    return [(each.signed.digest.number, each.signed.digest.count) for each in found]


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_event_is_in_one_digest(domain: str) -> None:
    rig = Rig()
    rig.windows([3, 1, 5], domain)
    # The first run has made the signing key after its window: that is an event of the second.
    assert digests(rig, domain) == [(1, 3), (2, 2), (3, 5)]
    report = rig.verify(rig.export(domain), domain)
    assert (report.findings, report.events, report.domain) == ([], 10, domain)


def test_a_key_fits_the_standard_and_its_making_is_recorded() -> None:
    rig = Rig()
    kinds = {domain: signer(rig.service, domain).key.kind.name for domain in DOMAINS}
    assert kinds == {SM: "SM2", FIPS: "EC_P256", "identity": "SM2"}
    events = [record.decode(r.body) for r in rig.rows(SM).rows("pk LIKE 'E#0%'").values()]
    assert [(e["action"], e["user"], e["auth"], e["resources"]) for e in events] == [
        (
            "CreateSealingKey",
            "Service",
            "job",
            [f"sealingKey/{audit_digest.key_id(rig.public_key(SM)).hex()}"],
        )
    ]
    assert signer(rig.process(), SM).public_key() == rig.public_key(SM)


def test_a_signing_key_of_another_domain_does_not_open() -> None:
    rig = Rig()
    signer(rig.service, SM)
    signer(rig.service, FIPS)
    stolen = cast(Table, rig.rows(SM)).get(*rows.key_row_key(SM))
    assert stolen is not None
    rig.rows(FIPS).write([Put(replace(stolen, pk=f"AS#{FIPS}"), Expect.ANY)])
    with pytest.raises(Damaged):
        signer(rig.process(), FIPS).public_key()


def test_what_is_younger_than_the_grace_waits() -> None:
    rig = Rig()
    rig.write(2)
    rig.clock.advance(sealing.GRACE_SECONDS)
    assert seal_audit(rig.service, SM).done == 0
    rig.write(1)
    rig.clock.advance(1)
    assert seal_audit(rig.service, SM).done == 2
    rig.write(1)
    assert rig.seal().done == 3  # and the event of the key


def test_a_window_without_events_is_joined_to_the_next() -> None:
    rig = Rig()
    rig.windows([1, 1])
    for _ in range(5):
        assert rig.seal().done == 0
    rig.windows([1])
    assert digests(rig) == [(1, 1), (2, 2), (3, 1)]
    assert rig.verify(rig.export()).findings == []


def test_much_is_sealed_in_several_digests_that_end_where_a_second_does() -> None:
    rig = Rig()
    for _ in range(30):
        rig.write(100)
        rig.clock.advance(1)
    rig.clock.advance(200)
    outcome = seal(rig.service, SM, max_seconds=60, max_events=500)
    assert (outcome.events, outcome.finished) == (3000, True)
    assert outcome.digests > 2
    assert sum(count for _, count in digests(rig)) == 3000
    assert rig.verify(rig.export()).findings == []


def test_a_run_without_time_is_not_finished() -> None:
    rig = Rig()
    rig.write(1)
    rig.clock.advance(200)
    assert not seal(rig.service, SM, max_seconds=0).finished


@pytest.mark.parametrize("domain", [SM, FIPS])
@pytest.mark.parametrize("fault", Fault)
def test_killed_or_failed_anywhere_nothing_is_sealed_twice_or_not_at_all(domain: str, fault: Fault) -> None:
    number = 0
    while True:
        number += 1
        rig = Rig()
        rig.windows([2], domain)
        rig.write(3, domain)
        rig.clock.advance(200)
        saboteur = Saboteur()

        def broken(name: str, rig: Rig = rig, saboteur: Saboteur = saboteur) -> Table:
            return cast(Table, Behind(rig.open_table(name), saboteur, Busy))

        service = Service(rig.settings, rig.clock, broken, rig.open_hsm)
        service.table(domain)
        saboteur.fail(fault, number, number)
        with contextlib.suppress(Busy, Unacknowledged, Killed):
            seal_audit(service, domain)
        if len(saboteur.calls) < number:
            break
        rig.clock.advance(300)  # a killed run leaves its lease
        assert seal_audit(rig.process(), domain).finished
        assert digests(rig, domain) == [(1, 2), (2, 4)], (number, saboteur.calls)
        assert rig.verify(rig.export(domain), domain).findings == []
    assert number > 5


def test_two_runs_at_once_seal_once() -> None:
    rig = Rig()
    rig.windows([2])
    rig.write(50)
    rig.clock.advance(200)
    runs = [
        threading.Thread(target=seal, args=(rig.process(), SM), kwargs={"max_seconds": 30}) for _ in range(4)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert digests(rig) == [(1, 2), (2, 51)]
    assert rig.verify(rig.export()).findings == []


def test_the_lease_lets_one_run_work() -> None:
    rig = Rig()
    assert Lease(rig.open_table(SM), due_kind("seal_audit", SM)).acquire(rig.clock.now())
    assert not seal_audit(rig.service, SM).ran


def test_the_schedule_seals_identity_too() -> None:
    rig = Rig()
    outcomes = schedule.run(rig.service, "seal_audit")
    assert set(outcomes) == {*rig.settings.regions, "identity"}


def test_a_row_that_is_no_event_is_counted_and_holds_nothing_up() -> None:
    rig = Rig()
    rig.write(2)
    for n, body in enumerate((b"", b"\x01{}", b'\x01{"id":"x","account":"1"}')):
        row = Row(
            pk="E#1#20270115#0", sk=f"x{n}", body=body, due=Due(due_kind("seal_audit", SM), rig.clock.now())
        )
        rig.rows().write([Put(row, Expect.ABSENT)])
    outcome = rig.seal()
    assert (outcome.done, outcome.failed, outcome.finished) == (2, 3, True)


def test_a_page_full_of_rows_that_are_no_events_does_not_stop_the_sealing() -> None:
    """Whoever writes the table must not be able to end it with a thousand of them."""
    rig = Rig()
    due = Due(due_kind("seal_audit", SM), rig.clock.now())
    rig.service.table(SM)
    for start in range(0, MAX_LIMIT, MAX_OPS):
        rig.rows().write(
            [
                Put(Row(pk="E#1#20270115#0", sk=f"x{n}", body=b"", due=due), Expect.ABSENT)
                for n in range(start, start + MAX_OPS)
            ]
        )
    rig.clock.advance(1)
    rig.write(2)
    outcome = rig.seal()
    assert (outcome.done, outcome.failed, outcome.finished) == (2, MAX_LIMIT, True)


def test_nothing_is_sealed_on_top_of_a_digest_that_was_changed() -> None:
    rig = Rig()
    rig.windows([1])
    table = cast(Table, rig.rows())
    row = table.get(f"E#digests#{SM}", "N")
    assert row is not None
    members = record.decode(row.body)
    for change in ({"end": members["end"] + 1000}, {"number": 9}, {"root": "00" * 32}):
        table.write([Put(replace(row, body=record.encode(members | change)), Expect.ANY)])
        with pytest.raises(DamagedDigest):
            seal_audit(rig.process(), SM)
        rig.clock.advance(200)
    table.write([Put(row, Expect.ANY)])
    assert seal_audit(rig.process(), SM).finished


def test_nothing_is_sealed_where_only_the_newest_digest_is_gone() -> None:
    rig = Rig()
    rig.windows([1, 1])
    rig.rows().write([Delete(f"E#digests#{SM}", "N", Expect.EXISTS)])
    rig.clock.advance(200)
    with pytest.raises(DamagedDigest):
        seal_audit(rig.process(), SM)


def test_digests_expire_after_their_events_and_the_newest_never() -> None:
    rig = Rig(Settings(audit_days=1))
    rig.windows([1, 1])
    rig.clock.advance(4 * 86400)
    assert digests(rig) == []
    rig.windows([1])
    assert [number for number, _ in digests(rig)] == [3]
    report = rig.verify(rig.export())
    assert (report.findings, report.first and report.first.digest.number) == ([], 3)


# The anchor


def anchored(path: Path) -> list[int]:
    """The numbers; a line that was whole but for its end is there twice."""
    return list(dict.fromkeys(each.digest.number for each in read_anchor(path.read_bytes())))


def test_the_anchor_gets_every_digest(tmp_path: Path) -> None:
    rig = Rig(Settings(audit_anchor=tmp_path / "anchor"))
    rig.windows([1, 2])
    rig.windows([1], FIPS)
    assert anchored(tmp_path / f"anchor/{SM}.jsonl") == [1, 2]
    assert anchored(tmp_path / f"anchor/{FIPS}.jsonl") == [1]
    assert (tmp_path / f"anchor/{SM}.jsonl").stat().st_mode & 0o777 == 0o600


def test_what_the_anchor_lacks_is_appended_later(tmp_path: Path) -> None:
    rig = Rig()
    rig.windows([1, 1, 1])
    table = cast(Table, rig.rows())
    assert (anchor(table, SM, tmp_path), anchor(table, SM, tmp_path)) == (3, 0)
    whole = (tmp_path / f"{SM}.jsonl").read_bytes()
    for cut in (len(whole) - 1, len(whole) - 200, whole.index(b"\n") + 1, whole.index(b"\n"), 0):
        (tmp_path / f"{SM}.jsonl").write_bytes(whole[:cut])
        if cut == whole.index(b"\n"):
            (tmp_path / f"{SM}.jsonl").write_bytes(whole[: cut + 1] + b'{"dig')
        anchor(table, SM, tmp_path)
        assert anchored(tmp_path / f"{SM}.jsonl") == [1, 2, 3]


def test_a_table_put_back_is_noticed_by_the_anchor(tmp_path: Path) -> None:
    rig = Rig(Settings(audit_anchor=tmp_path))
    rig.windows([1, 1])
    image = rig.rows().snapshot()
    rig.windows([1])
    rig.rows().restore(image)
    assert rig.seal().failed == 1
    rig.write(1)
    assert rig.seal().failed == 1
    with pytest.raises(AnchorDiffers):
        anchor(cast(Table, rig.rows()), SM, tmp_path)
    assert anchored(tmp_path / f"{SM}.jsonl") == [1, 2, 3]


def test_an_anchor_that_is_no_anchor_is_left_alone(tmp_path: Path) -> None:
    rig = Rig()
    rig.windows([1])
    (tmp_path / f"{SM}.jsonl").write_text("something else\n")
    with pytest.raises(AnchorDiffers):
        anchor(cast(Table, rig.rows()), SM, tmp_path)
    assert (tmp_path / f"{SM}.jsonl").read_text() == "something else\n"


def test_an_anchor_out_of_reach_is_a_failure_and_sealing_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rig = Rig(Settings(audit_anchor=tmp_path / "file"))
    rig.write(1)
    outcome = rig.seal()
    assert (outcome.done, outcome.failed) == (1, 1)


def test_the_signing_key_is_rewrapped_with_the_others() -> None:
    rig = Rig()
    rig.windows([1])
    row = cast(Table, rig.rows()).get(*rows.key_row_key(SM))
    assert row is not None
    seen: list[Any] = []

    def note(key: Any) -> bytes:
        seen.append(key)
        return b"new"

    changed = rows.rewrapped(row, SM, note)
    assert rows.key_from_row(changed)[1] == b"new"
    assert rig.hsms[SM].public_key(seen[0]) == rig.public_key()
    assert rows.rewrapped(row, FIPS, note) is row
    assert rows.rewrapped(replace(row, pk=f"K#{ACCOUNT}#{SM}#x"), SM, note).pk.startswith("K#")
