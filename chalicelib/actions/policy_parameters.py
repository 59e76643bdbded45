"""Parameter types of the actions on policies and roles, and what their answers have in common."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from chalicelib import errors
from chalicelib.actions.parameters import MAX_TAGS
from chalicelib.context import Context
from chalicelib.errors import (
    ApiError,
    DescriptionLengthOverlimit,
    ParamError,
    PolicyDocumentLengthOverLimit,
    PolicyNameError,
    RoleNameError,
    SearchKeywordLengthError,
    TagLimitExceeded,
    TagParamError,
)
from chalicelib.grants import compile_trust
from chalicelib.model.policy import CUSTOM, ManagedPolicy
from chalicelib.model.role import MAX_SESSION_DURATION, Role
from chalicelib.params import RECORDED, Between, Characters, Items, Matches
from chalicelib.policy.document import Policy, PolicyError, parse

Item = TypeVar("Item")

_NAME: Final = r"[A-Za-z0-9+=,.@_-]{1,128}"
_NAME_SAYS: Final = "has 1 to 128 letters, digits and +=,.@_-"

PolicyId = Annotated[int, Between(0, 2**63 - 1, ParamError), RECORDED]
PolicyIds = Annotated[list[PolicyId], Items(1000, 1, ParamError), RECORDED]
PolicyName = Annotated[str, Matches(_NAME, _NAME_SAYS, PolicyNameError), RECORDED]
OptionalPolicyName = Annotated[
    str, Matches(f"|{_NAME}", f"is empty or {_NAME_SAYS}", PolicyNameError), RECORDED
]
VersionId = Annotated[int, Between(0, 2**63 - 1, ParamError), RECORDED]
VersionIds = Annotated[list[VersionId], Items(100, 1, ParamError), RECORDED]
PolicyDocument = Annotated[str, Characters(65536, error=PolicyDocumentLengthOverLimit)]
"""White space does not count towards the limit of a document, but it has one, too."""
Description = Annotated[str, Characters(1024, error=DescriptionLengthOverlimit)]
RoleId = Annotated[str, Matches(r"[0-9]{0,20}", "is the number of a role", ParamError), RECORDED]
RoleNumber = Annotated[int, Between(0, 2**63 - 1, ParamError), RECORDED]
RoleName = Annotated[str, Matches(_NAME, _NAME_SAYS, RoleNameError), RECORDED]
OptionalRoleName = Annotated[str, Matches(f"|{_NAME}", f"is empty or {_NAME_SAYS}", RoleNameError), RECORDED]
ConsoleLogin = Annotated[int, Between(0, 1, ParamError), RECORDED]
SessionDuration = Annotated[int, Between(0, MAX_SESSION_DURATION, ParamError), RECORDED]
Page = Annotated[int, Between(1, 200, ParamError), RECORDED]
PageSize = Annotated[int, Between(1, 200, ParamError), RECORDED]
Keyword = Annotated[str, Characters(128, error=SearchKeywordLengthError)]
Uin = Annotated[int, Between(0, 2**63 - 1, ParamError), RECORDED]
GroupId = Annotated[int, Between(0, 2**63 - 1, ParamError), RECORDED]

USER_POLICY: Final = "User"
PRESET_POLICY: Final = "QCS"
"""Where policies come from, as the API spells it."""
BY_SYNTAX: Final = 2
"""The only way in which policies are made here: written down, not put together in a console."""


@dataclass(frozen=True, slots=True)
class CamTag:
    """A tag of a policy or a role: a key of 1 to 127 characters, a value of up to 255."""

    key: Annotated[str, Characters(127, 1, TagParamError), RECORDED]
    value: Annotated[str, Characters(255, error=TagParamError), RECORDED]


CamTags = Annotated[list[CamTag], Items(MAX_TAGS, error=TagLimitExceeded), RECORDED]
CamTagKeys = Annotated[
    list[Annotated[str, Characters(127, 1, TagParamError)]], Items(MAX_TAGS, 1, TagParamError), RECORDED
]

_POLICY_ERRORS: Final[Mapping[str, type[ApiError]]] = {
    error.code: error
    for error in (
        errors.ActionError,
        errors.ConditionContentError,
        errors.ConditionError,
        errors.ConditionTypeError,
        errors.EffectError,
        errors.PolicyDocumentError,
        errors.PolicyDocumentLengthOverLimit,
        errors.PrincipalError,
        errors.PrincipalQcsError,
        errors.ResourceContentError,
        errors.ResourceError,
        errors.ResourceProjectError,
        errors.ResourceQcsError,
        errors.ResourceRegionError,
        errors.ResourceUinError,
        errors.StatementError,
        errors.VersionError,
    )
}


def compile_policy(document: str) -> Policy:
    """The policy, or the error that says what is wrong with it."""
    try:
        return parse(document, name="PolicyDocument")
    except PolicyError as error:
        raise _POLICY_ERRORS[error.code](str(error)) from None


def check_trust_policy(document: str) -> None:
    """Raise the error that says what is wrong with a role's trust policy, if anything is."""
    try:
        compile_trust(document)
    except PolicyError as error:
        raise _POLICY_ERRORS[error.code](str(error)) from None


