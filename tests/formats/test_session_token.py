"""KS-FMT-11: the token of temporary credentials."""

import base64

import pytest

from chalicelib.formats import session_token
from chalicelib.formats.session_token import MAX_CHARACTERS, TooLong, open_sealed, seal
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind
from chalicelib.hsm.software import SoftwareHsm

SECRET_ID = "AKIDone"
CONTENT = b"canary" * 20


@pytest.fixture(scope="module")
def hsm() -> SoftwareHsm:
    return SoftwareHsm.ephemeral("identity")


@pytest.fixture(scope="module")
def token(hsm: SoftwareHsm) -> str:
    return seal(hsm, SECRET_ID, CONTENT)


def test_what_is_sealed_opens(hsm: SoftwareHsm, token: str) -> None:
    """KS-FMT-11.1."""
    assert open_sealed(hsm, SECRET_ID, token) == CONTENT


def test_two_tokens_have_nothing_in_common(hsm: SoftwareHsm, token: str) -> None:
    """KS-FMT-11.1: each has a key of its own."""
    other = seal(hsm, SECRET_ID, CONTENT)
    assert other != token
    assert open_sealed(hsm, SECRET_ID, other) == CONTENT


@pytest.mark.parametrize("secret_id", ["AKIDtwo", "", "AKIDon", "AKIDone2", "akidone"])
def test_a_token_opens_for_its_secret_id_only(hsm: SoftwareHsm, token: str, secret_id: str) -> None:
    """KS-FMT-11.2."""
    with pytest.raises(Damaged):
        open_sealed(hsm, secret_id, token)


@pytest.mark.parametrize("domain", ["identity", "ap-guangzhou"])
def test_a_token_opens_in_no_other_domain(token: str, domain: str) -> None:
    """KS-FMT-11.2: another installation has another domain key."""
    with pytest.raises(Damaged):
        open_sealed(SoftwareHsm.ephemeral(domain), SECRET_ID, token)


def test_the_key_and_the_content_of_two_tokens_cannot_be_mixed(hsm: SoftwareHsm, token: str) -> None:
    """KS-FMT-11.2."""
    one, other = _bytes(token), _bytes(seal(hsm, SECRET_ID, CONTENT))
    length = 3 + int.from_bytes(one[1:3])
    for mixed in (one[:length] + other[length:], other[:length] + one[length:]):
        with pytest.raises(Damaged):
            open_sealed(hsm, SECRET_ID, _text(mixed))


def test_a_key_of_another_use_opens_nothing(hsm: SoftwareHsm, token: str) -> None:
    """KS-FMT-11.2: who can have keys made elsewhere in the domain makes no tokens with them."""
    for binding in (b"", SECRET_ID.encode(), b"session-key"):
        key = hsm.generate(KeyKind.AES_256, binding)
        assert isinstance(key, HsmKey)
        header = b"\x01" + len(key.token).to_bytes(2)
        sealed = (
            header + key.token + hsm.encrypt(key, CONTENT, session_token._associated_data(header, SECRET_ID))
        )
        with pytest.raises(Damaged):
            open_sealed(hsm, SECRET_ID, _text(sealed))


def test_every_changed_byte_is_damage(hsm: SoftwareHsm, token: str) -> None:
    """KS-FMT-11.3."""
    sealed = _bytes(token)
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(Damaged):
            open_sealed(hsm, SECRET_ID, _text(changed))


def test_every_missing_and_every_further_byte_is_damage(hsm: SoftwareHsm, token: str) -> None:
    """KS-FMT-11.3."""
    sealed = _bytes(token)
    for length in range(len(sealed)):
        with pytest.raises(Damaged):
            open_sealed(hsm, SECRET_ID, _text(sealed[:length]))
    with pytest.raises(Damaged):
        open_sealed(hsm, SECRET_ID, _text(sealed + b"\x00"))


@pytest.mark.parametrize("tail", ["=", "==", " ", "\n", "A", "+", "/", "é"])
def test_a_token_has_one_spelling(hsm: SoftwareHsm, token: str, tail: str) -> None:
    """KS-FMT-11.3."""
    with pytest.raises(Damaged):
        open_sealed(hsm, SECRET_ID, token + tail)


def test_loose_bits_are_damage(hsm: SoftwareHsm) -> None:
    """KS-FMT-11.3."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    tokens = (seal(hsm, SECRET_ID, bytes(n)) for n in range(3))
    (token,) = [t for t in tokens if len(t) % 4 == 2]
    loose = alphabet[alphabet.index(token[-1]) | 1]
    with pytest.raises(Damaged):
        open_sealed(hsm, SECRET_ID, token[:-1] + loose)


def test_a_token_has_at_most_4096_characters(hsm: SoftwareHsm) -> None:
    """KS-FMT-11.4."""
    most = MAX_CHARACTERS * 3 // 4 - len(_bytes(seal(hsm, SECRET_ID, b"")))
    assert len(seal(hsm, SECRET_ID, bytes(most))) == MAX_CHARACTERS
    with pytest.raises(TooLong):
        seal(hsm, SECRET_ID, bytes(most + 1))
    with pytest.raises(Damaged):
        open_sealed(hsm, SECRET_ID, "A" * (MAX_CHARACTERS + 1))


def _bytes(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")
