"""The verifier of the SDK and that of the service say the same of honest exports and of forged ones (KS-FMT-30 to 32).

They share no code: the SDK's is written from docs/formats.md.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from chalicelib.audit.seal import digest_line, read_anchor, signer
from chalicelib.audit.verify import Verifier
from chalicelib.audit.verify import verify as verify_by_service
from chalicelib.formats.audit_digest import FIRST, Digest, Leaf, event_line, header, key_id, line, parse
from chalicelib.formats.merkle import Tree
from chalicelib.formats.record import encode
from chalicelib.hsm.port import KeyKind
from chalicelib.hsm.public import to_pem
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from tests.audit.rig import ACCOUNT, OTHER, Rig
from tests.audit.test_verify import KINDS, digests, kind, signed
from tests.installation import FIPS, SM

from keystead import sm2, trail
from keystead.trail import PublicKey, Report, UnusableKey, verify

P256_ORDER: Final = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
TAMPERINGS: Final = 330
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
def key(rig: Rig, domain: str) -> PublicKey:
    return PublicKey(to_pem(rig.public_key(domain)))


@pytest.fixture(scope="module")
def honest(rig: Rig, domain: str) -> list[bytes]:
    return rig.export(domain)


def anchor(lines: list[bytes]) -> list[bytes]:
    return [text for text in lines if kind(text) == "digest"]


def numbers(report: Report) -> tuple[int, ...]:
    return report.events, report.others, report.digests, report.late, report.unsealed


def test_an_honest_export_verifies(honest: list[bytes], key: PublicKey, domain: str) -> None:
    end = digests(honest)[-1].digest.end
    report = verify(honest, key, anchor=anchor(honest), since=0, until=end)
    assert (report.findings, report.notes, report.is_verified) == ([], [], True)
    assert numbers(report) == (33, 0, 6, 0, 0)
    assert (report.domain, report.account, report.first, report.last) == (domain, "", 1, 6)
    assert (report.start, report.end) == (0, end)


def test_an_export_of_one_account_verifies(rig: Rig, key: PublicKey, domain: str) -> None:
    lines = rig.export(domain, account=OTHER)
    report = verify(lines, key, anchor=anchor(lines), since=0)
    assert report.is_verified
    assert report.account == OTHER
    assert report.others > report.events > 0
    shown = [n for n, line in enumerate(lines) if kind(line) == "event"]
    assert not verify([*lines[: shown[0]], *lines[shown[0] + 1 :]], key).is_verified


def test_both_verifiers_agree_on_hundreds_of_random_tamperings(
    rig: Rig, honest: list[bytes], key: PublicKey, domain: str
) -> None:
    """With the anchor, each is noticed by both; without it, both notice the same ones."""
    tried = dict.fromkeys(KINDS, 0)
    unnoticed = number = 0
    while sum(tried.values()) < TAMPERINGS:
        number += 1
        tamper = KINDS[number % len(KINDS)]
        lines = tamper(honest, random.Random(number), rig, domain)
        if lines == honest:
            continue
        tried[tamper] += 1
        assert not verify(lines, key, anchor=anchor(honest), since=0).is_verified, (tamper.__name__, number)
        alone = verify(lines, key)
        by_service = verify_by_service(lines, Verifier(rig.public_key(domain)))
        assert bool(alone.found) == bool(by_service.found), (tamper.__name__, number)
        unnoticed += alone.is_verified
    assert min(tried.values()) >= TAMPERINGS // len(KINDS) // 2
    assert unnoticed, "some cut the tail behind a digest"


@pytest.mark.parametrize("account", ["", ACCOUNT])
def test_both_agree_where_every_line_in_turn_is_gone_or_comes_twice(
    rig: Rig, key: PublicKey, domain: str, account: str
) -> None:
    lines = rig.export(domain, account=account)
    for n in range(len(lines)):
        for changed in ([*lines[:n], *lines[n + 1 :]], [*lines[: n + 1], *lines[n:]]):
            ours = verify(changed, key)
            theirs = verify_by_service(changed, Verifier(rig.public_key(domain)))
            assert bool(ours.found) == bool(theirs.found), n
            assert numbers(ours) == (
                theirs.events,
                theirs.others,
                theirs.digests,
                theirs.late,
                theirs.unsealed,
            )


def test_late_and_unsealed_events() -> None:
    """KS-FMT-32.8."""
    rig = Rig()
    rig.windows([2])
    late = rig.process()
    rig.clock.advance(-1000)
    rig.write(1, service=late)
    rig.clock.advance(1000)
    rig.windows([1])
    key = PublicKey(to_pem(rig.public_key()))
    assert "came late, or was inserted" in " ".join(verify(rig.export(), key).findings)

    late.trail(SM)._written_at = 0
    rig.write(1, service=late)
    rig.seal()
    report = verify(rig.export(), key)
    assert (report.findings, report.late) == ([], 1)

    rig.write(3)
    tail = rig.export(unsealed=True)
    assert verify(tail, key).found
    report = verify(tail, key, unsealed_ok=True)
    assert report.findings == []
    assert report.unsealed >= 3
    chains = {line: parse(line)[1]["chain"] for line in tail if kind(line) == "unsealed"}
    named = {(writer, number) for writer, _, after in chains.values() for number, _ in after}
    gone = next(
        line for line, (writer, number, _) in chains.items() if (writer, number) in named and number > 1
    )
    report = verify([line for line in tail if line != gone], key, unsealed_ok=True)
    assert "removed before it was sealed" in " ".join(report.findings)


# By somebody who has the key: the signatures are good, the contents are not


def sealed(
    rig: Rig, domain: str, windows: list[list[bytes]], wrong: Mapping[str, Any] | None = None
) -> list[bytes]:
    """An export with these lines in its windows, signed with the domain's key; the last digest with what is `wrong`."""
    signs = signer(rig.service, domain)
    hash_ = signs.standard.hash
    lines = [header(domain, "", signs.public_key())]
    previous = FIRST
    for number, window in enumerate(windows, 1):
        tree = Tree(hash_)
        for text in window:
            _, value, record = parse(text)
            tree.add(Leaf.of(record, value["account"], hash_).data())
        digest = Digest(
            domain=domain,
            number=number,
            start=0 if number == 1 else number * 100,
            end=number * 100 + 100,
            sealed_ms=number * 100_000,
            count=tree.size,
            root=tree.root(),
            previous=previous,
            key=key_id(signs.public_key()),
        )
        if number == len(windows):
            digest = replace(digest, **(wrong or {}))
        made = signs.sign(digest)
        previous = made.hash_of(hash_)
        lines += [*window, digest_line(made)]
    return lines


