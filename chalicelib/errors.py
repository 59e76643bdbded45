"""Every error that the service can answer: one class per wire code.

A message says what to do. It may name parameters and limits, never a value that the caller sent.
"""

from typing import ClassVar


class ApiError(Exception):
    """An answer with a wire code. The text may be replaced where a better one is known."""

    code: ClassVar[str]
    message: ClassVar[str]

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


# Common codes of the product document and the gateway


class InvalidAuthorization(ApiError):
    code = "AuthFailure.InvalidAuthorization"
    message = (
        "The Authorization header is malformed: send `TC3-HMAC-SHA256 "
        "Credential=<SecretId>/<date>/<service>/tc3_request, SignedHeaders=<names>, Signature=<hex>`."
    )


class InvalidSecretId(ApiError):
    code = "AuthFailure.InvalidSecretId"
    message = "The SecretId is not the id of an API key: ids start with AKID."


class SecretIdNotFound(ApiError):
    code = "AuthFailure.SecretIdNotFound"
    message = "The SecretId is unknown, disabled or deleted: check it for spaces and check the key's status."


class SignatureExpire(ApiError):
    code = "AuthFailure.SignatureExpire"
    message = "The timestamp is too far from the server's clock: synchronise the client's clock."


class SignatureFailure(ApiError):
    code = "AuthFailure.SignatureFailure"
    message = "The signature does not match: check the SecretKey and the signed text."


class TokenFailure(ApiError):
    code = "AuthFailure.TokenFailure"
    message = (
        "The token is missing, expired or not made for this SecretId: request new temporary credentials."
    )


class UnauthorizedByPolicy(ApiError):
    code = "AuthFailure.UnauthorizedOperation"
    message = (
        "You are not authorized to perform this operation: ask an administrator for a policy that allows it."
    )


class DryRunOperation(ApiError):
    code = "DryRunOperation"
    message = "The request would have succeeded; nothing was done because DryRun was set."


class FailedOperation(ApiError):
    code = "FailedOperation"
    message = "The operation is not possible in the resource's current state."


class InternalError(ApiError):
    code = "InternalError"
    message = "An internal error has occurred: try again, and report the RequestId if it persists."


class InvalidAction(ApiError):
    code = "InvalidAction"
    message = "The action does not exist in this version of the service: check X-TC-Action and X-TC-Version."


class InvalidParameter(ApiError):
    code = "InvalidParameter"
    message = "A parameter has the wrong type or form."


class InvalidParameterValue(ApiError):
    code = "InvalidParameterValue"
    message = "A parameter has a value outside its limits."


class InvalidRequest(ApiError):
    code = "InvalidRequest"
    message = "The request is not one that this service understands."


class LimitExceeded(ApiError):
    code = "LimitExceeded"
    message = "A quota is used up: delete what is not needed or raise the quota."


class MissingParameter(ApiError):
    code = "MissingParameter"
    message = "A required parameter is missing."


class NoSuchVersion(ApiError):
    code = "NoSuchVersion"
    message = "The API version does not exist: check X-TC-Version."


class RequestLimitExceeded(ApiError):
    code = "RequestLimitExceeded"
    message = "Too many requests of this action in one second: slow down and try again."


class RequestSizeLimitExceeded(ApiError):
    code = "RequestSizeLimitExceeded"
    message = "The request is too large."


class ResourceInUse(ApiError):
    code = "ResourceInUse"
    message = "The resource is in use."


class ResourceNotFound(ApiError):
    code = "ResourceNotFound"
    message = "The resource does not exist."


class ResourceUnavailable(ApiError):
    code = "ResourceUnavailable"
    message = "The resource is not available."


class UnauthorizedOperation(ApiError):
    code = "UnauthorizedOperation"
    message = "The operation is not authorized."


class UnknownParameter(ApiError):
    code = "UnknownParameter"
    message = "A parameter is not known to this action."


class UnsupportedOperation(ApiError):
    code = "UnsupportedOperation"
    message = "The operation is not supported."


class UnsupportedProtocol(ApiError):
    code = "UnsupportedProtocol"
    message = "Send a GET or POST request with a content type that the signature method allows."


class UnsupportedRegion(ApiError):
    code = "UnsupportedRegion"
    message = "The region is not offered here: call GetRegions for the list."


# Secrets Manager


class AccessKmsError(ApiError):
    code = "FailedOperation.AccessKmsError"
    message = "The KMS key of the secret cannot be used: check that it exists, is enabled and encrypts data."


