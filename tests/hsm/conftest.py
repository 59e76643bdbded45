"""The two engines of SM2."""

import contextlib
import functools
from collections.abc import Iterator

import pytest

from chalicelib.hsm import public, sm2
from chalicelib.hsm.sm2_libcrypto import LibcryptoEngine

ENGINES = ("libcrypto", "gmssl")


@functools.cache
def find(name: str) -> sm2.Engine | None:
    """The engine, loaded and tested once; None where there is no libcrypto with SM2."""
    found = sm2._find(sm2.GMSSL if name == "gmssl" else "")
    return (
        None if isinstance(found, str) or (name == "gmssl") is isinstance(found, LibcryptoEngine) else found
    )


@contextlib.contextmanager
def engine_in_use(name: str) -> Iterator[sm2.Engine]:
    """Makes an engine the process's, and puts back what was; skips where there is none."""
    found = find(name)
    if found is None:
        pytest.skip("no OpenSSL 3 with SM2 on this machine")
    before = sm2._chosen[:]
    try:
        sm2._chosen[:] = [(name, found)]
        public._load.cache_clear()
        yield found
    finally:
        sm2._chosen[:] = before
        public._load.cache_clear()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[sm2.Engine]:
    """Each engine of SM2, in use."""
    with engine_in_use(request.param) as found:
        yield found
