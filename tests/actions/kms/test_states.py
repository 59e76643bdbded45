"""Which action a key allows in which state, and the state after it: every action in every state."""

import base64
import functools

import pytest

from chalicelib.jobs import schedule
from tests.actions.kms.arrange_keys import (
    BLOBS,
    BOUND,
    DAY,
    MANY,
    ONE,
    STATES,
    bring_to,
    call,
    describe,
    encrypt,
    everything,
    import_material,
    make,
    parameters_of,
    state_of,
    wrapped_material,
)
from tests.actions.ssm.arrange import code
from tests.installation import SM, Client, Installation

NO = "ResourceUnavailable.CmkStateNotSupport"
DISABLED = "ResourceUnavailable.CmkDisabled"
ARCHIVED = "ResourceUnavailable.CmkArchived"
NOT_FOUND = "ResourceUnavailable.CmkNotFound"
NOT_PENDING = "ResourceUnavailable.CmkNotPendingDelete"
NOT_ROTATED = "UnsupportedOperation.RotateNotSupported"
NOT_BOUND = "ResourceUnavailable.CloudResourceBindingNotFound"
# Action -> for Enabled, Disabled, PendingDelete, PendingImport, Archived: `ok` where the state stays, the state
# after it where that changes, or the code that refuses it.
RULES = {
    "Encrypt": ("ok", DISABLED, DISABLED, DISABLED, ARCHIVED),
    "GenerateDataKey": ("ok", DISABLED, "ResourceUnavailable.KeyPendingDelete", DISABLED, ARCHIVED),
    "Decrypt": ("ok", DISABLED, DISABLED, DISABLED, "ok"),
    "ReEncrypt": ("ok", DISABLED, DISABLED, DISABLED, ARCHIVED),
    "EnableKey": ("ok", "Enabled", NO, NO, NO),
    "EnableKeys": ("ok", "Enabled", NO, NO, NO),
    "DisableKey": ("Disabled", "ok", NO, NO, NO),
    "DisableKeys": ("Disabled", "ok", NO, NO, NO),
    "ArchiveKey": ("Archived", "Archived", NO, NO, "ok"),
    "CancelKeyArchive": (NO, NO, NO, NO, "Enabled"),
    "ScheduleKeyDeletion": (
        "ResourceUnavailable.CmkShouldBeDisabled",
        "PendingDelete",
        NO,
        "PendingDelete",
        "PendingDelete",
    ),
    "CancelKeyDeletion": (NOT_PENDING, NOT_PENDING, "Disabled", NOT_PENDING, NOT_PENDING),
    "UpdateAlias": ("ok", "ok", NO, "ok", "ok"),
    "UpdateKeyDescription": ("ok", "ok", NO, "ok", "ok"),
    # Only external keys wait for material. That they never rotate is the refusal that does not make Terraform retry.
    "EnableKeyRotation": ("ok", "ok", NO, "UnsupportedOperation.ExternalCmkCanNotRotate", NO),
    "DisableKeyRotation": ("ok",) * 5,
    "GetKeyRotationStatus": ("ok",) * 5,
    "RotateKey": ("ok", NOT_ROTATED, NOT_ROTATED, NOT_ROTATED, NOT_ROTATED),
    "ListKeyRotations": ("ok",) * 5,
    "BindCloudResource": ("ok", NO, NO, NO, NO),
    "UnbindCloudResource": (NOT_BOUND,) * 5,
    "DescribeKey": ("ok",) * 5,
    "DescribeKeys": ("ok",) * 5,
}
EXTERNAL_RULES = {
    "GetParametersForImport": ("ok", "ok", NO, "ok", "ok"),
    "DeleteImportedKeyMaterial": ("PendingImport", "PendingImport", NO, NO, NO),
    "ImportKeyMaterial": ("ok", NO, NO, "Enabled", NO),
}
PUBLIC_RULES = dict.fromkeys(("GetPublicKey", "Sign", "Verify"), ("ok", NO, NO, NO))
PUBLIC_STATES = ("Enabled", "Disabled", "PendingDelete", "Archived")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", RULES)
def test_state_rules(kms: Client, action: str, state: str) -> None:
    blob = ""
    if state == "PendingImport" and action in BLOBS:
        # There is no ciphertext without material: it was there once.
        key = make(kms, state=state)
        import_material(kms, key)
        blob = encrypt(kms, key)
        kms.DeleteImportedKeyMaterial(KeyId=key)
    else:
        key = make(kms, state="PendingImport" if state == "PendingImport" else "Enabled")
        if action in BLOBS:
            blob = encrypt(kms, key)
        if action == "RotateKey" and state != "PendingImport":
            kms.EnableKeyRotation(KeyId=key)
        if state != "PendingImport":
            bring_to(kms, key, state)
    before, expected = everything(kms), RULES[action][STATES.index(state)]
    ended = code(functools.partial(call, kms, action, **parameters_of(action, key, blob)))
    if expected in STATES:
        assert (ended, state_of(kms, key)) == ("ok", expected)
    else:
        assert (ended, state_of(kms, key)) == (expected, state)
    if ended != "ok":
        assert everything(kms) == before, "a refusal changes nothing"


@pytest.mark.parametrize("action", RULES)
def test_a_key_is_gone_at_its_deletion_date_swept_or_not(
    installation: Installation, kms: Client, action: str
) -> None:
    key = make(kms)
    kms.EnableKeyRotation(KeyId=key)
    blob = encrypt(kms, key)
    bring_to(kms, key, "PendingDelete")
    installation.clock.advance(7 * DAY - 1)
    assert state_of(kms, key) == "PendingDelete"
    installation.clock.advance(1)
    for _ in range(2):
        assert code(functools.partial(call, kms, action, **parameters_of(action, key, blob))) == NOT_FOUND
        assert (kms.ListKeys().TotalCount, kms.ListKeyDetail().TotalCount) == (0, 0)
        assert kms.GetServiceStatus().CmkUserCount == 0
        schedule.run(installation.service, "delete_expired_keys")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", EXTERNAL_RULES)
