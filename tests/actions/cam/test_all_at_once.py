"""Many callers who make, attach, move and delete the same few users, groups, policies and roles at the same time."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from tests.actions.cam.arrange_policies import check_attachments, document, make_group, make_policy, trust
from tests.actions.ssm.arrange import code
from tests.faults.stage import check_identities
from tests.inspected import Inspected

CALLERS: Final = 4
CALLS: Final = 40
NAMES: Final = ("a", "b", "c")
PRESET: Final = 2


class Crowd:
    """What the callers know of: whatever was ever made, deleted or not."""

    def __init__(self, installation: Inspected) -> None:
        self.installation = installation
        self.cam: Any = installation.client("cam")
        self.users = [int(self.cam.AddUser(Name=name, UseApi=1).Uin) for name in NAMES]
        self.groups = [make_group(self.cam, name) for name in NAMES[:2]]
        self.policies = [PRESET, make_policy(self.cam, "a"), make_policy(self.cam, "b")]
        self.roles = [self.cam.CreateRole(RoleName="a", PolicyDocument=self.trust).RoleId]

    @property
    def trust(self) -> str:
        return trust(self.installation.root.uin)

    def act(self, seed: int) -> list[str]:
        """A caller's calls, one after the other; how each ends."""
        rnd, cam = random.Random(seed), self.installation.client("cam")  # noqa: S311 - to be repeated
        return [code(lambda: self._call(rnd, cam)) for _ in range(CALLS)]

    def _call(self, rnd: random.Random, cam: Any) -> Any:
        user, group = rnd.choice(self.users), rnd.choice(self.groups)
        policy, role, name = rnd.choice(self.policies), rnd.choice(self.roles), rnd.choice(NAMES)
        info = [{"Uin": user, "GroupId": group}]
        changes: list[Callable[[], Any]] = [
            lambda: cam.AttachUserPolicy(PolicyId=policy, AttachUin=user),
            lambda: cam.DetachUserPolicy(PolicyId=policy, DetachUin=user),
            lambda: cam.AttachGroupPolicy(PolicyId=policy, AttachGroupId=group),
            lambda: cam.AttachRolePolicy(PolicyId=policy, AttachRoleId=role),
            lambda: cam.PutUserPermissionsBoundary(PolicyId=policy, TargetUin=user),
            lambda: cam.DeleteUserPermissionsBoundary(TargetUin=user),
            lambda: cam.AddUserToGroup(Info=info),
            lambda: cam.RemoveUserFromGroup(Info=info),
            lambda: cam.CreateAccessKey(TargetUin=user),
            lambda: cam.UpdatePolicy(PolicyId=policy, PolicyName=name, PolicyDocument=document()),
            lambda: cam.UpdateGroup(GroupId=group, GroupName=name),
        ]
        ends: list[Callable[[], Any]] = [
            lambda: cam.DeleteUser(Name=name, Force=1),
            lambda: cam.DeleteGroup(GroupId=group),
            lambda: cam.DeletePolicy(PolicyId=[policy]),
            lambda: cam.DeleteRole(RoleId=role),
        ]
        begins: list[Callable[[], Any]] = [
            lambda: self.users.append(int(cam.AddUser(Name=name, UseApi=1).Uin)),
            lambda: self.groups.append(make_group(cam, name)),
            lambda: self.policies.append(make_policy(cam, name)),
            lambda: self.roles.append(cam.CreateRole(RoleName=name, PolicyDocument=self.trust).RoleId),
        ]
        (kind,) = rnd.choices((changes, ends, begins), (8, 1, 1))
        return rnd.choice(kind)()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_left_without_the_rest(clock: ManualClock, seed: int) -> None:
    crowd = Crowd(Inspected(clock))
    with ThreadPoolExecutor(CALLERS) as pool:
        ended = [
            how for each in pool.map(crowd.act, range(seed * CALLERS, (seed + 1) * CALLERS)) for how in each
        ]
    assert ended.count("ok") > CALLS // 2
    assert "InternalError" not in ended
    check_attachments(crowd.installation)
    check_identities(crowd.installation.data(IDENTITY), crowd.installation.root.uin)
