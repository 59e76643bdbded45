"""Encryption SDK: applications encrypt and decrypt, all handling of keys is inside.

    client = Client(ApiKms(api), MasterKey("ap-guangzhou", primary), [MasterKey("ap-beijing", backup)])
    message = client.encrypt(b"...", {"table": "customers"})
    client.decrypt(message, {"table": "customers"}).plaintext

The bytes of a message are described in docs/encryption-sdk-format.md.
"""

from keystead.encryption.cache import CacheLimits
from keystead.encryption.client import AsyncClient, Client, Decrypted
from keystead.encryption.envelope import MasterKey
from keystead.encryption.errors import (
    Damaged,
    EncryptionError,
    KeysUnavailable,
    KmsFailure,
    Refusal,
    Unsigned,
    Weak,
    WrongContext,
)
from keystead.encryption.kms import ApiKms, Kms
from keystead.encryption.suites import Suite

__all__ = [
    "ApiKms",
    "AsyncClient",
    "CacheLimits",
    "Client",
    "Damaged",
    "Decrypted",
    "EncryptionError",
    "KeysUnavailable",
    "Kms",
    "KmsFailure",
    "MasterKey",
    "Refusal",
    "Suite",
    "Unsigned",
    "Weak",
    "WrongContext",
]