def test_state_rules_of_imported_material(kms: Client, action: str, state: str) -> None:
    key = make(kms, state="PendingImport")
    material = wrapped_material(kms, key)
    if state != "PendingImport":
        kms.ImportKeyMaterial(**material)
        material = wrapped_material(kms, key) if action == "ImportKeyMaterial" else {}
        bring_to(kms, key, state)
    given = {
        "GetParametersForImport": {
            "KeyId": key,
            "WrappingAlgorithm": "RSAES_PKCS1_V1_5",
            "WrappingKeySpec": "RSA_2048",
        },
        "ImportKeyMaterial": material,
        "DeleteImportedKeyMaterial": {"KeyId": key},
    }[action]
    expected = EXTERNAL_RULES[action][STATES.index(state)]
    ended = code(functools.partial(getattr(kms, action), **given))
    if expected in STATES:
        assert (ended, state_of(kms, key)) == ("ok", expected)
    else:
        assert (ended, state_of(kms, key)) == (expected, state)


def test_a_key_with_imported_material_is_never_rotated(kms: Client) -> None:
    key = make(kms, state="PendingImport")
    import_material(kms, key)
    assert code(lambda: kms.EnableKeyRotation(KeyId=key)) == "UnsupportedOperation.ExternalCmkCanNotRotate"
    assert code(lambda: kms.RotateKey(KeyId=key)) == NOT_ROTATED


@pytest.mark.parametrize("state", PUBLIC_STATES)
def test_state_rules_of_key_pairs(kms: Client, state: str) -> None:
    key = make(kms, KeyUsage="ASYMMETRIC_SIGN_VERIFY_ECC")
    sign = {"KeyId": key, "Algorithm": "ECC_P256_R1", "Message": base64.b64encode(b"m").decode()}
    verify = {**sign, "SignatureValue": kms.SignByAsymmetricKey(**sign).Signature}
    bring_to(kms, key, state)
    ended = {
        "GetPublicKey": code(lambda: kms.GetPublicKey(KeyId=key)),
        "Sign": code(lambda: kms.SignByAsymmetricKey(**sign)),
        "Verify": code(lambda: kms.VerifyByAsymmetricKey(**verify)),
    }
    at = PUBLIC_STATES.index(state)
    assert ended == {action: row[at] for action, row in PUBLIC_RULES.items()}


@pytest.mark.parametrize("state", PUBLIC_STATES)
def test_state_rules_of_asymmetric_decryption(kms: Client, state: str) -> None:
    # No ciphertext of theirs: it is refused as such where the state lets it through.
    opened = "FailedOperation.DecryptError"
    garbage = base64.b64encode(bytes(256)).decode()
    rsa = make(kms, "rsa", state, KeyUsage="ASYMMETRIC_DECRYPT_RSA_2048")
    given = {"KeyId": rsa, "Ciphertext": garbage, "Algorithm": "RSAES_OAEP_SHA_256"}
    assert code(lambda: kms.AsymmetricRsaDecrypt(**given)) == (opened if state == "Enabled" else NO)


def test_a_key_without_material_waits_for_it_again_when_its_deletion_is_cancelled(kms: Client) -> None:
    key = make(kms, state="PendingImport")
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    kms.CancelKeyDeletion(KeyId=key)
    assert (state_of(kms, key), describe(kms, key).DeletionDate) == ("PendingImport", 0)


@pytest.mark.parametrize("state", ["Enabled", "Disabled", "Archived"])
def test_material_past_its_end_leaves_a_key_that_waits_for_it(
    installation: Installation, kms: Client, state: str
) -> None:
    key = make(kms, state="PendingImport")
    import_material(kms, key, ValidTo=installation.clock.now() + 100)
    blob = encrypt(kms, key)
    bring_to(kms, key, state)
    installation.clock.advance(99)
    assert state_of(kms, key) == state
    installation.clock.advance(1)
    assert state_of(kms, key) == "PendingImport"
    # Every view of the key agrees, before the job has run and after it.
    for _ in range(2):
        assert kms.DescribeKeys(KeyIds=[key]).KeyMetadatas[0].KeyState == "PendingImport"
        assert [m.KeyState for m in kms.ListKeyDetail(KeyState=4).KeyMetadatas] == ["PendingImport"]
        assert kms.ListKeyDetail(KeyState=STATES.index(state) + 1).TotalCount == 0
        assert [k.KeyId for k in kms.ListKeys().Keys] == [key]
        assert code(lambda: kms.Decrypt(CiphertextBlob=blob)) == DISABLED
        schedule.run(installation.service, "expire_imported_material")
    assert schedule.run(installation.service, "expire_imported_material")[SM].done == 0


def test_a_bound_key_is_neither_disabled_nor_archived_nor_scheduled(kms: Client) -> None:
    key, other = make(kms), make(kms, "other")
    kms.BindCloudResource(KeyId=key, **BOUND)
    before = everything(kms)
    used = "FailedOperation.CmkUsedByCloudProduct"
    assert code(lambda: kms.DisableKey(KeyId=key)) == used
    assert code(lambda: kms.DisableKeys(KeyIds=[other, key])) == used
    assert code(lambda: kms.ArchiveKey(KeyId=key)) == used
    assert code(lambda: kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)) == used
    assert everything(kms) == before


def test_every_action_has_its_rules() -> None:
    assert set(RULES) == {*ONE, *MANY, *BLOBS}
