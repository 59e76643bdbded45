import base64
from pathlib import Path

from tests.actions.kms.asymmetric import make, other_byte
from tests.actions.kms.openssl import needs_openssl, openssl
from tests.installation import FIPS, Client, Installation, refused

USAGE = "PQC_DECRYPT_ML_KEM_1024"


def test_an_archived_key_still_decrypts_and_a_disabled_one_does_not(kms: Client) -> None:
    key = make(kms, USAGE)
    blob = kms.PostQuantumCryptoEncrypt(KeyId=key, PlainText="aGk=").CiphertextBlob
    kms.ArchiveKey(KeyId=key)
    answer = kms.PostQuantumCryptoDecrypt(CiphertextBlob=blob)
    assert (answer.KeyId, answer.PlainText) == (key, "aGk=")
    kms.CancelKeyArchive(KeyId=key)
    kms.DisableKey(KeyId=key)
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.PostQuantumCryptoDecrypt(CiphertextBlob=blob)


def test_every_kind_of_damage_has_one_outcome(kms: Client) -> None:
    blob = kms.PostQuantumCryptoEncrypt(KeyId=make(kms, USAGE), PlainText="aGk=").CiphertextBlob
    length = len(base64.b64decode(blob))
    messages = set()
    # 0 version, 17-20 backing version, 21 the message's version, then the encapsulated secret, iv, ciphertext, tag.
    for at in (0, 17, 20, 21, 22, 800, 1589, 1590, length - 17, length - 1):
        with refused("InvalidParameterValue.InvalidCiphertext") as caught:
            kms.PostQuantumCryptoDecrypt(CiphertextBlob=other_byte(blob, at))
        messages.add(caught.value.message)
    for bad in (blob[:-4], blob[:2000], "x", blob + "AAAA"):
        with refused("InvalidParameterValue.InvalidCiphertext"):
            kms.PostQuantumCryptoDecrypt(CiphertextBlob=bad)
    assert len(messages) == 1


def test_blobs_of_the_two_kinds_do_not_mix(kms: Client, installation: Installation) -> None:
    blob = kms.PostQuantumCryptoEncrypt(KeyId=make(kms, USAGE), PlainText="aGk=").CiphertextBlob
    symmetric = kms.Encrypt(KeyId=make(kms, "ENCRYPT_DECRYPT", "e"), Plaintext="aGk=").CiphertextBlob
    with refused("InvalidParameter"):
        kms.Decrypt(CiphertextBlob=blob)
    with refused("InvalidParameter"):
        kms.PostQuantumCryptoDecrypt(CiphertextBlob=symmetric)
    with refused("InvalidParameterValue.InvalidCiphertext"):
        installation.client("kms", FIPS).PostQuantumCryptoDecrypt(CiphertextBlob=blob)


@needs_openssl
def test_the_plaintext_can_be_wrapped_for_the_caller(kms: Client, tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(openssl("genrsa", "2048"))
    pem = openssl("rsa", "-in", str(private), "-pubout").decode()
    blob = kms.PostQuantumCryptoEncrypt(KeyId=make(kms, USAGE), PlainText="aGk=").CiphertextBlob
    wrapped = kms.PostQuantumCryptoDecrypt(
        CiphertextBlob=blob, EncryptionPublicKey=pem, EncryptionAlgorithm="RSAES_PKCS1_V1_5"
    ).PlainText
    opened = openssl("pkeyutl", "-decrypt", "-inkey", str(private), stdin=base64.b64decode(wrapped))
    assert opened == b"hi"
    with refused("FailedOperation.EncryptionError"):
        kms.PostQuantumCryptoDecrypt(CiphertextBlob=blob, EncryptionPublicKey="x")
