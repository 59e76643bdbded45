"""Several CMKs: which are asked, in what order, and what happens while some are down."""

import io
import threading
import time
from pathlib import Path

import pytest

from keystead.encryption import (
    CacheLimits,
    Client,
    Damaged,
    EncryptionError,
    KeysUnavailable,
    MasterKey,
    Suite,
)
from keystead.encryption.envelope import REST_SECONDS, Envelope
from keystead.encryption.format import decode_edks, read_header

from .fakes import BACKUP, OTHERS, PRIMARY, STRONG, MemoryKms, SteppedClock

FIVE = (PRIMARY, BACKUP, *OTHERS)


def held_by(message: bytes) -> list[str]:
    return [edk.region for edk in decode_edks(read_header(io.BytesIO(message).read).edks)]


def test_every_cmk_opens_the_message() -> None:
    kms = MemoryKms()
    message = Client(kms, PRIMARY, FIVE[1:]).encrypt(b"text")
    assert held_by(message) == [key.region for key in FIVE]
    for key in FIVE:
        assert Client(kms, key).decrypt(message).plaintext == b"text"


def test_the_first_that_can_makes_the_data_key() -> None:
    kms = MemoryKms()
    kms.disabled, kms.down = {PRIMARY.region}, {BACKUP.region}
    message = Client(kms, PRIMARY, FIVE[1:]).encrypt(b"text")
    assert held_by(message) == [key.region for key in OTHERS]
    assert kms.calls["generate", OTHERS[0].region] == 1
    assert kms.calls["encrypt", PRIMARY.region] == 0, "who refused is not asked again"


@pytest.mark.parametrize("minimum", [1, 2, 3, 4, 5])
def test_the_minimum_must_answer(minimum: int) -> None:
    kms = MemoryKms()
    kms.down = {PRIMARY.region, OTHERS[0].region}
    one = Client(kms, PRIMARY, FIVE[1:], minimum=minimum)
    if minimum <= 3:
        assert len(held_by(one.encrypt(b"text"))) == 3
    else:
        with pytest.raises(KeysUnavailable) as caught:
            one.encrypt(b"text")
        assert {(r.region, r.code) for r in caught.value.refusals} == {
            (PRIMARY.region, "Unreachable"),
            (OTHERS[0].region, "Unreachable"),
        }


def test_nothing_is_encrypted_without_any() -> None:
    kms = MemoryKms()
    kms.down = {key.region for key in FIVE}
    with pytest.raises(KeysUnavailable):
        Client(kms, PRIMARY, FIVE[1:]).encrypt(b"text")


def test_the_others_are_asked_at_once() -> None:
    gathered = threading.Barrier(4)

    class Together(MemoryKms):
        def encrypt(self, *args: object) -> str:
            gathered.wait(10)
            return super().encrypt(*args)  # type: ignore[arg-type]

    assert len(held_by(Client(Together(), PRIMARY, FIVE[1:]).encrypt(b"text"))) == 5


def test_a_silent_region_costs_the_patience_and_no_more() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, [BACKUP], patience=0.05)
    message = one.encrypt(b"text")
    kms.silent = {PRIMARY.region}
    began = time.monotonic()
    assert one.decrypt(message).plaintext == b"text"
    assert held_by(one.encrypt(b"text")) == [BACKUP.region]
    assert time.monotonic() - began < 5
    kms.wake.set()


def test_a_silent_backup_is_left_out_unless_it_is_needed() -> None:
    kms = MemoryKms()
    kms.silent = {BACKUP.region}
    one = Client(kms, PRIMARY, [BACKUP, OTHERS[0]], minimum=2, patience=0.05)
    assert held_by(one.encrypt(b"text")) == [PRIMARY.region, OTHERS[0].region]
    three = Client(kms, PRIMARY, [BACKUP, OTHERS[0]], minimum=3, patience=0.05)
    threading.Timer(0.2, kms.wake.set).start()
    with pytest.raises(KeysUnavailable):
        three.encrypt(b"text")
    assert kms.wake.is_set(), "it was waited for"


def test_a_region_that_is_down_rests() -> None:
    kms, clock = MemoryKms(), SteppedClock()
    envelope = Envelope(kms, [PRIMARY, BACKUP], clock=clock)
    _, edks = envelope.new({})
    kms.down = {PRIMARY.region}
    for _ in range(3):
        envelope.open(edks, {})
    assert kms.calls["decrypt", PRIMARY.region] == 1
    assert [edk.region for edk in envelope.new({})[1]] == [BACKUP.region]
    assert kms.calls["encrypt", PRIMARY.region] == 0, "a message does not wait for a region at rest"
    kms.down = set()
    clock.now += REST_SECONDS
    assert len(envelope.new({})[1]) == 2


