"""Digests and the lines of exports: one spelling, and what is signed (KS-FMT-30, KS-FMT-31, KS-FMT-32)."""

import contextlib
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import audit_digest, record
from chalicelib.formats.audit_digest import Digest, Leaf, MalformedLine, SignedDigest, parse
from chalicelib.formats.canonical import associated_data
from chalicelib.formats.merkle import Standard

DIGEST = Digest(
    domain="ap-guangzhou",
    number=7,
    start=1_800_000_000,
    end=1_800_000_300,
    sealed_ms=1_800_000_420_001,
    count=3,
    root=bytes(range(32)),
    previous=bytes(range(32, 64)),
    key=bytes(range(64, 80)),
)
SIGNED = SignedDigest(DIGEST, b"signature")


def text(part: str) -> bytes:
    return b"s" + len(part).to_bytes(4) + part.encode()


def number(part: int) -> bytes:
    return b"i" + (8).to_bytes(4) + part.to_bytes(8)


def raw(part: bytes) -> bytes:
    return b"b" + len(part).to_bytes(4) + part


def test_what_is_signed_byte_by_byte() -> None:
    """KS-FMT-31.1."""
    assert DIGEST.message() == b"keystead\x01" + text("audit-digest") + text("ap-guangzhou") + b"".join(
        map(number, (7, 1_800_000_000, 1_800_000_300, 1_800_000_420_001, 3))
    ) + raw(DIGEST.root) + raw(DIGEST.previous) + raw(DIGEST.key)


def test_the_next_digest_names_the_signature_too() -> None:
    """KS-FMT-31.2: so a digest cannot be signed again in silence."""
    for standard in Standard:
        assert SIGNED.hash_of(standard.hash) == standard.hash(
            b"keystead\x01" + text("audit-digest-hash") + raw(DIGEST.message()) + raw(b"signature")
        )
    assert SIGNED.hash_of(Standard.SM.hash) != replace(SIGNED, signature=b"other").hash_of(Standard.SM.hash)


def test_a_leaf_shows_whose_it_is_only_to_who_knows_the_account() -> None:
    """KS-FMT-30.3."""
    hash_ = Standard.FIPS.hash
    leaf = Leaf.of(b"\x01{}", "100000000001", hash_)
    assert leaf.record_hash == hash_(b"\x01{}")
    assert leaf.tag == hash_(associated_data("audit-account", "100000000001", leaf.record_hash))[:16]
    assert leaf.data() == leaf.tag + leaf.record_hash
    assert leaf.tag != Leaf.tag_for("100000000002", leaf.record_hash, hash_)


def test_a_digest_reads_back_from_its_line() -> None:
    line = audit_digest.line(audit_digest.DIGEST, SIGNED.members())
    kind, value, _ = parse(line)
    assert (kind, SignedDigest.from_members(value)) == ("digest", SIGNED)
    assert list(json.loads(line)["digest"]) == [*asdict(DIGEST), "signature"]


def test_an_event_keeps_its_bytes() -> None:
    """KS-FMT-32.1: whatever JSON they are, nothing is written anew."""
    body = b'\x01{"b":1, "a":"\\u4e00\xe4\xb8\x80"}'
    line = audit_digest.event_line(audit_digest.EVENT, body)
    assert line == b'{"event":' + body[1:] + b"}\n"
    kind, value, found = parse(line)
    assert (kind, value, found) == ("event", record.decode(body), body)


LINES = [
    audit_digest.line(audit_digest.DIGEST, SIGNED.members()),
    audit_digest.line(audit_digest.OTHER, ["00" * 16, "11" * 32]),
    audit_digest.line(audit_digest.MISSING, ["id", "00" * 16, "11" * 32]),
    audit_digest.header("ap-guangzhou", "", b"key"),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:8].decode())
@given(data=st.data())
def test_a_changed_line_is_malformed_or_says_something_else(line: bytes, data: st.DataObject) -> None:
    """KS-FMT-32.2: there is one spelling, so no change is without a meaning."""
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != line[at]))
    changed = line[:at] + bytes([byte]) + line[at + 1 :]
    with contextlib.suppress(MalformedLine):
        assert parse(changed)[:2] != parse(line)[:2]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"digest":1}',
        b'{"digest": 1}\n',
        b'{"a":1,"b":2}\n',
        b'{"a":NaN}\n',
        b'{"event":}\n',
        b'{"event":{}}',
        b"[]\n",
        b"\xff\n",
        b'{"a":' + b"[" * 100_000 + b"\n",
    ],
)
def test_what_is_no_line(line: bytes) -> None:
    with pytest.raises(MalformedLine):
        parse(line)


@pytest.mark.parametrize(
    "change",
    [
        {"number": "7"},
        {"number": -1},
        {"number": True},
        {"number": 2**63},
        {"domain": 1},
        {"root": "00"},
        {"root": "A" * 64},
        {"root": 5},
        {"key": "0" * 31},
        {"signature": "x"},
        {"more": 1},
    ],
)
def test_what_is_no_digest(change: dict[str, object]) -> None:
    with pytest.raises(MalformedLine):
        SignedDigest.from_members(SIGNED.members() | change)


def test_members_have_one_order() -> None:
    members = SIGNED.members()
    with pytest.raises(MalformedLine):
        SignedDigest.from_members(dict(reversed(members.items())))
    wrong: object
    for wrong in (None, 0, {}):
        with pytest.raises(MalformedLine):
            SignedDigest.from_members(wrong)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"version": 2, "domain": "d", "account": "", "public_key": ""},
        {"version": True, "domain": "d", "account": "", "public_key": ""},
        {"version": 1, "domain": 1, "account": "", "public_key": ""},
        {"version": 1, "domain": "d", "account": "", "public_key": "?"},
        {"domain": "d", "version": 1, "account": "", "public_key": ""},
    ],
)
def test_what_is_no_header(value: object) -> None:
    with pytest.raises(MalformedLine):
        audit_digest.read_header(value)


def test_a_header_reads_back() -> None:
    _, value, _ = parse(audit_digest.header("identity", "100000000001", b"\x00\xff"))
    assert audit_digest.read_header(value) == ("identity", "100000000001", b"\x00\xff")


def test_a_key_is_named_by_its_hash() -> None:
    """KS-FMT-31.3."""
    assert audit_digest.key_id(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb924"


def test_an_export_of_one_account_gives_each_leaf_of_another_a_form_that_can_be_told_apart() -> None:
    """KS-FMT-32.3: a line `other` has what the tree has; that none of them is the account's, its tag shows."""
    hash_ = Standard.SM.hash
    leaf = Leaf.of(b"\x01{}", "100000000002", hash_)
    _, value, _ = parse(audit_digest.line(audit_digest.OTHER, [leaf.tag.hex(), leaf.record_hash.hex()]))
    found = Leaf(audit_digest.unhex(value[0], 16), audit_digest.unhex(value[1], 32))
    assert found == leaf
    assert found.tag == Leaf.tag_for("100000000002", found.record_hash, hash_)
    assert found.tag != Leaf.tag_for("100000000001", found.record_hash, hash_)
