import functools
import itertools
from typing import Any

import pytest

from chalicelib.clock import ManualClock
from chalicelib.jobs import schedule
from tests.actions.ssm.arrange import (
    DAY,
    VALUE,
    Hooked,
    events,
    make,
    names,
    outputs,
    status,
    together,
    value,
    versions,
    with_settings,
)
from tests.installation import FIPS, SM, Client, Installation, refused


def default_keys(kms: Client) -> list[Any]:
    """The keys that products made for themselves."""
    return list(kms.ListKeyDetail(Role=1, KeyUsage="ALL", Limit=200).KeyMetadatas)


def test_a_new_secret_is_enabled_and_has_its_first_version(
    installation: Installation, ssm: Client, kms: Client
) -> None:
    answer = ssm.CreateSecret(
        SecretName="s", VersionId="v1", SecretString=VALUE, Description="d", SecretType=0, EncryptType=0
    )
    assert outputs(answer) == {"SecretName": "s", "VersionId": "v1", "TagCode": 0, "TagMsg": ""}
    described = ssm.DescribeSecret(SecretName="s")
    assert (described.Status, described.Description) == ("Enabled", "d")
    assert (described.CreateTime, described.DeleteTime) == (installation.clock.now(), 0)
    assert described.CreateUin == int(installation.root.uin)
    assert described.KmsKeyId == default_keys(kms)[0].KeyId
    assert (versions(ssm), value(ssm)) == (["v1"], VALUE)


def test_without_a_version_id_the_first_version_is_called_ssm_current(ssm: Client) -> None:
    assert ssm.CreateSecret(SecretName="s", SecretString=VALUE).VersionId == "SSM_Current"
    assert versions(ssm) == ["SSM_Current"]
    assert value(ssm, version="SSM_Current") == VALUE


def test_the_private_edition_demands_a_version_id(clock: ManualClock) -> None:
    ssm = with_settings(clock, strict_private_edition=True)
    with refused("MissingParameter") as caught:
        ssm.CreateSecret(SecretName="s", SecretString=VALUE)
    assert "VersionId" in str(caught.value)
    assert names(ssm) == []
    assert make(ssm).VersionId == "v1"


def test_limits_of_the_description(ssm: Client) -> None:
    for i, text in enumerate(("", "d" * 2048, "\u00e9" * 1024)):
        make(ssm, f"s{i}", Description=text)
        assert ssm.DescribeSecret(SecretName=f"s{i}").Description == text
    for text in ("d" * 2049, "\u00e9" * 1024 + "d"):
        with refused("InvalidParameterValue"):
            make(ssm, "more", Description=text)
    assert "more" not in names(ssm)


def test_other_kinds_of_secrets_and_keys_are_refused(ssm: Client) -> None:
    for given in (
        {"SecretType": 1},
        {"SecretType": -1},
        {"EncryptType": 1},
        {"AdditionalConfig": "{}"},
        {"KmsHsmClusterId": "cluster-1"},
    ):
        with refused("InvalidParameterValue"):
            make(ssm, **given)
    assert names(ssm) == []
    make(ssm, SecretType=0, EncryptType=0, AdditionalConfig="", KmsHsmClusterId="")
    assert names(ssm) == ["s"]