class OperationDenied(ApiError):
    code = "OperationDenied"
    message = "The operation is denied for this kind of secret."


class SecretExists(ApiError):
    code = "ResourceInUse.SecretExists"
    message = (
        "A secret with this name exists already, possibly pending deletion: choose another name or "
        "restore it."
    )


class VersionIdExists(ApiError):
    code = "ResourceInUse.VersionIdExists"
    message = "This version id exists already: choose another one or use UpdateSecret."


class ResourceDisabled(ApiError):
    code = "ResourceUnavailable.ResourceDisabled"
    message = "The secret is disabled: enable it first."


class ResourcePendingDeleted(ApiError):
    code = "ResourceUnavailable.ResourcePendingDeleted"
    message = "The secret is scheduled for deletion: restore and enable it first."


class TagKeysDuplicated(ApiError):
    code = "InvalidParameterValue.TagKeysDuplicated"
    message = "A tag key appears more than once."


class CmkUsedByCloudProduct(ApiError):
    code = "FailedOperation.CmkUsedByCloudProduct"
    message = "The key is in use: unbind the cloud resources that use it first."


class DecryptError(ApiError):
    code = "FailedOperation.DecryptError"
    message = "The ciphertext cannot be decrypted with this key."


class EncryptionError(ApiError):
    code = "FailedOperation.EncryptionError"
    message = (
        "The result cannot be encrypted to EncryptionPublicKey: send a PEM public key that fits "
        "EncryptionAlgorithm."
    )


class DecryptMaterialError(ApiError):
    code = "InvalidParameter.DecryptMaterialError"
    message = (
        "EncryptedKeyMaterial cannot be opened: wrap the right number of bytes with the public key "
        "and algorithm of GetParametersForImport."
    )


class InvalidPendingWindowInDays(ApiError):
    code = "InvalidParameter.InvalidPendingWindowInDays"
    message = "PendingWindowInDays is a whole number from 7 to 30."


class AliasAlreadyExists(ApiError):
    code = "InvalidParameterValue.AliasAlreadyExists"
    message = "Another key has this alias: choose another one."


class DataKeyNameAlreadyExists(ApiError):
    code = "InvalidParameterValue.DataKeyNameAlreadyExists"
    message = "Another data key has this name: choose another one."


class DuplicatedDataKeyId(ApiError):
    code = "InvalidParameterValue.DuplicatedDataKeyId"
    message = "A data key id appears more than once."


class DuplicatedKeyId(ApiError):
    code = "InvalidParameterValue.DuplicatedKeyId"
    message = "A key id appears more than once."


class InvalidAlias(ApiError):
    code = "InvalidParameterValue.InvalidAlias"
    message = (
        "An alias has 1 to 60 letters, digits, `-` and `_`, starts with a letter or digit, and not "
        "with `kms-`."
    )


class InvalidCiphertext(ApiError):
    code = "InvalidParameterValue.InvalidCiphertext"
    message = "The ciphertext cannot be decrypted: check CiphertextBlob, EncryptionContext and the region."


class InvalidDataKeyId(ApiError):
    code = "InvalidParameterValue.InvalidDataKeyId"
    message = "A data key id is a UUID in lower case."


class InvalidDataKeyName(ApiError):
    code = "InvalidParameterValue.InvalidDataKeyName"
    message = "The data key name is not valid."


class InvalidHsmClusterId(ApiError):
    code = "InvalidParameterValue.InvalidHsmClusterId"
    message = "There is no exclusive HSM cluster with this id: leave HsmClusterId out."


class InvalidImportKeyMaterial(ApiError):
    code = "InvalidParameterValue.InvalidImportKeyMaterial"
    message = "The key material is not valid."


class InvalidKeyId(ApiError):
    code = "InvalidParameterValue.InvalidKeyId"
    message = "A key id is a UUID in lower case."


class InvalidKeyUsage(ApiError):
    code = "InvalidParameterValue.InvalidKeyUsage"
    message = "The key usage is not valid: ListAlgorithms answers those on offer."


class InvalidPlaintext(ApiError):
    code = "InvalidParameterValue.InvalidPlaintext"
    message = "Plaintext is the standard base64 of 1 to 4096 bytes."


class InvalidType(ApiError):
    code = "InvalidParameterValue.InvalidType"
    message = "Type is 1 (generated by KMS) or 2 (imported by you, symmetric only)."


