"""The first start: the account, its root access key, and the file that tells the operator about them.

`python -m chalicelib.bootstrap` does the same by hand, for installations without a home directory of their own.
"""

import configparser
import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from chalicelib import ids
from chalicelib.access_keys import add_access_key
from chalicelib.audit import SERVICE, Event
from chalicelib.context import IDENTITY, Service
from chalicelib.errors import AccessKeyOverLimit
from chalicelib.model.user import ROOT, User
from chalicelib.settings import Bootstrap, SettingError
from chalicelib.table import accounts, users
from chalicelib.table.port import Conflict, Table

_SECTION: Final = "default"
_APP_ID_LOW: Final = 1_250_000_000
_MAX_ROOT_KEYS: Final = 10
_TRIES: Final = 4


def ensure(service: Service) -> tuple[Bootstrap, Path]:
    """Make sure that the account and its root key exist; every start may call it, several at once too.

    The file is written first and wins: whatever dies in between, the next start stores the very key that it shows.
    """
    path = service.settings.home / "credentials"
    wanted = service.settings.bootstrap
    if not path.exists():
        _publish(path, service, wanted)
    found = _read(path)
    for part in ("uin", "secret_id", "secret_key"):
        if getattr(wanted, part) not in ("", getattr(found, part)):
            raise SettingError(
                f"KEYSTEAD_BOOTSTRAP_* differ from {path}: unset them, or start with another home"
            )
    store(service, found)
    return found, path


def announce(service: Service, root: Bootstrap, path: Path, endpoint: str) -> str:
    """What a first start prints: everything that a client needs."""
    region = next(iter(service.settings.regions))
    return f"""
Keystead is ready.
  endpoint   http://{endpoint}
  regions    {", ".join(f"{name} ({standard})" for name, standard in service.settings.regions.items())}
  SecretId   {root.secret_id}
  SecretKey  {root.secret_key}
  kept in    {path}

Try it (pip install tencentcloud-sdk-python-ssm):

  from tencentcloud.common.credential import Credential
  from tencentcloud.common.profile.client_profile import ClientProfile
  from tencentcloud.common.profile.http_profile import HttpProfile
  from tencentcloud.ssm.v20190923 import models, ssm_client

  profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint="{endpoint}"))
  client = ssm_client.SsmClient(Credential({root.secret_id!r}, {root.secret_key!r}), "{region}", profile)
  request = models.CreateSecretRequest()
  request.SecretName, request.VersionId, request.SecretString = "hello", "v1", "world"
  print(client.CreateSecret(request))
"""


def _publish(path: Path, service: Service, wanted: Bootstrap) -> None:
    """Write the file whole or not at all; where two first starts race, the first file stays."""
    ini = configparser.ConfigParser(interpolation=None)
    ini[_SECTION] = {
        "uin": wanted.uin or ids.uin(),
        "secret_id": wanted.secret_id or ids.secret_id(),
        "secret_key": wanted.secret_key or ids.secret_key(),
        "endpoint": f"http://127.0.0.1:{service.settings.port}",
        "regions": ",".join(service.settings.regions),
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".credentials.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            ini.write(file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> Bootstrap:
    ini = configparser.ConfigParser(interpolation=None)
    try:
        ini.read_string(path.read_text())
        section = ini[_SECTION]
        found = Bootstrap(section["uin"], section["secret_id"], section["secret_key"])
    except (configparser.Error, KeyError, UnicodeDecodeError):
        found = Bootstrap()
    if not (found.uin and found.secret_id and found.secret_key):
        raise SettingError(f"{path} is not a credentials file: restore it from a backup")
    return found


def store(service: Service, root: Bootstrap) -> None:
    """Create the rows that are not there yet. A key that the account has deleted since is not made again."""
    identity = service.table(IDENTITY)
    places = [accounts.access_key_row_key(root.secret_id), accounts.retired_row_key(root.secret_id)]
    for _ in range(_TRIES):
        if any(identity.batch_get(places)):
            return
        # Where another start was faster with the account, what is left is the key.
        with contextlib.suppress(Conflict):
            _create(service, identity, root)
    raise SettingError("the identity table changes too fast: start again")


def _create(service: Service, identity: Table, root: Bootstrap) -> None:
    now_ms = service.clock.now_ms()
    now = service.clock.now()
    event = Event(
        id=ids.request_id(now_ms),
        at_ms=now_ms,
        service="cam",
        action="CreateAccount",
        account=root.uin,
        user_name=SERVICE,
        user_type=SERVICE,
        authentication="bootstrap",
        is_read=False,
    )
    event.note("accessKey", root.secret_id)
    seal, hsm = service.seals.of(root.uin), service.hsm(IDENTITY)
    old = users.find_user(identity, seal, root.uin)
    user = old or User(account=root.uin, uin=root.uin, name="root", type=ROOT, created_at=now)
    try:
        # Where all keys are lost, the way in is a start with another one: it may be one too many.
        user, key = add_access_key(hsm, user, root.secret_id, root.secret_key, now, most=_MAX_ROOT_KEYS)
    except AccessKeyOverLimit:
        raise SettingError(
            f"the account has {_MAX_ROOT_KEYS} access keys already: start with one of them, or delete the others"
        ) from None
    if old is not None:
        ops = [key, users.replace_user(seal, old, user)]
    else:
        app_id = _APP_ID_LOW + secrets.randbelow(50_000_000)
        ops = [key, accounts.create_account(root.uin, app_id=app_id, now=now), *users.create_user(seal, user)]
    service.trail(IDENTITY).commit(ops, event)


def main() -> int:
    """Create the account if there is none, and print how to reach it."""
    from chalicelib.wiring import service  # noqa: PLC0415 - wiring imports this package's other modules

    built = service()
    root, path = ensure(built)
    sys.stdout.write(announce(built, root, path, "127.0.0.1:8000"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
