from chalicelib.clock import ManualClock
from chalicelib.settings import Settings
from tests import permissions
from tests.actions.tag.arrange import add_key, add_secret, listed, tags_of
from tests.installation import FIPS, SM, Client, Installation, refused
from tests.permissions import statement


def test_keys_and_secrets_get_the_tags(installation: Installation, tag: Client) -> None:
    resources = [add_key(installation, a="1"), add_secret(installation, b="1")]
    answer = tag.TagResources(ResourceList=resources, Tags=listed({"b": "2", "c": "3"}))
    assert answer.FailedResources == []
    assert tags_of(tag, *resources) == [{"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "3"}]


def test_those_that_cannot_be_tagged_are_named(installation: Installation, tag: Client) -> None:
    good, absent = add_secret(installation), add_secret(installation, "two")[:-3] + "absent"
    full = add_secret(installation, "full", **{f"k{n}": "1" for n in range(50)})
    elsewhere = add_secret(installation, region=FIPS)
    answer = tag.TagResources(ResourceList=[good, absent, "x", full, elsewhere], Tags=listed({"a": "1"}))
    assert {f.Resource: f.Code for f in answer.FailedResources} == {
        absent: "InvalidParameterValue.ResourceDescriptionError",
        "x": "InvalidParameterValue.ResourceDescriptionError",
        full: "LimitExceeded.ResourceAttachedTags",
        elsewhere: "InvalidParameterValue.RegionInvalid",
    }
    assert tags_of(tag, good, elsewhere) == [{"a": "1"}, {}]


def test_a_call_that_can_tag_nothing_fails(installation: Installation, tag: Client) -> None:
    with refused("InvalidParameterValue.ResourceDescriptionError"):
        tag.TagResources(ResourceList=["x", "y"], Tags=listed({"a": "1"}))


def test_a_resource_by_two_names(installation: Installation, tag: Client) -> None:
    resource = add_secret(installation)
    bare = f"{resource.rpartition(':')[0]}:secret/db"
    with refused("InvalidParameterValue.ResourceDescriptionError"):
        tag.TagResources(ResourceList=[resource, bare], Tags=listed({"a": "1"}))
    tag.TagResources(ResourceList=[resource, resource], Tags=listed({"a": "1"}))
    assert tags_of(tag, resource) == [{"a": "1"}]


def test_what_a_policy_does_not_allow_is_not_tagged(installation: Installation, tag: Client) -> None:
    one, two = add_secret(installation, "one"), add_secret(installation, "two")
    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement(action="tag:TagResources", resource=one))
    answer = installation.client("tag", who=alice).TagResources(
        ResourceList=[two, one], Tags=listed({"a": "1"})
    )
    assert [(f.Resource, f.Code) for f in answer.FailedResources] == [
        (two, "AuthFailure.UnauthorizedOperation")
    ]
    assert tags_of(tag, one, two) == [{"a": "1"}, {}]


def test_as_many_secrets_as_one_write_holds_with_their_replicas(clock: ManualClock) -> None:
    regions = {SM: "sm", **{f"region-{n}": "fips" for n in range(8)}}
    installation = Installation(clock, Settings(throttle=False, regions=regions))
    ssm, tag = installation.client("ssm"), installation.client("tag")
    resources = [add_secret(installation, f"s{n}") for n in range(10)]
    elsewhere = [{"Region": region} for region in regions if region != SM]
    for n in range(10):
        ssm.call_raw("ReplicateSecret", {"SecretName": f"s{n}", "ReplicaRegions": elsewhere})
    answer = tag.TagResources(ResourceList=resources, Tags=listed({"a": "1"}))
    assert [(f.Resource, f.Code) for f in answer.FailedResources] == [
        (resources[-1], "LimitExceeded.ResourceNumPerRequest")
    ]
    assert tags_of(tag, *resources) == [{"a": "1"}] * 9 + [{}]


def test_limits(tag: Client) -> None:
    with refused("LimitExceeded.ResourceNumPerRequest"):
        tag.TagResources(ResourceList=["x"] * 11, Tags=listed({"a": "1"}))
    with refused("LimitExceeded.TagNumPerRequest"):
        tag.TagResources(ResourceList=["x"], Tags=listed({f"k{n}": "1" for n in range(11)}))
    with refused("LimitExceeded.TagNumPerRequest"):
        tag.TagResources(ResourceList=["x"], Tags=[])
