"""The bytes of a message's header (docs/encryption-sdk-format.md). Integers are unsigned and big-endian.

The header comes in two parts. The core (with the commitment) never changes; the EDKs after it have a tag of their
own, so that `heal` can add one without touching the frames.
"""

import functools
import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from keystead.encryption.errors import Damaged
from keystead.encryption.suites import COMMITMENT_BYTES, EDK_TAG_BYTES, Suite

MAGIC: Final = b"KSE\x01"
"""What a message of version 1 begins with."""
MESSAGE_ID_BYTES: Final = 32
"""Random bytes in a header."""
MAX_EDKS: Final = 5
"""Encrypted data keys of a message, and so CMKs of a client."""
MAX_FRAME_BYTES: Final = 1 << 20
"""Plaintext of a frame."""
MAX_FRAMES: Final = 1 << 32
"""Of a message."""
MAX_CONTEXT_CHARACTERS: Final = 1024
"""Of the context as JSON; KMS takes no more."""
MAX_CONTEXT_BYTES: Final = 4096
"""Of the context as it stands in the header."""
MAX_REGION_BYTES: Final = 64
"""Of the name of a region."""
MAX_KEY_ID_BYTES: Final = 128
"""Of the id of a CMK."""
MAX_EDK_BYTES: Final = 6144
"""Of a CiphertextBlob."""
MAX_EDKS_BYTES: Final = MAX_EDKS * (1 + MAX_REGION_BYTES + 1 + MAX_KEY_ID_BYTES + 2 + MAX_EDK_BYTES)
"""Of all encrypted data keys of a message, with their lengths."""
PUBLIC_KEY: Final = "keystead-public-key"
"""The name in the context under which a signed message has its public key. Callers cannot use it."""

_FIXED: Final = struct.Struct(f">4sBI{MESSAGE_ID_BYTES}sH")
_SUITES: Final = {int(suite): suite for suite in Suite}

Reader = Callable[[int], bytes]
"""Gives so many bytes; fewer at the end, unless it is one that raises Damaged then (`exactly`)."""


@dataclass(frozen=True)
class EncryptedDataKey:
    """The data key, encrypted under one CMK."""

    region: str
    """Of the CMK."""
    key_id: str
    """Of the CMK."""
    ciphertext: str
    """What KMS gave, as it gave it (CiphertextBlob)."""


class Header(NamedTuple):
    """What stands before the frames. Nothing of it is to be trusted before commitment and tag are checked."""

    suite: Suite
    """The algorithms."""
    frame_bytes: int
    """Plaintext of every frame but the last, in bytes."""
    context: bytes
    """As `encode_context` makes it."""
    core: bytes
    """The part that the keys of the message are derived from; suite, frame length and context are in it."""
    commitment: bytes
    """32 bytes (ESF-3.1)."""
    edks: bytes
    """As `encode_edks` makes them."""
    edk_tag: bytes
    """32 bytes (ESF-3.4)."""

    def encode(self) -> bytes:
        """The header's bytes."""
        return self.core + self.commitment + edk_part(self.edks, self.edk_tag)


def edk_part(edks: bytes, edk_tag: bytes) -> bytes:
    """The last part of a header."""
    return len(edks).to_bytes(2, "big") + edks + edk_tag


def core_begin(suite: int, frame_bytes: int) -> bytes:
    """What stands before the message id: magic and version, suite, frame length."""
    return MAGIC + suite.to_bytes(1, "big") + frame_bytes.to_bytes(4, "big")


def core_end(context: bytes) -> bytes:
    """What stands after the message id: the context after its length."""
    return len(context).to_bytes(2, "big") + context


def read_header(read: Reader) -> Header:
    """The header; reads no byte after it. Raises Damaged. Context and EDKs are not parsed yet."""
    fixed = read(_FIXED.size)
    magic, number, frame_bytes, _, context_bytes = _FIXED.unpack(fixed)
    suite = _SUITES.get(number)
    if (
        suite is None
        or magic != MAGIC
        or not 1 <= frame_bytes <= MAX_FRAME_BYTES
        or context_bytes > MAX_CONTEXT_BYTES
    ):
        raise Damaged
    rest = read(context_bytes + COMMITMENT_BYTES + 2)
    edks_bytes = int.from_bytes(rest[-2:], "big")
    if edks_bytes > MAX_EDKS_BYTES:
        raise Damaged
    edks = read(edks_bytes + EDK_TAG_BYTES)
    context = rest[:context_bytes]
    return Header(
        suite,
        frame_bytes,
        context,
        fixed + context,
        rest[context_bytes:-2],
        edks[:edks_bytes],
        edks[edks_bytes:],
    )


