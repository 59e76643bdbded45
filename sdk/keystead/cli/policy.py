"""`keystead policy`: what users, groups and roles may do (CAM)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Final

import typer

from keystead.cli import files, output
from keystead.cli.exits import Exit, Failure
from keystead.cli.options import Limit, Yes
from keystead.cli.session import Session, session
from keystead.cli.user import pages, uin_of

app = typer.Typer(help="Policies: create, attach, simulate.", no_args_is_help=True)

_COLUMNS: Final = ("PolicyId", "PolicyName", "Type", "Attachments", "Description")

_Policy = Annotated[str, typer.Argument(metavar="POLICY", help="Its name or number.", show_default=False)]
_Document = Annotated[str, typer.Option(metavar="FILE", help="The document (JSON); - is standard input.")]
_User = Annotated[str, typer.Option(metavar="NAME", help="A user.")]
_Group = Annotated[str, typer.Option(metavar="NAME", help="A group.")]
_Role = Annotated[str, typer.Option(metavar="NAME", help="A role.")]


class Scope(str, Enum):
    """`--scope`."""

    ALL = "all"
    PRESET = "preset"
    OWN = "own"


_SCOPES: Final = {Scope.ALL: "All", Scope.PRESET: "QCS", Scope.OWN: "Local"}


@app.command("list")
def list_(
    context: typer.Context,
    search: Annotated[str, typer.Option(metavar="TEXT", help="Part of the name or description.")] = "",
    scope: Annotated[Scope, typer.Option(help="`own`: those of the account.")] = Scope.ALL,
    limit: Limit = None,
) -> None:
    """List policies."""
    here = session(context)
    found = pages(here, "ListPolicies", "List", limit=limit, Scope=_SCOPES[scope], Keyword=search or None)
    here.show_all(found, _COLUMNS)


@app.command()
def get(
    context: typer.Context,
    policy: _Policy,
    document: Annotated[bool, typer.Option("--document", help="The document alone.")] = False,
) -> None:
    """Show a policy with its document, and whom it is attached to."""
    here = session(context)
    policy_id = _id(here, policy)
    found = here.call("cam", "GetPolicy", PolicyId=policy_id)
    text = json.loads(found["PolicyDocument"])
    if document:
        output.show(output.Format.JSON, text)
        return
    entities = pages(here, "ListEntitiesForPolicy", "List", PolicyId=policy_id)
    members = ("PolicyName", "Description", "AddTime", "UpdateTime")
    here.show(
        {
            "PolicyId": policy_id,
            **{name: found.get(name) for name in members},
            "AttachedTo": [_entity(each) for each in entities],
            "PolicyDocument": text,
        }
    )


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    document: _Document,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> None:
    """Create a policy."""
    here = session(context)
    made = here.call(
        "cam", "CreatePolicy", PolicyName=name, PolicyDocument=_read(document), Description=description
    )
    here.show({"PolicyId": made["PolicyId"], "PolicyName": name})


@app.command()
def delete(context: typer.Context, policy: _Policy, yes: Yes = False) -> None:
    """Delete a policy of the account, and detach it from everybody."""
    here = session(context)
    policy_id = _id(here, policy)
    here.confirm(f"Delete the policy {policy!r}? Whoever has it loses what it allows, or forbids.", yes=yes)
    here.call("cam", "DeletePolicy", PolicyId=[policy_id])
    here.show({"PolicyId": policy_id})


@app.command()
def attach(
    context: typer.Context, policy: _Policy, user: _User = "", group: _Group = "", role: _Role = ""
) -> None:
    """Attach a policy to a user, a group or a role."""
    _change(session(context), "Attach", policy, user, group, role)


@app.command()
def detach(
    context: typer.Context, policy: _Policy, user: _User = "", group: _Group = "", role: _Role = ""
) -> None:
    """Take a policy from a user, a group or a role."""
    _change(session(context), "Detach", policy, user, group, role)


@app.command()
def simulate(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="SERVICE:ACTION", show_default=False)],
    resource: Annotated[str, typer.Argument(help="qcs::...; default: every resource of the account.")] = "*",
    user: _User = "",
    group: _Group = "",
    role: _Role = "",
    document: Annotated[
        str, typer.Option(metavar="FILE", help="A document (JSON) as if it were attached as well.")
    ] = "",
    source_ip: Annotated[str | None, typer.Option(help="Where the call comes from.")] = None,
) -> None:
    """Ask whether somebody may do something, and which statement decides. Denied ends with exit code 4."""
    here = session(context)
    _at_most_one(user, group, role)
    answer = here.call(
        "cam",
        "SimulatePolicy",
        ActionName=action,
        Resource=resource,
        TargetUin=uin_of(here, user),
        GroupId=_group_id(here, group) if group else None,
        RoleId=_role_id(here, role) if role else None,
        PolicyDocument=_read(document) if document else None,
        SourceIp=source_ip,
    )
    here.show(answer)
    if answer.get("Decision") != "allow":
        raise Failure(f"{action} is denied.", Exit.DENIED)


def _change(here: Session, verb: str, policy: str, user: str, group: str, role: str) -> None:
    if _at_most_one(user, group, role) != 1:
        raise Failure("Say one of --user, --group and --role.", Exit.USAGE)
    policy_id = _id(here, policy)
    if user:
        here.call("cam", f"{verb}UserPolicy", PolicyId=policy_id, **{f"{verb}Uin": uin_of(here, user)})
    elif group:
        here.call(
            "cam", f"{verb}GroupPolicy", PolicyId=policy_id, **{f"{verb}GroupId": _group_id(here, group)}
        )
    else:
        here.call("cam", f"{verb}RolePolicy", PolicyId=policy_id, **{f"{verb}RoleName": role})
    here.show({"PolicyId": policy_id})


def _at_most_one(*names: str) -> int:
    said = sum(map(bool, names))
    if said > 1:
        raise Failure("--user, --group and --role exclude each other.", Exit.USAGE)
    return said


def _id(here: Session, policy: str) -> int:
    """The number of a policy; names of the account and preset ones are looked up."""
    if policy.isascii() and policy.isdigit():
        return int(policy)
    found = pages(here, "ListPolicies", "List", Keyword=policy)
    return _only(found, "PolicyName", policy, "PolicyId")


def _group_id(here: Session, group: str) -> int:
    return _only(pages(here, "ListGroups", "GroupInfo", Keyword=group), "GroupName", group, "GroupId")


def _role_id(here: Session, role: str) -> str:
    found: str = here.call("cam", "GetRole", RoleName=role)["RoleInfo"]["RoleId"]
    return found


def _only(items: Any, name: str, wanted: str, member: str) -> int:
    for each in items:
        if each.get(name) == wanted:
            number: int = each[member]
            return number
    raise Failure(f"There is no {name} {wanted!r}.", Exit.NOT_FOUND)


def _read(source: str) -> str:
    """A policy document; that it is JSON is seen here, where the place of a mistake can be told."""
    try:
        text = files.content(source).decode()
        json.loads(text)
    except json.JSONDecodeError as error:
        raise Failure(f"The document is not JSON: {error.msg} in line {error.lineno}.", Exit.USAGE) from None
    except UnicodeDecodeError:
        raise Failure("The document is not UTF-8.", Exit.USAGE) from None
    except RecursionError:
        raise Failure("The document is nested too deeply.", Exit.USAGE) from None
    return text


def _entity(entity: dict[str, Any]) -> str:
    kinds: Sequence[str] = ("?", "user", "group", "role")
    kind = entity.get("RelatedType")
    known = kinds[kind] if isinstance(kind, int) and 0 < kind < len(kinds) else "?"
    return f"{known} {entity.get('Name') or entity.get('Id')}"
