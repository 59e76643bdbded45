"""Who may not, cannot, and learns nothing; and what only rehearses leaves nothing behind."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chalicelib.context import IDENTITY, domain
from chalicelib.formats import record
from chalicelib.settings import Bootstrap, Settings
from chalicelib.table.port import Row
from tests import scenarios
from tests.calls import ask, code
from tests.inspected import Inspected
from tests.installation import FIPS, SM
from tests.scenarios import BEIJING, CONTEXT, MUTATING, OPEN, READING, SCENARIOS, VALUE, Scenario, World

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
naming = [s for s in SCENARIOS if s.absent]

NOT_FOUND = (
    "InvalidParameter.GroupNotExist",
    "InvalidParameter.ParamError",
    "InvalidParameter.PolicyIdNotExist",
    "InvalidParameter.RoleNotExist",
    "InvalidParameter.UserNotExist",
    "InvalidParameterValue.InvalidCiphertext",
    "ResourceNotFound",
    "ResourceNotFound.GroupNotExist",
    "ResourceNotFound.PolicyIdNotFound",
    "ResourceNotFound.UserNotExist",
    "ResourceUnavailable.CmkNotFound",
    "ResourceUnavailable.DataKeyNotFound",
)


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
    return {name: installation.tables[name].snapshot() for name in (SM, BEIJING, IDENTITY)}


@pytest.fixture(autouse=True)
def fresh(installation: Inspected, images: dict[str, bytes]) -> None:
    """The world as it was built."""
    for name, image in images.items():
        installation.tables[name].restore(image)
    installation.service.hints.clear()


def rows_of(installation: Inspected, scenario: Scenario) -> dict[tuple[str, str], Row]:
    """The rows that the scenario may change."""
    return installation.data(domain(scenario.service, SM))


def ask_as(world: World, who: Bootstrap, scenario: Scenario, **changes: Any) -> dict[str, Any]:
    given = {**scenario.parameters(world), **changes}
    request = world.request(scenario.service, scenario.action, given, who=who)
    return ask(world.installation.gateway, request)


def test_the_scenarios_are_split() -> None:
    assert len(READING) + len(MUTATING) == len(SCENARIOS)
    assert {"CreateSecret", "RotateKey", "BindCloudResource"} <= {s.action for s in MUTATING}
    assert {"GetSecretValue", "Decrypt", "ReEncrypt"} <= {s.action for s in READING}


@every_scenario
def test_every_scenario_succeeds(installation: Inspected, world: World, scenario: Scenario) -> None:
    before = rows_of(installation, scenario)
    assert not code(ask_as(world, installation.root, scenario))
    after = rows_of(installation, scenario)
    changed = {key for key, row in after.items() if before.get(key) != row} | (set(before) - set(after))
    # Using a key notes when: beside the answer, not as its purpose.
    assert bool({key for key in changed if key[1] != "U"}) == (scenario in MUTATING)


# Users without a policy


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.action not in OPEN], ids=str)
def test_a_user_without_a_policy_is_denied(installation: Inspected, world: World, scenario: Scenario) -> None:
    user = installation.add_user("u")
    before = rows_of(installation, scenario)
    response = ask_as(world, user, scenario)
    assert code(response) == "AuthFailure.UnauthorizedOperation"
    assert rows_of(installation, scenario) == before
    event = installation.event(response["RequestId"], domain(scenario.service, SM))
    assert (event["account"], event["uin"], event["user"]) == (installation.root.uin, user.uin, "u")
    assert event["error"] == "AuthFailure.UnauthorizedOperation"


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.action not in OPEN], ids=str)
def test_a_dry_run_needs_permission_too(installation: Inspected, world: World, scenario: Scenario) -> None:
    response = ask_as(world, installation.add_user("u"), scenario, DryRun=True)
    assert code(response) == "AuthFailure.UnauthorizedOperation"


@pytest.mark.parametrize("scenario", naming, ids=str)
def test_a_user_without_a_policy_does_not_learn_what_exists(
    installation: Inspected, world: World, scenario: Scenario
) -> None:
    assert scenario.absent
    user = installation.add_user("u")
    exists = ask_as(world, user, scenario)
    absent = ask_as(world, user, scenario, **scenario.absent(world))
    assert exists["Error"] == absent["Error"]


@pytest.mark.parametrize("name", ["live", "idle", "leaving", "absent"])
@pytest.mark.parametrize("version", ["v1", "absent", "SSM_Current"])
def test_nor_in_which_state(installation: Inspected, world: World, name: str, version: str) -> None:
    user = installation.add_user("u")
    for action in ("GetSecretValue", "DeleteSecretVersion"):
        request = world.request("ssm", action, {"SecretName": name, "VersionId": version}, who=user)
        error = ask(installation.gateway, request)["Error"]
        assert error["Code"] == "AuthFailure.UnauthorizedOperation"
        assert name not in error["Message"]
        assert user.uin not in error["Message"]
        assert installation.root.uin not in error["Message"]


# Other accounts


@pytest.mark.parametrize("scenario", naming, ids=str)
def test_another_accounts_resources_do_not_exist(
    installation: Inspected, world: World, scenario: Scenario
) -> None:
    assert scenario.absent
    stranger = installation.add_account()
    before = rows_of(installation, scenario)
    theirs = ask_as(world, stranger, scenario)
    absent = ask_as(world, stranger, scenario, **scenario.absent(world))
    assert theirs["Error"] == absent["Error"]
    assert code(theirs) in NOT_FOUND
    assert rows_of(installation, scenario) == before


@pytest.mark.parametrize("scenario", [s for s in naming if domain(s.service, SM) == SM], ids=str)
def test_another_regions_resources_do_not_exist(
    installation: Inspected, world: World, scenario: Scenario
) -> None:
    given = scenario.parameters(world)
    request = world.request(scenario.service, scenario.action, given, region=FIPS)
    assert code(ask(installation.gateway, request)) in NOT_FOUND


def test_another_accounts_key_seals_no_secret(installation: Inspected, world: World) -> None:
    parameters = {"SecretName": "new", "SecretString": "x", "KmsKeyId": world.keys["key"]}
    request = world.request("ssm", "CreateSecret", parameters, who=installation.add_account())
    assert code(ask(installation.gateway, request)) == "FailedOperation.AccessKmsError"


def test_another_accounts_key_is_no_destination(installation: Inspected, world: World) -> None:
    stranger = installation.add_account()
    made = ask(installation.gateway, world.request("kms", "CreateKey", {"Alias": "theirs"}, who=stranger))
    response = world.call(
        "kms",
        "ReEncrypt",
        CiphertextBlob=world.blob,
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=made["KeyId"],
    )
    assert code(response) == "ResourceUnavailable.CmkNotFound"


@pytest.mark.parametrize(
    "name", ["live#M", "live\x00", "../live", "{other}#ap-guangzhou#live", "live/../live", "*", ""]
)
def test_a_name_reaches_no_other_row(installation: Inspected, world: World, name: str) -> None:
    stranger = installation.add_account()
    name = name.format(other=installation.root.uin)
    for service, action, parameter in (
        ("ssm", "DescribeSecret", "SecretName"),
        ("kms", "DescribeKey", "KeyId"),
    ):
        request = world.request(service, action, {parameter: name}, who=stranger)
        answer = code(ask(installation.gateway, request))
        assert answer in ("InvalidParameterValue", "InvalidParameterValue.InvalidKeyId")
    parameters = {"SecretName": "new", "SecretString": "x", "KmsKeyId": name or "#"}
    request = world.request("ssm", "CreateSecret", parameters, who=stranger)
    assert code(ask(installation.gateway, request)) == "FailedOperation.AccessKmsError"


def test_lists_show_the_callers_account_only(installation: Inspected, world: World) -> None:
    stranger = installation.add_account()
    for service, action in (("ssm", "ListSecrets"), ("kms", "ListKeys"), ("kms", "ListKeyDetail")):
        assert world.call(service, action)["TotalCount"] > 0
        request = world.request(service, action, {}, who=stranger)
        assert ask(installation.gateway, request)["TotalCount"] == 0


def test_accounts_may_use_equal_names(installation: Inspected, world: World) -> None:
    stranger = installation.add_account()
    parameters = {"SecretName": "live", "VersionId": "v1", "SecretString": "another value"}
    assert not code(ask(installation.gateway, world.request("ssm", "CreateSecret", parameters, who=stranger)))
    read = {"SecretName": "live", "VersionId": "v1"}
    theirs = ask(installation.gateway, world.request("ssm", "GetSecretValue", read, who=stranger))
    assert theirs["SecretString"] == "another value"
    assert world.call("ssm", "GetSecretValue", **read)["SecretString"] == VALUE


# Dry runs


@every_scenario
def test_a_dry_run_that_would_succeed(installation: Inspected, world: World, scenario: Scenario) -> None:
    before = rows_of(installation, scenario)
    response = ask_as(world, installation.root, scenario, DryRun=True)
    assert code(response) == "DryRunOperation"
    assert rows_of(installation, scenario) == before
    event = installation.event(response["RequestId"], domain(scenario.service, SM))
    assert event["error"] == "DryRunOperation"
    assert not code(ask_as(world, installation.root, scenario)), "the rehearsal was right"


@pytest.mark.parametrize("scenario", naming, ids=str)
def test_a_dry_run_of_what_is_not_there(installation: Inspected, world: World, scenario: Scenario) -> None:
    assert scenario.absent
    changes = scenario.absent(world)
    real = ask_as(world, installation.root, scenario, **changes)
    rehearsed = ask_as(world, installation.root, scenario, **changes, DryRun=True)
    assert rehearsed["Error"] == real["Error"]


WOULD_FAIL: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "secret exists": ("ssm", "CreateSecret", {"SecretName": "live", "SecretString": "x"}),
    "secret is leaving": ("ssm", "CreateSecret", {"SecretName": "leaving", "SecretString": "x"}),
    "version exists": (
        "ssm",
        "PutSecretValue",
        {"SecretName": "live", "VersionId": "v1", "SecretString": "x"},
    ),
    "no value": ("ssm", "CreateSecret", {"SecretName": "new"}),
    "state": ("ssm", "DeleteSecret", {"SecretName": "live"}),
    "no version": ("ssm", "GetSecretValue", {"SecretName": "live", "VersionId": "v9"}),
    "alias exists": ("kms", "CreateKey", {"Alias": "key"}),
    "no ciphertext": ("kms", "Decrypt", {"CiphertextBlob": "x"}),
    "unknown parameter": ("kms", "ListKeys", {"Nope": 1}),
}


@pytest.mark.parametrize("why", WOULD_FAIL)
def test_a_dry_run_that_would_fail(installation: Inspected, world: World, why: str) -> None:
    service, action, parameters = WOULD_FAIL[why]
    before = installation.data()
    rehearsed = world.call(service, action, **parameters, DryRun=True)
    assert installation.data() == before
    real = world.call(service, action, **parameters)
    assert code(real) not in ("", "DryRunOperation", "InternalError")
    assert rehearsed["Error"] == real["Error"]


@pytest.mark.parametrize(
    ("service", "action", "parameters", "expected"),
    [
        ("ssm", "CreateSecret", {"SecretString": "x"}, "LimitExceeded"),
        ("kms", "CreateKey", {}, "LimitExceeded.CmkLimitExceeded"),
    ],
)
def test_a_dry_run_at_the_quota(service: str, action: str, parameters: dict[str, Any], expected: str) -> None:
    small = Inspected(
        settings=Settings(throttle=False, credential_cache_seconds=0, max_secrets=1, max_keys=1)
    )
    world = World(small)

    def create(name: str, **more: Any) -> str:
        named = {"SecretName" if service == "ssm" else "Alias": name}
        return code(world.call(service, action, **named, **parameters, **more))

    assert create("last", DryRun=True) == "DryRunOperation"
    assert create("last") == ""
    assert create("more", DryRun=True) == create("more") == expected
    small.service.close()


def test_a_dry_run_of_keys_that_need_no_change(installation: Inspected, world: World) -> None:
    assert code(world.call("kms", "EnableKeys", KeyIds=[world.keys["key"]], DryRun=True)) == "DryRunOperation"


@pytest.mark.parametrize("value", [0, 1, "true", "", "yes", [], {}, 1.0, "True"])
def test_dry_run_is_a_boolean(installation: Inspected, world: World, value: object) -> None:
    assert code(world.call("ssm", "GetRegions", DryRun=value)) == "InvalidParameter"


@pytest.mark.parametrize("value", [False, None])
def test_dry_run_may_be_off(installation: Inspected, world: World, value: object) -> None:
    assert not code(world.call("ssm", "GetRegions", DryRun=value))


def test_a_rehearsed_secret_leaves_no_default_key(installation: Inspected, world: World) -> None:
    """Not even the CMK that the first secret would make."""
    stranger = installation.add_account()
    parameters = {"SecretName": "a", "SecretString": "x", "DryRun": True}
    response = ask(installation.gateway, world.request("ssm", "CreateSecret", parameters, who=stranger))
    assert code(response) == "DryRunOperation"
    rows = installation.data()
    owners = {
        record.decode(rows[key].body)["account"] for key in rows if key[0][:2] == "K#" and key[1] == "M"
    }
    assert owners == {installation.root.uin}
