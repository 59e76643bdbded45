"""AES-256-GCM and SM4-GCM with 96-bit ivs and 128-bit tags (docs/formats.md, KS-FMT-3).

NIST SP 800-38D; SM4-GCM as RFC 8998, 2.1. Every key given here seals one message: keys for many messages are those of
`message.py`.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM

from chalicelib.hsm.port import Damaged, KeyKind

KEY_BYTES: Final = {KeyKind.AES_256: 32, KeyKind.SM4: 16}
IV_BYTES: Final = 12
TAG_BYTES: Final = 16


def seal(kind: KeyKind, key: bytes, iv: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    """The ciphertext, as long as the plaintext, then the tag. Raises ValueError for a key or iv of another length."""
    if len(key) != KEY_BYTES[kind] or len(iv) != IV_BYTES:
        raise ValueError("the key or the iv has the wrong length")
    if kind is KeyKind.AES_256:
        return AESGCM(key).encrypt(iv, plaintext, associated_data)
    encryptor = Cipher(SM4(key), GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(associated_data)
    return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def open_sealed(kind: KeyKind, key: bytes, iv: bytes, sealed: bytes, associated_data: bytes) -> bytes:
    """The plaintext of what `seal` made; Damaged for anything else, whatever is wrong with it."""
    if len(key) != KEY_BYTES[kind] or len(iv) != IV_BYTES or len(sealed) < TAG_BYTES:
        raise Damaged
    try:
        if kind is KeyKind.AES_256:
            return AESGCM(key).decrypt(iv, sealed, associated_data)
        decryptor = Cipher(SM4(key), GCM(iv, sealed[-TAG_BYTES:])).decryptor()
        decryptor.authenticate_additional_data(associated_data)
        return decryptor.update(sealed[:-TAG_BYTES]) + decryptor.finalize()
    except InvalidTag:
        raise Damaged from None
