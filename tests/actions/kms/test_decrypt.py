import base64
import functools

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.clock import ManualClock
from chalicelib.formats import ciphertext_blob
from chalicelib.table.port import Expect, Put, Row
from tests.actions.kms.arrange_keys import (
    DAY,
    UNKNOWN,
    Counted,
    Shared,
    bring_to,
    call,
    decrypt,
    encrypt,
    make,
    rotate,
)
from tests.actions.ssm.arrange import code
from tests.installation import FIPS, SM, Client, Installation, refused

BAD = "InvalidParameterValue.InvalidCiphertext"


def test_the_ciphertext_names_its_key(kms: Client) -> None:
    keys = [make(kms, alias) for alias in ("a", "b")]
    for key in keys:
        answer = kms.Decrypt(CiphertextBlob=encrypt(kms, key, b"p"))
        assert (answer.KeyId, answer.Plaintext) == (key, base64.b64encode(b"p").decode())


@pytest.mark.parametrize(
    "same",
    [
        '{"a":"b","c":"\\u5bc6"}',
        '{"c":"\u5bc6","a":"b"}',
        ' { "c" : "\\u5bc6" ,\n "a" : "\\u0062" } ',
    ],
)
def test_contexts_are_compared_as_maps(kms: Client, same: str) -> None:
    blob = encrypt(kms, make(kms), b"p", '{"a": "b", "c": "\u5bc6"}')
    assert decrypt(kms, blob, same) == b"p"


def test_another_context_does_not_open(kms: Client) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p", '{"a":"b","c":"d"}')
    for other in (
        "",
        "{}",
        '{"a":"b"}',
        '{"a":"d","c":"b"}',
        '{"a":"b","c":"d","e":""}',
        '{"A":"b","c":"d"}',
        '{"a":"b","c":"d "}',
        '{"ab":"","c":"d"}',
    ):
        with refused(BAD):
            decrypt(kms, blob, other)
    # A context that is not JSON is told as such.
    with refused("InvalidParameter"):
        decrypt(kms, blob, "a")
    plain = encrypt(kms, key, b"p")
    assert decrypt(kms, plain, "{}") == decrypt(kms, plain, " { } ") == decrypt(kms, plain) == b"p"
    with refused(BAD):
        decrypt(kms, plain, '{"a":"b"}')


def test_every_damaged_character_is_refused_alike(kms: Client) -> None:
    blob = encrypt(kms, make(kms), b"p")
    ended = set()
    for at, character in enumerate(blob):
        damaged = blob[:at] + ("A" if character != "A" else "B") + blob[at + 1 :]
        ended.add(code(functools.partial(decrypt, kms, damaged)))
    ended |= {code(functools.partial(decrypt, kms, b)) for b in (blob[:-1], blob + "A", blob[1:], blob * 2)}
    assert ended == {BAD}


def test_a_ciphertext_opens_under_no_other_key_or_generation(installation: Installation, kms: Client) -> None:
    key, other = make(kms), make(kms, "other")
    kms.EnableKeyRotation(KeyId=key)
    rotate(installation, kms, key, 2)
    read = ciphertext_blob.decode(encrypt(kms, key, b"p"))
    assert read.backing_version == 3
    for key_id, version, expected in (
        (key, 3, "ok"),
        (key, 2, BAD),
        (key, 1, BAD),
        (key, 4, BAD),
        (other, 1, BAD),
        (other, 3, BAD),
        (UNKNOWN, 3, BAD),
    ):
        forged = ciphertext_blob.encode(key_id, version, read.message)
        assert code(functools.partial(decrypt, kms, forged)) == expected, (key_id, version)


def test_material_moved_to_another_key_does_not_open(installation: Installation, kms: Client) -> None:
    # What somebody with the right to write to the table can do.
    key, thief = make(kms), make(kms, "thief")
    blob = encrypt(kms, key, b"p")
    table, uin = installation.service.table(SM), installation.root.uin
    rows = [table.get(f"K#{uin}#{SM}#{id_}", "M") for id_ in (key, thief)]
    assert rows[0] is not None
    assert rows[1] is not None
    body = rows[0].body.replace(key.encode(), thief.encode())
    table.write([Put(Row(pk=rows[1].pk, sk="M", body=body), Expect.ANY)])
    stolen = ciphertext_blob.encode(thief, 1, ciphertext_blob.decode(blob).message)
    assert code(lambda: decrypt(kms, stolen)) != "ok"
    assert decrypt(kms, blob) == b"p"


