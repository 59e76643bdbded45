"""KS-FMT-10: the lists that other libraries made, with both engines of SM2. See tests/vectors/README.md."""

import json
from typing import Any

import pytest

from chalicelib.formats.message import MessageKey
from chalicelib.hsm import public, sm2
from chalicelib.hsm.asymmetric import PrivateKey
from chalicelib.hsm.port import Damaged, KeyKind, Padding, SignatureAlgorithm
from chalicelib.hsm.sm2_encoding import encode_pkcs8
from tests.vectors import make, make_asymmetric

Vector = dict[str, Any]
GENERATED, OPENED, REFUSED = (make.read(f"asymmetric_{name}") for name in ("generated", "opened", "refused"))
GM = json.loads((make.FOLDER / "gm.json").read_text("utf-8"))
REFUSAL = {"signature": public.BadSignature, "ciphertext": Damaged, "public_key": public.BadPublicKey}
unhex = bytes.fromhex


def private_key(name: str) -> PrivateKey:
    material = unhex(make_asymmetric.KEYS[name])
    return PrivateKey(
        KeyKind[name], encode_pkcs8(material, unhex(make_asymmetric.POINT)) if name == "SM2" else material
    )


def open_vector(keys: dict[str, PrivateKey], vector: Vector) -> str:
    given, sealed = vector["given"], vector["sealed"]
    match vector["format"]:
        case "signature":
            public.verify(
                unhex(given["public_key"]),
                SignatureAlgorithm(given["algorithm"]),
                unhex(given["message"]),
                unhex(sealed),
                is_digest=given["is_digest"],
            )
            return ""
        case "ciphertext":
            return keys[given["key"]].decrypt(Padding(given["padding"]), unhex(sealed)).hex()
        case _:
            assert public.encrypt_to(sealed, Padding(given["padding"]), b"plaintext")
            return ""


def outcome_of(keys: dict[str, PrivateKey], vector: Vector) -> str:
    try:
        return open_vector(keys, vector)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        hides_its_cause = error.__suppress_context__ or error.__context__ is None
        return repr(error) if hides_its_cause else f"{error!r} shows its cause"


@pytest.fixture
def keys(engine: sm2.Engine) -> dict[str, PrivateKey]:
    return {name: private_key(name) for name in ("RSA_2048", "SM2")}


@pytest.mark.parametrize("vector", GENERATED, ids=lambda vector: vector["name"])
def test_generated(vector: Vector) -> None:
    """KS-FMT-4.5, KS-FMT-5.3, KS-FMT-10.1: what follows from a key."""
    given = vector["given"]
    match vector["format"]:
        case "check_value":
            made = MessageKey(KeyKind[given["kind"]], unhex(given["key"])).check_value()
        case "public_half":
            made = PrivateKey(KeyKind[given["kind"]], unhex(given["material"])).public_key
        case _:
            made = sm2.PublicKey.from_spki(unhex(given["public_key"])).digest(unhex(given["message"]))
    assert made.hex() == vector["sealed"]


def test_opened(keys: dict[str, PrivateKey]) -> None:
    """KS-FMT-10.1 to KS-FMT-10.4, KS-FMT-10.6."""
    wrong = {
        vector["name"]: outcome
        for vector in OPENED
        if (outcome := outcome_of(keys, vector)) != vector.get("plaintext", "")
    }
    assert wrong == {}


def test_refused(keys: dict[str, PrivateKey]) -> None:
    """KS-FMT-10.2, KS-FMT-10.3, KS-FMT-10.4, KS-FMT-10.6: each with the one outcome of its kind, without a text."""
    wrong = {
        vector["name"]: outcome
        for vector in REFUSED
        if (outcome := outcome_of(keys, vector)) != f"{REFUSAL[vector['format']].__name__}()"
    }
    assert wrong == {}


def test_every_kind_of_thing_is_in_every_list() -> None:
    algorithms = {algorithm.value for algorithm in SignatureAlgorithm} - {"ML_DSA_87"}
    paddings = {padding.value for padding in Padding}
    for vectors in (OPENED, REFUSED):
        assert {vector["given"].get("algorithm") for vector in vectors} - {None} == algorithms
        found = {vector["given"]["padding"] for vector in vectors if vector["format"] == "ciphertext"}
        assert found == paddings
        assert {vector["format"] for vector in vectors} == set(REFUSAL)


def test_gm_standard_examples(engine: sm2.Engine) -> None:
    """GB/T 32918.5, annexes A.2 and C.2."""
    for example in GM["sm2_sign"]:
        key = sm2.PublicKey(unhex(example["public_key"])[1:])
        assert key._z.hex() == example["za"]
        assert key.digest(unhex(example["message"])).hex() == example["e"]
        assert key.verify(unhex(example["e"]), unhex(example["signature_der"]))
    for example in GM["sm2_encrypt"]:
        pkcs8 = encode_pkcs8(unhex(example["private_key"]), unhex(example["public_key"])[1:])
        decrypt = sm2.PrivateKey(pkcs8).decrypt
        message = unhex(example["message"])
        assert decrypt(unhex(example["der"]), is_raw=False) == message
        assert decrypt(unhex(example["c1c3c2"])[1:], is_raw=True) == message
        with pytest.raises(Damaged):
            decrypt(unhex(example["c1c3c2"]), is_raw=True)
        with pytest.raises(Damaged):
            decrypt(unhex(example["c1c2c3_legacy"])[1:], is_raw=True)
