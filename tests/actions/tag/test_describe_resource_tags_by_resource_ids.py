import pytest

from tests import permissions
from tests.actions.tag.arrange import add_key, add_secret, by_id
from tests.installation import FIPS, Client, Installation, refused
from tests.permissions import statement


@pytest.mark.parametrize("region", ["ap-guangzhou", FIPS])
def test_the_tags_with_the_ids_as_they_were_asked_for(
    installation: Installation, tag: Client, region: str
) -> None:
    for resource in (
        add_key(installation, region=region, a="1", b="2"),
        add_secret(installation, region=region, a="1", b="2"),
    ):
        asked = by_id(resource)
        answer = tag.DescribeResourceTagsByResourceIds(**asked, Offset=0, Limit=20)
        assert [(t.TagKey, t.TagValue) for t in answer.Tags] == [("a", "1"), ("b", "2")]
        assert {t.ResourceId for t in answer.Tags} == set(asked["ResourceIds"])
        assert {(t.ServiceType, t.Category) for t in answer.Tags} == {(asked["ServiceType"], "Custom")}
        assert (answer.TotalCount, answer.Offset, answer.Limit) == (2, 0, 20)


def test_a_key_may_go_by_its_bare_id(installation: Installation, tag: Client) -> None:
    asked = by_id(add_key(installation, a="1"))
    asked["ResourceIds"] = [asked["ResourceIds"][0].rpartition("/")[2]]
    (found,) = tag.DescribeResourceTagsByResourceIds(**asked).Tags
    assert found.ResourceId == asked["ResourceIds"][0]


def test_pages_of_15_unless_said_otherwise(installation: Installation, tag: Client) -> None:
    asked = by_id(add_secret(installation, **{f"k{n:02}": "1" for n in range(40)}))
    found: list[str] = []
    while len(page := tag.DescribeResourceTagsByResourceIds(**asked, Offset=len(found)).Tags) == 15:
        found += [t.TagKey for t in page]
    assert len(found) + len(page) == 40
    assert len(set(found)) == len(found) == 30


def test_what_does_not_exist_has_no_tags(installation: Installation, tag: Client) -> None:
    asked = by_id(add_secret(installation, a="1"))
    asked["ResourceIds"] += [f"creatorUin/{installation.root.uin}/absent", "creatorUin/1/db"]
    answer = tag.DescribeResourceTagsByResourceIds(**asked)
    assert [t.ResourceId for t in answer.Tags] == asked["ResourceIds"][:1]


def test_there_are_no_system_tags(installation: Installation, tag: Client) -> None:
    asked = by_id(add_secret(installation, a="1"))
    assert tag.DescribeResourceTagsByResourceIds(**asked, Category="System").TotalCount == 0
    assert tag.DescribeResourceTagsByResourceIds(**asked, Category="Custom").TotalCount == 1


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"ServiceType": "cvm"}, "InvalidParameterValue.ServiceTypeInvalid"),
        ({"ResourcePrefix": "key"}, "InvalidParameterValue.ResourcePrefixInvalid"),
        ({"ResourceRegion": "mars"}, "InvalidParameterValue.RegionInvalid"),
        ({"ResourceIds": ["creatorUin/1/"]}, "InvalidParameterValue.ResourceIdInvalid"),
        ({"ResourceIds": ["*"]}, "InvalidParameterValue.ResourceIdInvalid"),
        ({"ResourceIds": []}, "LimitExceeded.ResourceNumPerRequest"),
        ({"ResourceIds": [f"r{n}" for n in range(51)]}, "LimitExceeded.ResourceNumPerRequest"),
        ({"Limit": 0}, "InvalidParameterValue"),
    ],
)
def test_parameters_that_are_wrong(
    installation: Installation, tag: Client, members: dict[str, object], code: str
) -> None:
    asked = by_id(add_secret(installation)) | members
    with refused(code):
        tag.DescribeResourceTagsByResourceIds(**asked)


def test_each_resource_has_to_be_allowed(installation: Installation) -> None:
    one, two = add_secret(installation, "one", a="1"), add_secret(installation, "two", a="1")
    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement(action="tag:Describe*", resource=one))
    tag = installation.client("tag", who=alice)
    assert tag.DescribeResourceTagsByResourceIds(**by_id(one)).TotalCount == 1
    both = by_id(one) | {"ResourceIds": [*by_id(one)["ResourceIds"], *by_id(two)["ResourceIds"]]}
    for asked in (by_id(two), both):
        with refused("AuthFailure.UnauthorizedOperation"):
            tag.DescribeResourceTagsByResourceIds(**asked)
