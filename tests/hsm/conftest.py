"""The two engines of SM2."""

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator

import pytest

from chalicelib.hsm import public, sm2, sm2_libcrypto

ENGINES = ("libcrypto", "gmssl")


def can_be_loaded(path: str) -> bool:
    """Whether it is an OpenSSL 3 with SM2, by its own word: whether our engine takes it is for the tests."""
    try:
        make = ctypes.CDLL(path).EVP_PKEY_CTX_new_from_name
    except (OSError, AttributeError):
        return False
    make.restype, make.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return bool(make(None, b"SM2", None))


@functools.cache
def library() -> str:
    """Where libcrypto is; nothing where there is none."""
    return next(filter(can_be_loaded, sm2_libcrypto.paths(sys.platform)), "")


@functools.cache
def load(name: str) -> sm2.Engine:
    """The engine, loaded and tested once."""
    found = sm2._find(sm2.GMSSL if name == "gmssl" else library())
    assert not isinstance(found, str), found
    return found


@contextlib.contextmanager
def engine_in_use(name: str) -> Iterator[sm2.Engine]:
    """Makes an engine the process's, and puts back what was; skips where there is none."""
    if name == "libcrypto" and not library():
        pytest.skip("no OpenSSL 3 with SM2 on this machine")
    found = load(name)
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
