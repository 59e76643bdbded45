"""How often each action calls its tables, warm: docs/performance.md says it, and here it is counted."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest

from chalicelib.api.gateway import Gateway
from chalicelib.settings import Bootstrap, Settings
from chalicelib.table.dynamodb import _item
from chalicelib.table.port import Op, Put, Table
from tests import oidc, permissions, scenarios
from tests.calls import ask, code
from tests.inspected import Inspected
from tests.scenarios import SCENARIOS, Scenario

DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
HEADING: Final = "## Table calls per action"
READS: Final = ("get", "batch_get", "query", "by_index", "due", "scan")

Counts = tuple[int, int]
"""Reads and writes."""


class Counted:
    """A table that notes the calls of it, and what they write; typed as the port where it is made."""

    def __init__(self, inner: Table, calls: list[tuple[str, Sequence[Op]]]) -> None:
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append((name, args[0] if name == "write" else ()))
            return method(*args, **kwargs)

        return call


class Warm(Inspected):
    """A world whose tables are put back before each call, while the process remembers what it knows."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Sequence[Op]]] = []
        settings = Settings(
            throttle=False, credential_cache_seconds=300, oidc_providers={oidc.NAME: oidc.PROVIDER}
        )
        super().__init__(settings=settings)
        self.world = scenarios.build(self)
        self.user = self.add_user("reader")
        permissions.allow(self, self.user, permissions.statement())
        self.nobody = self.add_user("nobody")
        for region in self.settings.regions:
            self.service.table(region)
        self.images = {name: table.snapshot() for name, table in self.tables.items()}

    def open_table(self, domain: str) -> Table:
        return cast(Table, Counted(super().open_table(domain), self.calls))

    def forget_callers(self) -> None:
        """As if nobody had called for longer than KEYSTEAD_CREDENTIAL_CACHE_SECONDS."""
        self.gateway = Gateway(self.service)

    def restore(self) -> None:
        """Put the tables back to the world as it was built."""
        for name, table in self.tables.items():
            table.restore(self.images[name])

    def count(self, scenario: Scenario, who: Bootstrap | None = None) -> Counts:
        """What the call costs now, on the world as it was built."""
        self.restore()
        parameters = scenario.parameters(self.world)
        request = self.world.request(scenario.service, scenario.action, parameters, who=who)
        self.calls.clear()
        assert not code(ask(self.gateway, request))
        names = [name for name, _ in self.calls]
        assert set(names) <= {*READS, "write"}
        writes = names.count("write")
        return len(names) - writes, writes

    def count_warm(self, scenario: Scenario, who: Bootstrap | None = None) -> Counts:
        """What it costs when the call before was the same."""
        self.count(scenario, who)
        return self.count(scenario, who)


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    made = Warm()
    made.count(SCENARIOS[0], made.user)  # compiles the user's policy, which is kept
    yield made
    made.service.close()


def documented() -> dict[tuple[str, str], Counts]:
    """(service, action) -> what the document says."""
    section = re.search(
        rf"^{HEADING}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert section is not None
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (.+) \|$", section[1], re.MULTILINE)
    found = [
        ((service, action), (int(reads), int(writes)))
        for service, reads, writes, actions in rows
        for action in re.findall(r"`(\w+)`", actions)
    ]
    assert len(dict(found)) == len(found), "an action stands once"
    return dict(found)


def as_rows(counted: Mapping[tuple[str, str], Counts]) -> str:
    """The rows of the document's table."""
    actions: defaultdict[tuple[str, Counts], list[str]] = defaultdict(list)
    for (service, action), counts in sorted(counted.items()):
        actions[service, counts].append(f"`{action}`")
    return "\n".join(
        f"| {service} | {reads} | {writes} | {', '.join(names)} |"
        for (service, (reads, writes)), names in sorted(actions.items())
    )


def test_the_document_says_what_every_action_costs(warm: Warm) -> None:
    counted: dict[tuple[str, str], Counts] = {}
    for scenario in SCENARIOS:
        place = scenario.service, scenario.action
        counted[place] = max(counted.get(place, (0, 0)), warm.count_warm(scenario))
    assert documented() == counted, f"the table is:\n{as_rows(counted)}"


@pytest.mark.parametrize("action", ["GetSecretValue", "Decrypt", "Encrypt", "GenerateDataKey"])
@pytest.mark.parametrize("is_root", [True, False], ids=["root", "user"])
def test_what_applications_call_all_day_is_one_read_and_one_write(
    warm: Warm, action: str, *, is_root: bool
) -> None:
    (scenario,) = [s for s in SCENARIOS if s.action == action]
    who = None if is_root else warm.user
    assert warm.count_warm(scenario, who) == (1, 1)
    warm.forget_callers()
    assert warm.count(scenario, who) == (1 + (2 if is_root else 6), 1), "as the document says of such callers"


@pytest.mark.parametrize("action", ["GetSecretValue", "Decrypt", "Encrypt", "GenerateDataKey"])
def test_the_event_of_such_a_call_is_five_write_units_of_dynamodb(warm: Warm, action: str) -> None:
    """One item of up to 1 KB, and its entries in four indexes; docs/deploy-aws.md works out what that costs."""
    (scenario,) = [s for s in SCENARIOS if s.action == action]
    warm.count_warm(scenario)
    assert write_units(warm) == 5


def test_a_denied_call_reads_as_much_and_writes_a_unit_more(warm: Warm) -> None:
    (scenario,) = [s for s in SCENARIOS if s.action == "GetSecretValue"]
    warm.restore()
    request = warm.world.request("ssm", "GetSecretValue", scenario.parameters(warm.world), who=warm.nobody)
    for _ in range(2):
        warm.calls.clear()
        assert code(ask(warm.gateway, request)) == "AuthFailure.UnauthorizedOperation"
    assert [name for name, _ in warm.calls] == ["batch_get", "write"]
    assert write_units(warm) == 6


def write_units(warm: Warm) -> int:
    """Of the last call's only write, an event: one for the item, and one for its entry in each index."""
    ((put,),) = [ops for name, ops in warm.calls if name == "write"]
    assert isinstance(put, Put)
    row = put.row
    assert row.due is not None
    item = {"pk": {"S": row.pk}, "sk": {"S": row.sk}, **_item(row, version=1)}
    size = sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())
    assert size + 100 <= 1024, "100 bytes for longer names and addresses than those here"
    return 1 + len(row.index) + 1


def test_a_refusal_is_one_write(warm: Warm) -> None:
    warm.count(SCENARIOS[0])
    warm.calls.clear()
    response = ask(warm.gateway, warm.world.request("kms", "Decrypt", {"Surplus": 1}))
    assert code(response) == "UnknownParameter"
    assert [name for name, _ in warm.calls] == ["write"]
