"""Parameters by random bodies: arguments or a refusal, the same in every lexical form, and never an echo."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.api import registry
from chalicelib.errors import (
    ApiError,
    InvalidParameter,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    UnknownParameter,
)
from chalicelib.params import nest, read_json
from tests import scenarios
from tests.api.test_params import SAMPLE, Pair
from tests.calls import VERSIONS, ask, code, flatten, tc3
from tests.inspected import Inspected
from tests.scenarios import SCENARIOS, Scenario, World

MARK: Final = "\u00a4"
"""In every text that is sent; in no message."""

texts = st.text(st.characters(codec=None), max_size=12).map(lambda text: text + MARK)
names = st.sampled_from([*SAMPLE.names, "TagKey", "TagValue", "More"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-10, 10)
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["", "a", "AA==", "true", "1", "-9223372036854775809", "\x00", "\ud800", "SSM_Current"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | texts, inner, max_size=4),
    max_leaves=12,
)
# Half of the bodies have nothing but known names, or the first refusal would hide the others.
bodies = st.dictionaries(names, values, max_size=5) | st.dictionaries(names | texts, values, max_size=5)

pairs = st.builds(
    lambda key, value, more: {"TagKey": key, **value, **more},
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=4),
    st.fixed_dictionaries({}, optional={"TagValue": st.text(st.characters(codec="utf-8"), max_size=4)}),
    st.fixed_dictionaries({}, optional={"More": st.lists(st.integers(0, 9), min_size=1, max_size=2)}),
)
good_bodies = st.fixed_dictionaries(
    {"Name": st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)},
    optional={
        "Count": st.integers(-5, 5),
        "Big": st.integers(-(2**63), 2**63 - 1),
        "Kind": st.sampled_from("ab"),
        "Level": st.sampled_from([1, 2]),
        "Text": st.text(st.characters(max_codepoint=127), min_size=1, max_size=6),
        "Word": st.text("abcxyz", min_size=1, max_size=3),
        "Blob": st.sampled_from(["AA==", "AAAAAA==", "////"]),
        "On": st.booleans(),
        "Pairs": st.lists(pairs, min_size=1, max_size=2),
        "One": pairs,
        "Words": st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=11),
        "CleanSSHKey": st.booleans(),
    },
)
refusals = (UnknownParameter, MissingParameter, InvalidParameter, InvalidParameterValue, LimitExceeded)


def check_types(arguments: Mapping[str, Any]) -> None:
    """The arguments are what the handler's signature promises."""
    kinds = {
        "count": int,
        "big": int,
        "level": int,
        "blob": bytes,
        "on": bool,
        "clean_ssh": bool,
        "one": Pair,
    }
    for name, value in arguments.items():
        if name in ("pairs", "words"):
            assert all(type(member) is (Pair if name == "pairs" else str) for member in value)
        else:
            assert type(value) is kinds.get(name, str)
    assert 1 <= len(arguments["name"]) <= 4
    assert -5 <= arguments.get("count", 0) <= 5
    assert 1 <= len(arguments.get("pairs", "-")) <= 2


@given(bodies, st.booleans())
def test_any_body_is_read_or_refused(body: dict[str, Any], lexical: bool) -> None:  # noqa: FBT001 - hypothesis
    try:
        arguments = SAMPLE.read(body, lexical=lexical)
    except ApiError as refusal:
        error: ApiError | None = refusal
    else:
        error = None
        check_types(arguments)
        assert MARK not in json.dumps(SAMPLE.recorded(body), ensure_ascii=False)
    assert error is None or type(error) in refusals
    assert MARK not in str(error)


@given(good_bodies)
def test_every_form_gives_the_same_arguments(body: dict[str, Any]) -> None:
    as_json = SAMPLE.read(read_json(json.dumps(body).encode()), lexical=False)
    check_types(as_json)
    assert SAMPLE.read(nest(flatten(body)), lexical=True) == as_json
    assert SAMPLE.read(read_json(json.dumps(body, ensure_ascii=False).encode()), lexical=False) == as_json
    # A multipart body has JSON for what is no scalar, and text for what is.
    parts = {n: v if isinstance(v, dict | list) else flatten({n: v})[n] for n, v in body.items()}
    assert SAMPLE.read(parts, lexical=True) == as_json


@given(st.binary(max_size=64) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        value = read_json(body)
    except InvalidParameter as refusal:
        text = str(refusal)
    else:
        text = ""
        assert value == (json.loads(body) if body else {})
    assert not text or text.startswith("The body is a JSON object")


@given(
    st.dictionaries(
        st.lists(st.sampled_from(["A", "B", "0", "1", "2", "", "00"]), max_size=9).map(".".join),
        texts,
        max_size=8,
    )
)
def test_any_flat_names_nest_or_are_refused(flat: dict[str, str]) -> None:
    try:
        nested = nest(flat)
    except InvalidParameter as refusal:
        text = str(refusal)
    else:
        text = ""
        assert flatten(nested) == flat, "nothing is lost and nothing moved"
    assert MARK not in text


@pytest.fixture(scope="module")
def world() -> World:
    return scenarios.build(Inspected())


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@given(data=st.data())
def test_no_body_breaks_an_action(world: World, scenario: Scenario, data: st.DataObject) -> None:
    """Through the gateway, around a call that is right: a listed code, and never InternalError."""
    known = registry.find(VERSIONS[scenario.service], scenario.action).parameters.names
    odd = values | st.sampled_from(["x" * 400_000, [{"TagKey": "a", "TagValue": "\x00"}], "kms-ssm"])
    changes = data.draw(st.dictionaries(st.sampled_from([*known, "DryRun"]), odd, max_size=3))
    body = json.dumps({**scenario.parameters(world), **changes}).encode()
    now = world.installation.clock.now()
    request = tc3(world.installation.root, now, scenario.service, scenario.action, body=body)
    response = ask(world.installation.gateway, request)
    assert code(response) != "InternalError"
    if code(response):
        assert MARK not in response["Error"]["Message"]
