"""Exit codes, and what ends a command with one of them."""

import re
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """The exit codes of every command; `run` has those of the program that it starts as well."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    UNREACHABLE = 5
    BUSY = 6
    DAMAGED = 7
    ABORTED = 130
    PIPE_CLOSED = 141


MEANINGS: Final = {
    Exit.OK: "Done.",
    Exit.REFUSED: "The service refused, a check failed, or a file cannot be read or written.",
    Exit.USAGE: "The command is not complete or not right: options, profile, region, missing `--yes`.",
    Exit.NOT_FOUND: "What was named does not exist.",
    Exit.DENIED: "No credentials, wrong ones, or no permission.",
    Exit.UNREACHABLE: "No answer of the service. A change may have happened or not: look before you repeat it.",
    Exit.BUSY: "Too many requests, or a fault inside the service: try again later.",
    Exit.DAMAGED: "Not authentic: a message, file or trail was changed, cut off, or belongs to something else.",
    Exit.ABORTED: "Stopped by the user: an answer of no, or Ctrl-C.",
    Exit.PIPE_CLOSED: "The reader of the output went away.",
}
"""What docs/cli.md says of each code."""


_ABSENT: Final = re.compile("Not(Found|Exists?)$")


class Failure(Exception):
    """Ends the command: one line that says what to do, without any value, and the exit code."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


def exit_of(code: str) -> Exit:
    """The exit code for an error code of the API, such as `ResourceNotFound`."""
    kind, _, _ = code.partition(".")
    if kind in ("AuthFailure", "UnauthorizedOperation"):
        return Exit.DENIED
    if kind == "ResourceNotFound" or _ABSENT.search(code):
        return Exit.NOT_FOUND
    if kind in ("RequestLimitExceeded", "InternalError"):
        return Exit.BUSY
    return Exit.REFUSED
