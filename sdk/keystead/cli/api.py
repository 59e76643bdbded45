"""`keystead api SERVICE ACTION --Parameter VALUE ...`: any action, wrapped by a command or not."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Any, Final

import typer

from keystead.cli import files, output
from keystead.cli.exits import Exit, Failure
from keystead.cli.output import say
from keystead.cli.session import VERSIONS, session

SETTINGS: Final = {"ignore_unknown_options": True}

_SECRET: Final = frozenset(
    (
        "ImportKeyMaterial",
        "Password",
        "PlainText",
        "Plaintext",
        "SecretBinary",
        "SecretKey",
        "SecretString",
        "WebIdentityToken",
    )
)
_FILE: Final = "file://"
_BINARY_FILE: Final = "fileb://"


def command(
    context: typer.Context,
    service: Annotated[str, typer.Argument(show_default=False, help="kms, ssm, cam, sts, tag, cloudaudit.")],
    action: Annotated[str, typer.Argument(show_default=False, help="Such as DescribeKey.")],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[--PARAMETER VALUE]...", show_default=False)
    ] = None,
    input_file: Annotated[
        str | None,
        typer.Option("--input", metavar="PATH", help="Parameters as a JSON object, from a file or -."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the service check whether it may be done, and do nothing.")
    ] = False,
    api_version: Annotated[
        str | None, typer.Option(metavar="DATE", help="For a service that is not among those above.")
    ] = None,
) -> None:
    """Call any action of the API and print the response as JSON.

    A value is a number, true, false, a JSON list or object, or else a string; "123" in quotes inside is a string.
    file://PATH and - are a string from a file or standard input, fileb://PATH a file's bytes in base64.
    """
    from keystead.api import ApiError

    here = session(context)
    version = api_version or VERSIONS.get(service)
    if version is None:
        raise Failure(f"{service!r} is not one of {', '.join(VERSIONS)}: say --api-version.", Exit.USAGE)
    given = {**_from_json(input_file), **parsed(parameters or ())}
    if dry_run:
        given["DryRun"] = True
    try:
        answer = here.send(service, version, action, given)
    except ApiError as error:
        if dry_run and error.code == "DryRunOperation":
            say("keystead: it may be done; nothing was.")
            return
        raise
    except ValueError as error:
        raise Failure(f"{error}.", Exit.USAGE) from None
    output.show(here.said_form or output.Format.JSON, answer)


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The parameters of `--Name value` and `--Name=value`."""
    read: dict[str, Any] = {}
    left = iter(arguments)
    for argument in left:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not (argument.startswith("--") and name.isidentifier()):
            raise Failure("Parameters are given as --Name VALUE (see --help).", Exit.USAGE)
        if name in read:
            raise Failure(f"--{name} is given twice: a list is one value, in JSON.", Exit.USAGE)
        if not equals:
            value = next(left, None)
            if value is None:
                raise Failure(f"--{name} has no value.", Exit.USAGE)
            text = value
        read[name] = _value(name, text)
    return read


def _value(name: str, text: str) -> Any:
    if text == files.STANDARD:
        return _text(name, files.content(text))
    if text.startswith(_FILE):
        return _text(name, files.content(text.removeprefix(_FILE)))
    if text.startswith(_BINARY_FILE):
        return base64.b64encode(files.content(text.removeprefix(_BINARY_FILE))).decode()
    if name in _SECRET:
        raise Failure(
            f"--{name} would stay in the history of the shell: say -, file://PATH, fileb://PATH or --input.",
            Exit.USAGE,
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and not isfinite(value) else value  # JSON has no NaN


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Failure(f"--{name}: not UTF-8. Where base64 is wanted, say fileb://PATH.", Exit.USAGE) from None


def _from_json(source: str | None) -> dict[str, Any]:
    from keystead.api import parsed_json

    if source is None:
        return {}
    read = parsed_json(files.content(source))
    if not isinstance(read, dict):
        raise Failure("--input is not a JSON object.", Exit.USAGE)
    return read
