"""The pipeline: its order, its envelope, and what it does about actions and ports that misbehave."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any

import pytest

from chalicelib.api import gateway as gateway_module
from chalicelib.api import registry
from chalicelib.api.http import Request
from chalicelib.api.registry import Action
from chalicelib.context import Context
from chalicelib.errors import InternalError, InvalidRequest, ResourceNotFound
from chalicelib.hsm.port import Damaged, HsmMisconfigured, HsmUnavailable
from chalicelib.params import RECORDED, Between, Parameters
from chalicelib.settings import Settings
from chalicelib.table.port import Busy, Conflict, Expect, Put, Refused, Row, TableError, Unacknowledged
from tests import scenarios
from tests.calls import METHODS, VERSIONS, ask, code, members, tc3, v1
from tests.inspected import NOW, Inspected
from tests.installation import FIPS, SM
from tests.scenarios import SCENARIOS, Scenario, World

CANARY = "c4n4ry+value/that=must not travel"

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


@pytest.fixture
def installation() -> Iterator[Inspected]:
    made = Inspected()
    yield made
    made.service.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Shared: the tests that use it leave it as it was."""
    made = Inspected()
    yield scenarios.build(made)
    made.service.close()


def offer(
    monkeypatch: pytest.MonkeyPatch, handler: Callable[..., dict[str, Any]], name: str = "Fake"
) -> None:
    """Make every action this one."""
    action = Action("ssm", name, handler, Parameters(handler))
    monkeypatch.setattr(registry, "find", lambda _version, _name: action)


def call(installation: Inspected, action: str = "Fake", **parameters: Any) -> dict[str, Any]:
    return ask(installation.gateway, tc3(installation.root, NOW, "ssm", action, parameters))


def test_every_action_has_a_scenario() -> None:
    wanted = {(service, name) for service in VERSIONS for name in registry.names(service)}
    assert {(s.service, s.action) for s in SCENARIOS} == wanted


# Envelope


@every_scenario
def test_every_action_answers_every_signature_method(world: World, scenario: Scenario) -> None:
    """The parameters mean the same however they travel: the dry run finds nothing to object to."""
    given = {**scenario.parameters(world), "DryRun": True}
    for sign in METHODS.values():
        request = sign(world.installation.root, NOW, scenario.service, scenario.action, given)
        assert code(ask(world.installation.gateway, request)) == "DryRunOperation"


def test_success_and_refusal_have_one_envelope(installation: Inspected) -> None:
    made = call(installation, "GetRegions")
    assert made["Regions"] == ["ap-guangzhou", "ap-beijing", "ap-singapore"]
    refused = call(installation, "NoSuch")
    assert code(refused) == "InvalidAction"
    assert made["RequestId"] != refused["RequestId"]


def test_a_front_door_refuses_in_the_same_envelope_and_is_recorded(installation: Inspected) -> None:
    response = members(installation.gateway.refuse(InvalidRequest()))
    assert code(response) == "InvalidRequest"
    assert installation.event(response["RequestId"])["error"] == "InvalidRequest"


@pytest.mark.parametrize("action", ["GetRegions", "NoSuch"])
@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("trace-1", "trace-1"),
        ("a b;c", "a b;c"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 64),
        ("", None),
        ("a\r\nSet-Cookie: b", None),
        ("a\x00", None),
        ("痕", None),
    ],
)
def test_the_trace_id_is_echoed(installation: Inspected, action: str, sent: str, echoed: str | None) -> None:
    request = tc3(installation.root, NOW, "ssm", action, headers={"x-tc-traceid": sent})
    reply = installation.gateway(request)
    members(reply)
    assert dict(reply.headers).get("X-TC-TraceId") == echoed


def test_answers_are_ascii(installation: Inspected) -> None:
    """Nothing in an answer depends on the charset that a client assumes."""
    call(installation, "CreateSecret", SecretName="a", VersionId="v", SecretString="密钥 ☃")
    request = tc3(installation.root, NOW, "ssm", "GetSecretValue", {"SecretName": "a", "VersionId": "v"})
    reply = installation.gateway(request)
    assert reply.body.isascii()
    assert members(reply)["SecretString"] == "密钥 ☃"


