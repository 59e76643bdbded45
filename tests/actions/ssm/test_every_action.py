"""What holds for every action of Secrets Manager: refusals by the pipeline, isolation, dry runs, the audit trail."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from chalicelib.api.registry import names as actions_of
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.table.port import Busy, Op, Row, Table
from chalicelib.table.sqlite import SqliteTable
from tests.actions.ssm.arrange import (
    CALLS,
    DAY,
    NAMED,
    STATE_FOR,
    VALUE,
    code,
    event_rows,
    events,
    make,
    names,
    outputs,
    status,
    value,
    versions,
)
from tests.installation import FIPS, SM, Client, Installation, refused

READS = {
    "DescribeSecret",
    "GetRegions",
    "GetSecretValue",
    "GetServiceStatus",
    "ListSecretVersionIds",
    "ListSecrets",
}
WITH_VERSION = ("CreateSecret", "DeleteSecretVersion", "GetSecretValue", "PutSecretValue", "UpdateSecret")


def prepared(ssm: Client, action: str) -> None:
    """Make the secret `s` in the state in which the action succeeds."""
    make(ssm, state=STATE_FOR.get(action, "Enabled"))


def everything(ssm: Client, kms: Client) -> Any:
    """All that the API shows of an account's region, without request ids."""
    secrets = names(ssm)
    return {
        "lists": outputs(ssm.ListSecrets(Limit=1000)),
        "secrets": [outputs(ssm.DescribeSecret(SecretName=name)) for name in secrets],
        "versions": [outputs(ssm.ListSecretVersionIds(SecretName=name)) for name in secrets],
        "keys": [outputs(kms.ListKeys(Role=role)) for role in (0, 1)],
    }


def test_the_fifteen_actions_are_covered_here() -> None:
    own = {"ReplicateSecret", "StopSecretReplication"}  # no model of the SDK knows these
    assert set(actions_of("ssm")) - own == set(CALLS)
    assert len(CALLS) == 15


@pytest.mark.parametrize("action", CALLS)
def test_a_call_leaves_one_event_that_says_who_did_what_to_which_secret(
    installation: Installation, ssm: Client, action: str
) -> None:
    prepared(ssm, action)
    installation.clock.advance(1)
    request_id = getattr(ssm, action)(**CALLS[action]).RequestId
    (event,) = [e for e in events(installation) if e["at"] == installation.clock.now_ms()]
    name = CALLS[action].get("SecretName")
    shown = {k: v for k, v in CALLS[action].items() if v != VALUE}
    masked = dict.fromkeys((k for k, v in CALLS[action].items() if v == VALUE), "***")
    assert event.pop("agent")
    assert event.pop("chain")
    assert event == {
        "id": request_id,
        "at": installation.clock.now_ms(),
        "service": "ssm",
        "action": action,
        "version": "2019-09-23",
        "region": SM,
        "read": action in READS,
        "account": installation.root.uin,
        "uin": installation.root.uin,
        "user": "root",
        "user_type": "Root",
        "secret_id": installation.root.secret_id,
        "auth": "TC3-HMAC-SHA256",
        "ip": "192.0.2.1",
        **({"parameters": {**shown, **masked}} if CALLS[action] else {}),
        **({"resources": [f"secret/{name}"]} if name else {}),
    }
    rows = event_rows(installation)
    assert not any(VALUE.encode() in row.body or VALUE in json.dumps(dict(row.index)) for row in rows)


@pytest.mark.parametrize("action", NAMED)
def test_an_event_is_found_by_the_secret_it_concerns(
    installation: Installation, ssm: Client, action: str
) -> None:
    prepared(ssm, action)
    request_id = getattr(ssm, action)(**CALLS[action]).RequestId
    (row,) = [r for r in event_rows(installation) if r.sk.endswith(request_id)]
    shard = row.pk.rpartition("#")[2]
    found = installation.service.table(SM).by_index("resource", f"{installation.root.uin}#s#{shard}")
    assert request_id in [r.sk.partition("#")[2] for r in found]


