import functools

import pytest

from tests.actions.cam.arrange_policies import MALFORMED, NOBODY, document, make_policy, may
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def numbers(cam: Client, policy: int) -> list[tuple[int, int]]:
    found = cam.ListPolicyVersions(PolicyId=policy).Versions
    return [(v.VersionId, v.IsDefaultVersion) for v in found]


def create(cam: Client, policy: int, text: str = "", *, default: bool = False) -> int:
    made = cam.CreatePolicyVersion(
        PolicyId=policy, PolicyDocument=text or document("ssm:*"), SetAsDefault=default
    )
    assert set(outputs(made)) == {"VersionId"}
    return int(made.VersionId)


def test_a_version_applies_when_it_is_the_default(installation: Installation, cam: Client) -> None:
    user, policy = installation.add_user("u"), make_policy(cam)
    cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(user.uin))
    assert create(cam, policy) == 2
    assert may(installation, user)
    assert create(cam, policy, default=True) == 3
    assert not may(installation, user)
    assert numbers(cam, policy) == [(3, 1), (2, 0), (1, 0)]


def test_five_versions_and_no_number_twice(cam: Client) -> None:
    policy = make_policy(cam)
    assert [create(cam, policy) for _ in range(4)] == [2, 3, 4, 5]
    with refused("FailedOperation.PolicyVersionFull"):
        create(cam, policy)
    cam.DeletePolicyVersion(PolicyId=policy, VersionId=[5])
    assert create(cam, policy) == 6


def test_of_many_at_once_only_five_stay(installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    clients = [installation.client("cam") for _ in range(6)]
    ended = together([functools.partial(create, c, policy) for c in clients])
    assert sorted(ended) == ["FailedOperation.PolicyVersionFull"] * 2 + ["ok"] * 4
    assert [n for n, _ in numbers(cam, policy)] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_version_is_refused(cam: Client, case: str) -> None:
    policy = make_policy(cam)
    text, code = MALFORMED[case]
    with refused(f"InvalidParameter.{code}"):
        cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=text, SetAsDefault=True)
    assert numbers(cam, policy) == [(1, 1)]


def test_preset_and_absent_policies(cam: Client) -> None:
    with refused("InvalidParameter.PolicyIdError"):
        create(cam, 1)
    with refused("InvalidParameter.PolicyIdNotExist"):
        create(cam, NOBODY)
