import base64
import json
from collections.abc import Callable

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.port import Delete, Expect, Put, Row
from tests.actions.ssm.arrange import (
    DAY,
    STATES,
    VALUE,
    Counted,
    CountingTable,
    Hooked,
    make,
    outputs,
    value,
)
from tests.installation import SM, Client, Installation, refused


def test_text_comes_with_an_empty_binary_that_is_not_null(ssm: Client) -> None:
    make(ssm)
    answer = ssm.GetSecretValue(SecretName="s", VersionId="v1")
    assert outputs(answer) == {
        "SecretName": "s",
        "VersionId": "v1",
        "SecretString": VALUE,
        "SecretBinary": "",
    }


def test_bytes_come_with_an_empty_string_that_is_not_null(ssm: Client) -> None:
    make(ssm, SecretString="", SecretBinary="AP8=")
    answer = ssm.GetSecretValue(SecretName="s", VersionId="v1")
    assert outputs(answer) == {
        "SecretName": "s",
        "VersionId": "v1",
        "SecretString": "",
        "SecretBinary": "AP8=",
    }


def test_bytes_that_are_text_stay_bytes(ssm: Client) -> None:
    make(ssm, SecretString="", SecretBinary="aGk=")
    answer = ssm.GetSecretValue(SecretName="s", VersionId="v1")
    assert (answer.SecretString, answer.SecretBinary) == ("", "aGk=")


def test_ssm_current_answers_the_newest_version(installation: Installation, ssm: Client) -> None:
    make(ssm)
    # Nothing but the order tells versions of one moment apart.
    ssm.PutSecretValue(SecretName="s", VersionId="a", SecretString="second")
    installation.clock.advance(1)
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="first, later")
    current = ssm.GetSecretValue(SecretName="s", VersionId="SSM_Current")
    assert (current.VersionId, current.SecretString) == ("a", "second")
    ssm.DeleteSecretVersion(SecretName="s", VersionId="a")
    current = ssm.GetSecretValue(SecretName="s", VersionId="SSM_Current")
    assert (current.VersionId, current.SecretString) == ("v1", "first, later")


def test_a_version_of_that_very_name_goes_before_the_newest(ssm: Client) -> None:
    make(ssm)
    ssm.PutSecretValue(SecretName="s", VersionId="SSM_Current", SecretString="named so")
    ssm.PutSecretValue(SecretName="s", VersionId="v3", SecretString="newest")
    assert value(ssm, version="SSM_Current") == "named so"
    ssm.DeleteSecretVersion(SecretName="s", VersionId="SSM_Current")
    assert value(ssm, version="SSM_Current") == "newest"


def test_a_rotating_client_reads_its_credentials_from_ssm_current(ssm: Client) -> None:
    make(ssm, SecretString=json.dumps({"UserName": "u", "Password": "p"}))
    answer = ssm.GetSecretValue(SecretName="s", VersionId="SSM_Current")
    assert json.loads(answer.SecretString) == {"UserName": "u", "Password": "p"}


@pytest.mark.parametrize("state", STATES)
def test_an_unknown_version_is_told_before_the_state(ssm: Client, state: str) -> None:
    make(ssm, state=state)
    with refused("ResourceNotFound"):
        ssm.GetSecretValue(SecretName="s", VersionId="v2")
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    for version in ("v1", "SSM_Current"):
        with refused("ResourceNotFound"):
            ssm.GetSecretValue(SecretName="s", VersionId=version)


def test_a_disabled_secret_is_not_read_until_it_is_enabled(ssm: Client) -> None:
    make(ssm)
    assert value(ssm) == VALUE
    ssm.DisableSecret(SecretName="s")
    for version in ("v1", "SSM_Current"):
        with refused("ResourceUnavailable.ResourceDisabled"):
            ssm.GetSecretValue(SecretName="s", VersionId=version)
    ssm.EnableSecret(SecretName="s")
    assert value(ssm) == VALUE


