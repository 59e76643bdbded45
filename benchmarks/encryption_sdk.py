"""How fast the Encryption SDK is, beside `cryptography` alone and, where they are installed, aws-encryption-sdk and Tink.

usage: PYTHONPATH=sdk python -m benchmarks.encryption_sdk [MIB OF A STREAM]

Messages of 1 KiB with a cached data key, and streams in frames of 128 KiB from memory to nowhere; KMS is in the process.
Figures are of the processor's time of one core, the best of some rounds in which all of them take turns.
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
ROUNDS: Final = 25
ROUND_SECONDS: Final = 0.03


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
    works: dict[str, Callable[[], object]] = {}
    for suite in (Suite.AES_256_GCM, Suite.SM4_GCM, Suite.AES_256_GCM_SIGNED):
        client = _client(suite)
        message = client.encrypt(MESSAGE, CONTEXT)
        works[f"keystead {suite.name} encrypt"] = partial(client.encrypt, MESSAGE, CONTEXT)
        works[f"keystead {suite.name} decrypt"] = partial(client.decrypt, message, CONTEXT)
    nonce, key = bytes(12), secrets.token_bytes(32)
    works["cryptography AES-256-GCM, a key for each message"] = lambda: AESGCM(key).encrypt(
        nonce, MESSAGE, None
    )
    theirs = _aws()
    seconds = _seconds(works | theirs)
    for name, each in seconds.items():
        _line(name, f"{1 / each:8.0f} /s")
    if not theirs:
        _line("aws-encryption-sdk", "not installed")
    for name in theirs:
        for suite in (Suite.AES_256_GCM, Suite.AES_256_GCM_SIGNED):
            ours = f"keystead {suite.name} {name.rpartition(' ')[2]}"
            _line(f"  {suite.name} / {name}", f"{seconds[name] / seconds[ours]:8.1f} times")


def _streams(size: int) -> None:
    client = _client(Suite.AES_256_GCM)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client.encrypt_stream(Zeros(size), Nowhere())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    _line(f"keystead, memory that {size // MIB} MiB took more", f"{peak / 1024:8.1f} MiB")
    part = min(size, 64 * MIB)
    key, sealed = AESGCM(secrets.token_bytes(32)), io.BytesIO()
    client.encrypt_stream(Zeros(part), sealed)

    def raw() -> None:
        for count in range(part // len(FRAME)):
            key.encrypt(count.to_bytes(12, "big"), FRAME, None)

    def decrypt() -> None:
        sealed.seek(0)
        client.decrypt_stream(sealed, Nowhere())

    rates = _megabytes(
        part,
        {
            "keystead AES_256_GCM": lambda: client.encrypt_stream(Zeros(part), Nowhere()),
            "cryptography AES-256-GCM, frames of 128 KiB": raw,
            "keystead AES_256_GCM decrypt, from memory": decrypt,
            **{name: partial(work, part) for name, work in _tink().items()},
        },
    )
    theirs = [rate for name, rate in rates.items() if name.startswith("Tink")]
    _line(
        "  keystead / Tink",
        f"{rates['keystead AES_256_GCM'] / max(theirs):8.2f} times" if theirs else "not installed",
    )
    _sm4_streams(part // 8)


def _sm4_streams(size: int) -> None:
    client, key = _client(Suite.SM4_GCM), SM4(secrets.token_bytes(16))

    def raw() -> None:
        for count in range(size // len(FRAME)):
            encryptor = Cipher(key, GCM(count.to_bytes(12, "big"))).encryptor()
            encryptor.update(FRAME)
            encryptor.finalize()

    def by_libgcrypt() -> None:
        libgcrypt.enable()
        try:
            ours()
        finally:
            libgcrypt.disable()

    def ours() -> None:
        client.encrypt_stream(Zeros(size), Nowhere())

    works = {"cryptography SM4-GCM (OpenSSL), frames of 128 KiB": raw, "keystead SM4_GCM": ours}
    try:
        by_libgcrypt()
        works["keystead SM4_GCM by libgcrypt"] = by_libgcrypt
    except libgcrypt.Unusable as error:
        _line("libgcrypt", str(error))
    openssl, *others = _megabytes(size, works).items()
    for name, rate in others:
        _line(f"  {name} / OpenSSL", f"{rate / openssl[1]:8.2f} times")


def _client(suite: Suite) -> Client:
    cache = CacheLimits(messages=1 << 32, plaintext_bytes=1 << 60, encrypt_seconds=1e6)
    return Client(LocalKms(), MasterKey("local", "key"), suite=suite, cache=cache)


def _aws() -> dict[str, Callable[[], object]]:
    """Encrypt and decrypt with a cached data key: by its default suite, and by the one without a signature."""
    try:
        sdk = importlib.import_module("aws_encryption_sdk")
    except ImportError:
        return {}
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

    def works(name: str, suite: Any) -> dict[str, Callable[[], object]]:
        def encrypt() -> bytes:
            made: bytes = client.encrypt(
                source=MESSAGE, materials_manager=manager, algorithm=suite, encryption_context=CONTEXT
            )[0]
            return made

        message = encrypt()
        return {
            f"aws-encryption-sdk, {name}, encrypt": encrypt,
            f"aws-encryption-sdk, {name}, decrypt": lambda: client.decrypt(
                source=message, materials_manager=manager
            ),
        }

    suites = sdk.Algorithm
    return works("its default (signed)", suites.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384) | works(
        "not signed", suites.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    )


def _tink() -> dict[str, Callable[[int], None]]:
    """Streams of so many bytes, written in pieces as here and in pieces of a whole segment."""
    try:
        tink = importlib.import_module("tink")
        streaming = importlib.import_module("tink.streaming_aead")
    except ImportError:
        return {}
    streaming.register()
    template = streaming.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
    primitive = tink.new_keyset_handle(template).primitive(streaming.StreamingAead)

    def write(piece: bytes, size: int) -> None:
        with primitive.new_encrypting_stream(Nowhere(), b"") as stream:
            for _ in range(size // len(piece)):
                stream.write(piece)

    return {
        f"Tink AES256_GCM_HKDF_1MB, {len(piece) >> 10} KiB at once": partial(write, piece)
        for piece in (FRAME, secrets.token_bytes(MIB))
    }


def _megabytes(size: int, works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    rates = {name: size / each / 1e6 for name, each in _seconds(works).items()}
    for name, rate in rates.items():
        _line(name, f"{rate:8.0f} MB/s")
    return rates


def _seconds(works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """What one call of each takes of the processor, the best of some rounds: each round has all of them in turn.

    So what else the machine does is done to all of them.
    """
    for work in works.values():
        work()  # the first one asks KMS
    times = {name: max(1, int(ROUND_SECONDS / _took(work, 1))) for name, work in works.items()}
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            best[name] = min(best[name], _took(work, times[name]))
    return best


def _took(work: Callable[[], object], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times


def _line(name: str, figure: str) -> None:
    sys.stdout.write(f"{name:64}: {figure}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
