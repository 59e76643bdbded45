"""KS-FMT-9: messages to ML-KEM keys, given the shared secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import post_quantum
from chalicelib.formats.post_quantum import ENCAPSULATED_BYTES
from chalicelib.hsm.port import Damaged
from tests.formats.damage import damaged_copies

SECRET = bytes(range(32))
ENCAPSULATED = bytes(ENCAPSULATED_BYTES)


def test_the_length_is_that_of_ml_kem_1024() -> None:
    assert ENCAPSULATED_BYTES == 1568


@given(st.binary(min_size=32, max_size=32), st.binary(), st.binary())
def test_what_is_sealed_opens(secret: bytes, place: bytes, plaintext: bytes) -> None:
    message = post_quantum.seal(secret, ENCAPSULATED, place, plaintext)
    assert post_quantum.encapsulated(message) == ENCAPSULATED
    assert post_quantum.open_sealed(secret, message, place) == plaintext


def test_another_place_or_secret_is_damaged() -> None:
    """KS-FMT-9.1."""
    message = post_quantum.seal(SECRET, ENCAPSULATED, b"place", b"plaintext")
    for place in damaged_copies(b"place"):
        with pytest.raises(Damaged):
            post_quantum.open_sealed(SECRET, message, place)
    for secret in damaged_copies(SECRET):
        with pytest.raises(Damaged):
            post_quantum.open_sealed(secret, message, b"place")


def test_every_changed_byte_is_damaged() -> None:
    """KS-FMT-9.2, even where the shared secret stays the same."""
    message = post_quantum.seal(SECRET, ENCAPSULATED, b"place", b"")
    for copy in damaged_copies(message):
        with pytest.raises(Damaged):
            post_quantum.open_sealed(SECRET, copy, b"place")
    for copy in (b"", message[:1580], b"\x02" + message[1:]):
        with pytest.raises(Damaged):
            post_quantum.encapsulated(copy)
