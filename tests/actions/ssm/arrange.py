"""What several tests of secrets need: a secret in a state, calls at the same time, the audit trail."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from chalicelib.audit import SHARDS
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.settings import Bootstrap, Settings
from chalicelib.table.port import Conflict, Op, Row, Table
from chalicelib.table.sqlite import SqliteTable
from tests.installation import SM, Client, Installation

DAY = 86400
VALUE = "the-value-that-nobody-else-may-see"
STATES = ("Enabled", "Disabled", "PendingDelete")
NAMED: dict[str, dict[str, Any]] = {
    "DeleteSecret": {},
    "DeleteSecretVersion": {"VersionId": "v1"},
    "DescribeSecret": {},
    "DisableSecret": {},
    "EnableSecret": {},
    "GetSecretValue": {"VersionId": "v1"},
    "ListSecretVersionIds": {},
    "PutSecretValue": {"VersionId": "v2", "SecretString": VALUE},
    "RestoreSecret": {},
    "UpdateDescription": {"Description": VALUE},
    "UpdateSecret": {"VersionId": "v1", "SecretString": VALUE},
}
"""The actions on one secret, with what each needs beside its name."""

CALLS: dict[str, dict[str, Any]] = {
    **{action: {"SecretName": "s", **rest} for action, rest in NAMED.items()},
    "CreateSecret": {"SecretName": "new", "VersionId": "v1", "SecretString": VALUE, "Description": VALUE},
    "GetRegions": {},
    "GetServiceStatus": {},
    "ListSecrets": {},
}
"""Every action, with parameters that it accepts when there is a secret `s` with a version `v1`."""

STATE_FOR = {"DeleteSecret": "Disabled", "RestoreSecret": "PendingDelete"}
"""The state of `s` in which an action succeeds, where that is not Enabled."""


def make(ssm: Client, name: str = "s", state: str = "Enabled", **parameters: Any) -> Any:
    """Create a secret with version v1, in a state; a pending one has a day left. The answer of CreateSecret."""
    answer = ssm.CreateSecret(**{"SecretName": name, "VersionId": "v1", "SecretString": VALUE, **parameters})
    if state != "Enabled":
        ssm.DisableSecret(SecretName=name)
    if state == "PendingDelete":
        ssm.DeleteSecret(SecretName=name, RecoveryWindowInDays=1)
    return answer


def status(ssm: Client, name: str = "s") -> str:
    return str(ssm.DescribeSecret(SecretName=name).Status)


def value(ssm: Client, name: str = "s", version: str = "v1") -> str:
    """The value of a version, text or base64."""
    answer = ssm.GetSecretValue(SecretName=name, VersionId=version)
    return str(answer.SecretString or answer.SecretBinary)


def versions(ssm: Client, name: str = "s") -> list[str]:
    return [v.VersionId for v in ssm.ListSecretVersionIds(SecretName=name).Versions]


def names(ssm: Client, **filters: Any) -> list[str]:
    return [m.SecretName for m in ssm.ListSecrets(**{"Limit": 1000, **filters}).SecretMetadatas]


def outputs(answer: Any) -> dict[str, Any]:
    """Every output of an answer, those that did not come as None, apart from RequestId."""
    members: dict[str, Any] = answer._serialize(allow_none=True)
    assert members.pop("RequestId")
    return members


def code(call: Callable[[], Any]) -> str:
    """How a call ends: its error code, or `ok`."""
    try:
        call()
    except TencentCloudSDKException as error:
        return str(error.code)
    return "ok"


def together(calls: Sequence[Callable[[], Any]]) -> list[str]:
    """Make the calls at the same time, each in a thread of its own; how each ends."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> str:
        start.wait()
        return code(call)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def event_rows(installation: Installation, who: Bootstrap | None = None, region: str = SM) -> list[Row]:
    """Today's rows in an account's audit partitions of a region."""
    day = datetime.fromtimestamp(installation.clock.now(), UTC).strftime("%Y%m%d")
    account = (who or installation.root).uin
    table = installation.service.table(region)
    return [row for shard in range(SHARDS) for row in table.query(f"E#{account}#{day}#{shard}", limit=1000)]


def events(
    installation: Installation, who: Bootstrap | None = None, region: str = SM
) -> list[dict[str, Any]]:
    """Today's audit events of an account in a region."""
    return [record.decode(row.body) for row in event_rows(installation, who, region)]


class HookedTable(SqliteTable):
    """A table in memory in which something else happens once: within a read of many rows, or around a write."""

    within_batch_get: Callable[[], Any] | None = None
    before_write: Callable[[], Any] | None = None
    after_conflict: Callable[[], Any] | None = None
    is_backwards = False
    """Read many rows last one first, with the hook after the first of them: no order is promised."""

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        found: dict[tuple[str, str], Row | None] = {}
        for key in reversed(keys) if self.is_backwards else keys:
            found[key] = self.get(*key)
            hook, self.within_batch_get = self.within_batch_get, None
            if hook is not None:
                hook()
        return [found[key] for key in keys]

    def write(self, ops: Sequence[Op]) -> None:
        hook, self.before_write = self.before_write, None
        if hook is not None:
            hook()
        try:
            super().write(ops)
        except Conflict:
            hook, self.after_conflict = self.after_conflict, None
            if hook is not None:
                hook()
            raise


class Hooked(Installation):
    """An installation with hooks in the table of its first region."""

    hooked: HookedTable

    def open_table(self, domain: str) -> Table:
        if domain == IDENTITY:
            return super().open_table(domain)
        table = HookedTable(":memory:", self.clock)
        if domain == SM:
            self.hooked = table
        return table


def with_settings(clock: ManualClock, **settings: Any) -> Client:
    """The client of an installation with other settings."""
    return Installation(clock, Settings(throttle=False, credential_cache_seconds=0, **settings)).client("ssm")


class CountingTable(SqliteTable):
    """Counts calls."""

    reads = writes = 0

    def get(self, pk: str, sk: str) -> Row | None:
        self.reads += 1
        return super().get(pk, sk)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        self.reads += 1
        return super().batch_get(keys)

    def query(self, pk: str, **bounds: Any) -> list[Row]:
        self.reads += 1
        return super().query(pk, **bounds)

    def write(self, ops: Sequence[Op]) -> None:
        self.writes += 1
        super().write(ops)


class Counted(Installation):
    """An installation that counts the calls of its regions' tables."""

    def open_table(self, domain: str) -> Table:
        return super().open_table(domain) if domain == IDENTITY else CountingTable(":memory:", self.clock)
