"""Rebuild the vectors of docs/formats.md: `make vectors`, or `python tests/vectors/make.py`.

Three lists, as JSON beside this file. `formats_generated`: the product, given the randomness, makes exactly these bytes.
`formats_opened`: the product opens them; they were put together by the second implementation below (`Book`), which
follows the byte tables and shares no code with the product. `formats_refused`: each is `Damaged`, or a malformed context.

A vector that is in a list stays there unchanged: this script refuses to write over one.
"""

import base64
import hashlib
import hmac
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from Cryptodome.Cipher import AES
from Cryptodome.Hash import CMAC
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import ECB, GCM

from chalicelib.formats import canonical, ciphertext_blob, domain_keys, key_token, post_quantum, sealed_value
from chalicelib.formats.message import MessageKey
from chalicelib.hsm.port import HsmKey, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from tests.vectors import make_asymmetric, make_token

Vector = dict[str, Any]
FOLDER = Path(__file__).parent


def stream(name: str) -> Callable[[int], bytes]:
    """The private seam: `random` functions that give the same bytes for the same name."""
    taken = 0

    def random(count: int) -> bytes:
        nonlocal taken
        taken += count
        return hashlib.shake_128(name.encode()).digest(taken)[-count:] if count else b""

    return random


# How the product makes and opens each format. Bytes are hexadecimal in `given`, sealed and plain texts.


