"""The vectors of KS-FMT-20, 21 and 22: what tokens make, and what brings domain keys into one.

All is put together from the tables of docs/formats.md by `TokenBook`, with PyCryptodome. `make.py` writes the lists.
The format modules open them here, with what a token would do done in process memory; tests/hsm/test_pkcs11_vectors.py
restores the sealed generation into a token and opens the rest there.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from Cryptodome.Cipher import AES, PKCS1_OAEP
from Cryptodome.Hash import SHA1, SHA256
from Cryptodome.PublicKey import ECC, RSA
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from chalicelib.formats import aead, sealed_generation, token_message
from chalicelib.formats.pkcs11_token import Pkcs11Token
from chalicelib.formats.sealed_generation import SealedGeneration, Technology
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind
from tests.vectors.make_asymmetric import KEYS, random_of

Vector = dict[str, Any]
PRIVATE_KEY: Final[str] = json.loads((Path(__file__).parent / "recipient_key.json").read_text("utf-8"))[
    "RSA_3072"
]
"""PKCS#8 in DER."""
RECIPIENT: Final = RSA.import_key(bytes.fromhex(PRIVATE_KEY))
DOMAIN: Final = "ap-guangzhou"
GENERATION: Final = 7
WRAP, MAC, SOFTWARE_KEY, OLDER = (
    hashlib.sha256(name).digest() for name in (b"wrap", b"mac", b"domain key", b"an older mac key")
)
MATERIAL: Final = {
    "AES_256": bytes(range(32)),
    "SM4": bytes.fromhex("0123456789abcdeffedcba9876543210"),
    "EC_P256": bytes.fromhex(KEYS["EC_P256"]),
}
BINDING: Final = b"place"
CHECKED: Final = b"keystead check value, a key that everybody knows"


class TokenBook:
    """The byte tables, written down a second time."""

    def __init__(self, name: str) -> None:
        self._random = random_of(name)

    @staticmethod
    def associated_data(domain: str, *parts: bytes) -> bytes:
        values = [(b"s", domain.encode()), *[(b"b", part) for part in parts]]
        return b"keystead\x01" + b"".join(
            [letter + len(value).to_bytes(4, "big") + value for letter, value in values]
        )

    @staticmethod
    def wrapped(key: bytes, material: bytes) -> bytes:
        wrapped: bytes = AES.new(key, AES.MODE_KWP).seal(material)
        return wrapped

    def message(self, key: bytes, plaintext: bytes, ad: bytes) -> bytes:
        message_key, iv = self._random(len(key)), self._random(12)
        front = {32: b"\3", 16: b"\4"}[len(key)] + self.wrapped(key, message_key)
        cipher = AES.new(message_key, AES.MODE_GCM, iv)
        cipher.update(self.associated_data("token-message", front, ad))
        ciphertext, tag = cipher.encrypt_and_digest(plaintext)
        return front + iv + ciphertext + tag

    def key_token(self, kind: str, public_key: bytes, material: bytes) -> bytes:
        front = bytes([2, KeyKind[kind].value]) + GENERATION.to_bytes(4, "big")
        front += len(public_key).to_bytes(2, "big") + public_key + self.wrapped(WRAP, material)
        return front + hmac.digest(MAC, self.associated_data("pkcs11-key-token", front, BINDING), "sha256")

    def sealed_generation(self, technology: int, keys: list[bytes]) -> bytes:
        oaep_hash = {1: 2, 2: 1}[technology]
        front = bytes([1, technology, oaep_hash]) + GENERATION.to_bytes(4, "big")
        front += bytes([len(DOMAIN)]) + DOMAIN.encode() + bytes([len(keys)])
        for key in keys:
            cipher = PKCS1_OAEP.new(RECIPIENT, {1: SHA1, 2: SHA256}[oaep_hash], randfunc=self._random)
            ciphertext = cipher.encrypt(key)
            front += len(ciphertext).to_bytes(2, "big") + ciphertext
        proven = self.associated_data("sealed-generation", front)
        proofs = [self.proof(technology, key, proven) for key in (keys[-1], OLDER)]
        return front + proofs[0] + b"\1" + (GENERATION - 1).to_bytes(4, "big") + proofs[1]

    @staticmethod
    def proof(technology: int, key: bytes, proven: bytes) -> bytes:
        if technology == 1:
            extracted = hmac.digest(bytes(32), key, "sha256")
            key = hmac.digest(extracted, b"keystead generation proof\1", "sha256")
        return hmac.digest(key, proven, "sha256")


# How the format modules open each, with what a token would do done in process memory.


def open_message(given: Vector, sealed: str) -> str:
    kind = KeyKind[given["kind"]]
    front, iv, rest = token_message.split(kind, bytes.fromhex(sealed))
    message_key = _unwrapped(bytes.fromhex(given["key"]), front[1:])
    ad = token_message.authenticated(front, bytes.fromhex(given["associated_data"]))
    return aead.open_sealed(KeyKind.AES_256, message_key, iv, rest, ad).hex()


