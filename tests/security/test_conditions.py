"""The circumstances that conditions look at, as the pipeline fills them in."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.clock import ManualClock
from chalicelib.settings import Bootstrap, Settings
from tests import permissions
from tests.calls import ask, code, tc3
from tests.installation import SM, Client, Installation, refused
from tests.permissions import call, statement

DENIED = "AuthFailure.UnauthorizedOperation"


@pytest.fixture
def alice(installation: Installation) -> Bootstrap:
    return installation.add_user("alice")


def may(installation: Installation, who: Bootstrap, *, address: str = "192.0.2.1", **headers: str) -> bool:
    """Whether the user may list secrets from this address."""
    request = tc3(who, installation.clock.now(), "ssm", "ListSecrets", {}, headers=headers)
    answer = code(ask(installation.gateway, dataclasses.replace(request, source_ip=address)))
    assert answer in ("", DENIED)
    return not answer


def allow_if(installation: Installation, who: Bootstrap, **condition: Any) -> None:
    permissions.allow(installation, who, statement(action="ssm:*", condition=condition))


def test_the_address(installation: Installation, alice: Bootstrap) -> None:
    allow_if(installation, alice, ip_equal={"qcs:ip": ["10.1.0.0/16", "2001:db8::/32"]})
    assert may(installation, alice, address="10.1.2.3")
    assert may(installation, alice, address="::ffff:10.1.2.3")
    assert may(installation, alice, address="2001:db8::1")
    for address in ("10.2.0.1", "2001:db9::1", "", "unknown", "10.1.2.3, 10.2.0.1"):
        assert not may(installation, alice, address=address)


def test_an_address_that_cannot_be_read_stays_denied(installation: Installation, alice: Bootstrap) -> None:
    denial = statement("deny", condition={"ip_equal": {"qcs:ip": "10.0.0.0/8"}})
    permissions.allow(installation, alice, statement(), denial)
    assert may(installation, alice, address="192.0.2.1")
    assert not may(installation, alice, address="10.0.0.1")
    assert not may(installation, alice, address="garbage")


def test_what_a_client_says_of_its_address_does_not_count(
    installation: Installation, alice: Bootstrap
) -> None:
    allow_if(installation, alice, ip_equal={"qcs:ip": "10.1.2.3"})
    for header in ("x-forwarded-for", "x-real-ip", "forwarded", "x-client-ip"):
        assert not may(installation, alice, **{header: "10.1.2.3"})


def behind_proxies(clock: ManualClock, networks: str) -> tuple[Installation, Bootstrap]:
    settings = Settings.from_environment(
        {
            "KEYSTEAD_TRUSTED_PROXIES": networks,
            "KEYSTEAD_THROTTLE": "off",
            "KEYSTEAD_CREDENTIAL_CACHE_SECONDS": "0",
        }
    )
    installation = Installation(clock, settings)
    alice = installation.add_user("alice")
    allow_if(installation, alice, ip_equal={"qcs:ip": "203.0.113.7"})
    return installation, alice


@pytest.mark.parametrize(
    ("address", "forwarded", "expected"),
    [
        ("10.0.0.1", "203.0.113.7", True),
        ("10.0.0.1", "1.2.3.4, 203.0.113.7", True),  # what the client wrote itself stands in front
        ("10.0.0.1", "203.0.113.7, 1.2.3.4", False),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2", True),  # two proxies
        ("10.0.0.1", "203.0.113.7,10.0.0.2 , 10.0.0.3", True),
        ("10.0.0.1", "203.0.113.7, garbage", False),
        ("10.0.0.1", "garbage", False),
        ("10.0.0.1", "", False),
        ("192.0.2.1", "203.0.113.7", False),  # no proxy of ours
        ("203.0.113.7", "1.2.3.4", True),
        ("", "203.0.113.7", False),
    ],
)
def test_behind_trusted_proxies(clock: ManualClock, address: str, forwarded: str, *, expected: bool) -> None:
    installation, alice = behind_proxies(clock, "10.0.0.0/24")
    assert may(installation, alice, address=address, **{"x-forwarded-for": forwarded}) == expected


def test_the_time(installation: Installation, alice: Bootstrap) -> None:
    now = datetime.fromtimestamp(installation.clock.now(), UTC)
    start, end = now + timedelta(hours=1), now + timedelta(hours=2)
    allow_if(
        installation,
        alice,
        date_greater_than_equal={"qcs:current_time": f"{start:%Y-%m-%dT%H:%M:%SZ}"},
        date_less_than={"qcs:current_time": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
    )
    assert not may(installation, alice)
    installation.clock.advance(3600)
    assert may(installation, alice)
    installation.clock.advance(3599)
    assert may(installation, alice)
    installation.clock.advance(1)
    assert not may(installation, alice)


def test_who_calls(installation: Installation, alice: Bootstrap) -> None:
    bob = installation.add_user("bob")
    for who in (alice, bob):
        condition = {
            "string_equal": {"qcs:uin": alice.uin, "qcs:owner_uin": "${owner_uin}"},
            "string_like": {"qcs:uin": "${uin}"},
        }
        allow_if(installation, who, **condition)
    assert may(installation, alice)
    assert not may(installation, bob)


def test_who_made_it(installation: Installation, alice: Bootstrap) -> None:
    """A user does not own what it creates, but a policy can say so."""
    own = {"string_equal": {"qcs:create_uin": "${uin}"}}
    permissions.allow(
        installation,
        alice,
        statement(action="ssm:CreateSecret"),
        statement(action="ssm:DescribeSecret", condition=own),
    )
    client = installation.client("ssm", who=alice)
    client.CreateSecret(SecretName="mine", VersionId="v1", SecretString="x")
    call(installation, "ssm", "CreateSecret", SecretName="theirs", VersionId="v1", SecretString="x")
    assert str(client.DescribeSecret(SecretName="mine").CreateUin) == alice.uin
    with refused(DENIED):
        client.DescribeSecret(SecretName="theirs")


def test_nobody_has_proven_a_second_factor(installation: Installation, alice: Bootstrap) -> None:
    allow_if(installation, alice, bool_equal={"qcs:mfa": "true"})
    assert not may(installation, alice)
    # Not unknown, but known to be false: a denial of what is done without one holds.
    allow_if(installation, alice, null_equal={"qcs:mfa": "true"})
    assert not may(installation, alice)
    allow_if(installation, alice, bool_equal={"qcs:mfa": "false"})
    assert may(installation, alice)


@pytest.mark.parametrize("service", ["kms", "ssm"])
def test_the_tags_of_a_request(installation: Installation, alice: Bootstrap, service: str) -> None:
    condition = {"for_all_value:string_equal": {"qcs:request_tag": ["team&red", "env&test"]}}
    permissions.allow(installation, alice, statement(action=f"{service}:Create*", condition=condition))
    client = installation.client(service, who=alice)

    def create(name: str, **tags: str) -> None:
        given = [{"TagKey": k, "TagValue": v} for k, v in tags.items()]
        if service == "kms":
            client.CreateKey(Alias=name, Tags=given)
        else:
            client.CreateSecret(SecretName=name, VersionId="v1", SecretString="x", Tags=given)

    create("one", team="red", env="test")
    create("two", team="red")
    for tags in ({}, {"team": "blue"}, {"team": "red", "more": "1"}):
        with refused(DENIED):
            create("three", **tags)


def test_the_tags_of_a_resource(installation: Installation, alice: Bootstrap) -> None:
    kms = installation.client("kms")
    ids = {
        team: kms.CreateKey(Alias=team, Tags=[{"TagKey": "team", "TagValue": team}]).KeyId
        for team in ("red", "blue")
    }
    for key in ("qcs:resource_tag", "qcs:tag"):
        condition = {"for_any_value:string_equal": {key: "team&red"}}
        user = installation.add_user(key.rpartition(":")[2])
        permissions.allow(installation, user, statement(action="kms:*", condition=condition))
        client = installation.client("kms", who=user)
        assert client.DescribeKey(KeyId=ids["red"]).KeyMetadata.Alias == "red"
        with refused(DENIED):
            client.DescribeKey(KeyId=ids["blue"])
        with refused(DENIED):
            client.DescribeKeys(KeyIds=list(ids.values()))
    call(
        installation,
        "tag",
        "ModifyResourceTags",
        Resource=f"qcs::kms:{SM}:uin/:key/{ids['blue']}",
        ReplaceTags=[{"TagKey": "team", "TagValue": "red"}],
    )
    assert client.DescribeKey(KeyId=ids["blue"]).KeyMetadata.Alias == "blue"


def test_a_tag_cannot_pass_for_another(installation: Installation, alice: Bootstrap) -> None:
    """The name `team&red` with the value `x` is not the name `team` with the value `red&x`."""
    kms = installation.client("kms")
    key_id = kms.CreateKey(Alias="k", Tags=[{"TagKey": "team&red", "TagValue": "x"}]).KeyId
    condition = {"for_any_value:string_equal": {"qcs:resource_tag": "team&red&x"}}
    permissions.allow(installation, alice, statement(action="kms:*", condition=condition))
    client = installation.client("kms", who=alice)
    with refused(DENIED):
        client.DescribeKey(KeyId=key_id)
    condition = {"for_any_value:string_equal": {"qcs:resource_tag": "team%26red&x"}}
    permissions.allow(installation, alice, statement(action="kms:*", condition=condition))
    assert client.DescribeKey(KeyId=key_id).KeyMetadata.Alias == "k"


def kms_for_tenant(installation: Installation, who: Bootstrap) -> tuple[Client, str]:
    condition = {"for_any_value:string_equal": {"kms:encryption_context": "tenant&42"}}
    cryptography = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt", "kms:GenerateDataKey"]
    permissions.allow(installation, who, statement(action=cryptography, condition=condition))
    key_id = installation.client("kms").CreateKey(Alias="k").KeyId
    return installation.client("kms", who=who), key_id


OWN, OTHER = '{"tenant": "42", "table": "t"}', '{"tenant": "43"}'


def test_the_encryption_context(installation: Installation, alice: Bootstrap) -> None:
    client, key_id = kms_for_tenant(installation, alice)
    blob = client.Encrypt(KeyId=key_id, Plaintext="eA==", EncryptionContext=OWN).CiphertextBlob
    assert client.Decrypt(CiphertextBlob=blob, EncryptionContext=OWN).Plaintext == "eA=="
    assert client.GenerateDataKey(KeyId=key_id, KeySpec="AES_256", EncryptionContext=OWN).Plaintext
    for context in ("", "{}", OTHER, '{"tenant&42": ""}', '{"x": "tenant&42"}'):
        with refused(DENIED):
            client.Encrypt(KeyId=key_id, Plaintext="eA==", EncryptionContext=context)
        with refused(DENIED):
            client.GenerateDataKey(KeyId=key_id, KeySpec="AES_256", EncryptionContext=context)
        with refused(DENIED):
            client.Decrypt(CiphertextBlob=blob, EncryptionContext=context)
    with refused("InvalidParameter"):
        client.Encrypt(KeyId=key_id, Plaintext="eA==", EncryptionContext="x")


def test_both_contexts_of_a_re_encryption(installation: Installation, alice: Bootstrap) -> None:
    client, key_id = kms_for_tenant(installation, alice)
    root = installation.client("kms")
    own = root.Encrypt(KeyId=key_id, Plaintext="eA==", EncryptionContext=OWN).CiphertextBlob
    other = root.Encrypt(KeyId=key_id, Plaintext="eA==", EncryptionContext=OTHER).CiphertextBlob
    for destination in ({}, {"DestinationKeyId": key_id}):
        both = {"SourceEncryptionContext": OWN, "DestinationEncryptionContext": OWN, **destination}
        assert client.ReEncrypt(CiphertextBlob=own, **both).KeyId == key_id
        for blob, source, target in ((own, OWN, OTHER), (other, OTHER, OWN), (own, OWN, "")):
            with refused(DENIED):
                client.ReEncrypt(
                    CiphertextBlob=blob,
                    SourceEncryptionContext=source,
                    DestinationEncryptionContext=target,
                    **destination,
                )
