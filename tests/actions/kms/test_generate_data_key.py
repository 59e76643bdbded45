import base64
import functools
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from chalicelib.clock import ManualClock
from chalicelib.model.data_key import MAX_DATA_KEYS
from chalicelib.table.port import Add
from tests.actions.kms.arrange_data_keys import (
    CANARY,
    DAY,
    MALFORMED,
    UNKNOWN,
    describe,
    everything,
    make,
    make_key,
    names,
    quota,
    row_of,
)
from tests.actions.ssm.arrange import Hooked, code, events, outputs, together
from tests.installation import FIPS, SM, Client, Installation, refused

HOSTED = {"KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "d"}


@pytest.mark.parametrize(
    ("given", "length"),
    [
        ({"KeySpec": "AES_128"}, 16),
        ({"KeySpec": "AES_256"}, 32),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 1024}, 1024),
        ({"KeySpec": "AES_128", "NumberOfBytes": 33}, 33),  # NumberOfBytes wins
    ],
)
def test_a_fresh_data_key_and_its_ciphertext(kms: Client, given: dict[str, Any], length: int) -> None:
    key = make_key(kms)
    answers = [outputs(kms.GenerateDataKey(KeyId=key, **given)) for _ in range(2)]
    for answer in answers:
        assert answer["KeyId"] == key
        assert len(base64.b64decode(answer["Plaintext"], validate=True)) == length
        opened = kms.Decrypt(CiphertextBlob=answer["CiphertextBlob"])
        assert (opened.KeyId, opened.Plaintext) == (key, answer["Plaintext"])
        assert (answer["DataKeyId"], answer["TagCode"], answer["TagMsg"]) == (None, None, None)
    if length > 8:
        assert answers[0]["Plaintext"] != answers[1]["Plaintext"]
    assert names(kms) == []


REFUSALS: list[tuple[dict[str, Any], Any]] = [
    ({}, "InvalidParameter"),
    ({"KeySpec": ""}, "InvalidParameter"),
    ({"KeySpec": "AES_192"}, "InvalidParameter"),
    ({"NumberOfBytes": 0}, "InvalidParameter"),
    ({"NumberOfBytes": 1025}, "InvalidParameter"),
    ({**HOSTED, "IsHostedByKms": 2}, "InvalidParameter"),
    ({**HOSTED, "DataKeyName": ""}, "InvalidParameterValue.InvalidDataKeyName"),
    ({"KeySpec": "AES_256", "IsHostedByKms": 1}, "InvalidParameterValue.InvalidDataKeyName"),
    *(
        ({**HOSTED, "DataKeyName": name}, "InvalidParameterValue.InvalidDataKeyName")
        for name in ("-d", "_d", "d d", "d.d", "d\n", "\u5bc6", "d" * 61)
    ),
    ({**HOSTED, "Description": "x" * 101}, "InvalidParameter"),
    ({**HOSTED, "Description": "\u00e9" * 51}, "InvalidParameter"),
    ({**HOSTED, "HsmClusterId": "cluster"}, "InvalidParameterValue.InvalidHsmClusterId"),
    (
        {**HOSTED, "Tags": [{"TagKey": "k", "TagValue": v} for v in "ab"]},
        "InvalidParameterValue.TagKeysDuplicated",
    ),
    ({**HOSTED, "EncryptionContext": "no JSON"}, "InvalidParameter"),
    ({**HOSTED, "EncryptionPublicKey": "no PEM"}, "FailedOperation.EncryptionError"),
    ({**HOSTED, "KeyId": UNKNOWN}, "ResourceUnavailable.CmkNotFound"),
    *(({**HOSTED, "KeyId": i}, "InvalidParameterValue.InvalidKeyId") for i in MALFORMED),
]


