"""What `verify` finds: a thousand random tamperings, each kind by name, and nothing in an honest export."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from chalicelib.audit.chain import Chain
from chalicelib.audit.seal import digest_line, signer
from chalicelib.audit.verify import MOST_FINDINGS, Report, UnusableKey, Verifier, verify
from chalicelib.formats import audit_digest, record
from chalicelib.formats.audit_digest import SignedDigest, parse
from chalicelib.formats.merkle import Tree
from chalicelib.hsm import public
from chalicelib.hsm.port import KeyKind
from chalicelib.table.port import Delete, Due, Expect, Put, Row, due_kind
from tests.audit.rig import ACCOUNT, OTHER, Rig
from tests.installation import FIPS, SM

TAMPERINGS: Final = 500
"""For each standard."""


@pytest.fixture(scope="module", params=[SM, FIPS])
def domain(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def rig(domain: str) -> Rig:
    made = Rig()
    made.windows([3, 1, 8, 5, 13, 2], domain, (ACCOUNT, OTHER))
    return made


@pytest.fixture(scope="module")
def honest(rig: Rig, domain: str) -> list[bytes]:
    return rig.export(domain)


def kind(line: bytes) -> str:
    return parse(line)[0]


def signed(line: bytes) -> SignedDigest:
    return SignedDigest.from_members(parse(line)[1])


def digests(lines: list[bytes]) -> list[SignedDigest]:
    return [signed(line) for line in lines if kind(line) == "digest"]


def at_random(lines: list[bytes], choice: random.Random, wanted: str) -> int:
    return choice.choice([n for n, line in enumerate(lines) if kind(line) == wanted])


def change_a_byte(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    n = choice.randrange(len(lines))
    at = choice.randrange(len(lines[n]))
    byte = choice.choice([b for b in range(256) if b != lines[n][at]])
    changed = b"".join([*lines[:n], lines[n][:at] + bytes([byte]) + lines[n][at + 1 :], *lines[n + 1 :]])
    return (
        changed.splitlines(keepends=True)
        if b"\r" not in changed
        else re.findall(rb"[^\n]*\n|[^\n]+$", changed)
    )


def change_a_field(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    n = at_random(lines, choice, "event")
    members = parse(lines[n])[1]
    name = choice.choice(sorted(members))
    value = members[name]
    members[name] = value + 1 if type(value) is int else not value if isinstance(value, bool) else "changed"
    return [*lines[:n], audit_digest.event_line("event", record.encode(members)), *lines[n + 1 :]]


def remove_an_event(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    n = at_random(lines, choice, "event")
    return [*lines[:n], *lines[n + 1 :]]


def insert_an_event(lines: list[bytes], choice: random.Random, rig: Rig, _domain: str) -> list[bytes]:
    members = rig.event().members()
    as_what = choice.choice(["event", "unsealed"])
    line = audit_digest.event_line(as_what, record.encode(members))
    n = choice.randrange(1, len(lines) + 1)
    return [*lines[:n], line, *lines[n:]]


def duplicate_a_line(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    n = choice.randrange(len(lines))
    to = choice.randrange(len(lines) + 1)
    return [*lines[:to], lines[n], *lines[to:]]


def swap_lines(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    one, other = choice.sample(range(len(lines)), 2)
    swapped = [*lines]
    swapped[one], swapped[other] = swapped[other], swapped[one]
    return swapped


def remove_a_digest(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    n = at_random(lines, choice, "digest")
    return [*lines[:n], *lines[n + 1 :]]


def remove_a_window(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    ends = [n for n, line in enumerate(lines) if kind(line) == "digest"]
    which = choice.randrange(len(ends))
    begin = ends[which - 1] + 1 if which else 1
    return [*lines[:begin], *lines[ends[which] + 1 :]]


def cut_the_tail(lines: list[bytes], choice: random.Random, _rig: Rig, _domain: str) -> list[bytes]:
    return lines[: choice.randrange(len(lines))]


def hide_an_event(lines: list[bytes], choice: random.Random, _rig: Rig, domain: str) -> list[bytes]:
    n = at_random(lines, choice, "event")
    _, members, encoded = parse(lines[n])
    leaf = audit_digest.Leaf.of(encoded, members["account"], signer_hash(domain))
    what = choice.choice(["other", "missing"])
    value = [leaf.tag.hex(), leaf.record_hash.hex()]
    line = audit_digest.line(what, value if what == "other" else [members["id"], *value])
    return [*lines[:n], line, *lines[n + 1 :]]


def sign_again(lines: list[bytes], choice: random.Random, rig: Rig, domain: str) -> list[bytes]:
    """Whoever has another key changes an event and signs everything from there on."""
    changed = change_a_field(lines, choice, rig, domain)
    other = Rig()
    forger = signer(other.service, domain)
    previous: SignedDigest | None = None
    done = []
    grown = Tree(forger.standard.hash)
    for line in changed:
        what, value, encoded = parse(line)
        if what == "event":
            grown.add(audit_digest.Leaf.of(encoded, value["account"], forger.standard.hash).data())
        if what != "digest":
            done.append(line)
            continue
        old = signed(line)
        renewed = replace(old.digest, root=grown.root(), count=grown.size)
        if previous is not None:
            renewed = replace(renewed, previous=previous.hash_of(forger.standard.hash))
        previous = forger.sign(renewed) if renewed != old.digest else old
        done.append(digest_line(previous))
        grown = Tree(forger.standard.hash)
    return done


def signer_hash(domain: str) -> Callable[[bytes], bytes]:
    return signer(Rig().service, domain).standard.hash


KINDS: Final = (
    change_a_byte,
    change_a_field,
    remove_an_event,
    insert_an_event,
    duplicate_a_line,
    swap_lines,
    remove_a_digest,
    remove_a_window,
    cut_the_tail,
    hide_an_event,
    sign_again,
)


def test_an_honest_export_verifies(rig: Rig, honest: list[bytes], domain: str) -> None:
    report = rig.verify(honest, domain, anchor=digests(honest), since=0, until=digests(honest)[-1].digest.end)
    assert report.findings == report.notes == []
    assert (report.events, report.others, report.digests) == (33, 0, 6)


def test_a_thousand_random_tamperings_are_all_noticed(rig: Rig, honest: list[bytes], domain: str) -> None:
    """Half of them in each standard. The verifier has the public key, the anchor, and knows since when it should go."""
    anchor = digests(honest)
    tried = dict.fromkeys(KINDS, 0)
    number = 0
    while sum(tried.values()) < TAMPERINGS:
        number += 1
        choice = random.Random(number)  # noqa: S311 - a test that can be repeated
        tamper = KINDS[number % len(KINDS)]
        lines = tamper(honest, choice, rig, domain)
        if lines == honest:
            continue
        tried[tamper] += 1
        report = rig.verify(lines, domain, anchor=anchor, since=0)
        assert report.found, (tamper.__name__, number)
    assert min(tried.values()) > 20


# One by one: what is said


def texts(report: Report) -> str:
    return " ".join(report.findings)


def window_of(honest: list[bytes]) -> tuple[int, int]:
    """The first line of the largest window and of its digest."""
    ends = [n for n, line in enumerate(honest) if kind(line) == "digest"]
    sizes = {end: end - begin for begin, end in zip([0, *ends], ends, strict=False)}
    end = max(sizes, key=lambda n: sizes[n])
    return end - sizes[end] + 1, end


def test_a_changed_event_is_named_by_its_line_and_its_successor(
    rig: Rig, honest: list[bytes], domain: str
) -> None:
    first, end = window_of(honest)
    members = parse(honest[first])[1]
    members["action"] = "Decrypt"
    changed = [
        *honest[:first],
        audit_digest.event_line("event", record.encode(members)),
        *honest[first + 1 :],
    ]
    said = texts(rig.verify(changed, domain))
    assert f"Line {first + 2} names another event number {members['chain'][1]} of the writer" in said
    assert f"Line {end + 1} has digest 5, which does not stand for the events before it" in said


def test_an_event_out_of_its_place_is_named_by_its_line(rig: Rig, honest: list[bytes], domain: str) -> None:
    first, _ = window_of(honest)
    swapped = [*honest]
    swapped[first], swapped[first + 1] = honest[first + 1], honest[first]
    assert f"Line {first + 2} has an event out of order, or twice" in texts(rig.verify(swapped, domain))
    twice = [*honest[: first + 1], *honest[first:]]
    assert f"Line {first + 2} has an event out of order, or twice" in texts(rig.verify(twice, domain))


def test_without_an_anchor_a_whole_last_window_may_be_gone(
    rig: Rig, honest: list[bytes], domain: str
) -> None:
    """This is what the anchor is for, or knowing until when the export must go."""
    _, end = window_of(honest)
    cut = honest[: end + 1]
    assert rig.verify(cut, domain).findings == []
    assert "its end is missing" in texts(rig.verify(cut, domain, anchor=digests(honest)))
    assert "its end is missing" in texts(rig.verify(cut, domain, until=digests(honest)[-1].digest.end))
    some = digests(honest)[4].digest.end
    assert rig.verify(cut, domain, anchor=digests(honest), until=some).findings == []


def test_a_cut_inside_a_window_needs_no_anchor(rig: Rig, honest: list[bytes], domain: str) -> None:
    _, end = window_of(honest)
    assert "cut off" in texts(rig.verify(honest[: end - 1], domain))


def test_a_missing_beginning_is_noticed_if_it_was_asked_for(
    rig: Rig, honest: list[bytes], domain: str
) -> None:
    ends = [n for n, line in enumerate(honest) if kind(line) == "digest"]
    later = [honest[0], *honest[ends[1] + 1 :]]
    assert rig.verify(later, domain).findings == []
    assert "its beginning is missing" in texts(rig.verify(later, domain, since=0))


def test_nothing_is_not_verified(rig: Rig, honest: list[bytes], domain: str) -> None:
    assert "empty" in texts(rig.verify([], domain))
    assert "no digest" in texts(rig.verify(honest[:1], domain))


def test_the_key_of_another_domain_is_not_the_right_one(rig: Rig, honest: list[bytes], domain: str) -> None:
    other = Rig()
    report = other.verify(honest, domain)
    assert "another public key" in texts(report)
    assert sum("did not sign" in each for each in report.findings) == 6


def test_a_key_that_signs_no_digests_is_refused(rig: Rig, domain: str) -> None:
    hsm = rig.hsms[domain]
    for other in (KeyKind.RSA_2048, KeyKind.EC_P384):
        with pytest.raises(UnusableKey):
            Verifier(hsm.public_key(hsm.generate(other, b"")))
    with pytest.raises(UnusableKey):
        Verifier(b"")


def test_there_are_at_most_so_many_findings(rig: Rig, domain: str) -> None:
    report = rig.verify([b"?\n"] * (MOST_FINDINGS + 5), domain)
    assert len(report.findings) == MOST_FINDINGS
    assert report.found > MOST_FINDINGS


# Tampering in the table


def events(rig: Rig) -> list[Row]:
    return [r for r in rig.rows().rows("pk GLOB 'E#[0-9]*'").values() if r.body]


def test_an_event_removed_from_the_table_after_sealing_is_named() -> None:
    rig = Rig()
    rig.windows([4])
    gone = events(rig)[1]
    rig.rows().write([Delete(gone.pk, gone.sk, Expect.EXISTS)])
    report = rig.verify(rig.export())
    assert record.decode(gone.body)["id"] in texts(report)
    assert "gone or changed" in texts(report)


def test_an_event_changed_in_the_table_after_sealing_is_named() -> None:
    rig = Rig()
    rig.windows([4])
    row = events(rig)[1]
    members = record.decode(row.body) | {"ip": "198.51.100.1"}
    rig.rows().write([Put(replace(row, body=record.encode(members)), Expect.EXISTS)])
    report = rig.verify(rig.export())
    assert "gone or changed" in texts(report)
    assert "which no digest stands for" in texts(report)


def test_an_event_removed_before_sealing_is_missed_by_its_successor() -> None:
    rig = Rig()
    rig.write(5)
    gone = sorted(events(rig), key=lambda r: r.sk)[2]
    rig.rows().write([Delete(gone.pk, gone.sk, Expect.EXISTS)])
    rig.seal()
    report = rig.verify(rig.export())
    assert len(report.findings) == 1
    assert "Event number 3 of the writer" in report.findings[0]
    assert "removed before it was sealed" in report.findings[0]


def test_the_last_events_of_a_process_that_ended_are_not_missed() -> None:
    """Said in docs/audit.md: until they are sealed, nobody names them."""
    rig = Rig()
    rig.write(5)
    gone = max(events(rig), key=lambda r: r.sk)
    rig.rows().write([Delete(gone.pk, gone.sk, Expect.EXISTS)])
    rig.service = rig.process()
    rig.seal()
    assert rig.verify(rig.export()).findings == []


def test_an_event_made_up_after_sealing_is_noticed() -> None:
    rig = Rig()
    rig.windows([2])
    row = next(r for r in events(rig) if ACCOUNT in r.pk)
    made_up = record.decode(row.body) | {"id": "01a3185c-5000-7000-8000-000000000000"}
    rig.rows().write([Put(replace(row, sk=row.sk + "x", body=record.encode(made_up)), Expect.ABSENT)])
    assert "came late, or was inserted" in texts(rig.verify(rig.export()))


def test_a_late_event_is_told_and_accepted_if_its_writer_bears_witness() -> None:
    rig = Rig()
    rig.windows([2])
    late = rig.process()
    rig.clock.advance(-1000)
    rig.write(1, service=late)
    rig.clock.advance(1000)
    rig.windows([1])
    report = rig.verify(rig.export())
    assert "came late, or was inserted" in texts(report)

    late.trail(SM)._written_at = 0
    rig.write(1, service=late)
    rig.seal()
    report = rig.verify(rig.export())
    assert (report.findings, report.late) == ([], 1)
    assert "bear witness" in report.notes[0]


def test_events_that_are_not_sealed_yet() -> None:
    rig = Rig()
    rig.windows([2])
    rig.write(3)
    assert len(rig.export()) == 4
    tail = rig.export(unsealed=True)
    assert [kind(line) for line in tail[4:]] == ["unsealed"] * 4  # and the event of the key
    assert rig.verify(tail).found == 4
    report = rig.verify(tail, unsealed_ok=True)
    assert report.findings == []
    assert report.unsealed == 4
    (middle,) = [line for line in tail[4:] if parse(line)[1]["chain"][1] == 4]
    assert "missing" in texts(rig.verify([line for line in tail if line != middle], unsealed_ok=True))


def test_two_events_of_one_number_are_noticed() -> None:
    rig = Rig()
    rig.write(1)
    (row,) = events(rig)
    made_up = record.decode(row.body) | {"id": "01a3185c-5000-7000-8000-000000000000"}
    rig.rows().write([Put(replace(row, sk=row.sk + "x", body=record.encode(made_up)), Expect.ABSENT)])
    rig.seal()
    assert "a second event number 1" in texts(rig.verify(rig.export()))


@pytest.mark.parametrize(
    "chain", ["x", [], ["w", 1], ["w", True, []], ["w", 1, [[1]]], [1, 1, []], ["w", 1, [["1", "m"]]]]
)
def test_a_chain_that_cannot_be_read_is_noticed(chain: Any) -> None:
    rig = Rig()
    rig.write(1)
    (row,) = events(rig)
    body = record.encode(record.decode(row.body) | {"chain": chain})
    rig.rows().write([Put(replace(row, body=body), Expect.EXISTS)])
    rig.seal()
    assert "chain cannot be read" in texts(rig.verify(rig.export()))


def test_rows_that_are_no_events_make_no_export_that_verifies() -> None:
    rig = Rig()
    rig.windows([1])
    due = Due(due_kind("seal_audit", SM), rig.clock.now() - 100_000)
    rig.rows().write([Put(Row(pk="E#1#20270115#0", sk="x", body=b"junk\n", due=due), Expect.ABSENT)])
    for account in ("", ACCOUNT):
        assert rig.verify(rig.export(account=account)).found


# One account


def test_an_export_of_one_account_shows_nothing_of_others(rig: Rig, domain: str) -> None:
    lines = rig.export(domain, account=ACCOUNT)
    report = rig.verify(lines, domain)
    assert report.findings == []
    assert report.events + report.others == 33
    assert report.events == 18
    assert OTHER.encode() not in b"".join(lines)


def test_an_event_of_the_account_cannot_be_passed_off_as_anothers(rig: Rig, domain: str) -> None:
    """KS-FMT-32.3."""
    lines = rig.export(domain, account=ACCOUNT)
    n = next(n for n, line in enumerate(lines) if kind(line) == "event")
    _, members, encoded = parse(lines[n])
    leaf = audit_digest.Leaf.of(encoded, members["account"], signer_hash(domain))
    hidden = audit_digest.line("other", [leaf.tag.hex(), leaf.record_hash.hex()])
    assert "hides an event of the account" in texts(rig.verify([*lines[:n], hidden, *lines[n + 1 :]], domain))
    false_tag = audit_digest.line("other", ["00" * 16, leaf.record_hash.hex()])
    assert "does not stand for" in texts(rig.verify([*lines[:n], false_tag, *lines[n + 1 :]], domain))


def test_an_export_of_all_hides_nothing(rig: Rig, domain: str) -> None:
    lines = rig.export(domain, account=ACCOUNT)
    lines[0] = audit_digest.header(domain, "", rig.public_key(domain))
    assert "hides an event in an export of all" in texts(rig.verify(lines, domain))
    lines[0] = audit_digest.header(domain, OTHER, rig.public_key(domain))
    assert "has an event of another account in full" in texts(rig.verify(lines, domain))


# Time


def test_an_export_has_whole_windows(rig: Rig, honest: list[bytes], domain: str) -> None:
    third = digests(honest)[2].digest
    lines = rig.export(domain, since=third.start, until=third.end)
    assert [each.digest.number for each in digests(lines)] == [3]
    lines = rig.export(domain, since=third.start + 1, until=third.end + 1)
    assert [each.digest.number for each in digests(lines)] == [3, 4]
    assert rig.verify(lines, domain).findings == []


@pytest.mark.slow
@pytest.mark.parametrize("domain", [SM, FIPS])
def test_a_hundred_thousand_events_take_seconds(domain: str) -> None:
    rig = Rig()
    rig.windows([1, 1], domain)
    lines = rig.export(domain)
    key = signer(rig.service, domain)
    hash_ = key.standard.hash
    last = digests(lines)[-1]
    chain = Chain()
    for _ in range(10):
        tree = Tree(hash_)
        for _ in range(10_000):
            rig.clock.advance(0.001)
            link = chain.link()
            body = record.encode({**rig.event().members(), "chain": link.members()})
            chain.written(link, body)
            lines.append(audit_digest.event_line("event", body))
            tree.add(audit_digest.Leaf.of(body, ACCOUNT, hash_).data())
        digest = replace(
            last.digest,
            number=last.digest.number + 1,
            start=last.digest.end,
            end=last.digest.end + 300,
            count=tree.size,
            root=tree.root(),
            previous=last.hash_of(hash_),
        )
        last = key.sign(digest)
        lines.append(digest_line(last))
    begin = time.perf_counter()
    report = rig.verify(lines, domain)
    seconds = time.perf_counter() - begin
    print(f"\n{domain}: {report.events} events verified in {seconds:.1f} s")
    assert report.findings == []
    assert seconds < 60


@pytest.mark.parametrize("standard", ["sm", "fips"])
def test_an_export_of_an_earlier_release_verifies(standard: str) -> None:
    """The vectors: their signing keys are gone, so nobody can make them fit a changed format."""
    stem = Path(__file__).parents[1] / "vectors" / f"audit_export_{standard}"
    key = public.from_pem(stem.with_suffix(".pem").read_text())
    lines = stem.with_suffix(".jsonl").read_bytes().splitlines(keepends=True)
    report = verify(lines, Verifier(key, since=0, until=digests(lines)[-1].digest.end))
    assert (report.findings, report.events, report.digests) == ([], 10, 3)
    assert verify([*lines[:3], *lines[4:]], Verifier(key)).found
