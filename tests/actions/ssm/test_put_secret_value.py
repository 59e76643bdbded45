import functools

from tests.actions.ssm.arrange import VALUE, make, outputs, status, together, value, versions
from tests.installation import Client, Installation, refused


def put(ssm: Client, version: str, text: str = "x") -> str:
    return str(ssm.PutSecretValue(SecretName="s", VersionId=version, SecretString=text).VersionId)


def test_a_new_version_becomes_the_current_one_beside_the_old(
    installation: Installation, ssm: Client
) -> None:
    make(ssm)
    installation.clock.advance(60)
    answer = ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretString="second")
    assert outputs(answer) == {"SecretName": "s", "VersionId": "v2"}
    assert (value(ssm, version="v1"), value(ssm, version="v2")) == (VALUE, "second")
    assert value(ssm, version="SSM_Current") == "second"
    listed = ssm.ListSecretVersionIds(SecretName="s").Versions
    assert [(v.VersionId, v.CreateTime) for v in listed] == [
        ("v2", installation.clock.now()),
        ("v1", installation.clock.now() - 60),
    ]


def test_versions_may_differ_in_kind(ssm: Client) -> None:
    make(ssm)
    ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretBinary="AP8=")
    assert ssm.GetSecretValue(SecretName="s", VersionId="v2").SecretBinary == "AP8="
    assert ssm.GetSecretValue(SecretName="s", VersionId="v1").SecretString == VALUE


def test_an_existing_version_is_not_overwritten(ssm: Client) -> None:
    make(ssm)
    with refused("ResourceInUse.VersionIdExists"):
        put(ssm, "v1")
    assert (versions(ssm), value(ssm)) == (["v1"], VALUE)
    assert put(ssm, "V1") == "V1"  # ids differ by case


def test_a_deleted_versions_id_is_free_again(ssm: Client) -> None:
    make(ssm)
    put(ssm, "v2")
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    put(ssm, "v1", "again")
    assert (versions(ssm), value(ssm)) == (["v1", "v2"], "again")


def test_a_secret_has_ten_versions_and_not_one_more(ssm: Client) -> None:
    make(ssm)
    for i in range(2, 11):
        put(ssm, f"v{i}", f"value {i}")
    with refused("LimitExceeded"):
        put(ssm, "v11")
    with refused("ResourceInUse.VersionIdExists"):
        put(ssm, "v10")
    assert versions(ssm) == [f"v{i}" for i in range(10, 0, -1)]
    assert [value(ssm, version=f"v{i}") for i in range(2, 11)] == [f"value {i}" for i in range(2, 11)]
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v5")
    assert put(ssm, "v11") == "v11"
    with refused("LimitExceeded"):
        put(ssm, "v12")


def test_ten_versions_hold_under_many_simultaneous_calls(installation: Installation, ssm: Client) -> None:
    make(ssm)
    for i in range(2, 9):
        put(ssm, f"v{i}")
    clients = [installation.client("ssm") for _ in range(8)]
    ended = together([functools.partial(put, c, f"w{i}", f"by {i}") for i, c in enumerate(clients)])
    assert sorted(ended) == ["LimitExceeded"] * 6 + ["ok"] * 2
    assert len(versions(ssm)) == 10
    for i, outcome in enumerate(ended):
        if outcome == "ok":
            assert value(ssm, version=f"w{i}") == f"by {i}"


def test_one_of_many_simultaneous_calls_gets_the_version_id(installation: Installation, ssm: Client) -> None:
    make(ssm)
    clients = [installation.client("ssm") for _ in range(8)]
    ended = together([functools.partial(put, c, "v2", f"by {i}") for i, c in enumerate(clients)])
    assert sorted(ended) == ["ResourceInUse.VersionIdExists"] * 7 + ["ok"]
    assert value(ssm, version="v2") == f"by {ended.index('ok')}"


def test_a_disabled_secret_takes_versions_and_stays_disabled(ssm: Client) -> None:
    make(ssm, state="Disabled")
    put(ssm, "v2", "second")
    assert status(ssm) == "Disabled"
    ssm.EnableSecret(SecretName="s")
    assert value(ssm, version="v2") == "second"


def test_a_secret_pending_deletion_takes_no_version(ssm: Client) -> None:
    make(ssm, state="PendingDelete")
    with refused("FailedOperation"):
        put(ssm, "v2")
    assert versions(ssm) == ["v1"]


def test_a_secret_without_versions_takes_one(ssm: Client) -> None:
    make(ssm)
    ssm.DeleteSecretVersion(SecretName="s", VersionId="v1")
    put(ssm, "v1", "again")
    assert value(ssm) == "again"


def test_the_key_has_to_be_enabled(ssm: Client, kms: Client) -> None:
    key = kms.CreateKey(Alias="k").KeyId
    make(ssm, KmsKeyId=key)
    kms.DisableKey(KeyId=key)
    with refused("FailedOperation.AccessKmsError"):
        put(ssm, "v2")
    assert versions(ssm) == ["v1"]
    kms.EnableKey(KeyId=key)
    put(ssm, "v2", "second")
    assert value(ssm, version="v2") == "second"
