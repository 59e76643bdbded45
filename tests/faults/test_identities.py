"""Users, groups and access keys: deletions that die half-way, and calls that meet, leave nobody with more than before."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from chalicelib.api.gateway import Gateway
from chalicelib.context import IDENTITY
from chalicelib.settings import Bootstrap
from tests.calls import ask, code, tc3
from tests.faults.broken import Broken, Fault, Killed
from tests.faults.stage import Stage, check_identities, check_whole
from tests.permissions import allow, create_policy, statement

MANY = 65
"""Policies that take three steps to detach."""


class Company:
    """A user `leaver` with an access key and many policies, in a group `large` of many users that is allowed and denied."""

    def __init__(self) -> None:
        self.installation = Broken()
        for region in self.installation.settings.regions:
            self.installation.service.table(region)
            self.installation.service.hsm(region)
        made = self.done("AddUser", Name="leaver", UseApi=1)
        self.leaver = Bootstrap(str(made["Uin"]), made["SecretId"], made["SecretKey"])
        self.installation.saboteur.rest()
        everything = statement(action="ssm:*")
        allow(self.installation, self.leaver, everything)
        for _ in range(MANY - 1):
            allow(self.installation, self.leaver, statement(action="ssm:GetRegions"))
        self.group = self.done("CreateGroup", GroupName="large")["GroupId"]
        self.member = self.installation.add_user("member")
        uins = [int(self.member.uin), int(self.leaver.uin)]
        uins += [self.done("AddUser", Name=f"u{number}")["Uin"] for number in range(38)]
        for start in range(0, 40, 20):
            info = [{"GroupId": self.group, "Uin": uin} for uin in uins[start : start + 20]]
            self.done("AddUserToGroup", Info=info)
        # The member has a policy of its own: all that holds it back is what the group denies.
        allow(self.installation, self.member, everything)
        denied = create_policy(self.installation, statement("deny", "ssm:ListSecrets"))
        others = [create_policy(self.installation, statement(action="kms:ListKeys")) for _ in range(MANY - 1)]
        for policy in (*others, denied):
            self.done("AttachGroupPolicy", PolicyId=policy, AttachGroupId=self.group)
        self.images = {name: table.snapshot() for name, table in self.installation.tables.items()}

    def call(self, action: str, **given: Any) -> dict[str, Any]:
        now = self.installation.clock.now()
        return ask(self.installation.gateway, tc3(self.installation.root, now, "cam", action, given))

    def done(self, action: str, **given: Any) -> dict[str, Any]:
        response = self.call(action, **given)
        assert not code(response), response
        return response

    def reset(self) -> None:
        for name, table in self.installation.tables.items():
            if name in self.images:
                table.restore(self.images[name])
        self.installation.service.uses.clear()
        self.installation.gateway = Gateway(self.installation.service)
        self.installation.saboteur.rest()

    def tried(self, who: Bootstrap, service: str, action: str) -> str:
        """How a user's call ends, for somebody who never fails."""
        request = tc3(who, self.installation.clock.now(), service, action)
        return code(ask(self.installation.rival(), request))

    def check(self) -> None:
        check_identities(self.installation.data(IDENTITY), self.installation.root.uin)


@pytest.fixture(scope="module")
def company() -> Iterator[Company]:
    made = Company()
    yield made
    made.installation.service.close()


def every_write(company: Company, action: str, **given: Any) -> Iterator[tuple[Fault, int]]:
    """Each write of the call, with each way in which the process dies at it; the company is as it was."""
    company.reset()
    company.done(action, **given)
    calls = list(company.installation.saboteur.calls)
    writes = [number for number, name in enumerate(calls, 1) if name == "write"]
    assert len(writes) >= 3, "several steps"
    for number in writes:
        for fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER, Fault.BEFORE, Fault.LOST, Fault.DONE):
            company.reset()
            company.installation.saboteur.fail(fault, number, number)
            yield fault, number


def run(company: Company, action: str, **given: Any) -> None:
    with contextlib.suppress(Killed):
        assert code(company.call(action, **given)) in ("", "InternalError")
    company.installation.saboteur.rest()


def test_a_user_that_is_half_deleted_cannot_sign(company: Company) -> None:
    company.reset()
    before = {p for (_, p) in company.installation.data(IDENTITY) if p.startswith("PA#")}
    for fault, number in every_write(company, "DeleteUser", Name="leaver", Force=1):
        run(company, "DeleteUser", Name="leaver", Force=1)
        company.check()
        now = {p for (_, p) in company.installation.data(IDENTITY) if p.startswith("PA#")}
        answer = company.tried(company.leaver, "ssm", "ListSecrets")
        if now != before:
            assert answer == "AuthFailure.SecretIdNotFound", (fault, number)
        else:
            # Nothing of it has happened, or only that the keys are gone.
            assert answer in ("AuthFailure.UnauthorizedOperation", "AuthFailure.SecretIdNotFound")
        again = code(company.call("DeleteUser", Name="leaver", Force=1))
        assert again in ("", "ResourceNotFound.UserNotExist"), (fault, number)
        company.check()
        assert code(company.call("GetUser", Name="leaver")) == "ResourceNotFound.UserNotExist"
        assert company.tried(company.leaver, "ssm", "ListSecrets") == "AuthFailure.SecretIdNotFound"


