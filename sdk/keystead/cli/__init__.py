"""The command line `keystead`: see docs/cli.md. It comes with the extra `cli`."""

import io
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A locale that lacks a character must not end the command in the middle of its output.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="keystead")
