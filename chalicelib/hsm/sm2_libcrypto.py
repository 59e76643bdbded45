"""SM2 by OpenSSL 3's libcrypto through ctypes: EVP only, in a library context of its own.

The own context (OSSL_LIB_CTX) keeps openssl.cnf, and whoever else uses the library in this process, out of it; it lives as
long as the process, since threads may still be in a call when Python ends. Calls are made without the GIL. A key is an EVP_PKEY that is only read once it is made, and each operation has its own EVP_PKEY_CTX:
any number of threads may use one key.
"""

import contextlib
import ctypes
import ctypes.util
import sys
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_size_t, c_uint, c_void_p
from typing import Any, Final

from chalicelib.hsm import sm2_encoding as encoding
from chalicelib.hsm.port import HsmUnavailable
from chalicelib.hsm.sm2 import EngineError

_SONAMES: Final = ("libcrypto.so.4", "libcrypto.so.3")
_DARWIN: Final = tuple(
    f"{prefix}/opt/openssl@3/lib/libcrypto.3.dylib" for prefix in ("/opt/homebrew", "/usr/local")
)
"""Homebrew's; macOS ends a process that loads the system's libcrypto."""

_SIGNATURE_BYTES: Final = 72
"""At most."""
_OVERHEAD_BYTES: Final = 128
"""A ciphertext in DER is at most 114 bytes longer than the plaintext, up to 16 MiB."""
_PUBLIC: Final = 0x86
"""EVP_PKEY_PUBLIC_KEY (openssl/evp.h), the parameters included."""
_KEY_PAIR: Final = 0x87
"""EVP_PKEY_KEYPAIR."""
_UNSIGNED, _TEXT, _OCTETS = 2, 4, 5
"""Types of an OSSL_PARAM."""


class _Param(ctypes.Structure):
    """OSSL_PARAM (openssl/core.h)."""

    _fields_ = (
        ("key", c_char_p),
        ("data_type", c_uint),
        ("data", c_void_p),
        ("data_size", c_size_t),
        ("return_size", c_size_t),
    )


_size: Final = POINTER(c_size_t)
_PROTOTYPES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "BN_bn2binpad": (c_int, [c_void_p, c_void_p, c_int]),
    "BN_clear_free": (None, [c_void_p]),
    "ERR_clear_error": (None, []),
    "EVP_PKEY_CTX_free": (None, [c_void_p]),
    "EVP_PKEY_CTX_new_from_name": (c_void_p, [c_void_p, c_char_p, c_char_p]),
    "EVP_PKEY_CTX_new_from_pkey": (c_void_p, [c_void_p, c_void_p, c_char_p]),
    "EVP_PKEY_decrypt": (c_int, [c_void_p, c_void_p, _size, c_char_p, c_size_t]),
    "EVP_PKEY_decrypt_init": (c_int, [c_void_p]),
    "EVP_PKEY_encrypt": (c_int, [c_void_p, c_void_p, _size, c_char_p, c_size_t]),
    "EVP_PKEY_encrypt_init": (c_int, [c_void_p]),
    "EVP_PKEY_free": (None, [c_void_p]),
    "EVP_PKEY_fromdata": (c_int, [c_void_p, POINTER(c_void_p), c_int, c_void_p]),
    "EVP_PKEY_fromdata_init": (c_int, [c_void_p]),
    "EVP_PKEY_generate": (c_int, [c_void_p, POINTER(c_void_p)]),
    "EVP_PKEY_get_bn_param": (c_int, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "EVP_PKEY_get_octet_string_param": (c_int, [c_void_p, c_char_p, c_void_p, c_size_t, _size]),
    "EVP_PKEY_keygen_init": (c_int, [c_void_p]),
    "EVP_PKEY_sign": (c_int, [c_void_p, c_void_p, _size, c_char_p, c_size_t]),
    "EVP_PKEY_sign_init": (c_int, [c_void_p]),
    "EVP_PKEY_verify": (c_int, [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t]),
    "EVP_PKEY_verify_init": (c_int, [c_void_p]),
    "OPENSSL_cleanse": (None, [c_void_p, c_size_t]),
    "OSSL_LIB_CTX_free": (None, [c_void_p]),
    "OSSL_LIB_CTX_new": (c_void_p, []),
    "OpenSSL_version": (c_char_p, [c_int]),
}


def paths(platform: str) -> Iterator[str]:
    """Where the library may be, the likeliest first; the last one costs a subprocess."""
    if platform == "darwin":
        yield from _DARWIN
        return
    yield from _SONAMES
    found = ctypes.util.find_library("crypto")
    if found and found not in _SONAMES:
        yield found


