"""How fast the Encryption SDK is, beside `cryptography` alone and, where they are installed, aws-encryption-sdk and Tink.

usage: PYTHONPATH=sdk python -m benchmarks.encryption_sdk [MIB OF A STREAM]

Messages of 1 KiB with a cached data key, and streams in frames of 128 KiB from memory to nowhere; KMS is in the process.
Figures are of the processor's time of one core, the best of some.
"""  # noqa: INP001 - a script

import importlib
import io
import resource
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from keystead.encryption import CacheLimits, Client, MasterKey, Suite, libgcrypt

MESSAGE: Final = secrets.token_bytes(1024)
FRAME: Final = secrets.token_bytes(1 << 17)
CONTEXT: Final = {"table": "customers"}
MIB: Final = 1 << 20


class LocalKms:
    """One key, in the process."""

    def __init__(self) -> None:
        self._key = AESGCM(secrets.token_bytes(32))

    def generate_data_key(self, region: str, key_id: str, context: Mapping[str, str]) -> tuple[bytes, str]:
        plaintext = secrets.token_bytes(32)
        return plaintext, self.encrypt(region, key_id, plaintext, context)

    def encrypt(self, _region: str, _key_id: str, plaintext: bytes, _context: Mapping[str, str]) -> str:
        nonce = secrets.token_bytes(12)
        return (nonce + self._key.encrypt(nonce, plaintext, None)).hex()

    def decrypt(self, _region: str, _key_id: str, ciphertext: str, _context: Mapping[str, str]) -> bytes:
        sealed = bytes.fromhex(ciphertext)
        return self._key.decrypt(sealed[:12], sealed[12:], None)


class Zeros(io.RawIOBase):
    """A source of so many bytes, always the same frame."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return FRAME if size == len(FRAME) else FRAME[:size]


class Nowhere(io.RawIOBase):
    """A sink."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)


def main() -> None:
    size = int(sys.argv[1]) * MIB if len(sys.argv) > 1 else 256 * MIB
    _streams(size)
    _messages()


def _messages() -> None:
    rates: dict[str, float] = {}
    for suite in (Suite.AES_256_GCM, Suite.SM4_GCM, Suite.AES_256_GCM_SIGNED):
        client = _client(suite)
        message = client.encrypt(MESSAGE, CONTEXT)
        name = f"keystead {suite.name}"
        rates[name] = _report(f"{name} encrypt", partial(client.encrypt, MESSAGE, CONTEXT))
        _report(f"{name} decrypt", partial(client.decrypt, message, CONTEXT))
    nonce, key = bytes(12), secrets.token_bytes(32)
    _report(
        "cryptography AES-256-GCM, a key for each message", lambda: AESGCM(key).encrypt(nonce, MESSAGE, None)
    )
    if (aws := _aws()) is None:
        _line("aws-encryption-sdk", "not installed")
        return
    for name, (encrypt, decrypt) in aws.items():
        theirs = _report(f"aws-encryption-sdk, {name}, encrypt", encrypt, 100)
        _report(f"aws-encryption-sdk, {name}, decrypt", decrypt, 100)
        for ours in ("AES_256_GCM", "AES_256_GCM_SIGNED"):
            _line(f"  {ours} / that, encrypt", f"{rates[f'keystead {ours}'] / theirs:8.1f} times")


