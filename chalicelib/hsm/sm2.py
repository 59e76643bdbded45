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
from chalicelib.hsm.port import Damaged, HsmMisconfigured

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
            # A.5 of GB/T 32918.4, 6.1: the key stream is not all zeros. OpenSSL checks that only since 3.2, and one
            # byte in 256 would go out as it is.
            if parts.c2 != plaintext:
                return encoding.encode_raw_ciphertext(parts) if is_raw else ciphertext


class PrivateKey:
    """A scalar and its point."""

    def __init__(self, scalar: bytes, point: bytes) -> None:
        """Raises Malformed if either is out of range; that they belong together is the caller's to know."""
        encoding.check_scalar(scalar)
        self.public = PublicKey(point)
        self._pkcs8 = encoding.encode_pkcs8(scalar, point)
        self._key = engine().private_key(scalar, point)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @classmethod
    def generate(cls) -> Self:
        """A new key."""
        return cls(*engine().generate())

    @classmethod
    def load(cls, pkcs8: bytes) -> Self:
        """The key of bytes that `pkcs8` gave; Malformed for others."""
        return cls(*encoding.decode_pkcs8(pkcs8))

    def pkcs8(self) -> bytes:
        """PrivateKeyInfo in DER with the public key, 138 bytes."""
        return self._pkcs8

    def sign(self, message: bytes, *, is_digest: bool) -> bytes:
        """A signature in DER over the message, or over the 32 bytes SM3(Z_A || M); ValueError for other lengths."""
        digest = message if is_digest else self.public.digest(message)
        _check_digest(digest)
        return self._key.sign(digest)

    def decrypt(self, ciphertext: bytes, *, is_raw: bool) -> bytes:
        """The plaintext of C1 || C3 || C2, or of its DER; Damaged for every other ciphertext."""
        try:
            if is_raw:
                parts = encoding.decode_raw_ciphertext(ciphertext)
                ciphertext = encoding.encode_ciphertext(parts)
            else:
                parts = encoding.decode_ciphertext(ciphertext)
        except encoding.Malformed:
            raise Damaged from None
        plaintext = self._key.decrypt(ciphertext)
        if plaintext is None or plaintext == parts.c2:  # the key stream is all zeros: GB/T 32918.4, 7.1, B.4
            raise Damaged
        return plaintext


def use(libcrypto: str = "") -> Engine:
    """Choose this process's engine, test it and return it.

    `libcrypto` is the path of OpenSSL 3's libcrypto, or GMSSL. Empty: the system's libcrypto, and gmssl where none is
    usable. Raises HsmMisconfigured if what was named, or nothing, is usable. Keys that exist keep their engine.
    """
    with _lock:
        _chosen[:] = [_find(libcrypto)]
        return _chosen[0]


def engine() -> Engine:
    """This process's engine: the one that `use` chose, or at first use as `use()` chooses."""
    chosen = _chosen[:]
    if chosen:
        return chosen[0]
    with _lock:
        if not _chosen:
            _chosen.append(_find(""))
        return _chosen[0]


def describe() -> str:
    """The engine's name for health checks, or why there is none."""
    try:
        return engine().name
    except HsmMisconfigured as error:
        return f"none: {error}"


_lock: Final = threading.Lock()
_chosen: Final[list[Engine]] = []


def _find(libcrypto: str) -> Engine:
    failures = []
    for name, load in _candidates(libcrypto):
        try:
            found = load()
            _check_engine(found)
        except EngineError as error:
            failures.append(f"{name}: {error}")
        else:
            return found
    raise HsmMisconfigured(
        "SM2 needs OpenSSL 3's libcrypto with SM2, or gmssl: set KEYSTEAD_LIBCRYPTO to the library's path. Tried "
        + "; ".join(failures)
    )


def _candidates(libcrypto: str) -> Iterator[tuple[str, Callable[[], Engine]]]:
    from chalicelib.hsm import sm2_libcrypto  # noqa: PLC0415 - ctypes is loaded for SM2 only

    if libcrypto and libcrypto != GMSSL:
        yield libcrypto, lambda: sm2_libcrypto.LibcryptoEngine(libcrypto)
        return
    if not libcrypto:
        for path in sm2_libcrypto.paths(sys.platform):
            yield path, lambda path=path: sm2_libcrypto.LibcryptoEngine(path)
    yield GMSSL, _gmssl


def _gmssl() -> Engine:
    try:
        from chalicelib.hsm import sm2_gmssl  # noqa: PLC0415 - gmssl need not be there
    except ImportError:
        raise EngineError("not installed") from None
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
        raise EngineError("its SM2 does not give the standard's examples")


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
