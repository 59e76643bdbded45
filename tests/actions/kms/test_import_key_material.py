import base64
from concurrent.futures import ThreadPoolExecutor

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from chalicelib.clock import ManualClock
from tests.actions.kms.asymmetric import b64, other_byte
from tests.actions.kms.importing import (
    MATERIAL,
    PADDINGS,
    import_material,
    make_external,
    parameters,
    state,
    wrap,
)
from tests.installation import FIPS, Client, Installation, refused

DAY = 86400


@pytest.mark.parametrize("algorithm", PADDINGS)
@pytest.mark.parametrize(("region", "length"), [("ap-guangzhou", 16), (FIPS, 32)])
def test_the_imported_key_works(installation: Installation, region: str, length: int, algorithm: str) -> None:
    kms = installation.client("kms", region)
    key = make_external(kms)
    assert state(kms, key) == "PendingImport"
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.Encrypt(KeyId=key, Plaintext="aGk=")
    import_material(kms, key, bytes(range(length)), algorithm=algorithm)
    assert state(kms, key) == "Enabled"
    assert kms.DescribeKey(KeyId=key).KeyMetadata.Origin == "EXTERNAL"
    blob = kms.Encrypt(KeyId=key, Plaintext="aGk=").CiphertextBlob
    assert kms.Decrypt(CiphertextBlob=blob).Plaintext == "aGk="


def test_the_same_material_again_renews_its_end_and_opens_what_there_is(
    kms: Client, clock: ManualClock
) -> None:
    key = make_external(kms)
    import_material(kms, key, valid_to=clock.now() + 60)
    blob = kms.Encrypt(KeyId=key, Plaintext="aGk=").CiphertextBlob
    import_material(kms, key)
    assert kms.DescribeKey(KeyId=key).KeyMetadata.ValidTo == 0
    clock.advance(61)
    assert kms.Decrypt(CiphertextBlob=blob).Plaintext == "aGk="


def test_other_material_never_fits_again(kms: Client) -> None:
    key = make_external(kms)
    import_material(kms, key)
    for _ in range(2):
        with refused("InvalidParameterValue.MaterialNotMatch"):
            import_material(kms, key, bytes(16))
        if state(kms, key) == "Enabled":
            kms.DeleteImportedKeyMaterial(KeyId=key)  # the material is gone, the binding to it is not
    import_material(kms, key)
    assert state(kms, key) == "Enabled"


def test_ciphertexts_are_not_exchangeable_between_keys_of_the_same_material(kms: Client) -> None:
    first, second = make_external(kms, "one"), make_external(kms, "two")
    import_material(kms, first)
    import_material(kms, second)
    blob = bytearray(base64.b64decode(kms.Encrypt(KeyId=first, Plaintext="aGk=").CiphertextBlob))
    blob[1:17] = bytes.fromhex(second.replace("-", ""))
    with refused("InvalidParameterValue.InvalidCiphertext"):
        kms.Decrypt(CiphertextBlob=b64(bytes(blob)))


def test_material_past_its_end_is_gone_before_any_job_ran(kms: Client, clock: ManualClock) -> None:
    key = make_external(kms)
    import_material(kms, key, valid_to=clock.now() + 60)
    blob = kms.Encrypt(KeyId=key, Plaintext="aGk=").CiphertextBlob
    clock.advance(59)
    assert state(kms, key) == "Enabled"
    clock.advance(1)
    assert state(kms, key) == "PendingImport"
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.Encrypt(KeyId=key, Plaintext="aGk=")
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.Decrypt(CiphertextBlob=blob)
    import_material(kms, key)
    assert kms.Decrypt(CiphertextBlob=blob).Plaintext == "aGk="


def test_valid_to_at_both_ends(kms: Client, clock: ManualClock) -> None:
    key = make_external(kms)
    for bad in (clock.now(), clock.now() - 1, 2147443201):
        with refused("InvalidParameter"):
            import_material(kms, key, valid_to=bad)
    for good in (clock.now() + 1, 2147443200, 0):
        import_material(kms, key, valid_to=good)
        assert kms.DescribeKey(KeyId=key).KeyMetadata.ValidTo == good
    # An official example sends the number as a string.
    given = parameters(kms, key)
    call = {"KeyId": key, "ImportToken": given.ImportToken, "ValidTo": "0"}
    kms.call_raw("ImportKeyMaterial", {**call, "EncryptedKeyMaterial": wrap(given.PublicKey, MATERIAL)})


