"""Back up and restore an installation on one machine, as one encrypted file.

`python -m chalicelib.backup create FILE`, `... verify FILE`, `... restore FILE`. A backup is taken while the service
runs: all tables are of one moment. It holds the tables, the software HSM's sealed domain keys with what they are sealed
under, and the root credentials; keys in a PKCS#11 token are not in it (docs/hsm.md).
"""

import argparse
import contextlib
import getpass
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from chalicelib.context import IDENTITY
from chalicelib.formats.backup_file import Reader, Writer
from chalicelib.hsm.port import Damaged
from chalicelib.settings import SettingError, Settings
from chalicelib.table import snapshot
from chalicelib.table.port import TableError

_MANIFEST: Final = "manifest.json"
_NAME: Final = re.compile(
    r"credentials|seal\.key|hsm/[a-z0-9][a-z0-9-]{0,63}\.keys|[a-z0-9][a-z0-9-]{0,63}\.sqlite"
)
_PASSPHRASE_MIN: Final = 12
_CHUNK: Final = 1 << 20


class BackupError(Exception):
    """A backup could not be made, read or restored; the text says what to do."""


def create(settings: Settings, path: Path, passphrase: str) -> dict[str, Any]:
    """Write a backup of the home directory, all of it or nothing; what it holds, by file name."""
    if settings.table != "sqlite":
        raise BackupError("The tables are in DynamoDB: back them up there (docs/deploy-aws.md).")
    home = settings.home
    if not (home / f"{IDENTITY}.sqlite").exists():
        raise BackupError(f"{home} is no installation: set KEYSTEAD_HOME to the one to back up.")
    with tempfile.TemporaryDirectory(dir=home, prefix=".backup-") as folder, _new_file(path) as file:
        writer = Writer(file, passphrase.encode())
        parts: dict[str, Any] = {}
        with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            with _frozen(settings) as tables:
                # Keys come after the moment of the tables: a generation that a row names is never missing.
                for source in _key_files(home):
                    parts[str(source.relative_to(home))] = _add(tar, source, home)
                for name, table in tables.items():
                    copied = Path(folder) / f"{name}.sqlite"
                    snapshot.copy(table, copied)
                    parts[copied.name] = {**_add(tar, copied, copied.parent), "rows": snapshot.check(copied)}
                    copied.unlink()
            manifest = json.dumps({"version": 1, "parts": parts}, indent=1).encode()
            entry = tarfile.TarInfo(_MANIFEST)
            entry.size = len(manifest)
            tar.addfile(entry, io.BytesIO(manifest))
        writer.finish()
    return parts


def unpack(path: Path, passphrase: str, folder: Path, *, only_tables: bool = False) -> dict[str, Any]:
    """Read a whole backup into an empty folder and check all of it; what it holds, by file name.

    With `only_tables` keys and credentials are checked as they pass by, and written nowhere.
    """
    try:
        with path.open("rb") as file:
            stream = io.BufferedReader(Reader(file, passphrase.encode()), _CHUNK)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                manifest, found = _extract_all(tar, folder, only_tables=only_tables)
            while stream.read(_CHUNK):
                pass  # to the last frame: only there it is known that nothing is missing
    except (Damaged, tarfile.TarError, ValueError):
        raise BackupError(
            f"{path} does not open: the passphrase is another one, or the file is damaged or cut off."
        ) from None
    for name, part in found.items():
        if name.endswith(".sqlite"):
            try:
                part["rows"] = snapshot.check(folder / name)
            except ValueError:
                raise BackupError(f"{name} in the backup is damaged: use another backup.") from None
    if manifest != {"version": 1, "parts": found}:
        raise BackupError("The backup's parts are not those of its list: use another backup.")
    return found


