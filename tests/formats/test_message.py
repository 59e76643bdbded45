"""KS-FMT-4: messages under a derived key."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from Cryptodome.Cipher import AES
from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256, SM4
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode
from gmssl.sm4 import SM4_ENCRYPT, CryptSM4
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import aead, message
from chalicelib.formats.aead import KEY_BYTES
from chalicelib.formats.message import NONCE_BYTES, Derivation, MessageKey
from chalicelib.hsm.port import Damaged, KeyKind
from tests.formats.damage import damaged_copies

VECTORS = Path(__file__).parents[1] / "vectors"
XAES = json.loads((VECTORS / "xaes_256_gcm.json").read_text())
GM = json.loads((VECTORS / "gm.json").read_text())
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


def given_by(nonce: bytes) -> Callable[[int], bytes]:
    """The private seam: the only random bytes of a message are its nonce."""
    return lambda count: nonce[:count]


@pytest.mark.parametrize("vector", XAES["vectors"])
def test_suite_1_is_xaes_256_gcm(vector: dict[str, str]) -> None:
    """KS-FMT-4.1: the published vectors, one for each value of CMAC's carry."""
    given = {name: bytes.fromhex(text) for name, text in vector.items()}
    key = MessageKey(KeyKind.AES_256, given["key"])
    message = b"\x01" + given["nonce"] + given["ciphertext"]
    assert key.seal(given["plaintext"], given["associated_data"], given_by(given["nonce"])) == message
    assert key.open_sealed(message, given["associated_data"]) == given["plaintext"]
    blocks = Derivation(KeyKind.AES_256, given["encrypted_zeros"]).blocks(given["nonce"])
    assert AES.new(given["key"], AES.MODE_ECB).encrypt(blocks) == given["derived_key"]


def test_suite_1_is_xaes_256_gcm_for_many_inputs() -> None:
    """KS-FMT-4.1: the published digest over 10,000 random cases."""
    size = 10_000 * (32 + 24 + 2 * 256)
    source = memoryview(hashlib.shake_128().digest(size))
    digest = hashlib.shake_128()
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return bytes(source[at - count : at])

    for _ in range(XAES["accumulated"]["iterations"]):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        ad = take(take(1)[0])
        digest.update(MessageKey(KeyKind.AES_256, key).seal(plaintext, ad, given_by(nonce))[25:])
    assert digest.hexdigest(32) == XAES["accumulated"]["digest"]


@given(st.binary(min_size=32, max_size=32), nonces)
def test_the_derived_key_is_that_of_sp_800_108(key: bytes, nonce: bytes) -> None:
    """KS-FMT-4.1 and KS-FMT-4.2: a counter-mode KDF with CMAC, as tokens offer it."""
    for kind, algorithm, secret in ((KeyKind.AES_256, AES256, key), (KeyKind.SM4, SM4, key[:16])):
        kdf = KBKDFCMAC(
            algorithm,
            Mode.CounterMode,
            len(secret),
            2,
            None,
            CounterLocation.BeforeFixed,
            None,
            None,
            b"X\0" + nonce[:12],
        )
        derived_key = kdf.derive(secret)
        message = MessageKey(kind, secret).seal(b"plaintext", b"place", given_by(nonce))
        assert aead.open_sealed(kind, derived_key, nonce[12:], message[25:], b"place") == b"plaintext"


@given(st.binary(min_size=16, max_size=16), nonces)
def test_suite_2_needs_only_the_sm4_block_cipher(key: bytes, nonce: bytes) -> None:
    """KS-FMT-4.2, with gmssl's SM4."""
    gmssl = CryptSM4()
    gmssl.set_key(key, SM4_ENCRYPT)
    derivation = Derivation(KeyKind.SM4, gmssl.crypt_ecb(bytes(16))[:16])
    derived_key = gmssl.crypt_ecb(derivation.blocks(nonce))[:16]
    message = MessageKey(KeyKind.SM4, key).seal(b"plaintext", b"place", given_by(nonce))
    assert message[:25] == b"\x02" + nonce
    assert aead.open_sealed(KeyKind.SM4, derived_key, nonce[12:], message[25:], b"place") == b"plaintext"


def test_gmssl_is_sm4() -> None:
    """GB/T 32907-2016 A.1: the oracle of the test above."""
    vector = GM["sm4"][0]
    gmssl = CryptSM4()
    gmssl.set_key(bytes.fromhex(vector["key"]), SM4_ENCRYPT)
    assert gmssl.crypt_ecb(bytes.fromhex(vector["plaintext"]))[:16].hex() == vector["ciphertext"]