class MaterialNotMatch(ApiError):
    code = "InvalidParameterValue.MaterialNotMatch"
    message = "The material differs from the first import: import the same bytes again."


class CmkLimitExceeded(ApiError):
    code = "LimitExceeded.CmkLimitExceeded"
    message = "The quota of keys in this region is used up."


class DataKeyLimitExceeded(ApiError):
    code = "LimitExceeded.DataKeyLimitExceeded"
    message = "The quota of data keys in this region is used up."


class RotateRateLimited(ApiError):
    code = "RequestLimitExceeded.RotateRateLimited"
    message = "The key was rotated by hand within the last 24 hours: try again later."


class CloudResourceBindingNotFound(ApiError):
    code = "ResourceUnavailable.CloudResourceBindingNotFound"
    message = "The key is not bound to this resource."


class CmkArchived(ApiError):
    code = "ResourceUnavailable.CmkArchived"
    message = "The key is archived: it decrypts only. Cancel the archive first."


class CmkDisabled(ApiError):
    code = "ResourceUnavailable.CmkDisabled"
    message = "The key is not enabled: enable it first."


class CmkNotFound(ApiError):
    code = "ResourceUnavailable.CmkNotFound"
    message = "The key does not exist in this region."


class CmkNotPendingDelete(ApiError):
    code = "ResourceUnavailable.CmkNotPendingDelete"
    message = "The key is not scheduled for deletion."


class CmkShouldBeDisabled(ApiError):
    code = "ResourceUnavailable.CmkShouldBeDisabled"
    message = "Disable the key before scheduling its deletion."


class CmkStateNotSupport(ApiError):
    code = "ResourceUnavailable.CmkStateNotSupport"
    message = "The key's current state does not allow this operation: DescribeKey answers the state."


class DataKeyDisabled(ApiError):
    code = "ResourceUnavailable.DataKeyDisabled"
    message = "The data key is disabled: enable it first."


class DataKeyNotFound(ApiError):
    code = "ResourceUnavailable.DataKeyNotFound"
    message = "The data key does not exist in this region."


class DataKeyNotPendingDelete(ApiError):
    code = "ResourceUnavailable.DataKeyNotPendingDelete"
    message = "The data key is not scheduled for deletion."


class DataKeyPendingDelete(ApiError):
    code = "ResourceUnavailable.DataKeyPendingDelete"
    message = "The data key is scheduled for deletion."


class DataKeyStateNotSupport(ApiError):
    code = "ResourceUnavailable.DataKeyStateNotSupport"
    message = "The data key's current state does not allow this operation."


class KeyPendingDelete(ApiError):
    code = "ResourceUnavailable.KeyPendingDelete"
    message = "The key is scheduled for deletion: cancel that first."


class TokenExpired(ApiError):
    code = "ResourceUnavailable.TokenExpired"
    message = "The import token has expired or was used: call GetParametersForImport again."


class ExternalCmkCanNotRotate(ApiError):
    code = "UnsupportedOperation.ExternalCmkCanNotRotate"
    message = "A key with imported material cannot be rotated."


class NotExternalCmk(ApiError):
    code = "UnsupportedOperation.NotExternalCmk"
    message = "Only a key of origin EXTERNAL takes imported material."


class NotRoleOperation(ApiError):
    code = "UnsupportedOperation.NotRoleOperation"
    message = "Member accounts are not supported: leave MemberAccount out."


class NotUserCreatedCmk(ApiError):
    code = "UnsupportedOperation.NotUserCreatedCmk"
    message = "A key managed by a product cannot be disabled, archived or deleted."


class RotateNotSupported(ApiError):
    code = "UnsupportedOperation.RotateNotSupported"
    message = "The key cannot be rotated: it must be enabled, symmetric and have rotation switched on."


class UnsupportedKeyUsageInCurrentRegion(ApiError):
    code = "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion"
    message = "This region does not offer the key usage: ListAlgorithms answers those on offer."


# Access management


class LastActiveKey(ApiError):
    code = "FailedOperation.Accesskey"
    message = "This is the only active access key of the account itself: create another one first."


class PolicyFull(ApiError):
    code = "FailedOperation.PolicyFull"
    message = "The quota of policies is used up: delete those that nothing needs."


class PolicyNameInUse(ApiError):
    code = "FailedOperation.PolicyNameInUse"
    message = "A policy with this name exists already: choose another name."


