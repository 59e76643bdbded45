"""What every HSM backend does with generations of the domain key: rotation, transfer, backup, retirement."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.formats import key_token, sealed_generation
from chalicelib.formats.sealed_generation import SealedGeneration
from chalicelib.hsm import public
from chalicelib.hsm.port import (
    Damaged,
    Hsm,
    HsmKey,
    HsmMisconfigured,
    HsmUnavailable,
    KeyKind,
    NewGeneration,
    Padding,
    SignatureAlgorithm,
)
from tests.hsm.test_contract import BACKENDS, Open, of_backend
from tests.vectors.make_token import PRIVATE_KEY

pytestmark = pytest.mark.contract

DOMAIN = "ap-guangzhou"
BACKUP_KEY = bytes.fromhex(PRIVATE_KEY)
BACKUP = sealed_generation.public_half(BACKUP_KEY)


@dataclass
class Place:
    """Where one backend can open domains, in places that share nothing."""

    name: str
    folder: Path
    opened: list[Hsm] = field(default_factory=list)

    def elsewhere(self, *, create: bool = False) -> Open:
        """Another place: another token, another home directory."""
        home = self.folder / f"place-{len(list(self.folder.iterdir()))}"
        home.mkdir()
        opening = BACKENDS[self.name](home, create=create)

        def open_and_remember(domain: str = DOMAIN) -> Hsm:
            self.opened.append(opening(domain))
            return self.opened[-1]

        return open_and_remember


@pytest.fixture(params=[pytest.param(name, marks=of_backend(name)) for name in BACKENDS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    found = Place(request.param, tmp_path)
    yield found
    for hsm in found.opened:
        hsm.close()


@pytest.fixture
def open_hsm(place: Place) -> Open:
    return place.elsewhere(create=True)


@pytest.fixture
def hsm(open_hsm: Open) -> Hsm:
    return open_hsm(DOMAIN)


def generation(key: HsmKey) -> int:
    return key_token.generation_of(key.token)


def used(hsm: Hsm, key: HsmKey) -> bytes:
    """Something that only the key itself can do, and always does in the same way."""
    if key.kind in (KeyKind.AES_256, KeyKind.SM4):
        return hsm.check_value(key)
    if key.kind is KeyKind.ML_KEM_1024:
        return hsm.decapsulate(key, bytes(1568))
    algorithm = {
        KeyKind.RSA_2048: SignatureAlgorithm.RSA_PSS_SHA_256,
        KeyKind.EC_P256: SignatureAlgorithm.ECC_P256_R1,
        KeyKind.EC_P384: SignatureAlgorithm.ECC_P384_R1,
        KeyKind.SM2: SignatureAlgorithm.SM2DSA,
        KeyKind.ML_DSA_87: SignatureAlgorithm.ML_DSA_87,
    }[key.kind]
    signature = hsm.sign(key, algorithm, b"message", is_digest=False)
    public.verify(hsm.public_key(key), algorithm, b"message", signature, is_digest=False)
    return hsm.public_key(key)


# Rotation


def test_the_first_generation_is_1(hsm: Hsm) -> None:
    assert tuple(hsm.generations()) == (1,)
    assert generation(hsm.generate(KeyKind.AES_256, b"place")) == 1
    assert hsm.describe()["generation"] == "1"


def test_a_rotation_makes_new_tokens_new_and_leaves_old_ones_good(hsm: Hsm) -> None:
    old = {kind: hsm.generate(kind, b"place") for kind in KeyKind}
    before = {kind: used(hsm, key) for kind, key in old.items()}
    assert hsm.rotate() == NewGeneration(2, ())
    assert tuple(hsm.generations()) == (1, 2)
    assert hsm.describe()["generation"] == "2"
    for kind, key in old.items():
        assert used(hsm, key) == before[kind]
        assert generation(hsm.generate(kind, b"place")) == 2


def test_a_rewrapped_key_is_the_same_key(hsm: Hsm) -> None:
    old = {kind: hsm.generate(kind, b"place") for kind in KeyKind}
    before = {kind: used(hsm, key) for kind, key in old.items()}
    message = hsm.encrypt(old[KeyKind.SM4], b"plaintext", b"")
    hsm.rotate()
    for kind, key in old.items():
        new = hsm.rewrap(key)
        assert (new.kind, new.binding, generation(new)) == (kind, b"place", 2)
        assert used(hsm, new) == before[kind]
        again = hsm.rewrap(new)
        assert (generation(again), used(hsm, again)) == (2, before[kind])
    assert hsm.decrypt(hsm.rewrap(old[KeyKind.SM4]), message, b"") == b"plaintext"


def test_what_implicit_rejection_answers_survives_a_rewrap(hsm: Hsm) -> None:
    """KS-FMT-10.4, KS-FMT-22.6: a change would tell that the padding was bad."""
    old = hsm.generate(KeyKind.RSA_2048, b"place")
    pem = public.to_pem(hsm.public_key(old))
    good = public.encrypt_to(pem, Padding.RSAES_PKCS1_V1_5, b"plaintext")
    bad = good[:-1] + bytes([good[-1] ^ 1])
    answer = hsm.decrypt_asymmetric(old, Padding.RSAES_PKCS1_V1_5, bad)
    hsm.rotate()
    assert hsm.decrypt_asymmetric(hsm.rewrap(old), Padding.RSAES_PKCS1_V1_5, bad) == answer


def test_only_a_genuine_token_is_rewrapped(hsm: Hsm) -> None:
    key = hsm.generate(KeyKind.EC_P256, b"place")
    hsm.rotate()
    for wrong in (
        HsmKey(key.kind, key.token, b"elsewhere"),
        HsmKey(KeyKind.EC_P384, key.token, b"place"),
        HsmKey(key.kind, key.token[:5] + b"\2" + key.token[6:], b"place"),
        HsmKey(key.kind, key.token[:-1] + bytes([key.token[-1] ^ 1]), b"place"),
    ):
        with pytest.raises(Damaged):
            hsm.rewrap(wrong)


def test_another_opening_sees_a_new_generation_at_once_in_a_token(open_hsm: Open) -> None:
    some, other = open_hsm(DOMAIN), open_hsm(DOMAIN)
    assert tuple(other.generations()) == (1,)
    some.rotate()
    key = some.generate(KeyKind.AES_256, b"place")
    assert other.decrypt(key, some.encrypt(key, b"plaintext", b""), b"") == b"plaintext"
    assert tuple(other.generations()) == (1, 2)


def test_tokens_can_be_made_with_an_older_generation(hsm: Hsm) -> None:
    """While a standby lacks the newest."""
    hsm.rotate()
    hsm.use_generation(1)
    assert generation(hsm.generate(KeyKind.SM4, b"place")) == 1
    assert generation(hsm.rewrap(hsm.generate(KeyKind.AES_256, b"place"))) == 1
    hsm.use_generation(None)
    assert generation(hsm.generate(KeyKind.AES_256, b"place")) == 2
    hsm.use_generation(9)  # there is none: the newest
    assert generation(hsm.generate(KeyKind.AES_256, b"place")) == 2


def test_rotations_at_once_make_different_generations(open_hsm: Open) -> None:
    opened = [open_hsm(DOMAIN) for _ in range(4)]

    def rotate(hsm: Hsm) -> int:
        for _ in range(50):
            try:
                return hsm.rotate().number
            except HsmUnavailable:  # somebody else was faster
                continue
        raise AssertionError

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(rotate, opened))
    assert len(set(made)) == 4
    for hsm in [*opened, open_hsm(DOMAIN)]:
        key = hsm.generate(KeyKind.AES_256, b"place")
        message = hsm.encrypt(key, b"plaintext", b"")
        for other in opened:
            assert other.decrypt(key, message, b"") == b"plaintext"
    assert set(made) < set(open_hsm(DOMAIN).generations())


# Retirement


def test_tokens_of_a_retired_generation_never_open_again(open_hsm: Open) -> None:
    """Not even those that are in a cache."""
    hsm = open_hsm(DOMAIN)
    keys = {kind: hsm.generate(kind, b"place") for kind in KeyKind}
    message = hsm.encrypt(keys[KeyKind.AES_256], b"plaintext", b"")
    for key in keys.values():
        used(hsm, key)
    hsm.rotate()
    kept = hsm.rewrap(keys[KeyKind.AES_256])
    hsm.retire(1)
    hsm.retire(1)
    for user in (hsm, open_hsm(DOMAIN)):
        assert tuple(user.generations()) == (2,)
        for key in keys.values():
            with pytest.raises(Damaged):
                used(user, key)
            with pytest.raises(Damaged):
                user.rewrap(key)
        with pytest.raises(Damaged):
            user.decrypt(keys[KeyKind.AES_256], message, b"")
        assert user.decrypt(kept, message, b"") == b"plaintext"


def test_the_newest_generation_is_not_retired(hsm: Hsm) -> None:
    with pytest.raises(ValueError, match="newest"):
        hsm.retire(1)
    hsm.rotate()
    with pytest.raises(ValueError, match="newest"):
        hsm.retire(2)
    hsm.retire(1)
    with pytest.raises(ValueError, match="newest"):
        hsm.retire(2)
    assert tuple(hsm.generations()) == (2,)


def test_a_number_is_not_used_again(hsm: Hsm) -> None:
    hsm.rotate()
    hsm.retire(1)
    assert hsm.rotate().number == 3


# An empty domain


def test_a_domain_without_a_key_says_so(place: Place) -> None:
    some, empty = place.elsewhere(create=True)(DOMAIN), place.elsewhere()(DOMAIN)
    key = some.generate(KeyKind.AES_256, b"place")
    assert tuple(empty.generations()) == ()
    assert empty.describe()["generation"] == "0"
    for use in (
        lambda: empty.generate(KeyKind.AES_256, b"place"),
        lambda: empty.encrypt(key, b"", b""),
        lambda: empty.public_key(HsmKey(KeyKind.EC_P256, key.token, b"place")),
    ):
        with pytest.raises(HsmMisconfigured, match=r"chalicelib\.hsm init.*restore"):
            use()
    assert empty.rotate().number == 1
    assert generation(empty.generate(KeyKind.AES_256, b"place")) == 1
    with pytest.raises(Damaged):
        empty.encrypt(key, b"", b"")


# Backup


def test_a_backup_brings_everything_back(place: Place) -> None:
    """KS-FMT-21.2, KS-FMT-21.4: every kind of key, and every message."""
    lost = place.elsewhere()(DOMAIN)
    backups = [lost.rotate([BACKUP])]
    keys = [lost.generate(kind, b"place") for kind in KeyKind]
    backups.append(lost.rotate([BACKUP]))
    keys += [lost.generate(kind, b"place") for kind in KeyKind]
    before = [used(lost, key) for key in keys]
    message = lost.encrypt(keys[0], b"plaintext", b"context")
    assert [len(backup.sealed) for backup in backups] == [1, 1]

    found = place.elsewhere()(DOMAIN)
    for backup in reversed(backups):
        found.restore(backup.number, backup.sealed[0], BACKUP_KEY)
        found.restore(backup.number, backup.sealed[0], BACKUP_KEY)
    assert tuple(found.generations()) == (1, 2)
    assert [used(found, key) for key in keys] == before
    assert found.decrypt(keys[0], message, b"context") == b"plaintext"
    assert found.rotate().number == 3


def test_a_backup_is_of_one_generation_of_one_domain(place: Place) -> None:
    """KS-FMT-21.2."""
    made = place.elsewhere()(DOMAIN).rotate([BACKUP])
    opening = place.elsewhere()
    found, other_domain = opening(DOMAIN), opening("ap-beijing")
    for hsm, number, key in (
        (found, 2, BACKUP_KEY),
        (found, 1, sealed_generation.new_private_key()),
        (found, 1, BACKUP),
        (other_domain, 1, BACKUP_KEY),
    ):
        with pytest.raises(Damaged):
            hsm.restore(number, made.sealed[0], key)
        assert tuple(hsm.generations()) == ()


def test_a_changed_backup_is_refused(place: Place) -> None:
    """KS-FMT-21.5."""
    made = place.elsewhere()(DOMAIN).rotate([BACKUP])
    found = place.elsewhere()(DOMAIN)
    whole = made.sealed[0]
    copies = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 61)]
    for copy in (*copies, whole[:-1], whole + b"\0", b""):
        with pytest.raises(Damaged):
            found.restore(1, copy, BACKUP_KEY)
    assert tuple(found.generations()) == ()


def test_another_key_of_the_same_number_is_refused(place: Place) -> None:
    """KS-FMT-21.4."""
    made = place.elsewhere()(DOMAIN).rotate([BACKUP])
    other = place.elsewhere(create=True)(DOMAIN)
    key = other.generate(KeyKind.AES_256, b"place")
    with pytest.raises(ValueError, match="1 is there already"):
        other.restore(1, made.sealed[0], BACKUP_KEY)
    assert other.encrypt(key, b"", b"")


def test_a_backup_that_somebody_else_made_is_refused(place: Place) -> None:
    """KS-FMT-21.3: with the backup's public key, which is no secret, for the next generation."""
    hsm, attacker = place.elsewhere(create=True)(DOMAIN), place.elsewhere(create=True)(DOMAIN)
    forged = attacker.rotate([BACKUP])
    assert forged.number == 2
    with pytest.raises(Damaged):
        hsm.restore(2, forged.sealed[0], BACKUP_KEY)
    assert tuple(hsm.generations()) == (1,)


