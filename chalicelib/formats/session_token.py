"""The token of temporary credentials: everything there is to know about a session, sealed (docs/formats.md, KS-FMT-11).

    version = 1 (1 byte) | length of the key token (2) | key token | message (KS-FMT-4) under that key

in base64url without padding (RFC 4648, 5). The key is made for this token and travels in it, wrapped by the HSM: nothing
is stored, and a token opens in the installation that made it, for the SecretId that it was made for, and nowhere else.
"""

import base64
import binascii
import re
from typing import Final

from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, Hsm, HsmKey, KeyKind

VERSION: Final = b"\x01"
MAX_CHARACTERS: Final = 4096
_HEADER: Final = 3
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]+")


class TooLong(ValueError):
    """The token would be longer than clients take."""


def seal(hsm: Hsm, secret_id: str, content: bytes) -> str:
    """The token that carries `content` for `secret_id`; raises TooLong."""
    key = hsm.generate(KeyKind.AES_256, _binding(secret_id))
    header = VERSION + len(key.token).to_bytes(2)
    sealed = header + key.token + hsm.encrypt(key, content, _associated_data(header, secret_id))
    token = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
    if len(token) > MAX_CHARACTERS:
        raise TooLong
    return token


def open_sealed(hsm: Hsm, secret_id: str, token: str) -> bytes:
    """The content; Damaged unless `seal` made the token for the same SecretId in the same HSM domain."""
    sealed = _decode(token)
    header, body = sealed[:_HEADER], sealed[_HEADER:]
    length = int.from_bytes(header[1:])
    if header[:1] != VERSION or len(body) < length:
        raise Damaged
    key = HsmKey(KeyKind.AES_256, body[:length], _binding(secret_id))
    return hsm.decrypt(key, body[length:], _associated_data(header, secret_id))


def _decode(token: str) -> bytes:
    if len(token) > MAX_CHARACTERS or not _ALPHABET.fullmatch(token):
        raise Damaged
    try:
        sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except binascii.Error:
        raise Damaged from None
    if base64.urlsafe_b64encode(sealed).decode().rstrip("=") != token:
        raise Damaged  # loose bits in the last digit: a second spelling
    return sealed


def _binding(secret_id: str) -> bytes:
    return associated_data("session-key", secret_id)


def _associated_data(header: bytes, secret_id: str) -> bytes:
    return associated_data("session-token", header, secret_id)
