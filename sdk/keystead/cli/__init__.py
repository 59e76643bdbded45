"""The command line `keystead`: see docs/cli.md. It comes with the extra `cli`."""

import io
import os
import sys

_NOT_INSTALLED = 2  # keystead.cli.exits.Exit.USAGE


def main() -> None:
    """The entry point of the program."""
    try:
        from keystead.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "keystead":
            raise
        sys.stderr.write(
            f"keystead: the command line needs {error.name}: pip install 'keystead[cli]'\n",
        )
        raise SystemExit(_NOT_INSTALLED) from None
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A locale that lacks a character must not end the command in the middle of its output.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="keystead")


def _open_what_is_closed() -> None:
    # `<&-` and some supervisors start a program without them. Output that nobody gets is an error, as of any file that
    # cannot be written; messages are not.
    for name, mode, access in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, access), mode, encoding="utf-8"))