@pytest.mark.parametrize("action", CALLS)
def test_a_user_without_permission_is_refused_and_recorded(
    installation: Installation, ssm: Client, action: str
) -> None:
    prepared(ssm, action)
    user = installation.add_user("alice")
    client = installation.client("ssm", who=user)
    with refused("AuthFailure.UnauthorizedOperation") as caught:
        getattr(client, action)(**CALLS[action])
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert (event["action"], event["user"], event["error"]) == (action, "alice", caught.value.code)
    # Nobody learns by a refusal which secrets exist.
    if action in NAMED:
        with refused("AuthFailure.UnauthorizedOperation"):
            getattr(client, action)(**{**CALLS[action], "SecretName": "no-such-secret"})


@pytest.mark.parametrize("action", CALLS)
def test_a_dry_run_answers_dry_run_operation_and_leaves_nothing(
    installation: Installation, ssm: Client, kms: Client, action: str
) -> None:
    if action != "CreateSecret":  # which shall not leave the default key behind either
        prepared(ssm, action)
    before = everything(ssm, kms)
    with refused("DryRunOperation") as caught:
        ssm.call_raw(action, {**CALLS[action], "DryRun": True})
    assert VALUE not in str(caught.value)
    assert everything(ssm, kms) == before
    if action not in {"CreateSecret", "RestoreSecret", "DeleteSecret"}:
        assert value(ssm) == VALUE


def test_a_dry_run_is_refused_like_the_call_itself(ssm: Client) -> None:
    make(ssm)
    for action, given, code_ in (
        ("CreateSecret", {"SecretName": "s", "SecretString": "x"}, "ResourceInUse.SecretExists"),
        ("DeleteSecret", {"SecretName": "s"}, "FailedOperation"),
        (
            "PutSecretValue",
            {"SecretName": "s", "VersionId": "v1", "SecretString": "x"},
            "ResourceInUse.VersionIdExists",
        ),
    ):
        with refused(code_):
            ssm.call_raw(action, {**given, "DryRun": True})


@pytest.mark.parametrize("action", NAMED)
def test_an_unknown_secret_is_resource_not_found_in_a_dry_run_too(
    installation: Installation, ssm: Client, action: str
) -> None:
    with refused("ResourceNotFound") as caught:
        getattr(ssm, action)(**CALLS[action])
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert (event["error"], event["resources"]) == ("ResourceNotFound", ["secret/s"])
    with refused("ResourceNotFound"):
        ssm.call_raw(action, {**CALLS[action], "DryRun": True})


@pytest.mark.parametrize("action", NAMED)
def test_another_region_and_another_account_do_not_have_the_secret(
    installation: Installation, ssm: Client, kms: Client, action: str
) -> None:
    prepared(ssm, action)
    before = everything(ssm, kms)
    elsewhere = installation.client("ssm", region=FIPS)
    somebody = installation.client("ssm", who=installation.add_account())
    for client in (elsewhere, somebody):
        with refused("ResourceNotFound"):
            getattr(client, action)(**CALLS[action])
    assert everything(ssm, kms) == before


@pytest.mark.parametrize("action", NAMED)
def test_a_secret_is_gone_at_its_deletion_time_before_any_sweep(
    installation: Installation, ssm: Client, action: str
) -> None:
    make(ssm, state="PendingDelete")
    installation.clock.advance(DAY - 1)
    assert status(ssm) == "PendingDelete"
    installation.clock.advance(1)
    with refused("ResourceNotFound"):
        getattr(ssm, action)(**CALLS[action])
    assert outputs(ssm.ListSecrets()) == {"TotalCount": 0, "SecretMetadatas": []}


