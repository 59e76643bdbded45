"""How many operations a second each HSM does, with keys in its cache and without, and what of it the binding takes.

usage: python -m benchmarks.hsm

SoftHSM2 runs in a token folder of its own that is removed afterwards. One thread; numbers are of the processor's time.
"""  # noqa: INP001 - a script

import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chalicelib.hsm import cryptoki, public
from chalicelib.hsm.cryptoki import Mechanism, Session
from chalicelib.hsm.pkcs11 import Dialect, Pkcs11Hsm
from chalicelib.hsm.port import Hsm, KeyKind, Padding, SignatureAlgorithm
from chalicelib.hsm.sessions import Token
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings

MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
PIN, LABEL = "1234567890", "benchmark"
PLAINTEXT: Final = bytes(32)
"""A data key."""
UNCACHED: Final = 100
MESSAGE: Final = hashlib.sha256(b"message").digest()


def main() -> None:
    keys = {1: secrets.token_bytes(32)}
    _measure("software", SoftwareHsm("benchmark", keys), SoftwareHsm("benchmark", keys))
    module = next(filter(os.path.exists, MODULES), None)
    if module is None:
        raise SystemExit("SoftHSM2 is not installed (Debian: softhsm2).")
    with tempfile.TemporaryDirectory(prefix="keystead-benchmark-") as folder:
        token = _softhsm(Path(folder), module)
        other = Token(token.module, LABEL, PIN)
        hsm, again = (
            Pkcs11Hsm("benchmark", each, Dialect.of({}), Settings().hsm_fallbacks) for each in (token, other)
        )
        hsm.rotate()
        _measure("softhsm", hsm, again)
        _measure_binding(hsm, token)
        token.close()
        other.close()


def _softhsm(folder: Path, module: str) -> Token:
    configuration = folder / "softhsm2.conf"
    (folder / "tokens").mkdir()
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)  # where SoftHSM2 looks
    command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", PIN, "--pin", PIN]
    subprocess.run(command, check=True, capture_output=True)
    return Token(cryptoki.load(module), LABEL, PIN)


def _measure(name: str, hsm: Hsm, again: Hsm) -> None:
    """`again` is the same domain with nothing in its caches."""
    keys = {kind: hsm.generate(kind, b"place") for kind in KeyKind}
    messages = {kind: hsm.encrypt(keys[kind], PLAINTEXT, b"place") for kind in (KeyKind.AES_256, KeyKind.SM4)}
    pem = public.to_pem(hsm.public_key(keys[KeyKind.RSA_2048]))
    wrapped = public.encrypt_to(pem, Padding.RSAES_OAEP_SHA_1, PLAINTEXT)
    cached: dict[str, Callable[[], object]] = {}
    for kind, message in messages.items():
        key = keys[kind]
        cached[f"{kind.name} encrypt"] = lambda key=key: hsm.encrypt(key, PLAINTEXT, b"place")  # type: ignore[misc]
        cached[f"{kind.name} decrypt"] = lambda key=key, m=message: hsm.decrypt(key, m, b"place")  # type: ignore[misc]
    for algorithm, kind in (
        (SignatureAlgorithm.RSA_PSS_SHA_256, KeyKind.RSA_2048),
        (SignatureAlgorithm.ECC_P256_R1, KeyKind.EC_P256),
        (SignatureAlgorithm.SM2DSA, KeyKind.SM2),
    ):
        cached[f"{algorithm.name} sign"] = lambda a=algorithm, key=keys[kind]: hsm.sign(  # type: ignore[misc]
            key, a, MESSAGE, is_digest=True
        )
    for padding in (Padding.RSAES_PKCS1_V1_5, Padding.RSAES_OAEP_SHA_1):
        ciphertext = public.encrypt_to(pem, padding, PLAINTEXT)
        cached[f"{padding.name} decrypt"] = lambda p=padding, c=ciphertext: hsm.decrypt_asymmetric(  # type: ignore[misc]
            keys[KeyKind.RSA_2048], p, c
        )
    cached["32 random bytes"] = lambda: hsm.random(32)
    for what, operation in cached.items():
        _report(name, f"{what}, cached", _seconds(operation))
    for kind in messages:
        made = [hsm.generate(kind, b"place") for _ in range(5 * UNCACHED)]
        sealed = iter([(key, hsm.encrypt(key, PLAINTEXT, b"place")) for key in made])
        seconds = _seconds(lambda s=sealed: again.decrypt(*next(s), b"place"), UNCACHED)  # type: ignore[misc]
        _report(name, f"{kind.name} decrypt, unwrapped each time", seconds)
    _report(name, "AES_256 made", _seconds(lambda: hsm.generate(KeyKind.AES_256, b"place"), 50))
    _report(name, "EC_P256 made", _seconds(lambda: hsm.generate(KeyKind.EC_P256, b"place"), 50))
    _report(name, "RSA_2048 made", _seconds(lambda: hsm.generate(KeyKind.RSA_2048, b"place"), 1))
    importing = _seconds(
        lambda: hsm.import_key(
            keys[KeyKind.RSA_2048], Padding.RSAES_OAEP_SHA_1, wrapped, KeyKind.AES_256, b"place"
        ),
        50,
    )
    _report(name, "AES_256 imported", importing)


