"""DescribeEvents."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import ids
from chalicelib.audit import Event
from chalicelib.audit.search import MOST_LOOKED_AT
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.settings import Settings
from chalicelib.table.port import Expect, Put
from tests.actions.cloudaudit.arrange import DAY, Counted, every_page
from tests.installation import FIPS, SM, Client, Installation, refused


@pytest.fixture
def cloudaudit(installation: Installation) -> Client:
    return installation.client("cloudaudit")


@pytest.fixture
def span(clock: ManualClock) -> dict[str, int]:
    return {"StartTime": clock.now() - DAY, "EndTime": clock.now() + DAY}


def describe(client: Client, span: dict[str, int], *conditions: tuple[str, str], **more: Any) -> list[Any]:
    attributes = [{"AttributeKey": key, "AttributeValue": value} for key, value in conditions]
    pages = every_page(client, "DescribeEvents", **span, LookupAttributes=attributes, **more)
    return [event for page in pages for event in page]


def test_what_is_answered(installation: Installation, cloudaudit: Client, span: dict[str, int]) -> None:
    made = installation.client("ssm", FIPS).GetRegions().RequestId
    answer = cloudaudit.DescribeEvents(
        **span, LookupAttributes=[{"AttributeKey": "RequestId", "AttributeValue": made}], IsReturnLocation=1
    )
    (event,) = answer.Events
    assert (answer.ListOver, answer.NextToken, answer.TotalCount) == (True, 0, 1)
    assert (event.RequestID, event.EventTime) == (made, str(installation.clock.now()))
    assert json.loads(event.CloudAuditEvent)["eventRegion"] == FIPS


def test_every_attribute_key(installation: Installation, cloudaudit: Client, span: dict[str, int]) -> None:
    ssm, kms = installation.client("ssm"), installation.client("kms")
    made = ssm.CreateSecret(
        SecretName="a", VersionId="v", SecretString="x", Tags=[{"TagKey": "team", "TagValue": "red"}]
    ).RequestId
    got = ssm.GetSecretValue(SecretName="a", VersionId="v").RequestId
    with refused("ResourceInUse.SecretExists") as caught:
        ssm.CreateSecret(SecretName="a", VersionId="v", SecretString="x")
    again = str(caught.value.requestId)
    key = kms.CreateKey(Alias="k")
    root = installation.root

    def ids_of(*conditions: tuple[str, str]) -> set[str]:
        return {event.RequestID for event in describe(cloudaudit, span, *conditions)}

    assert ids_of(("RequestId", got)) == {got}
    assert ids_of(("EventName", "CreateSecret")) == {made, again}
    assert ids_of(("EventName", "CreateSecret"), ("EventName", "CreateKey")) == {made, again, key.RequestId}
    assert got in ids_of(("ActionType", "Read"))
    assert {made, again, key.RequestId} == ids_of(("ActionType", "Write")) - ids_of(
        ("EventName", "CreateAccount")
    )
    assert {made, got, again, key.RequestId} <= ids_of(("PrincipalId", root.uin))
    assert ids_of(("PrincipalId", "123")) == set()
    assert ids_of(("ResourceType", "kms")) == {key.RequestId}
    assert ids_of(("ResourceId", key.KeyId)) == ids_of(("ResourceName", key.KeyId)) == {key.RequestId}
    assert {made, got} <= ids_of(("AccessKeyId", root.secret_id))
    assert ids_of(("SensitiveAction", "1")) == {got}
    assert got not in ids_of(("SensitiveAction", "0"))
    assert ids_of(("ApiErrorCode", "ResourceInUse.SecretExists")) == {again}
    assert ids_of(("CamErrorCode", "ResourceInUse.SecretExists")) == set()
    assert {made, got} <= ids_of(("SourceIPAddress", "192.0.2.1"))
    assert ids_of(("SourceIPAddress", "192.0.2.2")) == set()
    assert ids_of(("Tags", '[{"key":"team","value":"red"}]')) == {made}
    assert ids_of(("Tags", '[{"key":"team","value":"blue"}]')) == set()
    assert ids_of(("ResourceName", "a"), ("ActionType", "Read"), ("SensitiveAction", "1")) == {got}


def test_a_denial_is_recorded_with_its_actor(installation: Installation, span: dict[str, int]) -> None:
    user = installation.add_user("ann")
    with pytest.raises(Exception, match="UnauthorizedOperation") as caught:
        installation.client("ssm", who=user).GetSecretValue(SecretName="a", VersionId="v")
    cloudaudit = installation.client("cloudaudit")
    code = caught.value.code  # type: ignore[attr-defined]
    (event,) = describe(cloudaudit, span, ("CamErrorCode", code))
    assert (event.Username, event.SecretId, event.ErrorCode) == ("ann", user.secret_id, 1)
    details = json.loads(event.CloudAuditEvent)
    assert (details["errorCode"], details["apiErrorCode"]) == (code, "0")
    assert details["userIdentity"]["principalId"] == user.uin
    assert describe(cloudaudit, span, ("PrincipalId", user.uin))[0].RequestID == event.RequestID


def test_a_user_without_a_policy_may_not(installation: Installation, span: dict[str, int]) -> None:
    user = installation.add_user("ann")
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        installation.client("cloudaudit", who=user).DescribeEvents(**span)


def test_limits(cloudaudit: Client, clock: ManualClock, span: dict[str, int]) -> None:
    for change, code in (
        ({"StartTime": clock.now() - 91 * DAY, "EndTime": clock.now() - 90 * DAY}, "InvalidParameter"),
        ({"StartTime": clock.now(), "EndTime": clock.now() - 1}, "InvalidParameter"),
        ({"StartTime": clock.now() - 31 * DAY, "EndTime": clock.now()}, "InvalidParameter"),
        ({"EndTime": 10**10}, "InvalidParameter"),
        ({"MaxResults": 51}, "LimitExceeded.OverAmount"),
        ({"MaxResults": 0}, "LimitExceeded.OverAmount"),
        ({"NextToken": -1}, "InvalidParameter"),
        ({"NextToken": 2**53}, "InvalidParameter"),
        ({"IsReturnLocation": 2}, "InvalidParameter"),
        ({"LookupAttributes": [{"AttributeKey": "Username", "AttributeValue": "x"}]}, "InvalidParameter"),
        ({"LookupAttributes": [{"AttributeKey": "ActionType", "AttributeValue": "x"}]}, "InvalidParameter"),
        (
            {"LookupAttributes": [{"AttributeKey": "SensitiveAction", "AttributeValue": "2"}]},
            "InvalidParameter",
        ),
        ({"LookupAttributes": [{"AttributeKey": "Tags", "AttributeValue": "x"}]}, "InvalidParameter"),
        (
            {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "x"}] * 11},
            "LimitExceeded.OverAmount",
        ),
    ):
        with refused(code):
            cloudaudit.DescribeEvents(**{**span, **change})


def test_both_ends_are_included(installation: Installation, cloudaudit: Client, clock: ManualClock) -> None:
    at = clock.now()
    clock.advance(0.999)
    made = installation.client("ssm").GetRegions().RequestId
    for start, end, found in ((at, at, 1), (at + 1, at + 5, 0), (at - 5, at - 1, 0)):
        events = describe(cloudaudit, {"StartTime": start, "EndTime": end}, ("EventName", "GetRegions"))
        assert [event.RequestID for event in events] == [made] * found


def test_events_are_found_as_long_as_they_are_kept(clock: ManualClock) -> None:
    """Thirty days, through a month without a call: pages may be empty before the end."""
    installation = Counted(clock, Settings(throttle=False, audit_days=30))
    made = installation.client("ssm").GetRegions().RequestId
    cloudaudit = installation.client("cloudaudit")
    clock.advance(29 * DAY)
    span = {"StartTime": clock.now() - 30 * DAY, "EndTime": clock.now()}
    pages = list(every_page(cloudaudit, "DescribeEvents", **span))
    assert 2 < len(pages) < 6
    assert [event.RequestID for page in pages for event in page if event.EventName == "GetRegions"] == [made]
    clock.advance(DAY + 1)
    assert describe(cloudaudit, span, ("RequestId", made)) == []


def test_a_row_that_cannot_be_read_is_passed_over(
    installation: Installation, cloudaudit: Client, span: dict[str, int]
) -> None:
    made = installation.client("ssm").GetRegions().RequestId
    table = installation.service.table(SM)
    row = next(
        row
        for shard in range(8)
        for row in table.by_index("action", f"{installation.root.uin}#GetRegions#{shard}")
    )
    table.write([Put(replace(row, sk=row.sk + "#9", body=b"junk"), Expect.ABSENT)])
    assert [event.RequestID for event in describe(cloudaudit, span, ("EventName", "GetRegions"))] == [made]


def test_an_event_of_another_account_is_not_shown_whatever_its_row_says(
    installation: Installation, cloudaudit: Client, span: dict[str, int]
) -> None:
    """Whoever writes the table can put another account's event into this one's index."""
    other = installation.add_account()
    made = installation.client("ssm", who=other).GetRegions().RequestId
    table = installation.service.table(SM)
    row = next(
        row for shard in range(8) for row in table.by_index("action", f"{other.uin}#GetRegions#{shard}")
    )
    shard = row.pk.rpartition("#")[2]
    index = {"action": f"{installation.root.uin}#GetRegions#{shard}"}
    table.write([Put(replace(row, index=index), Expect.EXISTS)])
    assert describe(cloudaudit, span, ("EventName", "GetRegions")) == []
    table.write([Put(replace(row, pk=row.pk.replace(other.uin, installation.root.uin)), Expect.ABSENT)])
    assert describe(cloudaudit, span, ("RequestId", made)) == []


# Ten thousand events


@pytest.fixture
def crowd(clock: ManualClock) -> Iterator[Counted]:
    """10,000 events of three users, two of them gone, within three days; one of a thousand is special."""
    installation = Counted(clock)
    account = installation.root.uin
    domains = (SM, FIPS, IDENTITY)
    start = clock.now_ms() - 3 * DAY * 1000
    for number in range(10_000):
        at_ms = start + number * 25_000
        is_rare = number % 1000 == 999
        event = Event(
            id=ids.request_id(at_ms),
            at_ms=at_ms,
            service="kms",
            action="ScheduleKeyDeletion" if is_rare else "Encrypt",
            region=SM,
            is_read=not is_rare,
            account=account,
            uin="900000000001" if is_rare else account,
            user_name="rare" if is_rare else "root",
            user_type="CAMUser" if is_rare else "Root",
            secret_id="AKIDgone" if is_rare else installation.root.secret_id,
            source_ip="198.51.100.9" if is_rare else "192.0.2.1",
            error_code="UnauthorizedOperation"
            if is_rare
            else "FailedOperation"
            if number % 1000 == 1
            else "",
            parameters={"Tags": [{"TagKey": "a", "TagValue": "b"}]} if is_rare else {},
        )
        event.note("key", "victim" if is_rare else f"key-{number % 50}")
        installation.put(domains[number % 3], event)
    yield installation
    installation.service.close()


@pytest.mark.slow
def test_each_page_takes_a_bounded_number_of_reads(crowd: Counted, clock: ManualClock) -> None:
    """With an index, a page costs a read for each shard and table, and some more; without, 2,000 events are looked at."""
    client = crowd.client("cloudaudit")
    span = {"StartTime": clock.now() - 4 * DAY, "EndTime": clock.now() - 1}
    shards = 8 * (1 + len(crowd.settings.regions))
    page_of = 3 + MOST_LOOKED_AT // 100 + shards  # whom the caller is; refills; the first read of each
    served = {
        "RequestId": None,
        "EventName": "ScheduleKeyDeletion",
        "PrincipalId": "900000000001",
        "ResourceId": "victim",
        "ResourceName": "victim",
        "CamErrorCode": "UnauthorizedOperation",
        "ApiErrorCode": "FailedOperation",
    }
    looked_through = {
        "ActionType": "Write",
        "SensitiveAction": "1",
        "AccessKeyId": "AKIDgone",
        "SourceIPAddress": "198.51.100.9",
        "Tags": '[{"key":"a","value":"b"}]',
    }
    said = []
    for key, value in {**served, **looked_through, "ResourceType": "kms"}.items():
        wanted = value or crowd_request_id(client, span)
        attributes = [{"AttributeKey": key, "AttributeValue": wanted}]
        crowd.reads.clear()
        counts = []
        found = []
        for page in every_page(client, "DescribeEvents", **span, LookupAttributes=attributes, MaxResults=50):
            counts.append(len(crowd.reads))
            crowd.reads.clear()
            found += page
            if key == "ResourceType" and len(found) >= 500:
                break
        said.append(f"{key}: {len(found)} events, {len(counts)} pages, at most {max(counts)} reads a page")
        assert len(found) == {"RequestId": 1, "ResourceType": 500}.get(key, 10), key
        # Without an index each day of the page is another partition.
        assert max(counts) <= (page_of if key in served else 5 * shards + page_of), key
        assert len(counts) <= (1 if key in served else 10), key
    print("\n" + "\n".join(said))


def crowd_request_id(client: Client, span: dict[str, int]) -> str:
    """The id of one of the crowd's calls."""
    page = client.DescribeEvents(
        **span, LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": "victim"}]
    )
    return str(page.Events[3].RequestID)


@pytest.mark.slow
def test_all_of_them_page_by_page(crowd: Counted, clock: ManualClock) -> None:
    client = crowd.client("cloudaudit")
    span = {"StartTime": clock.now() - 4 * DAY, "EndTime": clock.now() - 1}
    times = []
    for page in every_page(client, "DescribeEvents", **span, MaxResults=50):
        assert len(crowd.reads) < 300
        crowd.reads.clear()
        times += [(event.EventTime, event.RequestID) for event in page]
    assert len(times) == len(set(times)) == 10_000
    assert [at for at, _ in times] == sorted((at for at, _ in times), reverse=True)
