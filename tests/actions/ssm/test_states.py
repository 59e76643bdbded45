"""Which action is allowed in which state, and the state after it: the table of the product's state rules."""

import pytest

from tests.actions.ssm.arrange import CALLS, STATES, code, make, status
from tests.installation import Client

FAILED = "FailedOperation"
# Action -> for Enabled, Disabled, PendingDelete: the state after it, or the code that refuses it.
RULES = {
    "DeleteSecret": (FAILED, "ResourceNotFound", FAILED),  # without a window: nothing is left
    "DeleteSecretVersion": ("Enabled", "Disabled", "PendingDelete"),
    "DescribeSecret": ("Enabled", "Disabled", "PendingDelete"),
    "DisableSecret": ("Disabled", "Disabled", FAILED),
    "EnableSecret": ("Enabled", "Enabled", FAILED),
    "GetSecretValue": (
        "Enabled",
        "ResourceUnavailable.ResourceDisabled",
        "ResourceUnavailable.ResourcePendingDeleted",
    ),
    "ListSecretVersionIds": ("Enabled", "Disabled", "PendingDelete"),
    "PutSecretValue": ("Enabled", "Disabled", FAILED),
    "RestoreSecret": (FAILED, FAILED, "Disabled"),
    "UpdateDescription": ("Enabled", "Disabled", FAILED),
    "UpdateSecret": ("Enabled", "Disabled", FAILED),
}


@pytest.mark.parametrize(
    ("action", "state", "outcome"),
    [
        (action, state, outcome)
        for action, row in RULES.items()
        for state, outcome in zip(STATES, row, strict=True)
    ],
)
def test_state_rules(ssm: Client, action: str, state: str, outcome: str) -> None:
    make(ssm, state=state)
    ended = code(lambda: getattr(ssm, action)(**CALLS[action]))
    if outcome in STATES:
        assert (ended, status(ssm)) == ("ok", outcome)
    elif outcome == "ResourceNotFound":
        assert (ended, code(lambda: status(ssm))) == ("ok", outcome)
    else:
        # A refusal changes nothing.
        assert (ended, status(ssm)) == (outcome, state)


@pytest.mark.parametrize(
    ("state", "outcome"), [("Enabled", FAILED), ("Disabled", "PendingDelete"), ("PendingDelete", FAILED)]
)
def test_state_rules_of_a_deletion_with_a_window(ssm: Client, state: str, outcome: str) -> None:
    make(ssm, state=state)
    before = ssm.DescribeSecret(SecretName="s").DeleteTime
    ended = code(lambda: ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=30))
    if outcome == FAILED:
        assert (ended, status(ssm), ssm.DescribeSecret(SecretName="s").DeleteTime) == (FAILED, state, before)
    else:
        assert (ended, status(ssm)) == ("ok", outcome)


def test_every_action_on_a_secret_has_its_rules() -> None:
    assert set(RULES) == {action for action, given in CALLS.items() if given.get("SecretName") == "s"}
