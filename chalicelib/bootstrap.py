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
from chalicelib.access_keys import ROOT, Caller, new_access_key
from chalicelib.audit import Event, commit
from chalicelib.context import IDENTITY, Service
from chalicelib.settings import Bootstrap, SettingError
from chalicelib.table import accounts
from chalicelib.table.port import Conflict, Table

_SECTION: Final = "default"
_APP_ID_LOW: Final = 1_250_000_000
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
    """Create the rows that are not there yet."""
    identity = service.table(IDENTITY)
    for _ in range(_TRIES):
        if identity.get(*accounts.access_key_row_key(root.secret_id)) is not None:
            return
        # Where another start was faster with the account, what is left is the key.
        with contextlib.suppress(Conflict):
            _create(service, identity, root)
    raise SettingError("the identity table holds half an access key: restore it from a backup")


def _create(service: Service, identity: Table, root: Bootstrap) -> None:
    caller = Caller(root.uin, root.uin, "root", ROOT, root.secret_id)
    now_ms = service.clock.now_ms()
    event = Event(
        id=ids.request_id(now_ms),
        at_ms=now_ms,
        service="cam",
        action="CreateAccount",
        account=root.uin,
        is_read=False,
    )
    event.note("accessKey", root.secret_id)
    ops = new_access_key(service.hsm(IDENTITY), caller, root.secret_key, service.clock.now())
    if identity.get(*accounts.account_row_key(root.uin)) is None:
        app_id = _APP_ID_LOW + secrets.randbelow(50_000_000)
        ops.append(accounts.create_account(root.uin, app_id=app_id, now=service.clock.now()))
    commit(identity, ops, event.row(service.settings.audit_days))


def main() -> int:
    """Create the account if there is none, and print how to reach it."""
    from chalicelib.wiring import service  # noqa: PLC0415 - wiring imports this package's other modules

    built = service()
    root, path = ensure(built)
    sys.stdout.write(announce(built, root, path, "127.0.0.1:8000"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
