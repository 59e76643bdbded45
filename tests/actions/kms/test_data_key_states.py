"""Which action is allowed in which state of the data key and of its CMK, and the state after it."""

from typing import Any

import pytest

from tests.actions.kms.arrange_data_keys import (
    KEY_STATES,
    MAKING,
    MANY,
    ONE,
    STATES,
    bring_key_to,
    everything,
    make,
    make_key,
    names,
    parameters_of,
    state_of,
)
from tests.actions.ssm.arrange import code
from tests.installation import Client, Installation

UNAVAILABLE = "ResourceUnavailable."
NOT_SUPPORTED = UNAVAILABLE + "DataKeyStateNotSupport"
CMK_NOT_SUPPORTED = UNAVAILABLE + "CmkStateNotSupport"
CMK_NOT_FOUND = UNAVAILABLE + "CmkNotFound"
CMK_DISABLED = UNAVAILABLE + "CmkDisabled"

# Action -> for Enabled, Disabled, PendingDelete: the state after it, or the code that refuses it.
RULES = {
    "CancelDataKeyDeletion": (*[UNAVAILABLE + "DataKeyNotPendingDelete"] * 2, "Disabled"),
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


def cells(rules: dict[str, Any], states: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return [
        (action, state, outcome)
        for action, row in rules.items()
        for state, outcome in zip(states, row, strict=True)
    ]


@pytest.mark.parametrize(("action", "state", "outcome"), cells(RULES, STATES))
def test_the_states_of_a_data_key(kms: Client, action: str, state: str, outcome: str) -> None:
    data_key = make(kms, state=state)
    before = everything(kms)
    ended = code(lambda: getattr(kms, action)(**parameters_of(action, data_key)))
    if outcome in STATES:
        assert (ended, state_of(kms, data_key)) == ("ok", outcome)
    else:
        # A refusal changes nothing.
        assert (ended, everything(kms)) == (outcome, before)


@pytest.mark.parametrize(("action", "state", "outcome"), cells(CMK_RULES, KEY_STATES))
def test_the_states_of_the_cmk(
    installation: Installation, kms: Client, action: str, state: str, outcome: str
) -> None:
    key = make_key(kms)
    waits_longer_than_the_cmk = action == "CancelDataKeyDeletion"
    data_key = make(kms, state="Disabled" if action in ("EnableDataKey", "EnableDataKeys") else "Enabled")
    if waits_longer_than_the_cmk:
        kms.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=30)
    bring_key_to(installation, kms, key, state)
    before = everything(kms)
    ended = code(lambda: getattr(kms, action)(**parameters_of(action, data_key, key)))
    assert ended == outcome
    if outcome != "ok":
        assert everything(kms) == before
    elif action in MAKING:
        assert names(kms) == ["made", "d"]


@pytest.mark.parametrize(("state", "outcome"), zip(KEY_STATES, NEW, strict=True))
def test_the_states_of_the_cmk_of_an_imported_ciphertext(
    installation: Installation, kms: Client, state: str, outcome: str
) -> None:
    key = make_key(kms)
    blob = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256").CiphertextBlob
    bring_key_to(installation, kms, key, state)
    given = {"ImportType": 1, "ImportKeyMaterial": blob, "DataKeyName": "made"}
    assert code(lambda: kms.ImportDataKey(**given)) == outcome
    assert names(kms) == (["made"] if outcome == "ok" else [])


def test_every_action_has_its_rules() -> None:
    assert set(RULES) == {*ONE, *MANY}
    assert set(CMK_RULES) == {*ONE, *MANY, *MAKING}