def tag_map(tags: Iterable[CamTag]) -> dict[str, str]:
    """Tags as a map; raises TagParamError."""
    tags = list(tags)
    found = {t.key: t.value for t in tags}
    if len(found) != len(tags):
        raise TagParamError("A tag key appears more than once.")
    return found


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as answers have them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def time_text(at: int) -> str:
    """A time as the answers of access management have it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def source(policy: ManagedPolicy) -> str:
    """Whose policy it is."""
    return USER_POLICY if policy.type == CUSTOM else PRESET_POLICY


def has_keyword(policy: ManagedPolicy, keyword: str) -> bool:
    """Whether a search finds the policy: by its name, in any case."""
    return keyword.lower() in policy.name.lower()


def one_page(items: Sequence[Item], page: int, rp: int) -> Sequence[Item]:
    """The items of a page; pages count from 1."""
    return items[(page - 1) * rp : page * rp]


def role_info(account: str, role: Role) -> dict[str, Any]:
    """A role as answers show it."""
    return {
        "RoleId": role.id,
        "RoleName": role.name,
        "PolicyDocument": role.document,
        "Description": role.description,
        "AddTime": time_text(role.created_at),
        "UpdateTime": time_text(role.updated_at),
        "ConsoleLogin": int(role.console_login),
        "RoleType": "user",
        "SessionDuration": role.session_duration,
        "DeletionTaskId": "",
        "Tags": tag_list(role.tags),
        "RoleArn": f"qcs::cam::uin/{account}:roleName/{role.name}",
    }


def attached_policies(ctx: Context, target: str, keyword: str = "") -> list[dict[str, Any]]:
    """What is attached to a target, in the order of attachment, as answers show it."""
    attached = ctx.policies.attachments(target).policies
    found = ctx.policies.find_all(attached)
    return [
        {
            "PolicyId": policy.id,
            "PolicyName": policy.name,
            "AddTime": time_text(at),
            "CreateMode": BY_SYNTAX,
            "PolicyType": source(policy),
            "Remark": policy.description,
            "Deactived": 0,
            "DeactivedDetail": [],
        }
        for policy, at in ((found[policy_id], at) for policy_id, at in attached.items() if policy_id in found)
        if has_keyword(policy, keyword)
    ]


def boundary_of(ctx: Context, target: str) -> dict[str, Any]:
    """The boundary of a target as answers show it; all of it null where there is none."""
    policy_id = ctx.policies.attachments(target).boundary
    policy = ctx.policies.find(policy_id) if policy_id else None
    return {
        "PolicyId": policy.id if policy else None,
        "PolicyName": policy.name if policy else None,
        "PolicyDocument": ctx.policies.document(policy, policy.default) if policy else None,
        "PolicyType": policy.type if policy else None,
        "CreateMode": BY_SYNTAX if policy else None,
    }
