"""Ceremonies with domain keys (KS-FMT-23): what operators do, and what somebody who writes the table tries."""

import base64
import contextlib
import io
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from shamir_mnemonic import combine_mnemonics

from chalicelib import audit, wiring
from chalicelib import ceremony as module
from chalicelib.ceremony import Ceremony, Draft, Refused, check_mnemonics, open_backup_key
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY, Service
from chalicelib.domain_rotation import SESSION_SECONDS, NotYet
from chalicelib.formats import backup_key, key_token, record
from chalicelib.formats.sealed_generation import SealedGeneration
from chalicelib.hsm.__main__ import Desk, main
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.jobs.rewrap_tokens import SETTLING_SECONDS, rewrap_tokens
from chalicelib.settings import Settings
from chalicelib.table import domains as rows
from chalicelib.table.domains import GenerationBackup
from chalicelib.table.port import Delete, Expect, Put, Row
from tests.faults.broken import Broken, Killed, plans

REGION: Final = "ap-guangzhou"
NOW: Final = 1_800_000_000
ROOT: Final = Path(__file__).parent.parent
REGIONS: Final = {REGION: "sm", "ap-singapore": "fips"}


def build(home: Path, now: int = NOW) -> Service:
    return wiring.build(Settings(home=home, regions=REGIONS), ManualClock(now), create=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Draft]:
    """A home with domain keys and a backup key in use; one for all tests, as the keys take time."""
    home = tmp_path_factory.mktemp("ceremony") / "home"
    service = build(home)
    ceremony = Ceremony(service, "alice")
    assert ceremony.init() == [IDENTITY, *REGIONS]
    draft = ceremony.draft_backup_key(5, 3)
    ceremony.adopt(draft)
    service.close()
    return home, draft


@pytest.fixture
def draft(made: tuple[Path, Draft]) -> Draft:
    return made[1]