def open_key_token(given: Vector, sealed: str) -> str:
    key = HsmKey(KeyKind[given["kind"]], bytes.fromhex(sealed), bytes.fromhex(given["binding"]))
    parts = Pkcs11Token.decode(key)
    mac = hmac.digest(bytes.fromhex(given["mac"]), parts.authenticated(key.binding), "sha256")
    if not hmac.compare_digest(mac, parts.mac) or parts.generation != given["generation"]:
        raise Damaged
    return _unwrapped(bytes.fromhex(given["wrap"]), parts.wrapped).hex()


def open_generation(given: Vector, sealed: str) -> str:
    parts = SealedGeneration.decode(bytes.fromhex(sealed))
    technology = Technology[given["technology"]]
    parts.check(technology, given["domain"], given["generation"])
    keys = sealed_generation.open_keys(parts, bytes.fromhex(given["private_key"]))
    proofs = {parts.proof: keys[-1], parts.vouchers.get(GENERATION - 1, b""): OLDER}
    for proof, key in proofs.items():
        if not hmac.compare_digest(proof, TokenBook.proof(technology.value, key, parts.proven())):
            raise Damaged
    if list(parts.vouchers) != [GENERATION - 1]:
        raise Damaged
    return b"".join(keys).hex()


OPEN: Final = {
    "token_message": open_message,
    "pkcs11_key_token": open_key_token,
    "sealed_generation": open_generation,
}


def opened() -> Iterator[Vector]:
    """What the product opens."""
    vector: Vector
    given: Vector
    for name, text in (("empty", b""), ("short", b"hello"), ("long", bytes(range(256)) * 4)):
        vector = {"name": f"message of a token, {name}", "format": "token_message"}
        sealed = TokenBook(vector["name"]).message(MATERIAL["AES_256"], text, b"place")
        given = {"kind": "AES_256", "key": MATERIAL["AES_256"].hex(), "associated_data": b"place".hex()}
        yield vector | {"given": given, "sealed": sealed.hex(), "plaintext": text.hex()}
    for kind, material in MATERIAL.items():
        vector = {"name": f"PKCS#11 key token, {kind}", "format": "pkcs11_key_token"}
        given = {
            "kind": kind,
            "binding": BINDING.hex(),
            "generation": GENERATION,
            "wrap": WRAP.hex(),
            "mac": MAC.hex(),
        }
        sealed = TokenBook("").key_token(kind, public_half(kind), material)
        yield vector | {"given": given, "sealed": sealed.hex(), "plaintext": material.hex()}
    for technology, keys in ((1, [SOFTWARE_KEY]), (2, [WRAP, MAC])):
        name = Technology(technology).name
        vector = {"name": f"sealed generation, {name}", "format": "sealed_generation"}
        given = {"technology": name, "domain": DOMAIN, "generation": GENERATION, "private_key": PRIVATE_KEY}
        sealed = TokenBook(vector["name"]).sealed_generation(technology, keys)
        yield vector | {"given": given, "sealed": sealed.hex(), "plaintext": b"".join(keys).hex()}


def refused() -> Iterator[Vector]:
    """One thing wrong with each, told by its name."""
    for vector in opened():
        whole = bytes.fromhex(vector["sealed"])
        wrong = {
            "nothing": b"",
            "another version": bytes([whole[0] ^ 4]) + whole[1:],
            "the last byte changed": whole[:-1] + bytes([whole[-1] ^ 1]),
            "the last byte missing": whole[:-1],
            "a byte more": whole + b"\0",
            "a byte in front": b"\0" + whole,
        }
        wrong |= {
            f"byte {at} changed": _flip(whole, at) for at in range(0, len(whole), max(1, len(whole) // 12))
        }
        for why, sealed in wrong.items():
            yield vector | {"name": f"{vector['name']}: {why}", "sealed": sealed.hex()}
        for name, other in (
            ("associated_data", b"elsewhere".hex()),
            ("binding", b"elsewhere".hex()),
            ("key", bytes(32).hex()),
            ("mac", bytes(32).hex()),
            ("generation", GENERATION + 1),
            ("domain", "ap-beijing"),
            ("technology", "SOFTWARE" if vector["given"].get("technology") == "PKCS11" else "PKCS11"),
        ):
            if name in vector["given"]:
                given = vector["given"] | {name: other}
                yield vector | {"name": f"{vector['name']}: another {name}", "given": given}
    for vector in opened():
        if vector["given"].get("kind") in ("AES_256", "SM4"):
            given = vector["given"] | {"kind": {"AES_256": "SM4", "SM4": "AES_256"}[vector["given"]["kind"]]}
            yield vector | {"name": f"{vector['name']}: another kind", "given": given}


def check_value() -> bytes:
    """KS-FMT-20.5, of the AES key."""
    return hashlib.sha256(TokenBook.wrapped(MATERIAL["AES_256"], CHECKED)).digest()


def public_half(kind: str) -> bytes:
    return (
        b""
        if kind in ("AES_256", "SM4")
        else ECC.import_key(MATERIAL[kind]).public_key().export_key(format="DER")
    )


def lists() -> dict[str, list[Vector]]:
    """The lists by their names."""
    wrong = [{name: part for name, part in vector.items() if name != "plaintext"} for vector in refused()]
    return {"token_opened": list(opened()), "token_refused": wrong}


def _unwrapped(key: bytes, wrapped: bytes) -> bytes:
    try:
        return aes_key_unwrap_with_padding(key, wrapped)
    except InvalidUnwrap:
        raise Damaged from None


def _flip(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