def restore(settings: Settings, path: Path, passphrase: str) -> dict[str, Any]:
    """Make the home directory from a backup, wholly or not at all; refuses one that has anything in it."""
    home = settings.home
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty: restore into a new KEYSTEAD_HOME, or move the old one away.")
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = home.with_name(f".{home.name}.{secrets.token_hex(8)}")
    draft.mkdir(mode=0o700)
    try:
        parts = unpack(path, passphrase, draft)
        for folder in (draft, *(each for each in draft.rglob("*") if each.is_dir())):
            _sync(folder)
        if home.exists():
            home.rmdir()
        draft.rename(home)
        _sync(home.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return parts


@contextlib.contextmanager
def _frozen(settings: Settings) -> Iterator[dict[str, sqlite3.Connection]]:
    """Every table at one moment. A region's table appears with its first use, which may be just now."""
    while True:
        names = _tables(settings)
        with snapshot.frozen([settings.home / f"{name}.sqlite" for name in names]) as tables:
            if _tables(settings) == names:
                yield dict(zip(names, tables, strict=True))
                return


def _tables(settings: Settings) -> list[str]:
    return [n for n in (IDENTITY, *settings.regions) if (settings.home / f"{n}.sqlite").exists()]


def _key_files(home: Path) -> list[Path]:
    single = [home / "credentials", home / "seal.key"]
    return [each for each in (*single, *sorted((home / "hsm").glob("*.keys"))) if each.exists()]


def _add(tar: tarfile.TarFile, source: Path, root: Path) -> dict[str, Any]:
    """Put a file into the archive; its size and hash. It must not change meanwhile."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        entry = tarfile.TarInfo(str(source.relative_to(root)))
        entry.size = file.tell()
        file.seek(0)
        tar.addfile(entry, file)
    return {"bytes": entry.size, "sha256": digest}


def _extract_all(
    tar: tarfile.TarFile, folder: Path, *, only_tables: bool
) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The manifest, and the files that were written."""
    manifest: Any = None
    found: dict[str, dict[str, Any]] = {}
    for entry in tar:
        content = tar.extractfile(entry) if entry.isreg() else None
        if content is not None and entry.name == _MANIFEST:
            manifest = json.loads(content.read())
        elif content is not None and _NAME.fullmatch(entry.name):
            if only_tables and not entry.name.endswith(".sqlite"):
                digest = hashlib.sha256(content.read()).hexdigest()  # these are small
                found[entry.name] = {"bytes": entry.size, "sha256": digest}
            else:
                found[entry.name] = _extract(content, folder / entry.name)
        else:
            raise BackupError("The backup holds what no backup has: it was not made by this program.")
    return manifest, found


def _extract(content: IO[bytes], target: Path) -> dict[str, Any]:
    """Write a file of the archive, mode 0600 and durable; its size and hash."""
    target.parent.mkdir(mode=0o700, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        size = file.tell()
        file.flush()
        os.fsync(descriptor)
    return {"bytes": size, "sha256": digest.hexdigest()}


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is whole; one that is there already is never replaced."""
    if path.exists():
        raise BackupError(f"{path} exists: give the backup another name.")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            raise BackupError(f"{path} exists: give the backup another name.") from None
        _sync(path.absolute().parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _passphrase(file: Path | None, *, is_new: bool) -> str:
    if file is not None:
        passphrase = file.read_text().rstrip("\r\n")
    else:
        passphrase = getpass.getpass("Passphrase of the backup: ")
        if is_new and getpass.getpass("The same again: ") != passphrase:
            raise BackupError("The two passphrases differ.")
    if is_new and len(passphrase) < _PASSPHRASE_MIN:
        raise BackupError(f"A backup's passphrase has at least {_PASSPHRASE_MIN} characters.")
    return passphrase


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 1 if it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m chalicelib.backup", description=__doc__)
    parser.add_argument("command", choices=("create", "verify", "restore"))
    parser.add_argument("file", type=Path, help="the backup")
    parser.add_argument(
        "--passphrase-file", type=Path, help="a file whose text is the passphrase; else it is asked for"
    )
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        passphrase = _passphrase(options.passphrase_file, is_new=options.command == "create")
        match options.command:
            case "create":
                parts, done = create(settings, options.file, passphrase), f"backed up to {options.file}"
            case "restore":
                parts, done = restore(settings, options.file, passphrase), f"restored to {settings.home}"
            case _:
                with tempfile.TemporaryDirectory() as folder:
                    parts = unpack(options.file, passphrase, Path(folder), only_tables=True)
                    done = "whole"
    except (BackupError, SettingError, TableError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name, part in parts.items():
        rows = f", {part['rows']} rows" if "rows" in part else ""
        sys.stdout.write(f"{name}: {part['bytes']} bytes{rows}\n")
    sys.stdout.write(f"{done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
