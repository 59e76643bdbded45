"""Whatever fails wherever in whatever call: a listed code, nothing half done, and a retry that converges."""

from typing import Any

import pytest

from tests.calls import code
from tests.faults.broken import Fault, Killed, plans
from tests.faults.stage import Stage, check_whole
from tests.scenarios import MUTATING, SCENARIOS, Scenario

NOTHING_DONE = "The service is busy: nothing was done; try again."
UNKNOWN = "The outcome is unknown: read the resource before you try again."

CALLER = ("get", "decrypt")
"""The calls that find the access key and open it."""

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
    "ImportKeyMaterial": "ResourceUnavailable.TokenExpired",
    "DeleteImportedKeyMaterial": "ResourceUnavailable.CmkStateNotSupport",
    "ImportDataKey": "InvalidParameterValue.DataKeyNameAlreadyExists",
    "ScheduleDataKeyDeletion": "ResourceUnavailable.DataKeyStateNotSupport",
    "CancelDataKeyDeletion": "ResourceUnavailable.DataKeyNotPendingDelete",
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_fault_in_every_call(stage: Stage, scenario: Scenario) -> None:
    installation = stage.installation
    stage.reset()
    assert not code(stage.run(scenario))
    calls = tuple(installation.saboteur.calls)
    healthy = stage.outcome()
    check_whole(installation.data(), installation.root.uin)
    assert len(calls) >= 3, "the caller is looked up, something is done, and it is recorded"

    assert calls[:2] == CALLER
    for fault, first, last in plans(calls):
        if first <= len(CALLER) and scenario.action not in ("CreateSecret", "GetSecretValue"):
            continue  # whom the caller is is found out in one way for all
        stage.reset()
        installation.saboteur.fail(fault, first, last)
        where = f"{fault.name} at {first} of {len(calls)}{' and ever after' if last > first else ''}"
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
        if scenario in MUTATING and last == first:
            told = [e for e in installation.events() if e["action"] == scenario.action and "error" not in e]
            assert happened == (len(told) > stage.successes[scenario.action]), (
                f"{where}: an event is a witness"
            )

        stage.restart()
        again = code(stage.run(scenario))
        assert again == "" or (happened and again == DONE_ALREADY.get(scenario.action)), where
        assert stage.outcome() == healthy, f"{where}: the retry converges"
