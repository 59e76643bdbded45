"""The vendor's modes by number, and its call names against whole Keysteads."""

import io
import json
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.installation import SM

from keystead.api import TENCENT_CLOUD
from keystead.encryption import Client, Damaged, EncryptionError, Suite, Weak, vendor
from keystead.encryption.format import header_of
from keystead.encryption.vendor import (
    AddMasterKey,
    Code,
    Decrypt,
    Encrypt,
    InitKeyManager,
    InitSdk,
    NewMasterKey,
)

from .fakes import BACKUP, PRIMARY, MemoryKms
from .regions import Region

WEAK: Final = [suite for suite in Suite if suite.is_weak]
EACH_WEAK: Final = pytest.mark.parametrize("suite", WEAK, ids=lambda suite: suite.name)
KMS: Final = MemoryKms()


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    made = Region(SM)
    yield made
    made.destroy()
    vendor._endpoint[0] = TENCENT_CLOUD


def test_numbers_are_the_vendors() -> None:
    assert [Suite(n).name for n in range(1, 9)] == [
        "SM4_CBC_128_WITH_SIGNATURE",
        "SM4_CBC_128",
        "SM4_GCM_128_WITH_SIGNATURE",
        "SM4_GCM_128",
        "SM4_CTR_128_WITH_SIGNATURE",
        "SM4_CTR_128",
        "SM4_ECB_128_WITH_SIGNATURE",
        "SM4_ECB_128",
    ]
    assert [int(suite) for suite in WEAK] == [2, 6, 7, 8]


@EACH_WEAK
def test_weak_modes_need_the_word(suite: Suite) -> None:
    with pytest.raises(ValueError, match="weak"):
        Client(KMS, PRIMARY, suite=suite)
    message = Client(KMS, PRIMARY, suite=suite, allow_weak=True).encrypt(b"old data")
    before = dict(KMS.calls)
    sink = io.BytesIO()
    with pytest.raises(Weak):
        Client(KMS, PRIMARY).decrypt_stream(io.BytesIO(message), sink)
    assert sink.getvalue() == b""
    assert KMS.calls == before, "it is refused before KMS is asked"
    assert Client(KMS, PRIMARY, allow_weak=True).decrypt(message).plaintext == b"old data"


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=100), st.sampled_from(WEAK), st.integers(1, 40))
def test_weak_modes_come_back(plaintext: bytes, suite: Suite, frame_bytes: int) -> None:
    one = Client(KMS, PRIMARY, [BACKUP], suite=suite, frame_bytes=frame_bytes, allow_weak=True)
    assert one.decrypt(one.encrypt(plaintext, {"a": "b"}), {"a": "b"}).plaintext == plaintext


@EACH_WEAK
def test_headers_of_weak_messages_are_not_weak(suite: Suite) -> None:
    """And what is cut or changed gives no error but the one."""
    one = Client(KMS, PRIMARY, suite=suite, frame_bytes=16, allow_weak=True)
    message = one.encrypt(b"sixteen and more bytes", {"a": "b"})
    size = len(header_of(message).encode())
    for bit in range(0, len(message) * 8, 3):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = one.decrypt(bytes(changed)).plaintext
        except EncryptionError:
            continue
        assert bit >= size * 8, "the header is authentic"
        assert suite != Suite.SM4_ECB_128_WITH_SIGNATURE, "this one has a tag for its frames"
        assert len(found) == 22
    for length in range(len(message)):
        with pytest.raises(EncryptionError):
            one.decrypt(message[:length])


def test_equal_blocks_show_in_ecb_alone() -> None:
    for suite in range(1, 9):
        one = Client(KMS, PRIMARY, suite=Suite(suite), allow_weak=True)
        message = one.encrypt(bytes(32))
        body = message[len(header_of(message).encode()) + 4 :]
        assert (body[:16] == body[16:32]) == (suite in (7, 8))


def test_as_a_migrating_program_calls_it(region: Region) -> None:
    root = region.installation.root
    assert InitSdk(SM, root.secret_id, root.secret_key, region.api._endpoint) == Code.ES_OK
    code, keys = NewMasterKey(SM, str(region.call("CreateKey", Alias="one")["KeyId"]))
    assert code == Code.ES_OK
    code, keys = AddMasterKey(keys, SM, str(region.call("CreateKey", Alias="two")["KeyId"]))
    assert (code, len(keys)) == (Code.ES_OK, 2)
    km = InitKeyManager(keys, 10, 60, 60, root.secret_id, root.secret_key, allowWeak=True)
    assert root.secret_key not in repr(km)
    for algorithm in range(1, 9):
        for block_size in (0, 16):
            code, head, message = Encrypt(
                b"a plaintext of some blocks", km, keys, algorithm, '{"a": "b"}', block_size
            )
            assert code == Code.ES_OK
            assert head is not None
            assert (head.algorithm, head.dataKeyNum, head.blockLength) == (algorithm, 2, block_size)
            assert head.blockType == (vendor.WITH_BLOCK if block_size else vendor.WITHOUT_BLOCK)
            assert json.loads(head.encryptionContext) == {"a": "b"}
            assert [(key.cmkRegion, key.cmkKeyId) for key in head.dataKey] == [
                (key.region, key.key_id) for key in keys
            ]
            assert Decrypt(message, km) == (Code.ES_OK, head, b"a plaintext of some blocks")