def header_of(message: bytes) -> Header:
    """The header that a message begins with. Raises Damaged where it is cut; nothing of it is authentic."""
    return read_header(exactly(io.BytesIO(message).read))


def exactly(read: Reader) -> Reader:
    """`read` that raises Damaged where the source gives less than it is asked for."""

    def whole(size: int) -> bytes:
        piece = read(size)
        if len(piece) != size:
            raise Damaged
        return piece

    return whole


def encode_context(context: Mapping[str, str]) -> bytes:
    """Name, value, name, value..., sorted by name, each after its length in two bytes.

    Raises ValueError for a context that KMS would not take: empty names, lone surrogates, more than 1024 characters of
    JSON.
    """
    try:
        return _encode_pairs(tuple(context.items()))
    except TypeError:
        raise ValueError("Names and values of an encryption context are texts.") from None


@functools.lru_cache(256)
def _encode_pairs(given: tuple[tuple[str, str], ...]) -> bytes:
    # Kept for the contexts that come again and again: they are not secret.
    if not given:
        return b""
    if not all(isinstance(text, str) for pair in given for text in pair):
        raise TypeError
    try:
        pairs = sorted([(name.encode(), value.encode()) for name, value in given])
    except UnicodeEncodeError:
        raise ValueError("An encryption context has a character that is not Unicode text.") from None
    if not pairs[0][0]:
        raise ValueError("A name of an encryption context is empty.")
    if len(context_json(dict(given))) > MAX_CONTEXT_CHARACTERS:
        raise ValueError(f"An encryption context has at most {MAX_CONTEXT_CHARACTERS} characters as JSON.")
    return b"".join([len(text).to_bytes(2, "big") + text for pair in pairs for text in pair])


def decode_context(encoded: bytes) -> dict[str, str]:
    """The inverse; Damaged for every other encoding of a context, too."""
    texts: list[str] = []
    position = 0
    try:
        while position < len(encoded):
            begin = position + 2
            position = begin + int.from_bytes(encoded[position:begin], "big")
            texts.append(encoded[begin:position].decode())
        context = dict(zip(texts[::2], texts[1::2], strict=True))
        if encode_context(context) != encoded:
            raise Damaged
    except ValueError:
        raise Damaged from None
    return context


def context_json(context: Mapping[str, str]) -> str:
    """The context as KMS gets it (EncryptionContext)."""
    return json.dumps(context, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def encode_edks(edks: tuple[EncryptedDataKey, ...]) -> bytes:
    """Region, key id, ciphertext, region..., after their lengths in 1, 1 and 2 bytes. Raises ValueError."""
    if not 1 <= len(edks) <= MAX_EDKS:
        raise ValueError(f"A message has 1 to {MAX_EDKS} encrypted data keys.")
    if len({(edk.region, edk.key_id) for edk in edks}) < len(edks):
        raise ValueError("A message has one encrypted data key for each CMK.")
    return b"".join(
        _text(edk.region, 1, MAX_REGION_BYTES)
        + _text(edk.key_id, 1, MAX_KEY_ID_BYTES)
        + _text(edk.ciphertext, 2, MAX_EDK_BYTES)
        for edk in edks
    )


def decode_edks(encoded: bytes) -> tuple[EncryptedDataKey, ...]:
    """The inverse; Damaged for everything else."""
    edks: list[EncryptedDataKey] = []
    position = 0
    try:
        while position < len(encoded):
            texts = []
            for width in (1, 1, 2):
                begin = position + width
                position = begin + int.from_bytes(encoded[position:begin], "big")
                texts.append(encoded[begin:position].decode("ascii"))
            edks.append(EncryptedDataKey(*texts))
        if encode_edks(tuple(edks)) != encoded:
            raise Damaged
    except ValueError:
        raise Damaged from None
    return tuple(edks)


def _text(text: str, width: int, limit: int) -> bytes:
    # Visible ASCII alone: no region, key id or ciphertext of KMS has anything else.
    if not 1 <= len(text) <= limit or not all("!" <= character <= "~" for character in text):
        raise ValueError("A region, a key id or a ciphertext is not what KMS gives.")
    return len(text).to_bytes(width, "big") + text.encode("ascii")
