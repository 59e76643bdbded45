"""KS-FMT-6: CiphertextBlob."""

import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import ciphertext_blob
from chalicelib.formats.aead import KEY_BYTES
from chalicelib.formats.canonical import encryption_context
from chalicelib.formats.ciphertext_blob import MAX_CHARACTERS
from chalicelib.formats.message import MessageKey
from chalicelib.hsm.port import Damaged, KeyKind
from tests.formats.damage import damaged_copies

KEY = MessageKey(KeyKind.SM4, bytes(16))
KEY_ID = "6f3a0c2e-7b1d-11f0-8de9-0242ac120002"
CONTEXT = encryption_context('{"app":"shop"}')


def encrypt(plaintext: bytes = b"plaintext") -> str:
    ad = ciphertext_blob.associated_data_for(KEY_ID, 7, CONTEXT)
    return ciphertext_blob.encode(KEY_ID, 7, KEY.seal(plaintext, ad))


def decrypt(text: str, context: bytes = CONTEXT) -> bytes:
    """As an action does it: the key and its version are those that the blob names."""
    blob = ciphertext_blob.decode(text)
    ad = ciphertext_blob.associated_data_for(blob.key_id, blob.backing_version, context)
    return KEY.open_sealed(blob.message, ad)


@given(st.uuids(), st.integers(0, 2**32 - 1), st.binary(min_size=1))
def test_a_blob_names_key_and_version(key_id: uuid.UUID, version: int, message: bytes) -> None:
    text = ciphertext_blob.encode(str(key_id), version, message)
    blob = ciphertext_blob.decode(text)
    assert (blob.key_id, blob.backing_version, blob.message) == (str(key_id), version, message)
    assert text.isascii()
    assert base64.b64decode(text, validate=True)[:1] == b"\x01"


def test_what_is_encrypted_decrypts() -> None:
    assert decrypt(encrypt()) == b"plaintext"
    assert decrypt(encrypt(b"")) == b""


def test_every_changed_byte_is_damaged() -> None:
    """KS-FMT-6.1: above all, changing the key id or the version does not open the message as another key's."""
    whole = base64.b64decode(encrypt())
    for copy in damaged_copies(whole):
        with pytest.raises(Damaged):
            decrypt(base64.b64encode(copy).decode())


@pytest.mark.parametrize(
    "context", [b"", encryption_context('{"app":"shop","b":""}'), encryption_context('{"App":"shop"}')]
)
def test_another_context_is_damaged(context: bytes) -> None:
    """KS-FMT-6.1."""
    with pytest.raises(Damaged):
        decrypt(encrypt(), context)


@given(st.uuids(), st.integers(0, 2**32 - 1), st.binary())
def test_associated_data_tells_keys_and_versions_apart(
    key_id: uuid.UUID, version: int, context: bytes
) -> None:
    """KS-FMT-6.1."""
    same = (str(key_id), version, context) == (KEY_ID, 7, CONTEXT)
    expected = ciphertext_blob.associated_data_for(KEY_ID, 7, CONTEXT)
    assert (ciphertext_blob.associated_data_for(str(key_id), version, context) == expected) is same


def test_every_changed_character_is_damaged() -> None:
    """KS-FMT-6.2: a blob has one spelling, so clients can compare blobs as text."""
    text = encrypt()
    for at in range(len(text)):
        for other in "A+/=_- \n\0\u0661\u2028":
            if other != text[at]:
                with pytest.raises(Damaged):
                    decrypt(text[:at] + other + text[at + 1 :])
        with pytest.raises(Damaged):
            decrypt(text[:at])
        for more in "A= \n":
            with pytest.raises(Damaged):
                decrypt(text[:at] + more + text[at:])


@given(st.text() | st.text("AQgw/+=\n", max_size=40))
def test_any_text_decodes_to_itself_or_is_damaged(text: str) -> None:
    """KS-FMT-6.2."""
    try:
        blob = ciphertext_blob.decode(text)
    except Damaged:
        return
    assert ciphertext_blob.encode(blob.key_id, blob.backing_version, blob.message) == text


@pytest.mark.parametrize("kind", KEY_BYTES)
def test_loose_bits_are_damaged(kind: KeyKind) -> None:
    """KS-FMT-6.2: base64 of one or two bytes leaves bits that a lenient decoder ignores."""
    for length in range(1, 4):
        text = ciphertext_blob.encode(KEY_ID, kind.value, bytes(length))
        digits = text.rstrip("=")
        if len(digits) < len(text):
            with pytest.raises(Damaged):
                ciphertext_blob.decode(digits[:-1] + chr(ord(digits[-1]) + 1) + text[len(digits) :])


def test_a_blob_has_a_greatest_length() -> None:
    """KS-FMT-6.3: the largest plaintext fits; what is longer is refused before it is decoded."""
    assert len(encrypt(bytes(4096))) == 5544
    longest = MAX_CHARACTERS // 4 * 3 - 21
    assert len(ciphertext_blob.decode(ciphertext_blob.encode(KEY_ID, 1, bytes(longest))).message) == longest
    with pytest.raises(Damaged):
        ciphertext_blob.decode(ciphertext_blob.encode(KEY_ID, 1, bytes(longest + 1)))


@pytest.mark.parametrize("key_id", ["", "x", KEY_ID.upper(), KEY_ID.replace("-", ""), "{" + KEY_ID + "}"])
def test_another_spelling_of_a_key_id_is_a_mistake(key_id: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the contract
        ciphertext_blob.encode(key_id, 1, b"message")


@pytest.mark.parametrize("version", [-1, 2**32])
def test_a_version_has_32_bits(version: int) -> None:
    with pytest.raises(OverflowError):
        ciphertext_blob.encode(KEY_ID, version, b"message")
