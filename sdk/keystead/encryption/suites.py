"""The algorithms of a message, and the keys that they take from its data key.

Every message has keys of its own: HKDF (RFC 5869) over the data key, with the first part of the header as info. Its
output is the commitment (32 bytes, in the header) and the key of the frames. docs/encryption-sdk-format.md, "Keys".
"""

import enum
from collections.abc import Callable
from functools import cached_property, partial
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keystead.encryption import sm4_modes

DATA_KEY_BYTES: Final = 32
"""A data key."""
COMMITMENT_BYTES: Final = 32
"""The commitment to a data key (ESF-3.1)."""
TAG_BYTES: Final = 16
"""The tag of GCM."""
AES_KEY_BYTES: Final = 32
"""A key of AES-256."""
EDK_TAG_BYTES: Final = 32
"""The tag over the EDKs, and its key (ESF-3.4)."""
_SALT: Final = b"keystead encryption sdk 1"
_EDK_LABEL: Final = b"encrypted data keys"
_SIGNED: Final = 0x80
_LAST_OF_VENDOR: Final = 8


class Suite(enum.IntEnum):
    """The algorithms of a message; the number is the suite byte of its header."""

    SM4_CBC_128_WITH_SIGNATURE = 1
    """The vendor's modes 1 to 8, "signature" meaning HMAC-SM3: for what is kept by those numbers; see `is_weak`."""
    SM4_CBC_128 = 2
    """CBC; weak: frames can be changed unseen."""
    SM4_GCM_128_WITH_SIGNATURE = 3
    """GCM and HMAC-SM3."""
    SM4_GCM_128 = 4
    """GCM."""
    SM4_CTR_128_WITH_SIGNATURE = 5
    """CTR and HMAC-SM3."""
    SM4_CTR_128 = 6
    """CTR; weak: frames can be changed unseen."""
    SM4_ECB_128_WITH_SIGNATURE = 7
    """ECB and HMAC-SM3; weak: equal blocks show."""
    SM4_ECB_128 = 8
    """ECB; weak: equal blocks show, and frames can be changed unseen."""
    AES_256_GCM = 0x11
    """AES-256-GCM (NIST SP 800-38D), keys by HKDF-SHA-512."""
    SM4_GCM = 0x12
    """SM4-GCM (GB/T 32907-2016, RFC 8998), keys by HKDF-SM3 (GB/T 32905-2016)."""
    AES_256_GCM_SIGNED = 0x91
    """AES_256_GCM, and ECDSA P-256 with SHA-256 (FIPS 186-5) over the whole message."""
    SM4_GCM_SIGNED = 0x92
    """SM4_GCM, and ECDSA P-256 with SHA-256 (FIPS 186-5) over the whole message."""

    @cached_property
    def signed(self) -> bool:
        """Whether a signature follows the frames."""
        return bool(self & _SIGNED)

    @property
    def is_sm(self) -> bool:
        """Whether SM4 and SM3 stand in for AES and SHA-2."""
        return self & ~_SIGNED != Suite.AES_256_GCM

    @cached_property
    def is_weak(self) -> bool:
        """Whether frames can be changed unseen (no tag), or equal blocks show (ECB)."""
        return self <= _LAST_OF_VENDOR and self in _WEAK

    def sealed_bytes(self, length: int) -> int:
        """Bytes of a sealed frame with so many bytes of plaintext."""
        if self > _LAST_OF_VENDOR:
            return length + TAG_BYTES
        mode, with_mac = _VENDOR_MODES[self]
        return sm4_modes.sealed_bytes(mode, length, with_mac=with_mac)

    @property
    def frame_key_bytes(self) -> int:
        """Bytes of the key of the frames, with that of the HMAC where there is one."""
        if not self.is_sm:
            return AES_KEY_BYTES
        with_mac = self in _VENDOR_MODES and _VENDOR_MODES[self][1]
        return sm4_modes.KEY_BYTES + (sm4_modes.MAC_BYTES if with_mac else 0)

    def cipher(self) -> "Callable[[bytes], FrameCipher]":
        """What makes of a key what seals frames."""
        if not self.is_sm:
            return AESGCM
        if self.frame_key_bytes == sm4_modes.KEY_BYTES and self not in _WEAK:
            return make_sm4_gcm[0]
        return partial(sm4_modes.Sm4Mode, _VENDOR_MODES[self][0])