def test_a_group_that_is_half_deleted_does_not_allow_what_it_denied(company: Company) -> None:
    """Who is still in the group is denied as before; who is not is out for good."""
    given = {"GroupId": company.group}
    for fault, number in every_write(company, "DeleteGroup", **given):
        assert company.tried(company.member, "ssm", "ListSecrets") == "AuthFailure.UnauthorizedOperation"
        run(company, "DeleteGroup", **given)
        company.check()
        is_in = ("AC#" + company.installation.root.uin, f"UG#{company.member.uin}#{company.group}")
        in_group = is_in in company.installation.data(IDENTITY)
        answer = company.tried(company.member, "ssm", "ListSecrets")
        assert answer == ("AuthFailure.UnauthorizedOperation" if in_group else ""), (fault, number)
        keys = company.tried(company.member, "kms", "ListKeys")
        assert keys == ("" if in_group else "AuthFailure.UnauthorizedOperation"), (fault, number)
        again = code(company.call("DeleteGroup", **given))
        assert again in ("", "ResourceNotFound.GroupNotExist"), (fault, number)
        company.check()
        assert not code(company.call("GetUser", Name="member"))


Call = tuple[str, dict[str, Any]]

CALLS: dict[str, Callable[[Stage], Call]] = {
    "create key": lambda s: ("CreateAccessKey", {"TargetUin": uin(s)}),
    "disable key": lambda s: ("UpdateAccessKey", {**key(s), "Status": "Inactive"}),
    "delete key": lambda s: ("DeleteAccessKey", key(s)),
    "list keys": lambda s: ("ListAccessKeys", {"TargetUin": uin(s)}),
    "update": lambda _: ("UpdateUser", {"Name": "member", "Remark": "mine"}),
    "delete": lambda _: ("DeleteUser", {"Name": "member"}),
    "delete by force": lambda _: ("DeleteUser", {"Name": "member", "Force": 1}),
    "join": lambda s: ("AddUserToGroup", {"Info": [pair(s, "empty")]}),
    "leave": lambda s: ("RemoveUserFromGroup", {"Info": [pair(s, "members")]}),
    "rename group": lambda s: ("UpdateGroup", {"GroupId": int(s.world.made["empty"]), "GroupName": "wanted"}),
    "delete group": lambda s: ("DeleteGroup", {"GroupId": int(s.world.made["members"])}),
    "delete empty group": lambda s: ("DeleteGroup", {"GroupId": int(s.world.made["empty"])}),
    "create group": lambda _: ("CreateGroup", {"GroupName": "wanted"}),
}


def uin(stage: Stage) -> int:
    return int(stage.world.made["member"])


def key(stage: Stage) -> dict[str, Any]:
    return {"TargetUin": uin(stage), "AccessKeyId": stage.world.made["access key"]}


def pair(stage: Stage, group: str) -> dict[str, int]:
    return {"GroupId": int(stage.world.made[group]), "Uin": uin(stage)}


def shape(stage: Stage, response: dict[str, Any]) -> str:
    """An answer without what is random."""
    return re.sub(r"'(RequestId|SecretAccessKey)': '[^']*'", "", stage._plain(str(response)))


def make(stage: Stage, gateway: Gateway, calls: Sequence[Call]) -> list[str]:
    return [shape(stage, ask(gateway, stage.world.request("cam", *call))) for call in calls]


@pytest.mark.parametrize("theirs", CALLS)
@pytest.mark.parametrize("mine", CALLS)
def test_calls_that_meet(stage: Stage, mine: str, theirs: str) -> None:
    """Somebody else's call between any two steps: both end as if one had come after the other."""
    first, second = CALLS[mine](stage), CALLS[theirs](stage)
    installation = stage.installation
    orders = []
    for order in ((first, second), (second, first)):
        stage.reset()
        told = make(stage, installation.gateway, order)
        orders.append((*(told if order[0] is first else reversed(told)), stage.outcome()))
    stage.reset()
    make(stage, installation.gateway, [first])
    for gap in range(1, len(installation.saboteur.calls) + 1):
        stage.reset()
        rival = installation.rival()
        answers: list[str] = []

        def interfere(
            _name: str, gap: int = gap, answers: list[str] = answers, rival: Gateway = rival
        ) -> None:
            if len(installation.saboteur.calls) == gap and not answers:
                answers.extend(make(stage, rival, [second]))

        installation.saboteur.before = interfere
        (response,) = make(stage, installation.gateway, [first])
        installation.saboteur.rest()
        check_whole(stage.rows(), installation.root.uin)
        assert (response, *answers, stage.outcome()) in orders, f"before call {gap}"
