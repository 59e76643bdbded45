"""The story of sub-accounts: one user reads one secret, another does not, by every way that access management knows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.clock import ManualClock
from chalicelib.settings import Bootstrap, Settings
from tests.installation import SM, Client, Installation, refused
from tests.permissions import document, statement
from tests.sessions import arn, client_of

DENIED = "AuthFailure.UnauthorizedOperation"


class Story:
    """An account with the secrets `orders-db` and `payroll`, and the official clients of its people."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.cam, self.ssm = installation.client("cam"), installation.client("ssm")
        for name in ("orders-db", "payroll"):
            self.ssm.CreateSecret(SecretName=name, VersionId="v1", SecretString=f"{name}-password")

    def hire(self, name: str) -> Bootstrap:
        """A user with an access key, made as an administrator makes one."""
        uin = str(self.cam.AddUser(Name=name).Uin)
        key = self.cam.CreateAccessKey(TargetUin=int(uin)).AccessKey
        return Bootstrap(uin, key.AccessKeyId, key.SecretAccessKey)

    def policy(self, name: str, **condition: Any) -> int:
        """A policy to read `orders-db` and nothing else."""
        root = self.installation.root.uin
        more: dict[str, Any] = {"condition": condition} if condition else {}
        reading = statement(
            action=["name/ssm:GetSecretValue", "name/ssm:DescribeSecret"],
            resource=f"qcs::ssm:{SM}:uin/{root}:secret/creatorUin/{root}/orders-db",
            **more,
        )
        return int(self.cam.CreatePolicy(PolicyName=name, PolicyDocument=document(reading)).PolicyId)

    def client(self, who: Bootstrap) -> Client:
        return self.installation.client("ssm", who=who)


def reads(client: Client, name: str = "orders-db") -> None:
    assert client.GetSecretValue(SecretName=name, VersionId="v1").SecretString == f"{name}-password"


def does_not_read(client: Client, name: str = "orders-db") -> None:
    with refused(DENIED) as denial:
        client.GetSecretValue(SecretName=name, VersionId="v1")
    assert "password" not in str(denial.value)


@pytest.fixture
def story(installation: Installation) -> Story:
    return Story(installation)


def test_by_user(story: Story) -> None:
    alice, bob = story.hire("alice"), story.hire("bob")
    for who in (alice, bob):
        does_not_read(story.client(who))
    policy = story.policy("read-orders")
    story.cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(alice.uin))
    reads(story.client(alice))
    does_not_read(story.client(bob))
    does_not_read(story.client(alice), "payroll")
    with refused(DENIED):
        story.client(alice).DisableSecret(SecretName="orders-db")
    story.cam.DetachUserPolicy(PolicyId=policy, DetachUin=int(alice.uin))
    does_not_read(story.client(alice))


def test_by_group(story: Story) -> None:
    alice, bob = story.hire("alice"), story.hire("bob")
    group = story.cam.CreateGroup(GroupName="orders").GroupId
    story.cam.AttachGroupPolicy(PolicyId=story.policy("read-orders"), AttachGroupId=group)
    does_not_read(story.client(alice))
    membership = [{"Uid": story.cam.GetUser(Name="alice").Uid, "GroupId": group}]
    story.cam.AddUserToGroup(Info=membership)
    reads(story.client(alice))
    does_not_read(story.client(bob))
    story.cam.RemoveUserFromGroup(Info=membership)
    does_not_read(story.client(alice))
    story.cam.AddUserToGroup(Info=membership)
    story.cam.DeleteGroup(GroupId=group)
    does_not_read(story.client(alice))


def test_by_role(story: Story) -> None:
    alice, bob = story.hire("alice"), story.hire("bob")
    root = story.installation.root.uin
    trust = {
        "effect": "allow",
        "action": "name/sts:AssumeRole",
        "principal": {"qcs": [f"qcs::cam::uin/{root}:uin/{alice.uin}"]},
    }
    story.cam.CreateRole(RoleName="orders-reader", PolicyDocument=document(trust))
    policy = story.policy("read-orders")
    story.cam.AttachRolePolicy(PolicyId=policy, AttachRoleName="orders-reader")
    may_assume = document(
        statement(action="name/sts:AssumeRole", resource=arn(story.installation, "orders-reader"))
    )
    for who in (alice, bob):
        made = story.cam.CreatePolicy(PolicyName=f"assume-{who.uin}", PolicyDocument=may_assume)
        story.cam.AttachUserPolicy(PolicyId=made.PolicyId, AttachUin=int(who.uin))
    call = {"RoleArn": arn(story.installation, "orders-reader"), "RoleSessionName": "shift-1"}
    answer = story.installation.client("sts", who=alice).AssumeRole(**call)
    session = client_of(story.installation, answer, "ssm")
    reads(session)
    does_not_read(session, "payroll")
    does_not_read(story.client(alice))  # the user itself is not the role
    with refused("UnauthorizedOperation"):
        story.installation.client("sts", who=bob).AssumeRole(**call)
    story.cam.DetachRolePolicy(PolicyId=policy, DetachRoleName="orders-reader")
    does_not_read(session)
    story.cam.AttachRolePolicy(PolicyId=policy, AttachRoleName="orders-reader")
    reads(session)
    story.cam.DeleteRole(RoleName="orders-reader")
    with refused("AuthFailure.TokenFailure"):
        session.GetSecretValue(SecretName="orders-db", VersionId="v1")


