"""Many threads, several processes, one token: no error, no crash, and every result is right."""

import concurrent.futures
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from chalicelib.hsm import public
from chalicelib.hsm.pkcs11 import Pkcs11Hsm
from chalicelib.hsm.port import Damaged, Hsm, KeyKind, Padding, SignatureAlgorithm
from chalicelib.settings import Settings
from tests.hsm import softhsm

pytestmark = [pytest.mark.softhsm, pytest.mark.slow, pytest.mark.timeout(600)]

WORKERS: Final = 4
OPERATIONS: Final = 10_000
"""For each thread, and for each process: 15 seconds on two cores that have nothing else to do."""


class Work:
    """Mixed operations on a few keys that all workers share."""

    def __init__(self, hsm: Hsm) -> None:
        self.hsm = hsm
        self.cipher = hsm.generate(KeyKind.AES_256, b"cipher")
        self.other = hsm.generate(KeyKind.AES_256, b"other")
        self.ec = hsm.generate(KeyKind.EC_P256, b"ec")
        self.rsa = hsm.generate(KeyKind.RSA_2048, b"rsa")
        self.ec_public, self.rsa_public = hsm.public_key(self.ec), hsm.public_key(self.rsa)
        self.check_value = hsm.check_value(self.cipher)
        self.sealed = hsm.encrypt(self.cipher, b"sealed before", b"context")

    def encrypt(self, number: int) -> None:
        plaintext = number.to_bytes(8) * (number % 100)
        message = self.hsm.encrypt(self.cipher, plaintext, b"context")
        assert self.hsm.decrypt(self.cipher, message, b"context") == plaintext

    def decrypt(self, _number: int) -> None:
        assert self.hsm.decrypt(self.cipher, self.sealed, b"context") == b"sealed before"

    def refuse(self, _number: int) -> None:
        with pytest.raises(Damaged):
            self.hsm.decrypt(self.other, self.sealed, b"context")

    def sign(self, number: int) -> None:
        message = number.to_bytes(8)
        signature = self.hsm.sign(self.ec, SignatureAlgorithm.ECC_P256_R1, message, is_digest=False)
        public.verify(self.ec_public, SignatureAlgorithm.ECC_P256_R1, message, signature, is_digest=False)

    def sign_rsa(self, number: int) -> None:
        message = number.to_bytes(8)
        signature = self.hsm.sign(self.rsa, SignatureAlgorithm.RSA_PSS_SHA_256, message, is_digest=False)
        public.verify(
            self.rsa_public, SignatureAlgorithm.RSA_PSS_SHA_256, message, signature, is_digest=False
        )

    def decrypt_rsa(self, number: int) -> None:
        pem, message = public.to_pem(self.rsa_public), number.to_bytes(8)
        ciphertext = public.encrypt_to(pem, Padding.RSAES_OAEP_SHA_1, message)
        assert self.hsm.decrypt_asymmetric(self.rsa, Padding.RSAES_OAEP_SHA_1, ciphertext) == message

    def generate(self, number: int) -> None:
        key = self.hsm.generate(KeyKind.AES_256, number.to_bytes(8))
        message = self.hsm.encrypt(key, b"new", b"")
        assert self.hsm.decrypt(self.hsm.rewrap(key), message, b"") == b"new"

    def check(self, _number: int) -> None:
        assert self.hsm.check_value(self.cipher) == self.check_value

    def random(self, number: int) -> None:
        assert len(self.hsm.random(number % 64)) == number % 64

    def run(self, operations: int, first: int) -> int:
        """How many were done; the first one wrong raises."""
        mix: list[tuple[Callable[[int], None], int]] = [
            (self.encrypt, 8),
            (self.decrypt, 8),
            (self.refuse, 2),
            (self.sign, 4),
            (self.random, 4),
            (self.check, 2),
            (self.generate, 2),
            (self.sign_rsa, 1),
            (self.decrypt_rsa, 1),
        ]
        cycle = itertools.cycle([operation for operation, weight in mix for _ in range(weight)])
        for number in range(first, first + operations):
            next(cycle)(number)
        return operations


def settings_of(made: softhsm.NewToken, home: Path) -> Settings:
    return Settings(home=home, pkcs11_module=made.module, pkcs11_tokens=(made.label,), pkcs11_pin=made.pin)


def test_four_threads(tmp_path: Path) -> None:
    made = softhsm.new_token()
    hsm = Pkcs11Hsm.open(settings_of(made, tmp_path), "threads", made.label, create=True)
    work = Work(hsm)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as threads:
        running = [threads.submit(work.run, OPERATIONS, 1_000_000 * at) for at in range(WORKERS)]
        assert [future.result() for future in running] == [OPERATIONS] * WORKERS
    hsm.close()


def test_four_processes(tmp_path: Path) -> None:
    """Each with two threads, and each forks a child half way, which goes on as well."""
    made = softhsm.new_token(tmp_path, "processes")
    script = (
        "import concurrent.futures, sys\n"
        "from pathlib import Path\n"
        "from chalicelib.hsm.pkcs11 import Pkcs11Hsm\n"
        "from tests.hsm.softhsm import NewToken\n"
        "from tests.hsm.test_sessions import forked\n"
        "from tests.hsm.test_stress import Work, settings_of\n"
        f"made = NewToken({made.module!r}, {made.label!r}, {made.pin!r}, '')\n"
        f"hsm = Pkcs11Hsm.open(settings_of(made, Path({str(tmp_path)!r})), 'processes', made.label, create=True)\n"
        "work = Work(hsm)\n"
        f"quarter = {OPERATIONS // 4}\n"
        "with concurrent.futures.ThreadPoolExecutor(2) as threads:\n"
        "    list(threads.map(work.run, [quarter] * 2, [0, 1_000_000]))\n"
        "    assert forked(lambda: work.run(quarter, 2_000_000) == quarter)\n"
        "    list(threads.map(work.run, [quarter // 2] * 2, [3_000_000, 4_000_000]))\n"
    )
    environment = {**os.environ, **made.environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE)
        for _ in range(WORKERS)
    ]
    ended = [(process.communicate(timeout=500)[1].decode(), process.returncode) for process in running]
    assert [code for _, code in ended] == [0] * WORKERS, ended
