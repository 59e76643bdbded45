"""`keystead secret`: values are shown only when asked for, and never stand on a command line."""

from __future__ import annotations

import base64
import json
import string
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keystead.cli import files
from keystead.cli.exits import Exit, Failure
from keystead.cli.options import Limit, Tags, Yes, tag_filters, tags
from keystead.cli.output import say
from keystead.cli.session import Session, session

if TYPE_CHECKING:
    from keystead.secrets import Secret

app = typer.Typer(help="Secrets: create, read, change, delete.", no_args_is_help=True)

_ALPHABET: Final = string.ascii_letters + string.digits
_OF_PRODUCT: Final = 1
_COLUMNS: Final = ("SecretName", "Status", "CreateTime", "Description")


class State(str, Enum):
    """`--state`, in the order of the API's numbers."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING_DELETE = "pending-delete"


_STATES: Final = {state: number for number, state in enumerate(State, 1)}

_Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
_FromFile = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", help="Read the value from a file, or from standard input (-). Else it is asked for."
    ),
]
_Trim = Annotated[bool, typer.Option("--trim", help="Leave out line ends at the end of the value.")]
_Binary = Annotated[bool, typer.Option("--binary", help="Store it as SecretBinary, also where it is text.")]
_Field = Annotated[
    str | None, typer.Option(metavar="MEMBER", help="Only this member of a secret that is a JSON object.")
]
_VersionId = Annotated[
    str | None, typer.Option(metavar="ID", help="Of the new version; made from the time unless said.")
]


@app.command()
def create(
    context: typer.Context,
    name: _Name,
    from_file: _FromFile = None,
    trim: _Trim = False,
    binary: _Binary = False,
    description: Annotated[str | None, typer.Option(help="What it is for; not secret.")] = None,
    kms_key: Annotated[str | None, typer.Option(metavar="KEYID", help="CMK that encrypts it.")] = None,
    tag: Tags = None,
    version_id: _VersionId = None,
) -> None:
    """Create a secret with its first version."""
    here = session(context)
    tagged = tags(tag)
    raw = files.value(here, "Value", from_file, trim=trim)
    answer = here.call(
        "ssm",
        "CreateSecret",
        SecretName=name,
        VersionId=version_id or _new_version_id(),
        Description=description,
        KmsKeyId=kms_key,
        Tags=tagged,
        **_value(raw, binary=binary),
    )
    here.show({"SecretName": answer["SecretName"], "VersionId": answer["VersionId"]})


@app.command()
def get(
    context: typer.Context,
    name: _Name,
    version: Annotated[str, typer.Option(metavar="ID", help="Version to read.")] = "SSM_Current",
    value: Annotated[bool, typer.Option("--value", help="Print the value, and nothing else.")] = False,
    field: _Field = None,
    to_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write the value to a new file of mode 0600.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Describe a secret; its value comes with --value, --field or --to-file only."""
    here = session(context)
    if not (value or field is not None or to_file is not None):
        if version != "SSM_Current":
            raise Failure("--version is for --value, --field and --to-file.", Exit.USAGE)
        here.show(here.call("ssm", "DescribeSecret", SecretName=name))
        return
    if value and to_file is not None:
        raise Failure("Say --value or --to-file, not both.", Exit.USAGE)
    secret = read(here, name, version)
    raw = secret.bytes if field is None else member(secret, field).encode()
    if to_file is None:
        files.print_value(raw)
        return
    with files.appearing(to_file, replace=force) as file:
        file.write(raw)


@app.command()
def put(
    context: typer.Context,
    name: _Name,
    from_file: _FromFile = None,
    trim: _Trim = False,
    binary: _Binary = False,
    field: _Field = None,
    version_id: _VersionId = None,
) -> None:
    """Add a version, which becomes the current one."""
    here = session(context)
    raw = files.value(here, "New value", from_file, trim=trim)
    if field is not None:
        raw = _with_member(read(here, name), field, raw)
    _put(here, name, raw, binary=binary, version_id=version_id)


@app.command()
def rotate(
    context: typer.Context,
    name: _Name,
    field: _Field = None,
    length: Annotated[int, typer.Option(min=16, max=1024, help="Letters and digits of the new value.")] = 32,
    version_id: _VersionId = None,
    yes: Yes = False,
) -> None:
    """Add a version with a new random value, which is not shown. A database's own secret is rotated by the service."""
    here = session(context)
    if here.call("ssm", "DescribeSecret", SecretName=name).get("SecretType") == _OF_PRODUCT:
        here.confirm(f"Rotate the account of {name!r} now?", yes=yes)
        here.show(here.call("ssm", "RotateProductSecret", SecretName=name))
        return
    what = "the whole value" if field is None else f"member {field!r}"
    here.confirm(f"Replace {what} of {name!r} by {length} random letters and digits?", yes=yes)
    import secrets

    raw = "".join(secrets.choice(_ALPHABET) for _ in range(length)).encode()
    if field is not None:
        raw = _with_member(read(here, name), field, raw)
    _put(here, name, raw, binary=False, version_id=version_id)


