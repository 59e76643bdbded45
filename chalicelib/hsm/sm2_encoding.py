"""SM2 as numbers and bytes: the curve, scalars, points and the DER of keys, signatures and ciphertexts.

GB/T 32918.5 (curve), GB/T 35276 = GM/T 0009 (DER), RFC 5480 (public key), RFC 5208 and 5915 (private key). Each thing has
one spelling: DER is minimal, nothing follows it, numbers are in range, points are on the curve. Whatever is not so is
Malformed. Points are x || y, 64 bytes; scalars 32 bytes; both big-endian.
"""

from typing import Final, NamedTuple

P: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF
A: Final = P - 3
B: Final = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
N: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123
G: Final = bytes.fromhex(
    "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
    "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
)
SCALAR_BYTES: Final = 32
POINT_BYTES: Final = 64
DIGEST_BYTES: Final = 32
"""Of SM3."""

_INTEGER: Final = 0x02
_OCTETS: Final = 0x04
_SEQUENCE: Final = 0x30
_SHORT: Final = 0x80
_LONGEST: Final = 3
"""Octets of a length: 16 MiB."""
_ALGORITHM: Final = bytes.fromhex("301306072a8648ce3d020106082a811ccf5501822d")
"""id-ecPublicKey and the curve 1.2.156.10197.1.301."""
SPKI: Final = bytes.fromhex("3059") + _ALGORITHM + bytes.fromhex("03420004")
"""What stands before the point in a SubjectPublicKeyInfo."""
_PKCS8: Final = bytes.fromhex("308187020100") + _ALGORITHM + bytes.fromhex("046d306b0201010420")
_PKCS8_PUBLIC: Final = bytes.fromhex("a14403420004")


class Malformed(ValueError):
    """Not the one spelling of anything."""


class Ciphertext(NamedTuple):
    """The parts of GB/T 32918.4, 6.1."""

    c1: bytes
    """A point of the curve."""
    c3: bytes
    """SM3 over x2, the plaintext and y2."""
    c2: bytes
    """As long as the plaintext, at least a byte."""


def check_point(point: bytes) -> None:
    """Raises Malformed unless it is x || y of a point of the curve; the group's order is prime, so that is all."""
    x, y = int.from_bytes(point[:SCALAR_BYTES]), int.from_bytes(point[SCALAR_BYTES:])
    if len(point) != POINT_BYTES or x >= P or y >= P or (y * y - (x * x + A) * x - B) % P:
        raise Malformed


def check_scalar(scalar: bytes) -> None:
    """Raises Malformed unless it is a private key: 1 to n - 2."""
    if len(scalar) != SCALAR_BYTES or not 1 <= int.from_bytes(scalar) <= N - 2:
        raise Malformed


def encode_spki(point: bytes) -> bytes:
    """SubjectPublicKeyInfo, 91 bytes."""
    return SPKI + point


def decode_spki(der: bytes) -> bytes:
    """The point; compressed points and other parameters than the named curve are Malformed."""
    if not der.startswith(SPKI):
        raise Malformed
    point = der[len(SPKI) :]
    check_point(point)
    return point


def encode_pkcs8(scalar: bytes, point: bytes) -> bytes:
    """PrivateKeyInfo with the public key, 138 bytes: what OpenSSL writes."""
    return _PKCS8 + scalar + _PKCS8_PUBLIC + point


def decode_pkcs8(der: bytes) -> tuple[bytes, bytes]:
    """Scalar and point of what `encode_pkcs8` wrote. That they belong together is the caller's to know."""
    at = len(_PKCS8)
    scalar = der[at : at + SCALAR_BYTES]
    point = der[at + SCALAR_BYTES + len(_PKCS8_PUBLIC) :]
    if der != encode_pkcs8(scalar, point):
        raise Malformed
    check_scalar(scalar)
    check_point(point)
    return scalar, point


def encode_signature(r: int, s: int) -> bytes:
    """SEQUENCE {INTEGER r, INTEGER s}."""
    return _encode(_SEQUENCE, _encode_integer(r) + _encode_integer(s))


def decode_signature(der: bytes) -> tuple[int, int]:
    """The numbers r and s, both 1 to n - 1."""
    body = _whole(_SEQUENCE, der)
    r, at = _integer(body, 0)
    s, at = _integer(body, at)
    if at != len(body) or not 1 <= r < N or not 1 <= s < N:
        raise Malformed
    return r, s


def encode_ciphertext(parts: Ciphertext) -> bytes:
    """SEQUENCE {INTEGER x, INTEGER y, OCTET STRING C3, OCTET STRING C2}."""
    x, y = int.from_bytes(parts.c1[:SCALAR_BYTES]), int.from_bytes(parts.c1[SCALAR_BYTES:])
    return _encode(
        _SEQUENCE,
        _encode_integer(x) + _encode_integer(y) + _encode(_OCTETS, parts.c3) + _encode(_OCTETS, parts.c2),
    )


def decode_ciphertext(der: bytes) -> Ciphertext:
    """The parts, C1 on the curve."""
    body = _whole(_SEQUENCE, der)
    x, at = _integer(body, 0)
    y, at = _integer(body, at)
    c3, at = _read(_OCTETS, body, at)
    c2, at = _read(_OCTETS, body, at)
    if at != len(body) or x >= P or y >= P:
        raise Malformed
    return _checked(Ciphertext(x.to_bytes(SCALAR_BYTES) + y.to_bytes(SCALAR_BYTES), c3, c2))


def encode_raw_ciphertext(parts: Ciphertext) -> bytes:
    """C1 || C3 || C2 without 0x04 in front."""
    return parts.c1 + parts.c3 + parts.c2


def decode_raw_ciphertext(raw: bytes) -> Ciphertext:
    """The parts, C1 on the curve."""
    at = POINT_BYTES + DIGEST_BYTES
    return _checked(Ciphertext(raw[:POINT_BYTES], raw[POINT_BYTES:at], raw[at:]))


def _checked(parts: Ciphertext) -> Ciphertext:
    if len(parts.c3) != DIGEST_BYTES or not parts.c2:
        raise Malformed
    check_point(parts.c1)
    return parts


def _encode(tag: int, value: bytes) -> bytes:
    length = len(value)
    if length < _SHORT:
        return bytes([tag, length]) + value
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, _SHORT | len(octets)]) + octets + value


def _encode_integer(number: int) -> bytes:
    return _encode(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _whole(tag: int, der: bytes) -> bytes:
    value, end = _read(tag, der, 0)
    if end != len(der):
        raise Malformed
    return value


def _integer(der: bytes, at: int) -> tuple[int, int]:
    value, end = _read(_INTEGER, der, at)
    number = int.from_bytes(value[: SCALAR_BYTES + 1])
    if value != number.to_bytes(number.bit_length() // 8 + 1):  # negative, not minimal or too long
        raise Malformed
    return number, end


def _read(tag: int, der: bytes, at: int) -> tuple[bytes, int]:
    """The value of the element at `at`, and where it ends."""
    head = der[at : at + 2]
    if len(head) != len(b"TL") or head[0] != tag:
        raise Malformed
    start, length = at + 2, head[1]
    if length >= _SHORT:
        octets = length - _SHORT
        length = int.from_bytes(der[start : start + octets]) if octets <= _LONGEST else 0
        start += octets
        if length < _SHORT or length >> 8 * (octets - 1) == 0:
            raise Malformed
    if start + length > len(der):
        raise Malformed
    return der[start : start + length], start + length