class PolicyVersionAlreadyDefault(ApiError):
    code = "FailedOperation.PolicyVersionAlreadyDefault"
    message = "This version is the one that applies: make another one the default first."


class PolicyVersionFull(ApiError):
    code = "FailedOperation.PolicyVersionFull"
    message = "A policy has at most 5 versions: delete one first."


class GroupFull(ApiError):
    code = "InvalidParameter.GroupFull"
    message = "The quota of groups is used up: delete those that nothing needs."


class GroupNameInUse(ApiError):
    code = "InvalidParameter.GroupNameInUse"
    message = "A group with this name exists already: choose another name."


class NoSuchGroup(ApiError):
    code = "InvalidParameter.GroupNotExist"
    message = "The group does not exist: ListGroups answers those that do."


class GroupUserFull(ApiError):
    code = "InvalidParameter.GroupUserFull"
    message = "The group has all the users that it can have."


class SubUserFull(ApiError):
    code = "InvalidParameter.SubUserFull"
    message = "The quota of users is used up: delete those that nothing needs."


class SubUserNameInUse(ApiError):
    code = "InvalidParameter.SubUserNameInUse"
    message = "A user with this name exists already: choose another name."


class UserGroupFull(ApiError):
    code = "InvalidParameter.UserGroupFull"
    message = "The user is in all the groups that a user can be in."


class UserNameIllegal(ApiError):
    code = "InvalidParameter.UserNameIllegal"
    message = "A user's name has 1 to 64 letters, digits and +=,.@_-."


class NoSuchUser(ApiError):
    code = "InvalidParameter.UserNotExist"
    message = "The user does not exist: ListUsers answers those that do."


class NeitherUinNorUid(ApiError):
    code = "InvalidParameter.UserUinAndUinNotAllNull"
    message = "Name each user by Uin or by Uid."


class AccessKeyOverLimit(ApiError):
    code = "OperationDenied.AccessKeyOverLimit"
    message = "A user has at most two access keys: delete one first."


class HaveKeys(ApiError):
    code = "OperationDenied.HaveKeys"
    message = "The user still has access keys: delete them first, or set Force to 1."


class SubUin(ApiError):
    code = "OperationDenied.SubUin"
    message = "Only the account itself may see and change its own access keys."


class AccessKeyNotExist(ApiError):
    code = "ResourceNotFound.SecretNotExist"
    message = "The user has no such access key: ListAccessKeys answers those that it has."


class GroupNotExist(ApiError):
    code = "ResourceNotFound.GroupNotExist"
    message = "The group does not exist: ListGroups answers those that do."


class UserNotExist(ApiError):
    code = "ResourceNotFound.UserNotExist"
    message = "The user does not exist: ListUsers answers those that do."


class ActionError(ApiError):
    code = "InvalidParameter.ActionError"
    message = "An action of the policy is malformed."


class AttachmentFull(ApiError):
    code = "InvalidParameter.AttachmentFull"
    message = "No more policies can be attached: detach one first."


class ConditionContentError(ApiError):
    code = "InvalidParameter.ConditionContentError"
    message = "The key or a value of a condition is wrong."


class ConditionError(ApiError):
    code = "InvalidParameter.ConditionError"
    message = "A condition of the policy is malformed."


class ConditionTypeError(ApiError):
    code = "InvalidParameter.ConditionTypeError"
    message = "The operator of a condition does not exist."


class DescriptionLengthOverlimit(ApiError):
    code = "InvalidParameter.DescriptionLengthOverlimit"
    message = "The description is too long."


class EffectError(ApiError):
    code = "InvalidParameter.EffectError"
    message = "The effect of a statement is allow or deny."


class EntityFilterError(ApiError):
    code = "InvalidParameter.EntityFilterError"
    message = "EntityFilter is All, User, Group or Role."


class OperatePoliciesOverLimit(ApiError):
    code = "InvalidParameter.OperatePoliciesOverLimit"
    message = "Too many policies in one call."


class ParamError(ApiError):
    code = "InvalidParameter.ParamError"
    message = "A parameter is not valid."


class PolicyDocumentError(ApiError):
    code = "InvalidParameter.PolicyDocumentError"
    message = "The policy is not a JSON object of the form that policies have."


class PolicyDocumentLengthOverLimit(ApiError):
    code = "InvalidParameter.PolicyDocumentLengthOverLimit"
    message = "The policy is too long."