@pytest.mark.parametrize("bits", [2048, 0])
def test_short_recipients_are_refused(hsm: Hsm, bits: int) -> None:
    """KS-FMT-21.1: and nothing is made."""
    key = rsa.generate_private_key(65537, bits).public_key() if bits else None
    text = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) if key else b"none"
    with pytest.raises(ValueError, match="3072"):
        hsm.rotate([BACKUP, text])
    assert tuple(hsm.generations()) == (1,)


def test_a_backup_is_kept_before_its_generation_is_used(open_hsm: Open) -> None:
    hsm, other = open_hsm(DOMAIN), open_hsm(DOMAIN)
    kept: list[NewGeneration] = []

    def keep(new: NewGeneration) -> None:
        assert tuple(open_hsm(DOMAIN).generations()) == (1,)
        kept.append(new)

    made = hsm.rotate([BACKUP], keep)
    assert kept[-1:] == [made]
    assert "sealed" not in repr(made)
    assert tuple(open_hsm(DOMAIN).generations()) == (1, made.number)
    key = hsm.generate(KeyKind.AES_256, b"place")
    assert other.encrypt(key, b"", b"")


def test_without_a_backup_there_is_no_generation(open_hsm: Open) -> None:
    hsm = open_hsm(DOMAIN)

    def refuse(new: NewGeneration) -> None:
        raise ConnectionError("the table is away")

    with pytest.raises(ConnectionError):
        hsm.rotate([BACKUP], refuse)
    for user in (hsm, open_hsm(DOMAIN)):
        assert tuple(user.generations()) == (1,)
        assert generation(user.generate(KeyKind.AES_256, b"place")) == 1
    assert hsm.rotate([BACKUP]).number in (2, 3)


