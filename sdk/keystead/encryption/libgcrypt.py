"""SM4-GCM by libgcrypt (1.9 or later), several times as fast as OpenSSL where the processor has AES or GFNI instructions.

Optional: `libgcrypt.enable()` at the start of a program, where the library is installed (Debian: libgcrypt20). The bytes are the
same. API: "The Libgcrypt Reference Manual", chapter 5, Symmetric cryptography.
"""

import ctypes
from typing import Final

from cryptography.exceptions import InvalidTag

from keystead.encryption import suites

_SM4: Final = 318  # GCRY_CIPHER_SM4
_GCM: Final = 9  # GCRY_CIPHER_MODE_GCM
_DISABLE_SECMEM: Final = 37  # GCRYCTL_DISABLE_SECMEM
_INITIALIZATION_FINISHED: Final = 38  # GCRYCTL_INITIALIZATION_FINISHED
_INITIALIZATION_FINISHED_P: Final = 39
_CHECKSUM: Final = 10  # GPG_ERR_CHECKSUM
_ERROR_CODE: Final = 0xFFFF
_TAG_BYTES: Final = 16


class Unusable(Exception):
    """The library is not installed, too old, or does not compute what it should."""


def enable(name: str = "libgcrypt.so.20") -> None:
    """Take this library for SM4-GCM, in the whole process, for data keys that come from now on.

    Raises Unusable, and nothing changes.

    The test vector of RFC 8998 (A.1) is computed first.
    """
    library = _Library(name)
    cipher = Sm4Gcm(library, bytes.fromhex("0123456789abcdeffedcba9876543210"))
    nonce = bytes.fromhex("00001234567800000000abcd")
    plaintext = b"".join(bytes([byte]) * 8 for byte in bytes.fromhex("aabbccddeeffeeaa"))
    expected = "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
    expected += "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
    # The vector has associated data, which frames do not have: its ciphertext, and that what is sealed opens.
    sealed = cipher.encrypt(nonce, plaintext, None)
    if sealed[:-_TAG_BYTES].hex() != expected or cipher.decrypt(nonce, sealed, None) != plaintext:
        raise Unusable("libgcrypt does not compute the test vector of RFC 8998.")
    suites.make_sm4_gcm[0] = lambda key: Sm4Gcm(library, key)


def disable() -> None:
    """Go back to OpenSSL."""
    suites.make_sm4_gcm[0] = suites.openssl_sm4_gcm


class _Library:
    def __init__(self, name: str) -> None:
        try:
            self.calls = ctypes.CDLL(name)
        except OSError:
            raise Unusable("libgcrypt is not installed.") from None
        check = self.calls.gcry_check_version
        check.restype = ctypes.c_char_p
        if not check(b"1.9.0"):
            raise Unusable("libgcrypt is older than 1.9.")
        if not self.calls.gcry_control(_INITIALIZATION_FINISHED_P, 0):
            self.calls.gcry_control(_DISABLE_SECMEM, 0)  # nothing here asks for memory of that kind
            self.calls.gcry_control(_INITIALIZATION_FINISHED, 0)
        handle, size, data = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
        for call, *arguments in (
            ("open", ctypes.POINTER(handle), ctypes.c_int, ctypes.c_int, ctypes.c_uint),
            ("setkey", handle, data, size),
            ("setiv", handle, data, size),
            ("encrypt", handle, ctypes.c_void_p, size, data, size),
            ("decrypt", handle, ctypes.c_void_p, size, data, size),
            ("gettag", handle, ctypes.c_void_p, size),
            ("checktag", handle, data, size),
        ):
            function = getattr(self.calls, f"gcry_cipher_{call}")
            function.argtypes, function.restype = arguments, ctypes.c_uint
        self.calls.gcry_cipher_close.argtypes = [handle]
        self.calls.gcry_cipher_close.restype = None


class Sm4Gcm:
    """Frames of one message; one thread at a time."""

    def __init__(self, library: _Library, key: bytes) -> None:
        self._calls = library.calls
        self._handle = ctypes.c_void_p()
        _check(self._calls.gcry_cipher_open(ctypes.byref(self._handle), _SM4, _GCM, 0))
        _check(self._calls.gcry_cipher_setkey(self._handle, key, len(key)))

    def __del__(self) -> None:
        """Close the handle; libgcrypt overwrites the key."""
        if self._handle.value:
            self._calls.gcry_cipher_close(self._handle)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: None) -> bytes:
        """Ciphertext and tag of a frame; the nonce has 12 bytes."""
        sealed = bytearray(len(data) + _TAG_BYTES)
        self.encrypt_into(nonce, data, associated_data, memoryview(sealed))
        return bytes(sealed)

    def encrypt_into(self, nonce: bytes, data: bytes, associated_data: None, buf: memoryview) -> int:  # noqa: ARG002
        """The same into a buffer that has exactly its length, which is returned."""
        if len(buf) != len(data) + _TAG_BYTES:
            raise ValueError(f"The buffer has {_TAG_BYTES} bytes more than the plaintext.")
        data = _bytes(data)
        place = ctypes.addressof((ctypes.c_char * len(buf)).from_buffer(buf))
        _check(self._calls.gcry_cipher_setiv(self._handle, nonce, len(nonce)))
        _check(self._calls.gcry_cipher_encrypt(self._handle, place, len(data), data, len(data)))
        _check(self._calls.gcry_cipher_gettag(self._handle, place + len(data), _TAG_BYTES))
        return len(buf)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: None) -> bytes:  # noqa: ARG002 - there is none
        """The plaintext; raises InvalidTag."""
        data = _bytes(data)
        length = len(data) - _TAG_BYTES
        if length < 0:
            raise InvalidTag
        plaintext = bytearray(max(length, 1))
        place = ctypes.addressof((ctypes.c_char * len(plaintext)).from_buffer(plaintext))
        _check(self._calls.gcry_cipher_setiv(self._handle, nonce, len(nonce)))
        _check(self._calls.gcry_cipher_decrypt(self._handle, place, length, data, length))
        error = self._calls.gcry_cipher_checktag(self._handle, data[length:], _TAG_BYTES)
        if error & _ERROR_CODE == _CHECKSUM:
            suites.wipe(plaintext)
            raise InvalidTag
        _check(error)
        return bytes(plaintext[:length])


def _bytes(data: bytes | bytearray | memoryview) -> bytes:
    """What ctypes takes; TypeError for what OpenSSL would not take either."""
    return data if isinstance(data, bytes) else bytes(memoryview(data))


def _check(error: int) -> None:
    if error:
        raise Unusable(f"libgcrypt refused a call (error {error & _ERROR_CODE}).")