class PolicyIdError(ApiError):
    code = "InvalidParameter.PolicyIdError"
    message = "A preset policy cannot be changed or deleted: make a policy of your own."


class PolicyIdNotExist(ApiError):
    code = "InvalidParameter.PolicyIdNotExist"
    message = "The policy does not exist: ListPolicies answers those that do."


class PolicyNameError(ApiError):
    code = "InvalidParameter.PolicyNameError"
    message = "A policy's name has 1 to 128 letters, digits and +=,.@_-."


class PolicyVersionNotExists(ApiError):
    code = "InvalidParameter.PolicyVersionNotExists"
    message = "The policy has no such version: ListPolicyVersions answers those that it has."


class PrincipalError(ApiError):
    code = "InvalidParameter.PrincipalError"
    message = "The principal of a statement is malformed."


class PrincipalQcsError(ApiError):
    code = "InvalidParameter.PrincipalQcsError"
    message = "A principal is written qcs::cam::uin/<account>:root or qcs::cam::uin/<account>:uin/<user>."


class ResourceContentError(ApiError):
    code = "InvalidParameter.ResourceContentError"
    message = "The last segment of a resource is malformed."


class ResourceError(ApiError):
    code = "InvalidParameter.ResourceError"
    message = "A resource of the policy is malformed."


class ResourceProjectError(ApiError):
    code = "InvalidParameter.ResourceProjectError"
    message = "The project segment of a resource is empty."


class ResourceQcsError(ApiError):
    code = "InvalidParameter.ResourceQcsError"
    message = "A resource is * or has six segments and starts with qcs."


class ResourceRegionError(ApiError):
    code = "InvalidParameter.ResourceRegionError"
    message = "The region segment of a resource is malformed."


class ResourceUinError(ApiError):
    code = "InvalidParameter.ResourceUinError"
    message = "The account segment of a resource is malformed."


class RoleFull(ApiError):
    code = "InvalidParameter.RoleFull"
    message = "The quota of roles is used up: delete those that nothing needs."


class RoleNameError(ApiError):
    code = "InvalidParameter.RoleNameError"
    message = "A role's name has 1 to 128 letters, digits and +=,.@_-."


class RoleNameInUse(ApiError):
    code = "InvalidParameter.RoleNameInUse"
    message = "A role with this name exists already: choose another name."


class RoleNotExist(ApiError):
    code = "InvalidParameter.RoleNotExist"
    message = "The role does not exist: DescribeRoleList answers those that do."


class ScopeError(ApiError):
    code = "InvalidParameter.ScopeError"
    message = "Scope is All, QCS or Local."


class SearchKeywordLengthError(ApiError):
    code = "InvalidParameter.SearchKeywordLengthError"
    message = "Keyword is too long."


class StatementError(ApiError):
    code = "InvalidParameter.StatementError"
    message = "The statements of the policy are malformed."


class TagLimitExceeded(ApiError):
    code = "InvalidParameter.TagLimitExceeded"
    message = "There are too many tags."


class TagParamError(ApiError):
    code = "InvalidParameter.TagParamError"
    message = "A tag is malformed."


class VersionError(ApiError):
    code = "InvalidParameter.VersionError"
    message = 'The version of a policy is "2.0".'


class PolicyIdNotFound(ApiError):
    code = "ResourceNotFound.PolicyIdNotFound"
    message = "The policy does not exist: ListPolicies answers those that do."


# Security Token Service


class MFATypeNotSupported(ApiError):
    code = "FailedOperation.MFATypeNotSupported"
    message = "There are no MFA devices here: leave SerialNumber and TokenCode out."


class TempKeyNotAllowed(ApiError):
    code = "FailedOperation.TempKeyNotAllowed"
    message = "Temporary credentials cannot do this: use a permanent key."


class OverTimeError(ApiError):
    code = "InvalidParameter.OverTimeError"
    message = "DurationSeconds is longer than the session may last."


class PolicyTooLong(ApiError):
    code = "InvalidParameter.PolicyTooLong"
    message = "The session's policy does not fit into a token: make it shorter."


class ResouceError(ApiError):
    code = "InvalidParameter.ResouceError"
    message = "Policy names a resource in the wrong form."


class StrategyFormatError(ApiError):
    code = "InvalidParameter.StrategyFormatError"
    message = "Policy is a JSON policy, plain or URL-encoded once."


class StrategyInvalid(ApiError):
    code = "InvalidParameter.StrategyInvalid"
    message = "Policy is not a valid policy."


