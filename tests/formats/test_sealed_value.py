"""KS-FMT-7: values sealed for their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import aead, sealed_value
from chalicelib.formats.aead import KEY_BYTES
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from tests.formats.damage import damaged_copies

HSM = SoftwareHsm.ephemeral("ap-guangzhou")
KEYS = {kind: HSM.generate(kind, b"backing key 1") for kind in KEY_BYTES}
SECRET = ("100000000001", "ap-guangzhou", "db/password", "v1", "string", "key id", 1)
ACCESS_KEY = ("100000000001", "AKIDexample")


@given(
    st.sampled_from(list(KEY_BYTES)),
    st.lists(st.text(st.characters(codec="utf-8")) | st.integers(0, 2**64 - 1) | st.binary()).map(tuple),
    st.binary(),
)
def test_a_value_opens_in_its_place(kind: KeyKind, place: sealed_value.Place, value: bytes) -> None:
    sealed = sealed_value.seal(HSM, KEYS[kind], place, value)
    assert sealed_value.open_sealed(HSM, KEYS[kind], place, sealed) == value


@pytest.mark.parametrize("kind", KEY_BYTES)
def test_the_largest_value_fits(kind: KeyKind) -> None:
    value = bytes(range(256)) * 128
    sealed = sealed_value.seal(HSM, KEYS[kind], SECRET, value)
    assert sealed_value.open_sealed(HSM, KEYS[kind], SECRET, sealed) == value
    assert len(sealed) - len(value) == {KeyKind.AES_256: 105, KeyKind.SM4: 89}[kind]


@pytest.mark.parametrize("kind", KEY_BYTES)
@pytest.mark.parametrize(
    "place",
    [
        ("100000000002", *SECRET[1:]),
        (SECRET[0], "ap-beijing", *SECRET[2:]),
        (*SECRET[:2], "db/Password", *SECRET[3:]),
        (*SECRET[:3], "v2", *SECRET[4:]),
        (*SECRET[:4], "binary", *SECRET[5:]),
        (*SECRET[:5], "other key", SECRET[6]),
        (*SECRET[:6], 2),
        (*SECRET[:6], "1"),
        SECRET[:6],
        (*SECRET, ""),
        ("100000000001ap-guangzhou", "", *SECRET[2:]),
        ACCESS_KEY,
        (),
    ],
)
def test_a_value_opens_in_no_other_place(kind: KeyKind, place: sealed_value.Place) -> None:
    """KS-FMT-7.1: account, region, name, version, value type, key id and backing version."""
    sealed = sealed_value.seal(HSM, KEYS[kind], SECRET, b"value")
    with pytest.raises(Damaged):
        sealed_value.open_sealed(HSM, KEYS[kind], place, sealed)


@pytest.mark.parametrize("kind", KEY_BYTES)
def test_a_value_opens_under_no_other_key(kind: KeyKind) -> None:
    """KS-FMT-7.1."""
    sealed = sealed_value.seal(HSM, KEYS[kind], SECRET, b"value")
    token = KEYS[kind].token
    other_kind = next(other for other in KEYS if other is not kind)
    for key in (
        HSM.generate(kind, b"backing key 1"),
        HsmKey(kind, token, b"backing key 2"),
        HsmKey(other_kind, token, b"backing key 1"),
        KEYS[other_kind],
    ):
        with pytest.raises(Damaged):
            sealed_value.open_sealed(HSM, key, SECRET, sealed)


def test_every_value_has_a_data_key_of_its_own() -> None:
    """KS-FMT-7.2: parts of two values of one place do not fit together."""
    some, other = (sealed_value.seal(HSM, KEYS[KeyKind.SM4], SECRET, value) for value in (b"some", b"else"))
    end_of_key = len(some) - len(b"some") - 16 - 12
    with pytest.raises(Damaged):
        sealed_value.open_sealed(HSM, KEYS[KeyKind.SM4], SECRET, some[:end_of_key] + other[end_of_key:])
    assert some[4:end_of_key] != other[4:end_of_key]


def test_a_wrapped_key_is_no_value() -> None:
    """KS-FMT-7.2: the data key's own message does not open as something else that the key has encrypted."""
    key = KEYS[KeyKind.AES_256]
    sealed = sealed_value.seal(HSM, key, SECRET, b"value")
    wrapped = sealed[4 : len(sealed) - len(b"value") - 28]
    with pytest.raises(Damaged):
        HSM.decrypt(key, wrapped, b"")


@pytest.mark.parametrize("kind", KEY_BYTES)
@pytest.mark.parametrize("value", [b"", b"value"])
def test_every_changed_byte_is_damaged(kind: KeyKind, value: bytes) -> None:
    """KS-FMT-7.3."""
    sealed = sealed_value.seal(HSM, KEYS[kind], SECRET, value)
    for copy in damaged_copies(sealed):
        with pytest.raises(Damaged):
            sealed_value.open_sealed(HSM, KEYS[kind], SECRET, copy)


@pytest.mark.parametrize("start", [b"\x00\x02", b"\x02\x02", b"\x01\x01", b"\x01\x03"])
def test_another_version_or_kind_is_damaged_although_it_authenticates(start: bytes) -> None:
    """KS-FMT-7.3: what a later release may make is not mistaken for this format."""
    key, iv, data_key = KEYS[KeyKind.SM4], bytes(12), bytes(16)
    wrapped = HSM.encrypt(key, data_key, associated_data("sealed-value-key", *SECRET))

    def made(header: bytes) -> bytes:
        ad = associated_data("sealed-value", header, *SECRET)
        return header + wrapped + iv + aead.seal(KeyKind.SM4, data_key, iv, b"value", ad)

    length = len(wrapped).to_bytes(2)
    assert sealed_value.open_sealed(HSM, key, SECRET, made(b"\x01\x02" + length)) == b"value"
    with pytest.raises(Damaged):
        sealed_value.open_sealed(HSM, key, SECRET, made(start + length))


def test_the_value_is_not_in_the_bytes() -> None:
    value = b"a value that would be seen"
    sealed = sealed_value.seal(HSM, KEYS[KeyKind.SM4], SECRET, value)
    assert value not in sealed
    assert b"password" not in sealed
