from tests.actions.kms.importing import import_material, make_external, state
from tests.installation import FIPS, Client, Installation, refused


def test_the_key_waits_for_the_same_material(kms: Client) -> None:
    key = make_external(kms)
    import_material(kms, key)
    blob = kms.Encrypt(KeyId=key, Plaintext="aGk=").CiphertextBlob
    kms.DeleteImportedKeyMaterial(KeyId=key)
    assert state(kms, key) == "PendingImport"
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.Decrypt(CiphertextBlob=blob)
    import_material(kms, key)
    assert kms.Decrypt(CiphertextBlob=blob).Plaintext == "aGk="


def test_states(kms: Client) -> None:
    key = make_external(kms)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.DeleteImportedKeyMaterial(KeyId=key)
    import_material(kms, key)
    kms.ArchiveKey(KeyId=key)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.DeleteImportedKeyMaterial(KeyId=key)
    kms.CancelKeyArchive(KeyId=key)
    kms.DisableKey(KeyId=key)
    kms.DeleteImportedKeyMaterial(KeyId=key)
    assert state(kms, key) == "PendingImport"
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.DeleteImportedKeyMaterial(KeyId=key)
    kms.CancelKeyDeletion(KeyId=key)
    assert state(kms, key) == "PendingImport"


def test_a_bound_key_keeps_its_material(kms: Client) -> None:
    key = make_external(kms)
    import_material(kms, key)
    kms.BindCloudResource(KeyId=key, ProductId="cbs", ResourceId="disk-1")
    with refused("FailedOperation.CmkUsedByCloudProduct"):
        kms.DeleteImportedKeyMaterial(KeyId=key)


def test_binding_ends_the_automatic_expiry(kms: Client, installation: Installation) -> None:
    key = make_external(kms)
    import_material(kms, key, valid_to=installation.clock.now() + 60)
    kms.BindCloudResource(KeyId=key, ProductId="cbs", ResourceId="disk-1")
    installation.clock.advance(61)
    assert state(kms, key) == "Enabled"
    assert kms.DescribeKey(KeyId=key).KeyMetadata.ValidTo == 0


def test_refusals(kms: Client, installation: Installation) -> None:
    with refused("UnsupportedOperation.NotExternalCmk"):
        kms.DeleteImportedKeyMaterial(KeyId=kms.CreateKey(Alias="own").KeyId)
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.DeleteImportedKeyMaterial(KeyId="x")
    with refused("ResourceUnavailable.CmkNotFound"):
        installation.client("kms", FIPS).DeleteImportedKeyMaterial(KeyId=make_external(kms))
