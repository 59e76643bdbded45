import base64
from typing import Any

import pytest

from chalicelib.formats import ciphertext_blob
from chalicelib.model.data_key import MAX_DATA_KEYS
from tests.actions.kms.arrange_data_keys import (
    MALFORMED,
    SECRET,
    UNKNOWN,
    describe,
    make,
    make_key,
    names,
    quota,
)
from tests.actions.kms.test_generate_data_key import fill
from tests.actions.ssm.arrange import outputs
from tests.installation import FIPS, Client, Installation, refused

PLAIN = {"ImportType": 2, "ImportKeyMaterial": SECRET, "DataKeyName": "d"}
BAD_MATERIAL = "InvalidParameterValue.InvalidImportKeyMaterial"


def encoded(length: int) -> str:
    return base64.b64encode(b"\xa5" * length).decode()


@pytest.mark.parametrize("length", [1, 16, 32, 1024])
def test_a_plaintext_is_kept_under_the_key(kms: Client, length: int) -> None:
    key = make_key(kms)
    answer = outputs(kms.ImportDataKey(**{**PLAIN, "KeyId": key, "ImportKeyMaterial": encoded(length)}))
    data_key = answer.pop("DataKeyId")
    assert answer == {"KeyId": key, "TagCode": 0, "TagMsg": ""}
    found = describe(kms, data_key)
    assert (found.KeyId, found.KeyName, found.Origin, found.NumberOfBytes, found.KeyState) == (
        key,
        "cmk",
        "EXTERNAL",
        length,
        "Enabled",
    )
    assert kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext == encoded(length)
    blob = kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob
    opened = kms.Decrypt(CiphertextBlob=blob)
    assert (opened.KeyId, opened.Plaintext) == (key, encoded(length))


@pytest.mark.parametrize("key_id", [None, "", "that of the ciphertext"])
@pytest.mark.parametrize("length", [1, 1024])
def test_a_ciphertext_is_kept_as_it_is(kms: Client, key_id: str | None, length: int) -> None:
    made = kms.GenerateDataKey(KeyId=make_key(kms), NumberOfBytes=length)
    kms.EnableKeyRotation(KeyId=made.KeyId)
    kms.RotateKey(KeyId=made.KeyId)  # old material opens, too
    given = {"ImportType": 1, "ImportKeyMaterial": made.CiphertextBlob, "DataKeyName": "d"}
    if key_id is not None:
        given["KeyId"] = key_id and made.KeyId
    data_key = kms.ImportDataKey(**given).DataKeyId
    found = describe(kms, data_key)
    assert (found.KeyId, found.Origin, found.NumberOfBytes) == (made.KeyId, "TENCENT_KMS", length)
    assert kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext == made.Plaintext
    assert kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob == made.CiphertextBlob


def test_options_are_kept(kms: Client) -> None:
    tags = [{"TagKey": "team", "TagValue": "a"}]
    given = {
        **PLAIN,
        "KeyId": make_key(kms),
        "DataKeyName": "d" * 60,
        "Description": "x" * 100,
        "HsmClusterId": "default",
        "Tags": tags,
    }
    found = describe(kms, kms.ImportDataKey(**given).DataKeyId)
    assert (found.DataKeyName, found.Description) == ("d" * 60, "x" * 100)
    assert names(kms, TagFilters=[{"TagKey": "team"}]) == ["d" * 60]


REFUSALS: list[tuple[dict[str, Any], Any]] = [
    *(
        ({"ImportKeyMaterial": material}, "InvalidParameterValue.InvalidPlaintext")
        for material in (encoded(1025), "no base64", SECRET.rstrip("=")[:-1], SECRET + "\n", "=")
    ),
    ({"ImportKeyMaterial": ""}, BAD_MATERIAL),
    ({"ImportKeyMaterial": "A" * 8193}, BAD_MATERIAL),
    ({"ImportType": 0}, "InvalidParameterValue.InvalidType"),
    ({"ImportType": 3}, "InvalidParameterValue.InvalidType"),
    ({"ImportType": 1}, BAD_MATERIAL),
    ({"KeyId": ""}, "InvalidParameterValue.InvalidKeyId"),
    *(({"KeyId": malformed}, "InvalidParameterValue.InvalidKeyId") for malformed in MALFORMED),
    ({"KeyId": UNKNOWN}, "ResourceUnavailable.CmkNotFound"),
    ({"DataKeyName": ""}, "InvalidParameterValue.InvalidDataKeyName"),
    ({"DataKeyName": "-d"}, "InvalidParameterValue.InvalidDataKeyName"),
    ({"DataKeyName": "d" * 61}, "InvalidParameterValue.InvalidDataKeyName"),
    ({"Description": "x" * 101}, "InvalidParameter"),
    ({"HsmClusterId": "cluster"}, "InvalidParameterValue.InvalidHsmClusterId"),
    (
        {"Tags": [{"TagKey": "k", "TagValue": "a"}] * 2},
        "InvalidParameterValue.TagKeysDuplicated",
    ),
]


