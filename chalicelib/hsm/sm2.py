"""SM2: keys, signatures with SM3 and the default user id, encryption (GB/T 32918.1 to .5).

The arithmetic is an engine's: OpenSSL 3's libcrypto, or gmssl where there is none. This module has what must not depend on
it: encodings, ranges, the curve, Z_A and the digest. `cryptography` has no SM2, and its own OpenSSL cannot be called.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.hashes import SM3, Hash

from chalicelib.hsm import sm2_encoding as encoding
from chalicelib.hsm.port import Damaged, HsmMisconfigured, HsmUnavailable

USER_ID: Final = b"1234567812345678"
"""GB/T 35276, 10: the default identity of a signer."""
GMSSL: Final = "gmssl"
"""In place of a path: take the fallback."""

_SCALAR: Final = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
_POINT: Final = bytes.fromhex(
    "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
_SIGNED: Final = b"message digest"
_SIGNATURE: Final = bytes.fromhex(
    "3046022100f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "022100b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)
_ENCRYPTED: Final = b"encryption standard"
_CIPHERTEXT: Final = bytes.fromhex(
    "307c022004ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73"
    "022100e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0"
    "042059983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766"
    "041321886ca989ca9c7d58087307ca93092d651efa"
)
"""Examples of GB/T 32918.5, annexes A.2 and C.2 (tests/vectors/gm.json)."""


class EngineError(Exception):
    """An engine cannot be used; the text says why."""


class EnginePrivateKey(Protocol):
    """The private half in an engine."""

    def sign(self, digest: bytes) -> bytes:
        """The signature of a digest of 32 bytes, in DER."""

    def decrypt(self, ciphertext: bytes) -> bytes | None:
        """The plaintext of a ciphertext in DER; None if C3 does not fit. Encoding and curve have been checked."""


class EnginePublicKey(Protocol):
    """The public half in an engine."""

    def verify(self, digest: bytes, signature: bytes) -> bool:
        """Whether a signature in DER is the key's. Encoding and ranges have been checked."""

    def encrypt(self, plaintext: bytes) -> bytes:
        """A ciphertext in DER."""


class Engine(Protocol):
    """Arithmetic on the curve. Thread-safe, and its keys are."""

    name: str
    """Which library, which version, and what is weaker about it."""

    def generate(self) -> tuple[bytes, bytes]:
        """A new private key's scalar and point."""

    def private_key(self, scalar: bytes, point: bytes) -> EnginePrivateKey:
        """The key; both have been checked."""

    def public_key(self, point: bytes) -> EnginePublicKey:
        """The key; it has been checked."""


class PublicKey:
    """A point of the curve."""

    def __init__(self, point: bytes) -> None:
        """Raises Malformed for anything but x || y of a point of the curve."""
        encoding.check_point(point)
        self._point = point
        self._z = _z(point)
        self._key = engine().public_key(point)

    @classmethod
    def from_spki(cls, der: bytes) -> Self:
        """The key of a SubjectPublicKeyInfo; Malformed for any other bytes."""
        return cls(encoding.decode_spki(der))

    def spki(self) -> bytes:
        """SubjectPublicKeyInfo in DER, 91 bytes."""
        return encoding.encode_spki(self._point)

    def digest(self, message: bytes) -> bytes:
        """SM3(Z_A || message): what is signed (GB/T 32918.2, 5.5 and 6.1)."""
        return _sm3(self._z + message)

    def verify(self, digest: bytes, signature: bytes) -> bool:
        """Whether the signature in DER is this key's over the digest; ValueError for a digest of other than 32 bytes."""
        _check_digest(digest)
        try:
            encoding.decode_signature(signature)
        except encoding.Malformed:
            return False
        return self._key.verify(digest, signature)

    def encrypt(self, plaintext: bytes, *, is_raw: bool) -> bytes:
        """C1 || C3 || C2, or its DER; ValueError for an empty plaintext, for which the standard has no ciphertext."""
        if not plaintext:
            raise ValueError("SM2 encrypts at least one byte")
        while True:
            ciphertext = self._key.encrypt(plaintext)
            parts = encoding.decode_ciphertext(ciphertext)
            # GB/T 32918.4, 6.1, A5: the key stream is not all zeros. Before 3.2 OpenSSL does not look, and one byte in
            # 256 would go out as it is.
            if parts.c2 != plaintext:
                return encoding.encode_raw_ciphertext(parts) if is_raw else ciphertext


class PrivateKey:
    """A scalar, which is in the engine, and its point."""

    def __init__(self, pkcs8: bytes) -> None:
        """The key of bytes that `generate` made; Malformed for others."""
        scalar, point = encoding.decode_pkcs8(pkcs8)
        self.public = PublicKey(point)
        self._key = engine().private_key(scalar, point)

    def sign(self, digest: bytes) -> bytes:
        """A signature in DER over what `PublicKey.digest` gave; ValueError for other than 32 bytes."""
        _check_digest(digest)
        return self._key.sign(digest)

    def decrypt(self, ciphertext: bytes, *, is_raw: bool) -> bytes:
        """The plaintext of C1 || C3 || C2, or of its DER; Damaged for every other ciphertext."""
        try:
            parts = (encoding.decode_raw_ciphertext if is_raw else encoding.decode_ciphertext)(ciphertext)
        except encoding.Malformed:
            raise Damaged from None
        plaintext = self._key.decrypt(encoding.encode_ciphertext(parts))
        if plaintext is None or plaintext == parts.c2:  # the key stream is all zeros: GB/T 32918.4, 7.1, B4
            raise Damaged
        return plaintext


