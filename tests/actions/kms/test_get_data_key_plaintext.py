import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from chalicelib.formats import ciphertext_blob, record
from chalicelib.table.port import Expect, Put
from tests.actions.kms.arrange_data_keys import DAY, SECRET, bring_key_to, edit, make, make_key, row_of
from tests.actions.ssm.arrange import code, events
from tests.installation import SM, Client, Installation, refused


def test_it_is_the_same_every_time(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    made = kms.GenerateDataKey(KeyId=key, NumberOfBytes=1024, IsHostedByKms=1, DataKeyName="d")
    assert {kms.GetDataKeyPlaintext(DataKeyId=made.DataKeyId).Plaintext for _ in range(3)} == {made.Plaintext}
    kms.EnableKeyRotation(KeyId=key)
    for _ in range(10):  # more than the CMK's own row keeps
        kms.RotateKey(KeyId=key)
        installation.clock.advance(DAY)
    assert kms.GetDataKeyPlaintext(DataKeyId=made.DataKeyId).Plaintext == made.Plaintext


@pytest.fixture
def public_key() -> tuple[rsa.RSAPrivateKey, str]:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, pem.decode()


def test_it_is_encrypted_to_a_public_key(kms: Client, public_key: tuple[rsa.RSAPrivateKey, str]) -> None:
    private, pem = public_key
    data_key = make(kms)
    plaintext = kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext
    for algorithm, scheme in (
        ("RSAES_PKCS1_V1_5", padding.PKCS1v15()),
        ("RSAES_OAEP_SHA_1", padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)),  # noqa: S303 - the API's
        ("RSAES_OAEP_SHA_256", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)),
    ):
        answer = kms.GetDataKeyPlaintext(
            DataKeyId=data_key, EncryptionPublicKey=pem, EncryptionAlgorithm=algorithm
        )
        wrapped = base64.b64decode(answer.Plaintext, validate=True)
        assert base64.b64encode(private.decrypt(wrapped, scheme)).decode() == plaintext
    # An algorithm alone says nothing.
    alone = kms.GetDataKeyPlaintext(DataKeyId=data_key, EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    assert alone.Plaintext == plaintext


def test_what_cannot_be_encrypted_is_not_answered(
    kms: Client, public_key: tuple[rsa.RSAPrivateKey, str]
) -> None:
    _, pem = public_key
    data_key, long = make(kms), make(kms, "long", NumberOfBytes=1024)
    for given in (
        {"DataKeyId": data_key, "EncryptionPublicKey": "no PEM"},
        {"DataKeyId": data_key, "EncryptionPublicKey": pem},  # SM2 is the default
        {"DataKeyId": data_key, "EncryptionPublicKey": pem, "EncryptionAlgorithm": "RSA"},
        {"DataKeyId": data_key, "EncryptionPublicKey": pem, "EncryptionAlgorithm": "x" * 65},
        {"DataKeyId": long, "EncryptionPublicKey": pem, "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"},
    ):
        with refused("FailedOperation.EncryptionError"):
            kms.GetDataKeyPlaintext(**given)


def test_a_key_pending_deletion_raises_a_warning(installation: Installation, kms: Client) -> None:
    data_key = make(kms)
    bring_key_to(installation, kms, make_key(kms), "PendingDelete")
    with refused("ResourceUnavailable.CmkStateNotSupport") as caught:
        kms.GetDataKeyPlaintext(DataKeyId=data_key)
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert (event["warning"], event["error"]) == ("KeyPendingDelete", caught.value.code)


def test_the_id_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.GetDataKeyPlaintext()


# Who writes to the table


def test_what_is_sealed_for_one_data_key_opens_for_no_other(installation: Installation, kms: Client) -> None:
    one, other = make(kms), make(kms, "other")
    mine, theirs = row_of(installation, one), row_of(installation, other)
    for stolen in ("sealed", "blob"):
        edit(installation, mine, sealed=record.decode(theirs.body)[stolen])
        with refused("InternalError") as caught:
            kms.GetDataKeyPlaintext(DataKeyId=one)
        assert "changed outside" in caught.value.message
    # The whole row in the other's place is nobody's.
    installation.service.table(SM).write([Put(replace(mine, body=theirs.body), Expect.ANY)])
    with refused("ResourceUnavailable.DataKeyNotFound"):
        kms.GetDataKeyPlaintext(DataKeyId=one)
    edit(installation, mine)
    assert code(lambda: kms.GetDataKeyPlaintext(DataKeyId=one)) == "ok"


def test_every_bit_of_what_is_sealed_counts(installation: Installation, kms: Client) -> None:
    key = make_key(kms)
    data_key = kms.ImportDataKey(KeyId=key, ImportType=2, ImportKeyMaterial=SECRET, DataKeyName="d").DataKeyId
    row = row_of(installation, data_key)
    read = ciphertext_blob.decode(record.decode(row.body)["sealed"])
    assert (read.key_id, read.backing_version) == (key, 1)
    for at in range(len(read.message)):
        flipped = bytes(byte ^ (position == at) for position, byte in enumerate(read.message))
        edit(installation, row, sealed=ciphertext_blob.encode(key, 1, flipped))
        assert code(lambda: kms.GetDataKeyPlaintext(DataKeyId=data_key)) == "InternalError", at
    edit(installation, row)
    assert kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext == SECRET
