"""docs/coverage.md says of each action of the official API what the service does with it, and says it rightly."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from tencentcloud.cam.v20190116.cam_client import CamClient
from tencentcloud.cloudaudit.v20190319.cloudaudit_client import CloudauditClient
from tencentcloud.kms.v20190118.kms_client import KmsClient
from tencentcloud.ssm.v20190923.ssm_client import SsmClient
from tencentcloud.sts.v20180813.sts_client import StsClient
from tencentcloud.tag.v20180813.tag_client import TagClient

from chalicelib.api import registry
from tests.installation import Installation, refused

ROOT: Final = Path(__file__).resolve().parents[1]
TEXT: Final = (ROOT / "docs" / "coverage.md").read_text()
OFFICIAL: Final[Mapping[str, Any]] = {
    "kms": KmsClient,
    "ssm": SsmClient,
    "cam": CamClient,
    "sts": StsClient,
    "tag": TagClient,
    "cloudaudit": CloudauditClient,
}
NOT_YET: Final = "not supported yet"
"""What an action's source says where it refuses a parameter for now."""


class Line(NamedTuple):
    status: str
    note: str


def section(heading: str) -> str:
    """The text under a heading of the second level."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/coverage.md has no heading {heading!r}"
    return found[1]


def listed(service: str) -> dict[str, Line]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\|$", section(service), re.MULTILINE)
    names = [name for name, _, _ in rows]
    assert len(set(names)) == len(names), "an action is listed twice"
    return {name: Line(status, note) for name, status, note in rows}


def own(service: str) -> set[str]:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section("Actions of Keystead's own"), re.MULTILINE)
    return {name for of, name in rows if of == service}


def official(service: str) -> set[str]:
    return {name for name in vars(OFFICIAL[service]) if name[0].isupper()}


@pytest.mark.parametrize("service", OFFICIAL)
def test_the_page_lists_the_official_actions_in_order(service: str) -> None:
    assert list(listed(service)) == sorted(official(service))


@pytest.mark.parametrize("service", OFFICIAL)
def test_an_action_is_done_when_its_file_is_there(service: str) -> None:
    files = set(registry.names(service)) & official(service)
    done = {name for name, line in listed(service).items() if line.status == "done"}
    refused_on_purpose = {name for name, line in listed(service).items() if line.status == "refused"}
    assert not (files - done - refused_on_purpose), "these have a file: mark their rows as done"
    assert not (done - files), "these have no file: mark their rows as planned"
    assert {line.status for line in listed(service).values()} <= {"done", "planned", "absent", "refused"}


@pytest.mark.parametrize("service", OFFICIAL)
def test_actions_of_our_own_are_listed_apart(service: str) -> None:
    assert own(service) == set(registry.names(service)) - official(service)


@pytest.mark.parametrize("service", OFFICIAL)
def test_what_a_done_action_refuses_for_now_is_in_its_note(service: str) -> None:
    for name, line in listed(service).items():
        if line.status == "done":
            source = ROOT / "chalicelib" / "actions" / service / f"{registry.names(service)[name]}.py"
            assert ("Not yet" in line.note) == (NOT_YET in source.read_text()), name


@pytest.mark.parametrize("service", OFFICIAL)
def test_the_summary_counts_right(service: str) -> None:
    found = re.search(rf"^\| .*\(`{service}`\) \|.*?\| (.*) \|$", TEXT, re.MULTILINE)
    assert found
    statuses = [line.status for line in listed(service).values()]
    counts = [len(statuses), *(statuses.count(s) for s in ("done", "planned", "absent", "refused"))]
    assert [int(number) for number in found[1].split(" | ")] == counts


def test_white_box_keys_are_what_is_refused() -> None:
    names = {name for name, line in listed("kms").items() if line.status == "refused"}
    assert names == {name for name in official("kms") if "WhiteBox" in name}
    assert len(names) == 13
    for service in set(OFFICIAL) - {"kms"}:
        assert "refused" not in {line.status for line in listed(service).values()}


@pytest.mark.parametrize("service", OFFICIAL)
def test_what_is_absent_has_a_reason(service: str) -> None:
    assert all(line.note for line in listed(service).values() if line.status == "absent")


def test_a_refused_and_a_planned_action_answer_the_code_that_the_page_names(
    installation: Installation,
) -> None:
    answers = re.search(r"A refused action answers `([\w.]+)`\.", TEXT)
    planned = re.search(r"\*\*planned\*\*: answers `([\w.]+)` today", TEXT)
    assert answers
    assert planned
    absent = re.search(r"\*\*absent\*\*: not planned; answers `([\w.]+)`", TEXT)
    assert absent
    assert absent[1] == planned[1]
    for service in OFFICIAL:
        client = installation.client(service)
        for name, line in listed(service).items():
            if name not in registry.names(service):
                with refused(answers[1] if line.status == "refused" else planned[1]):
                    client.call_raw(name, {})
