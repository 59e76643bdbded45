"""`keystead scan`: hard-coded secrets, found by Kingfisher (MongoDB, Apache-2.0) and put into Secrets Manager.

Scanning stays on this machine. What was found is shown by its place and kind: no part of a secret, no hash of one, and
not its length go to the output.
"""

from __future__ import annotations

import hmac
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from keystead.cli import output
from keystead.cli.exits import Exit, Failure
from keystead.cli.run import REFERENCE
from keystead.cli.session import Session, is_interactive, session

if TYPE_CHECKING:
    from kingfisher_sdk import Scanner

_COLUMNS: Final = ("File", "Line", "Kind")
_MARK: Final = "keystead:ignore"
"""In a comment on the same line or beside it: not a secret."""
_LARGEST: Final = 64 << 20
_NAME_LENGTH: Final = 110
_SAME_NAMES: Final = 20
_LEAVE: Final = "-"
# These say what it is called; any other rule says what it is.
_GENERIC: Final = ("keystead.quoted-password", "keystead.password-setting")
_CONFIDENCE: Final = ("high", "medium", "low")


@dataclass(frozen=True)
class _Found:
    file: str
    line: int
    column: int
    rule: str
    confidence: str
    span: tuple[int, int]
    value: str | None = field(repr=False)
    """None where the file has it in base64, or not in UTF-8: what would be stored is not what stands there."""

    @property
    def rank(self) -> tuple[bool, int]:
        """The best of several names for one thing is the lowest."""
        return self.rule in _GENERIC, _CONFIDENCE.index(self.confidence)

    def shown(self, reference: str | None = None) -> dict[str, object]:
        members = {
            "File": self.file,
            "Line": self.line,
            "Column": self.column,
            "Kind": self.rule.partition(".")[2] or self.rule,
            "Rule": self.rule,
            "Confidence": self.confidence,
        }
        return members if reference is None else {**members, "Reference": reference}


def command(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", exists=True, show_default=False)],
    store: Annotated[
        str, typer.Option(metavar="PREFIX", help="Store all of them, under names that begin so.")
    ] = "",
    ignored: Annotated[
        bool, typer.Option("--ignored", help="Also files that .gitignore names, such as .env.")
    ] = False,
) -> None:
    """Find hard-coded secrets. The exit code is 1 if there are any.

    A line with `keystead:ignore` in a comment is passed by. Links are not followed. On a terminal you are asked which ones to
    store; the files themselves are never changed.
    """
    here = session(context)
    if store and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", store):
        raise Failure(
            "PREFIX is up to 64 letters, digits, - and _, and begins with a letter or digit.", Exit.USAGE
        )
    looked = _Scan(ignored=ignored)
    found = looked.at(paths)
    if not found:
        if looked.left_out:
            raise Failure(f"Nothing was found, but files could not be read: {looked.left_out}.")
        output.say(f"keystead: no secrets in {looked.files} files.")
        here.show_all([], _COLUMNS)
        return
    if store:
        references = _Store(here).all(found, store)
        _show(here, found, references)
    else:
        _show(here, found, [])
        if is_interactive() and sys.stdout.isatty() and _is_set_up(here):
            references = _Store(here).asked(found)
            _show(here, found, references)
    raise Failure(f"Hard-coded secrets: {len(found)} in {looked.files} files.")


def _show(here: Session, found: Sequence[_Found], references: Sequence[str]) -> None:
    if not references:
        here.show_all((each.shown() for each in found), _COLUMNS)
        return
    here.show_all(
        (each.shown(reference) for each, reference in zip(found, references, strict=True)),
        (*_COLUMNS, "Reference"),
    )
    output.say(
        "In a file of settings, put the reference in place of the secret, and start the program with `keystead run"
        " --env-file FILE -- PROGRAM`. Then change the secrets where they are used: copies and histories keep the old ones."
    )


# Finding


class _Scan:
    """Files that were looked at, and what is in them."""

    def __init__(self, *, ignored: bool) -> None:
        self._ignored = ignored
        self.files = 0
        self.left_out = 0
        """Files that could not be read, or are too large."""

    def at(self, paths: Iterable[Path]) -> list[_Found]:
        scanner = _scanner()
        found: list[_Found] = []
        for file in self._all(paths):
            self.files += 1
            try:
                found += _of_file(scanner, file)
            except (OSError, RuntimeError):  # the engine's own error quotes what it read
                self._leave(file, "cannot be read")
        return found

    def _all(self, paths: Iterable[Path]) -> Iterator[str]:
        from kingfisher_sdk import filesystem

        seen = set()
        for path in paths:
            if path.is_file():
                names: Iterable[str] = [str(path)]
            elif not path.is_dir():  # such as what `<(command)` stands for
                self._leave(str(path), "is neither a file nor a folder")
                continue
            else:
                try:
                    walked = filesystem([path], gitignore=not self._ignored, hidden=True)
                    names = sorted(each.path for each in walked)
                except (OSError, RuntimeError):
                    raise Failure(f"{path}: there are folders in it that cannot be read.") from None
            for name in names:
                if name in seen:
                    continue
                seen.add(name)
                with suppress(OSError):
                    if Path(name).stat().st_size > _LARGEST:
                        self._leave(name, "is larger than 64 MiB")
                        continue
                yield name

    def _leave(self, file: str, why: str) -> None:
        self.left_out += 1
        output.say(f"keystead: {file} {why}, and was not scanned.")