class WebIdentityTokenError(ApiError):
    code = "InvalidParameter.WebIdentityTokenError"
    message = "The web identity token is not accepted: check its issuer, audience, signature and expiry, and ProviderId."


class RoleNotFound(ApiError):
    code = "ResourceNotFound.RoleNotFound"
    message = "The role does not exist."


# Tag


class PaginationTokenInvalid(ApiError):
    code = "InvalidParameter.PaginationTokenInvalid"
    message = "PaginationToken is not one of this action's: start from the first page."


class DeleteTagsParamError(ApiError):
    code = "InvalidParameterValue.DeleteTagsParamError"
    message = "A tag key stands both in ReplaceTags and in DeleteTags."


class RegionInvalid(ApiError):
    code = "InvalidParameterValue.RegionInvalid"
    message = "The region is not offered here: call GetRegions for the list."


class ResourceDescriptionError(ApiError):
    code = "InvalidParameterValue.ResourceDescriptionError"
    message = (
        "A resource is qcs::kms:<region>:uin/<account>:key/creatorUin/<uin>/<key id> or"
        " qcs::ssm:<region>:uin/<account>:secret/creatorUin/<uin>/<name>, the account's number may be left out."
    )


class ResourceIdInvalid(ApiError):
    code = "InvalidParameterValue.ResourceIdInvalid"
    message = "A resource id is creatorUin/<uin>/<key id or secret name>, or the key id alone."


class ResourcePrefixInvalid(ApiError):
    code = "InvalidParameterValue.ResourcePrefixInvalid"
    message = "ResourcePrefix is key for kms and secret for ssm."


class ServiceTypeInvalid(ApiError):
    code = "InvalidParameterValue.ServiceTypeInvalid"
    message = "ServiceType is kms or ssm."


class TagFiltersLengthExceeded(ApiError):
    code = "InvalidParameterValue.TagFiltersLengthExceeded"
    message = "There are at most 6 tag filters with at most 10 values each."


class TagKeyCharacterIllegal(ApiError):
    code = "InvalidParameterValue.TagKeyCharacterIllegal"
    message = "A tag key has letters, digits, spaces and + - = . _ : / @ ( ) [ ], and no space at either end."


class TagKeyDuplicate(ApiError):
    code = "InvalidParameterValue.TagKeyDuplicate"
    message = "A tag key appears more than once."


class TagKeyEmpty(ApiError):
    code = "InvalidParameterValue.TagKeyEmpty"
    message = "A tag key is not empty."


class TagKeyLengthExceeded(ApiError):
    code = "InvalidParameterValue.TagKeyLengthExceeded"
    message = "A tag key has at most 127 characters."


class TagValueCharacterIllegal(ApiError):
    code = "InvalidParameterValue.TagValueCharacterIllegal"
    message = (
        "A tag value has letters, digits, spaces and + - = . _ : / @ ( ) [ ], and no space at either end."
    )


class TagValueLengthExceeded(ApiError):
    code = "InvalidParameterValue.TagValueLengthExceeded"
    message = "A tag value has at most 255 characters."


class ResourceAttachedTags(ApiError):
    code = "LimitExceeded.ResourceAttachedTags"
    message = "A resource has at most 50 tags."


class ResourceNumPerRequest(ApiError):
    code = "LimitExceeded.ResourceNumPerRequest"
    message = "A request names fewer resources."


class TagNumPerRequest(ApiError):
    code = "LimitExceeded.TagNumPerRequest"
    message = "A request names fewer tags."


class TimeMissing(ApiError):
    code = "InvalidParameter.Time"
    message = "StartTime and EndTime are required: seconds since 1970-01-01 UTC."


class TimeReversed(ApiError):
    code = "InvalidParameterValue.Time"
    message = "StartTime is not after EndTime."


class TimeSpanTooLong(ApiError):
    code = "LimitExceeded.OverTime"
    message = "StartTime and EndTime are at most 7 days apart."


class MaxResultOutOfRange(ApiError):
    code = "InvalidParameterValue.MaxResult"
    message = "MaxResults is 1 to 50."


class UnknownAttributeKey(ApiError):
    code = "InvalidParameterValue.attributeKey"
    message = "GetAttributeKey answers the keys that events can be searched by."


class TooManyEventsWanted(ApiError):
    code = "LimitExceeded.OverAmount"
    message = "MaxResults is 1 to 50, and there are at most 10 LookupAttributes."
