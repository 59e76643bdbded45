from typing import Any

import pytest

from tests import permissions
from tests.actions.tag.arrange import add_key, add_secret, as_terraform
from tests.installation import FIPS, SM, Client, Installation, refused
from tests.permissions import statement


def names(answer: Any) -> list[str]:
    return [mapping.Resource for mapping in answer.ResourceTagMappingList]


def test_what_carries_tags_in_all_regions(installation: Installation, tag: Client) -> None:
    tagged = [add_key(installation, a="1"), add_secret(installation, region=FIPS, b="2")]
    add_secret(installation, "untagged")
    answer = tag.GetResources()
    assert names(answer) == sorted(tagged)
    assert answer.PaginationToken == ""
    found = {m.Resource: {t.TagKey: t.TagValue for t in m.Tags} for m in answer.ResourceTagMappingList}
    assert found == {tagged[0]: {"a": "1"}, tagged[1]: {"b": "2"}}


def test_filters(installation: Installation, tag: Client) -> None:
    one = add_secret(installation, "one", env="test", team="red")
    two = add_secret(installation, "two", env="prod", team="red")

    def found(*filters: dict[str, Any]) -> list[str]:
        return names(tag.GetResources(TagFilters=list(filters)))

    assert found({"TagKey": "team", "TagValue": ["red"]}) == [one, two]
    assert found({"TagKey": "env", "TagValue": ["test", "dev"]}) == [one]
    assert found({"TagKey": "env"}, {"TagKey": "team", "TagValue": ["blue"]}) == []


def test_pages(installation: Installation, tag: Client) -> None:
    made = [add_secret(installation, f"s{n}", a="1") for n in range(5)]
    found, token = [], ""
    while True:
        answer = tag.GetResources(MaxResults=2, PaginationToken=token)
        found += names(answer)
        token = answer.PaginationToken
        if not token:
            break
    assert found == sorted(made)
    with refused("InvalidParameter.PaginationTokenInvalid"):
        tag.GetResources(PaginationToken="x")


def test_named_resources_with_or_without_tags(installation: Installation, tag: Client) -> None:
    one, two = add_secret(installation, "one", a="1"), add_secret(installation, "two")
    add_secret(installation, "three", a="1")
    assert names(tag.GetResources(ResourceList=[as_terraform(two), one])) == [one, two]
    with refused("InvalidParameterValue.ResourceDescriptionError"):
        tag.GetResources(ResourceList=["x"])


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"MaxResults": 0}, "InvalidParameterValue"),
        ({"MaxResults": 201}, "InvalidParameterValue"),
        ({"ResourceList": ["x"] * 11}, "LimitExceeded.ResourceNumPerRequest"),
        ({"TagFilters": [{"TagKey": "a"}] * 7}, "InvalidParameterValue.TagFiltersLengthExceeded"),
    ],
)
def test_limits(tag: Client, members: dict[str, Any], code: str) -> None:
    with refused(code):
        tag.GetResources(**members)


def test_a_policy_limits_what_is_shown(installation: Installation) -> None:
    red = add_secret(installation, "one", team="red")
    add_secret(installation, "two", team="blue")
    key = add_key(installation, team="red")
    alice = installation.add_user("alice")
    tag = installation.client("tag", who=alice)
    with refused("AuthFailure.UnauthorizedOperation"):
        tag.GetResources()
    reds = {"for_any_value:string_equal": {"qcs:resource_tag": "team&red"}}
    permissions.allow(installation, alice, statement(action="tag:GetResources", condition=reds))
    assert names(tag.GetResources()) == sorted([red, key])
    permissions.allow(
        installation, alice, statement("deny", action="tag:*", resource=f"qcs::kms:{SM}::key/*")
    )
    assert names(tag.GetResources()) == [red]


def test_another_accounts_resources_are_not_shown(installation: Installation) -> None:
    add_secret(installation, a="1")
    stranger = installation.client("tag", who=installation.add_account())
    assert names(stranger.GetResources()) == []