@app.command()
def versions(context: typer.Context, name: _Name) -> None:
    """List the versions, newest first."""
    here = session(context)
    answer = here.call("ssm", "ListSecretVersionIds", SecretName=name)
    here.show_all(answer["Versions"], ("VersionId", "CreateTime"))


@app.command("list")
def list_(
    context: typer.Context,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the name.")] = None,
    state: Annotated[State | None, typer.Option(help="Only these.")] = None,
    tag: Tags = None,
    limit: Limit = None,
) -> None:
    """List the secrets."""
    here = session(context)
    found = here.pages(
        "ssm",
        "ListSecrets",
        "SecretMetadatas",
        limit=limit,
        SearchSecretName=search,
        State=None if state is None else _STATES[state],
        TagFilters=tag_filters(tag),
    )
    here.show_all(found, _COLUMNS)


@app.command()
def disable(context: typer.Context, name: _Name) -> None:
    """Refuse its value to everybody until it is enabled again."""
    here = session(context)
    here.show(here.call("ssm", "DisableSecret", SecretName=name))


@app.command()
def enable(context: typer.Context, name: _Name) -> None:
    """Enable a disabled secret."""
    here = session(context)
    here.show(here.call("ssm", "EnableSecret", SecretName=name))


@app.command()
def delete(
    context: typer.Context,
    name: _Name,
    days: Annotated[int, typer.Option(min=1, max=30, help="In which it can be restored.")] = 7,
    now: Annotated[bool, typer.Option("--now", help="At once and for ever.")] = False,
    version: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this version, at once and for ever.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Delete a disabled secret after some days, or one of its versions."""
    here = session(context)
    if version is not None:
        here.confirm(f"Delete version {version!r} of secret {name!r} for ever?", yes=yes)
        here.show(here.call("ssm", "DeleteSecretVersion", SecretName=name, VersionId=version))
        return
    end = "now and for ever" if now else f"in {days} days"
    here.confirm(f"Delete secret {name!r} {end}?", yes=yes)
    here.show(here.call("ssm", "DeleteSecret", SecretName=name, RecoveryWindowInDays=0 if now else days))


@app.command()
def restore(context: typer.Context, name: _Name) -> None:
    """Take back a deletion that is still to come. The secret is disabled afterwards."""
    here = session(context)
    here.show(here.call("ssm", "RestoreSecret", SecretName=name))


def read(here: Session, name: str, version: str = "SSM_Current") -> Secret:
    """A version of a secret with its value."""
    from keystead.secrets import SecretCache

    return SecretCache(here.api(), here.region).get(name, version=version)


def _put(here: Session, name: str, raw: bytes, *, binary: bool, version_id: str | None) -> None:
    answer = here.call(
        "ssm",
        "PutSecretValue",
        SecretName=name,
        VersionId=version_id or _new_version_id(),
        **_value(raw, binary=binary),
    )
    here.show({"SecretName": answer["SecretName"], "VersionId": answer["VersionId"]})


def _value(raw: bytes, *, binary: bool) -> dict[str, str]:
    """SecretString where it is text, else SecretBinary."""
    try:
        text = None if binary else raw.decode()
    except UnicodeDecodeError:
        text = None
        say("keystead: the value is not UTF-8 and is stored as SecretBinary.")
    return {"SecretBinary": base64.b64encode(raw).decode()} if text is None else {"SecretString": text}


def members(secret: Secret) -> dict[str, Any]:
    """The members of a secret; Failure where it is not a JSON object."""
    from keystead.api import parsed_json

    found = parsed_json(secret.bytes)
    if not isinstance(found, dict):
        raise Failure(f"The secret {secret.name!r} is not a JSON object.", Exit.USAGE)
    return found


def member(secret: Secret, name: str) -> str:
    """One member of a secret, as text; Failure where there is none."""
    found = members(secret)
    if name not in found:
        raise Failure(f"The secret {secret.name!r} has no member {name!r}.", Exit.NOT_FOUND)
    return text_of(found[name])


def text_of(value: Any) -> str:
    """A member as text: a string as it is, anything else in JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _with_member(secret: Secret, name: str, raw: bytes) -> bytes:
    changed = members(secret)
    try:
        changed[name] = raw.decode()
    except UnicodeDecodeError:
        raise Failure("--field: a member of a JSON object is text.", Exit.USAGE) from None
    return json.dumps(changed, ensure_ascii=False).encode()


def _new_version_id() -> str:
    # Names sort by time; two that are made in the same second differ.
    import secrets

    now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return f"{now}-{secrets.token_hex(3)}"