def test_codes(region: Region) -> None:
    root = region.installation.root
    assert InitSdk(SM, root.secret_id, root.secret_key, region.api._endpoint) == Code.ES_OK
    _, keys = NewMasterKey(SM, str(region.call("CreateKey", Alias="codes")["KeyId"]))
    km = InitKeyManager(keys, 0, 0, 0, root.secret_id, root.secret_key)
    assert Encrypt(b"", km, keys, 4) == (Code.SOURCE_EMPTY, None, b"")
    assert Encrypt(b"x", km, [], 4)[0] == Code.NO_CMKEY
    for algorithm in (0, 2, 6, 7, 8, 9, 0x11):
        assert Encrypt(b"x", km, keys, algorithm)[0] == Code.ALGRITHM_ERR
    for context in ("[]", "{", "[" * 100_000, '{"a": 1}', '"a"'):
        assert Encrypt(b"x", km, keys, 4, context)[0] == Code.ES_ERROR
    assert Encrypt(b"x", km, keys, 4, "", 1 << 21)[0] == Code.ES_ERROR
    assert Encrypt("text", km, keys, 4)[0] == Code.ES_ERROR  # type: ignore[arg-type]
    assert Decrypt("text", km)[0] == Code.ES_ERROR  # type: ignore[arg-type]
    code, _, message = Encrypt(b"x", km, keys, 4)
    assert code == Code.ES_OK
    assert Decrypt(b"", km)[0] == Code.SOURCE_EMPTY
    assert Decrypt(message[:-1], km) == (Code.DIGEST_INVALIDATE, None, b"")
    assert Decrypt(message[:30], km) == (Code.DIGEST_INVALIDATE, None, b"")
    none = InitKeyManager([], 0, 0, 0, root.secret_id, root.secret_key)
    assert Decrypt(message, none)[0] == Code.NO_CMKEY
    weak = InitKeyManager(keys, 0, 0, 0, root.secret_id, root.secret_key, allowWeak=True)
    assert Decrypt(Encrypt(b"x", weak, keys, 8)[2], km)[0] == Code.ES_ERROR
    region.call("DisableKey", KeyId=keys[0].key_id)
    again = InitKeyManager(keys, 0, 0, 0, root.secret_id, root.secret_key)
    assert Encrypt(b"x", again, keys, 4)[0] == Code.GENERATE_DATAKEY
    assert Decrypt(message, again)[0] == Code.DECRYPT_DATAKEY


def test_lists_of_keys() -> None:
    code, keys = NewMasterKey("r", "k0")
    for number in range(1, 5):
        code, keys = AddMasterKey(keys, "r", f"k{number}")
        assert code == Code.ES_OK
    assert AddMasterKey(keys, "r", "k5") == (Code.ES_ERROR, keys)
    assert AddMasterKey(keys[:2], "r", "k0")[0] == Code.ES_ERROR
    assert NewMasterKey("", "k") == (Code.ES_ERROR, [])


def test_where_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = NewMasterKey("r", "k")[1]

    def endpoint() -> str:
        return InitKeyManager(keys, 0, 0, 0, "id", "key").api._endpoint

    try:
        monkeypatch.setenv("TENCENT_SDK_DOMAIN", "kms.example.com")
        assert InitSdk("r", "id", "key") == Code.ES_OK
        assert endpoint() == "https://kms.example.com"
        monkeypatch.delenv("TENCENT_SDK_DOMAIN")
        assert InitSdk("r", "id", "key") == Code.ES_OK
        assert endpoint() == TENCENT_CLOUD
        for wrong in (("", "id", "key", ""), ("r", "", "key", ""), ("r", "id", "key", "http://example.com")):
            assert InitSdk(*wrong) == Code.ES_ERROR
        assert endpoint() == TENCENT_CLOUD
    finally:
        vendor._endpoint[0] = TENCENT_CLOUD


def test_damage_is_damage() -> None:
    with pytest.raises(Damaged):
        header_of(b"KSE\x01")
