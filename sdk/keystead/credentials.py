"""Who calls: access keys and temporary credentials, and where a program finds its own.

A credential is anything with `current()`; `repr` shows the SecretId at most. Nothing is read before it is asked for.
"""

from __future__ import annotations

import configparser
import json
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from keystead._fork import reset_in_child
from keystead.api import jitter

_DEFAULT: Final = "default"
_AHEAD: Final = 300.0
_PAUSE: Final = 5.0


class CredentialError(Exception):
    """No usable credential; the text says where it was looked for and what to do."""


class Provider(Protocol):
    """What signs requests now; called for each of them, from any thread."""

    def current(self) -> Credential:
        """The credential to sign with; CredentialError where there is none."""


@dataclass(frozen=True)
class Credential:
    """An access key: SecretId and SecretKey, and the token of temporary ones."""

    secret_id: str
    """The public half; it is in every request."""
    secret_key: str = field(repr=False)
    """The secret half; it signs and is never sent."""
    token: str = field(default="", repr=False)
    """Empty for an access key."""
    expires_at: float = math.inf
    """Seconds since 1970-01-01 UTC from which the credential is refused; infinite for an access key."""

    def __post_init__(self) -> None:
        parts = (self.secret_id, self.secret_key, self.token)
        # What goes into a header must not end it; a copied key often brings a blank or a line end along.
        if not all(part.isascii() and part.isprintable() and " " not in part for part in parts):
            raise CredentialError("SecretId, SecretKey and token are ASCII without blanks: copy them again.")
        if not (self.secret_id and self.secret_key):
            raise CredentialError("SecretId and SecretKey must not be empty.")

    def current(self) -> Credential:
        """Itself: an explicit credential does not change."""
        return self


class Temporary:
    """Credentials that expire: `refresh` makes new ones when fewer than `ahead` seconds are left.

    One thread refreshes, the others go on with what is still valid. Where the refresh fails, so does that thread, and
    the next attempt waits for 5 to 10 seconds. What has expired is never given out: then a call tries and raises the
    failure of `refresh`, and those that waited for it raise CredentialError. `clock` gives seconds since 1970-01-01 UTC,
    as `Credential.expires_at`. One object serves all threads, and goes on after a fork.
    """

    def __init__(
        self,
        refresh: Callable[[], Credential],
        *,
        ahead: float = _AHEAD,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the rule is the service's
    ) -> None:
        self._refresh = refresh
        self._ahead = ahead
        self._clock = clock
        self._held: Credential | None = None
        self._retry_at = 0.0
        self._failures = 0
        self._reset()
        reset_in_child(self)

    def __repr__(self) -> str:
        return f"Temporary({self._held!r})"

    def current(self) -> Credential:
        """The credential to sign with. Raises what `refresh` raises, and CredentialError where it made an expired one."""
        failures = self._failures
        held = self._held
        if held is not None and self._serves(held):
            return held
        valid = held if held is not None and self._clock() < held.expires_at else None
        refreshing = self._refreshing
        if not refreshing.acquire(blocking=valid is None) and valid is not None:
            return valid
        try:
            held = self._held
            if held is None or not self._serves(held):
                if valid is None and failures != self._failures:  # a queue would wait once for each in it
                    raise CredentialError("Temporary credentials could not be renewed just now.")
                held = self._held = self._renewed(held)
            return held
        finally:
            refreshing.release()

    def _serves(self, held: Credential) -> bool:
        """Whether there is no need, or no use, in asking for another one now."""
        now = self._clock()
        return now < held.expires_at and (now < held.expires_at - self._ahead or now < self._retry_at)

    def _renewed(self, held: Credential | None) -> Credential:
        try:
            made = self._fresh()
        except Exception:
            self._failures += 1
            if held is None or self._clock() >= held.expires_at:
                raise
            made = held
        # After a success as well: credentials may live for less than `ahead`.
        self._retry_at = self._clock() + _PAUSE + jitter(_PAUSE)
        return made

    def _fresh(self) -> Credential:
        made = self._refresh()
        if self._clock() >= made.expires_at:
            raise CredentialError("The new temporary credentials have expired already: check the clock.")
        return made

    def _reset(self) -> None:
        self._refreshing = threading.Lock()