def events(honest: list[bytes]) -> list[bytes]:
    return [line for line in honest if kind(line) == "event"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, ""),
        ({"previous": bytes(32)}, "does not follow"),
        ({"number": 4}, "does not follow"),
        ({"start": 301}, "does not follow"),
        ({"end": 300}, "impossible"),
        ({"root": bytes(32)}, "does not stand for"),
        ({"count": 3}, "does not stand for"),
        ({"domain": "ap-nowhere"}, "another domain"),
        ({"key": bytes(16)}, "did not sign"),
    ],
)
def test_digests_that_are_signed_and_wrong(
    rig: Rig, honest: list[bytes], key: PublicKey, domain: str, wrong: dict[str, Any], said: str
) -> None:
    """KS-FMT-32.6."""
    windows = [events(honest)[:4], events(honest)[4:6], events(honest)[6:8]]
    findings = verify(sealed(rig, domain, windows, wrong), key).findings
    assert [each for each in findings if said not in each] == []
    assert bool(findings) == bool(wrong)


def test_a_first_digest_has_none_before_it(
    rig: Rig, honest: list[bytes], key: PublicKey, domain: str
) -> None:
    lines = sealed(rig, domain, [events(honest)[:2]], {"previous": bytes(range(32))})
    assert "impossible" in verify(lines, key).findings[0]


def test_events_out_of_order_or_twice_under_a_good_signature(
    rig: Rig, honest: list[bytes], key: PublicKey, domain: str
) -> None:
    """KS-FMT-32.5."""
    one, two = events(honest)[:2]
    for window in ([two, one], [one, one, two]):
        assert "out of order, or twice" in verify(sealed(rig, domain, [window]), key).findings[0]


def test_a_chain_that_does_not_hold_under_a_good_signature(
    rig: Rig, honest: list[bytes], key: PublicKey, domain: str
) -> None:
    """KS-FMT-32.4, KS-FMT-32.7."""
    some = events(honest)[:4]
    members = parse(some[1])[1]
    changed = event_line("event", encode({**members, "action": "Decrypt"}))
    for window in ([some[0], changed, *some[2:]], [changed], [*some[2:]]):
        lines = sealed(rig, domain, [window])
        assert bool(verify(lines, key).found) == bool(
            verify_by_service(lines, Verifier(rig.public_key(domain))).found
        )
    findings = verify(sealed(rig, domain, [[some[0], changed, *some[2:]]]), key).findings
    assert any("was changed" in each for each in findings)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("first", ["real", "changed"])