@pytest.fixture
def home(made: tuple[Path, Draft], tmp_path: Path) -> Path:
    shutil.copytree(made[0], tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    service = build(home)
    yield service
    service.close()


@pytest.fixture
def ceremony(service: Service) -> Ceremony:
    return Ceremony(service, "alice")


def put_back(path: Path, *, without_keys: bool = True) -> Path:
    """A new home with a backup of the tables alone."""
    new = path.parent / "new"
    new.mkdir()
    for table in path.glob("*.sqlite*"):
        shutil.copy(table, new / table.name)
    if not without_keys:
        shutil.copytree(path / "hsm", new / "hsm")
    return new


def events(service: Service) -> list[dict[str, object]]:
    """The trail of `identity` of nobody's account, oldest first."""
    found = []
    for day in ("20270115", "20270116", "20270117", "20270118"):
        for shard in range(audit.SHARDS):
            found += service.table(IDENTITY).query(f"E#{audit.NOBODY}#{day}#{shard}")
    return [record.decode(row.body) for row in sorted(found, key=lambda row: row.sk)]


# Making


def test_the_first_generation_is_made_where_there_is_none(tmp_path: Path) -> None:
    service = build(tmp_path)
    ceremony = Ceremony(service, "alice")
    assert service.hsm(REGION).generations() == ()
    assert ceremony.init() == [IDENTITY, *REGIONS]
    assert ceremony.init() == []
    assert [list(service.hsm(domain).generations()) for domain in ceremony.domains] == [[1], [1], [1]]
    service.close()


def test_a_lost_domain_key_is_no_first_start(home: Path) -> None:
    new = put_back(home)
    service = build(new)
    with pytest.raises(Refused, match="restore it from its backup"):
        Ceremony(service, "alice").init()
    assert service.hsm(IDENTITY).generations() == ()
    service.close()


def test_a_rotation_never_takes_the_number_of_a_lost_generation(
    ceremony: Ceremony, service: Service, home: Path, draft: Draft
) -> None:
    """Its backup would be written over, and with it the last way back."""
    ceremony.export(IDENTITY)
    before = [backup.sealed for backup in rows.generations(service.table(IDENTITY), IDENTITY)]
    (home / "hsm" / f"{IDENTITY}.keys").unlink()
    lost = build(home)
    with pytest.raises(Refused, match="restore it from its backup"):
        Ceremony(lost, "alice").rotate(IDENTITY, without_backup=True)
    assert lost.hsm(IDENTITY).generations() == ()
    assert [backup.sealed for backup in rows.generations(lost.table(IDENTITY), IDENTITY)] == before
    private_key = open_backup_key(draft.key, draft.mnemonics[:3])
    Ceremony(lost, "alice").restore(IDENTITY, {draft.key.fingerprint: private_key})
    assert Ceremony(lost, "alice").verify(IDENTITY).opened
    lost.close()


@pytest.mark.parametrize(("shares", "threshold"), [(1, 1), (3, 1), (3, 4), (17, 3), (3, 0), (0, 0)])
def test_impossible_numbers_of_shares_are_refused(ceremony: Ceremony, shares: int, threshold: int) -> None:
    with pytest.raises(Refused, match="threshold"):
        ceremony.draft_backup_key(shares, threshold)


def test_a_backup_key_needs_domain_keys_that_vouch_for_it(tmp_path: Path) -> None:
    service = build(tmp_path)
    with pytest.raises(Refused, match="`init` first"):
        Ceremony(service, "alice").draft_backup_key(3, 2)
    service.close()


def test_the_backup_key_is_in_every_table(service: Service, draft: Draft) -> None:
    """A backup of one region's table and the shares are enough for that region."""
    for domain in (IDENTITY, *REGIONS):
        (key,) = rows.backup_keys(service.table(domain))
        assert replace(key, token=b"") == draft.key
        assert bool(key.token) == (domain == IDENTITY)


def test_any_three_of_five_shares_open_it_and_two_do_not(draft: Draft) -> None:
    shares = draft.mnemonics
    private_key = open_backup_key(draft.key, shares[:3])
    for chosen in ([0, 2, 4], [4, 3, 1], [1, 2, 3, 4], [0, 1, 2, 3, 4]):
        assert open_backup_key(draft.key, [shares[at] for at in chosen]) == private_key
    for few in ([], [0], [3, 1]):
        with pytest.raises(Refused, match="too few"):
            open_backup_key(draft.key, [shares[at] for at in few])


def test_wrong_shares_are_refused_in_words_that_repeat_none(draft: Draft, ceremony: Ceremony) -> None:
    first, second, third, *_ = draft.mnemonics
    other = ceremony.draft_backup_key(3, 2)
    words = third.split()
    swapped = " ".join([*words[:20], words[21], words[20], *words[22:]])
    for shares, says in (
        ([first, second, swapped], "Share 3 has a wrong, missing or misspelt word"),
        ([first, second, " ".join(words[:-1])], "Share 3 has a wrong, missing or misspelt word"),
        ([first, "xyzzy " + second], "Share 2 has a wrong, missing or misspelt word"),
        ([first, ""], "Share 2 has a wrong, missing or misspelt word"),
        ([first, second, other.mnemonics[0]], "Share 3 belongs to another backup key"),
        ([first, second, first], "Share 3 was entered twice"),
        (other.mnemonics[:2], "not those of the backup key"),
    ):
        with pytest.raises(Refused, match=says) as caught:
            open_backup_key(draft.key, shares)
        said = str(caught.value)  # a single word of a share may be in it by chance
        assert not any(" ".join(words[at : at + 2]) in said for at in range(4, len(words) - 1))
        assert caught.value.__cause__ is None


def test_shares_are_slip_39(draft: Draft) -> None:
    """Any implementation of the standard reads them, and the secret opens the stored private half."""
    assert [len(mnemonic.split()) for mnemonic in draft.mnemonics] == [33] * 5
    secret = combine_mnemonics(draft.mnemonics[:3])
    assert backup_key.open_sealed(secret, draft.key.public_key, draft.key.sealed)


def test_a_published_share_set_combines() -> None:
    """SLIP-39, vectors.json, the valid set of 256 bits "Basic sharing 2-of-3" (passphrase TREZOR)."""
    first = (
        "humidity disease academic always aluminum jewelry energy woman receiver strategy amuse duckling lying evidence"
        " network walnut tactics forget hairy rebound impulse brother survive clothes stadium mailman rival ocean reward"
        " venture always armed unwrap"
    )
    second = (
        "humidity disease academic agency actress jacket gross physics cylinder solution fake mortgage benefit public"
        " busy prepare sharp friar change work slow purchase ruler again tricycle involve viral wireless mixture anatomy"
        " desert cargo upgrade"
    )
    shares = (first, second)
    assert check_mnemonics(shares) == 0
    expected = "c938b319067687e990e05e0da0ecce1278f75ff58d9853f19dcaeed5de104aae"
    assert combine_mnemonics(shares, b"TREZOR").hex() == expected


def test_no_secret_is_in_what_a_draft_shows(draft: Draft) -> None:
    assert draft.mnemonics[0].split()[10] not in repr(draft)
    assert base64.b64encode(draft.key.sealed).decode()[:20] not in repr(draft)


@pytest.mark.parametrize("at", [0, 1, 20, 700, -1])
def test_a_changed_private_half_does_not_open(draft: Draft, at: int) -> None:
    """KS-FMT-23.1."""
    changed = bytearray(draft.key.sealed)
    changed[at] ^= 1
    with pytest.raises(Refused, match="or its row was changed"):
        open_backup_key(replace(draft.key, sealed=bytes(changed)), draft.mnemonics[:3])


def test_a_private_half_opens_with_its_own_public_half_only(draft: Draft) -> None:
    """KS-FMT-23.1."""
    secret = combine_mnemonics(draft.mnemonics[:3])
    other, _ = backup_key.generate()
    with pytest.raises(Damaged):
        backup_key.open_sealed(secret, other, draft.key.sealed)


# Rotation and backups


def test_a_new_generation_is_sealed_to_the_backup_key(
    ceremony: Ceremony, service: Service, draft: Draft
) -> None:
    for domain in ceremony.domains:
        assert ceremony.rotate(domain) == 2
        (backup,) = rows.generations(service.table(domain), domain)
        assert (backup.generation, backup.fingerprint) == (2, draft.key.fingerprint)
        sealed = SealedGeneration.decode(backup.sealed)
        assert (sealed.domain, sealed.generation) == (domain, 2)
    key = draft.key
    assert [ceremony.without_backup(d, key) for d in ceremony.domains] == [[1], [1], [1]]


def test_the_backup_is_stored_before_the_generation_is_used(service: Service) -> None:
    """Else a death between the two leaves keys that no backup opens."""
    table = service.table(REGION)
    write = table.write

    def fail(ops: list[object]) -> None:
        if any(isinstance(op, Put) and op.row.sk.startswith("G#") for op in ops):
            raise KeyboardInterrupt
        write(ops)  # type: ignore[arg-type]

    table.write = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        Ceremony(service, "alice").rotate(REGION)
    assert list(service.hsm(REGION).generations()) == [1]


def test_no_rotation_without_a_backup_unless_said(tmp_path: Path) -> None:
    """Whoever can delete rows must not get a domain key without a backup."""
    service = build(tmp_path)
    ceremony = Ceremony(service, "alice")
    ceremony.init()
    with pytest.raises(Refused, match="There is no backup key"):
        ceremony.rotate(REGION)
    assert ceremony.rotate(REGION, without_backup=True) == 2
    assert rows.generations(service.table(REGION), REGION) == []
    service.close()


def test_existing_generations_of_the_software_hsm_are_exported(ceremony: Ceremony, service: Service) -> None:
    ceremony.rotate(REGION)
    assert ceremony.export(REGION) == [1]
    assert ceremony.export(REGION) == []
    assert [b.generation for b in rows.generations(service.table(REGION), REGION)] == [1, 2]


def test_a_second_backup_key_takes_over(ceremony: Ceremony, service: Service, draft: Draft) -> None:
    ceremony.rotate(REGION)
    second = ceremony.draft_backup_key(2, 2)
    ceremony.adopt(second)
    in_use = ceremony.backup_key_in_use()
    assert in_use is not None
    assert in_use.fingerprint == second.key.fingerprint
    ceremony.rotate(REGION)
    backups = {b.generation: b.fingerprint for b in rows.generations(service.table(REGION), REGION)}
    assert backups == {2: draft.key.fingerprint, 3: second.key.fingerprint}
    assert {k.fingerprint for k in ceremony.keys_to_restore()} == set(backups.values())
    ceremony.export(REGION)
    assert [k.fingerprint for k in ceremony.keys_to_restore()] == [second.key.fingerprint]


def test_the_key_token_of_the_backup_key_moves_with_the_rotation(
    ceremony: Ceremony, service: Service
) -> None:
    """Else the retirement of its generation would leave nobody who vouches for the backup key."""
    ceremony.rotate(IDENTITY)
    clock = service.clock
    assert isinstance(clock, ManualClock)
    for _ in range(3):
        rewrap_tokens(service, IDENTITY)
        clock.advance(SETTLING_SECONDS + SESSION_SECONDS + 1)
    ceremony.retire(IDENTITY, 1)
    key = ceremony.backup_key_in_use()
    assert key is not None
    assert key_token.generation_of(key.token) == 2


def test_retirement_takes_the_backups_along(ceremony: Ceremony, service: Service) -> None:
    ceremony.export(REGION)
    ceremony.rotate(REGION)
    with pytest.raises(NotYet):
        ceremony.retire(REGION, 1)
    assert [b.generation for b in rows.generations(service.table(REGION), REGION)] == [1, 2]
    clock = service.clock
    assert isinstance(clock, ManualClock)
    for _ in range(3):
        rewrap_tokens(service, REGION)
        clock.advance(SETTLING_SECONDS + 1)
    ceremony.retire(REGION, 1)
    assert [b.generation for b in rows.generations(service.table(REGION), REGION)] == [2]


# Somebody who writes the table


def plant(service: Service, token: bytes | None = None) -> None:
    """Put the attacker's public key in the place of the backup key, with that one's key token or another."""
    identity = service.table(IDENTITY)
    (key,) = rows.backup_keys(identity)
    (row,) = identity.query("DK#backup")
    public_key, _ = backup_key.generate()
    planted = replace(
        key,
        public_key=public_key,
        fingerprint=backup_key.fingerprint(public_key),
        token=key.token if token is None else token,
    )
    identity.write([Delete(row.pk, row.sk, Expect.EXISTS), rows.put_backup_key(planted)])


def test_a_backup_key_that_somebody_put_in_its_place_gets_nothing(
    ceremony: Ceremony, service: Service
) -> None:
    """The attack: replace the public key before the next rotation, and receive the domain key."""
    plant(service)
    for attempt in (ceremony.rotate, ceremony.export):
        with pytest.raises(Refused, match="not the one that was put to use"):
            attempt(REGION)
    assert list(service.hsm(REGION).generations()) == [1]
    assert rows.generations(service.table(REGION), REGION) == []


def test_not_even_with_a_key_token_of_his_own(ceremony: Ceremony, service: Service) -> None:
    """Neither one of another key's, nor one that other rows have."""
    tokens = [
        service.hsm(IDENTITY).generate(KeyKind.AES_256, b"another place").token,
        service.hsm(REGION).generate(KeyKind.AES_256, b"another domain").token,
        b"\x01\x01" + (1).to_bytes(4) + bytes(73),
        b"no token",
    ]
    for token in tokens:
        plant(service, token)
        with pytest.raises(Refused, match="not the one that was put to use"):
            ceremony.rotate(REGION)


def test_a_token_for_his_key_from_another_domain_is_none(ceremony: Ceremony, service: Service) -> None:
    """KS-FMT-23.2."""
    public_key, _ = backup_key.generate()
    (key,) = rows.backup_keys(service.table(IDENTITY))
    token = service.hsm(REGION).generate(KeyKind.AES_256, backup_key.binding(public_key)).token
    mine = replace(key, public_key=public_key, fingerprint=backup_key.fingerprint(public_key), token=token)
    service.table(IDENTITY).write([rows.put_backup_key(mine), rows.put_backup_key(replace(key, token=b""))])
    with pytest.raises(Refused, match="not the one that was put to use"):
        ceremony.rotate(REGION)


def test_two_backup_keys_in_use_are_one_too_many(ceremony: Ceremony, service: Service) -> None:
    """The row of a former backup key put back, while its token still opens."""
    (former,) = rows.backup_keys(service.table(IDENTITY))
    ceremony.adopt(ceremony.draft_backup_key(2, 2))
    service.table(IDENTITY).write([rows.put_backup_key(former)])
    with pytest.raises(Refused, match="not the one that was put to use"):
        ceremony.rotate(REGION)


def test_a_fingerprint_that_is_not_the_keys_is_refused(ceremony: Ceremony, service: Service) -> None:
    """Operators compare it with what the custodians wrote down."""
    (row,) = service.table(IDENTITY).query("DK#backup")
    members = {**record.decode(row.body), "fingerprint": "0" * 64}
    service.table(IDENTITY).write([Put(replace(row, body=record.encode(members)), Expect.ANY)])
    with pytest.raises(Refused, match="not the one that was put to use"):
        ceremony.rotate(REGION)


def restored(service: Service, draft: Draft, domain: str = REGION) -> list[int]:
    private_key = open_backup_key(draft.key, draft.mnemonics[:3])
    return Ceremony(service, "bob").restore(domain, {draft.key.fingerprint: private_key})


def forge(number: int, recipient: bytes, *, older: dict[int, bytes] | None = None) -> bytes:
    """A generation of the attacker's own, sealed to the real backup key: that is public."""
    keys = {n: os.urandom(32) for n in range(1, number)} | (older or {})
    return SoftwareHsm(REGION, keys | {number: os.urandom(32)}).export(number, recipient)


@pytest.mark.parametrize("number", [3, 99])
def test_a_generation_that_somebody_added_is_not_restored(
    ceremony: Ceremony, service: Service, home: Path, draft: Draft, number: int
) -> None:
    """Else new keys would be wrapped under a domain key that he knows."""
    ceremony.export(REGION)
    ceremony.rotate(REGION)
    for vouchers in (False, True):
        sealed = forge(number, draft.key.public_key)
        if not vouchers:
            sealed = replace(SealedGeneration.decode(sealed), vouchers={}).encode()
        backup = GenerationBackup(REGION, number, draft.key.fingerprint, sealed)
        service.table(REGION).write([rows.put_generation(backup)])
        new = put_back(home)
        lost = build(new)
        with pytest.raises(Refused, match=f"generation {number} in the table is not what was sealed"):
            restored(lost, draft)
        assert list(lost.hsm(REGION).generations()) == [1, 2]
        lost.close()
        shutil.rmtree(new)


def test_a_first_generation_that_somebody_replaced_is_noticed(
    ceremony: Ceremony, service: Service, home: Path, draft: Draft
) -> None:
    """By the next one, if there is one, else by the tokens that do not open."""
    service.table(REGION).write([Put(key_row(service, REGION), Expect.ANY)])
    forged = GenerationBackup(REGION, 1, draft.key.fingerprint, forge(1, draft.key.public_key))
    service.table(REGION).write([rows.put_generation(forged)])
    lost = build(put_back(home))
    assert restored(lost, draft) == [1]
    assert Ceremony(lost, "bob").verify(REGION).damaged
    lost.close()
    shutil.rmtree(home.parent / "new")
    ceremony.rotate(REGION)
    lost = build(put_back(home))
    with pytest.raises(Refused, match="generation 2 in the table is not what was sealed, or an older one"):
        restored(lost, draft)
    lost.close()


def key_row(service: Service, region: str) -> Row:
    """An import token's row as `key_store` writes it, with a real token in it."""
    from chalicelib.table.keys import import_binding

    pk, sk = f"IT#100000000001#{region}#{'0' * 36}", "T"
    token = service.hsm(region).generate(KeyKind.RSA_2048, import_binding((pk, sk))).token
    return Row(pk=pk, sk=sk, body=record.encode({"token": base64.b64encode(token).decode()}))


def test_a_changed_or_foreign_backup_is_not_restored(
    ceremony: Ceremony, service: Service, home: Path, draft: Draft
) -> None:
    ceremony.export(REGION)
    ceremony.export("ap-singapore")
    (backup,) = rows.generations(service.table(REGION), REGION)
    (foreign,) = rows.generations(service.table("ap-singapore"), "ap-singapore")
    flipped = bytearray(backup.sealed)
    flipped[60] ^= 1
    for sealed in (bytes(flipped), foreign.sealed, b"", backup.sealed[:-1]):
        service.table(REGION).write([rows.put_generation(replace(backup, sealed=sealed))])
        lost = build(put_back(home))
        with pytest.raises(Refused, match="is not what was sealed"):
            restored(lost, draft)
        assert list(lost.hsm(REGION).generations()) == []
        lost.close()
        shutil.rmtree(home.parent / "new")


def test_nothing_is_restored_over_another_key(ceremony: Ceremony, home: Path, draft: Draft) -> None:
    ceremony.export(REGION)
    new = put_back(home)
    started = wiring.build(Settings(home=new, regions=REGIONS), ManualClock(NOW))
    key = started.hsm(REGION).generate(KeyKind.AES_256, b"place")
    started.close()
    service = build(new)
    with pytest.raises(Refused, match="has another generation 1 already"):
        restored(service, draft)
    assert service.hsm(REGION).check_value(HsmKey(key.kind, key.token, b"place"))
    service.close()


def test_restoring_twice_changes_nothing(ceremony: Ceremony, home: Path, draft: Draft) -> None:
    ceremony.export(REGION)
    ceremony.rotate(REGION)
    service = build(put_back(home))
    assert restored(service, draft) == restored(service, draft) == [1, 2]
    service.close()


# The trail


def test_every_ceremony_is_in_the_audit_trail(ceremony: Ceremony, service: Service, draft: Draft) -> None:
    """Announced, and then what became of it."""
    ceremony.rotate(REGION)
    ceremony.export(REGION)
    forged = GenerationBackup(REGION, 3, draft.key.fingerprint, forge(3, draft.key.public_key))
    service.table(REGION).write([rows.put_generation(forged)])
    with pytest.raises(Refused):
        restored(service, draft)
    found = events(service)
    assert {(e["user_type"], e["auth"], e["account"]) for e in found} == {
        ("Operator", "console", audit.NOBODY)
    }
    by_call: dict[object, list[dict[str, object]]] = {}
    for event in found:
        by_call.setdefault(event["id"], []).append(event)
    assert sorted(
        (c[0]["action"], c[0]["user"], [e.get("error", "") for e in c]) for c in by_call.values()
    ) == [
        ("CreateBackupKey", "alice", ["", ""]),
        ("ExportDomainKeys", "alice", ["", ""]),
        ("RestoreDomainKeys", "bob", ["", "FailedOperation"]),
        *[("RotateDomainKey", "alice", ["", ""])] * 4,
    ]


def test_no_share_and_no_key_is_in_a_table(home: Path, draft: Draft, service: Service) -> None:
    """KS-FMT-23.3."""
    Ceremony(service, "alice").export(REGION)
    secret = combine_mnemonics(draft.mnemonics[:3])
    private_key = open_backup_key(draft.key, draft.mnemonics[:3])
    domain_keys = service.hsm(REGION)._store.read().values()  # type: ignore[attr-defined]
    needles = [secret, private_key[40:80], *domain_keys]
    needles += [
        m.encode() for mnemonic in draft.mnemonics for m in (mnemonic, " ".join(mnemonic.split()[4:8]))
    ]
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for needle in needles:
                assert needle not in content
                assert base64.b64encode(needle) not in content
                assert needle.hex().encode() not in content


def test_two_ceremonies_at_once_are_one_too_many(service: Service, ceremony: Ceremony) -> None:
    with ceremony._alone(REGION), pytest.raises(Refused, match="Another ceremony"):
        Ceremony(service, "bob").rotate(REGION)
    assert ceremony.rotate(REGION) == 2


# Faults


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, draft: Draft) -> Broken:
    """A service whose tables and HSM fail on demand, with a backup key in use."""
    monkeypatch.setattr(module, "_PAUSE", 0)
    monkeypatch.setattr(audit, "_PAUSE", 0)
    broken = Broken(ManualClock(NOW))
    Ceremony(broken.service, "alice").adopt(draft)
    return broken