def test_a_secret_pending_deletion_is_not_read_until_it_is_restored_and_enabled(ssm: Client) -> None:
    make(ssm, state="PendingDelete")
    with refused("ResourceUnavailable.ResourcePendingDeleted"):
        value(ssm)
    ssm.RestoreSecret(SecretName="s")
    with refused("ResourceUnavailable.ResourceDisabled"):
        value(ssm)
    ssm.EnableSecret(SecretName="s")
    assert value(ssm) == VALUE


def test_the_key_has_to_be_enabled(ssm: Client, kms: Client) -> None:
    key = kms.CreateKey(Alias="k").KeyId
    make(ssm, KmsKeyId=key)
    assert value(ssm) == VALUE
    kms.DisableKey(KeyId=key)
    with refused("FailedOperation.AccessKmsError"):
        value(ssm)
    # What the secret itself refuses is told first.
    with refused("ResourceNotFound"):
        value(ssm, version="v2")
    kms.EnableKey(KeyId=key)
    assert value(ssm) == VALUE


def test_a_value_changed_or_lost_in_the_table_does_not_open(installation: Installation, ssm: Client) -> None:
    make(ssm)
    table = installation.service.table(SM)
    row = table.get(f"S#{installation.root.uin}#{SM}#s", "V#v1")
    assert row is not None
    assert VALUE.encode() not in row.body
    damaged = row.body[:-1] + bytes([row.body[-1] ^ 1])
    table.write([Put(Row(pk=row.pk, sk=row.sk, body=damaged), Expect.ANY)])
    with refused("FailedOperation.AccessKmsError") as caught:
        value(ssm)
    assert VALUE not in str(caught.value)
    table.write([Put(Row(pk=row.pk, sk=row.sk, body=row.body), Expect.ANY)])
    assert value(ssm) == VALUE
    table.write([Delete(row.pk, row.sk, Expect.EXISTS)])
    with refused("FailedOperation.AccessKmsError"):
        value(ssm)


@pytest.mark.parametrize(
    ("usage", "algorithm", "opener"),
    [
        ("ASYMMETRIC_DECRYPT_SM2", "SM2_C1C3C2_ASN1", "AsymmetricSm2Decrypt"),
        ("ASYMMETRIC_DECRYPT_RSA_2048", "RSAES_OAEP_SHA_256", "AsymmetricRsaDecrypt"),
    ],
)
@pytest.mark.parametrize("member", ["SecretString", "SecretBinary"])
def test_a_value_can_come_wrapped_for_a_public_key(
    ssm: Client, kms: Client, member: str, usage: str, algorithm: str, opener: str
) -> None:
    plain = {"SecretString": "text \u5bc6", "SecretBinary": "AP8="}
    make(ssm, **{"SecretString": "", member: plain[member]})
    key = kms.CreateKey(Alias="k", KeyUsage=usage).KeyId
    answer = ssm.GetSecretValue(
        SecretName="s",
        VersionId="v1",
        EncryptionPublicKey=kms.GetPublicKey(KeyId=key).PublicKeyPem,
        EncryptionAlgorithm=algorithm,
    )
    other = {"SecretString": "SecretBinary", "SecretBinary": "SecretString"}[member]
    assert getattr(answer, other) == ""
    given = {"KeyId": key, "Ciphertext": getattr(answer, member)}
    if opener == "AsymmetricRsaDecrypt":
        given["Algorithm"] = algorithm
    opened = base64.b64decode(getattr(kms, opener)(**given).Plaintext)
    assert opened == (plain[member].encode() if member == "SecretString" else b"\x00\xff")


