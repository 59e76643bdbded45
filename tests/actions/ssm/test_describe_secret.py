import json

from tests.actions.ssm.arrange import DAY, VALUE, make, outputs, status
from tests.installation import Client, Installation, refused


def test_every_property_has_its_type_and_none_is_null(
    installation: Installation, ssm: Client, kms: Client
) -> None:
    make(ssm, Description="d")
    (key,) = kms.ListKeys(Role=1).Keys
    described = outputs(ssm.DescribeSecret(SecretName="s"))
    # As JSON, where false and 0 differ.
    assert json.dumps(described, sort_keys=True) == json.dumps(
        {
            "SecretName": "s",
            "Description": "d",
            "KmsKeyId": key.KeyId,
            "CreateUin": int(installation.root.uin),
            "CreateUinString": installation.root.uin,
            "Status": "Enabled",
            "DeleteTime": 0,
            "CreateTime": installation.clock.now(),
            "SecretType": 0,
            "ProductName": "default",
            "ResourceID": "",
            "ResourceName": "",
            "RotationStatus": False,
            "RotationFrequency": 0,
            "NextRotationTime": "",
            "ProjectID": 0,
            "AssociatedInstanceIDs": [],
            "TargetUin": 0,
            "AdditionalConfig": "",
            "EncryptType": 0,
            # The definition lets these be absent.
            "EncryptSwitching": None,
            "TargetUinString": None,
            "AccountInfoList": None,
        },
        sort_keys=True,
    )


def test_it_answers_in_every_state(installation: Installation, ssm: Client) -> None:
    created_at = installation.clock.now()
    make(ssm)
    installation.clock.advance(100)
    assert status(ssm) == "Enabled"
    ssm.DisableSecret(SecretName="s")
    assert status(ssm) == "Disabled"
    ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=3)
    described = ssm.DescribeSecret(SecretName="s")
    assert (described.Status, described.DeleteTime) == ("PendingDelete", created_at + 100 + 3 * DAY)
    assert described.CreateTime == created_at


def test_it_never_tells_the_value(ssm: Client) -> None:
    make(ssm)
    assert VALUE not in ssm.DescribeSecret(SecretName="s").to_json_string()


def test_it_shows_who_created_the_secret(installation: Installation) -> None:
    other = installation.add_account()
    client = installation.client("ssm", who=other)
    make(client)
    described = client.DescribeSecret(SecretName="s")
    assert (described.CreateUin, described.CreateUinString) == (int(other.uin), other.uin)


def test_a_deleted_secret_is_not_found(ssm: Client) -> None:
    make(ssm, state="Disabled")
    ssm.DeleteSecret(SecretName="s")
    with refused("ResourceNotFound"):
        ssm.DescribeSecret(SecretName="s")
