"""Whatever fails wherever in whatever call: a listed code, nothing half done, and a retry that converges."""

from typing import Any

import pytest

from chalicelib import replication
from chalicelib.context import domain
from chalicelib.table.port import due_kind
from chalicelib.table.replicas import REPLICATE
from tests.calls import code
from tests.faults.broken import Fault, Killed, plans
from tests.faults.stage import Stage, check_whole
from tests.inspected import NOW
from tests.installation import SM
from tests.scenarios import MUTATING, SCENARIOS, Scenario

NOTHING_DONE = "The service is busy: nothing was done; try again."
UNKNOWN = "The outcome is unknown: read the resource before you try again."

CALLER = ("get", "get", "decrypt")
"""The calls that find the access key and its user, and open it."""

# What repeating a call answers that had happened although its caller was not told; everything else succeeds again.
DONE_ALREADY = {
    "CreateSecret": "ResourceInUse.SecretExists",
    "PutSecretValue": "ResourceInUse.VersionIdExists",
    "DeleteSecret": "FailedOperation",
    "RestoreSecret": "FailedOperation",
    "StopSecretReplication": "FailedOperation",
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
    "CreatePolicy": "FailedOperation.PolicyNameInUse",
    "DeletePolicy": "ResourceNotFound.PolicyIdNotFound",
    "DeletePolicyVersion": "InvalidParameter.PolicyVersionNotExists",
    "CreateRole": "InvalidParameter.RoleNameInUse",
    "DeleteRole": "InvalidParameter.RoleNotExist",
    "AddUser": "InvalidParameter.SubUserNameInUse",
    "DeleteUser": "ResourceNotFound.UserNotExist",
    "CreateAccessKey": "OperationDenied.AccessKeyOverLimit",
    "DeleteAccessKey": "ResourceNotFound.SecretNotExist",
    "CreateGroup": "InvalidParameter.GroupNameInUse",
    "DeleteGroup": "ResourceNotFound.GroupNotExist",
}

# What is there once more if a call is repeated that had happened.
ONCE_MORE = {"CreatePolicyVersion"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_fault_in_every_call(stage: Stage, scenario: Scenario) -> None:
    installation = stage.installation
    stage.reset()
    assert not code(stage.run(scenario))
    calls = tuple(installation.saboteur.calls)
    healthy = stage.outcome()
    check_whole(stage.rows(), installation.root.uin)
    assert len(calls) > len(CALLER), "the caller is looked up, something is done, and it is recorded"

    assert calls[: len(CALLER)] == CALLER
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
        after = stage.rows()
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
            assert "error" not in installation.event(response["RequestId"], domain(scenario.service, SM)), (
                where
            )
        if scenario in MUTATING and last == first:
            told = [e for e in stage.events() if e["action"] == scenario.action and "error" not in e]
            assert happened == (len(told) > stage.successes[scenario.action]), (
                f"{where}: an event is a witness"
            )

        stage.restart()
        again = code(stage.run(scenario))
        assert again == "" or (happened and again == DONE_ALREADY.get(scenario.action)), where
        if not (happened and scenario.action in ONCE_MORE):
            if scenario.action == "StopSecretReplication":
                # The job does what the call could not.
                left = installation.tables[SM].due(due_kind(REPLICATE, SM), NOW)
                replication.attempt(installation.service, left)
            assert stage.outcome() == healthy, f"{where}: the retry converges"
