"""Writes the vectors of docs/encryption-sdk-format.md, by the reference implementation. Signatures differ each time.

usage: python -m sdk.tests.encryption.make_vectors
"""

import base64
import json
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import reference

HERE: Final = Path(__file__).parents[1] / "vectors"
EDKS: Final = [
    ("ap-guangzhou", "11111111-1111-1111-1111-111111111111", "cHJpbWFyeQ=="),
    ("ap-singapore", "22222222-2222-2222-2222-222222222222", "YmFja3Vw"),
]
DATA_KEY: Final = bytes(range(32))
MESSAGE_ID: Final = bytes(range(0x80, 0xA0))


def message(**changes: Any) -> tuple[dict[str, Any], bytes]:
    """A vector's inputs and its message."""
    given: dict[str, Any] = {
        "suite": 0x11,
        "frame_bytes": 65536,
        "message_id": MESSAGE_ID,
        "context": {"table": "customers", "Ort": "Zürich"},
        "data_key": DATA_KEY,
        "edks": EDKS,
        "plaintext": b"The quick brown fox.",
        **changes,
    }
    signing_key = None
    if given["suite"] & reference.SIGNED:
        signing_key = ec.derive_private_key(7, ec.SECP256R1())
        point = signing_key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        given["context"] = {**given["context"], "keystead-public-key": base64.b64encode(point).decode()}
    made = reference.write(**given, signing_key=signing_key)
    shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in given.items()}
    return {**shown, "signing_key": 7 if signing_key else None}, made


def opened() -> list[dict[str, Any]]:
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("one frame", {}),
        ("empty", {"plaintext": b""}),
        ("no context", {"context": {}}),
        ("three frames", {"frame_bytes": 8}),
        ("full frames, then an empty one", {"frame_bytes": 10}),
        ("frames of one byte", {"frame_bytes": 1}),
        ("one EDK", {"edks": EDKS[:1]}),
        ("five EDKs", {"edks": [("ap-guangzhou", f"key-{n}", "ZWRr") for n in range(5)]}),
    ]
    vectors = []
    for suite in (0x11, 0x12, 0x91, 0x92):
        for name, changes in wanted:
            given, made = message(suite=suite, **changes)
            vectors.append({"name": f"{suite:#x}: {name}", **given, "message": made.hex()})
    for suite in range(1, 9):
        for name, changes in wanted[:5]:
            given, made = message(suite=suite, **changes)
            vectors.append({"name": f"{suite}: {name}", **given, "message": made.hex()})
    return vectors


def refused() -> list[dict[str, Any]]:
    _, whole = message(frame_bytes=8)
    _, other = message(frame_bytes=8, message_id=bytes(32))
    # By a writer that has the data key and does not keep to the frame length.
    made = reference.derived(whole, DATA_KEY)[1]
    short = reference.seal(0x11, made, 0, b"four", last=False) + reference.seal(
        0x11, made, 1, b"last", last=True
    )
    long = reference.seal(0x11, made, 0, bytes(9), last=True)
    begin = len(whole) - (3 * 20 + 20)
    frames = [whole[begin + n * 28 : begin + (n + 1) * 28] for n in range(3)]
    _, signed = message(suite=0x91)
    unsigned = reference.write(0x91, 65536, MESSAGE_ID, {}, DATA_KEY, EDKS, b"The quick brown fox.")
    keyless = {"keystead-public-key": ""}
    nobodys = reference.write(0x91, 65536, MESSAGE_ID, keyless, DATA_KEY, EDKS, b"The quick brown fox.")
    _, foreign = message(data_key=bytes(32))
    _, plain = message()
    key_in_context = message(context={"keystead-public-key": "A" * 44})[1]
    wrong: list[tuple[str, bytes]] = [
        ("nothing", b""),
        ("another version", whole[:3] + b"\2" + whole[4:]),
        ("an unknown suite", whole[:4] + b"\x09" + whole[5:]),
        ("a frame length of 0", whole[:5] + bytes(4) + whole[9:]),
        ("a frame length above the limit", whole[:5] + b"\0\x10\0\1" + whole[9:]),
        ("another frame length", whole[:5] + b"\0\0\0\x09" + whole[9:]),
        ("another message id", whole[:9] + bytes(32) + whole[41:]),
        ("another data key", foreign),
        ("a signed suite with an empty public key, and no signature", nobodys),
        ("frames of another message", whole[:begin] + other[begin:]),
        ("the frames in another order", whole[:begin] + frames[1] + frames[0] + frames[2]),
        ("a frame twice", whole[:begin] + frames[0] + frames[0] + frames[1] + frames[2]),
        ("a frame missing", whole[:begin] + frames[0] + frames[2]),
        ("the last frame missing", whole[:begin] + frames[0] + frames[1]),
        ("an inner frame marked as the last", whole[:begin] + frames[0] + b"\x80\0\0\x08" + frames[1][4:]),
        (
            "the last frame marked as an inner one",
            whole[:begin] + b"".join(frames[:2]) + b"\0" + frames[2][1:],
        ),
        ("a short inner frame", whole[:begin] + short),
        ("a frame that is too long", whole[:begin] + long),
        ("a byte after the end", whole + b"\0"),
        ("a signature missing", signed[:-64]),
        ("a signature of zeros", signed[:-64] + bytes(64)),
        ("a signature after an unsigned message", plain + signed[-64:]),
        ("an unsigned suite with a public key", key_in_context),
        ("a signed suite without a public key", unsigned),
        ("a signed suite named unsigned", signed[:4] + b"\x11" + signed[5:-64]),
    ]
    return [
        {"name": name, "data_key": DATA_KEY.hex(), "edks": EDKS, "message": made.hex()}
        for name, made in wrong
    ]


if __name__ == "__main__":
    for name, vectors in (("opened", opened()), ("refused", refused())):
        text = json.dumps(vectors, indent=1, ensure_ascii=False)
        (HERE / f"encryption_{name}.json").write_text(text + "\n", encoding="utf-8")