# Transfer to a standby


def test_a_standby_receives_what_the_first_one_makes(place: Place) -> None:
    first, standby = place.elsewhere()(DOMAIN), place.elsewhere()(DOMAIN)
    transport_key = standby.transport_key()
    assert standby.transport_key() == transport_key
    for _ in range(2):
        made = first.rotate([BACKUP, transport_key])
        standby.receive(made.number, made.sealed[1])
        standby.receive(made.number, made.sealed[1])
        with pytest.raises(Damaged):
            standby.receive(made.number + 1, made.sealed[0])
    assert tuple(standby.generations()) == (1, 2)
    keys = [first.generate(kind, b"place") for kind in KeyKind]
    assert [used(standby, key) for key in keys] == [used(first, key) for key in keys]
    message = standby.encrypt(keys[0], b"plaintext", b"")
    assert first.decrypt(keys[0], message, b"") == b"plaintext"
    # And the other way round.
    back = standby.rotate([first.transport_key()])
    first.receive(back.number, back.sealed[0])
    assert first.decrypt(standby.rewrap(keys[0]), message, b"") == b"plaintext"


def test_nobody_brings_a_key_of_his_own_into_a_standby(place: Place) -> None:
    """KS-FMT-21.3: the transport key is public, and numbers and names are no secrets."""
    first, standby, attacker = (place.elsewhere()(DOMAIN) for _ in range(3))
    made = first.rotate([standby.transport_key()])
    standby.receive(1, made.sealed[0])
    attacker.rotate()
    forged = attacker.rotate([standby.transport_key()])
    genuine = first.rotate([standby.transport_key()])
    some, other = SealedGeneration.decode(forged.sealed[0]), SealedGeneration.decode(genuine.sealed[0])
    spliced = SealedGeneration(
        some.technology, some.oaep_hash, some.domain, 2, some.keys, some.proof, other.vouchers
    )
    unvouched = SealedGeneration(some.technology, some.oaep_hash, some.domain, 2, some.keys, some.proof)
    for sealed in (forged.sealed[0], spliced.encode(), unvouched.encode()):
        with pytest.raises(Damaged):
            standby.receive(2, sealed)
    assert tuple(standby.generations()) == (1,)
    standby.receive(2, genuine.sealed[0])
    assert tuple(standby.generations()) == (1, 2)


