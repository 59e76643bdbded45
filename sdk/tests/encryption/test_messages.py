"""What comes back, and what is refused: every damaged bit, every cut, everything put together from several."""

import copy
import io
import pickle
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.encryption import (
    CacheLimits,
    Client,
    Damaged,
    EncryptionError,
    KeysUnavailable,
    KmsFailure,
    MasterKey,
    Refusal,
    Suite,
    Unsigned,
    Weak,
    WrongContext,
)
from keystead.encryption.format import PUBLIC_KEY, edk_part, read_header
from keystead.encryption.suites import MessageKeys

from .fakes import BACKUP, PRIMARY, STRONG, MemoryKms

SUITES: Final = pytest.mark.parametrize("suite", STRONG, ids=lambda suite: suite.name)
CONTEXT: Final = {"table": "customers", "Ort": "Zürich"}
KMS: Final = MemoryKms()
TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def client(suite: Suite = Suite.AES_256_GCM, frame_bytes: int = 16, **more: object) -> Client:
    return Client(KMS, PRIMARY, [BACKUP], suite=suite, frame_bytes=frame_bytes, **more)  # type: ignore[arg-type]


def frames_of(message: bytes, frame_bytes: int) -> tuple[bytes, list[bytes]]:
    """The header, and the frames with what follows them."""
    source = io.BytesIO(message)
    read_header(source.read)
    begin = source.tell()
    size = 4 + frame_bytes + 16
    return message[:begin], [message[at : at + size] for at in range(begin, len(message), size)]


def refused(one: Client, message: bytes) -> None:
    """Refused as bytes and as a stream; of the stream nothing leaves but whole, authentic frames."""
    with pytest.raises(EncryptionError):
        one.decrypt(message)
    with pytest.raises(EncryptionError):
        one.decrypt_stream(io.BytesIO(message), io.BytesIO())


@settings(max_examples=150, deadline=None)
@given(
    plaintext=st.binary(max_size=200),
    suite=st.sampled_from(STRONG),
    frame_bytes=st.integers(1, 70),
    context=st.dictionaries(TEXTS, TEXTS, max_size=4),
    cached=st.booleans(),
    by_stream=st.tuples(st.booleans(), st.booleans()),
)
def test_comes_back(
    plaintext: bytes,
    suite: Suite,
    frame_bytes: int,
    context: dict[str, str],
    cached: bool,  # noqa: FBT001 - hypothesis gives it
    by_stream: tuple[bool, bool],
) -> None:
    one = client(suite, frame_bytes, cache=CacheLimits() if cached else None)
    for _ in range(2):
        if by_stream[0]:
            message = io.BytesIO()
            written = one.encrypt_stream(io.BytesIO(plaintext), message, context, length=len(plaintext))
            assert written == len(message.getvalue())
            sealed = message.getvalue()
        else:
            sealed = one.encrypt(plaintext, context)
        if by_stream[1]:
            opened = io.BytesIO()
            assert one.decrypt_stream(io.BytesIO(sealed), opened, context) == context
            assert opened.getvalue() == plaintext
        else:
            found = one.decrypt(sealed, context)
            assert (found.plaintext, found.context) == (plaintext, context)


@pytest.mark.parametrize(
    ("suite", "cached"), [(Suite.AES_256_GCM, False), *((suite, True) for suite in STRONG)]
)
def test_every_bit_counts(suite: Suite, cached: bool) -> None:  # noqa: FBT001 - parametrized
    one = client(suite, cache=CacheLimits() if cached else None)
    message = one.encrypt(b"a small message", {"a": "b"})
    assert one.decrypt(message).plaintext == b"a small message"
    for bit in range(len(message) * 8):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        sink = io.BytesIO()
        with pytest.raises(EncryptionError):
            one.decrypt_stream(io.BytesIO(changed), sink)
        assert sink.getvalue() == b"", f"bit {bit}"


@SUITES
def test_every_cut_is_refused(suite: Suite) -> None:
    one = client(suite, cache=CacheLimits())
    plaintext = bytes(range(40))
    message = one.encrypt(plaintext)
    for length in range(len(message)):
        sink = io.BytesIO()
        with pytest.raises(EncryptionError):
            one.decrypt_stream(io.BytesIO(message[:length]), sink)
        assert plaintext.startswith(sink.getvalue())
        assert len(sink.getvalue()) <= 32, "the last frame is held back"
        with pytest.raises(EncryptionError):
            one.decrypt(message[:length])
    refused(one, message + b"\0")
    refused(one, message + message)


@pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.name)
def test_every_cut_of_a_single_frame_is_refused(suite: Suite) -> None:
    """Of the weak modes as well: nothing is shorter, longer or followed by anything."""
    one = client(suite, frame_bytes=1000, cache=CacheLimits(), allow_weak=True)
    for plaintext in (b"", bytes(16), bytes(range(40))):
        message = one.encrypt(plaintext)
        assert one.decrypt(message).plaintext == plaintext
        for length in range(len(message)):
            refused(one, message[:length])
        for more in (b"\0", bytes(16), bytes(500), bytes(2000)):
            refused(one, message + more)


@SUITES
def test_frames_keep_their_places(suite: Suite) -> None:
    one = client(suite, cache=CacheLimits())
    message = one.encrypt(b"0123456789abcdef" * 4 + b"end")
    header, frames = frames_of(message, 16)
    assert one.decrypt(header + b"".join(frames)).plaintext.endswith(b"end")
    for first in range(4):
        refused(one, header + b"".join(frames[:first] + frames[first + 1 :]))
        refused(one, header + b"".join([*frames[: first + 1], *frames[first:]]))
        for second in range(first):
            moved = list(frames)
            moved[first], moved[second] = moved[second], moved[first]
            refused(one, header + b"".join(moved))
    refused(one, header)
    refused(one, header + frames[-1])


@SUITES
def test_headers_keep_their_frames(suite: Suite) -> None:
    # The cache gives both the same data key, so the message id alone keeps them apart.
    one = client(suite, cache=CacheLimits())
    parts = [frames_of(one.encrypt(text * 20), 16) for text in (b"a", b"b")]
    refused(one, parts[0][0] + b"".join(parts[1][1]))
    refused(one, parts[0][0] + b"".join([parts[0][1][0], *parts[1][1][1:]]))
    same, other = client(suite), client(suite)
    refused(same, frames_of(same.encrypt(b"a"), 16)[0] + frames_of(other.encrypt(b"a"), 16)[1][0])


def test_a_final_frame_does_not_end_earlier() -> None:
    """Who marks an inner frame as the last changes its nonce."""
    one = client(cache=CacheLimits())
    header, frames = frames_of(one.encrypt(bytes(40)), 16)
    marked = (int.from_bytes(frames[1][:4], "big") | 1 << 31).to_bytes(4, "big") + frames[1][4:]
    refused(one, header + frames[0] + marked)


def test_edks_of_another_message_are_refused() -> None:
    """They open, but to another data key: the commitment does not hold."""
    one = client()
    messages = [one.encrypt(b"same text", {"a": "b"}) for _ in range(2)]
    headers = [read_header(io.BytesIO(message).read) for message in messages]
    body = messages[0][len(headers[0].encode()) :]
    with pytest.raises(Damaged):
        one.decrypt(headers[0]._replace(edks=headers[1].edks, edk_tag=headers[1].edk_tag).encode() + body)
    with pytest.raises(Damaged):
        one.decrypt(headers[0]._replace(edks=headers[1].edks).encode() + body)


def test_the_order_and_number_of_edks_are_authentic() -> None:
    one = client()
    message = one.encrypt(b"text")
    header = read_header(io.BytesIO(message).read)
    body = message[len(header.encode()) :]
    single = len(header.edks) // 2  # ids and regions here differ in length by 2
    for at in range(single - 4, single + 5):
        for edks in (header.edks[:at], header.edks[at:], header.edks[at:] + header.edks[:at]):
            with pytest.raises(EncryptionError):
                one.decrypt(header._replace(edks=edks).encode() + body)


def test_a_message_opens_to_one_data_key() -> None:
    """Two data keys, frames that open under both keys: GCM alone would let it pass, the commitment does not."""
    core = b"core"
    first, second = (MessageKeys(Suite.AES_256_GCM, bytes([n]) * 32) for n in (1, 2))
    assert first.derive(core)[0] != second.derive(core)[0]
    assert first.derive(core)[0] != first.derive(b"cora")[0]
    assert first.edk_tag(b"edks") != second.edk_tag(b"edks")


def test_messages_say_nothing_twice() -> None:
    one = client(frame_bytes=64, cache=CacheLimits())
    first, second = one.encrypt(bytes(32)), one.encrypt(bytes(32))
    assert first[9:41] != second[9:41]
    assert frames_of(first, 64)[1] != frames_of(second, 64)[1]


