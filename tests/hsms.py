"""The HSM underneath the tests: the software HSM, or SoftHSM2 with `pytest --hsm softhsm`."""

import functools
from typing import Final

from chalicelib.hsm.pkcs11 import Dialect, Pkcs11Hsm
from chalicelib.hsm.port import Hsm
from chalicelib.hsm.sessions import Token
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings
from tests.hsm import softhsm

NAMES: Final = ("software", "softhsm")
chosen: Final = ["software"]
"""One of NAMES; the command line's option puts it here."""


def fresh(domain: str) -> Hsm:
    """An HSM with a domain key.

    A new domain each time; but SoftHSM2 takes long to make one, so there a process has one of each name. Accounts and
    keys are new for each test, and whatever is in a domain is bound to them.
    """
    if chosen == ["software"]:
        return SoftwareHsm.ephemeral(domain)
    hsm = Pkcs11Hsm(domain, _token(), Dialect.of({}), frozenset(Settings().hsm_fallbacks))
    if not hsm.generations():
        hsm.rotate()
    return hsm


@functools.cache
def _token() -> Token:
    return softhsm.new_token().open()