# Which refusal comes first


def test_the_action_is_found_before_the_signature_is_checked(installation: Inspected) -> None:
    request = spoil(tc3(installation.root, NOW, "ssm", "NoSuch"))
    assert code(ask(installation.gateway, request)) == "InvalidAction"


def test_the_signature_comes_before_region_and_parameters(installation: Inspected) -> None:
    request = spoil(tc3(installation.root, NOW, "ssm", "GetSecretValue", {"Nope": 1}, region="mars"))
    assert code(ask(installation.gateway, request)) == "AuthFailure.SignatureFailure"


def test_the_region_comes_before_parameters(installation: Inspected) -> None:
    request = tc3(installation.root, NOW, "ssm", "GetSecretValue", {"Nope": 1}, region="mars")
    assert code(ask(installation.gateway, request)) == "UnsupportedRegion"


def test_the_throttle_comes_before_parameters() -> None:
    installation = Inspected(settings=Settings(rates={"ssm.GetSecretValue": 0.001}))
    codes = [code(call(installation, "GetSecretValue", Nope=1)) for _ in range(2)]
    assert codes == ["UnknownParameter", "RequestLimitExceeded"]
    installation.service.close()


def test_parameters_come_before_authorisation(installation: Inspected) -> None:
    """They tell nothing about resources, and a policy may depend on them."""
    request = tc3(installation.add_user("u"), NOW, "ssm", "GetSecretValue", {"SecretName": "a"})
    assert code(ask(installation.gateway, request)) == "MissingParameter"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"Nope": 1, "SecretName": 5}, "UnknownParameter"),
        (
            {"SecretName": "a", "VersionId": "v", "SecretString": "x", "Tags": [{"Nope": 1}]},
            "UnknownParameter",
        ),
        ({"SecretString": 5}, "MissingParameter"),
        ({"SecretName": None, "SecretString": "x"}, "MissingParameter"),
        ({"SecretName": "a", "SecretString": 5}, "InvalidParameter"),
        ({"SecretName": "-", "SecretString": "x"}, "InvalidParameterValue"),
        ({"SecretName": "a", "SecretString": "x", "Tags": [{}]}, "MissingParameter"),
    ],
)
def test_parameter_refusals(installation: Inspected, parameters: dict[str, Any], expected: str) -> None:
    assert code(call(installation, "CreateSecret", **parameters)) == expected
    assert not installation.data()


def spoil(request: Request) -> Request:
    """The same request with another signature."""
    authorization = request.headers["authorization"]
    other = authorization[:-1] + ("0" if authorization[-1] != "0" else "1")
    return replace(request, headers={**request.headers, "authorization": other})


# Regions, versions, actions


@pytest.mark.parametrize("region", [SM, "ap-beijing", FIPS])
def test_regions_are_apart(installation: Inspected, region: str) -> None:
    made = tc3(
        installation.root, NOW, "ssm", "CreateSecret", {"SecretName": "a", "SecretString": "x"}, region=region
    )
    assert not code(ask(installation.gateway, made))
    for other in (SM, "ap-beijing", FIPS):
        found = tc3(installation.root, NOW, "ssm", "DescribeSecret", {"SecretName": "a"}, region=other)
        assert code(ask(installation.gateway, found)) == ("" if other == region else "ResourceNotFound")


@every_scenario
def test_other_regions_are_refused(world: World, scenario: Scenario) -> None:
    given = {**scenario.parameters(world), "DryRun": True}

    def ask_in(region: str) -> str:
        request = world.request(scenario.service, scenario.action, given, region=region)
        return code(ask(world.installation.gateway, request))

    is_of_a_region = scenario.service in ("kms", "ssm") and scenario.action != "GetRegions"
    assert ask_in("") == ("MissingParameter" if is_of_a_region else "DryRunOperation")
    for region in ("mars", "AP-GUANGZHOU", "identity"):
        assert ask_in(region) == "UnsupportedRegion"
    assert ask_in("ap-guangzhou\x00") == "InvalidParameter"


