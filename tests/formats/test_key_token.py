"""KS-FMT-5: key tokens of the software HSM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import key_token
from chalicelib.formats.message import MessageKey
from chalicelib.hsm.port import Damaged, KeyKind
from tests.formats.damage import damaged_copies

DOMAIN_KEY = MessageKey(KeyKind.AES_256, bytes(range(32)))
MATERIAL = b"0123456789abcdef"


def token(generation: int = 3, kind: KeyKind = KeyKind.SM4, binding: bytes = b"place") -> bytes:
    return key_token.seal(DOMAIN_KEY, generation, kind, binding, MATERIAL)


@given(st.integers(0, 2**32 - 1), st.sampled_from(KeyKind), st.binary(), st.binary())
def test_a_token_opens_for_its_place(generation: int, kind: KeyKind, binding: bytes, material: bytes) -> None:
    made = key_token.seal(DOMAIN_KEY, generation, kind, binding, material)
    assert key_token.generation(made) == generation
    assert key_token.open_sealed(DOMAIN_KEY, kind, binding, made) == material


def test_a_token_opens_nowhere_else() -> None:
    """KS-FMT-5.1."""
    with pytest.raises(Damaged):
        key_token.open_sealed(DOMAIN_KEY, KeyKind.AES_256, b"place", token())
    with pytest.raises(Damaged):
        key_token.open_sealed(MessageKey(KeyKind.AES_256, bytes(32)), KeyKind.SM4, b"place", token())
    for binding in damaged_copies(b"place"):
        with pytest.raises(Damaged):
            key_token.open_sealed(DOMAIN_KEY, KeyKind.SM4, binding, token())


def test_parts_of_two_tokens_do_not_fit_together() -> None:
    """KS-FMT-5.1: the header is authenticated with the material."""
    some, other = token(generation=3), token(generation=4)
    aes = token(kind=KeyKind.AES_256)
    for header, body in ((some, other), (other, some), (some, aes), (aes, some)):
        for kind in KeyKind:
            with pytest.raises(Damaged):
                key_token.open_sealed(DOMAIN_KEY, kind, b"place", header[:6] + body[6:])


def test_every_changed_token_is_damaged() -> None:
    """KS-FMT-5.2."""
    made = token()
    for copy in damaged_copies(made):
        for kind in KeyKind:
            with pytest.raises(Damaged):
                key_token.open_sealed(DOMAIN_KEY, kind, b"place", copy)


def test_what_is_no_token_names_no_generation() -> None:
    """KS-FMT-5.2: other version bytes are other backends' tokens."""
    for text in (b"", b"\x01", b"\x01\x02\0\0\0", b"\0" + token()[1:], b"\x02" + token()[1:]):
        with pytest.raises(Damaged):
            key_token.generation(text)


def test_a_token_does_not_contain_its_material() -> None:
    assert MATERIAL not in token()
    assert len(token()) == 6 + 41 + len(MATERIAL)