def test_a_region_at_rest_is_asked_where_it_is_needed() -> None:
    kms = MemoryKms()
    envelope = Envelope(kms, [PRIMARY, BACKUP], minimum=2, clock=SteppedClock())
    kms.down = {PRIMARY.region}
    with pytest.raises(KeysUnavailable):
        envelope.new({})
    kms.down = set()
    assert len(envelope.new({})[1]) == 2
    kms.down = {BACKUP.region}
    _, edks = Envelope(kms, [PRIMARY]).new({})
    envelope.open(edks, {})


@pytest.mark.parametrize("suite", STRONG, ids=lambda suite: suite.name)
def test_heal_adds_what_was_missing(suite: Suite, tmp_path: Path) -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, FIVE[1:], suite=suite, frame_bytes=16)
    kms.down = {PRIMARY.region, BACKUP.region}
    message = one.encrypt(b"a text of some frames", {"a": "b"})
    assert one.missing(message) == (PRIMARY, BACKUP)
    kms.down = {BACKUP.region}
    better = one.heal(message)
    assert one.missing(better) == (BACKUP,)
    kms.down = set()
    path = tmp_path / "message"
    path.write_bytes(better)
    path.chmod(0o640)
    assert one.heal_file(path) == 1
    assert one.heal_file(path) == 0
    assert path.stat().st_mode & 0o777 == 0o640
    whole = path.read_bytes()
    assert one.missing(whole) == ()
    assert one.heal(whole) == whole
    for key in FIVE:
        found = Client(kms, key).decrypt(whole)
        assert (found.plaintext, found.context) == (b"a text of some frames", {"a": "b"})


def test_heal_takes_whole_headers_only() -> None:
    kms = MemoryKms()
    one, both = Client(kms, PRIMARY), Client(kms, PRIMARY, [BACKUP])
    message = one.encrypt(b"text")
    size = len(read_header(io.BytesIO(message).read).encode())
    for bit in range(0, size * 8, 3):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EncryptionError):
            both.heal(bytes(changed))
        with pytest.raises(EncryptionError):
            one.heal(bytes(changed))
    with pytest.raises(Damaged):
        both.heal(message[: size - 1])


def test_heal_goes_to_five_and_needs_a_key_that_opens() -> None:
    kms = MemoryKms()
    message = Client(kms, PRIMARY, FIVE[1:]).encrypt(b"text")
    sixth = MasterKey("ap-6", "6" * 8)
    with pytest.raises(ValueError, match="more than 5"):
        Client(kms, PRIMARY, [sixth]).heal(message)
    with pytest.raises(KeysUnavailable):
        Client(kms, sixth).heal(Client(kms, PRIMARY).encrypt(b"text"))


def test_a_healed_message_opens_with_a_warm_cache() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, [BACKUP], cache=CacheLimits())
    kms.down = {BACKUP.region}
    message = one.encrypt(b"text")
    one.decrypt(message)
    kms.down = set()
    assert one.decrypt(one.heal(message)).plaintext == b"text"


@pytest.mark.parametrize(
    ("keys", "minimum"),
    [([PRIMARY, PRIMARY], 1), ([*FIVE, MasterKey("a", "b")], 1), ([PRIMARY], 0), ([PRIMARY], 2)],
)
def test_keys_that_make_no_envelope(keys: list[MasterKey], minimum: int) -> None:
    with pytest.raises(ValueError, match=r"CMK"):
        Client(MemoryKms(), keys[0], keys[1:], minimum=minimum)


@pytest.mark.parametrize(
    "key", [MasterKey("", "k"), MasterKey("r", ""), MasterKey("r" * 65, "k"), MasterKey("r", "k y")]
)
def test_names_that_are_no_names(key: MasterKey) -> None:
    with pytest.raises(ValueError, match="region"):
        Client(MemoryKms(), key)


def test_a_bug_of_an_adapter_is_not_taken_for_a_region_that_is_down() -> None:
    class Broken(MemoryKms):
        def generate_data_key(self, *_: object) -> tuple[bytes, str]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Client(Broken(), PRIMARY, [BACKUP]).encrypt(b"text")


def test_data_keys_of_another_length_are_refused() -> None:
    class Short(MemoryKms):
        def generate_data_key(self, *_: object) -> tuple[bytes, str]:
            return bytes(16), "edk"

        def decrypt(self, *_: object) -> bytes:
            return bytes(16)

    with pytest.raises(KeysUnavailable, match="MalformedAnswer"):
        Client(Short(), PRIMARY).encrypt(b"text")
    with pytest.raises(KeysUnavailable, match="MalformedAnswer"):
        Client(Short(), PRIMARY).decrypt(Client(MemoryKms(), PRIMARY).encrypt(b"text"))


@pytest.mark.parametrize("ciphertext", ["", "two words", "\N{SNOWMAN}", "x" * 6145])
def test_ciphertexts_that_do_not_fit_are_refused(ciphertext: str) -> None:
    class Odd(MemoryKms):
        def encrypt(self, *_: object) -> str:
            return ciphertext

    message = Client(Odd(), PRIMARY, [BACKUP]).encrypt(b"text")
    assert held_by(message) == [PRIMARY.region]
