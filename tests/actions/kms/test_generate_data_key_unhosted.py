"""GenerateDataKey where nothing is hosted, beside test_generate_data_key.py: limits, states, contexts, cost."""

import base64

import pytest

from chalicelib.clock import ManualClock
from tests.actions.kms.arrange_keys import Counted, decrypt, make
from tests.actions.ssm.arrange import outputs
from tests.installation import FIPS, SM, Client, Installation, refused


@pytest.mark.parametrize("region", [SM, FIPS])
@pytest.mark.parametrize(
    ("given", "length"),
    [
        ({"KeySpec": "AES_128"}, 16),
        ({"KeySpec": "AES_256"}, 32),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 1024}, 1024),
        ({"KeySpec": "AES_128", "NumberOfBytes": 24}, 24),
        ({"KeySpec": "", "NumberOfBytes": 64}, 64),
    ],
)
def test_decrypt_opens_what_it_answers(
    installation: Installation, region: str, given: dict[str, object], length: int
) -> None:
    kms = installation.client("kms", region)
    key = make(kms)
    answer = kms.GenerateDataKey(KeyId=key, EncryptionContext='{"a":"b"}', **given)
    plaintext = base64.b64decode(answer.Plaintext)
    assert (answer.KeyId, len(plaintext), answer.DataKeyId) == (key, length, None)
    assert decrypt(kms, answer.CiphertextBlob, '{ "a": "b" }') == plaintext
    with refused("InvalidParameterValue.InvalidCiphertext"):
        decrypt(kms, answer.CiphertextBlob)


def test_every_data_key_is_another(kms: Client) -> None:
    key = make(kms)
    answers = [kms.GenerateDataKey(KeyId=key, KeySpec="AES_256") for _ in range(10)]
    assert len({a.Plaintext for a in answers}) == len({a.CiphertextBlob for a in answers}) == 10


def test_nothing_is_hosted_unless_it_is_wished_for(kms: Client) -> None:
    key = make(kms)
    answer = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256", IsHostedByKms=0, DataKeyName="d")
    assert set(outputs(answer)) >= {"KeyId", "Plaintext", "CiphertextBlob"}
    assert (answer.DataKeyId, kms.ListDataKeys().TotalCount) == (None, 0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"KeySpec": ""},
        {"KeySpec": "AES_192"},
        {"KeySpec": "aes_256"},
        {"NumberOfBytes": 0},
        {"NumberOfBytes": 1025},
        {"NumberOfBytes": -1},
        {"NumberOfBytes": "x"},
        {"KeySpec": "AES_256", "EncryptionContext": "no JSON"},
        {"KeySpec": "AES_256", "EncryptionContext": '{"a":"' + "b" * 1017 + '"}'},
        {"KeySpec": "AES_256", "IsHostedByKms": 2},
    ],
)
def test_values_outside_the_limits_are_refused(kms: Client, given: dict[str, object]) -> None:
    with refused("InvalidParameter"):
        kms.GenerateDataKey(KeyId=make(kms), **given)


def test_the_codes_of_the_keys_state(kms: Client) -> None:
    for state, code in (
        ("Disabled", "CmkDisabled"),
        ("PendingImport", "CmkDisabled"),
        ("PendingDelete", "KeyPendingDelete"),
        ("Archived", "CmkArchived"),
    ):
        with refused(f"ResourceUnavailable.{code}"):
            kms.GenerateDataKey(KeyId=make(kms, state, state), KeySpec="AES_256")


def test_other_refusals(kms: Client) -> None:
    key = make(kms)
    with refused("InvalidParameterValue.InvalidHsmClusterId"):
        kms.GenerateDataKey(KeyId=key, KeySpec="AES_256", HsmClusterId="cls-1")
    with refused("FailedOperation.EncryptionError"):
        kms.GenerateDataKey(KeyId=key, KeySpec="AES_256", EncryptionPublicKey="no PEM")


def test_it_costs_one_read_and_one_write(clock: ManualClock) -> None:
    installation = Counted(clock)
    kms = installation.client("kms")
    key = make(kms)
    table = installation.counted
    table.reads = table.writes = 0
    kms.GenerateDataKey(KeyId=key, KeySpec="AES_256")
    assert (table.reads, table.writes) == (1, 1)
