"""Whatever fails wherever in whatever call: a listed code, nothing half done, and a retry that converges."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chalicelib import audit
from chalicelib.api import gateway
from chalicelib.api.gateway import Gateway
from chalicelib.formats import record
from chalicelib.table.port import Row
from tests import scenarios
from tests.calls import ask, code
from tests.faults.broken import Broken, Fault, Killed, plans
from tests.installation import SM
from tests.scenarios import MUTATING, SCENARIOS, Scenario, World

Rows = Mapping[tuple[str, str], Row]

NOTHING_DONE = "The service is busy: nothing was done; try again."
UNKNOWN = "The outcome is unknown: read the resource before you try again."

# What repeating a call answers that had happened although its caller was not told; everything else succeeds again.
DONE_ALREADY = {
    "CreateSecret": "ResourceInUse.SecretExists",
    "PutSecretValue": "ResourceInUse.VersionIdExists",
    "DeleteSecret": "FailedOperation",
    "RestoreSecret": "FailedOperation",
    "DeleteSecretVersion": "ResourceNotFound",
    "CreateKey": "InvalidParameterValue.AliasAlreadyExists",
    "CancelKeyArchive": "ResourceUnavailable.CmkStateNotSupport",
    "ScheduleKeyDeletion": "ResourceUnavailable.CmkStateNotSupport",
    "CancelKeyDeletion": "ResourceUnavailable.CmkNotPendingDelete",
    "RotateKey": "RequestLimitExceeded.RotateRateLimited",
    "UnbindCloudResource": "ResourceUnavailable.CloudResourceBindingNotFound",
}


class Stage:
    """One world, put back before each attempt."""

    def __init__(self) -> None:
        self.installation = Broken()
        self.world = scenarios.build(self.installation)
        self.images = {name: table.snapshot() for name, table in self.installation.tables.items()}
        self.before = self.installation.data()
        self.known = set(self.world.keys.values())
        self.successes = Counter(event["action"] for event in self.installation.events())

    def restart(self) -> None:
        """A new process over the same tables."""
        self.installation.service.hints.clear()
        self.installation.service.uses.clear()
        self.installation.gateway = Gateway(self.installation.service)
        self.installation.saboteur.rest()

    def reset(self) -> None:
        for name, table in self.installation.tables.items():
            table.restore(self.images[name])
        self.restart()

    def run(self, scenario: Scenario) -> dict[str, Any]:
        parameters = scenario.parameters(self.world)
        request = self.world.request(scenario.service, scenario.action, parameters)
        return ask(self.installation.gateway, request)

    def outcome(self) -> object:
        """The rows, but for what is random or counts repetitions, and for when a key was last used."""
        return {
            self._plain("/".join(key)): self._body(row)
            for key, row in self.installation.data().items()
            if key[1] != "U"
        }

    def _body(self, row: Row) -> object:
        if row.sk.startswith("V#") and row.pk.startswith("S#"):
            return len(row.body)
        text = self._plain(json.dumps(record.decode(row.body))) if row.body else ""
        text = re.sub(r'"token": "[^"]*"', '"token"', text)
        text = re.sub(r'"serial": \d+', '"serial"', text)
        # A version is [id, created, serial, ...].
        text = re.sub(r'(\["[^"]*", \d+), \d+, ', r"\1, ", text)
        return text, row.number, row.due

    def _plain(self, text: str) -> str:
        return re.sub(
            r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            lambda found: found[0] if found[0] in self.known else "<new>",
            text,
        )


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.installation.service.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAUSE", 0)
    monkeypatch.setattr(gateway, "_PAUSE", 0)


def check_whole(rows: Rows, account: str) -> None:
    """No secret, key, alias, line or quota without the others."""
    bodies = {
        key: record.decode(row.body) if row.sk[:2] != "V#" and row.body else {} for key, row in rows.items()
    }
    secrets = {pk: bodies[pk, sk] for pk, sk in rows if pk.startswith("S#") and sk == "M"}
    lines = {bodies[key]["name"]: bodies[key] for key in rows if key[0].startswith("LS#")}
    assert len(lines) == len(secrets)
    for pk, secret in secrets.items():
        line = lines[secret["name"]]
        assert {**secret, "versions": None} == {**line, "versions": None}
        values = {sk[2:] for row_pk, sk in rows if row_pk == pk and sk.startswith("V#")}
        assert values == {version[0] for version in secret["versions"]}
    assert {pk for pk, _ in rows if pk.startswith("S#")} == set(secrets)
    keys = {bodies[pk, sk]["id"]: bodies[pk, sk] for pk, sk in rows if pk.startswith("K#") and sk == "M"}
    assert {bodies[key]["id"] for key in rows if key[0].startswith("LK#")} == set(keys)
    aliases = {key[0].rpartition("#")[2]: bodies[key]["id"] for key in rows if key[0].startswith("AL#")}
    assert aliases == {key["alias"]: key["id"] for key in keys.values()}
    bound = {id_: len([sk for pk, sk in rows if id_ in pk and sk.startswith("B#")]) for id_ in keys}
    assert bound == {id_: key["bound"] for id_, key in keys.items()}
    used = [key for key in keys.values() if key["owner"] == "user" and key["state"] != "PendingDelete"]
    quota = f"CT#{account}#{SM}"
    assert (rows[quota, "secrets"].number, rows[quota, "keys"].number) == (len(secrets), len(used))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_fault_in_every_call(stage: Stage, scenario: Scenario) -> None:
    installation = stage.installation
    stage.reset()
    assert not code(stage.run(scenario))
    calls = len(installation.saboteur.calls)
    healthy = stage.outcome()
    assert calls >= 3, "the caller is looked up, something is done, and it is recorded"

    for fault, first, last in plans(calls):
        stage.reset()
        installation.saboteur.fail(fault, first, last)
        where = f"{fault.name} at {first} of {calls}{' and ever after' if last > first else ''}"
        try:
            response: dict[str, Any] | None = stage.run(scenario)
        except Killed:
            response = None
        installation.saboteur.rest()
        after = installation.data()
        changed = {
            key for key in after.keys() | stage.before.keys() if after.get(key) != stage.before.get(key)
        }
        happened = any(sk != "U" for _, sk in changed)
        check_whole(after, installation.root.uin)
        if response is None:
            assert fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER), where
        elif code(response):
            assert response["Error"]["Code"] == "InternalError", where
            assert response["Error"]["Message"] in (NOTHING_DONE, UNKNOWN), where
            assert not happened or response["Error"]["Message"] == UNKNOWN, where
        else:
            assert happened == (scenario in MUTATING), where
            assert "error" not in installation.event(response["RequestId"]), where
        told = [e for e in installation.events() if e["action"] == scenario.action and "error" not in e]
        if scenario in MUTATING and last == first:
            assert happened == (len(told) > stage.successes[scenario.action]), (
                f"{where}: an event is a witness"
            )

        stage.restart()
        again = code(stage.run(scenario))
        assert again == "" or (happened and again == DONE_ALREADY.get(scenario.action)), where
        check_whole(installation.data(), installation.root.uin)
        assert stage.outcome() == healthy, f"{where}: the retry converges"
