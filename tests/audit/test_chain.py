"""How a process's events name one another."""

import os
import threading
import time
from typing import Any, cast

import pytest

from chalicelib import audit
from chalicelib.audit.chain import Chain, fingerprint
from chalicelib.formats import record
from chalicelib.table.port import Busy, Conflict, Expect, Put, Row, Table, Unacknowledged
from tests.audit.rig import ACCOUNT, Rig
from tests.installation import SM
from tests.test_audit import Scripted, event, trail


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAUSE", 0)


def chains(rows: Any) -> list[tuple[list[Any], str]]:
    """Each event's chain and its fingerprint, in the order of their numbers."""
    found = [
        (record.decode(row.body)["chain"], fingerprint(row.body))
        for row in rows.values()
        if row.pk.startswith(f"E#{ACCOUNT}") and row.body
    ]
    return sorted(found, key=lambda each: (each[0][0], each[0][1]))


def test_each_event_names_the_one_before() -> None:
    rig = Rig()
    rig.write(4)
    found = chains(rig.rows().rows())
    (writer,) = {chain[0] for chain, _ in found}
    assert [chain[1] for chain, _ in found] == [1, 2, 3, 4]
    assert [chain[2] for chain, _ in found] == [
        [],
        *([[n, mark]] for n, (_, mark) in enumerate(found[:-1], 1)),
    ]
    assert len(writer) == 16


def test_processes_and_domains_are_writers_of_their_own() -> None:
    rig = Rig()
    rig.write(2)
    rig.write(2, "identity")
    rig.write(2, service=rig.process())
    writers = {chain[0] for domain in (SM, "identity") for chain, _ in chains(rig.rows(domain).rows())}
    assert len(writers) == 3


def test_a_number_that_was_never_written_is_named_by_nobody() -> None:
    rig = Rig()
    rig.write(1)
    table = rig.rows()
    table.write([Put(Row(pk="X", sk="1"), Expect.ABSENT)])
    with pytest.raises(Conflict):
        rig.service.trail(SM).commit([Put(Row(pk="X", sk="1"), Expect.ABSENT)], rig.event())
    rig.write(1)
    (_, first), (chain, _) = chains(table.rows())
    assert chain[1:] == [3, [[1, first]]]


@pytest.mark.parametrize("script", [["did"], ["did", "did"], ["busy", "did"], ["lost"]])
def test_an_event_whose_write_got_no_answer_is_named_once_it_is_known(script: list[str]) -> None:
    table = Scripted(*script)
    made = trail(table)
    made.keep(event(account=ACCOUNT))
    made.keep(event(account=ACCOUNT))
    (_, first), (chain, _) = chains(table.inner.rows())
    assert chain[1:] == [2, [[1, first]]]


@pytest.mark.parametrize(("script", "error"), [(["lost"] * 4, Unacknowledged), (["busy"] * 4, Busy)])
def test_what_an_unwritten_event_named_is_named_by_the_next(
    script: list[str], error: type[Exception]
) -> None:
    table = Scripted("done", *script)
    made = trail(table)
    made.keep(event(account=ACCOUNT))
    with pytest.raises(error):
        made.keep(event(account=ACCOUNT))
    table.script = [*script]
    with pytest.raises(error):
        made.commit([Put(Row(pk="X", sk="1"), Expect.ABSENT)], event(account=ACCOUNT))
    made.keep(event(account=ACCOUNT))
    (_, first), (chain, _) = chains(table.inner.rows())
    assert chain[1:] == [4, [[1, first]]]


def test_threads_name_every_event_of_each_other_once() -> None:
    rig = Rig()
    service = rig.service

    def work() -> None:
        for _ in range(25):
            service.trail(SM).keep(rig.event())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rig.write(1)
    found = chains(rig.rows().rows())
    marks = {chain[1]: mark for chain, mark in found}
    named = [tuple(each) for chain, _ in found for each in chain[2]]
    assert len(found) == len(marks) == 201
    assert sorted(named) == sorted((n, mark) for n, mark in marks.items() if n != found[-1][0][1])


def test_no_event_names_more_than_it_has_room_for() -> None:
    chain = Chain()
    links = [chain.link() for _ in range(100)]
    for link in links:
        chain.written(link, b"")
    assert [len(chain.link().after) for _ in range(5)] == [32, 32, 32, 4, 0]