def test_two_witnesses_must_agree(
    rig: Rig, honest: list[bytes], key: PublicKey, domain: str, place: int, first: str
) -> None:
    """An event that was inserted before a window was sealed speaks for another late event than the real witness."""
    named = parse(events(honest)[0])[1]

    def made(number: int, after: list[tuple[int, str]], **more: str) -> bytes:
        return encode({**named, "id": f"e{number}", "part": number, "chain": ["w", number, after], **more})

    real, changed = made(1, []), made(1, [], action="Decrypt")
    witnesses = [made(2, [(1, trail._fingerprint(real))]), made(3, [(1, trail._fingerprint(changed))])]
    if first == "changed":
        witnesses = [made(2, [(1, trail._fingerprint(changed))]), made(3, [(1, trail._fingerprint(real))])]
    lines = sealed(rig, domain, [[event_line("event", each)] for each in witnesses])
    ends = [1, lines.index(event_line("event", witnesses[1])), len(lines)]
    for late in (real, changed):
        shown = [*lines[: ends[place]], event_line("unsealed", late), *lines[ends[place] :]]
        assert "was changed" in " ".join(verify(shown, key).findings)
        assert verify_by_service(shown, Verifier(rig.public_key(domain))).found


def test_an_own_event_cannot_be_passed_off_as_another_accounts(rig: Rig, key: PublicKey, domain: str) -> None:
    """The leaf is the same, so the signature is good."""
    lines = rig.export(domain, account=ACCOUNT)
    hash_ = signer(rig.service, domain).standard.hash
    n = next(n for n, text in enumerate(lines) if kind(text) == "event")
    leaf = Leaf.of(parse(lines[n])[2], ACCOUNT, hash_)
    hidden = line("other", [leaf.tag.hex(), leaf.record_hash.hex()])
    gone = line("missing", ["x", leaf.tag.hex(), leaf.record_hash.hex()])
    assert "hides an event of the account" in verify([*lines[:n], hidden, *lines[n + 1 :]], key).findings[0]
    assert "gone or changed" in verify([*lines[:n], gone, *lines[n + 1 :]], key).findings[0]


def test_a_late_event_is_not_taken_for_one_after_the_end() -> None:
    rig = Rig()
    rig.windows([2])
    rig.clock.advance(-1000)
    rig.write(1, service=rig.process())
    rig.clock.advance(1000)
    rig.windows([1])
    report = verify(rig.export(unsealed=True), PublicKey(to_pem(rig.public_key())), unsealed_ok=True)
    assert (report.found, report.unsealed) == (1, 0)


def test_lines_have_one_spelling(honest: list[bytes], key: PublicKey) -> None:
    n = next(n for n, text in enumerate(honest) if kind(text) == "digest")
    ((name, members),) = json.loads(honest[n]).items()
    for value in (
        members,
        dict(reversed(members.items())),
        {**members, "root": members["root"].upper()},
        {**members, "number": float(members["number"])},
        {**members, "more": 1},
    ):
        text = json.dumps({name: value}, separators=(",", ":") if value is not members else None)
        findings = verify([*honest[:n], text.encode() + b"\n", *honest[n + 1 :]], key).findings
        assert f"Line {n + 1} is not a line of an export." in findings


def test_signatures_have_one_spelling(rig: Rig, key: PublicKey, domain: str) -> None:
    signs = signer(rig.service, domain)
    digest = signed(rig.export(domain)[-1]).digest
    message = digest.message()
    signature = signs.sign(digest).signature
    r, s = decode_dss_signature(signature)
    assert key.is_signed(message, signature)
    order = sm2._N if domain == SM else P256_ORDER
    longer = bytes([0x30, 0x81]) + signature[1:]
    padded = bytes([0x30, signature[1] + 1, 0x02, signature[3] + 1, 0]) + signature[4:]
    for other in (
        longer,
        padded,
        signature + b"\0",
        signature[:-1],
        b"",
        encode_dss_signature(r + order, s),
        encode_dss_signature(r, s + order),
        encode_dss_signature(0, s),
        encode_dss_signature(r, 0),
        encode_dss_signature(s, r),
        encode_dss_signature(order - s, s),
    ):
        assert not key.is_signed(message, other)
    assert not key.is_signed(message + b"x", signature)


# The end


def test_an_end_that_is_cut_off_needs_the_anchor_or_a_time(honest: list[bytes], key: PublicKey) -> None:
    ends = [n for n, line in enumerate(honest) if kind(line) == "digest"]
    cut = honest[: ends[-2] + 1]
    assert verify(cut, key).is_verified
    assert "its end is missing" in verify(cut, key, anchor=anchor(honest)).findings[0]
    assert "its end is missing" in verify(cut, key, until=digests(honest)[-1].digest.end).findings[0]
    assert verify(cut, key, anchor=anchor(honest), until=digests(honest)[-2].digest.end).is_verified
    assert not verify(honest[: ends[-1]], key).is_verified
    later = [honest[0], *honest[ends[0] + 1 :]]
    assert verify(later, key).is_verified
    assert "its beginning is missing" in verify(later, key, since=0).findings[0]


