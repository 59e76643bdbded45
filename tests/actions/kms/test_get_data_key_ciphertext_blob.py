from tests.actions.kms.arrange_data_keys import bring_key_to, make, make_key
from tests.installation import Client, Installation, refused


def test_decrypt_opens_it_without_a_context(kms: Client) -> None:
    data_key = make(kms)
    blobs = {kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob for _ in range(2)}
    assert len(blobs) == 1
    opened = kms.Decrypt(CiphertextBlob=blobs.pop())
    assert (opened.KeyId, opened.Plaintext) == (
        make_key(kms),
        kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext,
    )


def test_it_is_the_same_after_a_rotation(kms: Client) -> None:
    key, data_key = make_key(kms), make(kms)
    blob = kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob
    kms.EnableKeyRotation(KeyId=key)
    kms.RotateKey(KeyId=key)
    assert kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob == blob
    assert kms.Decrypt(CiphertextBlob=blob).KeyId == key


def test_the_keys_state_does_not_matter(installation: Installation, kms: Client) -> None:
    data_key = make(kms)
    blob = kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob
    bring_key_to(installation, kms, make_key(kms), "gone")
    assert kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob == blob
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.Decrypt(CiphertextBlob=blob)


def test_the_id_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.GetDataKeyCiphertextBlob()
