"""One call of every action that succeeds in a small world, for the tests that must hold for all of them."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from chalicelib.api import registry
from chalicelib.api.http import Request
from chalicelib.formats import ciphertext_blob
from chalicelib.hsm.port import Padding
from chalicelib.hsm.public import encrypt_to, to_pem
from chalicelib.model.key import PQC_DECRYPT, PQC_SIGN
from chalicelib.settings import Bootstrap
from tests import oidc, permissions
from tests.calls import VERSIONS, ask, code, tc3
from tests.installation import SM, Installation

VALUE: Final = "a value"
BEIJING: Final = "ap-beijing"
CONTEXT: Final = '{"purpose": "test"}'
PLAINTEXT: Final = "aGVsbG8="
WRAPPING: Final = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
POLICY: Final = (
    '{"version": "2.0", "statement": [{"effect": "allow", "action": "kms:List*", "resource": "*"}]}'
)
OPEN: Final = ("AssumeRoleWithWebIdentity", "GetCallerIdentity")
"""Actions that no policy decides about."""
BOUND: Final = {"ProductId": "cbs", "ResourceId": "disk-1"}


@dataclass(frozen=True)
class World:
    """An account with secrets and keys in the states that the actions need."""

    installation: Installation
    keys: dict[str, str] = field(default_factory=dict)
    """Ids by alias: `key` and `other` are enabled and symmetric, the others what their alias says."""
    data_keys: dict[str, str] = field(default_factory=dict)
    """Ids by name, as above."""
    made: dict[str, str] = field(default_factory=dict)
    """Ciphertexts, signatures and import parameters, by what they are for."""

    @property
    def blob(self) -> str:
        """A ciphertext under `key`, in CONTEXT."""
        return self.made["blob"]

    def request(
        self,
        service: str,
        action: str,
        parameters: Mapping[str, Any],
        *,
        who: Bootstrap | None = None,
        region: str = SM,
    ) -> Request:
        now = self.installation.clock.now()
        return tc3(who or self.installation.root, now, service, action, parameters, region=region)

    def call(self, service: str, action: str, **parameters: Any) -> dict[str, Any]:
        """Call as root."""
        return ask(self.installation.gateway, self.request(service, action, parameters))

    def done(self, service: str, action: str, **parameters: Any) -> dict[str, Any]:
        """Call as root, and have it succeed."""
        response = self.call(service, action, **parameters)
        assert not code(response), response
        return response


def build(installation: Installation) -> World:
    """Secrets `live` (v1, v2), `idle` (disabled), `leaving` (scheduled for deletion) and `copied`, and keys of every kind."""
    world = World(installation)
    _build_secrets(world)
    _build_keys(world)
    _build_key_pairs(world)
    _build_data_keys(world)
    _build_policies(world)
    _build_users(world)
    _build_sessions(world)
    return world


def _build_secrets(world: World) -> None:
    for name in ("live", "idle", "leaving"):
        world.done("ssm", "CreateSecret", SecretName=name, VersionId="v1", SecretString=VALUE)
    world.done("ssm", "PutSecretValue", SecretName="live", VersionId="v2", SecretString=VALUE)
    for name in ("idle", "leaving"):
        world.done("ssm", "DisableSecret", SecretName=name)
    world.done("ssm", "DeleteSecret", SecretName="leaving", RecoveryWindowInDays=7)
    world.done("ssm", "CreateSecret", SecretName="copied", VersionId="v1", SecretString=VALUE)
    world.done("ssm", "ReplicateSecret", SecretName="copied", ReplicaRegions=[{"Region": BEIJING}])


def _build_keys(world: World) -> None:
    for alias in ("key", "other", "idle", "archived", "leaving", "bound", "rotating"):
        world.keys[alias] = world.done("kms", "CreateKey", Alias=alias)["KeyId"]
    for alias in ("idle", "leaving"):
        world.done("kms", "DisableKey", KeyId=world.keys[alias])
    world.done("kms", "ScheduleKeyDeletion", KeyId=world.keys["leaving"], PendingWindowInDays=7)
    world.done("kms", "ArchiveKey", KeyId=world.keys["archived"])
    world.done("kms", "BindCloudResource", KeyId=world.keys["bound"], **BOUND)
    world.done("kms", "EnableKeyRotation", KeyId=world.keys["rotating"])
    made = world.done(
        "kms", "Encrypt", KeyId=world.keys["key"], Plaintext=PLAINTEXT, EncryptionContext=CONTEXT
    )
    world.made["blob"] = made["CiphertextBlob"]
    for alias in ("waiting", "imported"):
        key_id = world.keys[alias] = world.done("kms", "CreateKey", Alias=alias, Type=2)["KeyId"]
        given = world.done("kms", "GetParametersForImport", KeyId=key_id, **WRAPPING)
        public_key = to_pem(base64.b64decode(given["PublicKey"]))
        world.made["token"] = given["ImportToken"]
        world.made["material"] = _b64(encrypt_to(public_key, Padding.RSAES_OAEP_SHA_256, bytes(16)))
        if alias == "waiting":
            waiting = (world.made["token"], world.made["material"])
    imported = {"ImportToken": world.made["token"], "EncryptedKeyMaterial": world.made["material"]}
    world.done("kms", "ImportKeyMaterial", KeyId=world.keys["imported"], **imported)
    world.made["token"], world.made["material"] = waiting


def _build_key_pairs(world: World) -> None:
    usages = {
        "rsa": "ASYMMETRIC_DECRYPT_RSA_2048",
        "sm2": "ASYMMETRIC_DECRYPT_SM2",
        "ecc": "ASYMMETRIC_SIGN_VERIFY_ECC",
        "pqc-decrypt": PQC_DECRYPT,
        "pqc-sign": PQC_SIGN,
    }
    for alias, usage in usages.items():
        world.keys[alias] = world.done("kms", "CreateKey", Alias=alias, KeyUsage=usage)["KeyId"]
    for alias, padding in (("rsa", Padding.RSAES_OAEP_SHA_256), ("sm2", Padding.SM2_ASN1)):
        public_key = world.done("kms", "GetPublicKey", KeyId=world.keys[alias])["PublicKeyPem"]
        world.made[alias] = _b64(encrypt_to(public_key, padding, b"hello"))
    made = world.done(
        "kms", "SignByAsymmetricKey", KeyId=world.keys["ecc"], Algorithm="ECC_P256_R1", Message=PLAINTEXT
    )
    world.made["ecc"] = made["Signature"]
    made = world.done("kms", "PostQuantumCryptoSign", KeyId=world.keys["pqc-sign"], Message=PLAINTEXT)
    world.made["pqc-sign"] = made["Signature"]
    made = world.done("kms", "PostQuantumCryptoEncrypt", KeyId=world.keys["pqc-decrypt"], PlainText=PLAINTEXT)
    world.made["pqc-decrypt"] = made["CiphertextBlob"]


def _build_data_keys(world: World) -> None:
    for name in ("hosted", "other", "idle", "leaving"):
        made = world.done(
            "kms",
            "GenerateDataKey",
            KeyId=world.keys["key"],
            KeySpec="AES_256",
            IsHostedByKms=1,
            DataKeyName=name,
        )
        world.data_keys[name] = made["DataKeyId"]
    for name in ("idle", "leaving"):
        world.done("kms", "DisableDataKey", DataKeyId=world.data_keys[name])
    world.done("kms", "ScheduleDataKeyDeletion", DataKeyId=world.data_keys["leaving"], PendingWindowInDays=7)


def _build_policies(world: World) -> None:
    """Policies `policy` and `attached`, the user `holder`, the group `holders` and the role `role`, which have it."""
    for name in ("policy", "attached"):
        made = world.done("cam", "CreatePolicy", PolicyName=name, PolicyDocument=POLICY)
        world.made[name] = str(made["PolicyId"])
    named = {"PolicyId": int(world.made["policy"])}
    world.done("cam", "CreatePolicyVersion", **named, PolicyDocument=POLICY, SetAsDefault=False)
    attached = {"PolicyId": int(world.made["attached"])}
    world.made["holder"] = str(world.done("cam", "AddUser", Name="holder")["Uin"])
    world.made["holders"] = str(world.done("cam", "CreateGroup", GroupName="holders")["GroupId"])
    tags = [{"Key": "team", "Value": "blue"}]
    trust = {"PolicyDocument": trust_policy(world.installation.root.uin)}
    world.made["role"] = world.done("cam", "CreateRole", RoleName="role", Tags=tags, **trust)["RoleId"]
    uin, group, role = int(world.made["holder"]), int(world.made["holders"]), world.made["role"]
    world.done("cam", "AttachUserPolicy", **attached, AttachUin=uin)
    world.done("cam", "AttachGroupPolicy", **attached, AttachGroupId=group)
    world.done("cam", "AttachRolePolicy", **attached, AttachRoleId=role)
    world.done("cam", "PutUserPermissionsBoundary", **attached, TargetUin=uin)
    world.done("cam", "PutRolePermissionsBoundary", **attached, RoleId=role)


def _build_users(world: World) -> None:
    """The user `member` of the group `members`, with an access key; the group `empty`."""
    made = world.done("cam", "AddUser", Name="member", UseApi=1)
    world.made["member"], world.made["access key"] = str(made["Uin"]), made["SecretId"]
    for name in ("members", "empty"):
        world.made[name] = str(world.done("cam", "CreateGroup", GroupName=name)["GroupId"])
    world.done("cam", "AddUserToGroup", Info=[_membership(world, "members")])


def _membership(world: World, group: str) -> dict[str, int]:
    return {"GroupId": int(world.made[group]), "Uin": int(world.made["member"])}


def trust_policy(uin: str) -> str:
    """A trust policy that lets the whole account take a role on."""
    principal = f'{{"qcs": ["qcs::cam::uin/{uin}:root"]}}'
    statement = f'{{"effect": "allow", "action": "name/sts:AssumeRole", "principal": {principal}}}'
    return f'{{"version": "2.0", "statement": [{statement}]}}'


def _build_sessions(world: World) -> None:
    """Roles for sessions: `reader` trusts the account, `web` the identity provider; and a secret has a tag."""
    root = world.installation.root.uin
    permissions.add_role(world.installation, "reader", {"qcs": [f"qcs::cam::uin/{root}:root"]})
    permissions.add_role(
        world.installation,
        "web",
        {"federated": [f"qcs::cam::uin/{root}:oidc-provider/{oidc.NAME}"]},
        action="name/sts:AssumeRoleWithWebIdentity",
    )
    tags = [{"TagKey": "team", "TagValue": "red"}]
    world.done("tag", "TagResources", **_tagged_secrets(world), Tags=tags)


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Scenario:
    """A call that succeeds in the world."""

    service: str
    action: str
    parameters: Callable[[World], dict[str, Any]]
    absent: Callable[[World], dict[str, Any]] | None = None
    """Changes that make it name a resource that does not exist; None where none is named."""

    def __str__(self) -> str:
        return f"{self.service}-{self.action}"


def _secret(action: str, name: str, **more: Any) -> Scenario:
    return Scenario("ssm", action, lambda _: {"SecretName": name, **more}, lambda _: {"SecretName": "absent"})


def _key(action: str, alias: str = "key", **more: Any) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"KeyId": world.keys[alias], **more},
        lambda world: {"KeyId": _another(world.keys[alias])},
    )


def _keys(action: str, alias: str) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"KeyIds": [world.keys[alias], world.keys["other"]]},
        lambda world: {"KeyIds": [_another(world.keys[alias]), world.keys["other"]]},
    )


def _data_key(action: str, name: str = "hosted", **more: Any) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"DataKeyId": world.data_keys[name], **more},
        lambda world: {"DataKeyId": _another(world.data_keys[name])},
    )


def _data_keys(action: str, name: str) -> Scenario:
    return Scenario(
        "kms",
        action,
        lambda world: {"DataKeyIds": [world.data_keys[name], world.data_keys["other"]]},
        lambda world: {"DataKeyIds": [_another(world.data_keys[name]), world.data_keys["other"]]},
    )


def _with(scenario: Scenario, **made: str) -> Scenario:
    """The scenario with parameters from what the world has made."""
    return replace(
        scenario,
        parameters=lambda world: {
            **scenario.parameters(world),
            **{name: world.made[what] for name, what in made.items()},
        },
    )


def _another(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def _for_another_key(blob: str) -> str:
    read = ciphertext_blob.decode(blob)
    return ciphertext_blob.encode(_another(read.key_id), read.backing_version, read.message)


def _plain(service: str, action: str, **parameters: Any) -> Scenario:
    return Scenario(service, action, lambda _: parameters)


def _user(action: str, **more: Any) -> Scenario:
    return Scenario("cam", action, lambda _: {"Name": "member", **more}, lambda _: {"Name": "absent"})


def _key_of_user(action: str, **more: Any) -> Scenario:
    return Scenario(
        "cam",
        action,
        lambda world: {
            "TargetUin": int(world.made["member"]),
            "AccessKeyId": world.made["access key"],
            **more,
        },
        lambda _: {"TargetUin": 1 + 10**15},
    )


def _group(action: str, **more: Any) -> Scenario:
    return Scenario(
        "cam",
        action,
        lambda world: {"GroupId": int(world.made["members"]), **more},
        lambda _: {"GroupId": 1 + 10**15},
    )


def _memberships(action: str, group: str) -> Scenario:
    return Scenario(
        "cam",
        action,
        lambda world: {"Info": [_membership(world, group)]},
        lambda world: {"Info": [{**_membership(world, group), "GroupId": 1 + 10**15}]},
    )


def _policy(action: str, name: str = "policy", *, number: str = "PolicyId", **more: Any) -> Scenario:
    return Scenario(
        "cam",
        action,
        lambda world: {number: int(world.made[name]), **more},
        lambda _: {number: 1 + 10**15},
    )


def _holder(action: str, number: str, name: str = "holder", **policy: str) -> Scenario:
    """A call about a user or a group, and a policy if that is named: `PolicyId="attached"`."""
    return Scenario(
        "cam",
        action,
        lambda world: {number: int(world.made[name]), **{p: int(world.made[q]) for p, q in policy.items()}},
        lambda _: {number: 1 + 10**15},
    )


def _role(action: str, *, is_number: bool = False, prefix: str = "", **more: Any) -> Scenario:
    def named(role_id: str) -> dict[str, Any]:
        return {f"{prefix}RoleId": int(role_id) if is_number else role_id}

    return Scenario(
        "cam",
        action,
        lambda world: {**named(world.made["role"]), **more},
        lambda world: named(_another(world.made["role"])),
    )


def _role_and_policy(action: str, prefix: str, name: str) -> Scenario:
    role = _role(action, prefix=prefix)
    return replace(
        role, parameters=lambda world: {**role.parameters(world), "PolicyId": int(world.made[name])}
    )


def _tag(action: str, resource: Callable[[World], dict[str, Any]], **more: Any) -> Scenario:
    return Scenario("tag", action, lambda world: {**resource(world), **more})


def _tagged_key(world: World) -> dict[str, Any]:
    """As Terraform names it: the account is left out."""
    root = world.installation.root.uin
    return {"Resource": f"qcs::kms:{SM}:uin/:key/creatorUin/{root}/{world.keys['key']}"}


def _tagged_key_by_id(world: World) -> dict[str, Any]:
    return {
        "ServiceType": "kms",
        "ResourcePrefix": "key",
        "ResourceIds": [f"creatorUin/{world.installation.root.uin}/{world.keys['key']}"],
        "ResourceRegion": SM,
    }


def _tagged_secrets(world: World) -> dict[str, Any]:
    root = world.installation.root.uin
    return {"ResourceList": [f"qcs::ssm:{SM}:uin/{root}:secret/creatorUin/{root}/live"]}


def _role_arn(world: World, name: str) -> str:
    return f"qcs::cam::uin/{world.installation.root.uin}:roleName/{name}"


def _week(world: World) -> dict[str, Any]:
    """The last days, as CloudAudit's searches take them."""
    now = world.installation.clock.now()
    return {"StartTime": now - 6 * 86400, "EndTime": now}