def test_another_region_and_account_cannot_open_it(clock: ManualClock) -> None:
    installation = Shared(clock)
    kms = installation.client("kms")
    blob = encrypt(kms, make(kms), b"p")
    for client in (
        installation.client("kms", FIPS),
        installation.client("kms", who=installation.add_account()),
    ):
        with refused(BAD):
            decrypt(client, blob)


def test_after_100_rotations_every_ciphertext_opens_with_one_read(clock: ManualClock) -> None:
    installation = Counted(clock)
    kms = installation.client("kms")
    key = make(kms)
    kms.EnableKeyRotation(KeyId=key)
    blobs = [encrypt(kms, key, b"0")]
    for i in range(1, 101):
        rotate(installation, kms, key)
        blobs.append(encrypt(kms, key, str(i).encode()))
    assert [ciphertext_blob.decode(blob).backing_version for blob in blobs] == list(range(1, 102))
    table = installation.counted
    for at, blob in enumerate(blobs):
        table.reads = table.writes = 0
        assert decrypt(kms, blob) == str(at).encode()
        assert (table.reads, table.writes) == (1, 1), at
    rotations = call(kms, "ListKeyRotations", KeyId=key, Limit=200)["Rotations"]
    assert [r["Version"] for r in rotations] == list(range(101, 0, -1))
    # And they all go with the key.
    bring_to(kms, key, "PendingDelete")
    clock.advance(7 * DAY)
    for blob in (blobs[0], blobs[50], blobs[100]):
        with refused("ResourceUnavailable.CmkNotFound"):
            decrypt(kms, blob)


def test_an_archived_key_still_opens_what_there_is(kms: Client) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p")
    kms.ArchiveKey(KeyId=key)
    assert decrypt(kms, blob) == b"p"


def test_a_disabled_key_opens_nothing(kms: Client) -> None:
    key = make(kms)
    blob = encrypt(kms, key, b"p")
    kms.DisableKey(KeyId=key)
    with refused("ResourceUnavailable.CmkDisabled"):
        decrypt(kms, blob)


@pytest.fixture(scope="module")
def recipient() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("algorithm", "scheme"),
    [
        ("RSAES_PKCS1_V1_5", padding.PKCS1v15()),
        ("RSAES_OAEP_SHA_1", padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)),  # noqa: S303
        ("RSAES_OAEP_SHA_256", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)),
    ],
)
def test_the_plaintext_comes_wrapped_to_the_callers_public_key(
    kms: Client, recipient: rsa.RSAPrivateKey, algorithm: str, scheme: padding.AsymmetricPadding
) -> None:
    pem = recipient.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    blob = encrypt(kms, make(kms), b"p")
    answer = kms.Decrypt(CiphertextBlob=blob, EncryptionPublicKey=pem, EncryptionAlgorithm=algorithm)
    assert recipient.decrypt(base64.b64decode(answer.Plaintext), scheme) == b"p"


def test_what_cannot_be_wrapped_is_an_encryption_error(kms: Client, recipient: rsa.RSAPrivateKey) -> None:
    pem = recipient.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    key = make(kms)
    blob, long = encrypt(kms, key, b"p"), encrypt(kms, key, bytes(4096))
    error = "FailedOperation.EncryptionError"
    for given in (
        {"EncryptionPublicKey": "no PEM", "EncryptionAlgorithm": "RSAES_PKCS1_V1_5"},
        {"EncryptionPublicKey": pem, "EncryptionAlgorithm": "no algorithm"},
        {"EncryptionPublicKey": pem, "EncryptionAlgorithm": "x" * 65},
        {"EncryptionPublicKey": pem},  # which means SM2
    ):
        with refused(error):
            kms.Decrypt(CiphertextBlob=blob, **given)
    with refused(error):
        kms.Decrypt(CiphertextBlob=long, EncryptionPublicKey=pem, EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    # Without a key, the algorithm means nothing.
    answer = kms.Decrypt(CiphertextBlob=blob, EncryptionPublicKey="", EncryptionAlgorithm="SM2")
    assert base64.b64decode(answer.Plaintext) == b"p"
