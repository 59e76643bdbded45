"""The orders in which Terraform's provider calls KMS, with what it reads between the calls.

Tags are the business of the Tag API, which it calls beside these.
"""

import base64
from typing import Any

import pytest

from tests.actions.kms.arrange_keys import DAY, describe, import_material, make, wrapped_material
from tests.actions.ssm.arrange import code
from tests.installation import FIPS, SM, Client, Installation, refused

# What the provider dereferences without a check.
DEREFERENCED = ("Alias", "Description", "KeyState", "KeyUsage", "KeyRotationEnabled", "ResourceId", "ValidTo")
USAGES = ("ENCRYPT_DECRYPT", "ASYMMETRIC_DECRYPT_RSA_2048", "ASYMMETRIC_SIGN_VERIFY_ECC")


def read(kms: Client, key: str) -> Any:
    shown = describe(kms, key)
    assert [name for name in DEREFERENCED if getattr(shown, name) is None] == []
    assert shown.ResourceId.rpartition("/")[2] == key
    return shown


def create(kms: Client, *, is_enabled: bool, is_rotated: bool, is_archived: bool, **given: Any) -> str:
    key = str(kms.CreateKey(Type=1, Alias="tf", Description="d", KeyUsage="ENCRYPT_DECRYPT", **given).KeyId)
    if not is_enabled:
        kms.DisableKey(KeyId=key)
    if is_rotated:
        kms.EnableKeyRotation(KeyId=key)
    if is_archived:
        kms.ArchiveKey(KeyId=key)
    read(kms, key)
    return key


def destroy(kms: Client, key: str, *, is_enabled: bool, days: int = 7) -> None:
    if is_enabled:
        kms.DisableKey(KeyId=key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=days)
    assert read(kms, key).KeyState == "PendingDelete"


@pytest.mark.parametrize(
    ("is_enabled", "is_archived", "state"),
    [(True, False, "Enabled"), (False, False, "Disabled"), (False, True, "Archived")],
)
@pytest.mark.parametrize("is_rotated", [False, True])
def test_a_key_is_created_read_and_destroyed(
    kms: Client, *, is_enabled: bool, is_archived: bool, is_rotated: bool, state: str
) -> None:
    key = create(kms, is_enabled=is_enabled, is_rotated=is_rotated, is_archived=is_archived)
    shown = read(kms, key)
    assert (shown.KeyState, shown.KeyRotationEnabled) == (state, is_rotated)
    destroy(kms, key, is_enabled=is_enabled)


def test_every_update_sends_one_state_again_also_when_nothing_changed(kms: Client) -> None:
    key = create(kms, is_enabled=True, is_rotated=False, is_archived=False)
    for action, state in (
        ("EnableKey", "Enabled"),
        ("EnableKey", "Enabled"),
        ("DisableKey", "Disabled"),
        ("DisableKey", "Disabled"),
        ("ArchiveKey", "Archived"),
        ("ArchiveKey", "Archived"),
        ("CancelKeyArchive", "Enabled"),
        ("EnableKey", "Enabled"),
    ):
        getattr(kms, action)(KeyId=key)
        assert read(kms, key).KeyState == state
    kms.UpdateKeyDescription(KeyId=key, Description="")
    kms.UpdateAlias(KeyId=key, Alias="tf")
    kms.UpdateAlias(KeyId=key, Alias="tf2")
    for action in ("EnableKeyRotation", "EnableKeyRotation", "DisableKeyRotation", "DisableKeyRotation"):
        getattr(kms, action)(KeyId=key)
    shown = read(kms, key)
    assert (shown.Alias, shown.Description, shown.KeyRotationEnabled) == ("tf2", "", False)


