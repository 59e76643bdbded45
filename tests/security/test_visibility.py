"""Lists show what the caller may see, no more, and count no more either."""

from typing import Any

import pytest

from tests import permissions
from tests.calls import ask, code, tc3
from tests.installation import SM, Client, Installation, refused
from tests.permissions import statement


@pytest.fixture
def alice(installation: Installation) -> Any:
    return installation.add_user("alice")


def add_secrets(installation: Installation, *names: str, **tags: str) -> None:
    for name in names:
        installation.client("ssm").CreateSecret(
            SecretName=name,
            VersionId="v1",
            SecretString="x",
            Tags=[{"TagKey": k, "TagValue": v} for k, v in tags.items()],
        )


def shown(client: Client, **members: Any) -> tuple[list[str], int]:
    answer = client.ListSecrets(**members)
    return [s.SecretName for s in answer.SecretMetadatas], answer.TotalCount


def secrets_of(installation: Installation, *names: str) -> list[str]:
    root = installation.root.uin
    return [f"qcs::ssm:{SM}:uin/{root}:secret/creatorUin/{root}/{name}" for name in names]


def test_a_policy_on_some_secrets_shows_those(installation: Installation, alice: Any) -> None:
    add_secrets(installation, "db-1", "db-2", "web-1")
    permissions.allow(
        installation, alice, statement(action="ssm:ListSecrets", resource=secrets_of(installation, "db-*"))
    )
    client = installation.client("ssm", who=alice)
    assert shown(client, OrderType=1) == (["db-1", "db-2"], 2)
    assert shown(client, OrderType=1, Limit=1) == (["db-1"], 2)
    assert shown(client, OrderType=1, Limit=1, Offset=1) == (["db-2"], 2)
    assert shown(client, SearchSecretName="web-1") == ([], 0)


def test_a_list_does_not_bypass_a_denial(installation: Installation, alice: Any) -> None:
    """GHSA-xp3c-3jw3-4vcr, through the whole pipeline."""
    add_secrets(installation, "db-1", "hidden", "web-1")
    permissions.allow(
        installation,
        alice,
        statement(action="ssm:ListSecrets"),
        statement("deny", action="ssm:*", resource=secrets_of(installation, "hid*")),
    )
    client = installation.client("ssm", who=alice)
    assert shown(client, OrderType=1) == (["db-1", "web-1"], 2)
    assert shown(client, SearchSecretName="hidden") == ([], 0)
    assert shown(client, Offset=2) == ([], 2)


def test_a_denial_of_all_is_no_empty_list(installation: Installation, alice: Any) -> None:
    permissions.allow(installation, alice, statement(), statement("deny", action="ssm:List*"))
    with refused("AuthFailure.UnauthorizedOperation"):
        installation.client("ssm", who=alice).ListSecrets()


def test_whom_a_policy_lets_see_what_is_not_there_yet_gets_an_empty_list(
    installation: Installation, alice: Any
) -> None:
    add_secrets(installation, "web-1")
    some = statement(action="ssm:ListSecrets", resource=secrets_of(installation, "db-*"))
    permissions.allow(installation, alice, some)
    assert shown(installation.client("ssm", who=alice)) == ([], 0)


def test_by_tag(installation: Installation, alice: Any) -> None:
    add_secrets(installation, "red", team="red")
    add_secrets(installation, "blue", team="blue")
    add_secrets(installation, "none")
    condition = {"for_any_value:string_equal": {"qcs:resource_tag": "team&red"}}
    permissions.allow(installation, alice, statement(action="ssm:*", condition=condition))
    client = installation.client("ssm", who=alice)
    assert shown(client) == (["red"], 1)
    assert client.GetSecretValue(SecretName="red", VersionId="v1").SecretString == "x"
    for name in ("blue", "none"):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.GetSecretValue(SecretName=name, VersionId="v1")


@pytest.mark.parametrize(("action", "key"), [("ListKeys", "Keys"), ("ListKeyDetail", "KeyMetadatas")])
def test_keys(installation: Installation, alice: Any, action: str, key: str) -> None:
    kms = installation.client("kms")
    ids = [kms.CreateKey(Alias=f"k{n}").KeyId for n in range(3)]
    name = f"qcs::kms:{SM}:uin/{installation.root.uin}:key/creatorUin/{installation.root.uin}/{ids[1]}"
    permissions.allow(installation, alice, statement(action=f"kms:{action}", resource=name))
    answer = getattr(installation.client("kms", who=alice), action)()
    assert [k.KeyId for k in getattr(answer, key)] == [ids[1]]
    assert answer.TotalCount == 1
    permissions.allow(installation, alice, statement(action="kms:*"))
    assert getattr(installation.client("kms", who=alice), action)().TotalCount == 3


