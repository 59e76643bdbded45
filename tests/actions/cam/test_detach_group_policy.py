import functools

import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import (
    NOBODY,
    Holder,
    check_attachments,
    entities,
    listed,
    make_holder,
    make_policy,
)
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, refused

KIND = "Group"


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


@pytest.fixture
def holder(installation: Inspected, cam: Client) -> Holder:
    return make_holder(installation, cam, KIND)


def test_only_that_one_is_detached(installation: Inspected, cam: Client, holder: Holder) -> None:
    policies = [make_policy(cam, f"p{i}") for i in range(3)]
    for policy in policies:
        holder.attach(cam, policy)
    for _ in range(2):
        assert outputs(holder.detach(cam, policies[1])) == {}, "twice is no error"
    assert holder.attached(cam) == [policies[0], policies[2]]
    assert entities(cam, policies[1]) == []
    assert listed(cam, policies[1]).Attachments == 0
    check_attachments(installation)


def test_what_is_not_there(installation: Inspected, cam: Client, holder: Holder) -> None:
    policy = make_policy(cam)
    holder.attach(cam, policy)
    with refused("InvalidParameter.PolicyIdNotExist"):
        holder.detach(cam, NOBODY)
    with refused("ResourceNotFound.GroupNotExist"):
        Holder(KIND, NOBODY).detach(cam, policy)
    with refused("ResourceNotFound.GroupNotExist"):
        holder.detach(installation.client("cam", who=installation.add_account()), 1)
    assert holder.attached(cam) == [policy]


def test_both_directions_at_the_same_time(installation: Inspected, cam: Client, holder: Holder) -> None:
    policy = make_policy(cam)
    for _ in range(3):
        calls = [holder.attach, holder.detach, holder.attach, holder.detach]
        ended = together([functools.partial(call, installation.client("cam"), policy) for call in calls])
        assert ended == ["ok"] * 4
        check_attachments(installation)
