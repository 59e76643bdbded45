"""A thief who writes the identity table gives himself no right: whatever is forged, what is in doubt is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from chalicelib import grants
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.settings import Bootstrap
from chalicelib.table.port import Delete, Expect, Op, Put, Row
from tests.actions.cam.arrange_policies import document, entities, make_group, make_policy, make_role, trust
from tests.actions.ssm.arrange import code
from tests.inspected import Inspected, InspectedTable
from tests.installation import Client

DENIED: Final = "AuthFailure.UnauthorizedOperation"
IN_DOUBT: Final = "InternalError"
"""The service says no more to a caller whose rows do not fit together; its log tells the operator."""


class Heist:
    """An account with an administrator, a thief without rights of note, and the rows behind them."""

    def __init__(self, clock: ManualClock) -> None:
        self.installation = Inspected(clock)
        self.cam: Client = self.installation.client("cam")
        self.table: InspectedTable = self.installation.tables[IDENTITY]
        self.account = self.installation.root.uin
        self.boss, self.thief = (self.installation.add_user(name) for name in ("boss", "thief"))
        self.own = make_policy(self.cam, "own", document("kms:ListAlgorithms"))
        self.all = make_policy(self.cam, "all", document("*"))
        self.denies = make_policy(self.cam, "denies", document("kms:ListKeys", "deny"))
        self.cam.AttachUserPolicy(PolicyId=self.own, AttachUin=int(self.thief.uin))
        self.cam.AttachUserPolicy(PolicyId=self.all, AttachUin=int(self.boss.uin))
        self.group = make_group(self.cam)

    def attempt(self, who: Bootstrap | None = None) -> str:
        return code(self.installation.client("kms", who=who or self.thief).ListKeys)

    def row(self, sk: str, account: str = "") -> Row:
        row = self.table.get(f"AC#{account or self.account}", sk)
        assert row is not None, sk
        return row

    def put(self, row: Row) -> None:
        self.write(Put(row, Expect.ANY))

    def write(self, *ops: Op) -> None:
        self.table.write(ops)

    def edit(self, sk: str, **changes: Any) -> None:
        """Change members of a sealed row, and leave the seal as it is."""
        row = self.row(sk)
        text = json.dumps({**json.loads(row.body[33:]), **changes}, separators=(",", ":"))
        self.put(replace(row, body=row.body[:33] + text.encode()))

    def unsealed(self, sk: str, **members: Any) -> None:
        self.put(Row(pk=f"AC#{self.account}", sk=sk, body=record.encode(members)))

    def new_process(self) -> None:
        """Forget what was read before."""
        grants._COMPILED._policies.clear()
        self.installation.service.seals._seals.clear()

    def delete(self, sk: str) -> None:
        self.write(Delete(f"AC#{self.account}", sk, Expect.EXISTS))


@pytest.fixture
def heist(clock: ManualClock) -> Heist:
    heist = Heist(clock)
    assert (heist.attempt(), heist.attempt(heist.boss)) == (DENIED, "ok")
    return heist


def writes_a_wider_document(h: Heist) -> None:
    h.unsealed(f"PV#{h.own}#00000001", document=document("*"))


def copies_a_wider_document(h: Heist) -> None:
    h.put(replace(h.row(f"PV#{h.all}#00000001"), sk=f"PV#{h.own}#00000001"))


def points_at_another_version(h: Heist) -> None:
    h.cam.CreatePolicyVersion(PolicyId=h.own, PolicyDocument=document("*"), SetAsDefault=False)
    assert h.attempt() == DENIED
    h.edit(f"P#{h.own}", default=2)


def copies_a_wider_policy(h: Heist) -> None:
    h.put(replace(h.row(f"P#{h.all}"), sk=f"P#{h.own}"))


def attaches_another_policy(h: Heist) -> None:
    h.edit(f"AT#user/{h.thief.uin}", policies=[[h.all, 0]])


def attaches_without_a_seal(h: Heist) -> None:
    h.unsealed(f"AT#user/{h.thief.uin}", policies=[[1, 0]], boundary=0)


def copies_the_administrators_attachments(h: Heist) -> None:
    h.put(replace(h.row(f"AT#user/{h.boss.uin}"), sk=f"AT#user/{h.thief.uin}"))


def joins_a_group(h: Heist) -> None:
    h.cam.AttachGroupPolicy(PolicyId=h.all, AttachGroupId=h.group)
    h.unsealed(f"UG#{h.thief.uin}#{h.group}", at=0)


def joins_with_somebody_elses_membership(h: Heist) -> None:
    h.cam.AttachGroupPolicy(PolicyId=h.all, AttachGroupId=h.group)
    h.cam.AddUserToGroup(Info=[{"Uin": int(h.boss.uin), "GroupId": h.group}])
    h.put(replace(h.row(f"UG#{h.boss.uin}#{h.group}"), sk=f"UG#{h.thief.uin}#{h.group}"))


def widens_a_group(h: Heist) -> None:
    h.cam.AddUserToGroup(Info=[{"Uin": int(h.thief.uin), "GroupId": h.group}])
    assert h.attempt() == DENIED
    h.put(replace(h.row(f"AT#user/{h.boss.uin}"), sk=f"AT#group/{h.group}"))


def _brings_own_account(h: Heist) -> Bootstrap:
    other = h.installation.add_account()
    cam = h.installation.client("cam", who=other)
    cam.CreatePolicy(PolicyName="x", PolicyDocument=document("*"))
    return other


def copies_a_policy_of_an_account_of_his_own(h: Heist) -> None:
    other = _brings_own_account(h)
    (sk,) = [sk for pk, sk in h.table.rows() if pk == f"AC#{other.uin}" and sk.startswith("P#")]
    h.put(replace(h.row(sk, other.uin), pk=f"AC#{h.account}", sk=f"P#{h.own}"))


def copies_the_key_of_an_account_of_his_own(h: Heist) -> None:
    other = _brings_own_account(h)
    h.put(replace(h.row("SK", other.uin), pk=f"AC#{h.account}"))


FORGERIES: Final[tuple[Callable[[Heist], None], ...]] = (
    writes_a_wider_document,
    copies_a_wider_document,
    points_at_another_version,
    copies_a_wider_policy,
    attaches_another_policy,
    attaches_without_a_seal,
    copies_the_administrators_attachments,
    joins_a_group,
    joins_with_somebody_elses_membership,
    widens_a_group,
    copies_a_policy_of_an_account_of_his_own,
    copies_the_key_of_an_account_of_his_own,
)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forged_right_is_none(heist: Heist, forge: Callable[[Heist], None]) -> None:
    forge(heist)
    heist.new_process()
    assert heist.attempt() == IN_DOUBT
    assert code(heist.installation.client("kms", who=heist.thief).ListAlgorithms) == IN_DOUBT


def test_a_document_that_was_read_before_is_not_read_again(heist: Heist) -> None:
    """Versions never change: a compiled one stays right, whatever is in its row now."""
    writes_a_wider_document(heist)
    assert heist.attempt() == DENIED
    assert code(heist.installation.client("kms", who=heist.thief).ListAlgorithms) == "ok"


def denies_by_a_policy(h: Heist) -> None:
    h.cam.AttachUserPolicy(PolicyId=h.denies, AttachUin=int(h.boss.uin))


def removes_the_policy(h: Heist) -> None:
    h.delete(f"P#{h.denies}")


def removes_the_document(h: Heist) -> None:
    h.delete(f"PV#{h.denies}#00000001")


def drops_it_from_the_attachments(h: Heist) -> None:
    h.edit(f"AT#user/{h.boss.uin}", policies=[[h.all, 0]])


@pytest.mark.parametrize("remove", [removes_the_policy, removes_the_document, drops_it_from_the_attachments])
def test_no_single_denial_can_be_taken_away(heist: Heist, remove: Callable[[Heist], None]) -> None:
    denies_by_a_policy(heist)
    remove(heist)
    assert heist.attempt(heist.boss) == IN_DOUBT


def test_a_membership_that_denies_cannot_be_taken_away(heist: Heist) -> None:
    heist.cam.AttachGroupPolicy(PolicyId=heist.denies, AttachGroupId=heist.group)
    heist.cam.AddUserToGroup(Info=[{"Uin": int(heist.boss.uin), "GroupId": heist.group}])
    assert heist.attempt(heist.boss) == DENIED
    heist.delete(f"UG#{heist.boss.uin}#{heist.group}")
    assert heist.attempt(heist.boss) == IN_DOUBT


def test_a_boundary_cannot_be_changed(heist: Heist) -> None:
    heist.cam.PutUserPermissionsBoundary(PolicyId=heist.own, TargetUin=int(heist.boss.uin))
    assert heist.attempt(heist.boss) == DENIED
    heist.edit(f"AT#user/{heist.boss.uin}", boundary=0)
    assert heist.attempt(heist.boss) == IN_DOUBT


def test_a_forged_name_leads_nowhere(heist: Heist) -> None:
    """The administrator attaches by name: the thief cannot make the name mean another policy, or another role."""
    role = make_role(heist.installation, heist.cam, "reader")
    other = make_role(heist.installation, heist.cam, "thieves")
    heist.unsealed("PN#own", id=heist.all)
    heist.unsealed("RN#reader", id=other)
    with pytest.raises(Exception, match="PolicyIdNotExist"):
        heist.cam.AttachRolePolicy(AttachRoleId=role, PolicyName="own")
    with pytest.raises(Exception, match="RoleNotExist"):
        heist.cam.AttachRolePolicy(AttachRoleName="reader", PolicyId=heist.all)


def test_a_forged_role_is_in_doubt(heist: Heist) -> None:
    role = make_role(heist.installation, heist.cam)
    heist.edit(f"R#{role}", document=trust("100000000666"))
    assert code(lambda: heist.cam.GetRole(RoleId=role)) == IN_DOUBT
    assert code(lambda: heist.cam.DescribeRoleList(Page=1, Rp=20)) == IN_DOUBT


def test_a_forged_listing_is_shown_and_detaches_nothing(heist: Heist) -> None:
    """What is attached to a policy is listed from rows that decide nothing, and have no seal."""
    heist.unsealed(f"PA#{heist.denies}#user/{heist.boss.uin}", at=0)
    assert entities(heist.cam, heist.denies) == [f"1/{heist.boss.uin}"]
    heist.cam.DeletePolicy(PolicyId=[heist.denies])
    assert heist.attempt(heist.boss) == "ok"


def test_the_root_account_is_beside_all_this(heist: Heist) -> None:
    attaches_without_a_seal(heist)
    assert heist.attempt(heist.installation.root) == "ok"


def test_attachments_cannot_be_taken_away_altogether(heist: Heist) -> None:
    heist.cam.AttachUserPolicy(PolicyId=heist.denies, AttachUin=int(heist.boss.uin))
    heist.cam.AttachGroupPolicy(PolicyId=heist.all, AttachGroupId=heist.group)
    heist.cam.AddUserToGroup(Info=[{"Uin": int(heist.boss.uin), "GroupId": heist.group}])
    for target in (f"user/{heist.boss.uin}", f"group/{heist.group}"):
        kept = heist.row(f"AT#{target}")
        heist.delete(f"AT#{target}")
        assert heist.attempt(heist.boss) == IN_DOUBT
        heist.put(kept)
        assert heist.attempt(heist.boss) == DENIED


# What a seal cannot show (docs/threat-model.md)


def test_an_old_row_put_back_is_not_noticed(heist: Heist) -> None:
    before = heist.row(f"AT#user/{heist.boss.uin}")
    heist.cam.DetachUserPolicy(PolicyId=heist.all, DetachUin=int(heist.boss.uin))
    assert heist.attempt(heist.boss) == DENIED
    heist.put(before)
    assert heist.attempt(heist.boss) == "ok"