@given(st.sampled_from(list(KEY_BYTES)), st.binary(min_size=32, max_size=32), st.binary(), st.binary())
def test_what_is_sealed_opens(kind: KeyKind, secret: bytes, plaintext: bytes, ad: bytes) -> None:
    """KS-FMT-4."""
    key = MessageKey(kind, secret[: KEY_BYTES[kind]])
    message = key.seal(plaintext, ad)
    assert len(message) == len(plaintext) + 41
    assert key.open_sealed(message, ad) == plaintext


@pytest.mark.parametrize("kind", KEY_BYTES)
@pytest.mark.parametrize("plaintext", [b"", b"plaintext"])
def test_every_changed_message_is_damaged(kind: KeyKind, plaintext: bytes) -> None:
    """KS-FMT-4.3."""
    key = MessageKey(kind, bytes(KEY_BYTES[kind]))
    message = key.seal(plaintext, b"place")
    for copy in damaged_copies(message):
        with pytest.raises(Damaged):
            key.open_sealed(copy, b"place")
    for ad in damaged_copies(b"place"):
        with pytest.raises(Damaged):
            key.open_sealed(message, ad)


def test_a_message_opens_only_as_its_own_suite() -> None:
    """KS-FMT-4.4."""
    aes, sm4 = MessageKey(KeyKind.AES_256, bytes(32)), MessageKey(KeyKind.SM4, bytes(16))
    for sealed_with, opened_with, suite in ((aes, sm4, b"\x02"), (sm4, aes, b"\x01")):
        message = sealed_with.seal(b"plaintext", b"")
        for changed in (message, suite + message[1:]):
            with pytest.raises(Damaged):
                opened_with.open_sealed(changed, b"")


@pytest.mark.parametrize("kind", KEY_BYTES)
def test_every_bit_of_the_nonce_counts(kind: KeyKind) -> None:
    """KS-FMT-4.1 and KS-FMT-4.2: no two nonces share key and iv."""
    key = MessageKey(kind, bytes(KEY_BYTES[kind]))
    nonce = bytes(NONCE_BYTES)
    streams = {
        key.seal(bytes(16), b"", given_by(copy))[25:41] for copy in [nonce, *damaged_copies(nonce)][:193]
    }
    assert len(streams) == 193


@pytest.mark.parametrize("kind", KEY_BYTES)
def test_a_key_of_another_length_is_refused(kind: KeyKind) -> None:
    for length in {0, 16, 24, 32} - {KEY_BYTES[kind]}:
        with pytest.raises(ValueError, match="wrong length"):
            MessageKey(kind, bytes(length))


class OneAtATime:
    """A block cipher that, as that of `cryptography` may, refuses to be used by two threads at once."""

    def __init__(self, cipher: CipherContext) -> None:
        self._cipher = cipher
        self._busy = threading.Lock()

    def update(self, blocks: bytes) -> bytes:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("Already borrowed")
        with contextlib.closing(self):
            time.sleep(0.0001)
            return self._cipher.update(blocks)

    def close(self) -> None:
        self._busy.release()


def test_threads_share_a_key() -> None:
    key = MessageKey(KeyKind.AES_256, bytes(32))
    vars(key)["_block_cipher"] = OneAtATime(key._block_cipher)

    def work(number: int) -> bool:
        plaintext = number.to_bytes(4)
        return all(key.open_sealed(key.seal(plaintext, b""), b"") == plaintext for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_the_key_is_erased_once_it_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only OpenSSL's expanded key stays, which it erases when the object goes."""
    kept: list[bytearray] = []

    def algorithm(key: bytearray) -> AES256:
        kept.append(key)
        return AES256(key)

    monkeypatch.setitem(message._CIPHERS, KeyKind.AES_256, algorithm)
    secret = bytes(range(32))
    key = MessageKey(KeyKind.AES_256, secret)
    assert kept == [bytearray(32)]
    assert secret == bytes(range(32))
    monkeypatch.undo()
    assert MessageKey(KeyKind.AES_256, secret).open_sealed(key.seal(b"plaintext", b""), b"") == b"plaintext"
    assert secret.hex() not in repr(key)
    assert secret not in vars(key).values()
