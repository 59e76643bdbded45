"""Random calls, answered by the real service and by a small model of the rules: every answer is the same.

The model is written from the product's rules alone and shares no code with the service.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tencentcloud.common import abstract_client
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from chalicelib.clock import ManualClock
from chalicelib.jobs import schedule
from tests.installation import FIPS, SM, Installation, sdk_time

pytestmark = pytest.mark.timeout(400)  # hypothesis needs minutes to make a failing run short

DAY = 86400
CURRENT = "SSM_Current"
NAMES = ("a", "ab", "b")
BAD_NAMES = ("", "-a", "a b", "a" * 129)
VERSIONS = tuple(f"v{i}" for i in range(12))
BAD_VERSIONS = ("", ".v", "v" * 65)
VALUES = {
    "text": ("x", ""),
    "more text": ("\u5bc6\u7801", ""),
    "longest text": ("\u00e9" * 2048, ""),
    "too long a text": ("\u00e9" * 2048 + "x", ""),
    "bytes": ("", "AP8="),
    "most bytes": ("", base64.b64encode(bytes(4096)).decode()),
    "too many bytes": ("", base64.b64encode(bytes(4097)).decode()),
    "none": ("", ""),
    "both": ("x", "eA=="),
}
"""SecretString and SecretBinary."""


class Refusal(Exception):
    """What the model answers instead of a result."""


@dataclass
class Version:
    id: str
    created_at: int
    text: str
    binary: str


@dataclass
class Secret:
    name: str
    created_ms: int
    description: str
    own_key: bool
    state: str = "Enabled"
    delete_at: int = 0
    versions: list[Version] = field(default_factory=list)

    def find(self, version_id: str) -> Version | None:
        return next((v for v in self.versions if v.id == version_id), None)

    def resolve(self, version_id: str) -> Version:
        """As reads and updates do it: SSM_Current is the newest version unless one is called so."""
        found = self.find(version_id)
        if found is None and version_id == CURRENT and self.versions:
            found = self.versions[-1]
        if found is None:
            raise Refusal("ResourceNotFound")
        return found


class Model:
    """One region of one account."""

    def __init__(self) -> None:
        self.secrets: dict[str, Secret] = {}
        self.own_key_enabled = True

    def is_gone(self, secret: Secret, now: int) -> bool:
        return secret.state == "PendingDelete" and secret.delete_at <= now

    def get(self, name: str, now: int) -> Secret:
        if name in BAD_NAMES:
            raise Refusal("InvalidParameterValue")
        secret = self.secrets.get(name)
        if secret is None or self.is_gone(secret, now):
            raise Refusal("ResourceNotFound")
        return secret

    @staticmethod
    def check_value(text: str, binary: str) -> None:
        size = len(text.encode()) or len(base64.b64decode(binary))
        if bool(text) == bool(binary) or size > 4096:
            raise Refusal("InvalidParameterValue")

    @staticmethod
    def check_ids(name: str, version_id: str = "v") -> None:
        if name in BAD_NAMES or version_id in BAD_VERSIONS:
            raise Refusal("InvalidParameterValue")

    def check_writable(self, secret: Secret) -> None:
        if secret.state == "PendingDelete":
            raise Refusal("FailedOperation")

    def check_key(self, *, own_key: bool) -> None:
        if own_key and not self.own_key_enabled:
            raise Refusal("FailedOperation.AccessKmsError")

    def create(
        self,
        now_ms: int,
        name: str,
        version_id: str | None,
        text: str,
        binary: str,
        description: str,
        *,
        own_key: bool,
    ) -> dict[str, Any]:
        self.check_ids(name, version_id if version_id is not None else CURRENT)
        if len(description.encode()) > 2048:
            raise Refusal("InvalidParameterValue")
        self.check_value(text, binary)
        self.check_key(own_key=own_key)
        now = now_ms // 1000
        old = self.secrets.get(name)
        if old is not None and not self.is_gone(old, now):
            raise Refusal("ResourceInUse.SecretExists")
        version = Version(version_id or CURRENT, now, text, binary)
        self.secrets[name] = Secret(name, now_ms, description, own_key, versions=[version])
        return {"SecretName": name, "VersionId": version.id, "TagCode": 0, "TagMsg": ""}

    def put(self, now: int, name: str, version_id: str, text: str, binary: str) -> dict[str, Any]:
        self.check_ids(name, version_id)
        self.check_value(text, binary)
        secret = self.get(name, now)
        self.check_writable(secret)
        self.check_key(own_key=secret.own_key)
        if secret.find(version_id):
            raise Refusal("ResourceInUse.VersionIdExists")
        if len(secret.versions) == 10:
            raise Refusal("LimitExceeded")
        secret.versions.append(Version(version_id, now, text, binary))
        return {"SecretName": name, "VersionId": version_id}

    def update(self, now: int, name: str, version_id: str, text: str, binary: str) -> dict[str, Any]:
        self.check_ids(name, version_id)
        self.check_value(text, binary)
        secret = self.get(name, now)
        self.check_writable(secret)
        version = secret.resolve(version_id)
        self.check_key(own_key=secret.own_key)
        version.text, version.binary = text, binary
        return {"SecretName": name, "VersionId": version.id}

    def read(self, now: int, name: str, version_id: str) -> dict[str, Any]:
        self.check_ids(name, version_id)
        secret = self.get(name, now)
        version = secret.resolve(version_id)
        if secret.state == "Disabled":
            raise Refusal("ResourceUnavailable.ResourceDisabled")
        if secret.state == "PendingDelete":
            raise Refusal("ResourceUnavailable.ResourcePendingDeleted")
        self.check_key(own_key=secret.own_key)
        return {
            "SecretName": name,
            "VersionId": version.id,
            "SecretString": version.text,
            "SecretBinary": version.binary,
        }

    def delete_version(self, now: int, name: str, version_id: str) -> dict[str, Any]:
        self.check_ids(name, version_id)
        secret = self.get(name, now)
        version = secret.find(version_id)
        if version is None:
            raise Refusal("ResourceNotFound")
        secret.versions.remove(version)
        return {"SecretName": name, "VersionId": version_id}

    def update_description(self, now: int, name: str, description: str) -> dict[str, Any]:
        self.check_ids(name)
        if len(description.encode()) > 2048:
            raise Refusal("InvalidParameterValue")
        secret = self.get(name, now)
        self.check_writable(secret)
        secret.description = description
        return {"SecretName": name}

    def switch(self, now: int, name: str, state: str) -> dict[str, Any]:
        secret = self.get(name, now)
        self.check_writable(secret)
        secret.state = state
        return {"SecretName": name}

    def delete(self, now: int, name: str, days: int) -> dict[str, Any]:
        self.check_ids(name)
        if not 0 <= days <= 30:
            raise Refusal("InvalidParameterValue")
        secret = self.get(name, now)
        if secret.state != "Disabled":
            raise Refusal("FailedOperation")
        if days == 0:
            del self.secrets[name]
        else:
            secret.state, secret.delete_at = "PendingDelete", now + days * DAY
        return {"SecretName": name, "DeleteTime": now + days * DAY, "FlowID": None}

    def restore(self, now: int, name: str) -> dict[str, Any]:
        secret = self.get(name, now)
        if secret.state != "PendingDelete":
            raise Refusal("FailedOperation")
        secret.state, secret.delete_at = "Disabled", 0
        return {"SecretName": name}

    def describe(self, now: int, name: str) -> dict[str, Any]:
        secret = self.get(name, now)
        return {
            "SecretName": name,
            "Description": secret.description,
            "Status": secret.state,
            "CreateTime": secret.created_ms // 1000,
            "DeleteTime": secret.delete_at,
        }

    def version_ids(self, now: int, name: str) -> dict[str, Any]:
        secret = self.get(name, now)
        newest_first = reversed(secret.versions)
        return {
            "SecretName": name,
            "Versions": [{"VersionId": v.id, "CreateTime": v.created_at} for v in newest_first],
        }

    def list_all(
        self, now: int, search: str, state: int, order: int, offset: int, limit: int
    ) -> dict[str, Any]:
        if limit > 1000 or state > 5:
            raise Refusal("InvalidParameterValue")
        state_name = {1: "Enabled", 2: "Disabled", 3: "PendingDelete"}.get(state, "")
        found = [
            s
            for s in sorted(self.secrets.values(), key=lambda s: s.created_ms, reverse=order == 0)
            if not self.is_gone(s, now) and search in s.name and (state == 0 or s.state == state_name)
        ]
        exact = [s for s in found if s.name == search]
        ordered = exact + [s for s in found if s.name != search]
        page = ordered[offset : offset + (limit or 20)]
        return {
            "TotalCount": len(found),
            "SecretMetadatas": [
                {**self.describe(now, s.name), "KmsKeyType": "CUSTOMER" if s.own_key else "DEFAULT"}
                for s in page
            ],
        }

    def sweep(self, now: int) -> int:
        gone = [name for name, s in self.secrets.items() if self.is_gone(s, now)]
        for name in gone:
            del self.secrets[name]
        return len(gone)


# Most draws are legal and meet: a few names and versions, two secrets at the start, and seldom a broken limit.
names = st.sampled_from(("a",) * 10 + ("ab",) * 6 + ("b", *BAD_NAMES[:1], *BAD_NAMES[-1:]))
versions = st.sampled_from(("v0",) * 8 + ("v1",) * 6 + (CURRENT,) * 4 + (*VERSIONS[2:4], *BAD_VERSIONS))
values = st.sampled_from(("text", "more text", "bytes") * 5 + tuple(VALUES))
sizes = st.sampled_from((0, 1, 2, 3, 4, 2047, 2048, 2049))
places = st.sampled_from((SM, FIPS))


class SecretMachine(RuleBasedStateMachine):
    """Two regions of one account, a clock, the sweep, and a key of the account's own in each region."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(int(time.time()))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(abstract_client, "time", sdk_time(self.clock))
        self.installation = Installation(self.clock)
        self.ssm = {place: self.installation.client("ssm", place) for place in (SM, FIPS)}
        self.kms = {place: self.installation.client("kms", place) for place in (SM, FIPS)}
        self.model = {place: Model() for place in (SM, FIPS)}
        self.own_key = {place: self.kms[place].CreateKey(Alias="own").KeyId for place in (SM, FIPS)}

    def check(self, place: str, action: str, expect: Callable[..., dict[str, Any]], **given: Any) -> None:
        """Call the service and the model, and compare: the whole answer, or the code."""
        self.clock.advance(0.001)  # so that no two things happen at the same time
        try:
            expected: dict[str, Any] | str = expect()
        except Refusal as refusal:
            expected = str(refusal)
        try:
            answer = getattr(self.ssm[place], action)(**given)._serialize(allow_none=True)
            found = _only(expected, answer)
        except TencentCloudSDKException as error:
            found = error.code
        assert found == expected

    @property
    def now(self) -> int:
        return self.clock.now()

    @initialize()
    def begin_with_secrets(self) -> None:
        for place in (SM, FIPS):
            self.create_with(place, "a", "v0", "text", 1, own_key=False)
            self.put(place, "a", "v1", "more text")
            self.create_with(place, "ab", None, "bytes", 0, own_key=True)

    @rule(place=places, name=names, version=st.none() | versions, value=values, size=sizes)
    def create(self, place: str, name: str, version: str | None, value: str, size: int) -> None:
        self.create_with(place, name, version, value, size, own_key=False)

    @rule(place=places, name=names, value=values)
    def create_with_own_key(self, place: str, name: str, value: str) -> None:
        self.create_with(place, name, "v0", value, 0, own_key=True)

    def create_with(
        self, place: str, name: str, version: str | None, value: str, size: int, *, own_key: bool
    ) -> None:
        given = {
            "SecretName": name,
            "SecretString": VALUES[value][0],
            "SecretBinary": VALUES[value][1],
            "Description": "d" * size,
        }
        if version is not None:
            given["VersionId"] = version
        if own_key:
            given["KmsKeyId"] = self.own_key[place]
        self.check(
            place,
            "CreateSecret",
            lambda: self.model[place].create(
                self.clock.now_ms(), name, version, *VALUES[value], "d" * size, own_key=own_key
            ),
            **given,
        )

    @rule(place=places, name=names, version=versions, value=values)
    def put(self, place: str, name: str, version: str, value: str) -> None:
        self.check(
            place,
            "PutSecretValue",
            lambda: self.model[place].put(self.now, name, version, *VALUES[value]),
            SecretName=name,
            VersionId=version,
            SecretString=VALUES[value][0],
            SecretBinary=VALUES[value][1],
        )

    @rule(place=places, name=st.sampled_from(NAMES[:2]))
    def put_until_it_is_full(self, place: str, name: str) -> None:
        for version in VERSIONS if name in self.model[place].secrets else VERSIONS[:1]:
            self.put(place, name, version, "text")

    @rule(place=places, name=names, version=versions, value=values)
    def update(self, place: str, name: str, version: str, value: str) -> None:
        self.check(
            place,
            "UpdateSecret",
            lambda: self.model[place].update(self.now, name, version, *VALUES[value]),
            SecretName=name,
            VersionId=version,
            SecretString=VALUES[value][0],
            SecretBinary=VALUES[value][1],
        )

    @rule(place=places, name=names, version=versions)
    def read(self, place: str, name: str, version: str) -> None:
        self.check(
            place,
            "GetSecretValue",
            lambda: self.model[place].read(self.now, name, version),
            SecretName=name,
            VersionId=version,
        )

    @rule(place=places, name=names, version=versions)
    def delete_version(self, place: str, name: str, version: str) -> None:
        self.check(
            place,
            "DeleteSecretVersion",
            lambda: self.model[place].delete_version(self.now, name, version),
            SecretName=name,
            VersionId=version,
        )

    @rule(place=places, name=names, size=sizes)
    def update_description(self, place: str, name: str, size: int) -> None:
        self.check(
            place,
            "UpdateDescription",
            lambda: self.model[place].update_description(self.now, name, "d" * size),
            SecretName=name,
            Description="d" * size,
        )

    @rule(place=places, name=names)
    def enable(self, place: str, name: str) -> None:
        self.check(
            place,
            "EnableSecret",
            lambda: self.model[place].switch(self.now, name, "Enabled"),
            SecretName=name,
        )

    @rule(place=places, name=names)
    def disable(self, place: str, name: str) -> None:
        self.check(
            place,
            "DisableSecret",
            lambda: self.model[place].switch(self.now, name, "Disabled"),
            SecretName=name,
        )

    @rule(place=places, name=names, days=st.sampled_from((0, 1, 1, 2, 2, 30, 31)))
    def delete(self, place: str, name: str, days: int) -> None:
        self.check(
            place,
            "DeleteSecret",
            lambda: self.model[place].delete(self.now, name, days),
            SecretName=name,
            RecoveryWindowInDays=days,
        )

    @rule(place=places, name=st.sampled_from(NAMES[:2]), days=st.sampled_from((0, 1, 30)))
    def disable_and_delete(self, place: str, name: str, days: int) -> None:
        self.disable(place, name)
        self.delete(place, name, days)

    @rule(place=places, name=names)
    def restore(self, place: str, name: str) -> None:
        self.check(place, "RestoreSecret", lambda: self.model[place].restore(self.now, name), SecretName=name)

    @rule(place=places, name=names)
    def describe(self, place: str, name: str) -> None:
        self.check(
            place, "DescribeSecret", lambda: self.model[place].describe(self.now, name), SecretName=name
        )

    @rule(place=places, name=names)
    def list_versions(self, place: str, name: str) -> None:
        self.check(
            place,
            "ListSecretVersionIds",
            lambda: self.model[place].version_ids(self.now, name),
            SecretName=name,
        )

    @rule(
        place=places,
        search=st.sampled_from(("", "", "a", "ab", "z")),
        state=st.sampled_from((0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6)),
        order=st.sampled_from((0, 1)),
        offset=st.integers(0, 3),
        limit=st.sampled_from((0, 0, 1, 1, 2, 2, 1000, 1001)),
    )
    def list_secrets(self, place: str, search: str, state: int, order: int, offset: int, limit: int) -> None:
        self.check(
            place,
            "ListSecrets",
            lambda: self.model[place].list_all(self.now, search, state, order, offset, limit),
            SearchSecretName=search,
            State=state,
            OrderType=order,
            Offset=offset,
            Limit=limit,
        )

    @rule(place=places)
    def switch_own_key(self, place: str) -> None:
        model = self.model[place]
        model.own_key_enabled = not model.own_key_enabled
        action = "EnableKey" if model.own_key_enabled else "DisableKey"
        getattr(self.kms[place], action)(KeyId=self.own_key[place])

    @rule(seconds=st.sampled_from((1, 60, DAY - 1, DAY, 30 * DAY)))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(ms_before=st.sampled_from((0, 1, 2, 1000)))
    def wait_for_a_deletion(self, ms_before: int) -> None:
        """To the very moment, or just before it: the call that follows takes a millisecond."""
        pending = [s.delete_at * 1000 for m in self.model.values() for s in m.secrets.values() if s.delete_at]
        ahead = [
            at - ms_before - self.clock.now_ms() for at in pending if at - ms_before > self.clock.now_ms()
        ]
        if ahead:
            self.clock.advance(min(ahead) / 1000)

    @rule()
    def sweep(self) -> None:
        outcomes = schedule.run(self.installation.service, "delete_expired_secrets")
        for place, model in self.model.items():
            assert outcomes[place].finished
            assert (outcomes[place].done, outcomes[place].failed) == (model.sweep(self.now), 0)

    def teardown(self) -> None:
        """Whatever has happened: all that can be seen is as the model has it."""
        try:
            for place, model in self.model.items():
                if not model.own_key_enabled:
                    self.switch_own_key(place)
                self.list_secrets(place, "", 0, 0, 0, 1000)
                for name, secret in list(model.secrets.items()):
                    self.describe(place, name)
                    self.list_versions(place, name)
                    for version in secret.versions:
                        self.read(place, name, version.id)
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


TestSecrets = SecretMachine.TestCase
TestSecrets.settings = settings(
    max_examples=30, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
