"""Users, sessions and tenants who try for more than their policies allow."""

import functools
from typing import Any, Final

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.settings import Bootstrap
from chalicelib.table.port import Delete, Expect, Put, Row
from tests import permissions
from tests.actions.cam.arrange_policies import make_group
from tests.actions.ssm.arrange import code, events
from tests.inspected import Inspected
from tests.installation import SM, Installation
from tests.permissions import document, statement
from tests.sessions import arn, client_of, trusting

DENIED: Final = "AuthFailure.UnauthorizedOperation"


@pytest.fixture
def mallory(installation: Installation) -> Bootstrap:
    """A user without any permission."""
    return installation.add_user("mallory")


def user_arn(installation: Installation, who: Bootstrap) -> str:
    return f"qcs::cam::uin/{installation.root.uin}:uin/{who.uin}"


def test_who_must_not_touch_a_user_puts_it_into_no_group(
    installation: Installation, mallory: Bootstrap
) -> None:
    """The delegated administrator whom a denial keeps from giving rights to himself."""
    permissions.allow(
        installation,
        mallory,
        statement(action="cam:*"),
        statement("deny", "cam:*", user_arn(installation, mallory)),
    )
    root, cam = installation.client("cam"), installation.client("cam", who=mallory)
    group = make_group(root)
    root.AttachGroupPolicy(PolicyId=1, AttachGroupId=group)
    info = [{"Uin": int(mallory.uin), "GroupId": group}]
    assert code(lambda: cam.AddUserToGroup(Info=info)) == DENIED
    root.AddUserToGroup(Info=info)
    assert code(lambda: cam.RemoveUserFromGroup(Info=info)) == DENIED
    other = [{"Uin": int(installation.add_user("bob").uin), "GroupId": group}]
    assert code(lambda: cam.AddUserToGroup(Info=other)) == "ok"


@pytest.mark.parametrize("opened_by", ["GetSessionToken", "GetFederationToken"])
def test_a_session_leaves_no_key_behind_that_stays(
    installation: Installation, mallory: Bootstrap, opened_by: str
) -> None:
    permissions.allow(installation, mallory, statement(action=["sts:*", "cam:*AccessKey*", "kms:ListKeys"]))
    bounds = {"Name": "f", "Policy": document(statement(action="cam:*"))}
    opened = getattr(installation.client("sts", who=mallory), opened_by)(
        **(bounds if opened_by == "GetFederationToken" else {"SerialNumber": "", "TokenCode": ""})
    )
    cam = client_of(installation, opened, "cam")
    off = {"AccessKeyId": mallory.secret_id, "Status": "Inactive"}
    for target in ({}, {"TargetUin": int(mallory.uin)}):
        for change in (
            functools.partial(cam.CreateAccessKey, **target),
            functools.partial(cam.UpdateAccessKey, **target, **off),
        ):
            assert code(change) == "OperationDenied.SubUin"
    assert code(installation.client("cam", who=mallory).CreateAccessKey) == "ok"


def test_the_names_of_another_accounts_roles_do_not_decide(installation: Installation) -> None:
    """Whoever writes the caller's own policies must not learn by them how another account's roles are called."""
    role_id = permissions.add_role(installation, "payroll", trusting(installation.root.uin))
    tenant = installation.add_account()
    cam = installation.client("cam", who=tenant)
    probe = int(cam.AddUser(Name="probe", UseApi=1).Uin)
    key = cam.CreateAccessKey(TargetUin=probe).AccessKey
    who = Bootstrap(str(probe), key.AccessKeyId, key.SecretAccessKey)
    sts = installation.client("sts", who=who)
    account = f"qcs::cam::uin/{installation.root.uin}"
    only_ids = statement(action="sts:AssumeRole", resource=f"{account}:role/*")
    made = cam.CreatePolicy(PolicyName="ids", PolicyDocument=document(only_ids))
    cam.AttachUserPolicy(PolicyId=made.PolicyId, AttachUin=probe)

    def ends(path: str) -> str:
        return code(lambda: sts.AssumeRole(RoleArn=f"{account}:{path}", RoleSessionName="s1"))

    assert ends("roleName/payroll") == ends("roleName/absent") == DENIED
    assert ends(f"role/{role_id}") == ends("role/4611686018400000001") == "UnauthorizedOperation"


