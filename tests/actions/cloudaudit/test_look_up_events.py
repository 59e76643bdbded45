"""LookUpEvents."""

import json
from typing import Any

import pytest

from chalicelib.clock import ManualClock
from tests.actions.cloudaudit.arrange import DAY, every_page
from tests.installation import FIPS, SM, Client, Installation, refused


@pytest.fixture
def cloudaudit(installation: Installation) -> Client:
    return installation.client("cloudaudit")


@pytest.fixture
def span(clock: ManualClock) -> dict[str, int]:
    return {"StartTime": clock.now() - 100, "EndTime": clock.now() + 100}


def look_up(client: Client, span: dict[str, int], **conditions: str) -> list[Any]:
    attributes = [{"AttributeKey": key, "AttributeValue": value} for key, value in conditions.items()]
    pages = every_page(client, "LookUpEvents", **span, LookupAttributes=attributes)
    return [event for page in pages for event in page]


def test_events_of_all_services_and_regions_newest_first(
    installation: Installation, cloudaudit: Client, clock: ManualClock, span: dict[str, int]
) -> None:
    made = []
    for service, region in (("ssm", SM), ("kms", FIPS), ("kms", SM), ("ssm", FIPS)):
        clock.advance(1)
        made.append(installation.client(service, region).GetRegions().RequestId)
    clock.advance(1)
    found = look_up(cloudaudit, span, EventName="GetRegions")
    assert [event.RequestID for event in found] == made[::-1]
    assert [event.ResourceRegion for event in found] == [FIPS, SM, FIPS, SM]
    assert [event.EventSource for event in found] == [
        f"{service}.tencentcloudapi.com" for service in ("ssm", "kms", "kms", "ssm")
    ]
    answer = cloudaudit.LookUpEvents(**span, MaxResults=50)
    assert [event.EventName for event in answer.Events] == [
        "LookUpEvents",
        *["GetRegions"] * 4,
        "CreateAccount",
    ]
    assert (answer.ListOver, answer.NextToken, answer.TotalCount) == (True, "", 6)


def test_what_an_event_says(installation: Installation, cloudaudit: Client, span: dict[str, int]) -> None:
    ssm = installation.client("ssm")
    made = ssm.CreateSecret(SecretName="a", VersionId="v", SecretString="hidden")
    (event,) = look_up(cloudaudit, span, RequestId=made.RequestId)
    root = installation.root
    assert (event.EventId, event.RequestID, event.Username) == (made.RequestId, made.RequestId, "root")
    assert (event.EventName, event.SecretId, event.AccountID) == (
        "CreateSecret",
        root.secret_id,
        int(root.uin),
    )
    assert (event.SourceIPAddress, event.ErrorCode) == ("192.0.2.1", 0)
    assert (event.Resources.ResourceType, event.Resources.ResourceName) == ("secret", "a")
    assert (event.ResourceRegion, event.EventRegion) == (SM, SM)
    assert event.ResourceTypeCn
    details = json.loads(event.CloudAuditEvent)
    assert details["userIdentity"] == {
        "principalId": root.uin,
        "accountId": root.uin,
        "secretId": root.secret_id,
        "userName": "root",
        "type": "Root",
        "sessionContext": {},
    }
    assert json.loads(details["requestParameters"]) == {
        "SecretName": "a",
        "VersionId": "v",
        "SecretString": "***",
    }
    assert details["actionType"] == "Write"
    assert (details["resourceType"], details["resourceName"]) == ("ssm", "a")
    assert (details["errorCode"], details["apiErrorCode"], details["sensitiveAction"]) == ("0", "0", 0)
    assert {
        "eventVersion", "eventID", "eventTime", "eventType", "eventSource", "eventRegion", "apiVersion", "httpMethod",
        "requestID", "responseElements", "resources", "resourceSet", "sourceIPAddress", "userAgent", "errorMessage",
        "apiErrorMessage", "eventPlatform", "tags",
    } < set(details)  # fmt: skip
    assert "hidden" not in event.CloudAuditEvent


def test_the_time_is_that_of_beijing(installation: Installation, clock: ManualClock) -> None:
    clock._ms = 1_800_000_000_999
    installation.client("ssm").GetRegions()
    (event,) = look_up(
        installation.client("cloudaudit"),
        {"StartTime": clock.now(), "EndTime": clock.now()},
        EventName="GetRegions",
    )
    assert event.EventTime == "2027-01-15 16:00:00"


def test_every_attribute_key(installation: Installation, cloudaudit: Client, span: dict[str, int]) -> None:
    ssm, kms = installation.client("ssm"), installation.client("kms")
    made = ssm.CreateSecret(SecretName="a", VersionId="v", SecretString="x").RequestId
    read = ssm.DescribeSecret(SecretName="a").RequestId
    key = kms.CreateKey(Alias="k")
    root = installation.root

    def ids_of(**conditions: str) -> set[str]:
        return {event.RequestID for event in look_up(cloudaudit, span, **conditions)}

    assert ids_of(RequestId=read) == {read}
    assert ids_of(RequestId="no such") == ids_of(RequestId="00000000-0000-4000-8000-000000000000") == set()
    assert ids_of(EventName="DescribeSecret") == {read}
    assert {made, key.RequestId} <= ids_of(ReadOnly="false")
    assert read in ids_of(ReadOnly="true")
    assert not {made, key.RequestId} & ids_of(ReadOnly="true")
    assert {made, read, key.RequestId} <= ids_of(Username="root")
    assert ids_of(Username=root.uin) >= {made, read, key.RequestId}
    assert ids_of(Username="nobody") == set()
    assert ids_of(ResourceType="kms") == ids_of(ResourceType="key") == {key.RequestId}
    assert ids_of(ResourceType="ssm") == ids_of(ResourceType="secret") == {made, read}
    assert ids_of(ResourceName="a") == {made, read}
    assert ids_of(ResourceName=key.KeyId) == {key.RequestId}
    assert {made, read, key.RequestId} <= ids_of(AccessKeyId=root.secret_id)
    assert ids_of(AccessKeyId="AKIDother") == set()
    assert ids_of(ResourceName="a", ReadOnly="true") == {read}