def tags(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": k, "TagValue": v} for k, v in pairs]


def test_tags_are_kept_with_the_secret(ssm: Client) -> None:
    make(ssm, Tags=tags(("team", "red"), ("empty", "")))
    make(ssm, "other", Tags=[])
    assert names(ssm, TagFilters=[{"TagKey": "team", "TagValue": ["red"]}]) == ["s"]
    assert names(ssm, TagFilters=[{"TagKey": "empty", "TagValue": [""]}]) == ["s"]


def test_limits_of_tags(ssm: Client) -> None:
    make(ssm, "fifty", Tags=tags(*((f"k{i}", "v") for i in range(50))))
    make(ssm, "long", Tags=tags(("k" * 127, "v" * 255)))
    for wrong in (
        tags(*((f"k{i}", "v") for i in range(51))),
        tags(("", "v")),
        tags(("k" * 128, "v")),
        tags(("k", "v" * 256)),
    ):
        with refused("InvalidParameterValue"):
            make(ssm, "wrong", Tags=wrong)
    with refused("MissingParameter") as caught:
        make(ssm, "wrong", Tags=[{"TagKey": "k"}])
    assert "Tags.0.TagValue" in str(caught.value)
    with refused("UnknownParameter"):
        ssm.call_raw(
            "CreateSecret",
            {
                "SecretName": "wrong",
                "SecretString": "x",
                "Tags": [{"TagKey": "k", "TagValue": "v", "X": "y"}],
            },
        )
    assert names(ssm) == ["long", "fifty"]


def test_a_tag_key_appears_once(ssm: Client) -> None:
    with refused("InvalidParameterValue.TagKeysDuplicated"):
        make(ssm, Tags=tags(("a", "1"), ("b", "1"), ("a", "2")))
    assert names(ssm) == []
    make(ssm, Tags=tags(("a", "1"), ("A", "1")))


@pytest.mark.parametrize("state", ["Enabled", "Disabled", "PendingDelete"])
def test_a_name_is_taken_while_its_secret_exists(installation: Installation, ssm: Client, state: str) -> None:
    make(ssm, state=state)
    with refused("ResourceInUse.SecretExists") as caught:
        make(ssm, SecretString="other")
    assert status(ssm) == state
    assert ssm.ListSecrets().TotalCount == 1
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert (event["error"], event["resources"]) == ("ResourceInUse.SecretExists", ["secret/s"])
    # Names differ by case, and each region and account has its own.
    make(ssm, "S")
    make(installation.client("ssm", region=FIPS))
    make(installation.client("ssm", who=installation.add_account()))


def test_one_of_many_simultaneous_creations_gets_the_name(installation: Installation, ssm: Client) -> None:
    clients = [installation.client("ssm") for _ in range(12)]
    ended = together(
        [functools.partial(make, client, SecretString=f"by {i}") for i, client in enumerate(clients)]
    )
    assert sorted(ended) == ["ResourceInUse.SecretExists"] * 11 + ["ok"]
    assert value(ssm) == f"by {ended.index('ok')}"
    assert ssm.ListSecrets().TotalCount == 1


def test_a_region_has_1000_secrets_and_not_one_more(installation: Installation, ssm: Client) -> None:
    for i in range(996):
        make(ssm, f"s{i}")
    clients = [installation.client("ssm") for _ in range(12)]
    ended = together([functools.partial(make, client, f"t{i}") for i, client in enumerate(clients)])
    assert sorted(ended) == ["LimitExceeded"] * 8 + ["ok"] * 4
    assert ssm.ListSecrets(Limit=1).TotalCount == 1000
    # The quota is the region's and the account's own.
    make(installation.client("ssm", region=FIPS))
    make(installation.client("ssm", who=installation.add_account()))
    # A taken name is told apart from a full region.
    with refused("ResourceInUse.SecretExists"):
        make(ssm, "s0")
    # A deletion at once gives the place back, a scheduled one when its day has come.
    for name, days in (("s0", 0), ("s1", 1), ("s2", 1)):
        ssm.DisableSecret(SecretName=name)
        ssm.DeleteSecret(SecretName=name, RecoveryWindowInDays=days)
    make(ssm, "u0")
    with refused("LimitExceeded"):
        make(ssm, "u1")
    installation.clock.advance(DAY)
    assert ssm.ListSecrets(Limit=1).TotalCount == 998
    make(ssm, "u1")
    make(ssm, "s1")
    with refused("LimitExceeded"):
        make(ssm, "u2")
    assert ssm.ListSecrets(Limit=1).TotalCount == 1000


def test_a_name_is_free_at_its_deletion_time_before_any_sweep(
    installation: Installation, ssm: Client
) -> None:
    make(ssm, state="PendingDelete", Description="old")
    installation.clock.advance(DAY)
    made_at = installation.clock.now()
    assert ssm.CreateSecret(SecretName="s", VersionId="v2", SecretString="new").VersionId == "v2"
    described = ssm.DescribeSecret(SecretName="s")
    assert (described.Status, described.Description) == ("Enabled", "")
    assert (described.CreateTime, described.DeleteTime) == (made_at, 0)
    # Nothing of the old secret is left, not even under the ids of its versions.
    assert versions(ssm) == ["v2"]
    with refused("ResourceNotFound"):
        value(ssm, version="v1")
    assert value(ssm, version="v2") == "new"
    assert [e["auth"] for e in events(installation) if e["action"] == "DeleteExpiredSecret"] == ["job"]
    # The sweep that comes late leaves the new one alone.
    assert schedule.run(installation.service, "delete_expired_secrets")[SM].done == 0
    assert value(ssm, version="v2") == "new"
    assert ssm.ListSecrets().TotalCount == 1


def test_a_name_is_free_however_many_others_wait_for_the_sweep(
    installation: Installation, ssm: Client
) -> None:
    for i in range(130):
        make(ssm, f"s{i}", state="PendingDelete")
    installation.clock.advance(DAY)
    make(ssm, "s129")
    assert names(ssm) == ["s129"]


def test_a_name_that_the_sweep_frees_during_the_call_is_free(clock: ManualClock) -> None:
    installation = Hooked(clock)
    ssm = installation.client("ssm")
    make(ssm, state="PendingDelete")
    clock.advance(DAY)
    # The creation finds the name taken; then, before it can look why, the sweep removes the old secret.
    swept: list[int] = []
    installation.hooked.after_conflict = lambda: swept.append(
        schedule.run(installation.service, "delete_expired_secrets")[SM].done
    )
    make(ssm)
    assert swept == [1]
    assert value(ssm) == VALUE


def test_the_default_key_is_made_once_by_many_simultaneous_first_calls(
    installation: Installation, ssm: Client, kms: Client
) -> None:
    assert default_keys(kms) == []
    clients = [installation.client("ssm") for _ in range(10)]
    assert together([functools.partial(make, c, f"s{i}") for i, c in enumerate(clients)]) == ["ok"] * 10
    (key,) = default_keys(kms)
    assert {m.KmsKeyId for m in ssm.ListSecrets().SecretMetadatas} == {key.KeyId}
    assert all(value(ssm, f"s{i}") == VALUE for i in range(10))


def test_the_default_key_is_shown_as_managed_by_the_product(kms: Client, ssm: Client) -> None:
    make(ssm)
    (key,) = default_keys(kms)
    assert (key.Owner, key.Alias, key.KeyState, key.KeyUsage) == (
        "ssm",
        "kms-ssm",
        "Enabled",
        "ENCRYPT_DECRYPT",
    )
    assert [k.KeyId for k in kms.ListKeys(Role=1).Keys] == [key.KeyId]
    assert kms.ListKeys(Role=0).TotalCount == kms.ListKeyDetail(Role=0).TotalCount == 0
    assert kms.call_raw("DescribeKey", {"KeyId": key.KeyId})["KeyMetadata"]["Owner"] == "ssm"
    with refused("UnsupportedOperation.NotUserCreatedCmk"):
        kms.DisableKey(KeyId=key.KeyId)
    assert value(ssm) == VALUE
    assert ssm.ListSecrets().SecretMetadatas[0].KmsKeyType == "DEFAULT"


def test_each_region_and_account_has_a_default_key_of_its_own(installation: Installation) -> None:
    other = installation.add_account()
    found = []
    for who, region in itertools.product((installation.root, other), (SM, FIPS)):
        make(installation.client("ssm", region=region, who=who))
        found += [k.KeyId for k in default_keys(installation.client("kms", region=region, who=who))]
    assert len(set(found)) == len(found) == 4


def test_a_key_of_the_callers_own_seals_the_secret(kms: Client, ssm: Client) -> None:
    key = kms.CreateKey(Alias="mine").KeyId
    make(ssm, KmsKeyId=key)
    assert ssm.DescribeSecret(SecretName="s").KmsKeyId == key
    assert ssm.ListSecrets().SecretMetadatas[0].KmsKeyType == "CUSTOMER"
    assert value(ssm) == VALUE
    assert default_keys(kms) == []


def test_an_empty_key_id_means_the_default_key(kms: Client, ssm: Client) -> None:
    make(ssm, KmsKeyId="")
    assert ssm.DescribeSecret(SecretName="s").KmsKeyId == default_keys(kms)[0].KeyId


def test_a_key_that_cannot_be_used_is_an_access_kms_error(
    installation: Installation, kms: Client, ssm: Client
) -> None:
    disabled = kms.CreateKey(Alias="disabled").KeyId
    kms.DisableKey(KeyId=disabled)
    elsewhere = installation.client("kms", region=FIPS).CreateKey(Alias="elsewhere").KeyId
    foreign = installation.client("kms", who=installation.add_account()).CreateKey(Alias="foreign").KeyId
    kms.CreateKey(Alias="alias-is-no-id")
    for key in (
        disabled,
        elsewhere,
        foreign,
        "00000000-0000-1000-8000-000000000000",
        "alias-is-no-id",
        "not a key id",
        "x" * 37,
        "x" * 3000,
    ):
        with refused("FailedOperation.AccessKmsError") as caught:
            make(ssm, KmsKeyId=key)
        assert key not in str(caught.value)
    assert names(ssm) == []
    kms.EnableKey(KeyId=disabled)
    make(ssm, KmsKeyId=disabled)


def test_the_trail_says_for_which_secret_a_key_failed(installation: Installation, ssm: Client) -> None:
    with refused("FailedOperation.AccessKmsError") as caught:
        make(ssm, KmsKeyId="00000000-0000-1000-8000-000000000000")
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert event["resources"] == ["secret/s"]
    assert event["parameters"]["KmsKeyId"] == "00000000-0000-1000-8000-000000000000"
