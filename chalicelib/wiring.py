"""Builds the process's Service and Gateway from the settings."""

import functools
import logging

from chalicelib.api.gateway import Gateway
from chalicelib.clock import Clock, SystemClock
from chalicelib.context import IDENTITY, Service
from chalicelib.hsm.port import Hsm
from chalicelib.settings import Settings
from chalicelib.table.port import Table


def build(settings: Settings, clock: Clock | None = None) -> Service:
    """A Service whose tables and HSM domains open on first use."""
    clock = clock or SystemClock()
    return Service(
        settings,
        clock,
        functools.partial(_open_table, settings, clock),
        functools.partial(_open_hsm, settings),
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


def _open_table(settings: Settings, clock: Clock, domain: str) -> Table:
    if settings.table == "dynamodb":
        from chalicelib.table.dynamodb import DynamoTable  # noqa: PLC0415 - local installations load no botocore

        names = settings.table_names
        main = names["identity"] if domain == IDENTITY else names["data"]
        return DynamoTable(main, names["audit"], settings.aws_region, clock, settings.table_endpoint or None)
    from chalicelib.table.sqlite import SqliteTable  # noqa: PLC0415 - not needed on AWS

    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteTable(settings.home / f"{domain}.sqlite", clock)


def _open_hsm(settings: Settings, domain: str) -> Hsm:
    from chalicelib.hsm.software import SoftwareHsm  # noqa: PLC0415 - other backends do without

    if settings.libcrypto:
        from chalicelib.hsm import sm2  # noqa: PLC0415 - as above

        sm2.use(settings.libcrypto)
    return SoftwareHsm.open(settings, domain)
