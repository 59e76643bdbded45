"""Which action is allowed in which state of the data key and of its CMK, and the state after it."""

import functools

import pytest

from tests.actions.kms.arrange_data_keys import (
    KEY_STATES,
    MAKING,
    MANY,
    ONE,
    STATES,
    bring_key_to,
    describe,
    everything,
    make,
    make_key,
    parameters_of,
    state_of,
)
from tests.actions.ssm.arrange import code
from tests.installation import Client, Installation

UNAVAILABLE = "ResourceUnavailable."
NOT_SUPPORTED = UNAVAILABLE + "DataKeyStateNotSupport"
NOT_PENDING = UNAVAILABLE + "DataKeyNotPendingDelete"
CMK_NOT_SUPPORTED = UNAVAILABLE + "CmkStateNotSupport"
CMK_NOT_FOUND = UNAVAILABLE + "CmkNotFound"
CMK_DISABLED = UNAVAILABLE + "CmkDisabled"

# Action -> for Enabled, Disabled, PendingDelete: the state after it, or the code that refuses it.
RULES = {
    "CancelDataKeyDeletion": (NOT_PENDING, NOT_PENDING, "Disabled"),
    "DescribeDataKey": STATES,
    "DescribeDataKeys": STATES,
    "DisableDataKey": ("Disabled", "Disabled", NOT_SUPPORTED),
    "DisableDataKeys": ("Disabled", "Disabled", NOT_SUPPORTED),
    "EnableDataKey": ("Enabled", "Enabled", NOT_SUPPORTED),
    "EnableDataKeys": ("Enabled", "Enabled", NOT_SUPPORTED),
    "GetDataKeyCiphertextBlob": ("Enabled", NOT_SUPPORTED, NOT_SUPPORTED),
    "GetDataKeyPlaintext": ("Enabled", UNAVAILABLE + "DataKeyDisabled", UNAVAILABLE + "DataKeyPendingDelete"),
    "ScheduleDataKeyDeletion": ("PendingDelete", "PendingDelete", NOT_SUPPORTED),
    "UpdateDataKeyDescription": ("Enabled", "Disabled", NOT_SUPPORTED),
    "UpdateDataKeyName": ("Enabled", "Disabled", NOT_SUPPORTED),
}

# Action -> for each of KEY_STATES: `ok`, or the code that refuses it. The data key is in a state that allows it.
WITHOUT_CMK = ("ok",) * len(KEY_STATES)
NEW = (
    "ok",
    CMK_DISABLED,
    UNAVAILABLE + "KeyPendingDelete",
    CMK_DISABLED,
    UNAVAILABLE + "CmkArchived",
    CMK_NOT_FOUND,
)
ENABLING = ("ok", CMK_NOT_SUPPORTED, CMK_NOT_SUPPORTED, CMK_NOT_SUPPORTED, "ok", CMK_NOT_FOUND)
CMK_RULES = {
    "CancelDataKeyDeletion": ("ok", "ok", CMK_NOT_SUPPORTED, "ok", "ok", CMK_NOT_FOUND),
    "DescribeDataKey": WITHOUT_CMK,
    "DescribeDataKeys": WITHOUT_CMK,
    "DisableDataKey": WITHOUT_CMK,
    "DisableDataKeys": WITHOUT_CMK,
    "EnableDataKey": ENABLING,
    "EnableDataKeys": ENABLING,
    "GenerateDataKey": NEW,
    "GetDataKeyCiphertextBlob": WITHOUT_CMK,
    "GetDataKeyPlaintext": ("ok", CMK_DISABLED, CMK_NOT_SUPPORTED, CMK_NOT_SUPPORTED, "ok", CMK_NOT_FOUND),
    "ImportDataKey": NEW,
    "ScheduleDataKeyDeletion": WITHOUT_CMK,
    "UpdateDataKeyDescription": WITHOUT_CMK,
    "UpdateDataKeyName": WITHOUT_CMK,
}


@pytest.mark.parametrize("action", RULES)
def test_the_states_of_a_data_key(kms: Client, action: str) -> None:
    found = []
    for state, outcome in zip(STATES, RULES[action], strict=True):
        data_key = make(kms, name=state, state=state)
        before = describe(kms, data_key).to_json_string()
        given = parameters_of(action, data_key)
        if action == "UpdateDataKeyName":
            given["DataKeyName"] = f"{state}-renamed"
        ended = code(functools.partial(getattr(kms, action), **given))
        found.append(state_of(kms, data_key) if ended == "ok" else ended)
        if outcome not in STATES:
            assert describe(kms, data_key).to_json_string() == before, "a refusal changes nothing"
    assert tuple(found) == RULES[action]


@pytest.mark.parametrize("state", KEY_STATES)
def test_the_states_of_the_cmk(installation: Installation, kms: Client, state: str) -> None:
    key = make_key(kms)
    blob = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256").CiphertextBlob
    calls = {}
    for action in CMK_RULES:
        data_key = make(kms, name=action)
        calls[action] = parameters_of(action, data_key, key)
        if action in ("EnableDataKey", "EnableDataKeys"):
            kms.DisableDataKey(DataKeyId=data_key)
        elif action == "CancelDataKeyDeletion":  # which is possible for longer than the CMK is there
            kms.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=30)
        elif action in ("UpdateDataKeyName", *MAKING):
            calls[action]["DataKeyName"] = f"{action}-new"
    bring_key_to(installation, kms, key, state)

    expected = {action: row[KEY_STATES.index(state)] for action, row in CMK_RULES.items()}
    for action, given in calls.items():
        before = everything(kms)
        assert code(functools.partial(getattr(kms, action), **given)) == expected[action], action
        assert (everything(kms) == before) or expected[action] == "ok", action
    given = {"ImportType": 1, "ImportKeyMaterial": blob, "DataKeyName": "imported-ciphertext"}
    assert code(lambda: kms.ImportDataKey(**given)) == expected["ImportDataKey"]


def test_every_action_has_its_rules() -> None:
    assert set(RULES) == {*ONE, *MANY}
    assert set(CMK_RULES) == {*ONE, *MANY, *MAKING}
