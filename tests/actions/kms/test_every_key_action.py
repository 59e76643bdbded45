"""What holds for every action on CMKs: refusals, isolation, dry runs, the audit trail."""

import json
from typing import Any

import pytest

from chalicelib.audit import pointed
from chalicelib.clock import ManualClock
from tests.actions.kms.arrange_keys import (
    ALL,
    BLOBS,
    CANARY,
    MALFORMED,
    MANY,
    ONE,
    OTHER,
    PLAINTEXT,
    UNKNOWN,
    Shared,
    aliases,
    bring_to,
    call,
    decrypt,
    encrypt,
    everything,
    last_used,
    make,
    parameters_of,
    prepared,
    product_key,
    request_id,
    state_of,
)
from tests.actions.ssm.arrange import event_rows, events
from tests.installation import FIPS, SM, Client, Installation, refused

READS = {
    "Decrypt",
    "DescribeKey",
    "DescribeKeys",
    "Encrypt",
    "GenerateDataKey",
    "GenerateRandom",
    "GetKeyRotationStatus",
    "GetRegions",
    "GetServiceStatus",
    "ListAlgorithms",
    "ListKeyDetail",
    "ListKeyRotations",
    "ListKeys",
    "ReEncrypt",
}
WITH_MEMBER_ACCOUNT = (
    *(
        set(ONE)
        - {"BindCloudResource", "Encrypt", "GenerateDataKey", "ListKeyRotations", "UnbindCloudResource"}
    ),
    *MANY,
)
OPTIONAL = {("CreateKey", "Description"), ("EnableKeyRotation", "RotateDays"), ("GenerateDataKey", "KeySpec")}


def test_they_are_thirty() -> None:
    assert len(set(ALL)) == 30


@pytest.mark.parametrize("action", [*ONE, *MANY])
def test_malformed_and_unknown_ids_are_refused(kms: Client, action: str) -> None:
    key = make(kms)
    # An alias is no id.
    for malformed in (*MALFORMED, "k", key.upper()):
        with refused("InvalidParameterValue.InvalidKeyId") as caught:
            call(kms, action, **parameters_of(action, malformed))
        assert len(malformed) < 10 or malformed not in str(caught.value)
    with refused("ResourceUnavailable.CmkNotFound"):
        call(kms, action, **parameters_of(action, UNKNOWN))
    for wrong in (1, True, ["k"], {"a": "b"}):
        with refused("InvalidParameter"):
            given = parameters_of(action, key)
            name = "KeyId" if action in ONE else "KeyIds"
            kms.call_raw(action, {**given, name: wrong if action in ONE else [wrong]})


@pytest.mark.parametrize("action", BLOBS)
def test_what_is_no_ciphertext_is_refused(kms: Client, action: str) -> None:
    for blob in ("", "x", "====", "\u5bc6", " ", "A" * 100, "A" * 8192, "A" * 8193):
        with refused("InvalidParameterValue.InvalidCiphertext"):
            call(kms, action, CiphertextBlob=blob)


@pytest.mark.parametrize("action", sorted(WITH_MEMBER_ACCOUNT))
def test_member_accounts_are_refused(kms: Client, action: str) -> None:
    given = prepared(kms, action)
    before = everything(kms)
    with refused("UnsupportedOperation.NotRoleOperation"):
        call(kms, action, **given, MemberAccount={"MemberUin": 1})
    assert everything(kms) == before


@pytest.mark.parametrize("action", ALL)
def test_a_user_without_permission_is_refused_and_learns_nothing(
    installation: Installation, kms: Client, action: str
) -> None:
    given = prepared(kms, action)
    before = everything(kms)
    client = installation.client("kms", who=installation.add_user("alice"))
    with refused("AuthFailure.UnauthorizedOperation") as known:
        call(client, action, **given)
    assert everything(kms) == before
    (event,) = [e for e in events(installation) if e["id"] == known.value.requestId]
    assert (event["action"], event["user"], event["error"]) == (action, "alice", known.value.code)
    if action in (*ONE, *MANY):
        with refused("AuthFailure.UnauthorizedOperation") as unknown:
            call(client, action, **parameters_of(action, UNKNOWN))
        assert str(unknown.value).partition("requestId")[0] == str(known.value).partition("requestId")[0]


@pytest.mark.parametrize("action", [*ONE, *MANY, *BLOBS])
def test_another_account_and_another_region_do_not_have_it(clock: ManualClock, action: str) -> None:
    # In one table, as on DynamoDB: nothing but the rows' keys keeps them apart.
    installation = Shared(clock)
    kms = installation.client("kms")
    given = prepared(kms, action)
    before = everything(kms)
    for client in (
        installation.client("kms", who=installation.add_account()),
        installation.client("kms", region=FIPS),
    ):
        # A ciphertext that names no key of the caller's is no ciphertext to it.
        no = (
            "InvalidParameterValue.InvalidCiphertext"
            if action in BLOBS
            else "ResourceUnavailable.CmkNotFound"
        )
        with refused(no):
            call(client, action, **given)
        assert aliases(client) == []
        make(client)
        assert aliases(client) == ["k"]
    assert everything(kms) == before


