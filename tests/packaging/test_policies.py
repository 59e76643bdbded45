"""Each function's role allows what its code asks DynamoDB for, and nothing else."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.jobs import schedule
from chalicelib.model.key import Origin
from chalicelib.model.secret import Replica, Secret
from chalicelib.settings import Settings
from chalicelib.table import keys, secrets
from chalicelib.table.dynamodb import DynamoTable, connect
from chalicelib.table.port import Table
from tests import scenarios
from tests.installation import SM, Installation
from tests.packaging.templates import Template, statements
from tests.scenarios import World

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

NO_EVENTS = ("rewrap_tokens",)
"""Jobs that do nothing to anybody's resources."""


class OnDynamo(Installation):
    """An installation on DynamoDB that remembers what it asked for."""

    def __init__(self, clock: ManualClock) -> None:
        self.asked: Grants = set()
        super().__init__(
            clock,
            Settings(
                throttle=False,
                credential_cache_seconds=0,
                delete_keys_in_use=True,
                table="dynamodb",
                table_names=NAMES,
            ),
        )

    def open_table(self, domain: str) -> Table:
        main = NAMES["identity" if domain == IDENTITY else "data"]
        table = DynamoTable(connect("us-east-1"), main, NAMES["audit"], self.clock)
        table.create_tables()
        table._client.meta.events.register("before-parameter-build.dynamodb", self.remember)
        return table

    def remember(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.asked.update(needed(model.name, params))


@pytest.fixture
def stage() -> str:
    """The stages have the same policies."""
    return "prod"


@pytest.fixture
def world(clock: ManualClock) -> Iterator[World]:
    with mock_aws():
        installation = OnDynamo(clock)
        world = scenarios.build(installation)
        for region in installation.settings.regions:
            installation.service.table(region)
        yield world


def test_the_api_may_do_what_every_action_needs(world: World, template: Template) -> None:
    asked = watched(world)
    for scenario in scenarios.SCENARIOS:
        world.call(scenario.service, scenario.action, **scenario.parameters(world))
        world.call(scenario.service, scenario.action, **{**scenario.parameters(world), "Surplus": 1})
    assert granted(template, "app.api") == asked | {WITNESS}


@pytest.mark.parametrize("job", schedule.EVERY_MINUTES)
def test_a_job_may_do_what_it_needs(world: World, clock: ManualClock, template: Template, job: str) -> None:
    leave_a_used_key(world)
    let_key_material_expire(world)
    leave_copies_to_make(world)
    # What is sealed must still be kept.
    clock.advance(600 if job == "seal_audit" else 400 * 86400)
    rotate_domain_keys(world)
    asked = watched(world)
    outcomes = schedule.run(world.installation.service, job).values()
    assert (sum(o.done for o in outcomes) > 0, sum(o.failed for o in outcomes)) == (True, 0)
    assert granted(template, f"app.{job}") == asked | ({WITNESS} if job not in NO_EVENTS else set())


def test_the_tables_are_those_that_the_adapter_creates(world: World, template: Template) -> None:
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


def leave_a_used_key(world: World) -> None:
    """A key with more than one row, scheduled for deletion."""
    key = world.keys["key"]
    world.call("kms", "Encrypt", KeyId=key, Plaintext="aGVsbG8=")
    world.call("kms", "DisableKey", KeyId=key)
    assert "DeletionDate" in world.call("kms", "ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)


def leave_copies_to_make(world: World) -> None:
    """A secret without a replica that it should have, one whose replica has a version too many, and one that ends."""
    for name in ("ending", "shrinking"):
        world.done("ssm", "CreateSecret", SecretName=name, VersionId="v1", SecretString="x")
        world.done("ssm", "ReplicateSecret", SecretName=name, ReplicaRegions=[{"Region": "ap-beijing"}])
    read = {name: secret_in(world, name) for name in ("live", "shrinking", "ending")}
    copied = read["live"].with_replicas([Replica("ap-beijing", "", "a-link")])
    ended = read["ending"].without_replicas({r.link for r in read["ending"].replicas})
    table = world.installation.service.table(SM)
    table.write(secrets.replace(read["live"], copied))
    table.write(secrets.replace(read["shrinking"], read["shrinking"].drop_version("v1")))
    table.write(secrets.replace(read["ending"], ended))


def secret_in(world: World, name: str) -> Secret:
    row = world.installation.service.table(SM).get(
        *secrets.secret_row_key(world.installation.root.uin, SM, name)
    )
    assert row is not None
    return secrets.from_row(row)


def rotate_domain_keys(world: World) -> None:
    """There is a generation that no token names yet."""
    service = world.installation.service
    for domain in (*service.settings.regions, IDENTITY):
        service.hsm(domain).rotate()


def let_key_material_expire(world: World) -> None:
    """A key whose material ends tomorrow."""
    table = world.installation.service.table(SM)
    row = table.get(*keys.key_row_key(world.installation.root.uin, SM, world.keys["other"]))
    assert row is not None
    key = keys.from_row(row)
    tomorrow = world.installation.clock.now() + 86400
    table.write(keys.replace(key, dataclasses.replace(key, origin=Origin.EXTERNAL, valid_to=tomorrow)))


def watched(world: World) -> Grants:
    """What the installation asks for from now on."""
    assert isinstance(world.installation, OnDynamo)
    world.installation.asked = set()
    return world.installation.asked


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