def _measure_binding(hsm: Pkcs11Hsm, token: Token) -> None:
    """What a call costs beside the token: the same call, bare, in a loop without the layers above."""
    key = hsm.generate(KeyKind.AES_256, b"place")
    hsm.encrypt(key, PLAINTEXT, b"place")

    def bare(session: Session) -> tuple[float, float]:
        template: cryptoki.Attributes = {
            cryptoki.CKA_TOKEN: False,
            cryptoki.CKA_VALUE_LEN: 32,
            cryptoki.CKA_ENCRYPT: True,
        }
        handle = session.generate_key(Mechanism(cryptoki.CKM_AES_KEY_GEN), template)
        gcm = Mechanism.gcm(bytes(12), b"place")
        init, encrypt = (session.module.functions[name] for name in ("EncryptInit", "Encrypt"))
        output, length = cryptoki.ctypes.create_string_buffer(64), cryptoki.ctypes.c_ulong()
        reference = cryptoki.ctypes.byref(length)

        def calls() -> None:
            init(session.handle, gcm.reference, handle)
            length.value = 64
            encrypt(session.handle, PLAINTEXT, len(PLAINTEXT), output, reference)

        bound = _seconds(lambda: session.encrypt(Mechanism.gcm(bytes(12), b"place"), handle, PLAINTEXT))
        return _seconds(calls), bound

    calls, bound = token.call(bare)
    whole = _seconds(lambda: hsm.encrypt(key, PLAINTEXT, b"place"))
    sys.stdout.write(
        f"\nOne encryption in SoftHSM2: {whole * 1e6:.1f} us. Of that C_EncryptInit and C_Encrypt {calls * 1e6:.1f} us,"
        f"\nthe binding {(bound - calls) * 1e6:.1f} us, sessions, handles and the format {(whole - bound) * 1e6:.1f} us.\n"
    )


def _report(name: str, what: str, seconds: float) -> None:
    sys.stdout.write(f"{name:10}{what:42}{1 / seconds:10,.0f} /s {seconds * 1e6:10,.1f} us\n")


def _seconds(operation: Callable[[], object], times: int = 0) -> float:
    # Of the processor's time, and the best of some: a busy machine should not count.
    if not times:
        begin = time.process_time()
        operation()
        times = max(10, min(2000, int(0.05 / max(time.process_time() - begin, 1e-6))))
    best = float("inf")
    for _ in range(5):
        begin = time.process_time()
        for _ in range(times):
            operation()
        best = min(best, (time.process_time() - begin) / times)
    return best


if __name__ == "__main__":
    main()
