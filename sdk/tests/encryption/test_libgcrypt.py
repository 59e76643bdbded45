"""The same bytes by another library."""

import io
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from keystead.encryption import Client, Damaged, Suite, libgcrypt, suites

from .fakes import PRIMARY, MemoryKms
from .test_vectors import client, vectors


@pytest.fixture(autouse=True, scope="module")
def _enabled() -> Iterator[None]:
    try:
        libgcrypt.enable()
    except libgcrypt.Unusable as error:
        pytest.skip(str(error))
    yield
    libgcrypt.disable()


@given(st.binary(max_size=300), st.binary(min_size=16, max_size=16), st.binary(min_size=12, max_size=12))
def test_both_libraries_agree(plaintext: bytes, key: bytes, nonce: bytes) -> None:
    ours, theirs = suites.make_sm4_gcm[0](key), suites.openssl_sm4_gcm(key)
    assert isinstance(ours, libgcrypt.Sm4Gcm)
    sealed = ours.encrypt(nonce, plaintext, None)
    assert sealed == theirs.encrypt(nonce, plaintext, None)
    assert ours.decrypt(nonce, sealed, None) == plaintext
    for at in (0, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(InvalidTag):
            ours.decrypt(nonce, bytes(changed), None)
    with pytest.raises(InvalidTag):
        ours.decrypt(nonce, sealed[:15], None)


@pytest.mark.parametrize("vector", [v for v in vectors("opened") if v.values[0]["suite"] in (4, 0x12, 0x92)])
def test_opened(vector: dict[str, str]) -> None:
    found = client(vector)[0].decrypt(bytes.fromhex(vector["message"]))
    assert found.plaintext.hex() == vector["plaintext"]


def test_threads_and_streams() -> None:
    one = Client(MemoryKms(), PRIMARY, suite=Suite.SM4_GCM, frame_bytes=1000)

    def use(_number: int) -> None:
        plaintext = secrets.token_bytes(10_001)
        sink = io.BytesIO()
        one.encrypt_stream(io.BytesIO(plaintext), sink)
        message = sink.getvalue()
        assert one.decrypt(message).plaintext == plaintext
        with pytest.raises(Damaged):
            one.decrypt(message[:-1] + bytes([message[-1] ^ 1]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(40)))


def test_it_takes_what_openssl_takes() -> None:
    cipher = suites.make_sm4_gcm[0](bytes(16))
    sealed = cipher.encrypt(bytes(12), b"text", None)
    for like in (bytearray, memoryview):
        assert cipher.encrypt(bytes(12), like(b"text"), None) == sealed  # type: ignore[arg-type]
        assert cipher.decrypt(bytes(12), like(sealed), None) == b"text"  # type: ignore[arg-type]
    for wrong in ("text", 4, None):
        with pytest.raises(TypeError):
            cipher.encrypt(bytes(12), wrong, None)  # type: ignore[arg-type]


def test_a_library_that_is_not_there_changes_nothing() -> None:
    before = suites.make_sm4_gcm[0]
    with pytest.raises(libgcrypt.Unusable):
        libgcrypt.enable("libgcrypt.so.0")
    assert suites.make_sm4_gcm[0] is before
