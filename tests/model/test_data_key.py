"""Random calls on hosted data keys, answered by the real service and by a small model: every answer is the same.

The model is written from the product's rules alone and shares no code with the service.
"""

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tencentcloud.common import abstract_client
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from chalicelib.clock import ManualClock
from chalicelib.jobs import schedule
from chalicelib.table.port import Add
from tests.installation import SM, Installation, sdk_time

DAY = 86400
PLACES = 3
"""Of the quota, what is left to the test."""
UNAVAILABLE = "ResourceUnavailable."
UNKNOWN = "00000000-0000-1000-8000-000000000000"
NAMES = ("a", "ab", "b", "c")
BAD_NAME = "-a"


class Refusal(Exception):
    """What the model answers instead of a result."""


@dataclass
class DataKey:
    id: str
    key: str
    name: str
    plaintext: str
    origin: str
    created_ms: int
    description: str = ""
    state: str = "Enabled"
    deletion: int = 0

    def metadata(self) -> dict[str, Any]:
        return {
            "DataKeyId": self.id,
            "KeyId": self.key,
            "DataKeyName": self.name,
            "NumberOfBytes": len(base64.b64decode(self.plaintext)),
            "CreateTime": self.created_ms // 1000,
            "Description": self.description,
            "KeyState": self.state,
            "DeletionDate": self.deletion,
            "Origin": self.origin,
        }


