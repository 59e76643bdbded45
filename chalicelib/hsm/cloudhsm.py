"""AWS CloudHSM through the PKCS #11 library of its Client SDK 5: where it differs from other tokens.

From the user guide (docs.aws.amazon.com/cloudhsm/latest/userguide): the PIN is `user:password` (pkcs11-pin, limits); GCM makes
its own IV and, with the vendor's mechanism, puts it in front of the ciphertext, for at most 16,224 bytes, and AES-KWP has a
vendor number (pkcs11-mechanisms); 3,300 keys in a cluster of hsm1.medium, those of sessions included, and 1,024 sessions for
one application (limits). Sessions are read-write, as they always are here (ki-pkcs11-sdk).
"""

import re
from collections.abc import Mapping
from typing import Final

from chalicelib.hsm import pkcs11
from chalicelib.hsm.pkcs11 import Dialect, Pkcs11Hsm
from chalicelib.hsm.port import HsmKey, HsmMisconfigured
from chalicelib.settings import Settings

MECHANISMS: Final[Mapping[str, int]] = {
    "AES_GCM": 0x80001087,  # CKM_CLOUDHSM_AES_GCM
    "AES_KEY_WRAP_PAD": 0x8000216F,  # CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD
}
MAX_PLAINTEXT_BYTES: Final = 16_224
HANDLES: Final = 256
"""Session objects that one process caches: a dozen processes stay within a cluster's keys."""

_PIN: Final = re.compile(r"[^:]{1,31}:.{8,32}", re.DOTALL)


class CloudHsm(Pkcs11Hsm):
    """One domain."""

    def encrypt(self, key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.encrypt`; ValueError for a plaintext of more than 16,224 bytes."""
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"CloudHSM encrypts at most {MAX_PLAINTEXT_BYTES} bytes")
        return super().encrypt(key, plaintext, associated_data)


def open_hsm(settings: Settings, domain: str, label: str, *, create: bool) -> CloudHsm:
    """See `Pkcs11Hsm.open`. A PIN that cannot be one is not shown to the cluster, which counts wrong ones."""
    if not _PIN.fullmatch(pkcs11.pin(settings)):
        raise HsmMisconfigured(
            "KEYSTEAD_PKCS11_PIN is not user:password of a crypto user, with a password of 8 to 32 characters."
        )
    dialect = Dialect.of(
        {**MECHANISMS, **settings.pkcs11_mechanisms},
        technology="cloudhsm",
        token_makes_ivs=True,
        handle_limit=HANDLES,
    )
    return CloudHsm.speaking(dialect, settings, domain, label, create=create)
