"""The policies that every account has from the start. They are not rows: nobody can change them."""

import json
from typing import Any, Final

from chalicelib.model.policy import PRESET, ManagedPolicy, PolicyVersion, digest

_WRITTEN_AT: Final = 1_764_547_200
"""2025-12-01."""

_KMS_READS: Final = (
    "kms:Describe*",
    "kms:List*",
    "kms:GetDataKeyCiphertextBlob",
    "kms:GetKeyRotationStatus",
    "kms:GetPublicKey",
    "kms:GetRegions",
    "kms:GetServiceStatus",
)
"""Not `kms:Get*`: GetDataKeyPlaintext answers what it is called, and GetParametersForImport opens a key for material."""
_SSM_READS: Final = ("ssm:Describe*", "ssm:List*", "ssm:GetRegions", "ssm:GetServiceStatus")
"""Not `ssm:Get*`: GetSecretValue answers a secret."""
_CAM_READS: Final = ("cam:Describe*", "cam:Get*", "cam:List*")
_OTHER_READS: Final = (
    "cloudaudit:Describe*",
    "cloudaudit:Get*",
    "cloudaudit:LookUp*",
    "sts:GetCallerIdentity",
    "tag:Describe*",
    "tag:Get*",
)

_PRESETS: Final[tuple[tuple[int, str, str, tuple[str, ...]], ...]] = (
    (1, "AdministratorAccess", "Everything, like the root account", ("*",)),
    (
        2,
        "ReadOnlyAccess",
        "See everything but what is secret",
        (*_KMS_READS, *_SSM_READS, *_CAM_READS, *_OTHER_READS),
    ),
    (11, "QcloudKMSFullAccess", "Everything in Key Management Service", ("kms:*",)),
    (12, "QcloudKMSReadOnlyAccess", "See keys in Key Management Service, use none", _KMS_READS),
    (21, "QcloudSSMFullAccess", "Everything in Secrets Manager", ("ssm:*",)),
    (22, "QcloudSSMReadOnlyAccess", "See secrets in Secrets Manager, read no value", _SSM_READS),
    (31, "QcloudCamFullAccess", "Everything in access management, which can give every right", ("cam:*",)),
    (32, "QcloudCamReadOnlyAccess", "See users, policies and roles", _CAM_READS),
    (41, "QcloudAuditFullAccess", "Read the audit trail", ("cloudaudit:*",)),
)


def _document(actions: tuple[str, ...]) -> str:
    statement: dict[str, Any] = {"effect": "allow", "action": list(actions), "resource": "*"}
    return json.dumps({"version": "2.0", "statement": [statement]}, separators=(",", ":"))


DOCUMENTS: Final = {id_: _document(actions) for id_, _, _, actions in _PRESETS}
"""Policy id -> its document."""

PRESET_POLICIES: Final = {
    id_: ManagedPolicy(
        id=id_,
        name=name,
        description=description,
        type=PRESET,
        created_at=_WRITTEN_AT,
        updated_at=_WRITTEN_AT,
        versions=(PolicyVersion(1, _WRITTEN_AT, digest(DOCUMENTS[id_])),),
    )
    for id_, name, description, _ in _PRESETS
}
"""By id. The ids of custom policies have 15 digits."""

IDS_BY_NAME: Final = {policy.name.lower(): policy.id for policy in PRESET_POLICIES.values()}
"""Names in lower case: they are taken in every account."""