@pytest.mark.parametrize(
    ("action", "key"), [("ListDataKeys", "DataKeys"), ("ListDataKeyDetail", "DataKeyMetadatas")]
)
def test_data_keys(installation: Installation, alice: Any, action: str, key: str) -> None:
    kms = installation.client("kms")
    key_id = kms.CreateKey(Alias="k").KeyId
    ids = [
        kms.GenerateDataKey(KeyId=key_id, KeySpec="AES_256", IsHostedByKms=1, DataKeyName=f"d{n}").DataKeyId
        for n in range(3)
    ]
    root = installation.root.uin
    name = f"qcs::kms:{SM}:uin/{root}:dataKey/creatorUin/{root}/{ids[1]}"
    permissions.allow(installation, alice, statement(action=f"kms:{action}", resource=name))
    answer = getattr(installation.client("kms", who=alice), action)()
    assert [d.DataKeyId for d in getattr(answer, key)] == [ids[1]]
    assert answer.TotalCount == 1


def test_a_refused_deletion_names_only_what_the_caller_may_list(
    installation: Installation, alice: Any
) -> None:
    """A key in use says by what: not to whom that is none of its business."""
    kms, ssm = installation.client("kms"), installation.client("ssm")
    key_id = kms.CreateKey(Alias="k").KeyId
    for name in ("seen", "unseen"):
        ssm.CreateSecret(SecretName=name, VersionId="v1", SecretString="x", KmsKeyId=key_id)
    kms.GenerateDataKey(KeyId=key_id, KeySpec="AES_256", IsHostedByKms=1, DataKeyName="hosted")
    kms.DisableKey(KeyId=key_id)
    permissions.allow(installation, alice, statement(action="kms:ScheduleKeyDeletion"))
    client = installation.client("kms", who=alice)
    with refused("FailedOperation.CmkUsedByCloudProduct") as refusal:
        client.ScheduleKeyDeletion(KeyId=key_id, PendingWindowInDays=7)
    assert "2 secrets" in refusal.value.message
    assert "seen" not in refusal.value.message
    permissions.allow(
        installation, alice, statement(action="ssm:ListSecrets", resource=secrets_of(installation, "seen"))
    )
    with refused("FailedOperation.CmkUsedByCloudProduct") as refusal:
        client.ScheduleKeyDeletion(KeyId=key_id, PendingWindowInDays=7)
    assert "2 secrets need the key: seen." in refusal.value.message


@pytest.mark.parametrize("creator", ["root", "alice"])
def test_what_is_gone_is_not_found_for_whom_it_was_for(
    installation: Installation, alice: Any, creator: str
) -> None:
    """Terraform, with a policy on its own secrets, has to learn that one is gone."""
    uin = alice.uin if creator == "alice" else installation.root.uin
    own = f"qcs::ssm:::secret/creatorUin/{uin}/app-*"
    permissions.allow(installation, alice, statement(action="ssm:*", resource=own))
    client = installation.client("ssm", who=alice)
    with refused("ResourceNotFound"):
        client.DescribeSecret(SecretName="app-1")
    with refused("AuthFailure.UnauthorizedOperation"):
        client.DescribeSecret(SecretName="other-1")


@pytest.mark.parametrize("limit", [-1, 0, 2**63])
def test_a_strange_limit_skips_no_check(installation: Installation, alice: Any, limit: int) -> None:
    """openbao/openbao#3518: a negative or zero limit skipped the paging check."""
    add_secrets(installation, "db-1", "hidden")
    permissions.allow(
        installation, alice, statement(action="ssm:List*", resource=secrets_of(installation, "db-*"))
    )
    given = {"Limit": limit, "Offset": 0}
    request = tc3(alice, installation.clock.now(), "ssm", "ListSecrets", given)
    answer = ask(installation.gateway, request)
    assert "hidden" not in str(answer)
    assert code(answer) == ("" if limit == 0 else "InvalidParameterValue")
