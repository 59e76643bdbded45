"""SM2 by gmssl 3.2.2, where no libcrypto is usable: slow, and its times depend on the keys.

Of gmssl only the curve's arithmetic and the two signature equations are used. Its faults are kept out: nonces come from
`secrets` and not from `random.choice`; public keys do not pass through `lstrip("04")`; key derivation and C3 are ours, and
C3 is checked; what comes in was checked for encoding, range and curve by `sm2`.
"""

import hmac
import secrets
from importlib.metadata import version

from cryptography.hazmat.primitives.hashes import SM3, Hash
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from gmssl.sm2 import CryptSM2

from chalicelib.hsm import sm2_encoding as encoding


class GmsslEngine:
    """See `sm2.Engine`."""

    def __init__(self) -> None:
        self.name = f"gmssl {version('gmssl')} (slow, not constant time)"

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def generate(self) -> tuple[bytes, bytes]:
        """See `sm2.Engine`."""
        scalar = 1 + secrets.randbelow(encoding.N - 2)
        return scalar.to_bytes(encoding.SCALAR_BYTES), _multiply(scalar, encoding.G)

    def private_key(self, scalar: bytes, point: bytes) -> "_PrivateKey":  # noqa: ARG002 - the port's
        """See `sm2.Engine`."""
        return _PrivateKey(scalar)

    def public_key(self, point: bytes) -> "_PublicKey":
        """See `sm2.Engine`."""
        return _PublicKey(point)


class _PrivateKey:
    """See `sm2.EnginePrivateKey`."""

    def __init__(self, scalar: bytes) -> None:
        self._scalar = int.from_bytes(scalar)
        self._gmssl = CryptSM2(scalar.hex(), "", asn1=False)

    def sign(self, digest: bytes) -> bytes:
        while True:
            made = self._gmssl.sign(digest, f"{_nonce():064x}")
            if made is not None:  # GB/T 32918.2, 6.1, A.5 and A.6: the nonce did not fit
                return encoding.encode_signature(int(made[:64], 16), int(made[64:], 16))

    def decrypt(self, ciphertext: bytes) -> bytes | None:
        parts = encoding.decode_ciphertext(ciphertext)
        shared = _multiply(self._scalar, parts.c1)
        plaintext = _masked(shared, parts.c2)
        return plaintext if hmac.compare_digest(parts.c3, _c3(shared, plaintext)) else None


class _PublicKey:
    """See `sm2.EnginePublicKey`."""

    def __init__(self, point: bytes) -> None:
        self._point = point
        self._gmssl = CryptSM2("", "", asn1=False)
        self._gmssl.public_key = point.hex()  # the constructor would strip digits of it

    def verify(self, digest: bytes, signature: bytes) -> bool:
        r, s = encoding.decode_signature(signature)
        try:
            return bool(self._gmssl.verify(f"{r:064x}{s:064x}", digest))
        except TypeError:  # the sum is the point at infinity, which it has no form for
            return False

    def encrypt(self, plaintext: bytes) -> bytes:
        nonce = _nonce()
        shared = _multiply(nonce, self._point)
        return encoding.encode_ciphertext(
            encoding.Ciphertext(
                _multiply(nonce, encoding.G), _c3(shared, plaintext), _masked(shared, plaintext)
            )
        )


def _nonce() -> int:
    """1 to n - 1."""
    return 1 + secrets.randbelow(encoding.N - 1)


def _multiply(scalar: int, point: bytes) -> bytes:
    """A multiple of a point of the curve; the scalar is 1 to n - 1."""
    return bytes.fromhex(CryptSM2("", "")._kg(scalar, point.hex()))  # noqa: SLF001 - it has no public name


def _masked(shared: bytes, text: bytes) -> bytes:
    """The text under the key stream of GB/T 32918.4, 5.4.3, which is the KDF of ANSI X9.63 with SM3."""
    stream = X963KDF(SM3(), len(text), None).derive(shared)
    return (int.from_bytes(stream) ^ int.from_bytes(text)).to_bytes(len(text))


def _c3(shared: bytes, plaintext: bytes) -> bytes:
    """SM3(x2 || plaintext || y2)."""
    digest = Hash(SM3())
    digest.update(shared[: encoding.SCALAR_BYTES] + plaintext + shared[encoding.SCALAR_BYTES :])
    return digest.finalize()
