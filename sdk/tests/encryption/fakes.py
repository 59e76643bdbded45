"""KMS in memory, with regions that can be taken down."""

import secrets
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keystead.encryption import KmsFailure, MasterKey, Suite
from keystead.encryption.format import context_json

PRIMARY: Final = MasterKey("ap-guangzhou", "11111111-1111-1111-1111-111111111111")
BACKUP: Final = MasterKey("ap-beijing", "22222222-2222-2222-2222-222222222222")
STRONG: Final = [suite for suite in Suite if not suite.is_weak]
OTHERS: Final = tuple(MasterKey(f"ap-{n}", f"{n}" * 8) for n in (3, 4, 5))


class MemoryKms:
    """AES-256-GCM under a key for each CMK; the context is authenticated."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], AESGCM] = {}
        self._lock = threading.Lock()
        self.down: set[str] = set()
        self.disabled: set[str] = set()
        self.silent: set[str] = set()
        self.wake = threading.Event()
        self.calls: Counter[tuple[str, str]] = Counter()

    def generate_data_key(self, region: str, key_id: str, context: Mapping[str, str]) -> tuple[bytes, str]:
        key = self._key("generate", region, key_id)
        plaintext = secrets.token_bytes(32)
        return plaintext, _seal(key, plaintext, context)

    def encrypt(self, region: str, key_id: str, plaintext: bytes, context: Mapping[str, str]) -> str:
        return _seal(self._key("encrypt", region, key_id), plaintext, context)

    def decrypt(self, region: str, key_id: str, ciphertext: str, context: Mapping[str, str]) -> bytes:
        key = self._key("decrypt", region, key_id)
        try:
            sealed = bytes.fromhex(ciphertext)
            return key.decrypt(sealed[:12], sealed[12:], context_json(context).encode())
        except (InvalidTag, ValueError):
            raise KmsFailure("InvalidParameterValue.InvalidCiphertext") from None

    def _key(self, action: str, region: str, key_id: str) -> AESGCM:
        with self._lock:
            self.calls[action, region] += 1
            key = self._keys.setdefault((region, key_id), AESGCM(secrets.token_bytes(32)))
        if region in self.silent:
            self.wake.wait(30)
            raise KmsFailure("Unreachable", unreachable=True)
        if region in self.down:
            raise KmsFailure("Unreachable", unreachable=True)
        if region in self.disabled:
            raise KmsFailure("ResourceUnavailable.CmkDisabled")
        return key


class SteppedClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _seal(key: AESGCM, plaintext: bytes, context: Mapping[str, str]) -> str:
    nonce = secrets.token_bytes(12)
    return (nonce + key.encrypt(nonce, plaintext, context_json(context).encode())).hex()
