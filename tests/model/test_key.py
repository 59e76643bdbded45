"""Random calls on keys, answered by the real service and by a small model of the rules: every answer is the same.

The model is written from the product's rules alone and shares no code with the service. It keeps what every ciphertext
should open to, so no path may revive a destroyed key, nor open a ciphertext that should stay shut.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tencentcloud.common import abstract_client
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from chalicelib.clock import ManualClock
from chalicelib.formats import ciphertext_blob
from chalicelib.jobs import schedule
from tests.installation import FIPS, SM, Installation, sdk_time

pytestmark = pytest.mark.timeout(400)  # hypothesis needs minutes to make a failing run short

DAY = 86400
NO = "ResourceUnavailable.CmkStateNotSupport"
NOT_FOUND = "ResourceUnavailable.CmkNotFound"
DISABLED = "ResourceUnavailable.CmkDisabled"
ARCHIVED = "ResourceUnavailable.CmkArchived"
USED = "FailedOperation.CmkUsedByCloudProduct"
BAD = "InvalidParameterValue.InvalidCiphertext"
UNKNOWN = "00000000-0000-1000-8000-000000000000"
CONTEXTS = {
    "": {},
    "{}": {},
    '{"a":"b"}': {"a": "b"},
    '{ "\\u0061": "b" }': {"a": "b"},
    '{"a":"b","c":"d"}': {"a": "b", "c": "d"},
    '{"c":"d", "a":"b"}': {"a": "b", "c": "d"},
}
MOVES = {
    "EnableKey": {"Enabled": "Enabled", "Disabled": "Enabled"},
    "DisableKey": {"Enabled": "Disabled", "Disabled": "Disabled"},
    "ArchiveKey": {"Enabled": "Archived", "Disabled": "Archived", "Archived": "Archived"},
    "CancelKeyArchive": {"Archived": "Enabled"},
}
"""Action -> state -> the state after it; every other state refuses."""


class Refusal(Exception):
    """What the model answers instead of a result."""


@dataclass
class Key:
    id: str
    alias: str
    created_ms: int
    external: bool
    state: str
    description: str = ""
    rotation: bool = False
    days: int = 365
    rotated: int = 0
    deletion: int = 0
    generation: int = 1
    bound: set[str] = field(default_factory=set)
    destroyed: bool = False

    @property
    def next_rotation(self) -> int:
        return (self.rotated or self.created_ms // 1000) + self.days * DAY

    def is_gone(self, now: int) -> bool:
        return self.destroyed or (self.state == "PendingDelete" and self.deletion <= now)


@dataclass
class Blob:
    """A ciphertext, and what it should open to."""

    text: str
    key: Key
    generation: int
    context: dict[str, str]
    plaintext: bytes


class Model:
    """One region of one account."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.blobs: list[Blob] = []

    def get(self, key: Key, now: int) -> Key:
        if key not in self.keys or key.is_gone(now):
            raise Refusal(NOT_FOUND)
        return key

    def check_alias(self, alias: str) -> None:
        # The alias of a key that is gone is free as soon as the sweep was there.
        if any(k.alias == alias and not k.destroyed for k in self.keys):
            raise Refusal("InvalidParameterValue.AliasAlreadyExists")

    def move(self, action: str, key: Key, now: int) -> None:
        self.check_move(action, self.get(key, now))
        key.state = MOVES[action][key.state]

    def check_move(self, action: str, key: Key) -> None:
        if action in ("DisableKey", "ArchiveKey") and key.bound:
            raise Refusal(USED)
        if key.state not in MOVES[action]:
            raise Refusal(NO)

    def move_many(self, action: str, keys: list[Key], now: int) -> None:
        if len({k.id for k in keys}) != len(keys):
            raise Refusal("InvalidParameterValue.DuplicatedKeyId")
        for key in keys:
            self.get(key, now)
        for key in keys:
            self.check_move(action, key)
        for key in keys:
            key.state = MOVES[action][key.state]

    def schedule(self, key: Key, days: int, now: int) -> dict[str, Any]:
        if not 7 <= days <= 30:
            raise Refusal("InvalidParameter.InvalidPendingWindowInDays")
        self.get(key, now)
        if key.bound:
            raise Refusal(USED)
        if key.state == "Enabled":
            raise Refusal("ResourceUnavailable.CmkShouldBeDisabled")
        if key.state == "PendingDelete":
            raise Refusal(NO)
        key.state, key.deletion = "PendingDelete", now + days * DAY
        return {"KeyId": key.id, "DeletionDate": key.deletion}

    def cancel(self, key: Key, now: int) -> None:
        if self.get(key, now).state != "PendingDelete":
            raise Refusal("ResourceUnavailable.CmkNotPendingDelete")
        key.state, key.deletion = "PendingImport" if key.external else "Disabled", 0

    def change(self, key: Key, now: int, **members: str) -> None:
        if self.get(key, now).state == "PendingDelete":
            raise Refusal(NO)
        if members.get("alias", key.alias) != key.alias:
            self.check_alias(members["alias"])
        for name, value in members.items():
            setattr(key, name, value)

    def enable_rotation(self, key: Key, days: int, now: int) -> None:
        if not 7 <= days <= 365:
            raise Refusal("InvalidParameterValue")
        if self.get(key, now).external:
            raise Refusal("UnsupportedOperation.ExternalCmkCanNotRotate")
        if key.state not in ("Enabled", "Disabled"):
            raise Refusal(NO)
        key.rotation, key.days = True, days

    def disable_rotation(self, key: Key, now: int) -> None:
        self.get(key, now).rotation = False

    def rotate(self, key: Key, now: int) -> None:
        self.get(key, now)
        if key.external or not key.rotation or key.state != "Enabled":
            raise Refusal("UnsupportedOperation.RotateNotSupported")
        if key.rotated and now < key.rotated + DAY:
            raise Refusal("RequestLimitExceeded.RotateRateLimited")
        key.generation, key.rotated = key.generation + 1, now

    def bind(self, key: Key, resource: str, now: int) -> None:
        if self.get(key, now).state != "Enabled":
            raise Refusal(NO)
        key.bound.add(resource)

    def unbind(self, key: Key, resource: str, now: int) -> None:
        if resource not in self.get(key, now).bound:
            raise Refusal("ResourceUnavailable.CloudResourceBindingNotFound")
        key.bound.remove(resource)

    def check_encrypts(self, key: Key, now: int) -> None:
        state = self.get(key, now).state
        if state != "Enabled":
            raise Refusal(ARCHIVED if state == "Archived" else DISABLED)

    def check_generates(self, key: Key, now: int) -> None:
        if self.get(key, now).state == "PendingDelete":
            raise Refusal("ResourceUnavailable.KeyPendingDelete")
        self.check_encrypts(key, now)

    def decrypt(self, blob: Blob, context: str, now: int) -> dict[str, Any]:
        if blob.key.id == UNKNOWN:
            raise Refusal(BAD)
        if self.get(blob.key, now).state not in ("Enabled", "Archived"):
            raise Refusal(DISABLED)
        if CONTEXTS[context] != blob.context:
            raise Refusal(BAD)
        return {"KeyId": blob.key.id, "Plaintext": base64.b64encode(blob.plaintext).decode()}

    def re_encrypt(
        self, blob: Blob, destination: Key | None, source: str, target: str, now: int
    ) -> dict[str, Any]:
        self.decrypt(blob, source, now)
        key = destination or blob.key
        self.check_encrypts(key, now)
        is_same = key is blob.key and key.generation == blob.generation
        changed = not is_same or CONTEXTS[target] != blob.context
        return {"KeyId": key.id, "SourceKeyId": blob.key.id, "ReEncrypted": changed}

    def describe(self, key: Key, now: int) -> dict[str, Any]:
        self.get(key, now)
        return {
            "KeyId": key.id,
            "Alias": key.alias,
            "CreateTime": key.created_ms // 1000,
            "Description": key.description,
            "KeyState": key.state,
            "KeyRotationEnabled": key.rotation,
            "RotateDays": key.days,
            "LastRotateTime": key.rotated,
            "NextRotateTime": key.next_rotation,
            "DeletionDate": key.deletion,
            "Origin": "EXTERNAL" if key.external else "TENCENT_KMS",
        }

    def alive(self, now: int) -> list[Key]:
        return sorted((k for k in self.keys if not k.is_gone(now)), key=lambda k: k.created_ms)

    def sweep(self, now: int) -> int:
        gone = [k for k in self.keys if not k.destroyed and k.is_gone(now)]
        for key in gone:
            key.destroyed = True
        return len(gone)

    def rotate_due(self, now: int) -> int:
        due = [k for k in self.keys if k.rotation and k.state == "Enabled" and k.next_rotation <= now]
        for key in due:
            key.generation, key.rotated = key.generation + 1, now
        return len(due)


