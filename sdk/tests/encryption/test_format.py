"""The header: one encoding for each, limits for all."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.encryption import Damaged, Suite
from keystead.encryption.format import (
    MAX_EDK_BYTES,
    EncryptedDataKey,
    Header,
    core_begin,
    core_end,
    decode_context,
    decode_edks,
    encode_context,
    encode_edks,
    read_header,
)

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
EDKS = st.lists(
    st.builds(EncryptedDataKey, VISIBLE, VISIBLE, VISIBLE),
    min_size=1,
    max_size=5,
    unique_by=lambda edk: (edk.region, edk.key_id),
).map(tuple)
CONTEXTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    max_size=6,
)


def exactly(data: bytes) -> "object":
    source = io.BytesIO(data)

    def read(size: int) -> bytes:
        piece = source.read(size)
        if len(piece) < size:
            raise Damaged
        return piece

    return read


def header(edks: bytes = b"e" * 9, context: bytes = b"", frame_bytes: int = 10) -> Header:
    begin = core_begin(Suite.SM4_GCM, frame_bytes) + bytes(32) + core_end(context)
    return Header(Suite.SM4_GCM, frame_bytes, context, begin, b"c" * 32, edks, b"t" * 32)


@given(EDKS)
def test_edks_come_back(edks: tuple[EncryptedDataKey, ...]) -> None:
    assert decode_edks(encode_edks(edks)) == edks


@given(CONTEXTS)
def test_contexts_come_back_and_have_one_encoding(context: dict[str, str]) -> None:
    encoded = encode_context(context)
    assert decode_context(encoded) == context
    assert encode_context(dict(reversed(context.items()))) == encoded


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_what_decodes_encodes_to_the_same_bytes(encoded: bytes) -> None:
    for decode, encode in ((decode_context, encode_context), (decode_edks, encode_edks)):
        try:
            found = decode(encoded)
        except Damaged:
            continue
        assert encode(found) == encoded  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "encoded",
    [
        b"\0\1b\0\0\0\1a\0\0",  # not in order
        b"\0\1a\0\0\0\1a\0\1b",  # a name twice
        b"\0\0\0\1a",  # an empty name
        b"\0\1a",  # no value
        b"\0\1a\0",
        b"\0\1a\0\5b",
        b"\0\1\xff\0\0",
        b"\0\1a\x04\x00" + b"x" * 1024,  # longer than KMS takes
    ],
)
def test_contexts_that_are_refused(encoded: bytes) -> None:
    with pytest.raises(Damaged):
        decode_context(encoded)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\1a\1b\0\0",
        b"\0\1b\0\1c",
        b"\1a\1b\0\1",
        b"\1a\1b\0\1c\0",
        b"\1a\1b\0\1c" * 2,
        b"\1 \1b\0\1c",
        b"\1\x80\1b\0\1c",
        b"".join(b"\1%d\1b\0\1c" % n for n in range(6)),
        b"\x41" + b"a" * 65 + b"\1b\0\1c",
        b"\1a\x81" + b"b" * 129 + b"\0\1c",
        b"\1a\1b" + (MAX_EDK_BYTES + 1).to_bytes(2, "big") + b"c" * (MAX_EDK_BYTES + 1),
    ],
)
def test_edks_that_are_refused(encoded: bytes) -> None:
    with pytest.raises(Damaged):
        decode_edks(encoded)


def test_headers_come_back_and_no_byte_more_is_read() -> None:
    encoded = header().encode()
    source = io.BytesIO(encoded + b"frames")
    assert read_header(source.read) == header()
    assert source.read() == b"frames"


def test_lengths_are_checked_before_anything_is_read() -> None:
    asked: list[int] = []

    def refused(encoded: bytes) -> None:
        source = io.BytesIO(encoded)

        def read(size: int) -> bytes:
            asked.append(size)
            return source.read(size)

        with pytest.raises(Damaged):
            read_header(read)

    good = header().encode()
    refused(good[:3] + b"\2" + good[4:])
    refused(b"X" + good[1:])
    for suite in set(range(256)) - set(Suite):
        refused(good[:4] + bytes([suite]) + good[5:])
    for frame_bytes in (0, (1 << 20) + 1, (1 << 32) - 1):
        refused(header(frame_bytes=frame_bytes).encode())
    refused(good[:41] + (4097).to_bytes(2, "big") + good[43:])
    at = 43 + 32
    refused(good[:at] + b"\xff\xff" + good[at + 2 :])
    assert max(asked) < 200
