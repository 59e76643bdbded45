"""What attaching, detaching and listing policies is for users, groups and roles alike: each action's file says its kind."""

import functools
from typing import Any, ClassVar

import pytest

from chalicelib.clock import ManualClock
from chalicelib.model.policy import MAX_ATTACHED
from chalicelib.table.port import Expect, Put
from tests.actions.cam.arrange_policies import (
    KINDS,
    NO_ROLE,
    NOBODY,
    Holder,
    at,
    check_attachments,
    entities,
    listed,
    make_holder,
    make_policy,
)
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, refused


class OfAKind:
    """The tests of an action on one kind of holder."""

    kind: ClassVar[str]
    no_policy: ClassVar[str] = "ResourceNotFound.PolicyIdNotFound"
    no_holder: ClassVar[str]

    @pytest.fixture
    def installation(self, clock: ManualClock) -> Inspected:
        return Inspected(clock)

    @pytest.fixture
    def holder(self, installation: Inspected, cam: Client) -> Holder:
        return make_holder(installation, cam, self.kind)

    @property
    def nobody(self) -> Holder:
        return Holder(self.kind, NO_ROLE if self.kind == "Role" else NOBODY)


class Attaches(OfAKind):
    """AttachUserPolicy, AttachGroupPolicy, AttachRolePolicy."""

    def test_attached_once_however_often(self, installation: Inspected, cam: Client, holder: Holder) -> None:
        policy = make_policy(cam)
        for _ in range(2):
            assert outputs(holder.attach(cam, policy)) == {}
        assert holder.attached(cam) == [policy]
        assert entities(cam, policy) == [f"{KINDS.index(self.kind) + 1}/{holder.id}"]
        assert listed(cam, policy).Attachments == 1
        check_attachments(installation)

    def test_what_is_not_there(self, installation: Inspected, cam: Client, holder: Holder) -> None:
        policy = make_policy(cam)
        with refused(self.no_policy):
            holder.attach(cam, NOBODY)
        with refused(self.no_holder):
            self.nobody.attach(cam, policy)
        stranger = installation.client("cam", who=installation.add_account())
        with refused(self.no_holder):
            holder.attach(stranger, 1)
        assert holder.attached(cam) == []
        check_attachments(installation)

    def test_the_limit(self, installation: Inspected, cam: Client, holder: Holder) -> None:
        seal, table = installation.service.seals.of(installation.root.uin), installation.tables["identity"]
        members = {"policies": [[i + 10**14, 0] for i in range(MAX_ATTACHED - 1)], "boundary": 0}
        place = (f"AC#{installation.root.uin}", f"AT#{holder.target}")
        table.write([Put(seal.row(*place, members), Expect.ANY)])
        holder.attach(cam, 1)
        with refused("InvalidParameter.AttachmentFull"):
            holder.attach(cam, 2)

    def test_many_at_the_same_time_all_count(
        self, installation: Inspected, cam: Client, holder: Holder
    ) -> None:
        policies = [make_policy(cam, f"p{i}") for i in range(4)]
        ended = together([functools.partial(holder.attach, installation.client("cam"), p) for p in policies])
        assert ended == ["ok"] * 4
        assert sorted(holder.attached(cam)) == sorted(policies)
        check_attachments(installation)


class Detaches(OfAKind):
    """DetachUserPolicy, DetachGroupPolicy, DetachRolePolicy."""

    def test_only_that_one_is_detached(self, installation: Inspected, cam: Client, holder: Holder) -> None:
        policies = [make_policy(cam, f"p{i}") for i in range(3)]
        for policy in policies:
            holder.attach(cam, policy)
        for _ in range(2):
            assert outputs(holder.detach(cam, policies[1])) == {}, "twice is no error"
        assert holder.attached(cam) == [policies[0], policies[2]]
        assert entities(cam, policies[1]) == []
        assert listed(cam, policies[1]).Attachments == 0
        check_attachments(installation)

    def test_what_is_not_there(self, installation: Inspected, cam: Client, holder: Holder) -> None:
        policy = make_policy(cam)
        holder.attach(cam, policy)
        with refused(self.no_policy):
            holder.detach(cam, NOBODY)
        with refused(self.no_holder):
            self.nobody.detach(cam, policy)
        with refused(self.no_holder):
            holder.detach(installation.client("cam", who=installation.add_account()), 1)
        assert holder.attached(cam) == [policy]

    def test_both_directions_at_the_same_time(
        self, installation: Inspected, cam: Client, holder: Holder
    ) -> None:
        policy = make_policy(cam)
        for _ in range(3):
            calls = [holder.attach, holder.detach, holder.attach, holder.detach]
            ended = together([functools.partial(call, installation.client("cam"), policy) for call in calls])
            assert ended == ["ok"] * 4
            check_attachments(installation)


class Lists(OfAKind):
    """ListAttachedUserPolicies, ListAttachedGroupPolicies."""

    def call(self, cam: Client, holder: Holder, **more: object) -> Any:
        return getattr(cam, f"ListAttached{self.kind}Policies")(**holder.named("Target"), **more)

    def test_every_member_in_the_order_of_attachment(
        self, clock: ManualClock, cam: Client, holder: Holder
    ) -> None:
        policy, first = make_policy(cam, "p", Description="d"), at(clock)
        holder.attach(cam, policy)
        clock.advance(5)
        holder.attach(cam, 1)
        preset = cam.GetPolicy(PolicyId=1).Description
        answer = outputs(self.call(cam, holder))
        assert answer["TotalNum"] == 2
        same = {"CreateMode": 2, "Deactived": 0, "DeactivedDetail": []}
        assert [{k: v for k, v in line.items() if v is not None} for line in answer["List"]] == [
            {
                **same,
                "PolicyId": policy,
                "PolicyName": "p",
                "AddTime": first,
                "PolicyType": "User",
                "Remark": "d",
            },
            {
                **same,
                "PolicyId": 1,
                "PolicyName": "AdministratorAccess",
                "AddTime": at(clock),
                "PolicyType": "QCS",
                "Remark": preset,
            },
        ]

    def test_pages(self, cam: Client, holder: Holder) -> None:
        policies = [make_policy(cam, f"p{i}") for i in range(5)]
        for policy in policies:
            holder.attach(cam, policy)
        pages = [self.call(cam, holder, Page=page, Rp=2) for page in (1, 2, 3, 4)]
        assert [[p.PolicyId for p in page.List] for page in pages] == [
            policies[:2],
            policies[2:4],
            policies[4:],
            [],
        ]
        assert {page.TotalNum for page in pages} == {5}
        for wrong in ({"Page": 0}, {"Rp": 0}, {"Rp": 201}):
            with refused("InvalidParameter.ParamError"):
                self.call(cam, holder, **wrong)

    def test_what_is_not_there(self, installation: Inspected, cam: Client, holder: Holder) -> None:
        holder.attach(cam, 1)
        with refused(self.no_holder):
            self.call(cam, self.nobody)
        with refused(self.no_holder):
            self.call(installation.client("cam", who=installation.add_account()), holder)
