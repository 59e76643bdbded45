"""What holds for every action on hosted data keys: refusals, isolation, dry runs, the audit trail."""

import json
from typing import Any

import pytest

from tests.actions.kms.arrange_data_keys import (
    ALL,
    CANARY,
    DAY,
    LISTING,
    MAKING,
    MALFORMED,
    MANY,
    ONE,
    SECRET,
    STATE_FOR,
    UNKNOWN,
    describe,
    everything,
    make,
    make_key,
    names,
    parameters_of,
    row_of,
)
from tests.actions.ssm.arrange import event_rows, events
from tests.installation import FIPS, SM, Client, Installation, refused

WITH_MEMBER_ACCOUNT = tuple(a for a in (*ONE, *MANY) if a != "GetDataKeyPlaintext")
READS = (
    "DescribeDataKey",
    "DescribeDataKeys",
    "GetDataKeyCiphertextBlob",
    "GetDataKeyPlaintext",
    *LISTING,
)


def prepared(kms: Client, action: str) -> dict[str, Any]:
    """Parameters with which the action succeeds."""
    data_key = make(kms, state=STATE_FOR.get(action, "Enabled"))
    return parameters_of(action, data_key, make_key(kms))


def test_they_are_sixteen() -> None:
    assert len(set(ALL)) == 16


@pytest.mark.parametrize("action", [*ONE, *MANY])
def test_no_id_an_unknown_one_and_one_past_its_date_are_refused(
    installation: Installation, kms: Client, action: str
) -> None:
    for malformed in MALFORMED:
        with refused("InvalidParameterValue.InvalidDataKeyId") as caught:
            getattr(kms, action)(**parameters_of(action, malformed))
        assert len(malformed) < 10 or malformed not in str(caught.value)
    # An id of a CMK is not one of a data key.
    for unknown in (UNKNOWN, make_key(kms)):
        with refused("ResourceUnavailable.DataKeyNotFound"):
            getattr(kms, action)(**parameters_of(action, unknown))
    data_key = make(kms, state="PendingDelete")
    installation.clock.advance(7 * DAY - 1)
    assert names(kms) == ["d"]
    installation.clock.advance(1)
    # Swept or not: here it is not.
    assert row_of(installation, data_key).due is not None
    with refused("ResourceUnavailable.DataKeyNotFound"):
        getattr(kms, action)(**parameters_of(action, data_key))
    assert (names(kms), kms.ListDataKeys().TotalCount, kms.ListDataKeyDetail().TotalCount) == ([], 0, 0)


@pytest.mark.parametrize("action", WITH_MEMBER_ACCOUNT)
def test_member_accounts_are_refused(kms: Client, action: str) -> None:
    given = prepared(kms, action)
    before = everything(kms)
    with refused("UnsupportedOperation.NotRoleOperation"):
        getattr(kms, action)(**given, MemberAccount={"MemberUin": 1})
    assert everything(kms) == before


@pytest.mark.parametrize("action", ALL)
def test_a_user_without_permission_is_refused_and_learns_nothing(
    installation: Installation, kms: Client, action: str
) -> None:
    given = prepared(kms, action)
    before = everything(kms)
    client = installation.client("kms", who=installation.add_user("alice"))
    with refused("AuthFailure.UnauthorizedOperation") as known:
        getattr(client, action)(**given)
    assert everything(kms) == before
    (event,) = [e for e in events(installation) if e["id"] == known.value.requestId]
    assert (event["action"], event["user"], event["error"]) == (action, "alice", known.value.code)
    if action in (*ONE, *MANY):
        with refused("AuthFailure.UnauthorizedOperation") as unknown:
            getattr(client, action)(**parameters_of(action, UNKNOWN))
        assert str(unknown.value).partition("requestId")[0] == str(known.value).partition("requestId")[0]


@pytest.mark.parametrize("action", [*ONE, *MANY])
def test_another_account_and_another_region_do_not_have_it(
    installation: Installation, kms: Client, action: str
) -> None:
    given = prepared(kms, action)
    before = everything(kms)
    for client in (
        installation.client("kms", who=installation.add_account()),
        installation.client("kms", region=FIPS),
    ):
        with refused("ResourceUnavailable.DataKeyNotFound"):
            getattr(client, action)(**given)
        assert names(client) == []
    assert everything(kms) == before


@pytest.mark.parametrize("action", ALL)
def test_a_dry_run_leaves_nothing(installation: Installation, kms: Client, action: str) -> None:
    given = prepared(kms, action)
    before = everything(kms)
    with refused("DryRunOperation"):
        kms.call_raw(action, {**given, "DryRun": True})
    assert everything(kms) == before


@pytest.mark.parametrize("action", ALL)
def test_a_call_leaves_one_event_that_names_the_data_key_first(
    installation: Installation, kms: Client, action: str
) -> None:
    given = prepared(kms, action)
    answer = getattr(kms, action)(**given)
    (event,) = [e for e in events(installation) if e["id"] == answer.RequestId]
    assert (event["action"], event["read"], "error" in event) == (action, action in READS, False)
    if action in MAKING:
        expected = [f"dataKey/{answer.DataKeyId}", f"key/{given['KeyId']}"]
    elif action == "GetDataKeyPlaintext":
        expected = [f"dataKey/{given['DataKeyId']}", f"key/{make_key(kms)}"]
    else:
        expected = [f"dataKey/{i}" for i in given.get("DataKeyIds", [given.get("DataKeyId")]) if i]
    assert event.get("resources", []) == expected
    shards = {row.pk.rpartition("#")[2] for row in event_rows(installation) if answer.RequestId in row.sk}
    for resource in expected:
        name = resource.partition("/")[2]
        table = installation.service.table(SM)
        found = [
            row
            for shard in shards
            for row in table.by_index("resource", f"{installation.root.uin}#{name}#{shard}", reverse=True)
        ]
        assert any(answer.RequestId in row.sk for row in found), resource


def test_no_data_key_and_no_description_gets_into_the_trail_or_the_table(
    installation: Installation, kms: Client
) -> None:
    key = make_key(kms)
    made = kms.ImportDataKey(
        KeyId=key, ImportType=2, ImportKeyMaterial=SECRET, DataKeyName="d", Description=CANARY
    )
    assert kms.GetDataKeyPlaintext(DataKeyId=made.DataKeyId).Plaintext == SECRET
    blob = kms.GetDataKeyCiphertextBlob(DataKeyId=made.DataKeyId).CiphertextBlob
    assert kms.ImportDataKey(ImportType=1, ImportKeyMaterial=blob, DataKeyName="e").KeyId == key
    text = "".join(
        row.body.decode() + json.dumps(dict(row.index)) + row.pk + row.sk for row in event_rows(installation)
    )
    assert not [word for word in (SECRET, CANARY, blob) if word in text]
    stored = installation.service.table(SM).query(f"DK#{installation.root.uin}#{SM}#{made.DataKeyId}")
    assert len(stored) == 1
    assert SECRET.encode() not in stored[0].body
    assert describe(kms, made.DataKeyId).Description == CANARY