def test_what_is_refused_leaves_nothing(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    for given, error in REFUSALS:
        ended = code(functools.partial(kms.GenerateDataKey, **{"KeyId": key, **given}))
        assert ended == error, given
    assert (names(kms), quota(installation)) == ([], 0)


def test_an_asymmetric_key_makes_none(kms: Client) -> None:
    key = kms.CreateKey(Alias="pair", KeyUsage="ASYMMETRIC_SIGN_VERIFY_ECC").KeyId
    with refused("InvalidParameter"):
        kms.GenerateDataKey(KeyId=key, **HOSTED)
    assert names(kms) == []


def test_a_hosted_data_key_has_all_its_properties(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    answer = outputs(
        kms.GenerateDataKey(
            KeyId=key,
            NumberOfBytes=1024,
            IsHostedByKms=1,
            DataKeyName="d" * 60,
            Description="\u00e9" * 50,
            HsmClusterId="default",
            Tags=[{"TagKey": "team", "TagValue": "a"}],
        )
    )
    data_key = answer["DataKeyId"]
    assert (answer["KeyId"], answer["TagCode"], answer["TagMsg"]) == (key, 0, "")
    found = outputs_of_metadata(describe(kms, data_key))
    uin = installation.root.uin
    assert found == {
        "DataKeyId": data_key,
        "KeyId": key,
        "KeyName": "cmk",
        "DataKeyName": "d" * 60,
        "NumberOfBytes": 1024,
        "CreateTime": installation.clock.now(),
        "Description": "\u00e9" * 50,
        "KeyState": "Enabled",
        "CreatorUin": int(uin),
        "CreatorUinString": uin,
        "Owner": "user",
        "DeletionDate": 0,
        "Origin": "TENCENT_KMS",
        "HsmClusterId": "",
        "ResourceId": f"creatorUin/{uin}/{data_key}",
        "IsSyncReplica": 0,
    }
    assert names(kms, TagFilters=[{"TagKey": "team", "TagValue": ["a"]}]) == ["d" * 60]
    assert kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext == answer["Plaintext"]
    kept = kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob
    assert kept == answer["CiphertextBlob"]
    assert kms.Decrypt(CiphertextBlob=kept).Plaintext == answer["Plaintext"]


def outputs_of_metadata(metadata: Any) -> dict[str, Any]:
    return {k: v for k, v in metadata._serialize(allow_none=True).items() if v is not None}


def test_what_belongs_to_hosting_is_without_effect_where_it_is_not_wished_for(kms: Client) -> None:
    given = {**HOSTED, "IsHostedByKms": 0, "Description": "x", "Tags": [{"TagKey": "k", "TagValue": "v"}]}
    answer = outputs(kms.GenerateDataKey(KeyId=make_key(kms), **given))
    assert (answer["DataKeyId"], answer["TagCode"], names(kms)) == (None, None, [])


def test_an_encryption_context_binds_the_answer_and_not_what_is_kept(kms: Client) -> None:
    context = '{"purpose": "test"}'
    answer = kms.GenerateDataKey(KeyId=make_key(kms), EncryptionContext=context, **HOSTED)
    with refused("InvalidParameterValue.InvalidCiphertext"):
        kms.Decrypt(CiphertextBlob=answer.CiphertextBlob)
    opened = kms.Decrypt(CiphertextBlob=answer.CiphertextBlob, EncryptionContext='{"purpose":"test"}')
    kept = kms.GetDataKeyCiphertextBlob(DataKeyId=answer.DataKeyId).CiphertextBlob
    assert kept != answer.CiphertextBlob
    assert answer.Plaintext == opened.Plaintext == kms.Decrypt(CiphertextBlob=kept).Plaintext
    assert kms.GetDataKeyPlaintext(DataKeyId=answer.DataKeyId).Plaintext == answer.Plaintext


def test_with_a_public_key_the_answer_is_encrypted_to_it_and_what_is_kept_is_not(kms: Client) -> None:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    answer = kms.GenerateDataKey(
        KeyId=make_key(kms),
        EncryptionPublicKey=pem.decode(),
        EncryptionAlgorithm="RSAES_OAEP_SHA_256",
        **HOSTED,
    )
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    opened = base64.b64encode(private.decrypt(base64.b64decode(answer.Plaintext), oaep)).decode()
    assert kms.Decrypt(CiphertextBlob=answer.CiphertextBlob).Plaintext == opened
    assert kms.GetDataKeyPlaintext(DataKeyId=answer.DataKeyId).Plaintext == opened
    assert describe(kms, answer.DataKeyId).NumberOfBytes == 32


def test_a_name_is_taken_once_in_each_account_and_region(installation: Installation, kms: Client) -> None:
    make(kms)
    before = everything(kms)
    with refused("InvalidParameterValue.DataKeyNameAlreadyExists"):
        make(kms)
    assert (everything(kms), quota(installation)) == (before, 1)
    make(kms, "D")
    make(installation.client("kms", region=FIPS))
    make(installation.client("kms", who=installation.add_account()))
    # A name lasts while its data key waits for deletion.
    kms.ScheduleDataKeyDeletion(DataKeyId=ids(kms)["d"], PendingWindowInDays=7)
    with refused("InvalidParameterValue.DataKeyNameAlreadyExists"):
        make(kms)


def ids(kms: Client) -> dict[str, str]:
    found = kms.ListDataKeyDetail(Limit=200).DataKeyMetadatas
    return {m.DataKeyName: m.DataKeyId for m in found}


def test_a_name_is_free_from_the_deletion_date_on_swept_or_not(
    installation: Installation, kms: Client
) -> None:
    old = make(kms, state="PendingDelete")
    installation.clock.advance(7 * DAY)
    new = make(kms)
    assert new != old
    assert ids(kms) == {"d": new}
    assert quota(installation) == 1
    # What was in the way has been swept, with an event that says so.
    with pytest.raises(AssertionError):
        row_of(installation, old)
    (event,) = [e for e in events(installation) if e["action"] == "DeleteExpiredDataKey"]
    assert event["resources"] == [f"dataKey/{old}"]


def test_a_name_that_becomes_free_meanwhile_is_taken(clock: ManualClock) -> None:
    installation = Hooked(clock)
    kms, other = installation.client("kms"), installation.client("kms")
    old = make(kms)

    def free_it() -> None:
        other.UpdateDataKeyName(DataKeyId=old, DataKeyName="other")

    # The name was taken when the write was refused, and is free when the reason is looked for.
    installation.hooked.after_conflict = free_it
    new = make(kms)
    assert ids(kms) == {"other": old, "d": new}


def test_the_quota_is_used_up_to_the_last_place(installation: Installation, kms: Client) -> None:
    assert MAX_DATA_KEYS == 500
    make(kms, "first")
    fill(installation, MAX_DATA_KEYS - 1)
    make(kms, "last")
    with refused("LimitExceeded.DataKeyLimitExceeded"):
        make(kms, "more")
    assert (names(kms, OrderType=1), quota(installation)) in [
        (["first", "last"], MAX_DATA_KEYS),
        (["last", "first"], MAX_DATA_KEYS),
    ]
    # Where both are in the way, it is the name that is told.
    with refused("InvalidParameterValue.DataKeyNameAlreadyExists"):
        make(kms, "first")
    # What waits for deletion takes no place.
    kms.ScheduleDataKeyDeletion(DataKeyId=ids(kms)["first"], PendingWindowInDays=7)
    make(kms, "more")
    make(installation.client("kms", region=FIPS), "elsewhere")
    # What is not hosted needs none.
    kms.GenerateDataKey(KeyId=make_key(kms), KeySpec="AES_256")


def fill(installation: Installation, used: int) -> None:
    """As if there were that many data keys."""
    pk = f"CT#{installation.root.uin}#{SM}"
    installation.service.table(SM).write([Add(pk, "data_keys", used - quota(installation))])


def test_of_many_at_once_as_many_succeed_as_there_is_room_for(
    installation: Installation, kms: Client
) -> None:
    key = make_key(kms)
    fill(installation, MAX_DATA_KEYS - 2)
    clients = [installation.client("kms") for _ in range(6)]
    calls = [
        functools.partial(c.GenerateDataKey, KeyId=key, **{**HOSTED, "DataKeyName": f"d{i}"})
        for i, c in enumerate(clients)
    ]
    ended = together(calls)
    assert sorted(ended) == ["LimitExceeded.DataKeyLimitExceeded"] * 4 + ["ok"] * 2
    assert (len(names(kms)), quota(installation)) == (2, MAX_DATA_KEYS)


def test_of_many_at_once_one_gets_the_name(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    clients = [installation.client("kms") for _ in range(6)]
    ended = together([functools.partial(c.GenerateDataKey, KeyId=key, **HOSTED) for c in clients])
    assert sorted(ended) == ["InvalidParameterValue.DataKeyNameAlreadyExists"] * 5 + ["ok"]
    assert (names(kms), quota(installation)) == (["d"], 1)


def test_hosting_is_recorded_as_a_change_and_making_is_not(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    kept = kms.GenerateDataKey(KeyId=key, **HOSTED, Description=CANARY)
    made = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256")
    found = {e["id"]: e for e in events(installation)}
    assert [found[a.RequestId]["read"] for a in (kept, made)] == [False, True]
    assert found[made.RequestId]["resources"] == [f"key/{key}"]
    assert found[kept.RequestId]["resources"] == [f"dataKey/{kept.DataKeyId}", f"key/{key}"]
    assert found[kept.RequestId]["parameters"]["DataKeyName"] == "d"
    assert found[kept.RequestId]["parameters"]["Description"] == "***"


def test_a_key_pending_deletion_raises_a_warning(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    kms.DisableKey(KeyId=key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    with refused("ResourceUnavailable.KeyPendingDelete") as caught:
        kms.GenerateDataKey(KeyId=key, **HOSTED)
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert event["warning"] == "KeyPendingDelete"
    assert code(lambda: make(kms, KeyId=make_key(kms, "other"))) == "ok"