def test_what_is_appended_to_an_anchor_does_not_replace_what_was_there(
    rig: Rig, honest: list[bytes], key: PublicKey, domain: str
) -> None:
    forged = sealed(rig, domain, [events(honest)[:2]])
    assert verify(forged, key).is_verified
    both = [*anchor(honest)[:1], *anchor(forged)]
    for given in (both, both[::-1]):
        assert "not the one in the anchor" in verify(forged, key, anchor=given).findings[0]
        by_service = Verifier(rig.public_key(domain), anchor=read_anchor(b"".join(given)))
        assert "not the one in the anchor" in verify_by_service(forged, by_service).findings[0]
    assert verify(forged, key, anchor=anchor(forged) * 2).is_verified
    twice = Verifier(rig.public_key(domain), anchor=read_anchor(b"".join(anchor(forged) * 2)))
    assert not verify_by_service(forged, twice).found


def test_an_anchor_may_end_inside_a_line_but_not_be_empty(honest: list[bytes], key: PublicKey) -> None:
    """KS-FMT-32.9."""
    lines = anchor(honest)
    assert verify(honest, key, anchor=[*lines[:-1], lines[-1][:40]]).is_verified
    with pytest.raises(ValueError, match="no digest"):
        verify(honest, key, anchor=[b"\n"])


def test_an_anchor_of_another_trail_is_noticed(honest: list[bytes], key: PublicKey, domain: str) -> None:
    other = Rig()
    other.windows([1], domain)
    said = verify(honest, key, anchor=anchor(other.export(domain))).findings
    assert any("not the one in the anchor" in each for each in said)


def test_another_key_verifies_nothing(honest: list[bytes], domain: str) -> None:
    other = Rig()
    other.windows([1], domain)
    report = verify(honest, PublicKey(to_pem(other.public_key(domain))))
    assert report.found >= 7
    assert "another public key" in report.findings[0]


def test_a_key_of_another_kind_is_refused(rig: Rig, domain: str) -> None:
    hsm = rig.hsms[domain]
    for other in (KeyKind.RSA_2048, KeyKind.EC_P384):
        with pytest.raises(UnusableKey):
            PublicKey(to_pem(hsm.public_key(hsm.generate(other, b""))))
    good = to_pem(rig.public_key(domain))
    for text in ("", "x", good[:-40], good.replace("PUBLIC", "PRIVATE"), good + good, "\xe9", "a" * 5000):
        with pytest.raises(UnusableKey):
            PublicKey(text)
    for at in (40, 80, 120, 170):  # the algorithm, the curve, the point
        changed = good[:at] + ("B" if good[at] != "B" else "C") + good[at + 1 :]
        with pytest.raises(UnusableKey):
            PublicKey(changed)
    assert PublicKey(good.replace("\n", "\r\n").encode()).der == rig.public_key(domain)


def test_what_the_file_says_cannot_steer_a_terminal(honest: list[bytes], key: PublicKey) -> None:
    n = next(n for n, line in enumerate(honest) if kind(line) == "event")
    members = parse(honest[n])[1]
    members["chain"][0] = "\x1b[2J\nverified"
    twice = event_line("event", encode(members))
    said = verify([honest[0], twice, twice], key).findings
    assert any("second event" in each for each in said)
    assert all(each.isprintable() for each in said)


def test_findings_are_counted_and_not_kept_without_end(key: PublicKey) -> None:
    report = verify([b"?\n"] * (trail.MOST_FINDINGS + 5), key)
    assert len(report.findings) == trail.MOST_FINDINGS
    assert report.found > trail.MOST_FINDINGS
    assert "empty" in verify([], key).findings[0]


def test_lines_that_no_export_has_are_findings_and_no_crash(honest: list[bytes], key: PublicKey) -> None:
    for text in (
        b'{"event":{"id":"a","account":"\\ud800","at":1}}\n',
        b'{"event":NaN}\n',
        b'{"event":' + b"[" * 100_000 + b"}\n",
        b'{"other":"\\ud800"}\n',
        b'{"digest":{}}\n',
        b'{"missing":[1,2,3]}\n',
        b'{"keystead_audit":{"version":true,"domain":"a","account":"","public_key":""}}\n',
        b'{"nothing":1}\n',
        b"\xff\n",
    ):
        report = verify([honest[0], text], key)
        assert "Line 2 is not a line of an export." in report.findings, text
