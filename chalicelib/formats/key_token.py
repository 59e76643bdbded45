"""The software HSM's key token: key material sealed under a domain key, for one place (docs/formats.md, KS-FMT-5).

    version = 1 (1 byte) | kind (1) | domain key generation (4) | message (KS-FMT-4) under that domain key

Other backends take other version bytes, and bytes 2 to 5 are the generation in all of them.
"""

import secrets
from collections.abc import Callable
from typing import Final

from chalicelib.formats.canonical import associated_data
from chalicelib.formats.message import MessageKey
from chalicelib.hsm.port import Damaged, KeyKind

VERSION: Final = b"\x01"
_VERSIONS: Final = (VERSION, b"\x02")
"""Those of all backends: 1 software, 2 PKCS#11."""
_HEADER: Final = 6


def seal(
    domain_key: MessageKey,
    generation: int,
    kind: KeyKind,
    binding: bytes,
    material: bytes,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """A token that opens only as `kind`, for `binding`, under the domain key of that generation."""
    header = _header(generation, kind)
    return header + domain_key.seal(material, _associated_data(header, binding), random)


def generation_of(token: bytes) -> int:
    """The generation of the domain key that a token of any backend names; Damaged for what is no token.

    It is not authenticated.
    """
    if token[:1] not in _VERSIONS or len(token) < _HEADER:
        raise Damaged
    return int.from_bytes(token[2:_HEADER])


def generation(token: bytes) -> int:
    """The generation of the domain key that a token names; Damaged if it is no token of this version."""
    if token[:1] != VERSION or len(token) < _HEADER:
        raise Damaged
    return int.from_bytes(token[2:_HEADER])


def open_sealed(domain_key: MessageKey, kind: KeyKind, binding: bytes, token: bytes) -> bytes:
    """The key material; Damaged unless `seal` made the token with the same domain key, kind and binding."""
    header = _header(generation(token), kind)
    if token[:_HEADER] != header:
        raise Damaged
    return domain_key.open_sealed(token[_HEADER:], _associated_data(header, binding))


def _header(generation: int, kind: KeyKind) -> bytes:
    return VERSION + bytes([kind.value]) + generation.to_bytes(4)


def _associated_data(header: bytes, binding: bytes) -> bytes:
    return associated_data("key-token", header, binding)
