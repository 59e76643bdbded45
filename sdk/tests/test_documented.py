"""Every public name has a docstring and stands in docs/sdk.md."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from enum import EnumMeta
from types import ModuleType
from typing import Any

import pytest
from tools import sdk_reference

import keystead

NAMES = {entry.name: entry for entry in sdk_reference.entries()}


def modules() -> Iterator[str]:
    """As Python finds them, and not as the page does."""
    for found in pkgutil.walk_packages(keystead.__path__, "keystead."):
        if not any(part.startswith("_") or part in sdk_reference.WITHOUT for part in found.name.split(".")):
            yield found.name


def imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:  # an integration without what it integrates
        pytest.skip(f"{error.name} is not installed")


def parameters(value: Any) -> list[str]:
    """What it is called with, where it can be called."""
    if getattr(value, "_is_protocol", False) or isinstance(value, EnumMeta):
        return []
    try:
        return list(inspect.signature(value).parameters)
    except ValueError:  # an exception's, which takes anything
        return []


def test_everything_public_has_a_docstring() -> None:
    assert sdk_reference.undocumented(NAMES.values()) == []


def test_the_page_is_of_these_docstrings() -> None:
    page = sdk_reference.TARGET.read_text(encoding="utf-8")
    assert page == sdk_reference.text(), "run: python -m tools.sdk_reference"


@pytest.mark.parametrize("name", list(modules()))
def test_the_page_has_every_public_name(name: str) -> None:
    """What Python knows as public, the page lists, and with the parameters that Python sees."""
    module = imported(name)
    assert name in NAMES
    for public, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == name
        if public.startswith("_") or not (inspect.isclass(value) or inspect.isfunction(value)) or not is_own:
            continue
        entry = NAMES[f"{name}.{public}"]
        for parameter in parameters(value):
            assert parameter in entry.signature or f"{name}.{public}.{parameter}" in NAMES
        for member in vars(value) if inspect.isclass(value) else ():
            if not member.startswith("_"):
                assert f"{name}.{public}.{member}" in NAMES


def test_what_a_package_exports_is_listed_where_it_is_made() -> None:
    package = importlib.import_module("keystead.encryption")
    for exported in package.__all__:
        made_in = getattr(package, exported).__module__
        assert NAMES[f"{made_in}.{exported}"].doc


def test_a_name_without_a_docstring_is_found() -> None:
    bare = ("keystead.api.Api.close", "keystead.api.TENCENT_CLOUD", "keystead.credentials")
    without = [entry._replace(doc="" if entry.name in bare else entry.doc) for entry in NAMES.values()]
    assert sorted(sdk_reference.undocumented(without)) == sorted(bare)
