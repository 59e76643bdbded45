from tests import permissions
from tests.actions.tag.arrange import add_key, add_secret
from tests.installation import Client, Installation, refused
from tests.permissions import statement


def test_the_values_of_the_keys(installation: Installation, tag: Client) -> None:
    add_key(installation, env="test", team="red")
    add_secret(installation, env="prod", other="x")
    answer = tag.GetTagValues(TagKeys=["env", "team", "never"])
    pairs = [(t.TagKey, t.TagValue) for t in answer.Tags]
    assert pairs == [("env", "prod"), ("env", "test"), ("team", "red")]
    assert tag.GetTagValues(TagKeys=["env"], Category="System").Tags == []


def test_pages(installation: Installation, tag: Client) -> None:
    for n in range(3):
        add_secret(installation, f"s{n}", env=f"v{n}")
    first = tag.GetTagValues(TagKeys=["env"], MaxResults=2)
    second = tag.GetTagValues(TagKeys=["env"], MaxResults=2, PaginationToken=first.PaginationToken)
    assert [t.TagValue for t in (*first.Tags, *second.Tags)] == ["v0", "v1", "v2"]
    assert second.PaginationToken == ""


def test_limits(tag: Client) -> None:
    for keys in ([], ["k"] * 21):
        with refused("LimitExceeded.TagNumPerRequest"):
            tag.GetTagValues(TagKeys=keys)


def test_only_values_of_what_the_caller_may_see(installation: Installation) -> None:
    one = add_secret(installation, "one", a="1")
    add_secret(installation, "two", a="2")
    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement(action="tag:Get*", resource=one))
    (found,) = installation.client("tag", who=alice).GetTagValues(TagKeys=["a"]).Tags
    assert found.TagValue == "1"
