import functools

import pytest

from tests.actions.kms.arrange_keys import (
    DAY,
    aliases,
    decrypt,
    describe,
    encrypt,
    everything,
    make,
    product_key,
    quota,
    state_of,
)
from tests.actions.ssm.arrange import code, outputs, together
from tests.installation import FIPS, SM, Client, Installation, refused


@pytest.mark.parametrize(("region", "standard"), [(SM, 4), (FIPS, 2)])
def test_a_key_is_enabled_at_once(installation: Installation, region: str, standard: int) -> None:
    kms, now = installation.client("kms", region), installation.clock.now()
    answer = outputs(kms.CreateKey(Alias="k", Description="d"))
    key = answer.pop("KeyId")
    assert answer == {
        "Alias": "k",
        "CreateTime": now,
        "Description": "d",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "TagCode": 0,
        "TagMsg": "",
        "HsmClusterId": "",
    }
    shown = describe(kms, key)._serialize(allow_none=False)
    uin = installation.root.uin
    assert shown == {
        "KeyId": key,
        "Alias": "k",
        "CreateTime": now,
        "Description": "d",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "Type": standard,
        "CreatorUin": int(uin),
        "CreatorUinString": uin,
        "KeyRotationEnabled": False,
        "Owner": "user",
        "NextRotateTime": now + 365 * DAY,
        "DeletionDate": 0,
        "Origin": "TENCENT_KMS",
        "ValidTo": 0,
        "ResourceId": f"creatorUin/{uin}/{key}",
        "HsmClusterId": "",
        "RotateDays": 365,
        "LastRotateTime": 0,
        "IsSyncReplica": 0,
    }


def test_a_key_for_the_users_material_waits_for_it(kms: Client) -> None:
    answer = kms.CreateKey(Alias="k", Type=2)
    assert (answer.KeyState, describe(kms, answer.KeyId).Origin) == ("PendingImport", "EXTERNAL")
    # Only symmetric keys take material.
    for usage in ("ASYMMETRIC_DECRYPT_RSA_2048", "ASYMMETRIC_SIGN_VERIFY_ECC"):
        with refused("InvalidParameterValue.InvalidType"):
            kms.CreateKey(Alias="other", Type=2, KeyUsage=usage)


def test_limits_of_the_type(kms: Client) -> None:
    for wrong in (0, 3, -1):
        with refused("InvalidParameterValue.InvalidType"):
            kms.CreateKey(Alias="k", Type=wrong)
    assert kms.CreateKey(Alias="k", Type=1).KeyState == "Enabled"


@pytest.mark.parametrize("region", [SM, FIPS])
@pytest.mark.parametrize("usage", ["", "ENCRYPT_DECRYPT", "ENCRYPT_DECRYPT_SM4", "ENCRYPT_DECRYPT_AES_256"])
def test_every_symmetric_usage_in_every_region(installation: Installation, region: str, usage: str) -> None:
    kms = installation.client("kms", region)
    key = make(kms, KeyUsage=usage)
    assert describe(kms, key).KeyUsage == (usage or "ENCRYPT_DECRYPT")
    assert decrypt(kms, encrypt(kms, key, b"p", '{"a":"b"}'), '{"a":"b"}') == b"p"
    row = installation.service.table(region).get(f"K#{installation.root.uin}#{region}#{key}", "M")
    assert row is not None
    by_region = "SM4" if region == SM else "AES_256"
    expected = {"ENCRYPT_DECRYPT_SM4": "SM4", "ENCRYPT_DECRYPT_AES_256": "AES_256"}.get(usage, by_region)
    assert f'"kind":"{expected}"'.encode() in row.body.replace(b" ", b"")


def test_usages_that_do_not_exist_or_not_here(installation: Installation, kms: Client) -> None:
    for usage in ("x", "encrypt_decrypt", "ALL", "ENCRYPT_DECRYPT "):
        with refused("InvalidParameterValue.InvalidKeyUsage"):
            kms.CreateKey(Alias="k", KeyUsage=usage)
    fips = installation.client("kms", FIPS)
    for usage in ("ASYMMETRIC_DECRYPT_SM2", "ASYMMETRIC_SIGN_VERIFY_SM2"):
        with refused("UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion"):
            fips.CreateKey(Alias="k", KeyUsage=usage)
    assert (kms.ListKeys().TotalCount, fips.ListKeys().TotalCount) == (0, 0)


def test_limits_of_the_alias(kms: Client) -> None:
    good = ("a", "0", "A-_9", "a" * 60, "kms", "KMS-x", "k-ms-")
    for alias in good:
        make(kms, alias)
    for alias in ("", "a" * 61, "-a", "_a", "a b", "a.b", "a/b", "\u00e9", "a\n", "kms-", "kms-x", "\uff11"):
        with refused("InvalidParameterValue.InvalidAlias"):
            kms.CreateKey(Alias=alias)
    assert set(aliases(kms)) == set(good)


