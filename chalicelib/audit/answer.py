"""Events as CloudAudit answers them."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

SENSITIVE: Final = frozenset(
    {
        "AddUser",
        "AddUserToGroup",
        "ArchiveKey",
        "AssumeRole",
        "AssumeRoleWithWebIdentity",
        "AsymmetricRsaDecrypt",
        "AsymmetricSm2Decrypt",
        "AttachGroupPolicy",
        "AttachRolePolicy",
        "AttachUserPolicy",
        "CreateAccessKey",
        "CreatePolicyVersion",
        "Decrypt",
        "DeleteImportedKeyMaterial",
        "DeleteRolePermissionsBoundary",
        "DeleteSecret",
        "DeleteSecretVersion",
        "DeleteUserPermissionsBoundary",
        "DetachGroupPolicy",
        "DetachRolePolicy",
        "DetachUserPolicy",
        "DisableDataKey",
        "DisableDataKeys",
        "DisableKey",
        "DisableKeys",
        "DisableSecret",
        "GenerateDataKey",
        "GetDataKeyPlaintext",
        "GetFederationToken",
        "GetSecretValue",
        "GetSessionToken",
        "PostQuantumCryptoDecrypt",
        "PutRolePermissionsBoundary",
        "PutUserPermissionsBoundary",
        "RemoveUserFromGroup",
        "ReplicateSecret",
        "ScheduleDataKeyDeletion",
        "ScheduleKeyDeletion",
        "SetDefaultPolicyVersion",
        "UpdateAccessKey",
        "UpdateAssumeRolePolicy",
        "UpdatePolicy",
    }
)
"""Actions that hand out plaintext or permissions, or end the use of a key or secret."""

_AUTHORISATION: Final = ("AuthFailure", "UnauthorizedOperation")
_BEIJING: Final = timezone(timedelta(hours=8))
_KINDS: Final = {"kms": "密钥管理系统", "ssm": "凭据管理系统", "cam": "访问管理", "sts": "安全凭证服务"}
_ROOT: Final = "Root"


def is_sensitive(members: dict[str, Any]) -> bool:
    """Whether the event is of an action that is worth a second look."""
    return members.get("action") in SENSITIVE


def is_authorisation_error(code: str) -> bool:
    """Whether the call was refused because of who asked (`CamErrorCode`), and not because of what (`ApiErrorCode`)."""
    return code.partition(".")[0] in _AUTHORISATION


def user_name(members: dict[str, Any]) -> str:
    """Who acted: `root`, the name of a user or role, `Service` for jobs; the uin where there is no name."""
    name = "root" if members.get("user_type") == _ROOT else members.get("user")
    return str(name or members.get("uin", ""))


def event_id(members: dict[str, Any]) -> str:
    """The event's own id: the call's, and a number for what turned out later."""
    return str(members["id"]) + (f"-{members['part']}" if "part" in members else "")


def resource(members: dict[str, Any]) -> tuple[str, str]:
    """Type and name of the first resource; the service and nothing for calls on none."""
    kind, _, name = next(iter(members.get("resources", ())), "").partition("/")
    return (kind or members.get("service", "")), name


def resource_names(members: dict[str, Any]) -> list[str]:
    """The names or ids of all resources."""
    return [each.partition("/")[2] for each in members.get("resources", ())]


def resource_types(members: dict[str, Any]) -> set[str]:
    """The service, and the kinds of all resources."""
    return {members.get("service", ""), *(each.partition("/")[0] for each in members.get("resources", ()))}


def answer(members: dict[str, Any], *, time_as_text: bool) -> dict[str, Any]:
    """The `Event` of DescribeEvents (EventTime in seconds since 1970) or LookUpEvents (Beijing time as text)."""
    kind, name = resource(members)
    code = members.get("error", "")
    return {
        "EventId": event_id(members),
        "Username": user_name(members),
        "EventTime": _time(members) if time_as_text else str(members["at"] // 1000),
        "CloudAuditEvent": json.dumps(_details(members), ensure_ascii=False, separators=(",", ":")),
        "ResourceTypeCn": _KINDS.get(members.get("service", ""), ""),
        "ErrorCode": 1 if is_authorisation_error(code) else 0,
        "EventName": members.get("action", ""),
        "SecretId": members.get("secret_id", ""),
        "EventSource": _source(members),
        "RequestID": members["id"],
        "ResourceRegion": members.get("region", ""),
        "AccountID": int(members["account"]),
        "SourceIPAddress": members.get("ip", ""),
        "EventNameCn": members.get("action", ""),
        "Resources": {"ResourceType": kind, "ResourceName": name},
        "EventRegion": members.get("region", ""),
        "Location": "",
    }


def _details(members: dict[str, Any]) -> dict[str, Any]:
    kind, name = resource(members)
    code = members.get("error", "")
    is_authorisation = is_authorisation_error(code)
    return {
        "userIdentity": {
            "principalId": members.get("uin", ""),
            "accountId": members["account"],
            "secretId": members.get("secret_id", ""),
            "userName": user_name(members),
            "type": members.get("user_type", ""),
            "sessionContext": {"sessionName": members["session"]} if "session" in members else {},
        },
        "eventVersion": 2,
        "eventID": event_id(members),
        "eventName": members.get("action", ""),
        "eventTime": members["at"] // 1000,
        "eventType": "ApiCall",
        "eventSource": _source(members),
        "eventRegion": members.get("region", ""),
        "eventPlatform": 0,
        "actionType": "Read" if members.get("read") else "Write",
        "apiVersion": members.get("version", ""),
        "httpMethod": "",
        "requestID": members["id"],
        "requestParameters": _text(members.get("parameters", {})),
        # What was answered is not recorded: it is what the service protects.
        "responseElements": "",
        "resourceType": members.get("service", ""),
        "resourceName": name,
        "resources": members.get("resources", []),
        "resourceSet": [{"resourceType": kind, "resourceName": name}] if name else [],
        "sourceIPAddress": members.get("ip", ""),
        "userAgent": members.get("agent", ""),
        "errorCode": code if is_authorisation else "0",
        "errorMessage": "",
        "apiErrorCode": "0" if is_authorisation or not code else code,
        "apiErrorMessage": "",
        "sensitiveAction": int(is_sensitive(members)),
        "tags": tags_of(members),
        "authentication": members.get("auth", ""),
        "warning": members.get("warning", ""),
    }


def tags_of(members: dict[str, Any]) -> list[dict[str, str]]:
    """The tags that the call named, as far as they are recorded."""
    given = members.get("parameters", {}).get("Tags", ())
    found = [(each.get("TagKey"), each.get("TagValue")) for each in given if isinstance(each, dict)]
    return [{"key": key, "value": value or ""} for key, value in found if isinstance(key, str)]


def _source(members: dict[str, Any]) -> str:
    return f"{members.get('service', '')}.tencentcloudapi.com" if members.get("service") else ""


def _time(members: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(members["at"] // 1000, UTC).astimezone(_BEIJING)
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _text(parameters: dict[str, Any]) -> str:
    return json.dumps(parameters, ensure_ascii=False, separators=(",", ":"))
