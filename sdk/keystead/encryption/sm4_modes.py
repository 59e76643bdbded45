"""The frames of the vendor's eight SM4 modes, by its names and numbers (docs/encryption-sdk-format.md, ESF-6).

GB/T 32907-2016 in the modes of GB/T 17964-2021; padding is PKCS#7 (RFC 5652, 6.3) except for CTR; what the vendor calls a
signature is HMAC-SM3, here over the frame's nonce and ciphertext.
"""

from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB, GCM
from cryptography.hazmat.primitives.padding import PKCS7

BLOCK_BYTES: Final = 16
"""A block of SM4."""
KEY_BYTES: Final = 16
"""A key of SM4."""
MAC_BYTES: Final = 32
"""An HMAC-SM3, and its key."""
TAG_BYTES: Final = 16
"""The tag of GCM."""

Mode = Literal["CBC", "GCM", "CTR", "ECB"]
"""The modes of operation that the vendor has."""


def sealed_bytes(mode: Mode, length: int, *, with_mac: bool) -> int:
    """Bytes of a sealed frame with so many bytes of plaintext."""
    if mode == "GCM":
        length += TAG_BYTES
    elif mode != "CTR":
        length += BLOCK_BYTES - length % BLOCK_BYTES
    return length + MAC_BYTES if with_mac else length


class Sm4Mode:
    """A frame cipher. The key is 16 bytes, and 32 more for the HMAC where there is one."""

    def __init__(self, mode: Mode, key: bytes) -> None:
        self._mode = mode
        self._key = SM4(key[:KEY_BYTES])
        self._mac_key = key[KEY_BYTES:]

    def encrypt(self, nonce: bytes, data: bytes, associated_data: None) -> bytes:  # noqa: ARG002 - there is none
        """The ciphertext, the tag of GCM, and the HMAC, where the mode has them."""
        if self._mode in ("CBC", "ECB"):
            padder = PKCS7(8 * BLOCK_BYTES).padder()
            data = padder.update(data) + padder.finalize()
        if self._mode == "GCM":
            sealer = Cipher(self._key, GCM(nonce)).encryptor()
            sealed = sealer.update(data) + sealer.finalize() + sealer.tag
        else:
            other = Cipher(self._key, self._unauthenticated(nonce)).encryptor()
            sealed = other.update(data) + other.finalize()
        return sealed + self._mac(nonce, sealed).finalize() if self._mac_key else sealed

    def encrypt_into(self, nonce: bytes, data: bytes, associated_data: None, buf: memoryview) -> int:
        """The same into a buffer that has exactly its length, which is returned."""
        buf[:] = self.encrypt(nonce, data, associated_data)
        return len(buf)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: None) -> bytes:  # noqa: ARG002 - there is none
        """The plaintext; raises InvalidTag, for bad padding as well."""
        if self._mac_key:
            data, mac = data[:-MAC_BYTES], data[-MAC_BYTES:]
            try:
                self._mac(nonce, data).verify(mac)
            except InvalidSignature:
                raise InvalidTag from None
        if self._mode == "GCM":
            opener = Cipher(self._key, GCM(nonce, data[-TAG_BYTES:])).decryptor()
            return opener.update(data[:-TAG_BYTES]) + opener.finalize()
        try:
            other = Cipher(self._key, self._unauthenticated(nonce)).decryptor()
            plaintext = other.update(data) + other.finalize()
            if self._mode == "CTR":
                return plaintext
            unpadder = PKCS7(8 * BLOCK_BYTES).unpadder()
            return unpadder.update(plaintext) + unpadder.finalize()
        except ValueError:
            raise InvalidTag from None

    def _unauthenticated(self, nonce: bytes) -> CBC | CTR | ECB:
        block = nonce + bytes(BLOCK_BYTES - len(nonce))
        if self._mode == "CTR":
            return CTR(block)
        if self._mode == "ECB":
            return ECB()  # noqa: S305 - the caller asked for it by name
        # An iv that nobody can foresee, of a nonce that occurs once (NIST SP 800-38A, appendix C).
        encryptor = Cipher(self._key, ECB()).encryptor()  # noqa: S305 - of one block
        return CBC(encryptor.update(block) + encryptor.finalize())

    def _mac(self, nonce: bytes, sealed: bytes) -> hmac.HMAC:
        mac = hmac.HMAC(self._mac_key, hashes.SM3())
        mac.update(nonce)
        mac.update(sealed)
        return mac
