"""Which resource each action of kms, ssm and tag is authorised on, in both directions."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from chalicelib.context import IDENTITY
from chalicelib.settings import Bootstrap
from tests import permissions, scenarios
from tests.calls import ask, code
from tests.inspected import Inspected
from tests.installation import SM
from tests.permissions import statement
from tests.scenarios import SCENARIOS, Scenario, World

DENIED: Final = "AuthFailure.UnauthorizedOperation"
ALL_KEYS: Final = "key/*"
ALL_DATA_KEYS: Final = "dataKey/*"
ALL_SECRETS: Final = "secret/*"

RESOURCES: Final[dict[str, tuple[str, ...]]] = {
    "kms:ArchiveKey": ("key:key",),
    "kms:AsymmetricRsaDecrypt": ("key:rsa",),
    "kms:AsymmetricSm2Decrypt": ("key:sm2",),
    "kms:BindCloudResource": ("key:key",),
    "kms:CancelDataKeyDeletion": ("dataKey:leaving",),
    "kms:CancelKeyArchive": ("key:archived",),
    "kms:CancelKeyDeletion": ("key:leaving",),
    "kms:CreateKey": (ALL_KEYS,),
    "kms:Decrypt": ("key:key",),
    "kms:DeleteImportedKeyMaterial": ("key:imported",),
    "kms:DescribeDataKey": ("dataKey:hosted",),
    "kms:DescribeDataKeys": ("dataKey:hosted", "dataKey:other"),
    "kms:DescribeKey": ("key:key",),
    "kms:DescribeKeys": ("key:key", "key:other"),
    "kms:DisableDataKey": ("dataKey:hosted",),
    "kms:DisableDataKeys": ("dataKey:hosted", "dataKey:other"),
    "kms:DisableKey": ("key:key",),
    "kms:DisableKeyRotation": ("key:rotating",),
    "kms:DisableKeys": ("key:key", "key:other"),
    "kms:EnableDataKey": ("dataKey:idle",),
    "kms:EnableDataKeys": ("dataKey:idle", "dataKey:other"),
    "kms:EnableKey": ("key:idle",),
    "kms:EnableKeyRotation": ("key:key",),
    "kms:EnableKeys": ("key:idle", "key:other"),
    "kms:Encrypt": ("key:key",),
    "kms:GenerateDataKey": ("key:key",),
    "kms:GenerateRandom": (ALL_KEYS,),
    "kms:GetDataKeyCiphertextBlob": ("dataKey:hosted",),
    "kms:GetDataKeyPlaintext": ("dataKey:hosted", "key:key"),
    "kms:GetKeyRotationStatus": ("key:key",),
    "kms:GetParametersForImport": ("key:waiting",),
    "kms:GetPublicKey": ("key:rsa",),
    "kms:GetRegions": (ALL_KEYS,),
    "kms:GetServiceStatus": (ALL_KEYS,),
    "kms:ImportDataKey": ("key:key",),
    "kms:ImportKeyMaterial": ("key:waiting",),
    "kms:ListAlgorithms": (ALL_KEYS,),
    "kms:ListDataKeyDetail": (ALL_DATA_KEYS,),
    "kms:ListDataKeys": (ALL_DATA_KEYS,),
    "kms:ListKeyDetail": (ALL_KEYS,),
    "kms:ListKeyRotations": ("key:key",),
    "kms:ListKeys": (ALL_KEYS,),
    "kms:PostQuantumCryptoDecrypt": ("key:pqc-decrypt",),
    "kms:PostQuantumCryptoEncrypt": ("key:pqc-decrypt",),
    "kms:PostQuantumCryptoSign": ("key:pqc-sign",),
    "kms:PostQuantumCryptoVerify": ("key:pqc-sign",),
    "kms:ReEncrypt": ("key:key", "key:other"),
    "kms:RotateKey": ("key:rotating",),
    "kms:ScheduleDataKeyDeletion": ("dataKey:idle",),
    "kms:ScheduleKeyDeletion": ("key:idle",),
    "kms:SignByAsymmetricKey": ("key:ecc",),
    "kms:UnbindCloudResource": ("key:bound",),
    "kms:UpdateAlias": ("key:key",),
    "kms:UpdateDataKeyDescription": ("dataKey:hosted",),
    "kms:UpdateDataKeyName": ("dataKey:hosted",),
    "kms:UpdateKeyDescription": ("key:key",),
    "kms:VerifyByAsymmetricKey": ("key:ecc",),
    "ssm:CreateSecret": (ALL_SECRETS,),
    "ssm:DeleteSecret": ("secret:idle",),
    "ssm:DeleteSecretVersion": ("secret:live",),
    "ssm:DescribeSecret": ("secret:live",),
    "ssm:DisableSecret": ("secret:live",),
    "ssm:EnableSecret": ("secret:idle",),
    "ssm:GetRegions": (ALL_SECRETS,),
    "ssm:GetSecretValue": ("secret:live",),
    "ssm:GetServiceStatus": (ALL_SECRETS,),
    "ssm:ListSecretVersionIds": ("secret:live",),
    "ssm:ListSecrets": (ALL_SECRETS,),
    "ssm:PutSecretValue": ("secret:live",),
    "ssm:RestoreSecret": ("secret:leaving",),
    "ssm:StopSecretReplication": ("secret:copied",),
    "ssm:UpdateDescription": ("secret:live",),
    "ssm:UpdateSecret": ("secret:live",),
    "tag:DescribeResourceTagsByResourceIds": ("key:key",),
    "tag:GetResources": ("tag:*",),
    "tag:GetTagKeys": ("tag:*",),
    "tag:GetTagValues": ("tag:*",),
    "tag:ModifyResourceTags": ("key:key",),
    "tag:TagResources": ("secret:live",),
    "tag:UnTagResources": ("secret:live",),
}
LISTS: Final = (
    "kms:ListDataKeyDetail",
    "kms:ListDataKeys",
    "kms:ListKeyDetail",
    "kms:ListKeys",
    "ssm:ListSecrets",
    "tag:GetResources",
    "tag:GetTagKeys",
    "tag:GetTagValues",
)
"""Which show less, instead of nothing, where a policy allows only some of it."""

TWO_ACTIONS: Final = ("ReplicateSecret",)
"""It asks for CreateSecret elsewhere, too: its own test is in tests/actions."""

covered = [s for s in SCENARIOS if s.service in ("kms", "ssm", "tag") and s.action not in TWO_ACTIONS]
every = pytest.mark.parametrize("scenario", covered, ids=str)


@pytest.fixture(scope="module")
def installation() -> Iterator[Inspected]:
    made = Inspected()
    yield made
    made.service.close()


@pytest.fixture(scope="module")
def world(installation: Inspected) -> World:
    return scenarios.build(installation)


@pytest.fixture(scope="module")
def images(installation: Inspected, world: World) -> dict[str, bytes]:
    return {domain: installation.tables[domain].snapshot() for domain in (SM, IDENTITY)}


@pytest.fixture
def user(installation: Inspected, images: dict[str, bytes]) -> Bootstrap:
    """A user in the world as it was built."""
    for domain, image in images.items():
        installation.tables[domain].restore(image)
    installation.service.hints.clear()
    return installation.add_user("u")


def name_of(scenario: Scenario) -> str:
    return f"{scenario.service}:{scenario.action}"


def resources(world: World, scenario: Scenario) -> list[str]:
    """The full names of what the scenario asks for."""
    root = world.installation.root.uin
    found = []
    for short in RESOURCES[name_of(scenario)]:
        kind, colon, name = short.partition(":")
        if not colon:
            service = "ssm" if short == ALL_SECRETS else "kms"
            found.append(f"qcs::{service}:{SM}:uin/{root}:{short}")
        elif kind == "tag":
            found.append(f"qcs::tag:{SM}:uin/{root}:{name}")
        else:
            item = {"key": world.keys, "dataKey": world.data_keys}.get(kind, {name: name})[name]
            service = "ssm" if kind == "secret" else "kms"
            found.append(f"qcs::{service}:{SM}:uin/{root}:{kind}/creatorUin/{root}/{item}")
    return found


def ask_as(world: World, who: Bootstrap, scenario: Scenario) -> str:
    """The code of the answer."""
    request = world.request(scenario.service, scenario.action, scenario.parameters(world), who=who)
    return code(ask(world.installation.gateway, request))


def allowed(
    installation: Inspected, world: World, user: Bootstrap, scenario: Scenario, *statements: dict[str, Any]
) -> bool:
    """Whether the user may, with a policy of these statements."""
    permissions.allow(installation, user, *statements)
    answer = ask_as(world, user, scenario)
    assert answer in ("", DENIED)
    return not answer


def test_every_action_is_in_the_table() -> None:
    assert {name_of(s) for s in covered} == set(RESOURCES)


@every
def test_the_action_on_the_resource_is_enough(
    installation: Inspected, world: World, user: Bootstrap, scenario: Scenario
) -> None:
    exactly = statement(action=name_of(scenario), resource=resources(world, scenario))
    assert allowed(installation, world, user, scenario, exactly)


@every
def test_nothing_but_a_denial_of_it_is_refused(
    installation: Inspected, world: World, user: Bootstrap, scenario: Scenario
) -> None:
    for number, resource in enumerate(resources(world, scenario)):
        denial = statement("deny", action=name_of(scenario), resource=resource)
        another = installation.add_user(f"u{number}")
        assert not allowed(installation, world, another, scenario, statement(), denial)


@every
def test_another_action_on_the_resource_is_not_enough(
    installation: Inspected, world: World, user: Bootstrap, scenario: Scenario
) -> None:
    others = sorted({name_of(s) for s in covered} - {name_of(scenario)})
    assert not allowed(installation, world, user, scenario, statement(action=others))


@every
def test_the_action_on_another_resource_is_not_enough(
    installation: Inspected, world: World, user: Bootstrap, scenario: Scenario
) -> None:
    wanted = resources(world, scenario)
    others = [r for s in covered for r in resources(world, s) if r not in wanted and not r.endswith("/*")]
    others += [f"{resource}-more" for resource in wanted if not resource.endswith("*")]
    elsewhere = [resource.replace(SM, "ap-beijing") for resource in wanted]
    members: dict[str, Any] = {"action": name_of(scenario), "resource": sorted({*others, *elsewhere})}
    assert allowed(installation, world, user, scenario, statement(**members)) == (name_of(scenario) in LISTS)


@pytest.mark.parametrize("scenario", [s for s in covered if len(RESOURCES.get(name_of(s), ())) > 1], ids=str)
def test_every_resource_of_a_call_has_to_be_allowed(
    installation: Inspected, world: World, user: Bootstrap, scenario: Scenario
) -> None:
    wanted = resources(world, scenario)
    for number, left_out in enumerate(wanted):
        some = [resource for resource in wanted if resource != left_out]
        another = installation.add_user(f"u{number}")
        members: dict[str, Any] = {"action": name_of(scenario), "resource": some}
        assert not allowed(installation, world, another, scenario, statement(**members))


@every
def test_the_denial_says_which_statement_decided_and_names_no_resource(
    installation: Inspected, world: World, user: Bootstrap, scenario: Scenario
) -> None:
    parameters = scenario.parameters(world)
    request = world.request(scenario.service, scenario.action, parameters, who=user)
    denied = ask(installation.gateway, request)["Error"]["Message"]
    assert denied.endswith(f"({name_of(scenario)}) on this resource: no statement allows it.")
    denial = statement("deny", action=name_of(scenario), resource=resources(world, scenario))
    policy_id = permissions.allow(installation, user, statement(), denial)
    name = permissions.call(installation, "cam", "GetPolicy", PolicyId=policy_id)["PolicyName"]
    denied = ask(installation.gateway, request)["Error"]["Message"]
    assert denied.endswith(f"on this resource: statement 1 of the policy {name} denies it.")
    assert installation.root.uin not in denied
