from typing import Any

import pytest

from chalicelib.clock import ManualClock
from tests import permissions
from tests.actions.tag.arrange import add_key, add_secret, as_terraform, listed, tags_of
from tests.inspected import Inspected
from tests.installation import FIPS, SM, Client, Installation, refused
from tests.permissions import statement


@pytest.mark.parametrize("add", [add_key, add_secret])
@pytest.mark.parametrize("region", [SM, FIPS])
def test_tags_are_given_changed_and_taken(
    installation: Installation, tag: Client, add: Any, region: str
) -> None:
    """As Terraform does it: without the account's number, whatever region the call itself names."""
    resource = add(installation, region=region, old="1", kept="1")
    tag.ModifyResourceTags(
        Resource=as_terraform(resource),
        ReplaceTags=listed({"new": "1", "kept": "2"}),
        DeleteTags=[{"TagKey": "old"}, {"TagKey": "never"}],
    )
    assert tags_of(tag, resource) == [{"kept": "2", "new": "1"}]


def test_lists_find_the_new_tags_at_once(installation: Installation, tag: Client) -> None:
    for resource in (add_key(installation), add_secret(installation)):
        tag.ModifyResourceTags(Resource=as_terraform(resource), ReplaceTags=listed({"env": "test"}))
    filters = [{"TagKey": "env", "TagValue": ["test"]}]
    assert installation.client("kms").ListKeyDetail(TagFilters=filters).TotalCount == 1
    assert installation.client("ssm").ListSecrets(TagFilters=filters).TotalCount == 1


def test_what_does_not_change_is_written_nowhere(clock: ManualClock) -> None:
    installation = Inspected(clock)
    resource = add_secret(installation, env="test")
    before = installation.data()
    tag = installation.client("tag")
    tag.ModifyResourceTags(Resource=resource, ReplaceTags=listed({"env": "test"}))
    assert installation.data() == before
    tag.ModifyResourceTags(Resource=resource, ReplaceTags=listed({"env": "other"}))
    assert installation.data() != before


@pytest.mark.parametrize("state", ["disabled", "leaving"])
def test_every_state_takes_tags(installation: Installation, tag: Client, state: str) -> None:
    resource = add_secret(installation)
    ssm = installation.client("ssm")
    ssm.DisableSecret(SecretName="db")
    if state == "leaving":
        ssm.DeleteSecret(SecretName="db", RecoveryWindowInDays=7)
    tag.ModifyResourceTags(Resource=resource, ReplaceTags=listed({"env": "test"}))
    assert tags_of(tag, resource) == [{"env": "test"}]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({}, "InvalidParameter"),
        ({"ReplaceTags": [], "DeleteTags": []}, "InvalidParameter"),
        (
            {"ReplaceTags": listed({"a": "1"}), "DeleteTags": [{"TagKey": "a"}]},
            "InvalidParameterValue.DeleteTagsParamError",
        ),
        (
            {"ReplaceTags": [*listed({"a": "1"}), *listed({"a": "2"})]},
            "InvalidParameterValue.TagKeyDuplicate",
        ),
        ({"ReplaceTags": listed({"": "1"})}, "InvalidParameterValue.TagKeyEmpty"),
        ({"ReplaceTags": listed({"a" * 128: "1"})}, "InvalidParameterValue.TagKeyLengthExceeded"),
        ({"ReplaceTags": listed({"a": "1" * 256})}, "InvalidParameterValue.TagValueLengthExceeded"),
        ({"ReplaceTags": listed({"a&b": "1"})}, "InvalidParameterValue.TagKeyCharacterIllegal"),
        ({"ReplaceTags": listed({" a": "1"})}, "InvalidParameterValue.TagKeyCharacterIllegal"),
        ({"ReplaceTags": listed({"a": "1\n"})}, "InvalidParameterValue.TagValueCharacterIllegal"),
        ({"ReplaceTags": listed({f"k{n}": "1" for n in range(11)})}, "LimitExceeded.TagNumPerRequest"),
    ],
)
def test_tags_that_are_none(
    installation: Installation, tag: Client, members: dict[str, Any], code: str
) -> None:
    resource = add_secret(installation)
    with refused(code):
        tag.ModifyResourceTags(Resource=resource, **members)