@pytest.mark.parametrize("action", ALL)
def test_a_dry_run_leaves_nothing(installation: Installation, kms: Client, action: str) -> None:
    given = prepared(kms, action)
    table = installation.service.table(SM)
    before, pk = everything(kms), f"K#{installation.root.uin}#{SM}#{given.get('KeyId', UNKNOWN)}"
    stored = table.query(pk)
    with refused("DryRunOperation") as caught:
        kms.call_raw(action, {**given, "DryRun": True})
    assert CANARY not in str(caught.value)
    assert everything(kms) == before
    assert table.query(pk) == stored


@pytest.mark.parametrize("action", sorted(set(ALL) - READS))
def test_a_dry_run_is_refused_like_the_call_itself(kms: Client, action: str) -> None:
    make(kms, "renamed")
    make(kms, "made")
    key = make(kms)
    if action != "CreateKey":
        bring_to(kms, key, "Archived" if action in ("BindCloudResource", "DisableKeys") else "PendingDelete")
    if action == "CancelKeyDeletion":
        kms.CancelKeyDeletion(KeyId=key)
    if action == "DisableKeyRotation":
        key = UNKNOWN
    codes = []
    for given in ({"DryRun": True}, {}):
        try:
            kms.call_raw(action, {**parameters_of(action, key), **given})
        except Exception as error:  # noqa: BLE001 - its code is compared
            codes.append(getattr(error, "code", ""))
    assert len(codes) == 2
    assert codes[0] == codes[1] != "DryRunOperation"


@pytest.mark.parametrize("action", ALL)
def test_a_call_leaves_one_event_that_names_the_key(
    installation: Installation, kms: Client, action: str
) -> None:
    given = prepared(kms, action)
    installation.clock.advance(1)
    answer = call(kms, action, **given)
    (event,) = [e for e in events(installation) if e["at"] == installation.clock.now_ms()]
    assert (event["id"], event["action"], event["read"]) == (request_id(answer), action, action in READS)
    assert (event["service"], event["region"], event["uin"]) == ("kms", SM, installation.root.uin)
    assert not {"error", "warning"} & set(event)
    if action in OTHER and action != "CreateKey":
        assert "resources" not in event
        return
    keys = given.get("KeyIds") or [given.get("KeyId") or answer.KeyId]
    assert event["resources"] == [f"key/{key}" for key in keys]
    (row,) = [r for r in event_rows(installation) if r.sk.endswith(event["id"])]
    shard = row.pk.rpartition("#")[2]
    for key in keys:
        found = installation.service.table(SM).by_index("resource", f"{installation.root.uin}#{key}#{shard}")
        assert (row.pk, row.sk) in [pointed(r) for r in found]


def test_a_parameter_that_the_action_does_not_have_is_unknown(kms: Client) -> None:
    for action in ALL:
        with refused("UnknownParameter") as caught:
            kms.call_raw(action, {**parameters_of(action, UNKNOWN, "x"), "Surprise": CANARY})
        assert "Surprise" in str(caught.value)
        assert CANARY not in str(caught.value)


def test_every_required_parameter_is_missed_by_name(kms: Client) -> None:
    for action in ALL:
        given = parameters_of(action, UNKNOWN, "x")
        for name in given:
            if (action, name) in OPTIONAL:
                continue
            for without in ({k: v for k, v in given.items() if k != name}, {**given, name: None}):
                with refused("MissingParameter") as caught:
                    kms.call_raw(action, without)
                assert name in str(caught.value)


def test_a_region_is_needed_by_all_but_get_regions(installation: Installation) -> None:
    nowhere, unheard_of = (installation.client("kms", region=region) for region in ("", "ap-nowhere"))
    assert SM in nowhere.GetRegions().Regions
    for action in set(ALL) - {"GetRegions"}:
        given = parameters_of(action, UNKNOWN, "x")
        with refused("MissingParameter"):
            call(nowhere, action, **given)
        with refused("UnsupportedRegion"):
            call(unheard_of, action, **given)


