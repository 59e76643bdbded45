"""One world that is put back before each attempt, and what must be true of its rows whatever happened."""

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from chalicelib import sealed_row
from chalicelib.api.gateway import Gateway
from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.table.port import Row
from tests import scenarios
from tests.calls import ask
from tests.faults.broken import Broken
from tests.inspected import NOW
from tests.installation import SM
from tests.scenarios import Scenario

ID: Final = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|AKID[A-Za-z0-9]{32}|\b(\d{19}|\d{15}|1\d{11}|\d{9})\b"
"""What is made up: keys, access keys, and the numbers of roles, policies, users and groups. Times have other lengths."""

Rows = Mapping[tuple[str, str], Row]


class Stage:
    """One world, put back before each attempt."""

    def __init__(self) -> None:
        self.installation = Broken()
        self.world = scenarios.build(self.installation)
        for region in self.installation.settings.regions:
            self.installation.service.table(region)
        self.images = {name: table.snapshot() for name, table in self.installation.tables.items()}
        self.before = self.rows()
        self.known = {found[0] for key in self.before for found in re.finditer(ID, "/".join(key))}
        self.successes = Counter(event["action"] for event in self.events())

    def rows(self) -> Rows:
        """What is in the region's table and in that of identities; no row of one has the key of another's."""
        return self.installation.data() | self.installation.data(IDENTITY)

    def events(self) -> list[dict[str, Any]]:
        """The events in both."""
        return self.installation.events() + self.installation.events(IDENTITY)

    def restart(self) -> None:
        """A new process over the same tables."""
        self.installation.service.hints.clear()
        self.installation.service.uses.clear()
        self.installation.gateway = Gateway(self.installation.service)
        self.installation.saboteur.rest()

    def reset(self) -> None:
        self.installation.clock._ms = NOW * 1000
        for name, table in self.installation.tables.items():
            table.restore(self.images[name])
        self.restart()

    def run(self, scenario: Scenario) -> dict[str, Any]:
        parameters = scenario.parameters(self.world)
        request = self.world.request(scenario.service, scenario.action, parameters)
        return ask(self.installation.gateway, request)

    def outcome(self) -> object:
        """The rows that changed, but for what is random or counts repetitions.

        Nor when a key was last used, nor how often parameters for an import were asked for.
        """
        after = self.rows()
        return {
            self._plain("/".join(key)): self._body(after[key]) if key in after else None
            for key in after.keys() | self.before.keys()
            if after.get(key) != self.before.get(key) and key[1] != "U" and not key[0].startswith("IT#")
        }

    def _body(self, row: Row) -> object:
        if row.sk.startswith("V#") and row.pk.startswith("S#"):
            return len(row.body)
        text = self._plain(json.dumps(_decode(row.body))) if row.body else ""
        text = re.sub(r'"(token|sealed|blob)": "[^"]*"', r'"\1"', text)
        text = re.sub(r'"serial": \d+', '"serial"', text)
        # A version is [id, created, serial, ...].
        text = re.sub(r'(\["[^"]*", \d+), \d+, ', r"\1, ", text)
        return text, row.number, row.due

    def _plain(self, text: str) -> str:
        return re.sub(
            ID,
            lambda found: found[0] if found[0] in self.known else "<new>",
            text,
        )


@functools.cache
def _decode(body: bytes) -> dict[str, Any]:
    """What a row says, without its seal."""
    return record.decode(b"\x01" + body[33:] if body[:1] == sealed_row.VERSION else body)


def check_whole(rows: Rows, account: str) -> None:
    """No secret, key, alias, line or quota without the others."""
    bodies = {key: _decode(row.body) if row.sk[:2] != "V#" and row.body else {} for key, row in rows.items()}
    secrets = {pk: bodies[pk, sk] for pk, sk in rows if pk.startswith("S#") and sk == "M"}
    lines = {bodies[key]["name"]: bodies[key] for key in rows if key[0].startswith("LS#")}
    assert len(lines) == len(secrets)
    for pk, secret in secrets.items():
        line = lines[secret["name"]]
        only_in_row = ("versions", "serial", "source")
        assert {name: value for name, value in secret.items() if name not in only_in_row} == line
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
    hosted = {bodies[key]["id"]: bodies[key] for key in rows if key[0].startswith("DK#")}
    assert {bodies[key]["id"] for key in rows if key[0].startswith("LD#")} == set(hosted)
    named = {key[0].rpartition("#")[2]: bodies[key]["id"] for key in rows if key[0].startswith("DN#")}
    assert named == {data_key["name"]: data_key["id"] for data_key in hosted.values()}
    kept = [data_key for data_key in hosted.values() if data_key["state"] != "PendingDelete"]
    counted = {key[1]: row.number for key, row in rows.items() if key[0] == f"CT#{account}#{SM}"}
    assert counted == {"secrets": len(secrets), "keys": len(used), "data_keys": len(kept)}
    check_identities(rows, account)


def check_identities(rows: Rows, account: str) -> None:
    """No user, group, access key, name, membership, attachment or quota without the others."""
    own = {sk: row for (pk, sk), row in rows.items() if pk == f"AC#{account}"}
    bodies = {sk: _decode(row.body) for sk, row in own.items() if row.body}

    def of(prefix: str) -> dict[str, dict[str, Any]]:
        return {sk.removeprefix(prefix): body for sk, body in bodies.items() if sk.startswith(prefix)}

    users, groups = of("U#"), of("G#")
    assert {name: body["uin"] for name, body in of("UN#").items()} == {
        user["name"].lower(): uin for uin, user in users.items()
    }
    assert {name: str(body["id"]) for name, body in of("GN#").items()} == {
        group["name"].lower(): group_id for group_id, group in groups.items()
    }
    entries = {k["id"]: (k["serial"], k["status"]) for user in users.values() for k in user["keys"]}
    stored = {
        pk[3:]: _decode(row.body) for (pk, sk), row in rows.items() if pk.startswith("AK#") and sk == "K"
    }
    mine = {key: body for key, body in stored.items() if body["account"] == account}
    assert {key: (body["serial"], body["status"]) for key, body in mine.items()} == entries
    pairs = {tuple(key.split("#")) for key in of("UG#")}
    assert {tuple(reversed(key.split("#"))) for key in of("GU#")} == pairs
    assert {uin: sorted(map(str, user["groups"])) for uin, user in users.items()} == {
        uin: sorted(pair[1] for pair in pairs if pair[0] == uin) for uin in users
    }
    assert {group_id: group["users"] for group_id, group in groups.items()} == {
        group_id: sum(pair[1] == group_id for pair in pairs) for group_id in groups
    }
    targets = (
        {f"user/{uin}" for uin in users} | {f"group/{g}" for g in groups} | {f"role/{r}" for r in of("R#")}
    )
    attached = {f"{policy}#{target}" for target, body in of("AT#").items() for policy, _ in body["policies"]}
    assert set(of("AT#")) <= targets
    assert set(of("PA#")) == attached
    sizes = {
        "users": len(users) - 1,
        "groups": len(groups),
        "policies": len(of("P#")),
        "roles": len(of("R#")),
    }
    assert {kind: own[f"CT#{kind}"].number if f"CT#{kind}" in own else 0 for kind in sizes} == sizes