def test_with_a_condition_on_address_and_time(story: Story) -> None:
    alice = story.hire("alice")
    now = datetime.fromtimestamp(story.installation.clock.now(), UTC)
    until = f"{now + timedelta(hours=8):%Y-%m-%dT%H:%M:%SZ}"
    # The tests' calls come from 192.0.2.1.
    outside = story.policy("outside", ip_equal={"qcs:ip": "10.0.0.0/8"})
    story.cam.AttachUserPolicy(PolicyId=outside, AttachUin=int(alice.uin))
    does_not_read(story.client(alice))
    shift = story.policy(
        "shift", ip_equal={"qcs:ip": "192.0.2.0/24"}, date_less_than={"qcs:current_time": until}
    )
    story.cam.AttachUserPolicy(PolicyId=shift, AttachUin=int(alice.uin))
    reads(story.client(alice))
    story.installation.clock.advance(8 * 3600)
    does_not_read(story.client(alice))


def test_a_new_version_of_the_policy_counts_at_once(story: Story) -> None:
    alice = story.hire("alice")
    policy = story.policy("read-orders")
    story.cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(alice.uin))
    reads(story.client(alice))
    denial = document(statement("deny"))
    story.cam.CreatePolicyVersion(PolicyId=policy, PolicyDocument=denial, SetAsDefault=True)
    does_not_read(story.client(alice))
    story.cam.SetDefaultPolicyVersion(PolicyId=policy, VersionId=1)
    reads(story.client(alice))


def test_a_preset_policy(story: Story) -> None:
    alice = story.hire("alice")
    presets = {p.PolicyName: p.PolicyId for p in story.cam.ListPolicies(Scope="QCS", Rp=200).List}
    story.cam.AttachUserPolicy(PolicyId=presets["QcloudSSMFullAccess"], AttachUin=int(alice.uin))
    reads(story.client(alice), "payroll")
    with refused(DENIED):
        story.installation.client("kms", who=alice).ListKeys()


def test_keys_and_users_that_are_taken_back(story: Story) -> None:
    alice = story.hire("alice")
    story.cam.AttachUserPolicy(PolicyId=story.policy("read-orders"), AttachUin=int(alice.uin))
    reads(story.client(alice))
    key = {"TargetUin": int(alice.uin), "AccessKeyId": alice.secret_id}
    story.cam.UpdateAccessKey(**key, Status="Inactive")
    with refused("AuthFailure.SecretIdNotFound"):
        story.client(alice).GetSecretValue(SecretName="orders-db", VersionId="v1")
    story.cam.UpdateAccessKey(**key, Status="Active")
    reads(story.client(alice))
    story.cam.DeleteUser(Name="alice", Force=1)
    with refused("AuthFailure.SecretIdNotFound"):
        story.client(alice).GetSecretValue(SecretName="orders-db", VersionId="v1")


def test_what_is_revoked_stops_within_the_cache_time(clock: ManualClock) -> None:
    """On every worker: each has its own cache, and none looks further back."""
    import time

    story = Story(Installation(clock, Settings(throttle=False, credential_cache_seconds=1)))
    alice = story.hire("alice")
    policy = story.policy("read-orders")
    story.cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(alice.uin))
    reads(story.client(alice))
    story.cam.DetachUserPolicy(PolicyId=policy, DetachUin=int(alice.uin))
    time.sleep(1.05)
    does_not_read(story.client(alice))


def test_a_denial_wins_over_the_administrator(story: Story) -> None:
    alice = story.hire("alice")
    everything = story.cam.CreatePolicy(PolicyName="all", PolicyDocument=document(statement()))
    never = document(statement("deny", resource="qcs::ssm:::secret/creatorUin/*/payroll"))
    denied = story.cam.CreatePolicy(PolicyName="not-payroll", PolicyDocument=never)
    for made in (everything, denied):
        story.cam.AttachUserPolicy(PolicyId=made.PolicyId, AttachUin=int(alice.uin))
    reads(story.client(alice))
    with refused(DENIED) as denial:
        story.client(alice).GetSecretValue(SecretName="payroll", VersionId="v1")
    assert "statement 0 of the policy not-payroll denies it" in denial.value.message
    listed = story.client(alice).ListSecrets()
    assert [s.SecretName for s in listed.SecretMetadatas] == ["orders-db"]