def test_a_forked_child_is_another_writer() -> None:
    chain = Chain()
    chain.written(chain.link(), b"")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        link = chain.link()
        os.write(writing, f"{link.writer} {link.number} {len(link.after)}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(reading, 100).decode().split()
    link = chain.link()
    assert child[1:] == ["1", "0"]
    assert child[0] != link.writer
    assert (link.number, len(link.after)) == (2, 1)


# One event may be found by several resources, and is never written over


def test_an_event_is_found_by_each_of_its_resources() -> None:
    rig = Rig()
    made = rig.event()
    for name in ("a", "b", "c"):
        made.note("key", name)
    rig.service.trail(SM).keep(made)
    table = cast(Table, rig.rows())
    for name in ("a", "b", "c"):
        (row,) = table.by_index("resource", f"{ACCOUNT}#{name}#0")
        event_row = table.get(*audit.pointed(row))
        assert event_row is not None
        assert record.decode(event_row.body)["id"] == made.id


@pytest.mark.parametrize("count", [49, 50, 51, 99, 100])
def test_a_change_of_many_resources_and_its_event(count: int) -> None:
    """Fifty resources and more leave no room in one write: the event goes first, and says so."""
    rig = Rig()
    made = rig.event()
    ops = [Put(Row(pk="X", sk=str(n)), Expect.ABSENT) for n in range(count)]
    for n in range(count):
        made.note("key", str(n))
    rig.service.trail(SM).commit(ops, made)
    found = rig.rows().rows()
    (members,) = [record.decode(r.body) for r in found.values() if r.pk.startswith("E#") and r.body]
    assert len([1 for pk, _ in found if pk == "X"]) == count
    assert len([1 for pk, _ in found if pk.endswith("#P")]) == count - 1
    assert members.get("announces", False) == (count > 50)


def test_an_announced_change_that_fails_is_followed_by_its_refusal() -> None:
    rig = Rig()
    made = rig.event(is_read=False)
    for n in range(100):
        made.note("key", str(n))
    ops = [Put(Row(pk="X", sk=str(n)), Expect.EXISTS) for n in range(100)]
    for _ in range(2):  # a conflict makes the handler run again
        with pytest.raises(Conflict):
            rig.service.trail(SM).commit(ops, made)
    made.error_code = "InternalError"
    rig.service.trail(SM).keep(made)
    found = [record.decode(r.body) for r in rig.rows().rows().values() if r.pk.startswith("E#") and r.body]
    assert [(e["id"] == made.id, e.get("part", 1), e.get("error", "")) for e in found] == [
        (True, 1, ""),
        (True, 2, "InternalError"),
    ]


def test_a_refusal_after_the_effect_does_not_hide_the_effect() -> None:
    rig = Rig()
    made = rig.event(is_read=False)
    rig.service.trail(SM).commit([Put(Row(pk="X", sk="1"), Expect.ABSENT)], made)
    made.error_code = "InternalError"
    for _ in range(2):
        rig.service.trail(SM).keep(made)
    found = [record.decode(r.body) for r in rig.rows().rows("pk LIKE 'E#%'").values()]
    assert [(e.get("part", 1), e.get("error", "")) for e in found] == [
        (1, ""),
        (2, "InternalError"),
        (3, "InternalError"),
    ]


def test_a_clock_that_is_set_back_writes_into_no_sealed_time() -> None:
    rig = Rig()
    rig.write(1)
    rig.clock.advance(-3600)
    rig.write(1)
    assert {row.due.at for row in rig.rows().rows("pk LIKE 'E#%'").values() if row.due} == {
        rig.clock.now() + 3600
    }


def test_an_event_costs_one_write_and_little_time() -> None:
    """What sealing adds to a call: no read, no write, a few microseconds."""
    chain = Chain()
    body = b"x" * 600
    begin = time.perf_counter()
    for _ in range(2000):
        chain.written(chain.link(), body)
    assert (time.perf_counter() - begin) / 2000 < 100e-6  # about 4 on an idle machine
    table = Scripted()
    trail(table).keep(event())
    assert table.writes == 1
