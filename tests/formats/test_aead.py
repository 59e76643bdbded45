"""KS-FMT-3: AES-256-GCM and SM4-GCM."""

import json
from pathlib import Path
from typing import Any

import pytest
from Cryptodome.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import aead
from chalicelib.formats.aead import KEY_BYTES
from chalicelib.hsm.port import Damaged, KeyKind
from tests.formats.damage import damaged_copies

VECTORS = Path(__file__).parents[1] / "vectors"
WYCHEPROOF: list[dict[str, Any]] = [
    test | {"iv_bits": group["ivSize"]}
    for group in json.loads((VECTORS / "wycheproof_sm4_gcm.json").read_text())["testGroups"]
    for test in group["tests"]
]
USUAL = [test for test in WYCHEPROOF if test["iv_bits"] == 96]
OTHER_IVS = [test for test in WYCHEPROOF if test["iv_bits"] != 96]


@pytest.mark.parametrize("vector", USUAL, ids=lambda vector: f"tcId {vector['tcId']}")
def test_sm4_gcm_agrees_with_wycheproof(vector: dict[str, Any]) -> None:
    """KS-FMT-3.1."""
    key, iv, ad, message, sealed = (
        bytes.fromhex(text)
        for text in (vector["key"], vector["iv"], vector["aad"], vector["msg"], vector["ct"] + vector["tag"])
    )
    if vector["result"] == "valid":
        assert aead.seal(KeyKind.SM4, key, iv, message, ad) == sealed
        assert aead.open_sealed(KeyKind.SM4, key, iv, sealed, ad) == message
    else:
        with pytest.raises(Damaged):
            aead.open_sealed(KeyKind.SM4, key, iv, sealed, ad)


def test_other_iv_lengths_are_refused() -> None:
    """KS-FMT-3.1: Wycheproof's vectors with them do not apply. `cryptography` itself takes 64 to 1024 bits."""
    assert sorted({test["iv_bits"] for test in OTHER_IVS}) == [
        0, 8, 16, 32, 48, 64, 80, 120, 128, 160, 256, 512, 1024, 2056,
    ]  # fmt: skip
    for test in OTHER_IVS:
        key, iv = bytes.fromhex(test["key"]), bytes.fromhex(test["iv"])
        with pytest.raises(ValueError, match="wrong length"):
            aead.seal(KeyKind.SM4, key, iv, b"", b"")
        with pytest.raises(Damaged):
            aead.open_sealed(
                KeyKind.SM4, key, iv, bytes.fromhex(test["ct"] + test["tag"]), bytes.fromhex(test["aad"])
            )
    assert (len(USUAL), len(OTHER_IVS)) == (65, 39)


def test_sm4_gcm_agrees_with_rfc_8998() -> None:
    """KS-FMT-3.1: Appendix A.1."""
    vector = json.loads((VECTORS / "gm.json").read_text())["sm4"][2]
    key, iv, ad, plaintext, sealed = (
        bytes.fromhex(text)
        for text in (
            vector["key"],
            vector["iv"],
            vector["aad"],
            vector["plaintext"],
            vector["ciphertext"] + vector["tag"],
        )
    )
    assert vector["mode"] == "GCM"
    assert aead.seal(KeyKind.SM4, key, iv, plaintext, ad) == sealed
    assert aead.open_sealed(KeyKind.SM4, key, iv, sealed, ad) == plaintext


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12), st.binary(), st.binary())
def test_aes_gcm_agrees_with_pycryptodome(key: bytes, iv: bytes, plaintext: bytes, ad: bytes) -> None:
    """KS-FMT-3.1."""
    expected = b"".join(AES.new(key, AES.MODE_GCM, iv).update(ad).encrypt_and_digest(plaintext))
    assert aead.seal(KeyKind.AES_256, key, iv, plaintext, ad) == expected


@pytest.mark.parametrize("kind", KEY_BYTES)
def test_every_change_has_the_same_outcome(kind: KeyKind) -> None:
    """KS-FMT-3.2: one exception, without a text, a cause or a context that tells the cases apart."""
    key, iv, ad = bytes(KEY_BYTES[kind]), bytes(12), b"place"
    sealed = aead.seal(kind, key, iv, b"plaintext", ad)
    attempts = [(key, iv, copy, ad) for copy in damaged_copies(sealed)]
    attempts += [(key, copy, sealed, ad) for copy in damaged_copies(iv)]
    attempts += [(copy, iv, sealed, ad) for copy in damaged_copies(key)]
    attempts += [(key, iv, sealed, copy) for copy in damaged_copies(ad)]
    for other_key, other_iv, other_sealed, other_ad in attempts:
        with pytest.raises(Damaged) as caught:
            aead.open_sealed(kind, other_key, other_iv, other_sealed, other_ad)
        assert caught.value.args == ()
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", KEY_BYTES)
def test_sealing_with_a_key_of_another_length_is_a_mistake(kind: KeyKind) -> None:
    """KS-FMT-3.1: above all, no AES-128-GCM by accident."""
    for length in {0, 16, 24, 32} - {KEY_BYTES[kind]}:
        with pytest.raises(ValueError, match="wrong length"):
            aead.seal(kind, bytes(length), bytes(12), b"", b"")
