import base64
import json

import pytest

from chalicelib.clock import ManualClock
from tests.actions.kms.arrange_keys import CANARY, Counted, decrypt, encrypt, make
from tests.installation import FIPS, SM, Client, Installation, refused


@pytest.mark.parametrize("region", [SM, FIPS])
def test_what_is_encrypted_opens_again(installation: Installation, region: str) -> None:
    kms = installation.client("kms", region)
    key = make(kms)
    answer = kms.Encrypt(KeyId=key, Plaintext=base64.b64encode(b"\x00\xff").decode())
    assert answer.KeyId == key
    assert decrypt(kms, answer.CiphertextBlob) == b"\x00\xff"


def test_the_ciphertext_is_opaque_ascii_and_never_the_same(kms: Client) -> None:
    key = make(kms)
    blobs = [encrypt(kms, key) for _ in range(10)]
    assert len(set(blobs)) == 10
    for blob in blobs:
        assert blob.isascii()
        assert blob.isprintable()
        assert not set(blob) & set(" \\\"'<>&")
        assert CANARY not in blob
    assert {len(blob) for blob in blobs} == {len(blobs[0])}


def test_limits_of_the_plaintext(kms: Client) -> None:
    key = make(kms)
    for plaintext in (b"x", bytes(4096)):
        blob = encrypt(kms, key, plaintext)
        assert decrypt(kms, blob) == plaintext
        assert len(blob) <= 6000
    for wrong in (b"", bytes(4097)):
        with refused("InvalidParameterValue.InvalidPlaintext"):
            encrypt(kms, key, wrong)


def test_the_plaintext_is_canonical_base64(kms: Client) -> None:
    key = make(kms)
    for wrong in (CANARY, "aGk", "aGk=\n", "aGl=", "a-_=", " aGk=", "aGk=aGk=", "\u5bc6"):
        with refused("InvalidParameterValue.InvalidPlaintext") as caught:
            kms.Encrypt(KeyId=key, Plaintext=wrong)
        assert CANARY not in str(caught.value)
    with refused("InvalidParameter"):
        kms.call_raw("Encrypt", {"KeyId": key, "Plaintext": 1})


def test_limits_of_the_context(kms: Client) -> None:
    key = make(kms)
    longest = json.dumps({"a": "\u5bc6" * 1014}, ensure_ascii=False)
    assert len(longest) == 1024 - 1
    for context in ("", "{}", '{"a":"b"}', longest, longest + " "):
        assert decrypt(kms, encrypt(kms, key, b"p", context), context) == b"p"
    for wrong in (
        longest + "  ",
        "a",
        "[]",
        "null",
        '"a"',
        "1",
        " ",
        '{"a":1}',
        '{"a":null}',
        '{"a":["b"]}',
        '{"a":{"b":"c"}}',
        '{"a":"b","a":"b"}',
        '{"a":"b"',
        '{"a":"\\ud800"}',
        "[" * 1000,
    ):
        with refused("InvalidParameter") as caught:
            encrypt(kms, key, context=wrong)
        assert len(wrong) < 4 or wrong not in str(caught.value)


def test_archived_and_other_keys_refuse(kms: Client) -> None:
    with refused("ResourceUnavailable.CmkArchived"):
        encrypt(kms, make(kms, "archived", "Archived"))
    for state in ("Disabled", "PendingDelete", "PendingImport"):
        with refused("ResourceUnavailable.CmkDisabled"):
            encrypt(kms, make(kms, state, state))


def test_it_costs_one_read_and_one_write(clock: ManualClock) -> None:
    installation = Counted(clock)
    kms = installation.client("kms")
    key = make(kms)
    table = installation.counted
    table.reads = table.writes = 0
    encrypt(kms, key)
    assert (table.reads, table.writes) == (1, 1)
