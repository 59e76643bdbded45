from tests import permissions
from tests.actions.tag.arrange import add_key, add_secret, tags_of
from tests.installation import Client, Installation, refused
from tests.permissions import statement


def test_keys_and_secrets_lose_the_tags(installation: Installation, tag: Client) -> None:
    resources = [add_key(installation, a="1", b="1"), add_secret(installation, b="1")]
    for _ in range(2):  # once more changes nothing
        assert tag.UnTagResources(ResourceList=resources, TagKeys=["b", "never"]).FailedResources == []
        assert tags_of(tag, *resources) == [{"a": "1"}, {}]


def test_a_tag_of_forbidden_characters_can_be_taken_away(installation: Installation, tag: Client) -> None:
    """CreateSecret takes what the tag service does not."""
    resource = add_secret(installation, **{"a&b": "1"})
    tag.UnTagResources(ResourceList=[resource], TagKeys=["a&b"])
    assert tags_of(tag, resource) == [{}]


def test_it_needs_permission(installation: Installation, tag: Client) -> None:
    resource = add_secret(installation, a="1")
    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement(action="tag:TagResources"))
    with refused("AuthFailure.UnauthorizedOperation"):
        installation.client("tag", who=alice).UnTagResources(ResourceList=[resource], TagKeys=["a"])
    assert tags_of(tag, resource) == [{"a": "1"}]