def generate() -> bytes:
    """A new key: PrivateKeyInfo in DER with the public key, 138 bytes."""
    return encoding.encode_pkcs8(*engine().generate())


def use(libcrypto: str = "") -> Engine:
    """Choose this process's engine, test it and return it.

    `libcrypto` is the path of OpenSSL 3's libcrypto, or GMSSL. Empty: the system's libcrypto, and gmssl where none is
    usable. Raises HsmMisconfigured if what was named, or nothing, is usable. Keys that exist keep their engine.
    """
    with _lock:
        if not _chosen or _chosen[0][0] != libcrypto:
            _chosen[:] = [(libcrypto, _find(libcrypto))]
    return engine()


def engine() -> Engine:
    """The process's engine: the one that `use` chose, or as `use()` would choose it. Raises HsmMisconfigured."""
    with _lock:
        if not _chosen:
            _chosen.append(("", _find("")))
        _, found = _chosen[0]
    if isinstance(found, str):
        raise HsmMisconfigured(found)
    return found


def is_usable() -> bool:
    """Whether there is an engine."""
    try:
        engine()
    except HsmMisconfigured:
        return False
    return True


def describe() -> str:
    """The engine's name for health checks, or why there is none."""
    try:
        return engine().name
    except HsmMisconfigured as error:
        return f"none: {error}"


_lock: Final = threading.Lock()
_chosen: Final[list[tuple[str, Engine | str]]] = []
"""What was asked for, and the engine or why there is none; nothing before the first use."""


def _find(libcrypto: str) -> Engine | str:
    failures = []
    for name, load in _candidates(libcrypto):
        try:
            found = load(name)
            _check_engine(found)
        except EngineError as error:
            failures.append(f"{name} {error}")
        except (HsmUnavailable, ValueError):
            failures.append(f"{name} fails")
        else:
            return found
    return (
        "SM2 needs OpenSSL 3's libcrypto with SM2, or gmssl: set KEYSTEAD_LIBCRYPTO to the library's path. Tried: "
        + "; ".join(failures)
    )


def _candidates(libcrypto: str) -> Iterator[tuple[str, Callable[[str], Engine]]]:
    from chalicelib.hsm import sm2_libcrypto  # noqa: PLC0415 - who uses no SM2 does not wait for ctypes

    if libcrypto and libcrypto != GMSSL:
        yield libcrypto, sm2_libcrypto.LibcryptoEngine
        return
    if not libcrypto:
        yield from ((path, sm2_libcrypto.LibcryptoEngine) for path in sm2_libcrypto.paths(sys.platform))
    yield GMSSL, _gmssl


def _gmssl(_name: str) -> Engine:
    try:
        from chalicelib.hsm import sm2_gmssl  # noqa: PLC0415 - it need not be installed, nor loaded
    except ImportError:
        raise EngineError("is not installed") from None
    return sm2_gmssl.GmsslEngine()


def _check_engine(found: Engine) -> None:
    """Raises EngineError unless the engine gives the standard's examples, refuses changed ones, and opens its own."""
    scalar, point = _SCALAR, _POINT
    digest = _sm3(_z(point) + _SIGNED)
    private, public = found.private_key(scalar, point), found.public_key(point)
    changed = _CIPHERTEXT[:-1] + bytes([_CIPHERTEXT[-1] ^ 1])
    new_scalar, new_point = found.generate()
    encoding.check_scalar(new_scalar)
    encoding.check_point(new_point)
    new = found.private_key(new_scalar, new_point)
    if not (
        public.verify(digest, _SIGNATURE)
        and not public.verify(digest[::-1], _SIGNATURE)
        and private.decrypt(_CIPHERTEXT) == _ENCRYPTED
        and private.decrypt(changed) is None
        and public.verify(digest, private.sign(digest))
        and private.decrypt(public.encrypt(_ENCRYPTED)) == _ENCRYPTED
        and found.public_key(new_point).verify(digest, new.sign(digest))
    ):
        raise EngineError("does not give the standard's examples")


def _z(point: bytes) -> bytes:
    """Z_A of the default user id (GB/T 32918.2, 5.5)."""
    curve = encoding.A.to_bytes(32) + encoding.B.to_bytes(32) + encoding.G
    return _sm3((len(USER_ID) * 8).to_bytes(2) + USER_ID + curve + point)


def _sm3(message: bytes) -> bytes:
    digest = Hash(SM3())
    digest.update(message)
    return digest.finalize()


def _check_digest(digest: bytes) -> None:
    if len(digest) != encoding.DIGEST_BYTES:
        raise ValueError("an SM3 digest has 32 bytes")
