"""What several tests of hosted data keys need: a CMK and a data key in a state, and a call of every action."""

import base64
import copy
import json
from dataclasses import replace
from typing import Any

from chalicelib.api.gateway import Gateway
from chalicelib.formats import record
from chalicelib.jobs import schedule
from chalicelib.table import keys
from chalicelib.table.port import Expect, Put, Row
from tests.actions.ssm.arrange import code
from tests.installation import SM, Client, Installation

DAY = 86400
STATES = ("Enabled", "Disabled", "PendingDelete")
KEY_STATES = ("Enabled", "Disabled", "PendingDelete", "PendingImport", "Archived", "gone")
UNKNOWN = "00000000-0000-1000-8000-000000000000"
MALFORMED = ("", "d", UNKNOWN.replace("0", "A"), UNKNOWN + "0", UNKNOWN.replace("-", ""), "{" + UNKNOWN + "}")
CANARY = "d-canary-that-nobody-may-see"
SECRET = base64.b64encode(b"plaintext of thirty-two bytes...").decode()

ONE: dict[str, dict[str, Any]] = {
    "CancelDataKeyDeletion": {},
    "DescribeDataKey": {},
    "DisableDataKey": {},
    "EnableDataKey": {},
    "GetDataKeyCiphertextBlob": {},
    "GetDataKeyPlaintext": {},
    "ScheduleDataKeyDeletion": {"PendingWindowInDays": 7},
    "UpdateDataKeyDescription": {"Description": CANARY},
    "UpdateDataKeyName": {"DataKeyName": "renamed"},
}
"""The actions on one data key, with what each needs beside its id."""

MANY = ("DescribeDataKeys", "DisableDataKeys", "EnableDataKeys")
"""The actions on up to 100."""

MAKING: dict[str, dict[str, Any]] = {
    "GenerateDataKey": {"KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "made"},
    "ImportDataKey": {"ImportType": 2, "ImportKeyMaterial": SECRET, "DataKeyName": "made"},
}
"""The actions that make one under a CMK."""

LISTING = ("ListDataKeyDetail", "ListDataKeys")
ALL = (*ONE, *MANY, *MAKING, *LISTING)

STATE_FOR = {"CancelDataKeyDeletion": "PendingDelete"}
"""The state in which an action succeeds, where that is not Enabled."""


def make_key(kms: Client, alias: str = "cmk") -> str:
    """A CMK, made when it is first asked for."""
    if code(lambda: kms.CreateKey(Alias=alias)) == "ok":
        pass
    (found,) = kms.ListKeyDetail(SearchKeyAlias=alias, KeyUsage="ALL").KeyMetadatas
    return str(found.KeyId)


def make(kms: Client, name: str = "d", state: str = "Enabled", **parameters: Any) -> str:
    """The id of a hosted data key in a state; a pending one has 7 days left."""
    given = {"KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": name, **parameters}
    given.setdefault("KeyId", make_key(kms))
    data_key = str(kms.GenerateDataKey(**given).DataKeyId)
    if state == "Disabled":
        kms.DisableDataKey(DataKeyId=data_key)
    if state == "PendingDelete":
        kms.ScheduleDataKeyDeletion(DataKeyId=data_key, PendingWindowInDays=7)
    return data_key


def parameters_of(action: str, data_key: str, key: str = "") -> dict[str, Any]:
    """Parameters with which `action` succeeds for a data key in the right state."""
    if action in ONE:
        return {"DataKeyId": data_key, **ONE[action]}
    if action in MANY:
        return {"DataKeyIds": [data_key]}
    return {"KeyId": key, **MAKING[action]} if action in MAKING else {}


def describe(kms: Client, data_key: str) -> Any:
    return kms.DescribeDataKey(DataKeyId=data_key).DataKeyMetadata


def state_of(kms: Client, data_key: str) -> str:
    return str(describe(kms, data_key).KeyState)


def names(kms: Client, **filters: Any) -> list[str]:
    return [m.DataKeyName for m in kms.ListDataKeyDetail(**{"Limit": 200, **filters}).DataKeyMetadatas or ()]


def quota(installation: Installation, region: str = SM) -> int:
    """How many data keys count."""
    row = installation.service.table(region).get(f"CT#{installation.root.uin}#{region}", "data_keys")
    return row.number if row else 0


def row_of(installation: Installation, data_key: str, region: str = SM) -> Row:
    row = installation.service.table(region).get(f"DK#{installation.root.uin}#{region}#{data_key}", "M")
    assert row is not None
    return row


def edit(installation: Installation, row: Row, **members: Any) -> None:
    """What somebody with the right to write to the table can do."""
    body = record.encode({**record.decode(row.body), **members})
    edited = Row(pk=row.pk, sk=row.sk, body=body, due=row.due)
    installation.service.table(SM).write([Put(edited, Expect.ANY)])


def bring_key_to(installation: Installation, kms: Client, key: str, state: str) -> None:
    """Bring an enabled CMK to a state; `gone` is past its deletion date and swept."""
    if state == "PendingImport":
        row = installation.service.table(SM).get(*keys.key_row_key(installation.root.uin, SM, key))
        assert row is not None
        edit(installation, row, state=state, origin="EXTERNAL", backing=[])
    if state in ("Disabled", "PendingDelete", "gone"):
        kms.DisableKey(KeyId=key)
    if state in ("PendingDelete", "gone"):
        force_key_deletion(installation, key)
    if state == "gone":
        installation.clock.advance(7 * DAY)
        assert schedule.run(installation.service, "delete_expired_keys")[SM].done == 1
    if state == "Archived":
        kms.ArchiveKey(KeyId=key)


def force_key_deletion(installation: Installation, key: str) -> None:
    """Schedule a CMK's deletion although data keys need it, as a setting allows."""
    forced = copy.copy(installation)
    forced.service = copy.copy(installation.service)
    forced.service.settings = replace(installation.settings, delete_keys_in_use=True)
    forced.gateway = Gateway(forced.service)
    forced.client("kms").ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)


def everything(kms: Client) -> str:
    """All that the API shows of the data keys of an account's region."""
    listed = kms.ListDataKeyDetail(Limit=200)
    return json.dumps([json.loads(m.to_json_string()) for m in listed.DataKeyMetadatas or ()])