def test_what_is_refused_leaves_nothing(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    for given, error in REFUSALS:
        with refused(error) as caught:
            kms.ImportDataKey(**{**PLAIN, "KeyId": key, **given})
        assert SECRET not in str(caught.value)
    assert (names(kms), quota(installation)) == ([], 0)


@pytest.mark.parametrize("name", ["DataKeyName", "ImportKeyMaterial", "ImportType"])
def test_what_is_required(kms: Client, name: str) -> None:
    with refused("MissingParameter"):
        kms.ImportDataKey(**{k: v for k, v in {**PLAIN, "KeyId": make_key(kms)}.items() if k != name})


def test_a_plaintext_needs_a_key_that_encrypts(kms: Client) -> None:
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.ImportDataKey(**PLAIN)
    pair = kms.CreateKey(Alias="pair", KeyUsage="ASYMMETRIC_SIGN_VERIFY_ECC").KeyId
    with refused("InvalidParameter"):
        kms.ImportDataKey(**PLAIN, KeyId=pair)
    assert names(kms) == []


def test_a_ciphertext_that_does_not_open_is_refused_in_one_way(
    installation: Installation, kms: Client
) -> None:
    key, other = make_key(kms), make_key(kms, "other")
    made = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256")
    read = ciphertext_blob.decode(made.CiphertextBlob)
    flipped = [bytes(b ^ (i == at) for i, b in enumerate(read.message)) for at in range(len(read.message))]
    in_context = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256", EncryptionContext='{"a": "b"}')
    too_long = kms.Encrypt(KeyId=key, Plaintext=encoded(1025))
    messages = set()
    for blob in (
        *(ciphertext_blob.encode(key, 1, message) for message in flipped),
        ciphertext_blob.encode(key, 2, read.message),
        ciphertext_blob.encode(other, 1, read.message),
        made.CiphertextBlob[:-4],
        made.CiphertextBlob + "A",
        in_context.CiphertextBlob,
    ):
        with refused(BAD_MATERIAL) as caught:
            kms.ImportDataKey(ImportType=1, ImportKeyMaterial=blob, DataKeyName="d")
        messages.add(caught.value.message)
    assert len(messages) == 1
    with refused(BAD_MATERIAL):
        kms.ImportDataKey(ImportType=1, ImportKeyMaterial=too_long.CiphertextBlob, DataKeyName="d")
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.ImportDataKey(
            ImportType=1, ImportKeyMaterial=ciphertext_blob.encode(UNKNOWN, 1, read.message), DataKeyName="d"
        )
    for elsewhere in (
        installation.client("kms", region=FIPS),
        installation.client("kms", who=installation.add_account()),
    ):
        with refused("ResourceUnavailable.CmkNotFound"):
            elsewhere.ImportDataKey(ImportType=1, ImportKeyMaterial=made.CiphertextBlob, DataKeyName="d")
    assert (names(kms), quota(installation)) == ([], 0)


def test_a_key_that_is_not_the_ciphertexts_own_is_refused(kms: Client) -> None:
    made = kms.GenerateDataKey(KeyId=make_key(kms), KeySpec="AES_256")
    for key in (make_key(kms, "other"), UNKNOWN):
        with refused("InvalidParameterValue.InvalidKeyId"):
            kms.ImportDataKey(ImportType=1, ImportKeyMaterial=made.CiphertextBlob, DataKeyName="d", KeyId=key)
    assert names(kms) == []


def test_name_and_quota_are_those_of_all_data_keys(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    make(kms, "made")
    with refused("InvalidParameterValue.DataKeyNameAlreadyExists"):
        kms.ImportDataKey(**{**PLAIN, "KeyId": key, "DataKeyName": "made"})
    fill(installation, MAX_DATA_KEYS - 1)
    kms.ImportDataKey(**PLAIN, KeyId=key)
    with refused("LimitExceeded.DataKeyLimitExceeded"):
        kms.ImportDataKey(**{**PLAIN, "KeyId": key, "DataKeyName": "more"})
    assert sorted(names(kms)) == ["d", "made"]


def test_one_ciphertext_can_be_kept_twice(kms: Client) -> None:
    made = kms.GenerateDataKey(KeyId=make_key(kms), KeySpec="AES_256")
    kept = [
        kms.ImportDataKey(ImportType=1, ImportKeyMaterial=made.CiphertextBlob, DataKeyName=name).DataKeyId
        for name in ("a", "b")
    ]
    assert [kms.GetDataKeyPlaintext(DataKeyId=i).Plaintext for i in kept] == [made.Plaintext] * 2
