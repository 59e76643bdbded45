"""What applies to a principal: how much is read for it, what is kept, and what happens while it changes."""

import functools

import pytest

from chalicelib import grants
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.grants import NOTHING, Grants
from chalicelib.hsm.port import Damaged
from chalicelib.policy.request import Request
from tests.actions.cam.arrange_policies import Counted, document, make_group, make_policy, make_role
from tests.installation import Client


@pytest.fixture
def installation(clock: ManualClock) -> Counted:
    return Counted(clock)


@pytest.fixture
def cam(installation: Counted) -> Client:
    return installation.client("cam")


def load(installation: Counted, principal: str) -> Grants:
    service = installation.service
    return grants.load(service.table(IDENTITY), service.seals, installation.root.uin, principal)


def reads_of(installation: Counted, principal: str) -> int:
    before = installation.identity.reads
    load(installation, principal)
    return installation.identity.reads - before


def names(granted: Grants) -> list[str]:
    return sorted(policy.name for policy in granted.policies)


def test_reads_do_not_grow_with_groups_and_policies(installation: Counted, cam: Client) -> None:
    uin = installation.add_user("u").uin
    assert reads_of(installation, f"user/{uin}") == 2
    for i in range(10):
        group = make_group(cam, f"g{i}")
        cam.AddUserToGroup(Info=[{"Uin": int(uin), "GroupId": group}])
        for j in range(3):
            policy = make_policy(cam, f"p{i}-{j}", document("kms:*" if j else f"kms:{i}*"))
            cam.AttachGroupPolicy(PolicyId=policy, AttachGroupId=group)
    grants._COMPILED._policies.clear()
    assert reads_of(installation, f"user/{uin}") == 5
    assert len(load(installation, f"user/{uin}").policies) == 30
    assert reads_of(installation, f"user/{uin}") == 4, "documents are kept"


def test_own_and_those_of_groups_each_once(installation: Counted, cam: Client) -> None:
    uin, group = installation.add_user("u").uin, make_group(cam)
    cam.AddUserToGroup(Info=[{"Uin": int(uin), "GroupId": group}])
    cam.AttachUserPolicy(PolicyId=2, AttachUin=int(uin))
    cam.AttachGroupPolicy(PolicyId=2, AttachGroupId=group)
    cam.PutUserPermissionsBoundary(PolicyId=11, TargetUin=int(uin))
    found = load(installation, f"user/{uin}")
    assert names(found) == ["ReadOnlyAccess"]
    assert found.boundary is not None
    assert found.boundary.name == "QcloudKMSFullAccess"


@pytest.mark.parametrize("principal", ["user/1", "group/1", "role/1"])
def test_who_does_not_exist_may_nothing(installation: Counted, principal: str) -> None:
    installation.add_user("u")
    assert load(installation, principal) == NOTHING
    request = Request("kms:ListKeys", "qcs::kms::uin/1:key/*", uin="1", owner_uin="1")
    assert not NOTHING.decide(request).allowed


def test_another_accounts_principal_does_not_exist(installation: Counted, cam: Client) -> None:
    role = make_role(installation, cam)
    cam.AttachRolePolicy(AttachRoleId=role, PolicyId=1)
    service, other = installation.service, installation.add_account()
    assert grants.load(service.table(IDENTITY), service.seals, other.uin, f"role/{role}") == NOTHING
    assert names(load(installation, f"role/{role}")) == ["AdministratorAccess"]


def test_what_changes_between_two_reads_is_read_again(installation: Counted, cam: Client) -> None:
    uin = installation.add_user("u").uin

    def fresh(name: str) -> int:
        policy = make_policy(cam, name, document(f"kms:{name}*"))
        cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(uin))
        return policy

    for before in (2, 3, 4):
        policy = fresh(f"deleted{before}")
        installation.identity.do_before(before, functools.partial(cam.DeletePolicy, PolicyId=[policy]))
        assert names(load(installation, f"user/{uin}")) in ([], [f"deleted{before}"])
        assert installation.identity.is_done()
        assert names(load(installation, f"user/{uin}")) == []
    policy = fresh("changed")
    change = functools.partial(cam.UpdatePolicy, PolicyId=policy, PolicyDocument=document("ssm:*"))
    installation.identity.do_before(4, change)
    (found,) = load(installation, f"user/{uin}").policies
    assert [bool(found.about(a)) for a in ("ssm:ListSecrets", "kms:changed")] == [True, False]


def test_what_is_missing_for_good_is_damage(installation: Counted, cam: Client) -> None:
    uin = installation.add_user("u").uin
    policy = make_policy(cam)
    cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(uin))
    image = installation.identity.snapshot()
    for gone in (f"P#{policy}", f"PV#{policy}#00000001", f"AT#user/{uin}"):
        installation.identity.restore(image)
        grants._COMPILED._policies.clear()
        installation.identity._memory().execute("DELETE FROM item WHERE sk = ?", (gone,))
        installation.identity._memory().commit()
        with pytest.raises(Damaged):
            load(installation, f"user/{uin}")


def test_the_memory_of_compiled_policies_is_bounded(
    installation: Counted, cam: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    uin = installation.add_user("u").uin
    for i in range(3):
        policy = make_policy(cam, f"p{i}", document(f"kms:{i}*"))
        cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(uin))
    kept = grants._Compiled(at_most=2)
    monkeypatch.setattr(grants, "_COMPILED", kept)
    assert len(load(installation, f"user/{uin}").policies) == 3
    assert len(kept._policies) == 2
