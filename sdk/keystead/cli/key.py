"""`keystead key`."""

from __future__ import annotations

import base64
from enum import Enum
from typing import Annotated, Any, Final

import typer

from keystead.cli import files
from keystead.cli.exits import Exit, Failure
from keystead.cli.options import Limit, Tags, Yes, tag_filters, tags
from keystead.cli.session import session

app = typer.Typer(help="Keys (CMKs): create, list, rotate, import, delete.", no_args_is_help=True)

_COLUMNS: Final = ("KeyId", "Alias", "KeyState", "KeyUsage")
_EXTERNAL: Final = 2
_WRAPPING: Final = "RSAES_OAEP_SHA_256"


class State(str, Enum):
    """`--state`, in the order of the API's numbers."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING_DELETE = "pending-delete"
    PENDING_IMPORT = "pending-import"
    ARCHIVED = "archived"


_STATES: Final = {state: number for number, state in enumerate(State, 1)}

_KeyId = Annotated[str, typer.Argument(metavar="KEYID", show_default=False)]


@app.command()
def create(
    context: typer.Context,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", show_default=False)],
    usage: Annotated[
        str, typer.Option(metavar="KEYUSAGE", help="`keystead api kms ListAlgorithms` has them all.")
    ] = "ENCRYPT_DECRYPT",
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    tag: Tags = None,
    external: Annotated[
        bool, typer.Option("--external", help="Its material is imported afterwards.")
    ] = False,
) -> None:
    """Create a key."""
    here = session(context)
    answer = here.call(
        "kms",
        "CreateKey",
        Alias=alias,
        KeyUsage=usage,
        Description=description,
        Type=_EXTERNAL if external else None,
        Tags=tags(tag),
    )
    here.show({name: answer.get(name) for name in ("KeyId", "Alias", "KeyState", "KeyUsage", "CreateTime")})


@app.command("list")
def list_(
    context: typer.Context,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the alias or id.")] = None,
    state: Annotated[State | None, typer.Option(help="Only these.")] = None,
    usage: Annotated[str, typer.Option(metavar="KEYUSAGE", help="Only these.")] = "ALL",
    tag: Tags = None,
    limit: Limit = None,
) -> None:
    """List the keys."""
    here = session(context)
    found = here.pages(
        "kms",
        "ListKeyDetail",
        "KeyMetadatas",
        limit=limit,
        SearchKeyAlias=search,
        KeyState=None if state is None else _STATES[state],
        KeyUsage=usage,
        TagFilters=tag_filters(tag),
    )
    here.show_all(found, _COLUMNS)


@app.command()
def describe(context: typer.Context, key_id: _KeyId) -> None:
    """Show all that is known of a key; its material never is."""
    here = session(context)
    here.show(here.call("kms", "DescribeKey", KeyId=key_id)["KeyMetadata"])


@app.command()
def enable(context: typer.Context, key_id: _KeyId) -> None:
    """Enable a disabled key."""
    _do(context, "EnableKey", key_id)


@app.command()
def disable(context: typer.Context, key_id: _KeyId) -> None:
    """Refuse every use of a key until it is enabled again."""
    _do(context, "DisableKey", key_id)


@app.command()
def rotate(
    context: typer.Context,
    key_id: _KeyId,
    every: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Rotate it automatically instead, every 7 to 365 days.")
    ] = None,
    never: Annotated[bool, typer.Option("--never", help="End automatic rotation instead.")] = False,
) -> None:
    """Give a key new material now; what was encrypted before still opens. Automatic rotation must be on: say --every first."""
    if never and every is not None:
        raise Failure("Say --every or --never, not both.", Exit.USAGE)
    if never:
        _do(context, "DisableKeyRotation", key_id)
    elif every is not None:
        _do(context, "EnableKeyRotation", key_id, RotateDays=every)
    else:
        _do(context, "RotateKey", key_id)


@app.command()
def archive(context: typer.Context, key_id: _KeyId) -> None:
    """Let a key decrypt, and no more encrypt."""
    _do(context, "ArchiveKey", key_id)


@app.command("cancel-archive")
def cancel_archive(context: typer.Context, key_id: _KeyId) -> None:
    """Take an archived key back into full use."""
    _do(context, "CancelKeyArchive", key_id)


@app.command("import")
def import_(
    context: typer.Context,
    key_id: _KeyId,
    from_file: Annotated[
        str, typer.Option(metavar="PATH", help="The material, as it is: 16 or 32 bytes. Standard input is -.")
    ],
    valid_to: Annotated[
        int, typer.Option(metavar="SECONDS", help="Since 1970, when the material is to expire; 0 is never.")
    ] = 0,
) -> None:
    """Import the material of a key that was created with --external. It leaves this machine wrapped, never in plain."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    here = session(context)
    material = files.content(from_file)
    if len(material) not in (16, 32):
        raise Failure("The material has 16 bytes (SM4) or 32 (AES-256), without any encoding.", Exit.USAGE)
    given = here.call(
        "kms", "GetParametersForImport", KeyId=key_id, WrappingAlgorithm=_WRAPPING, WrappingKeySpec="RSA_2048"
    )
    try:
        public_key = serialization.load_der_public_key(base64.b64decode(given["PublicKey"], validate=True))
    except (ValueError, UnsupportedAlgorithm):
        raise Failure("The service's public key for the import cannot be read.") from None
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise Failure("The service's public key for the import is not an RSA key.")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = base64.b64encode(public_key.encrypt(material, oaep)).decode()
    here.call(
        "kms",
        "ImportKeyMaterial",
        KeyId=key_id,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=wrapped,
        ValidTo=valid_to,
    )
    here.show({"KeyId": key_id, "ValidTo": valid_to})


@app.command("schedule-deletion")
def schedule_deletion(
    context: typer.Context,
    key_id: _KeyId,
    days: Annotated[int, typer.Option(min=7, max=30, help="In which it can be taken back.")] = 30,
    yes: Yes = False,
) -> None:
    """Delete a disabled key after 7 to 30 days. What only it can decrypt is lost then."""
    session(context).confirm(
        f"Delete key {key_id!r} in {days} days, and with it all that only it can decrypt?", yes=yes
    )
    _do(context, "ScheduleKeyDeletion", key_id, PendingWindowInDays=days)


@app.command("cancel-deletion")
def cancel_deletion(context: typer.Context, key_id: _KeyId) -> None:
    """Take back a deletion that is still to come. The key is disabled afterwards."""
    _do(context, "CancelKeyDeletion", key_id)


def _do(context: typer.Context, action: str, key_id: str, **parameters: Any) -> None:
    here = session(context)
    here.show({"KeyId": key_id, **here.call("kms", action, KeyId=key_id, **parameters)})
