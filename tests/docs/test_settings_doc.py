"""docs/settings.md lists the variables that Settings reads, with their defaults."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from chalicelib import settings
from chalicelib.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
OF_THE_TESTS: Final = {"KEYSTEAD_MINISTACK"}


class Recording(Mapping[str, str]):
    """An empty environment that remembers which names it was asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        self.asked[name] = default
        return default

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \| .+ \|$", text, re.MULTILINE)
    names = [name for name, _ in rows]
    assert len(set(names)) == len(names), "a variable is listed twice"
    return {name: "" if default == "-" else default.strip("`") for name, default in rows}


def test_every_variable_is_documented_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Recording()
    read = settings._Reader.text

    def text(reader: settings._Reader, name: str, default: str) -> str:
        environment.asked[f"KEYSTEAD_{name}"] = default
        return read(reader, name, default)

    monkeypatch.setattr(settings._Reader, "text", text)
    Settings.from_environment(environment)
    of_the_service = {name: value for name, value in documented().items() if name not in OF_THE_TESTS}
    assert of_the_service == environment.asked


def test_the_variables_of_the_tests_are_none_of_the_service() -> None:
    for name in OF_THE_TESTS:
        with pytest.raises(settings.SettingError, match=name):
            Settings.from_environment({name: "1"})