def test_the_context_is_expected() -> None:
    one = client()
    message = one.encrypt(b"text", CONTEXT)
    assert one.decrypt(message, {"table": "customers"}).context == CONTEXT
    for wrong in ({"table": "orders"}, {"tables": "customers"}, {**CONTEXT, "more": ""}):
        sink = io.BytesIO()
        with pytest.raises(WrongContext):
            one.decrypt_stream(io.BytesIO(message), sink, wrong)
        assert sink.getvalue() == b""


def test_kms_binds_the_context() -> None:
    """Another context in the header does not even reach the commitment."""
    one = client()
    message = one.encrypt(b"text", {"a": "b"})
    at = message.index(b"\0\1a\0\1b")
    with pytest.raises(KeysUnavailable):
        one.decrypt(message[: at + 5] + b"c" + message[at + 6 :])


@pytest.mark.parametrize(
    "context",
    [{"": "x"}, {"a": 1}, {1: "a"}, {"a": None}, {"a": "\ud800"}, {"a": "x" * 1017}, {PUBLIC_KEY: "x"}],
)
def test_contexts_that_are_no_contexts(context: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="context"):
        client().encrypt(b"", context)


def test_the_longest_context() -> None:
    one = client()
    for context in (
        {"a": "x" * 1016},
        {"a": "\N{GRINNING FACE}" * 1016},
        {"a": '"' * 508},
        {"a": "\0" * 169},
    ):
        assert one.decrypt(one.encrypt(b"", context)).context == context


def test_signatures_are_asked_for() -> None:
    plain, signed = client(), client(Suite.SM4_GCM_SIGNED)
    strict = client(signed_only=True)
    assert strict.decrypt(signed.encrypt(b"text")).plaintext == b"text"
    with pytest.raises(Unsigned):
        strict.decrypt(plain.encrypt(b"text"))


def test_a_reader_cannot_forge_a_signed_message() -> None:
    """Who has the data key of a signed message makes frames that open, but no signature."""
    one = client(Suite.AES_256_GCM_SIGNED, frame_bytes=100)
    message = one.encrypt(b"pay 1")
    header = read_header(io.BytesIO(message).read)
    opened, data_key = one._unwrapped(header)
    _, cipher = opened.keys.derive(header.core)
    word = (5 | 1 << 31).to_bytes(4, "big")
    forged = word + cipher.encrypt(bytes(8) + word, b"pay 9", None)
    refused(one, header.encode() + forged + message[-64:])
    # Nor does it become an unsigned one: the public key stays in the context, which KMS binds to the EDKs.
    keys = MessageKeys(Suite.AES_256_GCM, data_key)
    core = header.core[:4] + bytes([Suite.AES_256_GCM]) + header.core[5:]
    commitment, cipher = keys.derive(core)
    body = word + cipher.encrypt(bytes(8) + word, b"pay 9", None)
    refused(one, core + commitment + edk_part(header.edks, keys.edk_tag(header.edks)) + body)


def test_keys_of_others_are_never_asked() -> None:
    """A message names CMKs; only those of the client are called."""
    stranger = MasterKey("eu-frankfurt", "99999999")
    kms = MemoryKms()
    message = Client(kms, stranger).encrypt(b"text")
    before = dict(kms.calls)
    with pytest.raises(KeysUnavailable, match="none of them"):
        Client(kms, PRIMARY, [BACKUP]).decrypt(message)
    assert kms.calls == before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_bytes_that_are_no_message(junk: bytes, named: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    with pytest.raises(EncryptionError):
        client().decrypt((b"KSE\x01\x11" if named else b"") + junk)


def test_errors_cross_processes() -> None:
    refused = KeysUnavailable(2, (Refusal("ap-beijing", "key", "Unreachable"),))
    for error in (Damaged(), WrongContext(), Unsigned(), Weak(), KmsFailure("Unreachable"), refused):
        back = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
        assert (type(back), str(back), back.args) == (type(error), str(error), error.args)
    assert "ap-beijing/key: Unreachable" in str(refused)
    assert copy.copy(refused).refusals == refused.refusals


def test_nothing_secret_is_shown() -> None:
    shown = repr(client().decrypt(client().encrypt(b"plaintext", CONTEXT)))
    assert "plaintext=" not in shown
    assert repr(MessageKeys(Suite.SM4_GCM, bytes(32))) == "MessageKeys(SM4_GCM)"