def test_tags_of_roles_count_in_conditions(installation: Installation, mallory: Bootstrap) -> None:
    permissions.allow(
        installation,
        mallory,
        statement(action=["cam:*", "sts:*"]),
        statement("deny", "*", condition={"string_equal": {"qcs:resource_tag": "env&prod"}}),
    )
    root = installation.client("cam")
    for name in ("plain", "production"):
        permissions.add_role(installation, name, trusting(installation.root.uin))
    root.TagRole(RoleName="production", Tags=[{"Key": "env", "Value": "prod"}])
    cam, sts = installation.client("cam", who=mallory), installation.client("sts", who=mallory)

    def ends(name: str) -> list[str]:
        return [
            code(lambda: cam.GetRole(RoleName=name)),
            code(lambda: cam.AttachRolePolicy(AttachRoleName=name, PolicyId=1)),
            code(lambda: cam.UntagRole(RoleName=name, TagKeys=["env"])),
            code(lambda: sts.AssumeRole(RoleArn=arn(installation, name), RoleSessionName="s1")),
        ]

    assert ends("plain") == ["ok"] * 4
    assert ends("production") == [DENIED] * 4


def test_tags_of_policies_count_in_conditions(installation: Installation, mallory: Bootstrap) -> None:
    permissions.allow(
        installation,
        mallory,
        statement(action="cam:*"),
        statement("deny", "*", condition={"string_equal": {"qcs:resource_tag": "env&prod"}}),
    )
    root, cam = installation.client("cam"), installation.client("cam", who=mallory)
    text = document(statement())
    tagged = root.CreatePolicy(
        PolicyName="tagged", PolicyDocument=text, Tags=[{"Key": "env", "Value": "prod"}]
    ).PolicyId
    plain = root.CreatePolicy(PolicyName="plain", PolicyDocument=text).PolicyId
    for policy, ended in ((plain, "ok"), (tagged, DENIED)):
        attach = functools.partial(cam.AttachUserPolicy, AttachUin=int(mallory.uin))
        assert code(functools.partial(attach, PolicyId=policy)) == ended
        assert code(functools.partial(cam.GetPolicy, PolicyId=policy)) == ended
        assert code(functools.partial(cam.DeletePolicy, PolicyId=[policy])) == ended


def test_a_denial_without_a_second_factor_holds(installation: Installation, mallory: Bootstrap) -> None:
    """Nobody has shown a second factor: there are none."""
    permissions.allow(
        installation,
        mallory,
        statement(action=["kms:ListKeys", "cam:SimulatePolicy"]),
        statement("deny", "kms:*", condition={"bool_equal": {"qcs:mfa": "false"}}),
    )
    assert code(installation.client("kms", who=mallory).ListKeys) == DENIED
    answer = installation.client("cam", who=mallory).call_raw(
        "SimulatePolicy", {"ActionName": "kms:ListKeys"}
    )
    assert answer["Decision"] == "deny"


def test_the_arn_of_get_caller_identity_is_no_silent_resource(installation: Installation) -> None:
    """It has the account where a region belongs: a denial of it would never apply."""
    printed = installation.client("sts").GetCallerIdentity().Arn
    text = document(statement("deny", "cam:*", printed))
    ended = code(lambda: installation.client("cam").CreatePolicy(PolicyName="p", PolicyDocument=text))
    assert ended == "InvalidParameter.ResourceRegionError"


def test_an_administrator_is_not_made_to_sign_a_forged_membership_away(installation: Installation) -> None:
    """Who plants a membership and has it cleaned up must not have the count fit without one that denies."""
    root, bob = installation.client("cam"), installation.add_user("bob")
    permissions.allow(installation, bob, statement(action="kms:ListKeys"))
    denies = permissions.create_policy(installation, statement("deny", "kms:*"))
    group, other = make_group(root, "denied"), make_group(root, "other")
    root.AttachGroupPolicy(PolicyId=denies, AttachGroupId=group)
    root.AddUserToGroup(Info=[{"Uin": int(bob.uin), "GroupId": group}])
    kms = installation.client("kms", who=bob)
    assert code(kms.ListKeys) == DENIED
    table, pk = installation.service.table(IDENTITY), f"AC#{installation.root.uin}"
    body = record.encode({"at": 0})

    def plant(*sks: str) -> None:
        table.write([Put(Row(pk=pk, sk=sk, body=body), Expect.ANY) for sk in sks])

    mine, theirs = f"UG#{bob.uin}#{group}", f"UG#{bob.uin}#{other}"
    plant(theirs, f"GU#{other}#{bob.uin}")
    assert code(lambda: root.RemoveUserFromGroup(Info=[{"Uin": int(bob.uin), "GroupId": other}])) != "ok"
    code(lambda: root.DeleteGroup(GroupId=other))
    table.write([Delete(pk, mine, Expect.ANY), Delete(pk, theirs, Expect.ANY)])
    assert code(kms.ListKeys) == "InternalError"