def test_in_the_last_second_before_its_deletion_time_a_secret_can_be_restored(
    installation: Installation, ssm: Client
) -> None:
    make(ssm, state="PendingDelete")
    installation.clock.advance(DAY - 0.001)
    ssm.RestoreSecret(SecretName="s")
    installation.clock.advance(DAY)
    assert status(ssm) == "Disabled"


@pytest.mark.parametrize("action", CALLS)
def test_a_parameter_that_the_action_does_not_have_is_unknown(ssm: Client, action: str) -> None:
    prepared(ssm, action)
    with refused("UnknownParameter") as caught:
        ssm.call_raw(action, {**CALLS[action], "Surprise": VALUE})
    assert "Surprise" in str(caught.value)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("action", CALLS)
def test_every_required_parameter_is_missed_by_name(ssm: Client, action: str) -> None:
    prepared(ssm, action)
    required = set(CALLS[action]) - {"SecretString"}
    if action == "CreateSecret":
        required -= {"VersionId", "Description"}
    for name in sorted(required):
        for given in (
            {k: v for k, v in CALLS[action].items() if k != name},
            {**CALLS[action], name: None},
        ):
            with refused("MissingParameter") as caught:
                ssm.call_raw(action, given)
            assert name in str(caught.value)


@pytest.mark.parametrize("action", CALLS)
def test_a_region_is_needed_by_all_but_get_regions(installation: Installation, action: str) -> None:
    nowhere = installation.client("ssm", region="")
    if action == "GetRegions":
        assert SM in nowhere.GetRegions().Regions
        return
    with refused("MissingParameter"):
        getattr(nowhere, action)(**CALLS[action])
    with refused("UnsupportedRegion"):
        getattr(installation.client("ssm", region="ap-nowhere"), action)(**CALLS[action])


@pytest.mark.parametrize("action", [*NAMED, "CreateSecret"])
def test_limits_of_a_name(ssm: Client, action: str) -> None:
    for name in ("a", "0", "A-_9", "a" * 128):
        # The name passes, and nothing has it.
        accepted = code(lambda n=name: getattr(ssm, action)(**{**CALLS[action], "SecretName": n}))  # type: ignore[misc]
        assert accepted == ("ok" if action == "CreateSecret" else "ResourceNotFound")
    for name in ("", "a" * 129, "-a", "_a", "a b", "a.b", "a/b", "a#b", "\u00e9", "a\n", "\uff11"):
        with refused("InvalidParameterValue"):
            getattr(ssm, action)(**{**CALLS[action], "SecretName": name})
    for wrong in (1, True, ["a"], {"a": "b"}):
        with refused("InvalidParameter"):
            ssm.call_raw(action, {**CALLS[action], "SecretName": wrong})


@pytest.mark.parametrize("action", WITH_VERSION)
def test_limits_of_a_version_id(ssm: Client, action: str) -> None:
    for i, version in enumerate(("a", "0", "A-_.9", "a" * 64)):
        call = {**CALLS[action], "SecretName": f"s{i}", "VersionId": version}
        if action not in {"CreateSecret", "PutSecretValue"}:
            make(ssm, f"s{i}", VersionId=version)
        elif action == "PutSecretValue":
            make(ssm, f"s{i}", VersionId="another")
        assert getattr(ssm, action)(**call).VersionId == version
    for version in ("", "a" * 65, "-a", "_a", ".a", "a b", "a#b", "\u00e9", "a\n"):
        with refused("InvalidParameterValue"):
            getattr(ssm, action)(**{**CALLS[action], "SecretName": "s0", "VersionId": version})
    with refused("InvalidParameter"):
        ssm.call_raw(action, {**CALLS[action], "SecretName": "s0", "VersionId": 1})


