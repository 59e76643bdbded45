"""Builds the process's Service and Gateway from the settings."""

import functools
import logging
from collections.abc import Callable

from chalicelib.api.gateway import Gateway
from chalicelib.clock import Clock, SystemClock
from chalicelib.context import IDENTITY, Service
from chalicelib.hsm.port import Hsm
from chalicelib.settings import Settings
from chalicelib.table.port import Table


def build(settings: Settings, clock: Clock | None = None, *, create: bool | None = None) -> Service:
    """A Service whose tables and HSM domains open on first use; `create` as in `open_hsm`."""
    clock = clock or SystemClock()
    return Service(
        settings,
        clock,
        _tables(settings, clock),
        functools.partial(open_hsm, settings, create=create),
    )


@functools.cache
def service() -> Service:
    """The process's Service."""
    logging.getLogger("keystead").setLevel(logging.INFO)
    return build(Settings.from_environment())


@functools.cache
def gateway() -> Gateway:
    """The process's Gateway."""
    return Gateway(service())


def _tables(settings: Settings, clock: Clock) -> Callable[[str], Table]:
    """What opens a domain's table."""
    if settings.table == "dynamodb":
        from chalicelib.table.dynamodb import DynamoTable, connect  # noqa: PLC0415 - local installations load no botocore

        connection = functools.cache(
            functools.partial(connect, settings.aws_region, settings.table_endpoint or None)
        )
        names = settings.table_names

        def open_dynamodb(domain: str) -> Table:
            main = names["identity"] if domain == IDENTITY else names["data"]
            return DynamoTable(connection(), main, names["audit"], clock)

        return open_dynamodb
    from chalicelib.table.sqlite import SqliteTable  # noqa: PLC0415 - not needed on AWS

    def open_sqlite(domain: str) -> Table:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return SqliteTable(settings.home / f"{domain}.sqlite", clock)

    return open_sqlite


def open_hsm(settings: Settings, domain: str, *, create: bool | None = None) -> Hsm:
    """A domain's HSM. `create`: whether a domain without a key gets one; if not said, as a start of the service does it.

    Behind a token that is in the stage `local` alone: elsewhere a token without its key must not look like a first start.
    Behind several it never is, as each would make a key of its own: `python -m chalicelib.hsm init` makes one for all.
    """
    if settings.libcrypto:
        from chalicelib.hsm import sm2  # noqa: PLC0415 - another library is not needed everywhere

        sm2.use(settings.libcrypto)
    if settings.hsm == "software":
        from chalicelib.hsm.software import SoftwareHsm  # noqa: PLC0415 - other backends do without

        return SoftwareHsm.open(settings, domain, create=create is not False)
    creates = (settings.stage == "local" if create is None else create) and len(settings.pkcs11_tokens) < 2  # noqa: PLR2004
    openers = {
        label: functools.partial(_open_token, settings, domain, label, create=creates)
        for label in settings.pkcs11_tokens
    }
    if len(openers) > 1:
        from chalicelib.hsm.standby import StandbyHsm  # noqa: PLC0415 - one token needs none

        return StandbyHsm(openers, settings.hsm_deadline_seconds)
    return _open_token(settings, domain, *settings.pkcs11_tokens, create=creates)


def _open_token(settings: Settings, domain: str, label: str = "", *, create: bool) -> Hsm:
    if settings.hsm == "cloudhsm":
        from chalicelib.hsm.cloudhsm import open_hsm as open_cloudhsm  # noqa: PLC0415 - one of two

        return open_cloudhsm(settings, domain, label, create=create)
    from chalicelib.hsm.pkcs11 import Pkcs11Hsm  # noqa: PLC0415 - one of two

    return Pkcs11Hsm.open(settings, domain, label, create=create)
