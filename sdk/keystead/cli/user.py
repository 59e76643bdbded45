"""`keystead user`: who may call, and their access keys (CAM)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keystead.cli import files, output
from keystead.cli.exits import Exit, Failure
from keystead.cli.options import Yes
from keystead.cli.session import Session, session

app = typer.Typer(help="Users and their access keys.", no_args_is_help=True)
keys = typer.Typer(help="Access keys: of a user, or without a name your own.", no_args_is_help=True)
app.add_typer(keys, name="keys")

_COLUMNS: Final = ("Name", "Uin", "Remark", "CreateTime")
_KEY_COLUMNS: Final = ("AccessKeyId", "Status", "CreateTime", "Description")

_Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
_Whose = Annotated[str, typer.Option("--user", metavar="NAME", help="Whose key; default: your own.")]
_KeyId = Annotated[str, typer.Argument(metavar="SECRETID", show_default=False)]
_Show = Annotated[bool, typer.Option("--show", help="Show the SecretKey, which is never shown again.")]
_File = Annotated[
    Path | None,
    typer.Option(help="Write SecretId and SecretKey to this new file, which only you can read."),
]


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the account's users."""
    here = session(context)
    here.show_all(here.call("cam", "ListUsers").get("Data") or [], _COLUMNS)


@app.command()
def get(context: typer.Context, name: _Name) -> None:
    """Show a user, the policies attached to it, and its keys."""
    here = session(context)
    found = here.call("cam", "GetUser", Name=name)
    uin = found["Uin"]
    policies = pages(here, "ListAttachedUserPolicies", "List", TargetUin=uin)
    held = here.call("cam", "ListAccessKeys", TargetUin=uin).get("AccessKeys") or []
    here.show(
        {
            **{member: found.get(member) for member in ("Name", "Uin", "Remark")},
            "Policies": [each.get("PolicyName") for each in policies],
            "AccessKeys": [f"{each.get('AccessKeyId')} ({each.get('Status')})" for each in held],
        }
    )


@app.command()
def create(
    context: typer.Context,
    name: _Name,
    remark: Annotated[str | None, typer.Option(help="Who that is.")] = None,
    show: _Show = False,
    credentials_file: _File = None,
) -> None:
    """Create a user: without permissions, and with an access key if you say where it goes."""
    here = session(context)
    made: dict[str, Any] = {}

    def user() -> int:
        made.update(Name=name, Uin=here.call("cam", "AddUser", Name=name, Remark=remark)["Uin"])
        uin: int = made["Uin"]
        return uin

    if show or credentials_file is not None:
        try:
            made.update(_new_key(here, user, None, show=show, place=credentials_file))
        except BaseException:
            if made:
                output.say(
                    f"keystead: the user {name!r} is there, without a key: `keystead user keys create`."
                )
            raise
    else:
        user()
    here.show(made)


@app.command()
def delete(
    context: typer.Context,
    name: _Name,
    force: Annotated[bool, typer.Option("--force", help="Even if it has access keys.")] = False,
    yes: Yes = False,
) -> None:
    """Delete a user. Its keys stop working at once."""
    here = session(context)
    here.confirm(f"Delete the user {name!r}?", yes=yes)
    here.call("cam", "DeleteUser", Name=name, Force=int(force))
    here.show({"Name": name})


@keys.command("list")
def list_keys(context: typer.Context, user: _Whose = "") -> None:
    """List access keys; a SecretKey is never shown again."""
    here = session(context)
    answer = here.call("cam", "ListAccessKeys", TargetUin=uin_of(here, user))
    here.show_all(answer.get("AccessKeys") or [], _KEY_COLUMNS)


@keys.command("create")
def create_key(
    context: typer.Context,
    user: _Whose = "",
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    show: _Show = False,
    credentials_file: _File = None,
) -> None:
    """Create an access key: say --credentials-file, or --show."""
    here = session(context)
    if not show and credentials_file is None:
        raise Failure("Where does the SecretKey go? Say --credentials-file PATH, or --show.", Exit.USAGE)
    made = _new_key(here, lambda: uin_of(here, user), description, show=show, place=credentials_file)
    here.show(made)


@keys.command()
def enable(context: typer.Context, key: _KeyId, user: _Whose = "") -> None:
    """Let a key sign again."""
    _switch(session(context), key, user, "Active")


@keys.command()
def disable(context: typer.Context, key: _KeyId, user: _Whose = "") -> None:
    """Let a key sign no more, for the time being."""
    _switch(session(context), key, user, "Inactive")


@keys.command("delete")
def delete_key(context: typer.Context, key: _KeyId, user: _Whose = "", yes: Yes = False) -> None:
    """Delete a key for ever."""
    here = session(context)
    here.confirm(f"Delete the access key {key!r}?", yes=yes)
    here.call("cam", "DeleteAccessKey", AccessKeyId=key, TargetUin=uin_of(here, user))
    here.show({"AccessKeyId": key})


def uin_of(here: Session, name: str) -> int | None:
    """The uin of a user: None, which means oneself, without a name."""
    if not name:
        return None
    uin: int = here.call("cam", "GetUser", Name=name)["Uin"]
    return uin


def pages(
    here: Session, action: str, member: str, *, limit: int | None = None, **parameters: Any
) -> Iterator[dict[str, Any]]:
    """The items of a list of CAM, which has Page, Rp and TotalNum, page after page as they are taken."""
    size, page, count = 100, 1, 0
    while limit is None or count < limit:
        answer = here.call("cam", action, Page=page, Rp=size, **parameters)
        items = answer.get(member) or []
        for item in items:
            yield item
            count += 1
            if count == limit:
                return
        if not items or count >= answer.get("TotalNum", 0):
            return
        page += 1


def _switch(here: Session, key: str, user: str, status: str) -> None:
    here.call("cam", "UpdateAccessKey", AccessKeyId=key, Status=status, TargetUin=uin_of(here, user))
    here.show({"AccessKeyId": key, "Status": status})


def _new_key(
    here: Session,
    whose: Callable[[], int | None],
    description: str | None,
    *,
    show: bool,
    place: Path | None,
) -> dict[str, str]:
    """Create an access key. Its SecretKey goes where the user said, and nowhere else."""
    if place is None:
        made = _create(here, whose(), description)
        return {"SecretId": made["AccessKeyId"], "SecretKey": made["SecretAccessKey"]}
    made, uin = {}, None
    try:
        # Begun before the key exists: a SecretKey cannot be had twice.
        with files.appearing(place, replace=False) as file:
            uin = whose()
            made = _create(here, uin, description)
            ini = f"[default]\nsecret_id = {made['AccessKeyId']}\nsecret_key = {made['SecretAccessKey']}\n"
            file.write(ini.encode())
    except BaseException:
        if made:
            key = f"keystead: the access key {made['AccessKeyId']} could not be kept"
            try:
                here.call("cam", "DeleteAccessKey", AccessKeyId=made["AccessKeyId"], TargetUin=uin)
            except BaseException:
                output.say(f"{key}, nor deleted: `keystead user keys delete`.")
                raise
            output.say(f"{key} and was deleted.")
        raise
    shown = {"SecretId": made["AccessKeyId"], "CredentialsFile": str(place)}
    return {**shown, "SecretKey": made["SecretAccessKey"]} if show else shown


def _create(here: Session, uin: int | None, description: str | None) -> dict[str, str]:
    answer = here.call("cam", "CreateAccessKey", TargetUin=uin, Description=description)
    made: dict[str, str] = answer["AccessKey"]
    return made