class LibcryptoEngine:
    """See `sm2.Engine`."""

    def __init__(self, path: str) -> None:
        """Raises EngineError if there is no OpenSSL 3, or one without SM2."""
        try:
            self.lib = ctypes.CDLL(path)
            for name, (result, arguments) in _PROTOTYPES.items():
                function = getattr(self.lib, name)
                function.restype, function.argtypes = result, arguments
        except OSError:
            raise EngineError("cannot be loaded") from None
        except AttributeError:
            raise EngineError("is not OpenSSL 3") from None
        version: bytes = self.lib.OpenSSL_version(0)
        self.name = version.decode("ascii", "replace")
        self._context: int | None = self.lib.OSSL_LIB_CTX_new()
        if not self._context:
            raise EngineError("has no memory")
        try:
            with self.operation("keygen"):
                pass
        except HsmUnavailable:
            self.lib.OSSL_LIB_CTX_free(self._context)
            raise EngineError(f"({self.name}) has no SM2") from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def generate(self) -> tuple[bytes, bytes]:
        """See `sm2.Engine`."""
        made, number, size = c_void_p(), c_void_p(), c_size_t()
        try:
            with self.operation("keygen") as context:
                self.check(self.lib.EVP_PKEY_generate(context, byref(made)))
            self.check(self.lib.EVP_PKEY_get_bn_param(made, b"priv", byref(number)))
            with self.buffer(encoding.SCALAR_BYTES) as out:
                self.check(self.lib.BN_bn2binpad(number, out, len(out)))
                scalar = out.raw
            with self.buffer(1 + encoding.POINT_BYTES) as out:
                self.check(self.lib.EVP_PKEY_get_octet_string_param(made, b"pub", out, len(out), byref(size)))
                return scalar, out.raw[1:]
        finally:
            self.lib.BN_clear_free(number)
            self.lib.EVP_PKEY_free(made)

    def private_key(self, scalar: bytes, point: bytes) -> "_Key":
        """See `sm2.Engine`."""
        native = int.from_bytes(scalar).to_bytes(encoding.SCALAR_BYTES, sys.byteorder)
        return self._key(_KEY_PAIR, point, (b"priv", _UNSIGNED, native))

    def public_key(self, point: bytes) -> "_Key":
        """See `sm2.Engine`."""
        return self._key(_PUBLIC, point)

    def check(self, outcome: int) -> None:
        """Raises HsmUnavailable unless libcrypto answered success; it has no memory, or no entropy."""
        if outcome <= 0:
            self.lib.ERR_clear_error()
            raise HsmUnavailable("libcrypto failed.")

    @contextlib.contextmanager
    def operation(self, name: str, key: c_void_p | None = None) -> Iterator[int]:
        """An EVP_PKEY_CTX after EVP_PKEY_<name>_init, for a key or, without one, to make keys."""
        if key:
            context = self.lib.EVP_PKEY_CTX_new_from_pkey(self._context, key, None)
        else:
            context = self.lib.EVP_PKEY_CTX_new_from_name(self._context, b"SM2", None)
        try:
            self.check(getattr(self.lib, f"EVP_PKEY_{name}_init")(context) if context else 0)
            yield context
        finally:
            self.lib.EVP_PKEY_CTX_free(context)
            self.lib.ERR_clear_error()

    @contextlib.contextmanager
    def buffer(self, size: int, content: bytes = b"") -> Iterator["ctypes.Array[c_char]"]:
        """Memory that is overwritten in the end."""
        memory = (c_char * size)()
        ctypes.memmove(memory, content, len(content))
        try:
            yield memory
        finally:
            self.lib.OPENSSL_cleanse(memory, size)

    def _key(self, selection: int, point: bytes, *more: tuple[bytes, int, bytes]) -> "_Key":
        items = [(b"group", _TEXT, b"SM2"), (b"pub", _OCTETS, b"\x04" + point), *more]
        made = c_void_p()
        with contextlib.ExitStack() as stack:
            parameters = (_Param * (len(items) + 1))()  # the last one, all zeros, ends the list
            for parameter, (name, kind, value) in zip(parameters, items, strict=False):
                memory = stack.enter_context(self.buffer(len(value), value))
                parameter.key, parameter.data_type = name, kind
                parameter.data, parameter.data_size = ctypes.addressof(memory), len(value)
            with self.operation("fromdata") as context:
                self.check(self.lib.EVP_PKEY_fromdata(context, byref(made), selection, parameters))
        return _Key(self, made)


class _Key:
    """An EVP_PKEY, freed with this object."""

    def __init__(self, engine: LibcryptoEngine, pointer: c_void_p) -> None:
        self._engine = engine
        self._lib = engine.lib
        self._pointer = pointer

    def __del__(self) -> None:
        self._lib.EVP_PKEY_free(self._pointer)

    def sign(self, digest: bytes) -> bytes:
        """See `sm2.EnginePrivateKey`."""
        return self._checked(self._run("sign", digest, _SIGNATURE_BYTES))

    def decrypt(self, ciphertext: bytes) -> bytes | None:
        """See `sm2.EnginePrivateKey`."""
        return self._run("decrypt", ciphertext, len(ciphertext))

    def verify(self, digest: bytes, signature: bytes) -> bool:
        """See `sm2.EnginePublicKey`."""
        with self._engine.operation("verify", self._pointer) as context:
            outcome: int = self._lib.EVP_PKEY_verify(context, signature, len(signature), digest, len(digest))
        return outcome == 1

    def encrypt(self, plaintext: bytes) -> bytes:
        """See `sm2.EnginePublicKey`."""
        return self._checked(self._run("encrypt", plaintext, len(plaintext) + _OVERHEAD_BYTES))

    def _run(self, name: str, given: bytes, most: int) -> bytes | None:
        size = c_size_t(most)
        with self._engine.operation(name, self._pointer) as context, self._engine.buffer(most) as out:
            outcome: int = getattr(self._lib, f"EVP_PKEY_{name}")(
                context, out, byref(size), given, len(given)
            )
            return ctypes.string_at(out, size.value) if outcome > 0 else None

    def _checked(self, made: bytes | None) -> bytes:
        if made is None:
            raise HsmUnavailable("libcrypto failed.")
        return made
