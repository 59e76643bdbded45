"""What `Hsm.encrypt` returns where keys stay in a token: a message under a message key (docs/formats.md, KS-FMT-20).

    suite (1 byte) | wrapped message key (40 or 24) | iv (12) | ciphertext | tag (16)

Suite 3 is AES-256, suite 4 SM4. The message key is made in the token, wrapped there under the CMK's key (AES-KWP, RFC 5649,
and the same with SM4), and runs GCM for a bounded number of messages, each with a random iv. The CMK's key itself only wraps.
"""

from typing import Final

from chalicelib.formats.aead import IV_BYTES, TAG_BYTES
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, KeyKind

SUITES: Final = {KeyKind.AES_256: b"\x03", KeyKind.SM4: b"\x04"}
WRAPPED_BYTES: Final = {KeyKind.AES_256: 40, KeyKind.SM4: 24}
MAX_MESSAGES: Final = 2**28
"""Under one message key: two random ivs are equal with a probability of 2^-41."""


def front(kind: KeyKind, wrapped_key: bytes) -> bytes:
    """What stands in front of the iv."""
    return SUITES[kind] + wrapped_key


def split(kind: KeyKind, message: bytes) -> tuple[bytes, bytes, bytes]:
    """The front, the iv, and ciphertext and tag of a message to a key of `kind`; Damaged for what can be none."""
    iv_at = 1 + WRAPPED_BYTES[kind]
    sealed_at = iv_at + IV_BYTES
    if message[:1] != SUITES[kind] or len(message) < sealed_at + TAG_BYTES:
        raise Damaged
    return message[:iv_at], message[iv_at:sealed_at], message[sealed_at:]


def authenticated(front: bytes, data: bytes) -> bytes:
    """The associated data of GCM: the front, and the caller's."""
    return associated_data("token-message", front, data)
