"""The registry: the folders of actions, and nothing else, decide what can be called."""

import inspect
from pathlib import Path

import pytest

from chalicelib import actions
from chalicelib.api import registry
from chalicelib.context import Context
from chalicelib.errors import InvalidAction, NoSuchVersion

VERSIONS = {"kms": "2019-01-18", "ssm": "2019-09-23"}
EVERY = [(service, name) for service in VERSIONS for name in registry.names(service)]


@pytest.mark.parametrize(("service", "name"), EVERY)
def test_every_file_is_an_action(service: str, name: str) -> None:
    action = registry.find(VERSIONS[service], name)
    assert (action.service, action.name) == (service, name)
    module = inspect.getmodule(action.handler)
    assert module is not None
    assert module.__name__ == f"chalicelib.actions.{service}.{action.handler.__name__}"
    assert inspect.getdoc(module), "what the caller gets"
    first, *others = inspect.signature(action.handler).parameters.values()
    assert (first.name, first.annotation) == ("ctx", Context)
    assert {p.kind for p in others} <= {inspect.Parameter.KEYWORD_ONLY}


def test_names_are_found_in_folders() -> None:
    folder = Path(next(iter(actions.__path__)))
    for service in VERSIONS:
        files = {path.stem for path in (folder / service).glob("*.py")} - {"__init__"}
        assert set(registry.names(service).values()) == files
        assert "CreateSecret" in registry.names("ssm")
    assert not set(registry.names("ssm")) & {"", "Init", "Pycache"}


def test_equal_names_of_two_services_are_two_actions() -> None:
    ours, theirs = (registry.find(VERSIONS[service], "GetRegions") for service in ("kms", "ssm"))
    assert (ours.service, theirs.service) == ("kms", "ssm")
    assert ours.handler is not theirs.handler


def test_an_action_is_loaded_once() -> None:
    assert registry.find(VERSIONS["ssm"], "GetRegions") is registry.find(VERSIONS["ssm"], "getRegions")


@pytest.mark.parametrize("version", ["", "2019-01-19", "2019-01-18 ", "kms"])
def test_unknown_versions(version: str) -> None:
    with pytest.raises(NoSuchVersion):
        registry.find(version, "GetRegions")


@pytest.mark.parametrize(
    "name", ["", "_", "Encrypt ", "Encrypt\n", "encrypt.py", "\uff25ncrypt", "GetRegions" * 20]
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(InvalidAction):
        registry.find(VERSIONS["kms"], name)


@pytest.mark.parametrize(
    ("service", "name", "is_read", "needs_region"),
    [
        ("kms", "GetRegions", True, False),
        ("kms", "Encrypt", True, True),
        ("kms", "GenerateDataKey", True, True),
        ("kms", "CreateKey", False, True),
        ("kms", "EnableKey", False, True),
        ("ssm", "GetRegions", True, False),
        ("ssm", "GetSecretValue", True, True),
        ("ssm", "ListSecretVersionIds", True, True),
        ("ssm", "DeleteSecretVersion", False, True),
        ("ssm", "RestoreSecret", False, True),
    ],
)
def test_what_is_known_of_an_action(service: str, name: str, *, is_read: bool, needs_region: bool) -> None:
    action = registry.find(VERSIONS[service], name)
    assert (action.is_read, action.needs_region) == (is_read, needs_region)
