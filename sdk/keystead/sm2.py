"""SM2 signatures are checked here, in Python: `cryptography` has no SM2, and no library has to be installed for it.

GB/T 32918.1 and .2 (curve arithmetic, verification), .5 (parameters); the hash is SM3 (GB/T 32905). Only public numbers
are computed with, so that times that depend on them give nothing away; nothing here may be used with a private key.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.hashes import SM3, Hash

_P: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF
_A: Final = _P - 3
_B: Final = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
_N: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123
_GX: Final = 0x32C4AE2C_1F198119_5F990446_6A39C994_8FE30BBF_F2660BE1_715A4589_334C74C7
_GY: Final = 0xBC3736A2_F4F6779C_59BDCEE3_6B692153_D0A9877C_C62A4740_02DF32E5_2139F0A0
_USER_ID: Final = b"1234567812345678"  # the default identity of a signer (GB/T 35276, 10)
# SubjectPublicKeyInfo of id-ecPublicKey on 1.2.156.10197.1.301, up to x || y.
_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")
_POINT_BYTES: Final = 64
_WINDOW: Final = 4


def sm3(data: bytes) -> bytes:
    """The hash of GB/T 32905, 32 bytes."""
    state = Hash(SM3())
    state.update(data)
    return state.finalize()


class PublicKey:
    """A point of the curve that signatures are checked with."""

    def __init__(self, x: int, y: int) -> None:
        """Raises ValueError unless (x, y) is a point of the curve; its order is prime, so that is all."""
        if not (0 <= x < _P and 0 <= y < _P) or (y * y - (x * x + _A) * x - _B) % _P:
            raise ValueError("not a point of the SM2 curve")
        self._point = _Point(x, y, 1)

    @classmethod
    def from_spki(cls, der: bytes) -> PublicKey | None:
        """The key of a SubjectPublicKeyInfo in its one spelling, 91 bytes; None for keys of another kind or spelling."""
        point = der[len(_SPKI) :]
        if not der.startswith(_SPKI) or len(point) != _POINT_BYTES:
            return None
        try:
            return cls(int.from_bytes(point[:32], "big"), int.from_bytes(point[32:], "big"))
        except ValueError:
            return None

    def is_signed(self, message: bytes, r: int, s: int) -> bool:
        """Whether (r, s) is the key's signature over the message (GB/T 32918.2, 7.1), with the default identity."""
        t = (r + s) % _N
        if not (1 <= r < _N and 1 <= s < _N and t):
            return False
        x, _, z = _add(_multiply(_generator(), s), _multiply(self._multiples, t))
        e = int.from_bytes(sm3(self._identity + message), "big")
        return z != 0 and (e + x * pow(z, -1, _P) % _P) % _N == r

    @cached_property
    def _identity(self) -> bytes:
        """Z_A (GB/T 32918.2, 5.5)."""
        x, y, _ = self._point
        numbers = b"".join(each.to_bytes(32, "big") for each in (_A, _B, _GX, _GY, x, y))
        return sm3((len(_USER_ID) * 8).to_bytes(2, "big") + _USER_ID + numbers)

    @cached_property
    def _multiples(self) -> list[list[_Point]]:
        return _table(self._point)


class _Point(NamedTuple):
    """Projective coordinates: (x / z, y / z), and z = 0 for the point at infinity."""

    x: int
    y: int
    z: int


_INFINITY: Final = _Point(0, 1, 0)
_B3: Final = 3 * _B % _P


def _add(one: _Point, other: _Point) -> _Point:
    """The sum, in all cases: the complete formulas of Renes, Costello and Batina (IACR ePrint 2015/1060, (1))."""
    x1, y1, z1 = one
    x2, y2, z2 = other
    xx, yy, zz = x1 * x2 % _P, y1 * y2 % _P, z1 * z2 % _P
    xy, xz, yz = x1 * y2 + x2 * y1, x1 * z2 + x2 * z1, y1 * z2 + y2 * z1
    c = (_A * xz + _B3 * zz) % _P
    d = (_A * xx + _B3 * xz - _A * _A * zz) % _P
    e = 3 * xx + _A * zz
    return _Point(
        (xy * (yy - c) - yz * d) % _P, (e * d + (yy + c) * (yy - c)) % _P, (yz * (yy + c) + xy * e) % _P
    )


def _table(point: _Point) -> list[list[_Point]]:
    """For each window of a scalar, all multiples that it may ask for: a multiplication is then additions alone."""
    table = []
    for _ in range(0, 256, _WINDOW):
        row = [_INFINITY]
        for _ in range((1 << _WINDOW) - 1):
            row.append(_add(row[-1], point))
        table.append(row)
        point = _add(row[-1], point)
    return table


def _multiply(table: list[list[_Point]], scalar: int) -> _Point:
    found = _INFINITY
    for row in table:
        found = _add(found, row[scalar % (1 << _WINDOW)])
        scalar >>= _WINDOW
    return found


_generators: Final[list[list[list[_Point]]]] = []


def _generator() -> list[list[_Point]]:
    """The table of the curve's base point, made on first use."""
    if not _generators:
        _generators.append(_table(_Point(_GX, _GY, 1)))
    return _generators[0]