def find() -> Provider:
    """The first of: the environment, Keystead's `credentials` file, the tccli configuration.

    Raises CredentialError that lists the places where there was none; a file that is there and broken is an error,
    not a place to pass by.
    """
    if _variable("TENCENTCLOUD_SECRET_ID") or _variable("TENCENTCLOUD_SECRET_KEY"):
        return from_environment()
    if _is_there(keystead_file()):
        return from_file()
    if _is_there(tccli_file()):
        return from_tccli()
    raise CredentialError(
        "No credentials: set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or make "
        f"{keystead_file()} or {tccli_file()}."
    )


def _is_there(place: Path) -> bool:
    """Also where it may not be looked at: to read it fails with the reason."""
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def from_environment() -> Credential:
    """TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY and TENCENTCLOUD_TOKEN (or TENCENTCLOUD_SESSION_TOKEN)."""
    secret_id, secret_key = _variable("TENCENTCLOUD_SECRET_ID"), _variable("TENCENTCLOUD_SECRET_KEY")
    if not (secret_id and secret_key):
        raise CredentialError("Set both TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY.")
    token = _variable("TENCENTCLOUD_TOKEN") or _variable("TENCENTCLOUD_SESSION_TOKEN")
    return Credential(secret_id, secret_key, token)


def _variable(name: str) -> str:
    return os.environ.get(name, "")  # noqa: TID251 - the rule is the service's


def keystead_file() -> Path:
    """The file that a Keystead writes at its first start: `credentials` in KEYSTEAD_HOME (default `.keystead`)."""
    return Path(_variable("KEYSTEAD_HOME") or ".keystead") / "credentials"


def from_file(path: str | os.PathLike[str] | None = None, section: str = _DEFAULT) -> Credential:
    """An INI file with `secret_id`, `secret_key` and perhaps `token`: Keystead's, or `~/.tencentcloud/credentials`."""
    place = keystead_file() if path is None else Path(path)
    ini = configparser.ConfigParser(interpolation=None)
    text = _text(place)
    try:
        ini.read_string(text)
        read = dict(ini[section])
    except (configparser.Error, KeyError):
        read = {}
    # The parser's own error quotes lines of the file: nothing of it is kept.
    return _credential(place, read.get("secret_id"), read.get("secret_key"), read.get("token"))


def tccli_file(profile: str | None = None) -> Path:
    """The credentials of a tccli profile: `profile`, else TCCLI_PROFILE, else `default`."""
    name = profile or _variable("TCCLI_PROFILE") or _DEFAULT
    return Path.home() / ".tccli" / f"{name}.credential"


def from_tccli(profile: str | None = None) -> Provider:
    """What `tccli configure` or `tccli auth login` left in `~/.tccli/<profile>.credential`.

    The JSON object has `secretId`, `secretKey`, `token` and, where they expire, `expiresAt`; such a file is read again
    before that moment, so that a new login is seen. Profiles of a role need more than a file and are refused.
    """
    place = tccli_file(profile)
    found = _tccli(place)
    if math.isinf(found.expires_at):
        return found
    return Temporary(lambda: _tccli(place))


def _tccli(place: Path) -> Credential:
    try:
        read: Any = json.loads(_text(place))
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise CredentialError(f"{place} is not a JSON object: run `tccli configure`.")
    if read.get("type") == "cvm-role" or read.get("role-arn"):
        raise CredentialError(
            f"{place} is a profile of a role: assume the role and pass its credentials with Temporary."
        )
    return _credential(
        place, read.get("secretId"), read.get("secretKey"), read.get("token"), read.get("expiresAt")
    )


def _text(place: Path) -> str:
    try:
        return place.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise CredentialError(f"{place} cannot be read: {error.strerror}.") from None


def _credential(
    place: Path, secret_id: Any, secret_key: Any, token: Any, expires_at: Any = None
) -> Credential:
    if not (isinstance(secret_id, str) and isinstance(secret_key, str) and secret_id and secret_key):
        raise CredentialError(f"{place} has no SecretId and SecretKey.")
    expiry = float(expires_at) if isinstance(expires_at, (int, float)) and expires_at else math.inf
    return Credential(secret_id, secret_key, token if isinstance(token, str) else "", expiry)
