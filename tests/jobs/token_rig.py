"""A world with every kind of key token in it, whose rows can be searched for what an older generation made."""

import base64
import contextlib
import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, Final

from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY, Service
from chalicelib.formats import key_token, record
from chalicelib.hsm.port import Hsm, HsmKey, Padding
from chalicelib.hsm.public import encrypt_to, to_pem
from chalicelib.jobs import schedule
from chalicelib.jobs.rewrap_tokens import SETTLING_SECONDS, Progress, rewrap_tokens
from chalicelib.jobs.sweep import Outcome
from chalicelib.table.port import Row, Table
from tests import scenarios
from tests.inspected import Inspected, QuickHsm
from tests.installation import FIPS, SM

DOMAINS: Final = (SM, FIPS, IDENTITY)

PAGE: Final = 7
"""So few that a pass takes many pages."""

GENERATIONS: Final = 9
"""Of one key's material: more than fit into its row."""

Rows = Mapping[tuple[str, str], Row]


class RecordingHsm(QuickHsm):
    """Remembers every token that it has made."""

    def _wrap(self, *arguments: Any, **more: Any) -> HsmKey:
        key = super()._wrap(*arguments, **more)
        self.made.add(key.token)
        return key

    @functools.cached_property
    def made(self) -> set[bytes]:
        return set()

    def twin(self, generation: int | None) -> "RecordingHsm":
        """As another process has it, which makes tokens of a generation that is not the newest."""
        twin = RecordingHsm.ephemeral(self._domain)
        twin._change(lambda _: self._store.read())
        twin.use_generation(generation)
        twin.__dict__["made"] = self.made
        return twin


class Recorded(Inspected):
    """An installation whose tokens are all known."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.hsms: dict[str, RecordingHsm] = {}
        super().__init__(clock)

    def open_hsm(self, domain: str) -> Hsm:
        self.hsms[domain] = RecordingHsm.ephemeral(domain)
        return self.hsms[domain]


class World:
    """A small world with keys in every state, some with many generations of material, and an import under way.

    `reset` puts it back, and gives every domain a second generation of its key.
    """

    def __init__(self) -> None:
        self.installation = Recorded()
        self.world = scenarios.build(self.installation)
        self.blobs: list[str] = []
        rotating = self.world.keys["rotating"]
        for _ in range(GENERATIONS - 1):
            self.blobs.append(
                self.done("Encrypt", KeyId=rotating, Plaintext=scenarios.PLAINTEXT)["CiphertextBlob"]
            )
            self.done("RotateKey", KeyId=rotating)
            self.clock.advance(86400)
        given = self.done("GetParametersForImport", KeyId=self.world.keys["waiting"], **scenarios.WRAPPING)
        self.world.made["token"] = given["ImportToken"]
        public_key = to_pem(base64.b64decode(given["PublicKey"]))
        wrapped = encrypt_to(public_key, Padding.RSAES_OAEP_SHA_256, bytes(16))
        self.world.made["material"] = base64.b64encode(wrapped).decode()
        self.installation.add_user("somebody")
        schedule.run(self.installation.service, "seal_audit")
        for domain in DOMAINS:
            self.installation.service.hsm(domain)
            self.installation.service.table(domain)
        self._now = self.clock.now()
        self._images = {name: table.snapshot() for name, table in self.installation.tables.items()}
        self._keys = {name: hsm._store.read() for name, hsm in self.installation.hsms.items()}

    def reset(self) -> None:
        self.clock._ms = self._now * 1000
        for name, table in self.installation.tables.items():
            table.restore(self._images[name])
        for name, hsm in self.installation.hsms.items():
            hsm._change(lambda _, name=name: self._keys[name])  # type: ignore[misc]
            hsm.rotate()
        self.restart()

    def restart(self) -> None:
        """Another process on the same rows and the same domain keys."""
        old = self.installation.service
        hsms = self.installation.hsms
        self.installation.service = Service(old.settings, self.clock, self.table, lambda domain: hsms[domain])
        self.installation.gateway = Gateway(self.installation.service)

    @property
    def clock(self) -> ManualClock:
        return self.installation.clock

    def done(self, action: str, **parameters: Any) -> dict[str, Any]:
        return self.world.done("kms", action, **parameters)

    def table(self, domain: str = SM) -> Table:
        return self.installation.tables[domain]

    def rows(self, domain: str = SM) -> Rows:
        """Those that have not expired."""
        found = self.installation.tables[domain].rows()
        return {key: row for key, row in found.items() if (row.expires_at or 10**12) > self.clock.now()}

    def progress(self, domain: str = SM) -> Progress:
        found = Progress.of(self.table(domain), domain)
        assert found is not None
        return found

    def run(
        self, domain: str = SM, table: Table | None = None, hsm: Hsm | None = None, **limits: Any
    ) -> Outcome:
        """One run of the job in a process of its own: on `table` and `hsm`, if they are given."""
        process = Service(
            self.installation.settings,
            self.clock,
            lambda domain: table or self.table(domain),
            lambda domain: hsm or self.installation.hsms[domain],
        )
        return rewrap_tokens(process, domain, **{"page": PAGE, **limits})

    def finish(self, domain: str = SM) -> None:
        """Run the job as the schedule does until nothing is left to do."""
        for _ in range(20):
            self.run(domain)
            if self.progress(domain).clean:
                return
            self.clock.advance(SETTLING_SECONDS // 2)
        raise AssertionError(self.progress(domain))

    def old(self, domain: str = SM) -> list[tuple[str, str]]:
        """The rows in which a token of an older generation can be found, in whatever way it is written there."""
        hsm = self.installation.hsms[domain]
        newest = hsm.generations()[-1]
        tokens = [token for token in hsm.made if key_token.generation_of(token) < newest]
        texts = [
            f(token) for token in tokens for f in (base64.b64encode, _hex, base64.urlsafe_b64encode, bytes)
        ]
        return [key for key, row in self.rows(domain).items() if any(text in row.body for text in texts)]

    def works(self) -> None:
        """Every call that changes nothing, and every ciphertext of every generation."""
        for scenario in scenarios.READING:
            self.world.done(scenario.service, scenario.action, **scenario.parameters(self.world))
        for blob in self.blobs:
            assert self.done("Decrypt", CiphertextBlob=blob)["Plaintext"] == scenarios.PLAINTEXT


def _hex(token: bytes) -> bytes:
    return token.hex().encode()


def without_tokens(rows: Rows) -> dict[tuple[str, str], object]:
    """The rows but for their tokens and versions, and without the job's own."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {name: "..." if name == "token" else plain(each) for name, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list) else value

    found: dict[tuple[str, str], object] = {}
    for key, row in rows.items():
        if not key[0].startswith("JOB#"):
            body: object = row.body
            with contextlib.suppress(record.UnreadableRecord):  # a sealed value, say
                body = json.dumps(plain(record.decode(row.body)))
            found[key] = (body, dataclasses.replace(row, body=b"", version=0))
    return found
