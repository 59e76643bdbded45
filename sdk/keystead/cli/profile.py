"""Profiles: where the service is, for each name. They are in `config.toml`, and keys, if any, in `credentials` beside it.

The folder is `keystead` in XDG_CONFIG_HOME (`~/.config`), or in APPDATA on Windows.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from keystead.cli.exits import Exit, Failure
from keystead.cli.files import appearing
from keystead.cli.output import Format

if TYPE_CHECKING:
    from keystead.credentials import Provider

DEFAULT: Final = "default"

_NAME: Final = re.compile(r"[\w.-]{1,64}")
_REGION: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True)
class Profile:
    """A table of `config.toml`; the names are those of its members."""

    endpoint: str = ""
    """`https://host[:port]`, perhaps with `{service}` in the host."""
    region: str = ""
    output: str = ""
    """`json` or `table`."""
    ca_file: str = ""
    """Authorities to trust instead of the system's (PEM)."""
    allow_http: bool = False
    """Plain HTTP to other machines: for a network that is trusted as much."""


def folder() -> Path:
    """Where the two files are; the folder need not exist."""
    try:
        if sys.platform == "win32":
            return Path(_variable("APPDATA") or Path.home() / "AppData" / "Roaming") / "keystead"
        return Path(_variable("XDG_CONFIG_HOME") or Path.home() / ".config") / "keystead"
    except RuntimeError:  # as in a container whose user has no name
        raise Failure("This user has no home directory: set HOME.", Exit.USAGE) from None


def read(name: str | None) -> Profile:
    """The profile; without a name `default`, which may be absent. Failure where a name is not there."""
    profiles = read_all()
    if name is not None and name not in profiles:
        raise Failure(f"{config_file()} has no such profile: run `keystead configure`.", Exit.USAGE)
    return profiles.get(name or DEFAULT, Profile())


def read_all() -> dict[str, Profile]:
    """Every profile by its name."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    place = config_file()
    try:
        tables = tomllib.loads(place.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError):
        raise Failure(f"{place} cannot be read as TOML: mend or remove it.", Exit.USAGE) from None
    return {name: _profile(place, name, table) for name, table in tables.items()}


def check_name(name: str) -> None:
    """Failure where no profile can be written by that name."""
    if not _NAME.fullmatch(name) or name == configparser.DEFAULTSECT:
        raise Failure("The name of a profile is letters, digits, -, _ and ., and not DEFAULT.", Exit.USAGE)


def check_region(region: str) -> None:
    """Failure where no region can have that name."""
    if not _REGION.fullmatch(region):
        raise Failure("A region is a name such as ap-guangzhou.", Exit.USAGE)


def write(name: str, profile: Profile) -> None:
    """Put the profile into `config.toml`; the others stay, comments do not."""
    profiles = {**read_all(), name: profile}
    tables = []
    for title, held in profiles.items():
        members = {k: v for k, v in asdict(held).items() if v}
        lines = [f"{k} = {_toml(v)}\n" for k, v in members.items()]
        tables.append(f"[{_toml(title)}]\n{''.join(lines)}")
    _replace(config_file(), "\n".join(tables).encode())


def write_keys(name: str, secret_id: str, secret_key: str) -> None:
    """Put the keys of a profile into `credentials`, which only its owner can read."""
    ini = _keys()
    ini[name] = {"secret_id": secret_id, "secret_key": secret_key}
    lines = [
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in ini[section].items())
        for section in ini.sections()
    ]
    _replace(keys_file(), "\n".join(lines).encode())


def provider(name: str | None) -> Provider:
    """Who calls: the keys of a profile that was named; else the environment; else the default profile's; else `find()`.

    CredentialError where there is none.
    """
    from keystead import credentials

    wanted = name or DEFAULT
    in_environment = _variable("TENCENTCLOUD_SECRET_ID") or _variable("TENCENTCLOUD_SECRET_KEY")
    if (name is not None or not in_environment) and _keys().has_section(wanted):
        return credentials.from_file(keys_file(), wanted)
    return credentials.find()


def config_file() -> Path:
    """The profiles."""
    return folder() / "config.toml"


def keys_file() -> Path:
    """The keys of the profiles that have some."""
    return folder() / "credentials"


def _replace(place: Path, content: bytes) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with appearing(place.resolve(), replace=True) as file:  # it may be a link into a folder of such files
        file.write(content)


def _toml(value: Any) -> str:
    # As in JSON; but TOML has no surrogates, and wants DEL escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _keys() -> configparser.ConfigParser:
    # No section gives others its values: names of profiles are the user's.
    ini = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        ini.read_string(keys_file().read_text("utf-8"))
    except FileNotFoundError:
        pass
    except (configparser.Error, ValueError, OSError):
        # The parser's own error quotes lines of the file.
        raise Failure(f"{keys_file()} cannot be read: mend or remove it.", Exit.USAGE) from None
    return ini


def _profile(place: Path, name: str, table: Any) -> Profile:
    types = {member.name: type(member.default) for member in fields(Profile)}
    if not isinstance(table, dict) or not all(
        isinstance(value, types.get(key, ())) for key, value in table.items()
    ):
        raise Failure(
            f"{place}: profile {json.dumps(name)} may have {', '.join(types)}, and nothing else.", Exit.USAGE
        )
    if table.get("output", "") not in ("", *Format):
        raise Failure(f"{place}: `output` of profile {json.dumps(name)} is json or table.", Exit.USAGE)
    return Profile(**table)


def _variable(name: str) -> str:
    return os.environ.get(name, "")  # noqa: TID251 - the rule is the service's
