"""`keystead run`: a program with secrets in its environment, and nowhere else."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from keystead.cli.exits import Exit, Failure
from keystead.cli.secret import member, members, read, text_of
from keystead.cli.session import Session, session

if TYPE_CHECKING:
    from keystead.secrets import Secret

REFERENCE: Final = "keystead:"
"""In a file of settings, `keystead:NAME` or `keystead:NAME#FIELD` stands for a secret, or for a member of one."""

_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# By these, shells, linkers, interpreters, git and HTTP clients run something else, or trust somebody else. Whoever may
# write a secret should not thereby run programs.
_STEERING: Final = re.compile(
    r"PATH|HOME|TMPDIR|SHELL|EDITOR|VISUAL|PAGER|BROWSER|COMSPEC|PATHEXT"
    r"|IFS|ENV|BASH_ENV|BASH_LOADABLES_PATH|SHELLOPTS|BASHOPTS|PROMPT_COMMAND|PS4|ZDOTDIR"
    r"|_?LD_.*|DYLD_.*|GCONV_PATH|GLIBC_TUNABLES|LOCPATH|MALLOC_.*|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS"
    r"|PYTHON.*|PERL5.*|PERLLIB|RUBYOPT|RUBYLIB|PHPRC|PHP_INI_SCAN_DIR|LUA_(INIT|C?PATH).*"
    r"|LESS(OPEN|CLOSE)|(MAN|PSQL_|SYSTEMD_)PAGER|(PSQL_|SUDO_)EDITOR|SUDO_ASKPASS|XDG_(CONFIG|DATA)_(HOME|DIRS)"
    r"|NODE_(OPTIONS|PATH|EXTRA_CA_CERTS|TLS_REJECT_UNAUTHORIZED)|NPM_CONFIG_(SCRIPT_SHELL|NODE_OPTIONS|REGISTRY)"
    r"|CLASSPATH|JAVA_HOME|_?JAVA_(TOOL_)?OPTIONS|JDK_JAVA_OPTIONS|DOTNET_STARTUP_HOOKS|COR(ECLR)?_.*"
    r"|GIT_(SSH|SSH_COMMAND|EDITOR|PAGER|ASKPASS|EXEC_PATH|CONFIG.*|PROXY_COMMAND|EXTERNAL_DIFF|DIR|TEMPLATE_DIR)"
    r"|SSH_ASKPASS|SSH_AUTH_SOCK|OPENSSL_(CONF|MODULES|ENGINES)|SSL_CERT_(FILE|DIR)|(CURL|REQUESTS)_CA_BUNDLE"
    r"|(HTTPS?|ALL|FTP|NO)_PROXY|KEYSTEAD_(ENDPOINT|PROFILE|HOME)",
    re.IGNORECASE,
)
_OWN: Final = (
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_SESSION_TOKEN",
)


def command(
    context: typer.Context,
    program: Annotated[list[str], typer.Argument(metavar="-- PROGRAM [ARGUMENT]...", show_default=False)],
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VARIABLE]", help="A secret's value; default: NAME in capitals."),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=PREFIX]", help="Each member of a JSON object, as PREFIX and its name."),
    ] = None,
    env_file: Annotated[
        list[Path] | None,
        typer.Option(help="Lines VARIABLE=VALUE, where keystead:NAME and keystead:NAME#FIELD are secrets."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIABLE", help="May be set although it steers programs (PATH, LD_PRELOAD...)."
        ),
    ] = None,
    drop_credentials: Annotated[
        bool,
        typer.Option("--drop-credentials", help="Do not hand on TENCENTCLOUD_SECRET_ID, _KEY and _TOKEN."),
    ] = False,
) -> None:
    """Run a program with secrets in its environment.

    The program takes the place of this one: signals and exit code are its own. Nothing runs unless every secret can be read. It
    ends with 127 if there is no such program, with 126 if it cannot be run.
    """
    environment = _Variables(session(context), allow or ())
    for place in env_file or ():
        environment.add_file(place)
    for each in secret or ():
        name, _, variable = each.partition("=")
        environment.add(variable or _variable(name), f"{REFERENCE}{name}")
    for each in fields or ():
        name, _, prefix = each.partition("=")
        environment.add_fields(name, prefix)
    kept = {name: value for name, value in os.environ.items() if not (drop_credentials and name in _OWN)}  # noqa: TID251 - the rule is the service's
    _execute(program, {**kept, **environment.set})


class _Variables:
    """What the program gets on top of this one's environment."""

    def __init__(self, here: Session, allowed: Iterable[str]) -> None:
        self._session = here
        self._allowed = frozenset(allowed)
        self._read: dict[str, Secret] = {}
        self.set: dict[str, str] = {}

    def add(self, variable: str, value: str) -> None:
        """Set a variable to a text, or to the secret that the text refers to."""
        if not value.startswith(REFERENCE):
            self._add(variable, value)
            return
        name, _, field = value[len(REFERENCE) :].partition("#")
        if not field:
            self._add_secret(variable, self._value(name))
            return
        self._add_secret(variable, member(self._secret(name), field))

    def add_fields(self, name: str, prefix: str) -> None:
        """Set a variable for each member of a secret."""
        for each, value in members(self._secret(name)).items():
            self._add_secret(prefix + _variable(each), text_of(value))

    def add_file(self, place: Path) -> None:
        """Set the variables of a file of settings. Comments begin with # and stand on lines of their own."""
        try:
            lines = place.read_text("utf-8-sig").split("\n")
        except UnicodeDecodeError:
            raise Failure(f"{place} is not UTF-8.", Exit.USAGE) from None
        for number, line in enumerate(map(str.strip, lines), 1):
            if not line or line.startswith("#"):
                continue
            name, equals, value = line.removeprefix("export ").partition("=")
            if not (equals and _NAME.fullmatch(name.strip())):  # and what it is may be a part of a secret
                raise Failure(f"{place}, line {number}: a line is VARIABLE=VALUE.", Exit.USAGE)
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            self.add(name.strip(), value)

    def _add(self, variable: str, value: str) -> None:
        if not _NAME.fullmatch(variable):
            raise Failure(f"{variable!r} is no name of a variable: say NAME=VARIABLE.", Exit.USAGE)
        if variable in self.set:
            raise Failure(f"{variable} would be set twice.", Exit.USAGE)
        if "\0" in value:
            raise Failure(f"What {variable} would have contains a zero byte.", Exit.REFUSED)
        try:
            os.fsencode(value)
        except UnicodeEncodeError:
            raise Failure(f"What {variable} would have is not Unicode.", Exit.REFUSED) from None
        self.set[variable] = value

    def _add_secret(self, variable: str, value: str) -> None:
        if _STEERING.fullmatch(variable) and variable not in self._allowed:
            raise Failure(f"{variable} steers programs: say --allow {variable} if you mean it.", Exit.USAGE)
        self._add(variable, value)

    def _value(self, name: str) -> str:
        from keystead.secrets import SecretFormatError

        try:
            return self._secret(name).text
        except SecretFormatError:
            raise Failure(
                f"The secret {name!r} is not text, and no variable takes it.", Exit.REFUSED
            ) from None

    def _secret(self, name: str) -> Secret:
        """The newest version, read once."""
        if not name:
            raise Failure("Which secret? Say its NAME.", Exit.USAGE)
        if name not in self._read:
            self._read[name] = read(self._session, name)
        return self._read[name]


def _variable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _execute(program: list[str], environment: dict[str, str]) -> None:
    """Become the program; where there is no such thing as becoming, wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if sys.platform == "win32":
            import subprocess

            raise SystemExit(subprocess.run(program, env=environment, check=False).returncode)  # noqa: S603 - what the user asked for
        for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ"):
            # Python ignores these, and what is ignored stays so in the program.
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execvpe(program[0], program, environment)  # noqa: S606 - what the user asked for
    except (FileNotFoundError, ValueError):  # an empty name
        _say(program[0], "there is no such program")
        raise SystemExit(_NOT_FOUND) from None
    except OSError as error:
        _say(program[0], error.strerror or "cannot be run")
        raise SystemExit(_NOT_EXECUTABLE) from None


def _say(program: str, what: str) -> None:
    from keystead.cli.output import say

    say(f"keystead: {program}: {what}")