@pytest.mark.parametrize("algorithm", PADDINGS)
def test_every_bad_blob_has_one_outcome(kms: Client, algorithm: str) -> None:
    key = make_external(kms)
    given = parameters(kms, key, algorithm)
    good = wrap(given.PublicKey, MATERIAL, algorithm)
    bad = [
        other_byte(good, 0),
        other_byte(good, 255),
        b64(bytes(256)),
        b64(b"\xff" * 256),
        b64(b"short"),
        "not base64",
        *(wrap(given.PublicKey, bytes(n), algorithm) for n in (0, 1, 15, 17, 31, 32, 33)),
        *(wrap(given.PublicKey, MATERIAL, other) for other in PADDINGS if other != algorithm),
    ]
    messages = set()
    for blob in bad:
        with refused("InvalidParameter.DecryptMaterialError") as caught:
            kms.ImportKeyMaterial(KeyId=key, ImportToken=given.ImportToken, EncryptedKeyMaterial=blob)
        messages.add(caught.value.message.replace("EncryptedKeyMaterial", ""))
    assert len(messages - {m for m in messages if "base64" in m}) == 1
    kms.ImportKeyMaterial(KeyId=key, ImportToken=given.ImportToken, EncryptedKeyMaterial=good)


def test_a_token_serves_once_one_key_and_a_day(
    kms: Client, clock: ManualClock, installation: Installation
) -> None:
    key, other = make_external(kms), make_external(kms, "other")
    given = parameters(kms, key)
    call = {"ImportToken": given.ImportToken, "EncryptedKeyMaterial": wrap(given.PublicKey, MATERIAL)}
    with refused("ResourceUnavailable.TokenExpired"):
        kms.ImportKeyMaterial(KeyId=other, **call)
    with refused("ResourceUnavailable.CmkNotFound"):
        installation.client("kms", FIPS).ImportKeyMaterial(KeyId=key, **call)
    with refused("ResourceUnavailable.CmkNotFound"):
        installation.client("kms", who=installation.add_account()).ImportKeyMaterial(KeyId=key, **call)
    kms.ImportKeyMaterial(KeyId=key, **call)
    with refused("ResourceUnavailable.TokenExpired"):
        kms.ImportKeyMaterial(KeyId=key, **call)
    given = parameters(kms, other)
    clock.advance(DAY)
    with refused("ResourceUnavailable.TokenExpired"):
        kms.ImportKeyMaterial(
            KeyId=other,
            ImportToken=given.ImportToken,
            EncryptedKeyMaterial=wrap(given.PublicKey, MATERIAL),
        )


def test_one_of_many_at_once_uses_the_token(installation: Installation) -> None:
    kms = installation.client("kms")
    key = make_external(kms)
    given = parameters(kms, key)
    call = {
        "KeyId": key,
        "ImportToken": given.ImportToken,
        "EncryptedKeyMaterial": wrap(given.PublicKey, MATERIAL),
    }

    def outcome(client: Client) -> str:
        try:
            client.ImportKeyMaterial(**call)
        except TencentCloudSDKException as error:
            return str(error.code)
        return "imported"

    with ThreadPoolExecutor(6) as pool:
        found = sorted(pool.map(outcome, [installation.client("kms") for _ in range(6)]))
    assert found == ["ResourceUnavailable.TokenExpired"] * 5 + ["imported"]


def test_states(kms: Client) -> None:
    key = make_external(kms)
    import_material(kms, key)
    for method in (kms.ArchiveKey, kms.CancelKeyArchive, kms.DisableKey):
        method(KeyId=key)
        if state(kms, key) == "Enabled":
            continue
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            import_material(kms, key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.ImportKeyMaterial(KeyId=key, ImportToken=b64(bytes(32)), EncryptedKeyMaterial=b64(bytes(256)))


def test_refusals(kms: Client) -> None:
    call = {"ImportToken": b64(bytes(32)), "EncryptedKeyMaterial": b64(bytes(256))}
    with refused("UnsupportedOperation.NotExternalCmk"):
        kms.ImportKeyMaterial(KeyId=kms.CreateKey(Alias="own").KeyId, **call)
    key = make_external(kms)
    with refused("ResourceUnavailable.TokenExpired"):
        kms.ImportKeyMaterial(KeyId=key, **call)
    with refused("InvalidParameter"):
        kms.ImportKeyMaterial(KeyId=key, **{**call, "ImportToken": b64(bytes(31))})
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.ImportKeyMaterial(KeyId="x", **call)
    with refused("InvalidParameterValue.InvalidType"):
        kms.CreateKey(Alias="pair", Type=2, KeyUsage="ASYMMETRIC_DECRYPT_RSA_2048")


def test_an_external_key_does_not_rotate(kms: Client) -> None:
    key = make_external(kms)
    import_material(kms, key)
    with refused("UnsupportedOperation.ExternalCmkCanNotRotate"):
        kms.EnableKeyRotation(KeyId=key)
    with refused("UnsupportedOperation.RotateNotSupported"):
        kms.RotateKey(KeyId=key)