def test_an_account_sees_who_takes_its_roles_on(clock: ManualClock) -> None:
    installation = Inspected(clock)
    tenant = installation.add_account()
    permissions.add_role(installation, "shared", trusting(tenant.uin), statement(action="kms:ListKeys"))
    sts = installation.client("sts", who=tenant)
    call = {"RoleArn": arn(installation, "shared"), "RoleSessionName": "visitor"}
    assert code(lambda: sts.call_raw("AssumeRole", {**call, "DryRun": True})) == "DryRunOperation"

    def seen(who: Bootstrap) -> list[dict[str, Any]]:
        found = events(installation, who, IDENTITY)
        return [e for e in found if e["action"] == "AssumeRole" and "error" not in e]

    assert not seen(installation.root)
    sts.AssumeRole(**call)
    (visit,) = seen(installation.root)
    assert (visit["uin"], visit["user"], visit["user_type"]) == (tenant.uin, tenant.uin, "OtherAccount")
    assert (visit["parameters"]["RoleSessionName"], visit["resources"]) == ("visitor", ["role/shared"])
    assert "secret_id" not in visit
    (own,) = seen(tenant)
    assert own["secret_id"] == tenant.secret_id


def test_a_condition_on_given_tags_lets_nobody_take_others_away(
    installation: Installation, mallory: Bootstrap
) -> None:
    """Whoever may give one tag must not take away another in the same call, which a denial hangs on."""
    given = {"for_all_value:string_equal": {"qcs:request_tag": "team&red"}}
    permissions.allow(
        installation,
        mallory,
        statement(action="tag:*", condition=given),
        statement(action="kms:DescribeKey"),
        statement("deny", "kms:*", condition={"string_equal": {"qcs:resource_tag": "env&prod"}}),
    )
    made = installation.client("kms").CreateKey(Alias="k", Tags=[{"TagKey": "env", "TagValue": "prod"}])
    name = f"qcs::kms:{SM}:uin/{installation.root.uin}:key/{made.KeyId}"
    tag, kms = installation.client("tag", who=mallory), installation.client("kms", who=mallory)
    change = functools.partial(
        tag.ModifyResourceTags, Resource=name, ReplaceTags=[{"TagKey": "team", "TagValue": "red"}]
    )
    assert code(functools.partial(change, DeleteTags=[{"TagKey": "env"}])) == DENIED
    assert code(change) == "ok"
    assert code(lambda: kms.DescribeKey(KeyId=made.KeyId)) == DENIED


@pytest.mark.parametrize("gains", [True, False], ids=["a right", "no denial"])
def test_a_former_membership_does_not_take_the_place_of_another(
    installation: Installation, mallory: Bootstrap, *, gains: bool
) -> None:
    """Who writes to the table puts an old row back and takes a newer one away: the number of groups stays."""
    root, table = installation.client("cam"), installation.service.table(IDENTITY)
    former, now = make_group(root, "former"), make_group(root, "now")
    if gains:
        root.AttachGroupPolicy(PolicyId=1, AttachGroupId=former)
    else:
        permissions.allow(installation, mallory, statement(action="kms:ListKeys"))
        denies = permissions.create_policy(installation, statement("deny", "kms:*"))
        root.AttachGroupPolicy(PolicyId=denies, AttachGroupId=now)
    pk = f"AC#{installation.root.uin}"
    root.AddUserToGroup(Info=[{"Uin": int(mallory.uin), "GroupId": former}])
    kept = table.get(pk, f"UG#{mallory.uin}#{former}")
    assert kept is not None
    root.RemoveUserFromGroup(Info=[{"Uin": int(mallory.uin), "GroupId": former}])
    root.AddUserToGroup(Info=[{"Uin": int(mallory.uin), "GroupId": now}])
    kms = installation.client("kms", who=mallory)
    assert code(kms.ListKeys) == DENIED
    table.write([Put(kept, Expect.ANY), Delete(pk, f"UG#{mallory.uin}#{now}", Expect.EXISTS)])
    assert code(kms.ListKeys) == "InternalError"