def test_every_fault_in_a_rotation_leaves_no_generation_without_a_backup(
    broken: Broken, draft: Draft
) -> None:
    ceremony, saboteur = Ceremony(broken.service, "alice"), broken.saboteur
    saboteur.rest()
    ceremony.rotate(REGION)
    calls = tuple(saboteur.calls)
    assert "rotate" in calls
    assert calls.count("write") >= 5
    for fault, first, last in plans(calls):
        saboteur.fail(fault, first, last)
        with contextlib.suppress(Exception, Killed):
            ceremony.rotate(REGION)
        saboteur.rest()
        assert ceremony.without_backup(REGION, draft.key) == [1], (fault, first, last)
        broken.clock.advance(200)  # past the lease of a dead ceremony
    before = len(broken.hsms[REGION].generations())
    ceremony.rotate(REGION)
    assert len(broken.hsms[REGION].generations()) == before + 1


def test_every_fault_while_a_backup_key_is_put_to_use(broken: Broken, draft: Draft) -> None:
    """One key is in use at all times, and it is in every table."""
    ceremony, saboteur = Ceremony(broken.service, "alice"), broken.saboteur
    second = ceremony.draft_backup_key(2, 2)
    start = {domain: broken.tables[domain].snapshot() for domain in broken.tables}
    saboteur.rest()
    ceremony.adopt(second)
    calls = tuple(saboteur.calls)
    for fault, first, last in plans(calls):
        for domain, rows_before in start.items():
            broken.tables[domain].restore(rows_before)
        saboteur.fail(fault, first, last)
        with contextlib.suppress(Exception, Killed):
            ceremony.adopt(second)
        saboteur.rest()
        broken.clock.advance(200)  # past the lease of a dead ceremony
        for expected in ({draft.key.fingerprint, second.key.fingerprint}, {second.key.fingerprint}):
            in_use = ceremony.backup_key_in_use()
            assert in_use is not None
            assert in_use.fingerprint in expected, (fault, first, last)
            for domain in broken.settings.regions:
                assert in_use.fingerprint in {k.fingerprint for k in rows.backup_keys(broken.tables[domain])}
            ceremony.adopt(second)