def make_message(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    key = MessageKey(KeyKind[given["kind"]], _hex(given["key"]))
    return key.seal(_hex(plaintext), _hex(given["associated_data"]), random).hex()


def open_message(given: Vector, sealed: str) -> str:
    key = MessageKey(KeyKind[given["kind"]], _hex(given["key"]))
    return key.open_sealed(_hex(sealed), _hex(given["associated_data"])).hex()


def make_key_token(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    kind, binding = KeyKind[given["kind"]], _hex(given["binding"])
    domain_key = MessageKey(KeyKind.AES_256, _hex(given["domain_key"]))
    return key_token.seal(
        domain_key, given["generation"], kind, binding, _hex(plaintext), random=random
    ).hex()


def open_key_token(given: Vector, sealed: str) -> str:
    domain_key = MessageKey(KeyKind.AES_256, _hex(given["domain_key"]))
    return key_token.open_sealed(
        domain_key, KeyKind[given["kind"]], _hex(given["binding"]), _hex(sealed)
    ).hex()


def make_ciphertext_blob(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    key_id, version = given["key_id"], given["backing_version"]
    ad = ciphertext_blob.associated_data_for(key_id, version, canonical.encryption_context(given["context"]))
    message = MessageKey(KeyKind[given["kind"]], _hex(given["key"])).seal(_hex(plaintext), ad, random)
    return ciphertext_blob.encode(key_id, version, message)


def open_ciphertext_blob(given: Vector, sealed: str) -> str:
    blob = ciphertext_blob.decode(sealed)
    context = canonical.encryption_context(given["context"])
    ad = ciphertext_blob.associated_data_for(blob.key_id, blob.backing_version, context)
    return MessageKey(KeyKind[given["kind"]], _hex(given["key"])).open_sealed(blob.message, ad).hex()


def make_sealed_value(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    hsm = SoftwareHsm("vectors", {1: _hex(given["domain_key"])}, random=random)
    return sealed_value.seal(hsm, _hsm_key(given), tuple(given["place"]), _hex(plaintext)).hex()


def open_sealed_value(given: Vector, sealed: str) -> str:
    hsm = SoftwareHsm("vectors", {1: _hex(given["domain_key"])})
    return sealed_value.open_sealed(hsm, _hsm_key(given), tuple(given["place"]), _hex(sealed)).hex()


def make_key_file(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    header = domain_keys.Header(domain_keys.SealedBy[given["sealed_by"]], _hex(given["salt"]))
    keys = {int(generation): _hex(key) for generation, key in json.loads(plaintext).items()}
    return domain_keys.seal(
        given["domain"], header, header.seal_key(_hex(given["secret"])), keys, random
    ).hex()


def open_key_file(given: Vector, sealed: str) -> str:
    file = _hex(sealed)
    seal_key = domain_keys.Header.read(file).seal_key(_hex(given["secret"]))
    keys = domain_keys.open_sealed(given["domain"], seal_key, file)
    return json.dumps({generation: key.hex() for generation, key in keys.items()})


def make_post_quantum(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    secret, encapsulated, place = (_hex(given[name]) for name in ("secret", "encapsulated", "place"))
    return post_quantum.seal(secret, encapsulated, place, _hex(plaintext), random).hex()


def open_post_quantum(given: Vector, sealed: str) -> str:
    post_quantum.encapsulated(_hex(sealed))
    return post_quantum.open_sealed(_hex(given["secret"]), _hex(sealed), _hex(given["place"])).hex()


def make_associated_data(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    parts = [_hex(part["hex"]) if isinstance(part, dict) else part for part in given["parts"]]
    return canonical.associated_data(given["domain"], *parts).hex()


def make_encryption_context(given: Vector, plaintext: str, random: Callable[[int], bytes]) -> str:
    return canonical.encryption_context(given["text"]).hex()


def open_encryption_context(given: Vector, sealed: str) -> str:
    return canonical.encryption_context(sealed).hex()


MAKE = {
    "associated_data": make_associated_data,
    "encryption_context": make_encryption_context,
    "message": make_message,
    "key_token": make_key_token,
    "ciphertext_blob": make_ciphertext_blob,
    "sealed_value": make_sealed_value,
    "key_file": make_key_file,
    "post_quantum": make_post_quantum,
}
OPEN = {
    "encryption_context": open_encryption_context,
    "message": open_message,
    "key_token": open_key_token,
    "ciphertext_blob": open_ciphertext_blob,
    "sealed_value": open_sealed_value,
    "key_file": open_key_file,
    "post_quantum": open_post_quantum,
}


class Book:
    """The byte tables of docs/formats.md, written down a second time with other libraries."""

    def __init__(self, name: str) -> None:
        self._random = stream(name)

    @staticmethod
    def associated_data(*parts: str | bytes | int) -> bytes:
        out = b"keystead\x01"
        for part in parts:
            if isinstance(part, int):
                letter, value = b"i", part.to_bytes(8, "big")
            else:
                letter, value = (b"s", part.encode("utf-8")) if isinstance(part, str) else (b"b", part)
            out += letter + len(value).to_bytes(4, "big") + value
        return out

    def message(self, kind: str, key: bytes, plaintext: bytes, ad: bytes) -> bytes:
        nonce = self._random(24)
        inputs = [bytes([0, counter]) + b"X\0" + nonce[:12] for counter in (1, 2)]
        if kind == "AES_256":
            derived = b"".join([CMAC.new(key, block, ciphermod=AES).digest() for block in inputs])
            ciphertext, tag = (
                AES.new(derived, AES.MODE_GCM, nonce[12:]).update(ad).encrypt_and_digest(plaintext)
            )
            return b"\1" + nonce + ciphertext + tag
        block_cipher = Cipher(SM4(key), ECB()).encryptor()  # noqa: S305 - CMAC by hand
        zeros = int.from_bytes(block_cipher.update(bytes(16)), "big")
        subkey = (zeros << 1) % 2**128 ^ (0x87 if zeros >= 2**127 else 0)
        derived = block_cipher.update((int.from_bytes(inputs[0], "big") ^ subkey).to_bytes(16, "big"))
        gcm = Cipher(SM4(derived), GCM(nonce[12:])).encryptor()
        gcm.authenticate_additional_data(ad)
        return b"\2" + nonce + gcm.update(plaintext) + gcm.finalize() + gcm.tag

    def key_token(self, given: Vector, material: bytes) -> bytes:
        kind = {"AES_256": 1, "SM4": 2}[given["kind"]]
        header: bytes = bytes([1, kind]) + given["generation"].to_bytes(4, "big")
        ad = self.associated_data("key-token", header, _hex(given["binding"]))
        return header + self.message("AES_256", _hex(given["domain_key"]), material, ad)

    def ciphertext_blob(self, given: Vector, plaintext: bytes) -> str:
        members = json.loads(given["context"] or "{}")
        flat = [text for name in sorted(members) for text in (name, members[name])]
        context = self.associated_data("encryption-context", *flat) if flat else b""
        key_id, version = given["key_id"], given["backing_version"]
        ad = self.associated_data("ciphertext-blob", b"\1", key_id, version, context)
        message = self.message(given["kind"], _hex(given["key"]), plaintext, ad)
        return base64.b64encode(
            b"\1" + uuid.UUID(key_id).bytes + version.to_bytes(4, "big") + message
        ).decode()

    def sealed_value(self, given: Vector, key: bytes, value: bytes) -> bytes:
        kind, place = given["kind"], given["place"]
        data_key = self._random(len(key))
        wrapped = self.message(kind, key, data_key, self.associated_data("sealed-value-key", *place))
        header = bytes([1, {"AES_256": 1, "SM4": 2}[kind]]) + len(wrapped).to_bytes(2, "big")
        ad = self.associated_data("sealed-value", header, *place)
        iv = self._random(12)
        if kind == "AES_256":
            ciphertext, tag = AES.new(data_key, AES.MODE_GCM, iv).update(ad).encrypt_and_digest(value)
        else:
            gcm = Cipher(SM4(data_key), GCM(iv)).encryptor()
            gcm.authenticate_additional_data(ad)
            ciphertext = gcm.update(value) + gcm.finalize()
            tag = gcm.tag
        return header + wrapped + iv + ciphertext + tag

    def key_file(self, given: Vector, keys: dict[str, str]) -> bytes:
        salt, secret = self._random(16), _hex(given["secret"])
        if given["sealed_by"] == "PASSPHRASE":
            header = b"\1\1" + salt
            seal_key = hashlib.scrypt(secret, salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
        else:
            header = b"\1\2" + salt
            extracted = hmac.digest(salt, secret, "sha256")
            seal_key = hmac.digest(extracted, b"keystead domain keys\1", "sha256")
        entries = b"".join(
            [int(generation).to_bytes(4, "big") + _hex(key) for generation, key in keys.items()]
        )
        ad = self.associated_data("domain-keys", given["domain"], header)
        iv = self._random(12)
        ciphertext, tag = AES.new(seal_key, AES.MODE_GCM, iv).update(ad).encrypt_and_digest(entries)
        return header + iv + ciphertext + tag

    def post_quantum(self, given: Vector, plaintext: bytes) -> bytes:
        secret, encapsulated, place = (_hex(given[name]) for name in ("secret", "encapsulated", "place"))
        ad = self.associated_data("post-quantum-message", b"\1" + encapsulated, place)
        iv = self._random(12)
        ciphertext, tag = AES.new(secret, AES.MODE_GCM, iv).update(ad).encrypt_and_digest(plaintext)
        return b"\1" + encapsulated + iv + ciphertext + tag


KEYS = {"AES_256": bytes(range(32)).hex(), "SM4": "0123456789abcdeffedcba9876543210"}
DOMAIN_KEY = hashlib.sha256(b"domain key").hexdigest()
BINDING = canonical.associated_data("cmk", "100000000001", "ap-guangzhou", "key", 1).hex()
KEY_ID = "6f3a0c2e-7b1d-11f0-8de9-0242ac120002"
PLACE = ["100000000001", "ap-guangzhou", "db/password", "v1", 7, "string", KEY_ID, 1]
CONTEXT = '{"app": "shop", "名字": "测试"}'


def tokens(kind: str) -> Vector:
    """What names a key of the software HSM; its token was made by the Book."""
    given = {"kind": kind, "domain_key": DOMAIN_KEY, "generation": 1, "binding": BINDING}
    return given | {"token": Book(f"token {kind}").key_token(given, _hex(KEYS[kind])).hex()}


def cases() -> Iterator[tuple[str, str, Vector, str]]:
    """(name, format, given, plaintext) of everything that can be both made and opened."""
    for kind, key in KEYS.items():
        for name, plaintext in (
            ("empty", ""),
            ("short", b"hello".hex()),
            ("long", bytes(range(256)).hex() * 4),
        ):
            given: Vector = {"kind": kind, "key": key, "associated_data": b"place".hex()}
            yield f"message, {kind}, {name}", "message", given, plaintext
        token: Vector = {"kind": kind, "domain_key": DOMAIN_KEY, "generation": 1, "binding": BINDING}
        yield f"key token, {kind}", "key_token", token, key
        yield f"key token, {kind}, generation 2**32-1", "key_token", token | {"generation": 2**32 - 1}, key
        for name, context in (("no context", None), ("context", CONTEXT)):
            given = {"kind": kind, "key": key, "key_id": KEY_ID, "backing_version": 3, "context": context}
            yield f"ciphertext blob, {kind}, {name}", "ciphertext_blob", given, b"hello".hex()
        for name, value in (("empty", ""), ("short", b"S3cret!".hex()), ("binary", bytes(range(256)).hex())):
            given = tokens(kind) | {"place": PLACE}
            yield f"sealed value, {kind}, {name}", "sealed_value", given, value
    one, two = {"1": bytes(32).hex()}, {"1": bytes(32).hex(), "7": DOMAIN_KEY}
    for sealed_by, secret in (("PASSPHRASE", "口令 passphrase".encode().hex()), ("RANDOM_KEY", DOMAIN_KEY)):
        for keys in (one, two):
            given = {"sealed_by": sealed_by, "secret": secret, "domain": "ap-guangzhou"}
            yield f"key file, {sealed_by}, {len(keys)} keys", "key_file", given, json.dumps(keys)
    encapsulated = hashlib.shake_128(b"encapsulated").hexdigest(1568)
    given = {"secret": DOMAIN_KEY, "encapsulated": encapsulated, "place": b"place".hex()}
    yield "post-quantum message", "post_quantum", given, b"hello".hex()


def generated() -> Iterator[Vector]:
    for domain, parts in (
        ("x", []),
        ("x", [""]),
        ("x", [{"hex": ""}]),
        ("x", [0]),
        ("x", ["1"]),
        ("x", [1]),
        ("x", [{"hex": "31"}]),
        ("cmk", ["100000000001", "ap-guangzhou", KEY_ID, 2**64 - 1]),
        ("x", ["名字", {"hex": "00ff"}]),
    ):
        given: Vector = {"domain": domain, "parts": parts}
        yield {"name": f"associated data {json.dumps(given)}", "format": "associated_data", "given": given}
    for text in (
        None,
        "",
        "{}",
        ' {"b":"2", "a":"1"} ',
        '{"a":"1","b":"2"}',
        '{"\\u0061":"1","b":"2"}',
        '{"":""}',
        CONTEXT,
    ):
        yield {"name": f"context {text!r}", "format": "encryption_context", "given": {"text": text}}
    for name, kind, given, plaintext in cases():
        extra = {"salt": stream(f"salt {name}")(16).hex()} if kind == "key_file" else {}
        yield {"name": name, "format": kind, "given": given | extra, "plaintext": plaintext}


def opened() -> Iterator[Vector]:
    for name, kind, given, plaintext in cases():
        book = Book(f"book {name}")
        sealed: str | bytes
        match kind:
            case "message":
                ad = _hex(given["associated_data"])
                sealed = book.message(given["kind"], _hex(given["key"]), _hex(plaintext), ad)
            case "key_token":
                sealed = book.key_token(given, _hex(plaintext))
            case "ciphertext_blob":
                sealed = book.ciphertext_blob(given, _hex(plaintext))
            case "sealed_value":
                sealed = book.sealed_value(given, _hex(KEYS[given["kind"]]), _hex(plaintext))
            case "post_quantum":
                sealed = book.post_quantum(given, _hex(plaintext))
            case _:
                sealed = book.key_file(given, json.loads(plaintext))
        text = sealed if isinstance(sealed, str) else sealed.hex()
        yield {"name": name, "format": kind, "given": given, "sealed": text, "plaintext": plaintext}


FIELDS = {
    "message": {"suite": 0, "nonce, first half": 1, "nonce, second half": 13, "ciphertext": 25, "tag": -1},
    "key_token": {
        "version": 0,
        "kind": 1,
        "generation": 5,
        "suite": 6,
        "nonce": 7,
        "ciphertext": 31,
        "tag": -1,
    },
    "ciphertext_blob": {
        "version": 0,
        "key id": 1,
        "backing key version": 20,
        "suite": 21,
        "nonce": 22,
        "tag": -1,
    },
    "sealed_value": {"version": 0, "kind": 1, "length": 3, "wrapped key": 30, "ciphertext": -17, "tag": -1},
    "key_file": {"version": 0, "sealed by": 1, "salt": 2, "iv": 18, "ciphertext": 30, "tag": -1},
    "post_quantum": {"version": 0, "encapsulated": 1568, "iv": 1569, "ciphertext": 1581, "tag": -1},
}
"""Offsets of one byte in each field."""

ELSEWHERE: dict[str, list[tuple[str, Vector]]] = {
    "message": [
        ("another key", {"key": "ff" * 32}),
        ("other associated data", {"associated_data": b"Place".hex()}),
        ("no associated data", {"associated_data": ""}),
        ("a key of the other kind", {"kind": "SM4", "key": KEYS["SM4"]}),
    ],
    "key_token": [
        ("another domain key", {"domain_key": "ff" * 32}),
        (
            "another binding",
            {"binding": canonical.associated_data("cmk", "100000000001", "ap-guangzhou", "key", 2).hex()},
        ),
        ("another kind", {"kind": "SM4"}),
    ],
    "ciphertext_blob": [
        ("another key", {"key": "ff" * 32}),
        ("another context", {"context": '{"app": "shop"}'}),
        ("no context", {"context": None}),
    ],
    "sealed_value": [
        (f"part {index} of the place", {"place": [*PLACE[:index], other, *PLACE[index + 1 :]]})
        for index, other in enumerate(
            ["100000000002", "ap-beijing", "db/Password", "v2", 8, "binary", KEY_ID[:-1] + "3", 2]
        )
    ]
    + [("a shorter place", {"place": PLACE[:-1]}), ("another binding", {"binding": b"elsewhere".hex()})],
    "post_quantum": [("another place", {"place": ""}), ("another secret", {"secret": "ff" * 32})],
    "key_file": [("another domain", {"domain": "ap-beijing"}), ("another secret", {"secret": "00"})],
}


def refused() -> Iterator[Vector]:
    by_name = {vector["name"]: vector for vector in opened()}
    for base in (
        by_name["message, AES_256, short"],
        by_name["key token, AES_256"],
        by_name["ciphertext blob, AES_256, context"],
        by_name["sealed value, AES_256, short"],
        by_name["key file, RANDOM_KEY, 2 keys"],
        by_name["post-quantum message"],
    ):
        kind, given = base["format"], base["given"]
        whole = base64.b64decode(base["sealed"]) if kind == "ciphertext_blob" else _hex(base["sealed"])
        changed = {f"{field} changed": _flip(whole, offset) for field, offset in FIELDS[kind].items()}
        changed |= {
            "a byte more": whole + b"\0",
            "a byte less": whole[:-1],
            "only the first byte": whole[:1],
            "nothing": b"",
        }
        for why, sealed in changed.items():
            text = base64.b64encode(sealed).decode() if kind == "ciphertext_blob" else sealed.hex()
            yield {"name": f"{kind}: {why}", "format": kind, "given": given, "sealed": text}
        for why, other in ELSEWHERE[kind]:
            yield {"name": f"{kind}: {why}", "format": kind, "given": given | other, "sealed": base["sealed"]}
    blob = by_name["ciphertext blob, SM4, no context"]
    text = blob["sealed"]
    for why, sealed in {
        "a line feed at the end": text + "\n",
        "a space before": " " + text,
        "wrapped lines": text[:76] + "\n" + text[76:],
        "another alphabet": text.replace("+", "-").replace("/", "_"),
        "no padding": text.rstrip("="),
        "more padding": text + "=",
        "loose bits set": text[:-3] + chr(ord(text[-3]) + 1) + "==",
        "not ASCII": "\u0661" + text[1:],
        "a NUL": text + "\0",
        "longer than 8192 characters": base64.b64encode(base64.b64decode(text) + bytes(8192)).decode(),
    }.items():
        yield {
            "name": f"ciphertext_blob: {why}",
            "format": "ciphertext_blob",
            "given": blob["given"],
            "sealed": sealed,
        }
    for context in (
        " ", "null", "1", '"a"', "[]", '["a","b"]', '{"a":1}', '{"a":null}', '{"a":true}', '{"a":["b"]}', '{"a":{"b":"c"}}',
        '{"a":"1","a":"1"}', '{"a":"1","\\u0061":"2"}', '{"a":"1"} x', '{"a":"1",}', "{'a':'1'}", '{"a":"\\ud800"}', '{"a":"\n"}',
        '\ufeff{"a":"1"}', '{"a":NaN}', "[" * 1024, '{"a":' * 200,
    ):  # fmt: skip
        name = f"encryption_context: {json.dumps(context[:40])}"
        yield {"name": name, "format": "encryption_context", "given": {}, "sealed": context}


def build() -> dict[str, list[Vector]]:
    """The lists: what is on disk, and what this script makes; raises ValueError where they contradict."""
    made = []
    for vector in generated():
        sealed = MAKE[vector["format"]](vector["given"], vector.get("plaintext", ""), stream(vector["name"]))
        made.append(vector | {"random": f"SHAKE-128 of {vector['name']!r}", "sealed": sealed})
    lists = {"formats_generated": made, "formats_opened": list(opened()), "formats_refused": list(refused())}
    lists |= make_asymmetric.lists() | make_token.lists()
    return {name: merged(read(name), vectors) for name, vectors in lists.items()}


def read(name: str) -> list[Vector]:
    """A list as it is on disk."""
    path = FOLDER / f"{name}.json"
    vectors: list[Vector] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return vectors


def write(vectors: list[Vector]) -> str:
    """The text of a list's file: a line for each vector."""
    return "[\n" + ",\n".join([json.dumps(vector, ensure_ascii=True) for vector in vectors]) + "\n]\n"


def merged(old: list[Vector], new: list[Vector]) -> list[Vector]:
    kept = {vector["name"]: vector for vector in old}
    for vector in new:
        if kept.setdefault(vector["name"], vector) != vector:
            raise ValueError(
                f"the vector {vector['name']!r} would change: old bytes must stay readable, add a new one"
            )
    return list(kept.values())


def _hsm_key(given: Vector) -> HsmKey:
    return HsmKey(KeyKind[given["kind"]], _hex(given["token"]), _hex(given["binding"]))


def _flip(whole: bytes, offset: int) -> bytes:
    changed = bytearray(whole)
    changed[offset] ^= 1
    return bytes(changed)


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


if __name__ == "__main__":
    for list_name, list_vectors in build().items():
        (FOLDER / f"{list_name}.json").write_text(write(list_vectors), "utf-8")
        print(f"{list_name}: {len(list_vectors)} vectors")
