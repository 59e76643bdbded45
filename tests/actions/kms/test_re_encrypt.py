import pytest

from tests.actions.kms.arrange_keys import UNKNOWN, decrypt, encrypt, last_used, make, rotate
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused

CONTEXT = '{"a":"b","c":"d"}'


def test_to_another_key(kms: Client) -> None:
    source, destination = make(kms, "source"), make(kms, "destination")
    blob = encrypt(kms, source, b"p")
    answer = outputs(kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId=destination))
    again = answer.pop("CiphertextBlob")
    assert answer == {"KeyId": destination, "SourceKeyId": source, "ReEncrypted": True}
    assert kms.Decrypt(CiphertextBlob=again).KeyId == destination
    assert decrypt(kms, again) == decrypt(kms, blob) == b"p"


@pytest.mark.parametrize("given", [{}, {"DestinationKeyId": ""}])
def test_the_same_key_unrotated_answers_the_same_ciphertext(kms: Client, given: dict[str, str]) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p")
    same = {"CiphertextBlob": blob, "KeyId": key, "SourceKeyId": key, "ReEncrypted": False}
    assert outputs(kms.ReEncrypt(CiphertextBlob=blob, **given)) == same
    assert outputs(kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId=key)) == same


def test_the_newest_material_is_used(installation: Installation, kms: Client) -> None:
    key = make(kms)
    kms.EnableKeyRotation(KeyId=key)
    blob = encrypt(kms, key, b"p")
    rotate(installation, kms, key)
    answer = kms.ReEncrypt(CiphertextBlob=blob)
    assert (answer.ReEncrypted, answer.KeyId) == (True, key)
    assert decrypt(kms, answer.CiphertextBlob) == b"p"
    # Which is the end of it.
    again = kms.ReEncrypt(CiphertextBlob=answer.CiphertextBlob)
    assert (again.ReEncrypted, again.CiphertextBlob) == (False, answer.CiphertextBlob)


def test_the_context_changes(kms: Client) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p", CONTEXT)
    with refused("InvalidParameterValue.InvalidCiphertext"):
        kms.ReEncrypt(CiphertextBlob=blob)
    with refused("InvalidParameterValue.InvalidCiphertext"):
        kms.ReEncrypt(CiphertextBlob=blob, DestinationEncryptionContext=CONTEXT)
    # As another text of the same map: nothing changes.
    same = kms.ReEncrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext=CONTEXT,
        DestinationEncryptionContext='{ "c": "d", "a": "b" }',
    )
    assert (same.ReEncrypted, same.CiphertextBlob) == (False, blob)
    for context in ('{"a":"b"}', "{}", ""):
        answer = kms.ReEncrypt(
            CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationEncryptionContext=context
        )
        assert (answer.ReEncrypted, answer.KeyId) == (True, key)
        assert decrypt(kms, answer.CiphertextBlob, context) == b"p"
        with refused("InvalidParameterValue.InvalidCiphertext"):
            decrypt(kms, answer.CiphertextBlob, CONTEXT)
    for name in ("SourceEncryptionContext", "DestinationEncryptionContext"):
        for wrong in ("no JSON", "{" + " " * 1023 + "}"):
            with refused("InvalidParameter"):
                kms.ReEncrypt(**{"CiphertextBlob": encrypt(kms, key), name: wrong})


def test_the_source_decrypts_and_the_destination_encrypts(kms: Client) -> None:
    source, destination = make(kms, "source"), make(kms, "destination")
    blob = encrypt(kms, source, b"p")
    kms.ArchiveKey(KeyId=source)
    moved = kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId=destination)
    assert decrypt(kms, moved.CiphertextBlob) == b"p"
    for given in ({}, {"DestinationKeyId": source}):
        with refused("ResourceUnavailable.CmkArchived"):
            kms.ReEncrypt(CiphertextBlob=blob, **given)
    kms.DisableKey(KeyId=destination)
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId=destination)
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.ReEncrypt(CiphertextBlob=moved.CiphertextBlob, DestinationKeyId=source)
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId=UNKNOWN)
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId="destination")


def test_the_destination_is_not_touched_by_a_ciphertext_that_does_not_open(kms: Client) -> None:
    source, destination = make(kms, "source"), make(kms, "destination")
    blob = encrypt(kms, source, context=CONTEXT)
    with refused("InvalidParameterValue.InvalidCiphertext"):
        kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId=destination)
    assert last_used(kms, destination) == 0
