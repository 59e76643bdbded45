"""What several tests of asymmetric keys need."""

import base64

from tests.installation import Client

MESSAGE = b"a message that somebody signs"
TEXT = base64.b64encode(MESSAGE).decode()

SIGNERS = {
    "SM2DSA": "ASYMMETRIC_SIGN_VERIFY_SM2",
    "ECC_P256_R1": "ASYMMETRIC_SIGN_VERIFY_ECC",
    "ECC_P384_R1": "ASYMMETRIC_SIGN_VERIFY_ECDSA384",
    "RSA_PSS_SHA_256": "ASYMMETRIC_SIGN_VERIFY_RSA_2048",
    "RSA_PKCS1_SHA_256": "ASYMMETRIC_SIGN_VERIFY_RSA_2048",
}
"""Algorithm -> the usage of keys that sign by it."""

SIGNING = [{"Algorithm": algorithm, "usage": usage} for algorithm, usage in SIGNERS.items()]


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def make(kms: Client, usage: str, alias: str = "k", state: str = "Enabled") -> str:
    """The id of a new key in a state."""
    key_id: str = kms.CreateKey(Alias=alias, KeyUsage=usage).KeyId
    if state in ("Disabled", "PendingDelete"):
        kms.DisableKey(KeyId=key_id)
    if state == "PendingDelete":
        kms.ScheduleKeyDeletion(KeyId=key_id, PendingWindowInDays=7)
    if state == "Archived":
        kms.ArchiveKey(KeyId=key_id)
    return key_id


def other_byte(text: str, at: int) -> str:
    """Base64 of the same bytes with one of them changed."""
    value = bytearray(base64.b64decode(text))
    value[at] ^= 1
    return b64(bytes(value))