_VENDOR_MODES: Final[dict[Suite, tuple[sm4_modes.Mode, bool]]] = {
    Suite.SM4_CBC_128_WITH_SIGNATURE: ("CBC", True),
    Suite.SM4_CBC_128: ("CBC", False),
    Suite.SM4_GCM_128_WITH_SIGNATURE: ("GCM", True),
    Suite.SM4_GCM_128: ("GCM", False),
    Suite.SM4_CTR_128_WITH_SIGNATURE: ("CTR", True),
    Suite.SM4_CTR_128: ("CTR", False),
    Suite.SM4_ECB_128_WITH_SIGNATURE: ("ECB", True),
    Suite.SM4_ECB_128: ("ECB", False),
}
_WEAK: Final = frozenset(
    (Suite.SM4_CBC_128, Suite.SM4_CTR_128, Suite.SM4_ECB_128_WITH_SIGNATURE, Suite.SM4_ECB_128)
)


class FrameCipher(Protocol):
    """Seals each frame of one message; `cryptography`'s AESGCM is one."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: None) -> bytes:
        """What stands in the frame after its word."""
        ...

    def encrypt_into(self, nonce: bytes, data: bytes, associated_data: None, buf: memoryview) -> int:
        """The same into a buffer that has exactly its length, which is returned."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: None) -> bytes:
        """The plaintext; raises InvalidTag, and nothing of the plaintext is seen then."""
        ...


def openssl_sm4_gcm(key: bytes) -> FrameCipher:
    """SM4-GCM by `cryptography`."""
    return sm4_modes.Sm4Mode("GCM", key)


make_sm4_gcm: Final[list[Callable[[bytes], FrameCipher]]] = [openssl_sm4_gcm]
"""One entry; `libgcrypt.enable` replaces it."""


class MessageKeys:
    """What derives the keys of messages from one data key of 32 bytes. The data key itself is not kept.

    What is kept is HMAC after it took its key, in OpenSSL's memory: each derivation begins with a copy, and OpenSSL
    overwrites it when the last user lets go of the object. So a cache may drop it at any time while another thread is
    still deriving. Python may have copied the data key before; see docs/encryption-sdk-format.md.

    Raises ValueError for a data key of another length.
    """

    __slots__ = ("_cipher", "_length", "_secret", "_suite")

    def __init__(self, suite: Suite, data_key: bytes | bytearray) -> None:
        if len(data_key) != DATA_KEY_BYTES:
            raise ValueError(f"A data key has {DATA_KEY_BYTES} bytes.")
        self._suite = suite
        self._cipher = suite.cipher()
        self._length = COMMITMENT_BYTES + suite.frame_key_bytes
        algorithm: hashes.HashAlgorithm = hashes.SM3() if suite.is_sm else hashes.SHA512()
        self._secret = hmac.HMAC(HKDF.extract(algorithm, _SALT, bytes(data_key)), algorithm)

    def derive(self, core: bytes) -> tuple[bytes, FrameCipher]:
        """The commitment to the data key and to `core`, the header's first part; and the cipher of the frames."""
        made = self._expand(core, self._length)
        return made[:COMMITMENT_BYTES], self._cipher(made[COMMITMENT_BYTES : self._length])

    def edk_tag(self, edks: bytes) -> bytes:
        """The tag over the encoded EDKs, 32 bytes: whoever has the data key can add an EDK, nobody else."""
        key = self._expand(_EDK_LABEL, EDK_TAG_BYTES)[:EDK_TAG_BYTES]
        mac = hmac.HMAC(key, hashes.SM3() if self._suite.is_sm else hashes.SHA256())
        mac.update(edks)
        return mac.finalize()

    def _expand(self, info: bytes, length: int) -> bytes:
        """HKDF-Expand (RFC 5869, 2.3) in whole blocks: `length` bytes or somewhat more."""
        made = block = b""
        number = 0
        while len(made) < length:
            number += 1
            mac = self._secret.copy()
            mac.update(block + info + number.to_bytes(1, "big"))
            block = mac.finalize()
            made += block
        return made

    def __repr__(self) -> str:
        return f"MessageKeys({self._suite.name})"


def wipe(secret: bytearray) -> None:
    """Overwrite the buffer with zeros."""
    secret[:] = bytes(len(secret))