def test_a_resource_has_at_most_50_tags(installation: Installation, tag: Client) -> None:
    resource = add_secret(installation, **{f"k{n}": "1" for n in range(49)})
    tag.ModifyResourceTags(Resource=resource, ReplaceTags=listed({"one": "1"}))
    with refused("LimitExceeded.ResourceAttachedTags"):
        tag.ModifyResourceTags(Resource=resource, ReplaceTags=listed({"more": "1"}))
    tag.ModifyResourceTags(
        Resource=resource, ReplaceTags=listed({"more": "1"}), DeleteTags=[{"TagKey": "one"}]
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda r: r.replace("qcs::", "qcs:p:"), "InvalidParameterValue.ResourceDescriptionError"),
        (lambda r: r.replace("ssm", "cvm"), "InvalidParameterValue.ResourceDescriptionError"),
        (lambda r: r.replace("secret/", "key/"), "InvalidParameterValue.ResourceDescriptionError"),
        (lambda r: r.replace(SM, "mars"), "InvalidParameterValue.RegionInvalid"),
        (lambda r: r.replace("uin/", "uin/9"), "InvalidParameterValue.ResourceDescriptionError"),
        (lambda r: r + "x", "InvalidParameterValue.ResourceDescriptionError"),
        (lambda r: r + "/x", "InvalidParameterValue.ResourceDescriptionError"),
        (
            lambda r: r.replace("creatorUin/", "creatorUin/1"),
            "InvalidParameterValue.ResourceDescriptionError",
        ),
        (lambda r: r[:0] + "*", "InvalidParameterValue.ResourceDescriptionError"),
        (lambda r: r.rpartition("/")[0] + "/*", "InvalidParameterValue.ResourceDescriptionError"),
    ],
)
def test_resources_that_are_none(installation: Installation, tag: Client, change: Any, code: str) -> None:
    resource = add_secret(installation)
    with refused(code):
        tag.ModifyResourceTags(Resource=change(resource), ReplaceTags=listed({"a": "1"}))


def test_the_creator_may_be_left_out(installation: Installation, tag: Client) -> None:
    resource = add_key(installation)
    bare = f"{resource.rpartition(':')[0]}:key/{resource.rpartition('/')[2]}"
    tag.ModifyResourceTags(Resource=bare, ReplaceTags=listed({"a": "1"}))
    assert tags_of(tag, resource) == [{"a": "1"}]


def test_another_accounts_resources_do_not_exist(installation: Installation) -> None:
    resource = add_secret(installation)
    stranger = installation.client("tag", who=installation.add_account())
    for name in (resource, as_terraform(resource)):
        with refused("InvalidParameterValue.ResourceDescriptionError"):
            stranger.ModifyResourceTags(Resource=name, ReplaceTags=listed({"a": "1"}))


def test_a_policy_decides_which_tags_may_be_given(installation: Installation) -> None:
    resource = add_secret(installation)
    alice = installation.add_user("alice")
    condition = {"for_all_value:string_equal": {"qcs:request_tag": ["env&test", "env&dev"]}}
    permissions.allow(installation, alice, statement(action="tag:ModifyResourceTags", condition=condition))
    tag = installation.client("tag", who=alice)
    tag.ModifyResourceTags(Resource=resource, ReplaceTags=listed({"env": "dev"}))
    for tags in ({"env": "prod"}, {"env": "dev", "team": "red"}):
        with refused("AuthFailure.UnauthorizedOperation"):
            tag.ModifyResourceTags(Resource=resource, ReplaceTags=listed(tags))
    with refused("AuthFailure.UnauthorizedOperation"):  # taking one away has no request tags
        tag.ModifyResourceTags(Resource=resource, DeleteTags=[{"TagKey": "env"}])
