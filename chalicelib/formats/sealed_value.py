"""A value sealed for its place, under a data key of its own (docs/formats.md, KS-FMT-7).

    version = 1 (1 byte) | kind (1) | length of the wrapped key (2) | wrapped key (KS-FMT-4) | iv (12) | ciphertext | tag (16)

The place is whatever tells this value from every other: a secret version's account, region, name, version, value type,
key id and backing key version. It is not in the bytes: what is sealed for one place opens for no other. Only the data key
goes through the HSM, so the value's length does not matter to it.
"""

from typing import Final

from chalicelib.formats import aead
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, Hsm, HsmKey, KeyKind

Place = tuple[str | bytes | int, ...]

VERSION: Final = b"\x01"
_HEADER: Final = 4


def seal(hsm: Hsm, key: HsmKey, place: Place, value: bytes) -> bytes:
    """The value under a fresh data key (AES-256-GCM or SM4-GCM, as `key` is), and the data key under `key`."""
    data_key = hsm.random(aead.KEY_BYTES[key.kind])
    wrapped_key = hsm.encrypt(key, data_key, associated_data("sealed-value-key", *place))
    header = _header(key.kind, len(wrapped_key))
    iv = hsm.random(aead.IV_BYTES)
    return (
        header + wrapped_key + iv + aead.seal(key.kind, data_key, iv, value, _associated_data(header, place))
    )


def open_sealed(hsm: Hsm, key: HsmKey, place: Place, sealed: bytes) -> bytes:
    """The value; Damaged unless `seal` made it with the same key and place."""
    header, body = sealed[:_HEADER], sealed[_HEADER:]
    wrapped_length = int.from_bytes(header[2:])
    if header != _header(key.kind, wrapped_length):
        raise Damaged
    wrapped_key, iv, rest = (
        body[:wrapped_length],
        body[wrapped_length : wrapped_length + aead.IV_BYTES],
        body[wrapped_length + aead.IV_BYTES :],
    )
    data_key = hsm.decrypt(key, wrapped_key, associated_data("sealed-value-key", *place))
    return aead.open_sealed(key.kind, data_key, iv, rest, _associated_data(header, place))


def _header(kind: KeyKind, wrapped_length: int) -> bytes:
    return VERSION + bytes([kind.value]) + wrapped_length.to_bytes(2)


def _associated_data(header: bytes, place: Place) -> bytes:
    return associated_data("sealed-value", header, *place)
