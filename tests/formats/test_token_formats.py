"""KS-FMT-20, KS-FMT-21 and KS-FMT-22, as far as they go without a token: vectors, and every small change."""

import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import key_token, sealed_generation, token_message
from chalicelib.formats.pkcs11_token import Pkcs11Token
from chalicelib.formats.sealed_generation import OaepHash, SealedGeneration, Technology
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind
from tests.formats.damage import damaged_copies
from tests.vectors import make, make_token

OPENED, REFUSED = make.read("token_opened"), make.read("token_refused")
Vector = dict[str, Any]


def name(vector: Vector) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", OPENED, ids=name)
def test_opened(vector: Vector) -> None:
    """KS-FMT-20, KS-FMT-21.2, KS-FMT-22."""
    assert make_token.OPEN[vector["format"]](vector["given"], vector["sealed"]) == vector["plaintext"]


@pytest.mark.parametrize("vector", REFUSED, ids=name)
def test_refused(vector: Vector) -> None:
    """KS-FMT-20.1, KS-FMT-21.5, KS-FMT-22.1, KS-FMT-22.2."""
    with pytest.raises(Damaged):
        make_token.OPEN[vector["format"]](vector["given"], vector["sealed"])


def test_every_format_has_vectors() -> None:
    for vectors in (OPENED, REFUSED):
        assert {vector["format"] for vector in vectors} == set(make_token.OPEN)


@given(st.sampled_from([KeyKind.AES_256, KeyKind.SM4]), st.binary(max_size=64))
def test_a_message_has_one_spelling(kind: KeyKind, ciphertext: bytes) -> None:
    front = token_message.front(kind, bytes(token_message.WRAPPED_BYTES[kind]))
    parts = (front, b"i" * 12, ciphertext + bytes(16))
    made = b"".join(parts)
    assert token_message.split(kind, made) == parts
    other = KeyKind.SM4 if kind is KeyKind.AES_256 else KeyKind.AES_256
    for message in (made[: len(made) - len(ciphertext) - 1], b"", bytes([made[0] ^ 1]) + made[1:]):
        with pytest.raises(Damaged):
            token_message.split(kind, message)
    with pytest.raises(Damaged):
        token_message.split(other, made)


def test_what_a_message_authenticates_is_all_in_front_of_the_iv() -> None:
    """KS-FMT-20.1."""
    made = {
        token_message.authenticated(token_message.front(kind, wrapped), data)
        for kind in (KeyKind.AES_256, KeyKind.SM4)
        for wrapped in (b"", b"a", b"ab")
        for data in (b"", b"b", b"ab")
    }
    assert len(made) == 18


@given(st.sampled_from(KeyKind), st.integers(0, 2**32 - 1), st.binary(max_size=99), st.integers(2, 9))
def test_a_key_token_has_one_spelling(kind: KeyKind, generation: int, public: bytes, blocks: int) -> None:
    made = Pkcs11Token(kind, generation, public, bytes(8 * blocks), bytes(range(32))).encode()
    assert Pkcs11Token.decode(HsmKey(kind, made, b"")).encode() == made
    assert key_token.generation_of(made) == generation


def test_other_bytes_are_no_key_token() -> None:
    """KS-FMT-22.1, KS-FMT-22.2: what the header alone tells; the MAC tells the rest."""
    token = Pkcs11Token(KeyKind.EC_P256, 1, b"public", bytes(16), bytes(32)).encode()
    for kind in KeyKind:
        if kind is not KeyKind.EC_P256:
            with pytest.raises(Damaged):
                Pkcs11Token.decode(HsmKey(kind, token, b""))
    for copy in (
        token[:-1],
        token + b"\0",
        token[:-8],
        b"\1" + token[1:],
        token[:6] + b"\xff\xff" + token[8:],
    ):
        with pytest.raises(Damaged):
            Pkcs11Token.decode(HsmKey(KeyKind.EC_P256, copy, b""))


def test_nothing_of_a_key_token_can_move() -> None:
    """KS-FMT-22.1: the same bytes cut elsewhere are authenticated differently."""
    some = Pkcs11Token(KeyKind.EC_P256, 1, b"12345678", bytes(24))
    other = Pkcs11Token(KeyKind.EC_P256, 1, b"", b"12345678" + bytes(24))
    assert some.authenticated(b"") != other.authenticated(b"")
    assert some.authenticated(b"a") != some.authenticated(b"")


def test_every_backend_names_its_generation_in_the_same_place() -> None:
    for version in (1, 2):
        assert key_token.generation_of(bytes([version, 1, 0, 0, 1, 2])) == 258
    for text in (b"", b"\2\1\0\0\0", b"\0\1\0\0\0\1", b"\3\1\0\0\0\1"):
        with pytest.raises(Damaged):
            key_token.generation_of(text)


# Sealed generations


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_recipients_are_long_rsa_keys() -> None:
    """KS-FMT-21.1."""
    sealed_generation.recipient(spki(rsa.generate_private_key(65537, 3072)))
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(ValueError, match="3072"):
            sealed_generation.recipient(spki(key))
    for text in (b"", b"-----BEGIN PUBLIC KEY-----"):
        with pytest.raises(ValueError, match="3072"):
            sealed_generation.recipient(text)


def test_what_is_no_recipients_key_opens_nothing() -> None:
    """KS-FMT-21.2."""
    private_key = bytes.fromhex(make_token.PRIVATE_KEY)
    public_key = sealed_generation.public_half(private_key)
    keys = sealed_generation.seal_keys(public_key, OaepHash.SHA_1, [bytes(32)])
    sealed = SealedGeneration(Technology.SOFTWARE, OaepHash.SHA_1, "d", 1, keys)
    assert sealed_generation.open_keys(sealed, private_key) == (bytes(32),)
    elliptic = ec.generate_private_key(ec.SECP256R1())
    for other in (
        sealed_generation.new_private_key(),
        elliptic.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        public_key,
        b"",
    ):
        with pytest.raises(Damaged):
            sealed_generation.open_keys(sealed, other)


def test_a_changed_generation_is_damaged_or_proves_nothing() -> None:
    """KS-FMT-21.5: whatever is changed in front of the proof changes what is proven."""
    whole = SealedGeneration(Technology.PKCS11, OaepHash.SHA_1, "d", 1, (b"one", b"two")).proved(
        lambda proven: hmac.digest(b"new", proven, "sha256"), {}
    )
    for copy in damaged_copies(whole.encode()):
        try:
            found = SealedGeneration.decode(copy)
        except Damaged:
            continue
        assert not hmac.compare_digest(hmac.digest(b"new", found.proven(), "sha256"), found.proof)


def test_who_has_to_vouch() -> None:
    """KS-FMT-21.3."""

    def prove(proven: bytes) -> bytes:
        return hmac.digest(b"", proven, "sha256")

    sealed = SealedGeneration(Technology.SOFTWARE, OaepHash.SHA_256, "d", 30, ()).proved(
        prove, dict.fromkeys(range(1, 30), prove)
    )
    assert list(SealedGeneration.decode(sealed.encode()).vouchers) == list(range(14, 30))
    for is_trusted in (False, True):
        assert sealed.voucher_of([], is_trusted=is_trusted) == 0
        assert sealed.voucher_of([1, 20, 25, 31], is_trusted=is_trusted) == 25
    assert sealed.voucher_of([1, 2], is_trusted=True) == 0
    with pytest.raises(Damaged):
        sealed.voucher_of([1, 2], is_trusted=False)