@pytest.mark.parametrize("version", ["2000-01-01", "2019-09-24", "x", "2019-09-23 2019-09-23"])
def test_unknown_versions(installation: Inspected, version: str) -> None:
    request = tc3(installation.root, NOW, "ssm", "GetRegions", headers={"x-tc-version": version})
    assert code(ask(installation.gateway, request)) == "NoSuchVersion"
    request = v1(installation.root, NOW, "ssm", "GetRegions", common={"Version": version})
    assert code(ask(installation.gateway, request)) == "NoSuchVersion"


@pytest.mark.parametrize(
    "action",
    ["NoSuch", "getregions", "Getregions", "Get_Regions", "__init__", "../kms", "Encrypt", "x" * 500],
)
def test_unknown_actions(installation: Inspected, action: str) -> None:
    """Encrypt is another service's: the version decides, not the name."""
    assert code(call(installation, action)) == "InvalidAction"
    assert code(ask(installation.gateway, v1(installation.root, NOW, "ssm", action))) == "InvalidAction"


def test_the_first_letter_of_an_action_may_be_small(installation: Inspected) -> None:
    assert not code(call(installation, "getRegions"))


# Actions and ports that misbehave


def test_an_action_that_forgets_to_authorise_answers_nothing(
    installation: Inspected, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, lambda _ctx: {"Leak": CANARY})
    response = call(installation)
    assert response["Error"] == {"Code": "InternalError", "Message": InternalError.message}
    assert installation.event(response["RequestId"])["error"] == "InternalError"


