"""The published vectors, and the reference implementation that was written from the document alone."""

import io
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.encryption import Client, Damaged, KmsFailure, MasterKey, Suite

from . import reference
from .fakes import STRONG

VECTORS: Final = Path(__file__).parents[1] / "vectors"


def vectors(name: str) -> list[Any]:
    return [
        pytest.param(vector, id=vector["name"])
        for vector in json.loads((VECTORS / f"encryption_{name}.json").read_text("utf-8"))
    ]


class VectorKms:
    """Every EDK of the vector is its data key."""

    def __init__(self, data_key: bytes) -> None:
        self.data_key = data_key
        self.contexts: list[dict[str, str]] = []

    def generate_data_key(self, _region: str, _key_id: str, context: Mapping[str, str]) -> tuple[bytes, str]:
        self.contexts.append(dict(context))
        return self.data_key, "ZWRr"

    def encrypt(self, *_: object) -> str:
        raise KmsFailure("Unreachable", unreachable=True)

    def decrypt(self, _region: str, _key_id: str, _ciphertext: str, context: Mapping[str, str]) -> bytes:
        self.contexts.append(dict(context))
        return self.data_key


def client(vector: dict[str, Any]) -> tuple[Client, VectorKms]:
    kms = VectorKms(bytes.fromhex(vector["data_key"]))
    first, *others = (MasterKey(region, key_id) for region, key_id, _ in vector["edks"])
    return Client(kms, first, others, allow_weak=True), kms


@pytest.mark.parametrize("vector", vectors("opened"))
def test_opened(vector: dict[str, Any]) -> None:
    one, kms = client(vector)
    found = one.decrypt(bytes.fromhex(vector["message"]))
    assert found.plaintext.hex() == vector["plaintext"]
    assert kms.contexts == [vector["context"]]
    expected = {name: value for name, value in vector["context"].items() if name != "keystead-public-key"}
    assert found.context == expected
    assert one.missing(bytes.fromhex(vector["message"])) == ()


@pytest.mark.parametrize("vector", [v for v in vectors("opened") if not v.values[0]["signing_key"]])
def test_generated(vector: dict[str, Any]) -> None:
    """The bytes follow from the inputs alone: so the files are what the reference writes."""
    made = reference.write(
        vector["suite"],
        vector["frame_bytes"],
        bytes.fromhex(vector["message_id"]),
        vector["context"],
        bytes.fromhex(vector["data_key"]),
        [tuple(edk) for edk in vector["edks"]],
        bytes.fromhex(vector["plaintext"]),
    )
    assert made.hex() == vector["message"]


@pytest.mark.parametrize("vector", vectors("refused"))
def test_refused(vector: dict[str, Any]) -> None:
    one, _ = client(vector)
    message, sink = bytes.fromhex(vector["message"]), io.BytesIO()
    with pytest.raises(Damaged):
        one.decrypt(message)
    with pytest.raises(Damaged):
        one.decrypt_stream(io.BytesIO(message), sink)
    assert bytes.fromhex("54686520717569636b2062726f776e20666f782e").startswith(sink.getvalue())


@settings(deadline=None)
@given(
    st.binary(max_size=100),
    st.sampled_from([suite for suite in STRONG if suite & 0x10]),
    st.integers(1, 40),
    st.dictionaries(st.sampled_from("abc\N{SNOWMAN}"), st.text("xy\N{SNOWMAN}"), max_size=3),
)
def test_the_reference_reads_what_the_package_writes(
    plaintext: bytes, suite: Suite, frame_bytes: int, context: dict[str, str]
) -> None:
    data_key = secrets.token_bytes(32)
    one = Client(VectorKms(data_key), MasterKey("r", "k"), suite=suite, frame_bytes=frame_bytes)
    assert reference.read(one.encrypt(plaintext, context), data_key) == (plaintext, context)
