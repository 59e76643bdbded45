import functools

import pytest

from chalicelib.context import IDENTITY
from chalicelib.model.policy import MAX_POLICIES
from chalicelib.policy.document import MAX_CHARACTERS
from chalicelib.table.port import Add
from tests.actions.cam.arrange_policies import MALFORMED, document, listed, long_document, make_policy
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def test_the_policy_is_as_it_was_written(cam: Client) -> None:
    text = " " + document("kms:Decrypt").replace(",", ", \n")
    tags = [{"Key": "team", "Value": "blue"}]
    made = cam.CreatePolicy(PolicyName="p", PolicyDocument=text, Description="why", Tags=tags)
    assert set(outputs(made)) == {"PolicyId"}
    found = cam.GetPolicy(PolicyId=made.PolicyId)
    assert (found.PolicyName, found.PolicyDocument, found.Description) == ("p", text, "why")
    assert [(t.Key, t.Value) for t in found.Tags] == [("team", "blue")]
    assert (found.Type, listed(cam, made.PolicyId).Attachments) == (1, 0)


@pytest.mark.parametrize("name", ["p", "P", "AdministratorAccess", "readonlyaccess"])
def test_a_name_is_given_once_in_any_case(cam: Client, name: str) -> None:
    make_policy(cam, "p")
    with refused("FailedOperation.PolicyNameInUse"):
        make_policy(cam, name)
    assert cam.ListPolicies(Scope="Local").TotalNum == 1


def test_one_of_many_gets_the_name(installation: Installation, cam: Client) -> None:
    clients = [installation.client("cam") for _ in range(5)]
    ended = together([functools.partial(make_policy, c, "p") for c in clients])
    assert sorted(ended) == ["FailedOperation.PolicyNameInUse"] * 4 + ["ok"]
    assert cam.ListPolicies(Scope="Local").TotalNum == 1


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_policy_is_refused(cam: Client, case: str) -> None:
    text, code = MALFORMED[case]
    with refused(f"InvalidParameter.{code}") as caught:
        make_policy(cam, text=text) if text else cam.CreatePolicy(PolicyName="p", PolicyDocument="")
    assert len(caught.value.message) < 500, "no document in it"
    assert cam.ListPolicies(Scope="Local").TotalNum == 0


def test_the_longest_policy(cam: Client) -> None:
    make_policy(cam, text=long_document(MAX_CHARACTERS))
    with refused("InvalidParameter.PolicyDocumentLengthOverLimit"):
        make_policy(cam, "q", text=document() + " " * 70_000)


def test_limits_of_names_descriptions_and_tags(cam: Client) -> None:
    for name in ("a", "+=,.@_-", "a" * 128):
        make_policy(cam, name)
    for name in ("", "a" * 129, "a b", "a/b", "a:b", "\u7b56", "a\n", "*"):
        with refused("InvalidParameter.PolicyNameError"):
            make_policy(cam, name)
    make_policy(cam, "d", Description="\u7b56" * 1024)
    with refused("InvalidParameter.DescriptionLengthOverlimit"):
        make_policy(cam, "e", Description="x" * 1025)
    tags = [{"Key": str(i), "Value": "x"} for i in range(51)]
    with refused("InvalidParameter.TagLimitExceeded"):
        make_policy(cam, "e", Tags=tags)
    for wrong in ([tags[0], tags[0]], [{"Key": "", "Value": "x"}], [{"Key": "k" * 128, "Value": "x"}]):
        with refused("InvalidParameter.TagParamError"):
            make_policy(cam, "e", Tags=wrong)


def test_the_quota(installation: Installation, cam: Client) -> None:
    make_policy(cam, "p")
    counter = Add(f"AC#{installation.root.uin}", "CT#policies", MAX_POLICIES - 2)
    installation.service.table(IDENTITY).write([counter])
    last = make_policy(cam, "last")
    with refused("FailedOperation.PolicyFull"):
        make_policy(cam, "more")
    cam.DeletePolicy(PolicyId=[last])
    make_policy(cam, "more")