class BrokenTable(SqliteTable):
    """A table that can be taken out of reach: for reads, or for writes."""

    reads_fail = writes_fail = False

    def get(self, pk: str, sk: str) -> Row | None:
        if self.reads_fail:
            raise Busy
        return super().get(pk, sk)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        if self.reads_fail:
            raise Busy
        return super().batch_get(keys)

    def query(self, *args: Any, **kwargs: Any) -> list[Row]:
        if self.reads_fail:
            raise Busy
        return super().query(*args, **kwargs)

    def write(self, ops: Sequence[Op]) -> None:
        if self.writes_fail:
            raise Busy
        super().write(ops)


class Breakable(Installation):
    def open_table(self, domain: str) -> Table:
        return super().open_table(domain) if domain == IDENTITY else BrokenTable(":memory:", self.clock)

    @property
    def region(self) -> BrokenTable:
        table = self.service.table(SM)
        assert isinstance(table, BrokenTable)
        return table


@pytest.mark.parametrize("action", sorted(set(CALLS) - {"GetRegions", "GetServiceStatus"}))
def test_a_table_that_cannot_be_read_is_an_internal_error(clock: ManualClock, action: str) -> None:
    installation = Breakable(clock)
    ssm, kms = installation.client("ssm"), installation.client("kms")
    prepared(ssm, action)
    before = everything(ssm, kms)
    installation.region.reads_fail = True
    with refused("InternalError") as caught:
        getattr(ssm, action)(**CALLS[action])
    assert VALUE not in str(caught.value)
    installation.region.reads_fail = False
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert (event["action"], event["error"]) == (action, "InternalError")
    assert everything(ssm, kms) == before


@pytest.mark.parametrize("action", ["CreateSecret", "GetRegions", "GetSecretValue", "GetServiceStatus"])
def test_what_cannot_be_recorded_is_not_answered(clock: ManualClock, action: str) -> None:
    installation = Breakable(clock)
    ssm, kms = installation.client("ssm"), installation.client("kms")
    prepared(ssm, action)
    before = everything(ssm, kms)
    installation.region.writes_fail = True
    with refused("InternalError"):
        getattr(ssm, action)(**CALLS[action])
    installation.region.writes_fail = False
    assert everything(ssm, kms) == before


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sign", ["HmacSHA1", "HmacSHA256", "TC3-HMAC-SHA256"])
def test_every_signature_method_carries_every_kind_of_parameter(
    installation: Installation, sign: str, method: str
) -> None:
    ssm = installation.client("ssm", sign=sign)
    ssm.sdk.profile.httpProfile.reqMethod = method
    tags = [{"TagKey": "team", "TagValue": "\u7ec4 & = +"}, {"TagKey": "empty", "TagValue": ""}]
    ssm.CreateSecret(
        SecretName="s", VersionId="v1", SecretBinary="+/8=", Description="a b&c=\u00e9", Tags=tags
    )
    ssm.PutSecretValue(SecretName="s", VersionId="v2", SecretString="a+b c%20")
    assert ssm.GetSecretValue(SecretName="s", VersionId="v1").SecretBinary == "+/8="
    assert ssm.GetSecretValue(SecretName="s", VersionId="SSM_Current").SecretString == "a+b c%20"
    assert ssm.DescribeSecret(SecretName="s").Description == "a b&c=\u00e9"
    team = [{"TagKey": "team", "TagValue": ["x", "\u7ec4 & = +"]}, {"TagKey": "empty", "TagValue": [""]}]
    assert names(ssm, TagFilters=team, Offset=0, OrderType=1) == ["s"]
    ssm.UpdateDescription(SecretName="s", Description="")
    assert ssm.DescribeSecret(SecretName="s").Description == ""
    ssm.DisableSecret(SecretName="s")
    deleted = ssm.DeleteSecret(SecretName="s", RecoveryWindowInDays=30, CleanSSHKey=False)
    assert deleted.DeleteTime == installation.clock.now() + 30 * DAY
    assert versions(ssm) == ["v2", "v1"]
    with refused("FailedOperation"):
        ssm.EnableSecret(SecretName="s")