# The command


class Commands:
    """Runs commands on a home, without a terminal."""

    def __init__(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("KEYSTEAD_HOME", str(home))
        monkeypatch.setenv("KEYSTEAD_REGIONS", ",".join(f"{name}:{s}" for name, s in REGIONS.items()))
        self._capsys = capsys
        self.errors = ""

    def run(self, text: str, given: str = "", *, fails: bool = False) -> str:
        output = io.StringIO()
        status = main(text.split(), Desk(io.StringIO(given), output))
        self.errors = self._capsys.readouterr().err
        assert status == (1 if fails else 0), output.getvalue() + self.errors
        return output.getvalue()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path / "home", monkeypatch, capsys)


def test_from_nothing_to_a_restored_home(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "identity: made generation 1" in commands.run("init")
    assert "has a domain key already" in commands.run("init")
    assert "There is no backup key." in commands.run("status")
    out = tmp_path / "shares"
    commands.run(f"backup-key create --shares 3 --threshold 2 --out {out}")
    files = sorted(out.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in (*files, out)] == [0o600] * 3 + [0o700]
    assert "has no backup: `export`" in commands.run("status", fails=True)
    assert "ap-singapore: sealed generation 1" in commands.run("export")
    assert "nothing to do" in commands.run("export")
    said = commands.run("status")
    assert re.search(r"Backup key [0-9a-f]{64}: any 2 of 3 shares open it\.", said)
    assert f"{REGION}: software, generation 1; with a backup: 1" in said
    assert f"{REGION}: made generation 2" in commands.run(f"rotate --domain {REGION}")
    assert "with a backup: 1, 2" in commands.run("status")
    commands.run(f"retire --domain {REGION} --generation 1", fails=True)
    assert "rewrap_tokens" in commands.errors

    new = put_back(tmp_path / "home")
    monkeypatch.setenv("KEYSTEAD_HOME", str(new))
    shares = [path.read_text() for path in files]
    assert "WRONG: The domain identity has no domain key" in commands.run("status", fails=True)
    commands.run("restore", shares[0], fails=True)
    assert "too few: 1 more needed" in commands.errors
    said = commands.run("restore", shares[2] + "\n" + shares[0])
    assert f"{REGION}: has generation 1, 2" in said
    assert "identity: opened 1 key tokens" in said, "the backup key's own"
    assert "with a backup: 1, 2" in commands.run("status")


def test_shares_are_not_shown_where_nobody_looks(commands: Commands) -> None:
    commands.run("init")
    said = commands.run("backup-key create --shares 3 --threshold 2", fails=True)
    assert said == ""
    assert "--out DIR" in commands.errors


def test_files_of_shares_are_never_written_over(commands: Commands, tmp_path: Path) -> None:
    commands.run("init")
    blocked = tmp_path / "file"
    blocked.write_text("")
    commands.run(f"backup-key create --shares 2 --threshold 2 --out {blocked}", fails=True)
    assert "Nothing was changed" in commands.errors
    assert "There is no backup key." in commands.run("status")


def test_without_domain_keys_the_status_is_wrong(commands: Commands) -> None:
    said = commands.run("status", fails=True)
    assert "WRONG: identity: there is no domain key: `init`, or `restore` if there was one" in said


def test_a_replaced_backup_key_makes_the_status_wrong(commands: Commands, service: Service) -> None:
    plant(service)
    assert "WRONG: The backup key in the identity table is not the one" in commands.run("status", fails=True)


def test_rows_without_their_generation_make_a_restoration_wrong(
    commands: Commands, ceremony: Ceremony, service: Service, home: Path, draft: Draft
) -> None:
    service.table(REGION).write([Put(key_row(service, REGION), Expect.ANY)])
    ceremony.rotate(REGION)
    for path in (home / "hsm").iterdir():
        path.unlink()
    shares = "\n".join(draft.mnemonics[:3])
    said = commands.run(f"restore --domain {REGION}", shares, fails=True)
    assert f"{REGION}: WRONG: rows name generation 1, which is not here" in said


def test_unknown_domains_and_settings_are_refused(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.run("rotate --without-backup --domain nowhere", fails=True)
    assert "There is no domain nowhere" in commands.errors
    monkeypatch.setenv("KEYSTEAD_TYPO", "on")
    commands.run("status", fails=True)
    assert "unknown settings" in commands.errors


def test_tables_without_a_backup_have_nothing_to_restore(commands: Commands) -> None:
    commands.run("init")
    commands.run("restore", fails=True)
    assert "put back a backup of the tables first" in commands.errors


def test_add_standby_is_for_several_tokens(commands: Commands, home: Path) -> None:
    assert home.exists()
    assert f"{REGION}: every token has every generation" in commands.run("add-standby")


@pytest.mark.parametrize(
    "command", ["init", "status", "backup-key create", "export", "restore", "add-standby", "rotate", "retire"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert len(capsys.readouterr().out) > 200


# The command on a terminal


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        regions = ",".join(f"{name}:{standard}" for name, standard in REGIONS.items())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chalicelib.hsm", *arguments],
            env={
                "KEYSTEAD_HOME": str(home),
                "KEYSTEAD_REGIONS": regions,
                "PATH": os.environ["PATH"],
                "TERM": "xterm",
            },
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def wait_for(self, text: str) -> str:
        """What was shown up to and with the text, since the last time."""
        while text not in self.shown:
            assert select.select([self._master], [], [], 60)[0], self.shown
            try:
                self.shown += os.read(self._master, 65536).decode()
            except OSError:
                pytest.fail(f"ended: {self.shown}")
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def enter(self, text: str = "") -> None:
        os.write(self._master, text.encode() + b"\n")

    def end(self) -> int:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                break
            if not data:
                break
            self.shown += data.decode()
        os.close(self._master)
        return self.process.wait(60)


def test_shares_are_shown_one_at_a_time_and_checked(home: Path, tmp_path: Path) -> None:
    terminal = Terminal(home, "backup-key", "create", "--shares", "3", "--threshold", "2")
    shares = []
    for number in (1, 2, 3):
        before = terminal.wait_for(
            f"Share {number} of 3: its custodian alone looks at the screen. Enter shows it."
        )
        assert before.count("\x1b[2J\x1b[3J") >= 1, "the screen is clear before"
        terminal.enter()
        shown = terminal.wait_for("Enter clears the screen.")
        words = re.findall(r"(\d+)\. +([a-z]+)", shown)
        assert [int(at) for at, _ in words] == list(range(1, 34))
        shares.append(" ".join(word for _, word in words))
        terminal.enter()
    assert "\x1b[2J\x1b[3J" in terminal.wait_for("Share 1 (not shown): ")
    terminal.enter(shares[2].replace(" ", "  "))
    terminal.wait_for("Share 2 (not shown): ")
    terminal.enter(shares[2])
    assert "entered twice. Enter it again." in terminal.wait_for("Share 2 (not shown): ")
    terminal.enter(shares[0])
    assert terminal.end() == 0
    assert not any(word in terminal.shown for word in (shares[0][-30:], shares[2][-30:])), "no echo"
    service = build(home)
    key = Ceremony(service, "alice").backup_key_in_use()
    assert key is not None
    assert open_backup_key(key, shares[1:])
    service.close()


@pytest.mark.parametrize("gives_up", [True, False])
def test_whoever_cannot_read_his_share_back_changes_nothing(
    home: Path,
    draft: Draft,
    gives_up: bool,  # noqa: FBT001 - pytest's
) -> None:
    """Or reads an older one."""
    terminal = Terminal(home, "backup-key", "create", "--shares", "2", "--threshold", "2")
    for _ in (1, 2):
        terminal.wait_for("Enter shows it.")
        terminal.enter()
        terminal.wait_for("Enter clears the screen.")
        terminal.enter()
    if gives_up:
        terminal.wait_for("Share 1 (not shown): ")
        terminal.process.send_signal(signal.SIGINT)
    else:
        for number, share in enumerate(draft.mnemonics[:3], 1):
            terminal.wait_for(f"Share {number} (not shown): ")
            terminal.enter(share)
    assert terminal.end() == 1
    service = build(home)
    key = Ceremony(service, "alice").backup_key_in_use()
    assert key is not None
    assert key.fingerprint == draft.key.fingerprint
    service.close()