def _search(key: str, value: Callable[[World], str]) -> Scenario:
    """A search that an index serves."""
    return Scenario(
        "cloudaudit",
        "DescribeEvents",
        lambda world: {
            **_week(world),
            "LookupAttributes": [{"AttributeKey": key, "AttributeValue": value(world)}],
        },
    )


SCENARIOS: Final = (
    _plain("ssm", "CreateSecret", SecretName="new", VersionId="v1", SecretString=VALUE),
    _secret("PutSecretValue", "live", VersionId="v3", SecretString=VALUE),
    _secret("UpdateSecret", "live", VersionId="v1", SecretString=VALUE),
    _secret("UpdateDescription", "live", Description="changed"),
    _secret("EnableSecret", "idle"),
    _secret("DisableSecret", "live"),
    _secret("DeleteSecret", "idle", RecoveryWindowInDays=7),
    _secret("RestoreSecret", "leaving"),
    _secret("DeleteSecretVersion", "live", VersionId="v2"),
    _secret("ReplicateSecret", "live", ReplicaRegions=[{"Region": BEIJING}]),
    _secret("StopSecretReplication", "copied", Regions=[BEIJING]),
    _secret("DescribeSecret", "live"),
    _secret("GetSecretValue", "live", VersionId="v1"),
    _secret("ListSecretVersionIds", "live"),
    _plain("ssm", "ListSecrets"),
    _plain("ssm", "GetRegions"),
    _plain("ssm", "GetServiceStatus"),
    _plain("kms", "CreateKey", Alias="new"),
    _key("DescribeKey"),
    _keys("DescribeKeys", "key"),
    _key("EnableKey", "idle"),
    _keys("EnableKeys", "idle"),
    _key("DisableKey"),
    _keys("DisableKeys", "key"),
    _key("ArchiveKey"),
    _key("CancelKeyArchive", "archived"),
    _key("ScheduleKeyDeletion", "idle", PendingWindowInDays=7),
    _key("CancelKeyDeletion", "leaving"),
    _key("UpdateAlias", Alias="renamed"),
    _key("UpdateKeyDescription", Description="changed"),
    _key("EnableKeyRotation", RotateDays=30),
    _key("DisableKeyRotation", "rotating"),
    _key("GetKeyRotationStatus"),
    _key("RotateKey", "rotating"),
    _key("ListKeyRotations"),
    _key("BindCloudResource", **BOUND),
    _key("UnbindCloudResource", "bound", **BOUND),
    _key("Encrypt", Plaintext=PLAINTEXT),
    Scenario(
        "kms",
        "Decrypt",
        lambda world: {"CiphertextBlob": world.blob, "EncryptionContext": CONTEXT},
        lambda world: {"CiphertextBlob": _for_another_key(world.blob)},
    ),
    Scenario(
        "kms",
        "ReEncrypt",
        lambda world: {
            "CiphertextBlob": world.blob,
            "SourceEncryptionContext": CONTEXT,
            "DestinationKeyId": world.keys["other"],
        },
        lambda world: {"CiphertextBlob": _for_another_key(world.blob)},
    ),
    _key("GenerateDataKey", KeySpec="AES_256"),
    _key("GetPublicKey", "rsa"),
    _with(_key("AsymmetricRsaDecrypt", "rsa", Algorithm="RSAES_OAEP_SHA_256"), Ciphertext="rsa"),
    _with(_key("AsymmetricSm2Decrypt", "sm2"), Ciphertext="sm2"),
    _key("SignByAsymmetricKey", "ecc", Algorithm="ECC_P256_R1", Message=PLAINTEXT),
    _with(
        _key("VerifyByAsymmetricKey", "ecc", Algorithm="ECC_P256_R1", Message=PLAINTEXT),
        SignatureValue="ecc",
    ),
    _key("PostQuantumCryptoEncrypt", "pqc-decrypt", PlainText=PLAINTEXT),
    Scenario(
        "kms",
        "PostQuantumCryptoDecrypt",
        lambda world: {"CiphertextBlob": world.made["pqc-decrypt"]},
        lambda world: {"CiphertextBlob": _for_another_key(world.made["pqc-decrypt"])},
    ),
    _key("PostQuantumCryptoSign", "pqc-sign", Message=PLAINTEXT),
    _with(_key("PostQuantumCryptoVerify", "pqc-sign", Message=PLAINTEXT), SignatureValue="pqc-sign"),
    _key("GetParametersForImport", "waiting", **WRAPPING),
    _with(_key("ImportKeyMaterial", "waiting"), ImportToken="token", EncryptedKeyMaterial="material"),
    _key("DeleteImportedKeyMaterial", "imported"),
    _key("ImportDataKey", ImportType=2, DataKeyName="new", ImportKeyMaterial=PLAINTEXT),
    _data_key("DescribeDataKey"),
    _data_keys("DescribeDataKeys", "hosted"),
    _data_key("EnableDataKey", "idle"),
    _data_keys("EnableDataKeys", "idle"),
    _data_key("DisableDataKey"),
    _data_keys("DisableDataKeys", "hosted"),
    _data_key("ScheduleDataKeyDeletion", "idle", PendingWindowInDays=7),
    _data_key("CancelDataKeyDeletion", "leaving"),
    _data_key("UpdateDataKeyName", DataKeyName="renamed"),
    _data_key("UpdateDataKeyDescription", Description="changed"),
    _data_key("GetDataKeyPlaintext"),
    _data_key("GetDataKeyCiphertextBlob"),
    _plain("kms", "ListDataKeys"),
    _plain("kms", "ListDataKeyDetail"),
    _plain("kms", "GenerateRandom", NumberOfBytes=32),
    _plain("kms", "ListKeys"),
    _plain("kms", "ListKeyDetail"),
    _plain("kms", "ListAlgorithms"),
    _plain("kms", "GetRegions"),
    _plain("kms", "GetServiceStatus"),
    _tag("DescribeResourceTagsByResourceIds", _tagged_key_by_id),
    _tag("ModifyResourceTags", _tagged_key, ReplaceTags=[{"TagKey": "env", "TagValue": "test"}]),
    _tag("TagResources", _tagged_secrets, Tags=[{"TagKey": "env", "TagValue": "test"}]),
    _tag("UnTagResources", _tagged_secrets, TagKeys=["team"]),
    _plain("tag", "GetResources"),
    _plain("tag", "GetTagKeys"),
    _plain("tag", "GetTagValues", TagKeys=["team"]),
    Scenario(
        "sts", "AssumeRole", lambda world: {"RoleArn": _role_arn(world, "reader"), "RoleSessionName": "s1"}
    ),
    Scenario(
        "sts",
        "AssumeRoleWithWebIdentity",
        lambda world: {
            "ProviderId": oidc.NAME,
            "WebIdentityToken": oidc.token(world.installation.clock.now()),
            "RoleArn": _role_arn(world, "web"),
            "RoleSessionName": "s1",
        },
    ),
    _plain("sts", "GetFederationToken", Name="guest", Policy=POLICY),
    _plain("sts", "GetSessionToken"),
    _plain("sts", "GetCallerIdentity"),
    _plain("sts", "QueryApiKey"),
    _plain("cam", "CreatePolicy", PolicyName="new", PolicyDocument=POLICY),
    _policy("UpdatePolicy", Description="changed"),
    _policy("GetPolicy"),
    _plain("cam", "ListPolicies"),
    Scenario(
        "cam",
        "DeletePolicy",
        lambda world: {"PolicyId": [int(world.made["policy"])]},
        lambda _: {"PolicyId": [1 + 10**15]},
    ),
    _policy("CreatePolicyVersion", PolicyDocument=POLICY, SetAsDefault=True),
    _policy("GetPolicyVersion", VersionId=2),
    _policy("ListPolicyVersions"),
    _policy("DeletePolicyVersion", VersionId=[2]),
    _policy("SetDefaultPolicyVersion", VersionId=2),
    _policy("ListEntitiesForPolicy", "attached"),
    _holder("AttachUserPolicy", "AttachUin", PolicyId="policy"),
    _holder("DetachUserPolicy", "DetachUin", PolicyId="attached"),
    _holder("AttachGroupPolicy", "AttachGroupId", "holders", PolicyId="policy"),
    _holder("DetachGroupPolicy", "DetachGroupId", "holders", PolicyId="attached"),
    _role_and_policy("AttachRolePolicy", "Attach", "policy"),
    _role_and_policy("DetachRolePolicy", "Detach", "attached"),
    _holder("ListAttachedUserPolicies", "TargetUin"),
    _policy("ListAttachedUserAllPolicies", "holder", number="TargetUin", Rp=20, Page=1, AttachType=0),
    _holder("ListAttachedGroupPolicies", "TargetGroupId", "holders"),
    _role("ListAttachedRolePolicies", Page=1, Rp=20),
    _holder("ListPoliciesGrantingServiceAccess", "TargetUin"),
    _holder("PutUserPermissionsBoundary", "TargetUin", PolicyId="policy"),
    _holder("DeleteUserPermissionsBoundary", "TargetUin"),
    _holder("GetUserPermissionBoundary", "TargetUin"),
    _role_and_policy("PutRolePermissionsBoundary", "", "policy"),
    _role("DeleteRolePermissionsBoundary"),
    _role("GetRolePermissionBoundary"),
    Scenario(
        "cam",
        "CreateRole",
        lambda world: {"RoleName": "new", "PolicyDocument": trust_policy(world.installation.root.uin)},
    ),
    _role("GetRole"),
    _role("DeleteRole"),
    _plain("cam", "DescribeRoleList", Page=1, Rp=20),
    Scenario(
        "cam",
        "UpdateAssumeRolePolicy",
        lambda world: {
            "RoleId": world.made["role"],
            "PolicyDocument": trust_policy(world.installation.root.uin),
        },
        lambda world: {"RoleId": _another(world.made["role"])},
    ),
    _role("UpdateRoleDescription", Description="changed"),
    _role("UpdateRoleConsoleLogin", is_number=True, ConsoleLogin=1),
    _role("UpdateRoleSessionDuration", is_number=True, SessionDuration=3600),
    _role("TagRole", Tags=[{"Key": "team", "Value": "red"}]),
    _role("UntagRole", TagKeys=["team"]),
    _plain("cam", "SimulatePolicy", ActionName="kms:Decrypt"),
    _plain("cam", "AddUser", Name="new", UseApi=1),
    _user("UpdateUser", Remark="changed"),
    _user("GetUser"),
    _plain("cam", "ListUsers"),
    _user("DeleteUser", Force=1),
    Scenario(
        "cam", "DescribeSubAccounts", lambda world: {"FilterSubAccountUin": [int(world.made["member"])]}
    ),
    _plain("cam", "ListCollaborators"),
    _holder("CreateAccessKey", "TargetUin", "member"),
    _holder("ListAccessKeys", "TargetUin", "member"),
    _key_of_user("UpdateAccessKey", Status="Inactive"),
    _key_of_user("DeleteAccessKey"),
    Scenario("cam", "GetSecurityLastUsed", lambda world: {"SecretIdList": [world.made["access key"]]}),
    _plain("cam", "CreateGroup", GroupName="new"),
    _group("UpdateGroup", GroupName="renamed"),
    _group("GetGroup"),
    _plain("cam", "ListGroups"),
    _group("DeleteGroup"),
    _memberships("AddUserToGroup", "empty"),
    _memberships("RemoveUserFromGroup", "members"),
    _group("ListUsersForGroup"),
    _holder("ListGroupsForUser", "SubUin", "member"),
    _plain("cam", "GetUserAppId"),
    _plain("cam", "GetAccountSummary"),
    _plain("cloudaudit", "GetAttributeKey"),
    Scenario("cloudaudit", "LookUpEvents", _week),
    _search("ResourceName", lambda world: world.keys["other"]),
    _search("ApiErrorCode", lambda _: "UnknownParameter"),
    _search("PrincipalId", lambda world: world.installation.root.uin),
    _search("EventName", lambda _: "CreateKey"),
)
# Its answer is what it is called for, but the parameters have to be remembered until they are used.
_WRITING_READS: Final = {"GetParametersForImport"}

MUTATING: Final = tuple(
    s
    for s in SCENARIOS
    if s.action in _WRITING_READS or not registry.find(VERSIONS[s.service], s.action).is_read
)
READING: Final = tuple(s for s in SCENARIOS if s not in MUTATING)
