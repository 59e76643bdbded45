"""Each function's role allows what its code asks DynamoDB for, and nothing else."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.jobs import schedule
from chalicelib.settings import Settings
from chalicelib.table.dynamodb import DynamoTable
from chalicelib.table.port import Table
from tests.installation import Client, Installation, refused
from tests.packaging.templates import Template, statements

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Grants = set[tuple[str, str]]
"""(action, table or index)"""

NAMES = {"identity": "IdentityTable", "data": "DataTable", "audit": "AuditTable"}  # as in the template
STEPS = {
    "ConditionCheck": "ConditionCheckItem",
    "Delete": "DeleteItem",
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
}
WITNESS = ("GetItem", "AuditTable")
"""Only after a write without an answer: was it done? See `audit.commit`."""


class OnDynamo(Installation):
    """An installation on DynamoDB that remembers what it asked for."""

    def __init__(self, clock: ManualClock) -> None:
        self.asked: Grants = set()
        super().__init__(
            clock, Settings(throttle=False, credential_cache_seconds=0, table="dynamodb", table_names=NAMES)
        )

    def open_table(self, domain: str) -> Table:
        main = NAMES["identity" if domain == IDENTITY else "data"]
        table = DynamoTable(main, NAMES["audit"], "us-east-1", self.clock)
        table.create_tables()
        table._client.meta.events.register("before-parameter-build.dynamodb", self.remember)
        return table

    def remember(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.asked |= needed(model.name, params)


@pytest.fixture
def installation(clock: ManualClock) -> Iterator[OnDynamo]:
    with mock_aws():
        installation = OnDynamo(clock)
        for region in installation.settings.regions:
            installation.service.table(region)
        installation.asked.clear()
        yield installation


def test_the_api_may_do_what_every_action_needs(installation: OnDynamo, template: Template) -> None:
    use_keys(installation.client("kms"))
    use_secrets(installation.client("ssm"))
    assert granted(template, "app.api") == installation.asked | {WITNESS}


@pytest.mark.parametrize("job", schedule.EVERY_MINUTES)
def test_a_job_may_do_what_it_needs(
    installation: OnDynamo, clock: ManualClock, template: Template, job: str
) -> None:
    use_secrets(installation.client("ssm"))
    installation.asked.clear()
    clock.advance(31 * 86400)
    outcomes = schedule.run(installation.service, job)
    assert sum(outcome.done for outcome in outcomes.values()) == 1
    assert granted(template, f"app.{job}") == installation.asked | {WITNESS}


def test_the_tables_are_those_that_the_adapter_creates(installation: OnDynamo, template: Template) -> None:
    client = boto3.client("dynamodb", "us-east-1")
    for name in NAMES.values():
        created = client.describe_table(TableName=name)["Table"]
        declared = template["Resources"][name]["Properties"]
        assert by_name(declared["AttributeDefinitions"]) == by_name(created["AttributeDefinitions"])
        assert declared["KeySchema"] == created["KeySchema"]
        assert {
            index["IndexName"]: (index["KeySchema"], index["Projection"])
            for index in declared["GlobalSecondaryIndexes"]
        } == {
            index["IndexName"]: (index["KeySchema"], index["Projection"])
            for index in created["GlobalSecondaryIndexes"]
        }
        expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        assert declared["TimeToLiveSpecification"]["AttributeName"] == expiry["AttributeName"]


def use_keys(kms: Client) -> None:
    """Every action on keys."""
    key = kms.CreateKey(Alias="one").KeyId
    kms.DescribeKey(KeyId=key)
    kms.ListKeys()
    kms.ListKeyDetail()
    blob = kms.Encrypt(KeyId=key, Plaintext="aGk=").CiphertextBlob
    kms.Decrypt(CiphertextBlob=blob)
    kms.GenerateDataKey(KeyId=key, KeySpec="SM4_128")
    kms.GenerateRandom(NumberOfBytes=8)
    kms.DisableKey(KeyId=key)
    kms.EnableKey(KeyId=key)
    with refused("ResourceNotFound"):
        kms.DescribeKey(KeyId="00000000-0000-0000-0000-000000000000")


def use_secrets(ssm: Client) -> None:
    """Every action on secrets. One is left that is due for deletion."""
    name = {"SecretName": "one"}
    ssm.CreateSecret(**name, VersionId="v1", SecretString="a")
    with refused("ResourceInUse.SecretExists"):
        ssm.CreateSecret(**name, VersionId="v1", SecretString="a")
    ssm.PutSecretValue(**name, VersionId="v2", SecretString="b")
    ssm.UpdateSecret(**name, VersionId="v2", SecretString="c")
    ssm.GetSecretValue(**name, VersionId="v2")
    ssm.GetSecretValue(**name, VersionId="v2")
    ssm.DescribeSecret(**name)
    ssm.UpdateDescription(**name, Description="d")
    ssm.ListSecrets()
    ssm.ListSecretVersionIds(**name)
    ssm.DeleteSecretVersion(**name, VersionId="v1")
    ssm.DisableSecret(**name)
    ssm.EnableSecret(**name)
    ssm.DisableSecret(**name)
    ssm.DeleteSecret(**name, RecoveryWindowInDays=1)
    ssm.RestoreSecret(**name)
    ssm.DeleteSecret(**name, RecoveryWindowInDays=1)
    ssm.CreateSecret(SecretName="two", VersionId="v1", SecretString="a")
    ssm.DisableSecret(SecretName="two")
    ssm.DeleteSecret(SecretName="two", RecoveryWindowInDays=0)


def granted(template: Template, handler: str) -> Grants:
    """What a function's role lets it do in DynamoDB."""
    return {
        (action.removeprefix("dynamodb:"), place(resource))
        for statement in statements(template, handler)
        for action in statement["Action"]
        if action.startswith("dynamodb:")
        for resource in (
            statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        )
    }


def place(resource: dict[str, Any]) -> str:
    """The table or index that an ARN of the template names."""
    match resource:
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return name
        case {"Fn::Sub": str(text)} if text.startswith("${"):
            return text.removeprefix("${").replace(".Arn}", "")
    raise AssertionError(resource)


def needed(operation: str, params: dict[str, Any]) -> Grants:
    """What a role has to allow for a request: a transaction takes the permissions of its parts."""
    match operation:
        case "TransactWriteItems" | "TransactGetItems":
            return {
                (STEPS[verb], step["TableName"])
                for item in params["TransactItems"]
                for verb, step in item.items()
            }
        case "BatchGetItem":
            return {(operation, table) for table in params["RequestItems"]}
        case _:
            index = params.get("IndexName")
            return {(operation, f"{params['TableName']}/index/{index}" if index else params["TableName"])}


def by_name(attributes: list[Any]) -> list[Any]:
    return sorted(attributes, key=lambda attribute: str(attribute["AttributeName"]))