def test_an_action_that_forgets_to_authorise_writes_nothing(
    installation: Inspected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(ctx: Context) -> dict[str, Any]:
        ctx.commit([Put(Row(pk="X", sk="X"), Expect.ABSENT)])
        return {}

    offer(monkeypatch, fake)
    assert code(call(installation)) == "InternalError"
    assert code(call(installation, DryRun=True)) == "InternalError"
    assert not installation.data()


def test_an_action_commits_once(installation: Inspected, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(ctx: Context) -> dict[str, Any]:
        ctx.authorise()
        for name in ("X", "Y"):
            ctx.commit([Put(Row(pk=name, sk="-"), Expect.ABSENT)])
        return {}

    offer(monkeypatch, fake)
    assert code(call(installation)) == "InternalError"
    assert set(installation.data()) == {("X", "-")}


@pytest.mark.parametrize(
    "error",
    [
        ValueError(CANARY),
        KeyError(CANARY),
        RuntimeError(CANARY, {"SecretString": CANARY}),
        UnicodeEncodeError("ascii", CANARY, 0, 1, CANARY),
        RecursionError(CANARY),
        MemoryError(CANARY),
        OSError(5, CANARY, CANARY),
        TimeoutError(CANARY),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_unforeseen_exception_is_an_internal_error(
    installation: Inspected,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fake(ctx: Context, *, value: str) -> dict[str, Any]:
        ctx.authorise()
        error.__context__ = LookupError(value)
        raise error

    offer(monkeypatch, fake)
    caplog.set_level(logging.DEBUG)
    response = call(installation, Value=CANARY)
    assert response["Error"] == {"Code": "InternalError", "Message": InternalError.message}
    (logged,) = caplog.records
    assert logged.getMessage() == f"request {response['RequestId']} failed: {type(error).__name__}"
    assert not logged.exc_info
    assert CANARY not in caplog.text
    event = installation.event(response["RequestId"])
    assert event["error"] == "InternalError"
    assert CANARY not in json.dumps(event)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Busy(CANARY), "nothing was done; try again"),
        (HsmUnavailable(CANARY), "nothing was done; try again"),
        (Unacknowledged(CANARY), "outcome is unknown"),
        (TableError(CANARY), "tell its operator"),
        (Refused(CANARY), "tell its operator"),
        (Damaged(CANARY), "tell its operator"),
        (HsmMisconfigured(CANARY), "tell its operator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_port_errors_are_listed(
    installation: Inspected,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    says: str,
) -> None:
    def fake(ctx: Context) -> dict[str, Any]:
        ctx.authorise()
        raise error

    offer(monkeypatch, fake)
    response = call(installation)
    assert response["Error"]["Code"] == "InternalError"
    assert says in response["Error"]["Message"]
    assert CANARY not in response["Error"]["Message"] + caplog.text


def test_an_exit_is_no_answer(installation: Inspected, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops the process gets no reply made up for the call."""

    def fake(ctx: Context) -> dict[str, Any]:
        raise KeyboardInterrupt

    offer(monkeypatch, fake)
    with pytest.raises(KeyboardInterrupt):
        call(installation)


def test_what_was_read_may_be_recorded_unless_it_looks_like_no_name(
    installation: Inspected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(
        ctx: Context,
        *,
        count: Annotated[int, Between(0, 9), RECORDED],
        name: Annotated[str, RECORDED],
        value: str,
    ) -> dict[str, Any]:
        ctx.authorise()
        return {}

    offer(monkeypatch, fake)
    first = call(installation, Count=3, Name="a-b_c.d:e", Value="x")
    second = call(installation, Count=3, Name=CANARY, Value="x")
    third = call(installation, Count=3, Name="x" * 400_000, Value="x")
    recorded = [installation.event(r["RequestId"])["parameters"] for r in (first, second, third)]
    assert recorded == [
        {"Count": 3, "Name": "a-b_c.d:e", "Value": "***"},
        {"Count": 3, "Name": "***", "Value": "***"},
        {"Count": 3, "Name": "***", "Value": "***"},
    ]


# Conflicts


def test_a_conflict_is_decided_again(installation: Inspected, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 5

    def fake(ctx: Context) -> dict[str, Any]:
        nonlocal left
        ctx.authorise()
        ctx.event.note("secret", f"try-{left}")
        if left:
            left -= 1
            raise Conflict([0])
        return {}

    offer(monkeypatch, fake)
    monkeypatch.setattr(gateway_module, "_PAUSE", 0)
    response = call(installation)
    assert not code(response)
    assert installation.event(response["RequestId"])["resources"] == ["secret/try-0"]


def test_conflicts_without_end_are_an_error(installation: Inspected, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def fake(ctx: Context) -> dict[str, Any]:
        nonlocal tries
        tries += 1
        ctx.authorise()
        raise Conflict([0])

    offer(monkeypatch, fake)
    monkeypatch.setattr(gateway_module, "_PAUSE", 0)
    response = call(installation)
    assert response["Error"]["Code"] == "InternalError"
    assert "many calls at once" in response["Error"]["Message"]
    assert tries == 6


def test_a_refusal_of_the_table_is_the_callers(
    installation: Inspected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(ctx: Context) -> dict[str, Any]:
        ctx.authorise()
        ctx.commit(
            [Put(Row(pk="X", sk="1"), Expect.ANY), Put(Row(pk="X", sk="2"), 7)],
            {1: ResourceNotFound("The second one.")},
        )
        return {}

    offer(monkeypatch, fake)
    response = call(installation)
    assert response["Error"] == {"Code": "ResourceNotFound", "Message": "The second one."}
    assert not installation.data()


def test_calls_that_race_for_one_secret_lose_nothing(installation: Inspected) -> None:
    """Every success is one write of its own, and every event that tells of a success is true."""
    call(installation, "CreateSecret", SecretName="a", VersionId="v", SecretString="x")
    answers: list[dict[str, Any]] = []

    def update(at: int) -> None:
        changes = [f"{at}-{turn}" for turn in range(5)]
        answers.extend(
            call(installation, "UpdateDescription", SecretName="a", Description=c) for c in changes
        )

    threads = [threading.Thread(target=update, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {code(answer) for answer in answers} <= {"", "InternalError"}
    done = [answer for answer in answers if not code(answer)]
    account = installation.root.uin
    row = installation.data()[(f"S#{account}#{SM}#a", "M")]
    assert row.version == 1 + len(done) > 6
    told = [e for e in installation.events() if e["action"] == "UpdateDescription" and "error" not in e]
    assert {e["id"] for e in told} == {answer["RequestId"] for answer in done}