def _scanner() -> Scanner:
    try:
        from kingfisher_sdk import DetectionPolicy, Rules, Scanner
    except ModuleNotFoundError:
        raise Failure("`scan` needs a detector: pip install 'keystead[scan]'.", Exit.USAGE) from None
    with resources.as_file(resources.files("keystead.cli") / "scan.yml") as own:
        rules = Rules([own])
    return Scanner(rules, policy=DetectionPolicy(ignore_comments=[_MARK]))


def _of_file(scanner: Scanner, file: str) -> list[_Found]:
    """The secrets of a file in their order, one for each place."""
    best: list[_Found] = []
    for each in scanner.scan_file(file):
        if not each.visible or each.secret.startswith(REFERENCE):
            continue
        at = each.location
        found = _Found(
            file,
            at["line"],
            at["column"],
            each.rule_id,
            each.confidence,
            (at["start_offset"], at["end_offset"]),
            None if each.is_base64_encoded or "\ufffd" in each.secret else each.secret,
        )
        same = [other for other in best if _overlap(found.span, other.span)]
        if all(found.rank < other.rank for other in same):
            best = [other for other in best if other not in same]
            best.append(found)
    return sorted(best, key=lambda found: found.span)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


# Storing


class _Store:
    """Puts what was found into Secrets Manager, the same value once."""

    def __init__(self, here: Session) -> None:
        self._session = here
        self._names: dict[str, str] = {}

    def all(self, found: Sequence[_Found], prefix: str) -> list[str]:
        return [self._stored(each, _suggestion(each, prefix)) for each in found]

    def asked(self, found: Sequence[_Found]) -> list[str]:
        references = []
        for each in found:
            if each.value is None or each.value in self._names:
                references.append(self._stored(each, ""))
                continue
            question = output.printable(f"{each.file}:{each.line}: store as ({_LEAVE} leaves it)")
            name = self._session.ask(question, default=_suggestion(each, "found"))
            references.append(_LEAVE if name == _LEAVE else self._stored(each, name))
        return [] if all(reference == _LEAVE for reference in references) else references

    def _stored(self, found: _Found, name: str) -> str:
        """What stands for the secret, or - where it was not stored."""
        from keystead.api import ApiError

        if found.value is None:
            output.say(
                f"keystead: {found.file}:{found.line} is in base64 or not in UTF-8: store it yourself."
            )
            return _LEAVE
        if found.value not in self._names:
            try:
                self._names[found.value] = self._create(name, found.value)
            except ApiError as error:
                output.say(f"keystead: {found.file}:{found.line} was not stored: {error}")
                return _LEAVE
        return f"{REFERENCE}{self._names[found.value]}"

    def _create(self, name: str, value: str) -> str:
        from keystead.api import ApiError

        for number in count(1):
            tried = name if number == 1 else f"{name}-{number}"
            try:
                self._session.call(
                    "ssm",
                    "CreateSecret",
                    SecretName=tried,
                    VersionId="v1",
                    SecretString=value,
                    Description="Found by keystead scan.",
                )
            except ApiError as error:
                if error.code != "ResourceInUse.SecretExists" or number == _SAME_NAMES:
                    raise
                if not self._is_there(tried, value):
                    continue
            return tried
        raise AssertionError("counting does not end")

    def _is_there(self, name: str, value: str) -> bool:
        """Whether the secret has this value already, as after a run that was broken off."""
        from keystead.api import ApiError

        try:
            held = self._session.call("ssm", "GetSecretValue", SecretName=name, VersionId="SSM_Current")
        except ApiError:
            return False
        return hmac.compare_digest(str(held.get("SecretString")).encode(), value.encode())


def _suggestion(found: _Found, prefix: str) -> str:
    """A name by the place; nothing in it comes from the value."""
    place = re.sub(r"[^A-Za-z0-9]+", "-", Path(found.file).name).strip("-") or "file"
    return f"{prefix}-{place[: _NAME_LENGTH - len(prefix)]}-{found.line}"


def _is_set_up(here: Session) -> bool:
    try:
        return bool(here.endpoint and here.region)
    except Failure:
        return False