class Model:
    """One region of one account, with two CMKs."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = dict.fromkeys(keys, "Enabled")
        self.data_keys: dict[str, DataKey] = {}

    def alive(self, now: int) -> list[DataKey]:
        return [d for d in self.data_keys.values() if d.state != "PendingDelete" or d.deletion > now]

    def get(self, id_: str, now: int) -> DataKey:
        found = [d for d in self.alive(now) if d.id == id_]
        if not found:
            raise Refusal(UNAVAILABLE + "DataKeyNotFound")
        return found[0]

    def get_many(self, ids: Sequence[str], now: int) -> list[DataKey]:
        if len(set(ids)) < len(ids):
            raise Refusal("InvalidParameterValue.DuplicatedDataKeyId")
        return [self.get(id_, now) for id_ in ids]

    def check_name(self, name: str, now: int, *, but: str = "") -> None:
        if any(d.name == name and d.id != but for d in self.alive(now)):
            raise Refusal("InvalidParameterValue.DataKeyNameAlreadyExists")

    def check_room(self, now: int) -> None:
        if sum(d.state != "PendingDelete" for d in self.alive(now)) >= PLACES:
            raise Refusal("LimitExceeded.DataKeyLimitExceeded")

    def check_new(self, key: str, name: str, now: int) -> None:
        if name == BAD_NAME:
            raise Refusal("InvalidParameterValue.InvalidDataKeyName")
        if self.keys[key] != "Enabled":
            archived = self.keys[key] == "Archived"
            raise Refusal(UNAVAILABLE + ("CmkArchived" if archived else "CmkDisabled"))
        self.check_name(name, now)
        self.check_room(now)

    def check_not_pending(self, data_key: DataKey) -> None:
        if data_key.state == "PendingDelete":
            raise Refusal(UNAVAILABLE + "DataKeyStateNotSupport")

    def switch(self, ids: Sequence[str], state: str, now: int) -> dict[str, Any]:
        found = self.get_many(ids, now)
        for d in found:
            self.check_not_pending(d)
            if state == "Enabled" and self.keys[d.key] == "Disabled":
                raise Refusal(UNAVAILABLE + "CmkStateNotSupport")
        for d in found:
            d.state = state
        return {}

    def schedule(self, id_: str, days: int, now: int) -> dict[str, Any]:
        if not 7 <= days <= 30:
            raise Refusal("InvalidParameter.InvalidPendingWindowInDays")
        data_key = self.get(id_, now)
        self.check_not_pending(data_key)
        data_key.state, data_key.deletion = "PendingDelete", now + days * DAY
        return {"DataKeyId": id_, "DeletionDate": data_key.deletion}

    def cancel(self, id_: str, now: int) -> dict[str, Any]:
        data_key = self.get(id_, now)
        if data_key.state != "PendingDelete":
            raise Refusal(UNAVAILABLE + "DataKeyNotPendingDelete")
        self.check_room(now)
        data_key.state, data_key.deletion = "Disabled", 0
        return {"DataKeyId": id_}

    def rename(self, id_: str, name: str, now: int) -> dict[str, Any]:
        if name == BAD_NAME:
            raise Refusal("InvalidParameterValue.InvalidDataKeyName")
        data_key = self.get(id_, now)
        self.check_not_pending(data_key)
        self.check_name(name, now, but=id_)
        data_key.name = name
        return {}

    def redescribe(self, id_: str, description: str, now: int) -> dict[str, Any]:
        if len(description) > 100:
            raise Refusal("InvalidParameter")
        data_key = self.get(id_, now)
        self.check_not_pending(data_key)
        data_key.description = description
        return {}

    def plaintext(self, id_: str, now: int) -> dict[str, Any]:
        data_key = self.get(id_, now)
        if data_key.state != "Enabled":
            disabled = data_key.state == "Disabled"
            raise Refusal(UNAVAILABLE + ("DataKeyDisabled" if disabled else "DataKeyPendingDelete"))
        if self.keys[data_key.key] == "Disabled":
            raise Refusal(UNAVAILABLE + "CmkDisabled")
        return {"Plaintext": data_key.plaintext}

    def ciphertext(self, id_: str, now: int) -> dict[str, Any]:
        if self.get(id_, now).state != "Enabled":
            raise Refusal(UNAVAILABLE + "DataKeyStateNotSupport")
        return {}

    def list_all(
        self, now: int, state: int, order: int, search: str, key: str, offset: int, limit: int
    ) -> dict[str, Any]:
        if limit > 200:
            raise Refusal("InvalidParameter")
        wanted = ("", "Enabled", "Disabled", "PendingDelete")[state]
        found = [
            d
            for d in sorted(self.alive(now), key=lambda d: d.created_ms, reverse=order == 0)
            if wanted in ("", d.state) and (search in d.name or search in d.id) and key in ("", d.key)
        ]
        page = [d.metadata() for d in found[offset : offset + limit]]
        return {"TotalCount": len(found), "DataKeyMetadatas": page}

    def sweep(self, now: int) -> set[str]:
        gone = set(self.data_keys) - {d.id for d in self.alive(now)}
        for id_ in gone:
            del self.data_keys[id_]
        return gone


names = st.sampled_from((*NAMES * 5, BAD_NAME))
which = st.integers(0, 5)
"""A data key among those that ever were."""


class DataKeyMachine(RuleBasedStateMachine):
    """The service with two CMKs, a clock and the sweep."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(int(time.time()))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(abstract_client, "time", sdk_time(self.clock))
        self.installation = Installation(self.clock)
        self.kms = self.installation.client("kms")
        self.keys = [str(self.kms.CreateKey(Alias=alias).KeyId) for alias in ("one", "two")]
        self.model = Model(self.keys)
        self.ever: list[str] = []
        quota = Add(f"CT#{self.installation.root.uin}#{SM}", "data_keys", 500 - PLACES)
        self.installation.service.table(SM).write([quota])

    @property
    def now(self) -> int:
        return self.clock.now()

    def pick(self, number: int) -> str:
        """An id, most of the time of a data key that is there."""
        recent = self.ever[-5:]
        return recent[number] if number < len(recent) else UNKNOWN

    def check(self, action: str, expect: Callable[[], dict[str, Any]], **given: Any) -> Any:
        """Call the service and the model, and compare; the service's answer unless it is a refusal."""
        self.clock.advance(0.001)  # so that no two things happen at the same time
        try:
            expected: dict[str, Any] | str = expect()
        except Refusal as refusal:
            expected = str(refusal)
        answer = None
        try:
            answer = getattr(self.kms, action)(**given)
            found = _only(expected, answer._serialize(allow_none=True))
        except TencentCloudSDKException as error:
            found = error.code
        assert found == expected, action
        return answer

    @initialize()
    def begin_with_some(self) -> None:
        self.generate(0, "a", 16)
        self.import_plaintext(1, "b", 32)

    def make(self, action: str, key: str, name: str, origin: str, **given: Any) -> Any:
        def expect() -> dict[str, Any]:
            self.model.check_new(key, name, self.now)
            return {"KeyId": key, "TagCode": 0, "TagMsg": ""}

        answer = self.check(action, expect, DataKeyName=name, **given)
        if answer is not None:
            assert answer.DataKeyId not in self.ever
            self.ever.append(answer.DataKeyId)
            plaintext = given.get("ImportKeyMaterial", "")
            self.model.data_keys[answer.DataKeyId] = DataKey(
                answer.DataKeyId, key, name, plaintext, origin, self.clock.now_ms()
            )
        return answer

    @rule(key=st.integers(0, 1), name=names, length=st.sampled_from((1, 16, 32, 1024)))
    def generate(self, key: int, name: str, length: int) -> None:
        answer = self.make(
            "GenerateDataKey",
            self.keys[key],
            name,
            "TENCENT_KMS",
            KeyId=self.keys[key],
            NumberOfBytes=length,
            IsHostedByKms=1,
        )
        if answer is not None:
            assert len(base64.b64decode(answer.Plaintext)) == length
            self.model.data_keys[answer.DataKeyId].plaintext = answer.Plaintext

    @rule(key=st.integers(0, 1), name=names, length=st.sampled_from((1, 32, 1024)))
    def import_plaintext(self, key: int, name: str, length: int) -> None:
        material = base64.b64encode(bytes([length % 251]) * length).decode()
        self.make(
            "ImportDataKey",
            self.keys[key],
            name,
            "EXTERNAL",
            KeyId=self.keys[key],
            ImportType=2,
            ImportKeyMaterial=material,
        )

    @rule(key=st.integers(0, 1))
    def make_as_many_as_there_are_names(self, key: int) -> None:
        for name in NAMES:
            self.generate(key, name, 16)

    @rule(number=which, name=names)
    def import_the_ciphertext_of_another(self, number: int, name: str) -> None:
        source = self.model.data_keys.get(self.pick(number))
        try:
            blob = self.kms.GetDataKeyCiphertextBlob(DataKeyId=self.pick(number)).CiphertextBlob
        except TencentCloudSDKException:
            return
        assert source is not None
        answer = self.make(
            "ImportDataKey", source.key, name, "TENCENT_KMS", ImportType=1, ImportKeyMaterial=blob
        )
        if answer is not None:
            self.model.data_keys[answer.DataKeyId].plaintext = source.plaintext

    @rule(number=which)
    def describe(self, number: int) -> None:
        id_ = self.pick(number)
        self.check(
            "DescribeDataKey",
            lambda: {"DataKeyMetadata": self.model.get(id_, self.now).metadata()},
            DataKeyId=id_,
        )

    @rule(numbers=st.lists(which, min_size=1, max_size=3))
    def describe_many(self, numbers: list[int]) -> None:
        ids = [self.pick(number) for number in numbers]
        self.check(
            "DescribeDataKeys",
            lambda: {"DataKeyMetadatas": [d.metadata() for d in self.model.get_many(ids, self.now)]},
            DataKeyIds=ids,
        )

    @rule(number=which, state=st.sampled_from(("Enabled", "Disabled")))
    def switch(self, number: int, state: str) -> None:
        id_ = self.pick(number)
        action = "EnableDataKey" if state == "Enabled" else "DisableDataKey"
        self.check(action, lambda: self.model.switch([id_], state, self.now), DataKeyId=id_)

    @rule(numbers=st.lists(which, min_size=1, max_size=3), state=st.sampled_from(("Enabled", "Disabled")))
    def switch_many(self, numbers: list[int], state: str) -> None:
        ids = [self.pick(number) for number in numbers]
        action = "EnableDataKeys" if state == "Enabled" else "DisableDataKeys"
        self.check(action, lambda: self.model.switch(ids, state, self.now), DataKeyIds=ids)

    @rule(number=which, days=st.sampled_from((6, 7, 7, 8, 30, 30, 31)))
    def schedule(self, number: int, days: int) -> None:
        id_ = self.pick(number)
        self.check(
            "ScheduleDataKeyDeletion",
            lambda: self.model.schedule(id_, days, self.now),
            DataKeyId=id_,
            PendingWindowInDays=days,
        )

    @rule(number=which)
    def cancel(self, number: int) -> None:
        id_ = self.pick(number)
        self.check("CancelDataKeyDeletion", lambda: self.model.cancel(id_, self.now), DataKeyId=id_)
        self.describe(number)

    @rule(number=which, seconds=st.sampled_from((0, DAY, 7 * DAY)))
    def schedule_and_cancel(self, number: int, seconds: int) -> None:
        self.schedule(number, 7)
        self.clock.advance(seconds)
        self.cancel(number)

    @rule(number=which, name=names)
    def rename(self, number: int, name: str) -> None:
        id_ = self.pick(number)
        self.check(
            "UpdateDataKeyName",
            lambda: self.model.rename(id_, name, self.now),
            DataKeyId=id_,
            DataKeyName=name,
        )

    @rule(number=which, length=st.sampled_from((0, 1, 100, 101)))
    def redescribe(self, number: int, length: int) -> None:
        id_ = self.pick(number)
        self.check(
            "UpdateDataKeyDescription",
            lambda: self.model.redescribe(id_, "x" * length, self.now),
            DataKeyId=id_,
            Description="x" * length,
        )

    @rule(number=which)
    def show(self, number: int) -> None:
        id_ = self.pick(number)
        self.check("GetDataKeyPlaintext", lambda: self.model.plaintext(id_, self.now), DataKeyId=id_)

    @rule(number=which)
    def show_ciphertext(self, number: int) -> None:
        id_ = self.pick(number)
        answer = self.check(
            "GetDataKeyCiphertextBlob", lambda: self.model.ciphertext(id_, self.now), DataKeyId=id_
        )
        data_key = self.model.data_keys.get(id_)
        if answer is not None and data_key is not None and self.model.keys[data_key.key] != "Disabled":
            opened = self.kms.Decrypt(CiphertextBlob=answer.CiphertextBlob)
            assert (opened.KeyId, opened.Plaintext) == (data_key.key, data_key.plaintext)

    @rule(
        state=st.sampled_from((0, 0, 0, 1, 2, 3)),
        order=st.integers(0, 1),
        search=st.sampled_from(("", "", "a", "b", "-")),
        key=st.integers(0, 3),
        offset=st.sampled_from((0, 0, 1, 2)),
        limit=st.sampled_from((1, 2, 200, 200, 201)),
    )
    def list_detail(self, state: int, order: int, search: str, key: int, offset: int, limit: int) -> None:
        key_id = self.keys[key] if key < 2 else ""
        self.check(
            "ListDataKeyDetail",
            lambda: self.model.list_all(self.now, state, order, search, key_id, offset, limit),
            KeyState=state,
            OrderType=order,
            SearchKeyAlias=search,
            KeyId=key_id,
            Offset=offset,
            Limit=limit,
        )

    @rule(key=st.integers(0, 1), state=st.sampled_from(("Disabled", "Archived")))
    def stop_or_start_a_cmk(self, key: int, state: str) -> None:
        key_id = self.keys[key]
        before = self.model.keys[key_id]
        after = state if before == "Enabled" else "Enabled"
        action = {"Disabled": "DisableKey", "Archived": "ArchiveKey"}.get(after) or (
            "CancelKeyArchive" if before == "Archived" else "EnableKey"
        )
        getattr(self.kms, action)(KeyId=key_id)
        self.model.keys[key_id] = after

    @rule(seconds=st.sampled_from((1, DAY, 7 * DAY - 1, 7 * DAY)))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: any(d.deletion * 1000 > self.clock.now_ms() for d in self.pending()))
    @rule(ms_before=st.sampled_from((0, 1, 2, 1000)))
    def wait_for_a_deletion(self, ms_before: int) -> None:
        """To the very moment, or just before it: the call that follows takes a millisecond."""
        now = self.clock.now_ms()
        ahead = [d.deletion * 1000 - ms_before - now for d in self.pending()]
        self.clock.advance(max(0, min(at for at in ahead if at > -ms_before)) / 1000)

    @precondition(lambda self: self.gone())
    @rule(rename=st.booleans(), number=which)
    def take_the_name_of_one_that_is_gone(self, rename: bool, number: int) -> None:  # noqa: FBT001 - hypothesis names it
        name = self.gone()[0].name
        if rename:
            self.rename(number, name)
        else:
            self.generate(0, name, 16)

    def gone(self) -> list[DataKey]:
        """Those past their date that the sweep has not met."""
        return [d for d in self.pending() if d.deletion <= self.now]

    def pending(self) -> list[DataKey]:
        return [d for d in self.model.data_keys.values() if d.deletion]

    @rule()
    def sweep(self) -> None:
        before = self.rows_left()
        outcome = schedule.run(self.installation.service, "delete_expired_data_keys")[SM]
        assert (outcome.finished, outcome.failed) == (True, 0)
        self.model.sweep(self.now)
        # Some may have been swept before, because they were in the way of a name.
        assert outcome.done == len(before) - len(self.rows_left())
        assert self.rows_left() == set(self.model.data_keys)

    def rows_left(self) -> set[str]:
        table, uin = self.installation.service.table(SM), self.installation.root.uin
        return {id_ for id_ in self.ever if table.get(f"DK#{uin}#{SM}#{id_}", "M") is not None}

    @invariant()
    def the_quota_counts_what_does_not_wait_for_deletion(self) -> None:
        row = self.installation.service.table(SM).get(f"CT#{self.installation.root.uin}#{SM}", "data_keys")
        used = sum(d.state != "PendingDelete" for d in self.model.data_keys.values())
        assert row is not None
        assert row.number == 500 - PLACES + used

    def teardown(self) -> None:
        """Whatever has happened: all that can be seen is as the model has it."""
        try:
            self.list_detail(0, 0, "", 3, 0, 200)
            for key, state in self.model.keys.items():
                if state == "Disabled":
                    self.kms.EnableKey(KeyId=key)
                    self.model.keys[key] = "Enabled"
            for id_ in self.ever:
                self.check(
                    "GetDataKeyPlaintext",
                    lambda id_=id_: self.model.plaintext(id_, self.now),  # type: ignore[misc]
                    DataKeyId=id_,
                )
        finally:
            self.patch.undo()
            self.installation.service.close()


def _only(expected: Any, answer: Any) -> Any:
    """The answer without the members that the model does not speak of."""
    if isinstance(expected, dict):
        return {name: _only(value, answer.get(name)) for name, value in expected.items()}
    if isinstance(expected, list):
        return [_only(e, a) for e, a in zip(expected, answer, strict=True)]
    return answer


TestDataKeys = DataKeyMachine.TestCase
TestDataKeys.settings = settings(
    max_examples=20, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
