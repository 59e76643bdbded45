"""What the alarms look for in the log is what the service writes there: a word that changes would silence one."""

import json
import re
import sys
import types
from typing import Any, Final

import pytest

from chalicelib.clock import ManualClock
from chalicelib.jobs import schedule
from chalicelib.jobs.sweep import Outcome
from chalicelib.table.sqlite import SqliteTable
from tests.installation import Client, Installation, refused
from tests.jobs.rig import poison, service_on
from tools import package

TEMPLATE: Final[dict[str, Any]] = json.loads((package.ROOT / "infra/template.json").read_text())
FILTERS: Final = {
    name: resource["Properties"]
    for name, resource in TEMPLATE["Resources"].items()
    if resource.get("Type") == "AWS::Logs::MetricFilter"
}


def found(caplog: pytest.LogCaptureFixture) -> set[str]:
    """The filters that match a line of the log: each quoted word of a pattern has to be in it."""
    patterns = {name: re.findall(r'"([^"]+)"', each["FilterPattern"]) for name, each in FILTERS.items()}
    assert all(patterns.values())
    lines = caplog.messages
    caplog.clear()
    return {
        name for name, words in patterns.items() if any(all(word in line for word in words) for line in lines)
    }


def test_each_filter_feeds_an_alarm() -> None:
    alarms = [
        r["Properties"] for r in TEMPLATE["Resources"].values() if r.get("Type") == "AWS::CloudWatch::Alarm"
    ]
    watched = [(alarm["Namespace"], alarm["MetricName"]) for alarm in alarms]
    for each in FILTERS.values():
        (metric,) = each["MetricTransformations"]
        assert watched.count((metric["MetricNamespace"], metric["MetricName"])) == 1


def test_a_denial(installation: Installation, ssm: Client, caplog: pytest.LogCaptureFixture) -> None:
    nobody = installation.client("ssm", who=installation.add_user("nobody"))
    ssm.CreateSecret(SecretName="s", VersionId="v1", SecretString="x")
    with refused("ResourceNotFound"):
        ssm.GetSecretValue(SecretName="absent", VersionId="v1")
    assert found(caplog) == set()
    with refused("AuthFailure.UnauthorizedOperation"):
        nobody.GetSecretValue(SecretName="s", VersionId="v1")
    assert found(caplog) == {"DeniedFilter"}


def test_use_of_a_key_that_is_going(kms: Client, caplog: pytest.LogCaptureFixture) -> None:
    key = kms.CreateKey(Alias="going").KeyId
    kms.DisableKey(KeyId=key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    assert found(caplog) == set()
    with refused("ResourceUnavailable.CmkDisabled"):
        kms.Encrypt(KeyId=key, Plaintext="aGVsbG8=")
    assert found(caplog) == {"PendingDeletionUsedFilter"}


def test_a_job_that_fails_on_a_row_or_in_a_region(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    table = SqliteTable(":memory:", clock)
    service = service_on(table, clock)
    schedule.run(service, "delete_expired_secrets")
    assert found(caplog) == set()
    table.write([poison("p", b"\x63", clock.now() - 1)])
    schedule.run(service, "delete_expired_secrets")
    assert found(caplog) == {"JobFailedFilter"}
    table.close()
    schedule.run(service, "delete_expired_secrets")
    assert found(caplog) == {"JobFailedFilter"}


def test_a_job_that_does_not_get_done(
    installation: Installation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = types.ModuleType("endless")
    endless.endless = lambda _service, _region: Outcome(ran=True, done=100)  # type: ignore[attr-defined] # a job
    monkeypatch.setitem(sys.modules, "chalicelib.jobs.endless", endless)
    schedule.run(installation.service, "endless")
    assert found(caplog) == {"SweepLagFilter"}
