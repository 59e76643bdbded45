from tests import permissions
from tests.actions.tag.arrange import add_key, add_secret
from tests.installation import FIPS, Client, Installation
from tests.permissions import statement


def test_the_keys_in_use_once_each(installation: Installation, tag: Client) -> None:
    add_key(installation, b="1", a="1")
    add_secret(installation, region=FIPS, b="2", c="1")
    answer = tag.GetTagKeys()
    assert (answer.TagKeys, answer.PaginationToken) == (["a", "b", "c"], "")
    assert tag.GetTagKeys(Category="System").TagKeys == []


def test_pages(installation: Installation, tag: Client) -> None:
    add_secret(installation, **{f"k{n}": "1" for n in range(5)})
    first = tag.GetTagKeys(MaxResults=3)
    assert first.TagKeys == ["k0", "k1", "k2"]
    second = tag.GetTagKeys(MaxResults=3, PaginationToken=first.PaginationToken)
    assert (second.TagKeys, second.PaginationToken) == (["k3", "k4"], "")


def test_only_keys_of_what_the_caller_may_see(installation: Installation) -> None:
    one = add_secret(installation, "one", a="1")
    add_secret(installation, "two", b="1")
    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement(action="tag:Get*", resource=one))
    assert installation.client("tag", who=alice).GetTagKeys().TagKeys == ["a"]
