"""The PKCS #11 shim of keystead_shim.c, compiled when tests first want it."""

import ctypes
import functools
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hsm import softhsm

SOURCE = Path(__file__).with_name("keystead_shim.c")
USER = "keystead"
"""CloudHSM's PIN is `user:password`; the shim takes any user."""
SM4 = {
    "CKK_SM4": 0x80000300,
    "SM4_KEY_GEN": 0x80000301,
    "SM4_GCM": 0x80000302,
    "SM4_KEY_WRAP_PAD": 0x80000303,
    "SM4_ECB": 0x80000304,
}
"""The numbers that it has for SM4."""


@functools.cache
def compiled() -> Path:
    """The library, in this process's token folder; skips where there is no C compiler or no SoftHSM2."""
    softhsm.require()
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler (cc or gcc) for the PKCS #11 shim")
    library = softhsm.process_folder() / "keystead_shim.so"
    options = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-pthread", "-Wall", "-Werror"]
    subprocess.run([compiler, *options, "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
    return library


class Shim:
    """One instance: a copy of the library, so with state of its own, in front of SoftHSM2."""

    _serial = itertools.count()

    def __init__(self, *, cloudhsm: bool = False, sm4: bool = False) -> None:
        original = compiled()
        self.path = str(original.with_name(f"shim-{os.getpid()}-{next(self._serial)}.so"))
        shutil.copy(original, self.path)
        self.folder = original.with_name(Path(self.path).stem)
        """Of the files that take tokens away, for this process and others."""
        self.folder.mkdir()
        self.environment = {
            "KEYSTEAD_SHIM_MODULE": softhsm.require(),
            "KEYSTEAD_SHIM_CLOUDHSM": str(int(cloudhsm)),
            "KEYSTEAD_SHIM_SM4": str(int(sm4)),
            "KEYSTEAD_SHIM_FOLDER": str(self.folder),
        }
        """For other processes that load it, beside SOFTHSM2_CONF."""
        behind = original.with_name(f"{self.folder.name}-softhsm2.so")
        shutil.copy(softhsm.require(), behind)  # with state of its own, so that C_Finalize is nobody else's
        self._library = ctypes.CDLL(self.path)
        self._library.keystead_shim_module(str(behind).encode())
        self.behind = str(behind)
        """SoftHSM2."""
        self._library.keystead_shim_fail.argtypes = [
            ctypes.c_char_p,
            ctypes.c_ulong,
            ctypes.c_long,
            ctypes.c_long,
        ]
        self._library.keystead_shim_calls.restype = ctypes.c_long
        self._library.keystead_shim_recorded.restype = ctypes.c_void_p
        self._library.keystead_shim_mode(int(cloudhsm), int(sm4))
        self._library.keystead_shim_folder(str(self.folder).encode())

    def fail(self, function: str, code: int, *, skip: int = 0, times: int = 1) -> None:
        """The next `times` calls of C_`function`, after `skip` others, do nothing and answer `code`."""
        assert self._library.keystead_shim_fail(function.encode(), code, skip, times)

    def delay(self, function: str, milliseconds: int) -> None:
        """Every call of C_`function` takes so much longer."""
        assert self._library.keystead_shim_delay(function.encode(), milliseconds)

    def disturb(self) -> None:
        """A token object is refused (CKR_TEMPLATE_INCONSISTENT) if a thread looks for objects while it is made.

        In SoftHSM2 that happens by chance. For one token at a time.
        """
        self._library.keystead_shim_disturb()

    def flag(self, flags: int) -> None:
        """Flags that every token has, beside its own."""
        self._library.keystead_shim_flags(ctypes.c_ulong(flags))

    def calls(self, function: str) -> int:
        """How often C_`function` was called since the last `reset`."""
        count = self._library.keystead_shim_calls(function.encode())
        assert isinstance(count, int)
        assert count >= 0
        return count

    def reset(self) -> None:
        """No faults, no delays, no disturbance, no flags, nothing counted, nothing recorded."""
        self._library.keystead_shim_reset()

    def limits(self, *, sessions: int, keys: int) -> None:
        """CloudHSM's 1,024 and 3,300, smaller."""
        self._library.keystead_shim_limits(ctypes.c_ulong(sessions), ctypes.c_ulong(keys))

    @property
    def sessions(self) -> int:
        """Open now."""
        return int(self._library.keystead_shim_sessions())

    @property
    def objects(self) -> int:
        """Made by this process and there now."""
        return int(self._library.keystead_shim_objects())

    def remove(self, label: str) -> None:
        """Take the token away, from every process that uses this instance."""
        (self.folder / f"removed-{label}").touch()

    def put_back(self, label: str) -> None:
        """Put the token back; sessions with it are lost."""
        (self.folder / f"removed-{label}").unlink()

    def hang(self, label: str, milliseconds: int) -> None:
        """Every call to the token takes so long; 0 for no longer."""
        path = self.folder / f"hangs-{label}"
        path.unlink(missing_ok=True)
        if milliseconds:
            made = path.with_suffix(".new")
            made.write_text(str(milliseconds))
            made.rename(path)

    @contextmanager
    def recording(self) -> Iterator[list[tuple[str, str, bytes]]]:
        """What crosses meanwhile, filled in at the end: function, `<` in or `>` out, the buffer's bytes."""
        crossed: list[tuple[str, str, bytes]] = []
        self._library.keystead_shim_record(1)
        try:
            yield crossed
        finally:
            self._library.keystead_shim_record(0)
            crossed += self._recorded()

    def _recorded(self) -> Iterator[tuple[str, str, bytes]]:
        length = ctypes.c_size_t()
        address = self._library.keystead_shim_recorded(ctypes.byref(length))
        content = ctypes.string_at(address, length.value) if address else b""
        at = 0
        while at < len(content):
            size = int.from_bytes(content[at + 2 : at + 10], "little")
            yield _FUNCTIONS[content[at]], chr(content[at + 1]), content[at + 10 : at + 10 + size]
            at += 10 + size


def _functions() -> list[str]:
    """The names in the order of CK_FUNCTION_LIST, as the C source has them."""
    text = SOURCE.read_text(encoding="utf-8")
    block = text[text.index("#define FUNCTIONS(X)") : text.index("enum {\n#define X(name)")]
    return [part.split(")")[0] for part in block.split("X(")[1:]]


_FUNCTIONS = _functions()
