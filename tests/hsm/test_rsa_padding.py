"""Unpadding in process memory, against blocks that `cryptography` padded."""

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from chalicelib.hsm.port import Damaged
from chalicelib.hsm.rsa_padding import unpad_oaep_sha256, unpad_pkcs1

KEY = rsa.generate_private_key(65537, 2048)
NUMBERS = KEY.private_numbers()
OAEP = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
REJECTED = b"what nobody chose"


def block(text: bytes, how: padding.AsymmetricPadding) -> bytes:
    """What raw RSA leaves of a ciphertext."""
    ciphertext = int.from_bytes(KEY.public_key().encrypt(text, how))
    return pow(ciphertext, NUMBERS.d, NUMBERS.public_numbers.n).to_bytes(256)


@pytest.mark.parametrize("size", [0, 1, 16, 32, 189, 190])
def test_oaep_comes_off(size: int) -> None:
    """KS-FMT-10.4."""
    for text in (bytes(size), b"\x01" * size):
        assert unpad_oaep_sha256(block(text, OAEP)) == text


def test_every_changed_oaep_block_is_damaged() -> None:
    """KS-FMT-10.4: one outcome."""
    whole = block(b"plaintext", OAEP)
    copies = [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(256)]
    other_hash = block(b"", padding.OAEP(padding.MGF1(SHA1()), SHA1(), None))  # noqa: S303 - one that is refused
    labelled = block(b"", padding.OAEP(padding.MGF1(SHA256()), SHA256(), b"label"))
    for copy in (*copies, whole[:-1], whole + b"\0", b"", bytes(256), other_hash, labelled):
        with pytest.raises(Damaged) as caught:
            unpad_oaep_sha256(copy)
        assert caught.value.args == ()


@pytest.mark.parametrize("size", [0, 1, 16, 32, 244, 245])
def test_pkcs1_comes_off(size: int) -> None:
    """KS-FMT-22.6."""
    text = bytes(size)
    assert unpad_pkcs1(block(text, padding.PKCS1v15()), REJECTED) == (text, True)


def test_bad_pkcs1_padding_gives_the_other_answer() -> None:
    """KS-FMT-22.6."""
    good = b"\0\2" + b"\xff" * 8 + b"\0text"
    whole = good + bytes(256 - len(good))
    assert unpad_pkcs1(whole, REJECTED)[1]
    for bad in (
        b"\1" + whole[1:],
        whole[:1] + b"\1" + whole[2:],
        whole[:9] + b"\0" + whole[10:],
        whole[:2] + b"\0" + whole[3:],
        b"\0\2" + b"\xff" * 254,
        whole[:-1],
        whole + b"\0",
        b"",
    ):
        assert unpad_pkcs1(bad, REJECTED) == (REJECTED, False)
