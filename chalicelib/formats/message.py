"""What `Hsm.encrypt` returns: authenticated encryption under a key derived for the message (docs/formats.md, KS-FMT-4).

    suite (1 byte) | nonce (24) | ciphertext | tag (16)

Suite 1 is XAES-256-GCM (https://c2sp.org/XAES-256-GCM), suite 2 the same construction over SM4. The nonce is random: its
first half selects the derived key, its second half is the iv, and 192 bits do not repeat. So the number of messages under
one key is not limited by GCM's 2**32.
"""

import secrets
import threading
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256, SM4
from cryptography.hazmat.primitives.ciphers.modes import ECB

from chalicelib.formats import aead
from chalicelib.hsm.port import Damaged, KeyKind

SUITES: Final = {KeyKind.AES_256: b"\x01", KeyKind.SM4: b"\x02"}
NONCE_BYTES: Final = 24
BLOCK_BYTES: Final = 16
_CIPHERS: Final[dict[KeyKind, Callable[[Any], BlockCipherAlgorithm]]] = {
    KeyKind.AES_256: AES256,
    KeyKind.SM4: SM4,
}
"""Keys are documented as bytes-like; SM4 types them as bytes."""
_LABEL: Final = 0x58
"""`X`, the Label of the key derivation."""
_CHECK_LABEL: Final = 0x43
"""`C`, the Label of the check value."""


class Derivation:
    """Which blocks, encrypted under a key, make the derived key of a nonce.

    The derived key is the key's block cipher in ECB mode over `blocks(nonce)`: two blocks for AES-256, one for SM4. As
    a whole this is the counter-mode KDF of NIST SP 800-108r1, 4.1, with CMAC (SP 800-38B), a 16-bit counter, the label
    `X`, the context `nonce[:12]` and no length field. A token needs AES alone for it: CKM_AES_ECB once for the constructor
    and CKM_AES_ECB_ENCRYPT_DATA for each message.
    """

    def __init__(self, kind: KeyKind, encrypted_zeros: bytes) -> None:
        """`encrypted_zeros` is the zero block encrypted under the key."""
        zeros = int.from_bytes(encrypted_zeros)
        subkey = (zeros << 1 ^ (zeros >> 127) * 0x87) & (2**128 - 1)  # SP 800-38B, 6.1: K1
        count = aead.KEY_BYTES[kind] // BLOCK_BYTES
        self._masks = [_mask(subkey, counter, _LABEL) for counter in range(1, count + 1)]
        self._check_masks = [_mask(subkey, counter, _CHECK_LABEL) for counter in (1, 2)]

    def blocks(self, nonce: bytes) -> bytes:
        """What to encrypt, 16 or 32 bytes."""
        context = int.from_bytes(nonce[:12])
        return b"".join([(mask ^ context).to_bytes(BLOCK_BYTES) for mask in self._masks])

    def check_blocks(self) -> bytes:
        """What to encrypt for `Hsm.check_value`, 32 bytes: the same KDF with the label `C` and a context of zeros."""
        return b"".join([mask.to_bytes(BLOCK_BYTES) for mask in self._check_masks])


class MessageKey:
    """A key in process memory that seals any number of messages, in any number of threads."""

    def __init__(self, kind: KeyKind, key: bytes) -> None:
        if len(key) != aead.KEY_BYTES.get(kind):
            raise ValueError("the key is not symmetric, or has the wrong length")
        self._kind = kind
        self._suite = SUITES[kind]
        secret = bytearray(key)
        self._block_cipher = Cipher(_CIPHERS[kind](secret), ECB()).encryptor()  # noqa: S305 - see Derivation
        secret[:] = bytes(len(secret))  # the expanded key stays, which OpenSSL erases when this object goes
        self._lock = threading.Lock()  # the cipher object refuses to be used by two threads at once
        self._derivation = Derivation(kind, self._block_cipher.update(bytes(BLOCK_BYTES)))

    def seal(
        self, plaintext: bytes, associated_data: bytes, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> bytes:
        """A message; 41 bytes longer than the plaintext."""
        nonce = random(NONCE_BYTES)
        sealed = aead.seal(self._kind, self._derive(nonce), nonce[12:], plaintext, associated_data)
        return self._suite + nonce + sealed

    def open_sealed(self, message: bytes, associated_data: bytes) -> bytes:
        """The plaintext; Damaged for whatever is not a message made with this key and associated data."""
        nonce, sealed = message[1 : 1 + NONCE_BYTES], message[1 + NONCE_BYTES :]
        if message[:1] != self._suite:
            raise Damaged
        return aead.open_sealed(self._kind, self._derive(nonce), nonce[12:], sealed, associated_data)

    def check_value(self) -> bytes:
        """See `Hsm.check_value` (KS-FMT-4.5)."""
        return self._encrypt(self._derivation.check_blocks())

    def _derive(self, nonce: bytes) -> bytes:
        return self._encrypt(self._derivation.blocks(nonce))

    def _encrypt(self, blocks: bytes) -> bytes:
        with self._lock:
            return self._block_cipher.update(blocks)


def _mask(subkey: int, counter: int, label: int) -> int:
    return subkey ^ (counter << 16 | label << 8) << 96