def _streams(size: int) -> None:
    client, sm = _client(Suite.AES_256_GCM), _client(Suite.SM4_GCM)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = _megabytes("keystead AES_256_GCM", size, lambda: client.encrypt_stream(Zeros(size), Nowhere()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    _line("keystead, memory that it took more", f"{peak / 1024:8.1f} MiB")
    key, number = AESGCM(secrets.token_bytes(32)), len(FRAME)

    def raw() -> None:
        for count in range(size // number):
            key.encrypt(count.to_bytes(12, "big"), FRAME, None)

    _megabytes("cryptography AES-256-GCM, frames of 128 KiB", size, raw)
    sealed = io.BytesIO()
    client.encrypt_stream(Zeros(32 * MIB), sealed)

    def decrypt() -> None:
        sealed.seek(0)
        client.decrypt_stream(sealed, Nowhere())

    _megabytes("keystead AES_256_GCM decrypt, from memory", 32 * MIB, decrypt)
    if (tink := _tink()) is None:
        _line("Tink", "not installed")
    else:
        theirs = _megabytes("Tink AES256_GCM_HKDF_1MB", size, lambda: tink(size))
        _line("keystead / Tink", f"{ours / theirs:8.2f} times")
    small, sm_key = size // 8, SM4(secrets.token_bytes(16))

    def raw_sm() -> None:
        for count in range(small // number):
            encryptor = Cipher(sm_key, GCM(count.to_bytes(12, "big"))).encryptor()
            encryptor.update(FRAME)
            encryptor.finalize()

    their_sm = _megabytes("cryptography SM4-GCM (OpenSSL), frames of 128 KiB", small, raw_sm)
    our_sm = _megabytes("keystead SM4_GCM", small, lambda: sm.encrypt_stream(Zeros(small), Nowhere()))
    _line("keystead / OpenSSL", f"{our_sm / their_sm:8.2f} times")
    try:
        libgcrypt.enable()
    except libgcrypt.Unusable as error:
        _line("libgcrypt", str(error))
        return
    fast = _megabytes(
        "keystead SM4_GCM by libgcrypt", small, lambda: sm.encrypt_stream(Zeros(small), Nowhere())
    )
    libgcrypt.disable()
    _line("  libgcrypt / OpenSSL", f"{fast / their_sm:8.2f} times")


def _client(suite: Suite) -> Client:
    cache = CacheLimits(messages=1 << 32, plaintext_bytes=1 << 60, encrypt_seconds=1e6)
    return Client(LocalKms(), MasterKey("local", "key"), suite=suite, cache=cache)


def _aws() -> dict[str, tuple[Callable[[], object], Callable[[], object]]] | None:
    """Encrypt and decrypt with a cached data key: by its default suite, and by the one without a signature."""
    try:
        sdk = importlib.import_module("aws_encryption_sdk")
    except ImportError:
        return None
    identifiers = importlib.import_module("aws_encryption_sdk.identifiers")
    provider = importlib.import_module("aws_encryption_sdk.key_providers.raw").RawMasterKeyProvider
    wrapping = importlib.import_module("aws_encryption_sdk.internal.crypto.wrapping_keys").WrappingKey

    class Provider(provider):  # type: ignore[misc, valid-type]
        provider_id = "local"

        def _get_raw_key(self, key_id: bytes) -> Any:  # noqa: ARG002 - there is one
            return wrapping(
                wrapping_algorithm=identifiers.WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
                wrapping_key=bytes(32),
                wrapping_key_type=identifiers.EncryptionKeyType.SYMMETRIC,
            )

    keys = Provider()
    keys.add_master_key("key")
    client = sdk.EncryptionSDKClient()
    manager = sdk.CachingCryptoMaterialsManager(
        master_key_provider=keys,
        cache=sdk.LocalCryptoMaterialsCache(10),
        max_age=1e6,
        max_messages_encrypted=1 << 32,
    )

    def pair(suite: Any) -> tuple[Callable[[], object], Callable[[], object]]:
        def encrypt() -> bytes:
            made: bytes = client.encrypt(
                source=MESSAGE, materials_manager=manager, algorithm=suite, encryption_context=CONTEXT
            )[0]
            return made

        message = encrypt()
        return encrypt, lambda: client.decrypt(source=message, materials_manager=manager)

    suites = sdk.Algorithm
    return {
        "its default (signed)": pair(suites.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384),
        "not signed": pair(suites.AES_256_GCM_HKDF_SHA512_COMMIT_KEY),
    }


def _tink() -> Callable[[int], None] | None:
    try:
        tink = importlib.import_module("tink")
        streaming = importlib.import_module("tink.streaming_aead")
    except ImportError:
        return None
    streaming.register()
    template = streaming.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
    primitive = tink.new_keyset_handle(template).primitive(streaming.StreamingAead)

    def write(size: int) -> None:
        with primitive.new_encrypting_stream(Nowhere(), b"") as stream:
            for _ in range(size // len(FRAME)):
                stream.write(FRAME)

    return write


def _report(name: str, work: Callable[[], object], times: int = 2000) -> float:
    best = _seconds(lambda: [work() for _ in range(times)]) / times
    _line(name, f"{1 / best:8.0f} /s")
    return 1 / best


def _megabytes(name: str, size: int, work: Callable[[], object]) -> float:
    rate = size / _seconds(work, 3) / 1e6
    _line(name, f"{rate:8.0f} MB/s")
    return rate


def _seconds(work: Callable[[], object], times: int = 7) -> float:
    best = float("inf")
    for _ in range(times):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def _line(name: str, figure: str) -> None:
    sys.stdout.write(f"{name:52}: {figure}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