def test_a_change_of_many_keys_is_found_by_each(installation: Installation, span: dict[str, int]) -> None:
    kms, cloudaudit = installation.client("kms"), installation.client("cloudaudit")
    keys = [kms.CreateKey(Alias=f"k{n}").KeyId for n in range(3)]
    disabled = kms.DisableKeys(KeyIds=keys).RequestId
    for key in keys:
        found = look_up(cloudaudit, span, ResourceName=key, EventName="DisableKeys")
        assert [event.RequestID for event in found] == [disabled]
        resources = json.loads(found[0].CloudAuditEvent)["resources"]
        assert resources == [f"key/{each}" for each in keys]


def test_an_account_sees_its_own_events_only(installation: Installation, span: dict[str, int]) -> None:
    other = installation.add_account()
    theirs = installation.client("ssm", who=other)
    seen = theirs.CreateSecret(SecretName="a", VersionId="v", SecretString="x").RequestId
    ours = installation.client("cloudaudit")
    for conditions in (
        {},
        {"RequestId": seen},
        {"ResourceName": "a"},
        {"EventName": "CreateSecret"},
        {"Username": other.uin},
        {"AccessKeyId": other.secret_id},
    ):
        found = look_up(ours, span, **conditions)
        assert {event.AccountID for event in found} <= {int(installation.root.uin)}
        assert seen not in {event.RequestID for event in found}
    assert seen in {e.RequestID for e in look_up(installation.client("cloudaudit", who=other), span)}


def test_unknown_callers_are_in_nobodys_trail(installation: Installation, span: dict[str, int]) -> None:
    stranger = type(installation.root)("1", "AKIDstranger", "x")
    with refused("AuthFailure.SecretIdNotFound") as caught:
        installation.client("ssm", who=stranger).GetRegions()
    cloudaudit = installation.client("cloudaudit")
    assert look_up(cloudaudit, span, RequestId=str(caught.value.requestId)) == []
    assert look_up(cloudaudit, span, AccessKeyId="AKIDstranger") == []


def test_pages_lose_and_repeat_nothing(
    installation: Installation, cloudaudit: Client, span: dict[str, int]
) -> None:
    """All at one millisecond: the position has to tell them apart."""
    ssm = installation.client("ssm")
    made = {ssm.GetRegions().RequestId for _ in range(40)}
    for size in (1, 7, 50):
        pages = list(
            every_page(
                cloudaudit,
                "LookUpEvents",
                **span,
                MaxResults=size,
                LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "GetRegions"}],
            )
        )
        found = [event.RequestID for page in pages for event in page]
        assert len(found) == len(set(found)) == 40
        assert set(found) == made
        assert max(map(len, pages)) <= size + 1


def test_a_user_without_a_policy_may_not(installation: Installation, span: dict[str, int]) -> None:
    user = installation.add_user("ann")
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        installation.client("cloudaudit", who=user).LookUpEvents(**span)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"StartTime": None}, "InvalidParameter.Time"),
        ({"EndTime": None}, "InvalidParameter.Time"),
        ({"StartTime": 10, "EndTime": 9}, "InvalidParameterValue.Time"),
        ({"StartTime": 1000, "EndTime": 1000 + 7 * DAY + 1}, "LimitExceeded.OverTime"),
        ({"MaxResults": 0}, "InvalidParameterValue.MaxResult"),
        ({"MaxResults": 51}, "InvalidParameterValue.MaxResult"),
        ({"Mode": "slow"}, "InvalidParameter"),
        ({"NextToken": "x"}, "InvalidParameter"),
        ({"NextToken": "9" * 16}, "InvalidParameter"),
        (
            {"LookupAttributes": [{"AttributeKey": "Tags", "AttributeValue": "x"}]},
            "InvalidParameterValue.attributeKey",
        ),
        ({"LookupAttributes": [{"AttributeKey": "ReadOnly", "AttributeValue": "x"}]}, "InvalidParameter"),
        ({"LookupAttributes": [{"AttributeKey": "EventName"}]}, "MissingParameter"),
        (
            {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "x"}] * 11},
            "InvalidParameterValue.attributeKey",
        ),
    ],
)
def test_limits(cloudaudit: Client, span: dict[str, int], change: dict[str, Any], code: str) -> None:
    with refused(code):
        cloudaudit.LookUpEvents(**{**span, **change})


@pytest.mark.parametrize("mode", ["standard", "quick"])
def test_both_modes_answer_alike(cloudaudit: Client, clock: ManualClock, mode: str) -> None:
    answer = cloudaudit.LookUpEvents(StartTime=clock.now() - 7 * DAY, EndTime=clock.now(), Mode=mode)
    assert [event.EventName for event in answer.Events] == ["CreateAccount"]


def test_a_name_that_is_given_anew_hides_nothing_of_who_had_it(
    installation: Installation, cloudaudit: Client, span: dict[str, int]
) -> None:
    """Whoever may make users must not be able to bury what somebody did."""
    first = installation.add_user("ann")
    with refused("AuthFailure.UnauthorizedOperation") as denied:
        installation.client("kms", who=first).ListKeys()
    installation.client("cam").DeleteUser(Name="ann", Force=1)
    installation.add_user("ann")
    found = {event.RequestID for event in look_up(cloudaudit, span, Username="ann")}
    assert denied.value.requestId in found