def test_limits_of_the_description(kms: Client) -> None:
    for at, text in enumerate(("", "d" * 1024, "\u5bc6" * 341 + "x", '"\\\n\x00')):
        assert describe(kms, make(kms, f"k{at}", Description=text)).Description == text
    for text in ("d" * 1025, "\u5bc6" * 342):
        with refused("InvalidParameter"):
            kms.CreateKey(Alias="k", Description=text)


def test_an_alias_is_taken_once_in_a_region_and_account(installation: Installation, kms: Client) -> None:
    key = make(kms)
    before = everything(kms)
    with refused("InvalidParameterValue.AliasAlreadyExists"):
        kms.CreateKey(Alias="k")
    assert (everything(kms), quota(installation)) == (before, 1)
    make(kms, "K")
    make(installation.client("kms", FIPS))
    make(installation.client("kms", who=installation.add_account()))
    kms.UpdateAlias(KeyId=key, Alias="another")
    make(kms)


def test_one_of_many_gets_the_alias(installation: Installation, kms: Client) -> None:
    clients = [installation.client("kms") for _ in range(6)]
    ended = together([functools.partial(c.CreateKey, Alias="k") for c in clients])
    assert sorted(ended) == ["InvalidParameterValue.AliasAlreadyExists"] * 5 + ["ok"]
    assert (kms.ListKeys().TotalCount, quota(installation)) == (1, 1)


def test_the_alias_of_a_key_that_is_swept_is_free(installation: Installation, kms: Client) -> None:
    from chalicelib.jobs import schedule

    old = make(kms, state="PendingDelete")
    with refused("InvalidParameterValue.AliasAlreadyExists"):
        make(kms)
    installation.clock.advance(7 * DAY)
    schedule.run(installation.service, "delete_expired_keys")
    assert make(kms) != old


def test_200_keys_and_no_more_also_at_once(installation: Installation, kms: Client, ssm: Client) -> None:
    limit = "LimitExceeded.CmkLimitExceeded"
    keys = [make(kms, f"k{i}", Type=2) for i in range(196)]
    # What a product makes and what is pending deletion does not count.
    product_key(kms, ssm)
    make(kms, "leaving", "PendingDelete")
    assert quota(installation) == 196
    clients = [installation.client("kms") for _ in range(8)]
    ended = together([functools.partial(c.CreateKey, Alias=f"t{i}") for i, c in enumerate(clients)])
    assert sorted(ended) == [limit] * 4 + ["ok"] * 4
    status = kms.GetServiceStatus()
    assert (quota(installation), status.CmkUserCount, status.CmkLimit) == (200, 200, 200)
    with refused(limit):
        kms.CreateKey(Alias="more")
    # Another region and another account have quotas of their own.
    make(installation.client("kms", FIPS), "more")
    make(installation.client("kms", who=installation.add_account()), "more")
    # A key that leaves makes room; it does not get its place back while it is taken.
    kms.ScheduleKeyDeletion(KeyId=keys[0], PendingWindowInDays=7)
    make(kms, "more")
    with refused(limit):
        kms.CancelKeyDeletion(KeyId=keys[0])
    assert state_of(kms, keys[0]) == "PendingDelete"
    kms.ScheduleKeyDeletion(KeyId=keys[1], PendingWindowInDays=7)
    kms.CancelKeyDeletion(KeyId=keys[0])
    assert (state_of(kms, keys[0]), quota(installation)) == ("PendingImport", 200)
    # A taken alias is told before a full region.
    assert code(lambda: make(kms, "more")) == "InvalidParameterValue.AliasAlreadyExists"
    assert kms.ListKeys(Limit=200).TotalCount == 200


def test_tags_are_kept_and_filtered_by(kms: Client) -> None:
    tags = [{"TagKey": "team", "TagValue": "red"}, {"TagKey": "empty", "TagValue": ""}]
    make(kms, "tagged", Tags=tags)
    make(kms, "untagged", Tags=[])
    assert aliases(kms, TagFilters=[{"TagKey": "team", "TagValue": ["red"]}]) == ["tagged"]
    with refused("InvalidParameterValue.TagKeysDuplicated"):
        kms.CreateKey(Alias="k", Tags=[tags[0], tags[0]])


def test_there_is_the_shared_cluster_only(kms: Client) -> None:
    make(kms, "a", HsmClusterId="")
    make(kms, "b", HsmClusterId="default")
    with refused("InvalidParameterValue.InvalidHsmClusterId"):
        kms.CreateKey(Alias="c", HsmClusterId="cls-1")


def test_parameters_of_a_wrong_type(kms: Client) -> None:
    for given in ({"Alias": 1}, {"Alias": "k", "Type": "one"}, {"Alias": "k", "Tags": {}}):
        with refused("InvalidParameter"):
            kms.call_raw("CreateKey", given)