def test_a_destroyed_key_is_not_found_once_its_day_has_come(installation: Installation, kms: Client) -> None:
    key = create(kms, is_enabled=False, is_rotated=False, is_archived=False)
    destroy(kms, key, is_enabled=False, days=30)
    # It is gone for good at last, and a second `destroy` finds that.
    installation.clock.advance(30 * DAY)
    with refused("ResourceUnavailable.CmkNotFound"):
        describe(kms, key)


def test_destroying_does_not_make_the_provider_wait_for_minutes(kms: Client) -> None:
    # Codes that start with ResourceInUse, ResourceUnavailable or RequestLimitExceeded are tried again and again.
    key = make(kms)
    kms.BindCloudResource(KeyId=key, ProductId="cbs", ResourceId="disk")
    for call in (
        lambda: kms.DisableKey(KeyId=key),
        lambda: kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7),
        lambda: kms.CreateKey(Alias="k"),
        lambda: kms.CreateKey(Alias="k2", KeyUsage="x"),
        lambda: kms.EnableKeyRotation(KeyId=make(kms, "external", Type=2)),
    ):
        ended = code(call)
        assert ended != "ok"
        assert ended.partition(".")[0] not in ("ResourceInUse", "ResourceUnavailable", "RequestLimitExceeded")


@pytest.mark.parametrize(("region", "length"), [(SM, 16), (FIPS, 32)])
def test_an_external_key_is_created_updated_and_destroyed(
    installation: Installation, region: str, length: int
) -> None:
    kms = installation.client("kms", region)
    key = kms.CreateKey(Type=2, Alias="tf", Description="", KeyUsage="ENCRYPT_DECRYPT").KeyId
    assert read(kms, key).KeyState == "PendingImport"
    material = bytes(range(length))
    # ValidTo is sent even when it is 0, and as text by an official example.
    kms.call_raw("ImportKeyMaterial", {**wrapped_material(kms, key, material), "ValidTo": "0"})
    assert (read(kms, key).KeyState, read(kms, key).ValidTo) == ("Enabled", 0)
    valid_to = installation.clock.now() + DAY
    kms.ImportKeyMaterial(**wrapped_material(kms, key, material), ValidTo=valid_to)
    assert read(kms, key).ValidTo == valid_to
    kms.DeleteImportedKeyMaterial(KeyId=key)
    assert read(kms, key).KeyState == "PendingImport"
    destroy(kms, key, is_enabled=False)


def test_an_external_key_may_be_disabled_or_archived_from_the_start(kms: Client) -> None:
    for alias, action, state in (("a", "DisableKey", "Disabled"), ("b", "ArchiveKey", "Archived")):
        key = make(kms, alias, Type=2)
        import_material(kms, key, ValidTo=0)
        getattr(kms, action)(KeyId=key)
        assert read(kms, key).KeyState == state
        destroy(kms, key, is_enabled=False)


def test_the_data_sources(installation: Installation, kms: Client) -> None:
    keys = [make(kms, f"k{i}", KeyUsage=usage) for i, usage in enumerate(USAGES)]
    make(kms, "external", Type=2)
    assert {m.KeyId for m in kms.ListKeyDetail(Limit=200, Offset=0, KeyUsage="ALL").KeyMetadatas} >= {*keys}
    assert kms.ListKeyDetail(Limit=200, Offset=200).KeyMetadatas == []
    # It pages with 20 until a page is short.
    assert len(kms.ListKeys(Limit=20, Offset=0, Role=0).Keys) == 4
    assert {m.KeyId for m in kms.DescribeKeys(KeyIds=keys).KeyMetadatas} == {*keys}
    public = kms.GetPublicKey(KeyId=keys[1])
    assert base64.b64decode(public.PublicKey)
    assert "BEGIN PUBLIC KEY" in public.PublicKeyPem
    algorithms = kms.ListAlgorithms()
    assert algorithms.SymmetricAlgorithms
    assert algorithms.AsymmetricAlgorithms
    assert algorithms.AsymmetricSignVerifyAlgorithms
    assert kms.GetServiceStatus().ServiceEnabled is True