# Most draws are legal and meet: a few keys, most of them the first ones.
places = st.sampled_from((SM, SM, SM, FIPS))
numbers = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3, 4, 5))
names = st.sampled_from(("a", "b", "c", "d", "e"))
contexts = st.sampled_from(("", "", *CONTEXTS))


class KeyMachine(RuleBasedStateMachine):
    """Two regions of one account, a clock and the jobs; another account that has none of the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(int(time.time()))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(abstract_client, "time", sdk_time(self.clock))
        self.installation = Installation(self.clock)
        self.kms = {place: self.installation.client("kms", place) for place in (SM, FIPS)}
        self.stranger = self.installation.client("kms", SM, who=self.installation.add_account())
        self.model = {place: Model() for place in (SM, FIPS)}
        self.serial = 0

    @property
    def now(self) -> int:
        return self.clock.now()

    def key(self, place: str, number: int) -> Key:
        """One of the region's keys, destroyed ones among them, or one that never was."""
        keys = self.model[place].keys
        return (
            keys[number % len(keys)] if number < 5 else Key(UNKNOWN, "", 0, external=False, state="Enabled")
        )

    def check(
        self, place: str, action: str, expect: Callable[[], dict[str, Any] | None], **given: Any
    ) -> Any:
        """Call the service and the model, and compare: the members of the answer, or the code. The answer, if any."""
        self.clock.advance(0.001)  # so that no two things happen at the same time
        answer = None
        try:
            expected: dict[str, Any] | str = expect() or {}
        except Refusal as refusal:
            expected = str(refusal)
        found: dict[str, Any] | str
        try:
            answer = getattr(self.kms[place], action)(**given)
            members = answer._serialize(allow_none=True)
            found = {n: members.get(n) for n in expected} if isinstance(expected, dict) else "ok"
        except TencentCloudSDKException as error:
            found = error.code
        assert found == expected, (action, given)
        return answer

    @initialize()
    def begin_with_keys(self) -> None:
        for place in (SM, FIPS):
            self.create(place, "a", external=False)
            self.create(place, "b", external=False)
            self.encrypt(place, 0, "")
            self.encrypt(place, 0, '{"a":"b"}')
            self.encrypt(place, 1, "")

    @rule(place=places, alias=names, external=st.sampled_from((False, False, True)))
    def create(self, place: str, alias: str, *, external: bool) -> None:
        model = self.model[place]
        state = "PendingImport" if external else "Enabled"

        def expect() -> dict[str, Any]:
            model.check_alias(alias)
            return {"Alias": alias, "KeyState": state}

        answer = self.check(place, "CreateKey", expect, Alias=alias, Type=2 if external else 1)
        if answer is not None:
            made = Key(answer.KeyId, alias, self.clock.now_ms(), external, state)
            assert made.id not in {k.id for m in self.model.values() for k in m.keys}
            model.keys.append(made)

    @rule(place=places, number=numbers, action=st.sampled_from((*MOVES, "EnableKey", "DisableKey")))
    def move(self, place: str, number: int, action: str) -> None:
        key = self.key(place, number)
        self.check(place, action, lambda: self.model[place].move(action, key, self.now), KeyId=key.id)

    @rule(
        place=places,
        chosen=st.lists(numbers, min_size=1, max_size=3),
        action=st.sampled_from(("EnableKey", "DisableKey")),
    )
    def move_many(self, place: str, chosen: list[int], action: str) -> None:
        keys = [self.key(place, number) for number in chosen]
        self.check(
            place,
            action + "s",
            lambda: self.model[place].move_many(action, keys, self.now),
            KeyIds=[key.id for key in keys],
        )

    @rule(place=places, number=numbers, days=st.sampled_from((7, 7, 7, 8, 30, 6, 31)))
    def schedule(self, place: str, number: int, days: int) -> None:
        key = self.key(place, number)
        self.check(
            place,
            "ScheduleKeyDeletion",
            lambda: self.model[place].schedule(key, days, self.now),
            KeyId=key.id,
            PendingWindowInDays=days,
        )

    @rule(place=places, number=numbers)
    def disable_and_schedule(self, place: str, number: int) -> None:
        self.move(place, number, "DisableKey")
        self.schedule(place, number, 7)

    @rule(place=places, number=numbers)
    def cancel(self, place: str, number: int) -> None:
        key = self.key(place, number)
        self.check(place, "CancelKeyDeletion", lambda: self.model[place].cancel(key, self.now), KeyId=key.id)

    @rule(place=places, number=numbers, alias=names)
    def rename(self, place: str, number: int, alias: str) -> None:
        key = self.key(place, number)
        self.check(
            place,
            "UpdateAlias",
            lambda: self.model[place].change(key, self.now, alias=alias),
            KeyId=key.id,
            Alias=alias,
        )

    @rule(place=places, number=numbers, text=st.sampled_from(("", "x", "\u5bc6")))
    def update_description(self, place: str, number: int, text: str) -> None:
        key = self.key(place, number)
        self.check(
            place,
            "UpdateKeyDescription",
            lambda: self.model[place].change(key, self.now, description=text),
            KeyId=key.id,
            Description=text,
        )

    @rule(place=places, number=numbers, days=st.sampled_from((7, 7, 30, 365, 6, 366)))
    def enable_rotation(self, place: str, number: int, days: int) -> None:
        key = self.key(place, number)
        self.check(
            place,
            "EnableKeyRotation",
            lambda: self.model[place].enable_rotation(key, days, self.now),
            KeyId=key.id,
            RotateDays=days,
        )

    @rule(place=places, number=numbers)
    def disable_rotation(self, place: str, number: int) -> None:
        key = self.key(place, number)
        self.check(
            place,
            "DisableKeyRotation",
            lambda: self.model[place].disable_rotation(key, self.now),
            KeyId=key.id,
        )

    @rule(place=places, number=numbers)
    def rotate(self, place: str, number: int) -> None:
        key = self.key(place, number)
        self.check(place, "RotateKey", lambda: self.model[place].rotate(key, self.now), KeyId=key.id)

    @rule(place=places, times=st.sampled_from((2, 9)))
    def rotate_daily(self, place: str, times: int) -> None:
        self.enable_rotation(place, 0, 365)
        for _ in range(times):
            self.clock.advance(DAY)
            self.rotate(place, 0)
            self.encrypt(place, 0, "")

    @rule(
        place=places,
        number=numbers,
        resource=st.sampled_from(("x", "y")),
        action=st.sampled_from(("Bind", "Unbind", "Unbind")),
    )
    def bind(self, place: str, number: int, resource: str, action: str) -> None:
        key, model = self.key(place, number), self.model[place]
        change = model.bind if action == "Bind" else model.unbind
        self.check(
            place,
            f"{action}CloudResource",
            lambda: change(key, resource, self.now),
            KeyId=key.id,
            ProductId="p",
            ResourceId=resource,
        )

    @rule(place=places, number=numbers, context=contexts)
    def encrypt(self, place: str, number: int, context: str) -> None:
        key = self.key(place, number)
        self.serial += 1
        plaintext = f"plaintext {self.serial}".encode()
        answer = self.check(
            place,
            "Encrypt",
            lambda: self.model[place].check_encrypts(key, self.now),
            KeyId=key.id,
            Plaintext=base64.b64encode(plaintext).decode(),
            EncryptionContext=context,
        )
        if answer is not None:
            self.keep(place, answer.CiphertextBlob, key, context, plaintext)

    @rule(place=places, number=numbers, context=contexts)
    def generate(self, place: str, number: int, context: str) -> None:
        key = self.key(place, number)
        answer = self.check(
            place,
            "GenerateDataKey",
            lambda: self.model[place].check_generates(key, self.now),
            KeyId=key.id,
            KeySpec="AES_256",
            EncryptionContext=context,
        )
        if answer is not None:
            self.keep(place, answer.CiphertextBlob, key, context, base64.b64decode(answer.Plaintext))

    def keep(self, place: str, text: str, key: Key, context: str, plaintext: bytes) -> None:
        assert ciphertext_blob.decode(text).backing_version == key.generation
        blob = Blob(text, key, key.generation, CONTEXTS[context], plaintext)
        self.model[place].blobs.append(blob)

    def blob(self, place: str, number: int) -> Blob:
        blobs = self.model[place].blobs
        return blobs[number % len(blobs)]

    @rule(place=places, number=st.integers(0, 40), context=contexts)
    def decrypt(self, place: str, number: int, context: str) -> None:
        blob = self.blob(place, number)
        self.check(
            place,
            "Decrypt",
            lambda: self.model[place].decrypt(blob, context, self.now),
            CiphertextBlob=blob.text,
            EncryptionContext=context,
        )

    @rule(
        place=places,
        number=st.integers(0, 40),
        to=st.none() | numbers,
        own_context=st.booleans(),
        source=contexts,
        goal=contexts,
    )
    def re_encrypt(
        self, place: str, number: int, to: int | None, source: str, goal: str, *, own_context: bool
    ) -> None:
        blob = self.blob(place, number)
        if own_context:
            source = next(text for text, members in CONTEXTS.items() if members == blob.context)
        destination = None if to is None else self.key(place, to)
        answer = self.check(
            place,
            "ReEncrypt",
            lambda: self.model[place].re_encrypt(blob, destination, source, goal, self.now),
            CiphertextBlob=blob.text,
            DestinationKeyId=destination.id if destination else "",
            SourceEncryptionContext=source,
            DestinationEncryptionContext=goal,
        )
        if answer is not None and answer.ReEncrypted:
            self.keep(place, answer.CiphertextBlob, destination or blob.key, goal, blob.plaintext)
        elif answer is not None:
            assert answer.CiphertextBlob == blob.text

    @rule(place=places, number=st.integers(0, 40), to=numbers, generation=st.integers(1, 12))
    def forge(self, place: str, number: int, to: int, generation: int) -> None:
        """A ciphertext with another key's id or another generation in front."""
        blob, key = self.blob(place, number), self.key(place, to)
        if (key.id, generation) == (blob.key.id, blob.generation):
            return
        message = ciphertext_blob.decode(blob.text).message

        def expect() -> None:
            forged = Blob("", key, generation, {"never": "opens"}, b"")
            self.model[place].decrypt(forged, "", self.now)

        context = next(text for text, members in CONTEXTS.items() if members == blob.context)
        self.check(
            place,
            "Decrypt",
            expect,
            CiphertextBlob=ciphertext_blob.encode(key.id, generation, message),
            EncryptionContext=context,
        )

    @rule(number=st.integers(0, 40))
    def decrypt_elsewhere(self, number: int) -> None:
        blob = self.blob(SM, number)
        for client in (self.kms[FIPS], self.stranger):
            with pytest.raises(TencentCloudSDKException) as caught:
                client.Decrypt(CiphertextBlob=blob.text)
            assert caught.value.code == "InvalidParameterValue.InvalidCiphertext"

    @rule(seconds=st.sampled_from((1, 3600, DAY - 1, DAY, 7 * DAY)))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    def pending(self) -> list[Key]:
        return [k for m in self.model.values() for k in m.keys if not k.is_gone(self.now) and k.deletion]

    @precondition(lambda self: self.pending())
    @rule(ms_before=st.sampled_from((0, 1, 2, 1000)))
    def wait_for_a_deletion(self, ms_before: int) -> None:
        """To the very moment, or just before it: the call that follows takes a millisecond."""
        at = min(k.deletion for k in self.pending()) * 1000 - ms_before
        if at > self.clock.now_ms():
            self.clock.advance((at - self.clock.now_ms()) / 1000)

    @rule()
    def sweep(self) -> None:
        self.run_job("delete_expired_keys", Model.sweep)

    @rule()
    def rotate_what_is_due(self) -> None:
        self.run_job("rotate_keys", Model.rotate_due)

    def run_job(self, job: str, expect: Callable[[Model, int], int]) -> None:
        outcomes = schedule.run(self.installation.service, job)
        for place, model in self.model.items():
            assert outcomes[place].finished
            assert (outcomes[place].done, outcomes[place].failed) == (expect(model, self.now), 0)

    @rule(place=places, number=numbers)
    def describe(self, place: str, number: int) -> None:
        key = self.key(place, number)
        expected: dict[str, Any] = {}

        def expect() -> None:
            expected.update(self.model[place].describe(key, self.now))

        answer = self.check(place, "DescribeKey", expect, KeyId=key.id)
        if answer is not None:
            assert {n: getattr(answer.KeyMetadata, n) for n in expected} == expected

    def teardown(self) -> None:
        """Whatever has happened: all that can be seen is as the model has it, and every ciphertext as it should be."""
        try:
            for place, model in self.model.items():
                alive = model.alive(self.now)
                listed = self.kms[place].ListKeyDetail(Limit=200, OrderType=1).KeyMetadatas
                expected = [model.describe(key, self.now) for key in alive]
                assert [
                    {n: getattr(m, n) for n in e} for m, e in zip(listed, expected, strict=True)
                ] == expected
                states = ("Enabled", "Disabled", "PendingImport")
                usual = [k.id for k in reversed(alive) if k.state in states]
                assert [k.KeyId for k in self.kms[place].ListKeys(Limit=200).Keys] == usual
                for blob in model.blobs:
                    context = next(text for text, members in CONTEXTS.items() if members == blob.context)
                    self.check(
                        place,
                        "Decrypt",
                        lambda m=model, b=blob, c=context: m.decrypt(b, c, self.now),  # type: ignore[misc]
                        CiphertextBlob=blob.text,
                        EncryptionContext=context,
                    )
        finally:
            self.patch.undo()
            self.installation.service.close()


TestKeys = KeyMachine.TestCase
TestKeys.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
