"""The commands, put together; and what errors become."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from keystead.cli import output, profile
from keystead.cli.exits import Exit, Failure, exit_of
from keystead.cli.session import Session

_EVERYWHERE: Final = ("--profile", "--endpoint", "--region", "--output")

COMMANDS: Final = {
    "configure": ("configure", "command", "Write a profile."),
    "secret": ("secret", "app", "Secrets: create, read, change, delete."),
    "key": ("key", "app", "Keys (CMKs): create, list, rotate, import, delete."),
    "encrypt": ("crypt", "encrypt", "Encrypt a file or a pipe."),
    "decrypt": ("crypt", "decrypt", "Decrypt a file or a pipe."),
    "run": ("run", "command", "Run a program with secrets in its environment."),
    "scan": ("scan", "command", "Find hard-coded secrets."),
    "user": ("user", "app", "Users and their access keys."),
    "policy": ("policy", "app", "Policies: create, attach, simulate."),
    "audit": ("audit", "app", "The audit trail: watch it, verify it."),
    "doctor": ("doctor", "command", "Check what works here and what does not."),
    "api": ("api", "command", "Call any action of the API."),
}
"""Module, name in it, and a line of help. They are imported when they are needed: nobody waits for the others."""


class Commands(TyperGroup):
    """The options of `keystead` itself may stand anywhere on the line, and errors end in one line and a code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _errors():  # of --help, which writes here
            return super().parse_args(ctx, _hoisted(args))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _made(cmd_name)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        with _errors():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextmanager
def _errors() -> Iterator[None]:
    """What is raised inside ends in one line and an exit code."""
    try:
        yield
    except typer.TyperException as error:
        if error.message.startswith("Got unexpected extra argument"):
            # They may be a value that should have gone another way.
            error.message = "There are more arguments than this command takes (not shown here)."
        raise
    except (typer.Exit, SystemExit):
        raise
    except Exception as error:
        ended = _ended(error)
        if ended is None:
            raise
    else:
        return
    if ended.code is not Exit.PIPE_CLOSED:
        output.say(f"keystead: {ended.message}")
    try:
        sys.stdout.flush()
    except OSError:
        # What is still buffered can go nowhere, and the interpreter would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(ended.code)


def _profiles() -> list[str]:
    try:
        return list(profile.read_all())
    except Failure:  # a shell that completes a line has no place for it
        return []


app = typer.Typer(
    cls=Commands,
    help="Keys and secrets of Keystead, and of Tencent Cloud by its endpoint.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich takes longer to import than everything else
    pretty_exceptions_enable=False,  # they show local variables, and secrets with them
    pretty_exceptions_show_locals=False,
)


@app.callback()
def _options(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Option(
            "--profile",
            envvar="KEYSTEAD_PROFILE",
            help="Profile of the config file.",
            autocompletion=_profiles,
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", envvar="KEYSTEAD_ENDPOINT", help="https://host[:port].")
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", envvar="KEYSTEAD_REGION", help="Such as ap-guangzhou.")
    ] = None,
    form: Annotated[
        output.Format | None,
        typer.Option("--output", help="Default: table on a terminal, json in a pipe."),
    ] = None,
) -> None:
    here = Session(name or None, endpoint=endpoint, region=region, form=form)
    context.call_on_close(here.close)
    context.obj = here


def _made(name: str) -> Any:
    module_name, member, _ = COMMANDS[name]
    module = import_module(f"keystead.cli.{module_name}")
    made = getattr(module, member)
    holder = typer.Typer(rich_markup_mode=None)
    if isinstance(made, typer.Typer):
        holder.add_typer(made, name=name)
    else:
        holder.command(name, context_settings=getattr(module, "SETTINGS", None))(made)
    return get_group(holder).commands[name]


def _hoisted(args: list[str]) -> list[str]:
    """The arguments with the options of `keystead` itself in front, but for those of the program that `run` starts."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(args)
    for argument in left:
        if argument == "--" or (argument == "run" and not rest and "--" not in args):
            rest += [argument, *left]
        elif argument in _EVERYWHERE:
            value = next(left, None)
            if value is None:
                return [*front, argument]  # what it lacks is told, or completed by a shell; no command runs
            front += [argument, value]
        elif argument.partition("=")[0] in _EVERYWHERE:
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def _ended(error: Exception) -> Failure | None:
    """The error as the user sees it; None for one that nobody expected."""
    from keystead.api import ApiError, Unreachable
    from keystead.credentials import CredentialError

    ended = None
    if isinstance(error, Failure):
        ended = error
    elif isinstance(error, typer.Abort):  # Ctrl-C or Ctrl-D at a question
        ended = Failure("Nothing was done.", Exit.ABORTED)
    elif isinstance(error, BrokenPipeError):
        ended = Failure("", Exit.PIPE_CLOSED)
    elif isinstance(error, OSError):
        ended = Failure(f"{error.filename or 'file'}: {error.strerror or type(error).__name__}")
    elif isinstance(error, UnicodeError):
        ended = Failure("A text is not Unicode: pass it by a file.")
    elif isinstance(error, ApiError):
        request = f" (RequestId {error.request_id})" if error.request_id else ""
        ended = Failure(f"{error.code}: {error.message}{request}", exit_of(error.code))
    elif isinstance(error, Unreachable):
        doubt = " Whether the request was carried out is not known." if error.was_sent else ""
        ended = Failure(f"{error}.{doubt}", Exit.UNREACHABLE)
    elif isinstance(error, CredentialError):
        ended = Failure(str(error), Exit.DENIED)
    return ended