def test_no_plaintext_and_no_description_gets_into_the_trail(installation: Installation, kms: Client) -> None:
    context = json.dumps({"purpose": CANARY})
    key = make(kms, Description=CANARY)
    blob = encrypt(kms, key, context=context)
    assert decrypt(kms, blob, context) == CANARY.encode()
    data_key = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    random = kms.GenerateRandom(NumberOfBytes=32)
    kms.UpdateKeyDescription(KeyId=key, Description=CANARY + "2")
    again = kms.ReEncrypt(CiphertextBlob=blob, SourceEncryptionContext=context).CiphertextBlob
    text = "".join(
        row.body.decode() + json.dumps(dict(row.index)) + row.pk + row.sk for row in event_rows(installation)
    )
    secrets = (CANARY, PLAINTEXT, blob, again, data_key.Plaintext, data_key.CiphertextBlob, random.Plaintext)
    assert not [word for word in secrets if word in text]


USES = ("Encrypt", "GenerateDataKey", *BLOBS)


@pytest.mark.parametrize("action", USES)
def test_the_use_of_a_key_pending_deletion_is_a_warning_in_the_trail(
    installation: Installation, kms: Client, action: str
) -> None:
    key = make(kms)
    given = parameters_of(action, key, encrypt(kms, key))
    used = last_used(kms, key)
    bring_to(kms, key, "PendingDelete")
    before = everything(kms)
    code = "KeyPendingDelete" if action == "GenerateDataKey" else "CmkDisabled"
    with refused(f"ResourceUnavailable.{code}") as caught:
        call(kms, action, **given)
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert (event["warning"], event["resources"]) == ("KeyPendingDelete", [f"key/{key}"])
    assert (everything(kms), last_used(kms, key)) == (before, used)
    # Looking at it is no use.
    looked = kms.DescribeKey(KeyId=key).RequestId
    (event,) = [e for e in events(installation) if e["id"] == looked]
    assert "warning" not in event


def test_reencryption_to_a_key_pending_deletion_is_a_warning_too(
    installation: Installation, kms: Client
) -> None:
    source, leaving = make(kms, "source"), make(kms, "leaving", "PendingDelete")
    with refused("ResourceUnavailable.CmkDisabled") as caught:
        kms.ReEncrypt(CiphertextBlob=encrypt(kms, source), DestinationKeyId=leaving)
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert (event["warning"], event["resources"]) == (
        "KeyPendingDelete",
        [f"key/{source}", f"key/{leaving}"],
    )


def test_a_key_pair_does_not_take_the_place_of_a_symmetric_key(kms: Client) -> None:
    pair, symmetric = make(kms, "pair", KeyUsage="ASYMMETRIC_SIGN_VERIFY_ECC"), make(kms)
    for action in ("Encrypt", "GenerateDataKey", "EnableKeyRotation"):
        with refused("InvalidParameter"):
            call(kms, action, **parameters_of(action, pair))
    with refused("InvalidParameter"):
        kms.ReEncrypt(CiphertextBlob=encrypt(kms, symmetric), DestinationKeyId=pair)
    with refused("UnsupportedOperation.RotateNotSupported"):
        kms.RotateKey(KeyId=pair)


PRODUCT_REFUSES: dict[str, dict[str, Any]] = {
    "ArchiveKey": {},
    "CancelKeyArchive": {},
    "DisableKey": {},
    "ScheduleKeyDeletion": {"PendingWindowInDays": 7},
    # Secrets Manager finds its key by the alias: under another one, it would make a second key.
    "UpdateAlias": {"Alias": "mine"},
}


@pytest.mark.parametrize("action", PRODUCT_REFUSES)
def test_a_products_key_stays_as_it_is(kms: Client, ssm: Client, action: str) -> None:
    key, own = product_key(kms, ssm), make(kms)
    before = everything(kms)
    with refused("UnsupportedOperation.NotUserCreatedCmk"):
        call(kms, action, KeyId=key, **PRODUCT_REFUSES[action])
    if action == "DisableKey":
        with refused("UnsupportedOperation.NotUserCreatedCmk"):
            kms.DisableKeys(KeyIds=[own, key])
    assert everything(kms) == before


def test_a_products_key_is_listed_used_and_rotated(
    installation: Installation, kms: Client, ssm: Client
) -> None:
    key = product_key(kms, ssm)
    assert (aliases(kms), aliases(kms, Role=1)) == ([], ["kms-ssm"])
    assert kms.DescribeKey(KeyId=key).KeyMetadata.Owner == "ssm"
    kms.EnableKey(KeyId=key)
    kms.EnableKeyRotation(KeyId=key)
    kms.RotateKey(KeyId=key)
    assert ssm.GetSecretValue(SecretName="s", VersionId="v1").SecretString == "x"
    ssm.CreateSecret(SecretName="second", VersionId="v1", SecretString="y")
    assert kms.ListKeys(Role=1).TotalCount == 1
    assert decrypt(kms, encrypt(kms, key)) == CANARY.encode()
    assert state_of(kms, key) == "Enabled"