def test_a_standby_that_missed_a_generation_receives_the_next(place: Place) -> None:
    """KS-FMT-21.3: any older generation can vouch."""
    first, standby = place.elsewhere()(DOMAIN), place.elsewhere()(DOMAIN)
    made = first.rotate([standby.transport_key()])
    standby.receive(1, made.sealed[0])
    first.rotate()
    made = first.rotate([standby.transport_key()])
    standby.receive(3, made.sealed[0])
    assert tuple(standby.generations()) == (1, 3)


def test_transport_keys_are_each_hsms_own(place: Place) -> None:
    first, standby, another = (place.elsewhere()(DOMAIN) for _ in range(3))
    assert standby.transport_key() != another.transport_key()
    made = first.rotate([standby.transport_key()])
    with pytest.raises(Damaged):
        another.receive(1, made.sealed[0])
    assert tuple(another.generations()) == ()


def test_a_transport_key_outlives_the_process(place: Place) -> None:
    opening = place.elsewhere()
    key = opening(DOMAIN).transport_key()
    assert opening(DOMAIN).transport_key() == key


def test_a_closed_hsm_does_nothing_of_this(open_hsm: Open) -> None:
    hsm = open_hsm(DOMAIN)
    key = hsm.generate(KeyKind.AES_256, b"place")
    hsm.close()
    for use in (
        hsm.generations,
        hsm.rotate,
        hsm.transport_key,
        lambda: hsm.retire(0),
        lambda: hsm.rewrap(key),
        lambda: hsm.receive(1, b""),
    ):
        with pytest.raises(HsmUnavailable):
            use()