def test_a_value_that_cannot_be_wrapped_is_not_answered_plain(ssm: Client, kms: Client) -> None:
    make(ssm, SecretString="x" * 300)
    pem = kms.GetPublicKey(
        KeyId=kms.CreateKey(Alias="k", KeyUsage="ASYMMETRIC_DECRYPT_SM2").KeyId
    ).PublicKeyPem
    for given in (
        {"EncryptionPublicKey": "-----BEGIN PUBLIC KEY-----"},
        {"EncryptionPublicKey": pem, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
        {"EncryptionPublicKey": pem, "EncryptionAlgorithm": "ROT13"},
        {"EncryptionPublicKey": pem, "EncryptionAlgorithm": "x" * 65},
    ):
        with refused("FailedOperation"):
            ssm.GetSecretValue(SecretName="s", VersionId="v1", **given)
    # Without a key there is nothing that an algorithm could mean.
    answer = ssm.GetSecretValue(
        SecretName="s", VersionId="v1", EncryptionPublicKey="", EncryptionAlgorithm="SM2"
    )
    assert answer.SecretString == "x" * 300


def _update(ssm: Client) -> None:
    ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="new")


def _make_again(ssm: Client) -> None:
    # The new secret has as many writes behind it as the old one had.
    ssm.DisableSecret(SecretName="s")
    ssm.DeleteSecret(SecretName="s")
    make(ssm, SecretString="new")


def _take_out_and_put_back(ssm: Client) -> None:
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    ssm.PutSecretValue(SecretName="s", VersionId="v1", SecretString="new")


@pytest.mark.parametrize("is_backwards", [False, True])
@pytest.mark.parametrize("change", [_update, _make_again, _take_out_and_put_back])
def test_a_write_in_the_middle_of_a_read_is_no_damage(
    clock: ManualClock, change: Callable[[Client], None], *, is_backwards: bool
) -> None:
    installation = Hooked(clock)
    ssm, other = installation.client("ssm"), installation.client("ssm")
    make(ssm)
    assert value(ssm) == VALUE
    installation.hooked.is_backwards = is_backwards
    installation.hooked.within_batch_get = lambda: change(other)
    assert value(ssm) == "new"


@pytest.mark.parametrize("version", ["v1", "SSM_Current"])
def test_a_warm_read_costs_one_read_and_one_audit_write(clock: ManualClock, version: str) -> None:
    installation = Counted(clock)
    ssm = installation.client("ssm")
    make(ssm)
    value(ssm, version=version)
    table = installation.service.table(SM)
    assert isinstance(table, CountingTable)
    table.reads = table.writes = 0
    assert value(ssm, version=version) == VALUE
    assert (table.reads, table.writes) == (1, 1)


def test_every_version_opens_with_the_material_it_was_sealed_with(
    installation: Installation, ssm: Client, kms: Client
) -> None:
    key = kms.CreateKey(Alias="k").KeyId
    kms.EnableKeyRotation(KeyId=key)
    make(ssm, KmsKeyId=key)
    # More generations than fit into the key's own row.
    for i in range(2, 12):
        installation.clock.advance(DAY)
        kms.RotateKey(KeyId=key)
        if i <= 10:
            ssm.PutSecretValue(SecretName="s", VersionId=f"v{i}", SecretString=f"value {i}")
    assert [value(ssm, version=f"v{i}") for i in range(1, 11)] == [
        VALUE,
        *(f"value {i}" for i in range(2, 11)),
    ]


def test_an_archived_key_opens_values_and_seals_no_more(ssm: Client, kms: Client) -> None:
    key = kms.CreateKey(Alias="k").KeyId
    make(ssm, KmsKeyId=key)
    kms.ArchiveKey(KeyId=key)
    assert value(ssm) == VALUE
    with refused("FailedOperation.AccessKmsError"):
        ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretString="x")
    with refused("FailedOperation.AccessKmsError"):
        ssm.UpdateSecret(SecretName="s", VersionId="v1", SecretString="x")
    with refused("FailedOperation.AccessKmsError"):
        make(ssm, "other", KmsKeyId=key)
    assert value(ssm) == VALUE
