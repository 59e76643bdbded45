"""The vectors of KS-FMT-10: signatures, ciphertexts and public keys, opened and refused.

What is opened was made by other libraries than the product's: PyCryptodome for RSA and ECDSA, gmssl's curve and SM3 for
SM2, with the nonce given. `make.py` writes the lists. The keys are test keys, in `asymmetric_keys.json`.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from Cryptodome.Cipher import AES, PKCS1_OAEP, PKCS1_v1_5
from Cryptodome.Hash import CMAC, SHA1, SHA256, SHA384
from Cryptodome.PublicKey import ECC, RSA
from Cryptodome.Signature import DSS, pkcs1_15, pss
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gmssl import sm3
from gmssl.sm2 import CryptSM2
from gmssl.sm4 import SM4_ENCRYPT, CryptSM4

Vector = dict[str, Any]
KEYS: Final[dict[str, str]] = json.loads((Path(__file__).parent / "asymmetric_keys.json").read_text("utf-8"))
"""PKCS#8 in DER, hexadecimal; for SM2 the scalar."""

P: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
B: Final = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GX: Final = "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
GY: Final = "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
P384_N: Final = (
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
)
P256_N: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SM2_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")

SCALAR: Final = int(KEYS["SM2"], 16)
RSA_KEY: Final = RSA.import_key(bytes.fromhex(KEYS["RSA_2048"]))
EC_KEYS: Final = {name: ECC.import_key(bytes.fromhex(KEYS[name])) for name in ("EC_P256", "EC_P384")}


def random_of(name: str) -> Callable[[int], bytes]:
    """The same bytes for the same name."""
    taken = 0

    def random(count: int) -> bytes:
        nonlocal taken
        taken += count
        return hashlib.shake_128(name.encode()).digest(taken)[-count:] if count else b""

    return random


# SM2, with gmssl


def times(scalar: int, point: str) -> str:
    """A multiple of a point; x || y in hexadecimal."""
    product: str = CryptSM2("", "")._kg(scalar, point)
    return product


def sm3_of(message: bytes) -> bytes:
    return bytes.fromhex(sm3.sm3_hash(list(message)))


POINT: Final = times(SCALAR, GX + GY)


def z(user_id: bytes = b"1234567812345678") -> bytes:
    curve = f"{P - 3:064x}{B:064x}{GX}{GY}{POINT}"
    return sm3_of((len(user_id) * 8).to_bytes(2, "big") + user_id + bytes.fromhex(curve))


def sm2_numbers(digest: bytes, nonce: int) -> tuple[int, int]:
    made: str = CryptSM2(f"{SCALAR:064x}", "").sign(digest, f"{nonce:064x}")
    return int(made[:64], 16), int(made[64:], 16)


def sm2_parts(plaintext: bytes, nonce: int) -> tuple[bytes, bytes, bytes]:
    """C1, C3, C2."""
    shared = times(nonce, POINT)
    stream = bytes.fromhex(sm3.sm3_kdf(shared.encode(), len(plaintext)))
    c2 = bytes([one ^ other for one, other in zip(stream, plaintext, strict=True)])
    x2, y2 = bytes.fromhex(shared[:64]), bytes.fromhex(shared[64:])
    return bytes.fromhex(times(nonce, GX + GY)), sm3_of(x2 + plaintext + y2), c2


def nonce_where(test: Callable[[int], bool]) -> int:
    """The first small nonce that passes a test."""
    return next(nonce for nonce in range(1, 100_000) if test(nonce))


# DER


def tlv(tag: int, value: bytes, length: bytes | None = None) -> bytes:
    """An element; `length` in place of the shortest form."""
    if length is None:
        size = len(value)
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([size]) if size < 128 else bytes([128 + len(octets)]) + octets
    return bytes([tag]) + length + value


def integer(number: int) -> bytes:
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, b"".join(parts))


def sm2_der(c1: bytes, c3: bytes, c2: bytes) -> bytes:
    x, y = int.from_bytes(c1[:32], "big"), int.from_bytes(c1[32:], "big")
    return sequence(integer(x), integer(y), tlv(4, c3), tlv(4, c2))


def sm2_spki(point: bytes) -> bytes:
    return SM2_SPKI + b"\x04" + point


PUBLIC: Final[dict[str, bytes]] = {
    "RSA": RSA_KEY.public_key().export_key("DER"),
    "ECC_P256_R1": EC_KEYS["EC_P256"].public_key().export_key(format="DER"),
    "ECC_P384_R1": EC_KEYS["EC_P384"].public_key().export_key(format="DER"),
    "SM2DSA": sm2_spki(bytes.fromhex(POINT)),
}


def public(algorithm: str) -> bytes:
    return PUBLIC["RSA" if algorithm.startswith("RSA") else algorithm]


# Opened

MESSAGES: Final = {"nothing": b"", "short": b"message digest", "1000 bytes": bytes(range(250)) * 4}
ALGORITHMS: Final = ("RSA_PKCS1_SHA_256", "RSA_PSS_SHA_256", "ECC_P256_R1", "ECC_P384_R1", "SM2DSA")
PADDINGS: Final = {"RSAES_PKCS1_V1_5": 245, "RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190}
"""And the longest plaintext."""


def sign(algorithm: str, message: bytes, name: str) -> bytes:
    random = random_of(name)
    match algorithm:
        case "RSA_PKCS1_SHA_256":
            return bytes(pkcs1_15.new(RSA_KEY).sign(SHA256.new(message)))
        case "RSA_PSS_SHA_256":
            return bytes(pss.new(RSA_KEY, salt_bytes=32, rand_func=random).sign(SHA256.new(message)))
        case "SM2DSA":
            nonce = int.from_bytes(random(31), "big")
            r, s = sm2_numbers(sm3_of(z() + message), nonce)
            return sequence(integer(r), integer(s))
        case _:
            key = EC_KEYS[algorithm.replace("ECC_", "EC_").removesuffix("_R1")]
            digest = SHA384.new(message) if key.curve == "NIST P-384" else SHA256.new(message)
            return bytes(DSS.new(key, "deterministic-rfc6979", encoding="der").sign(digest))


def hashed(algorithm: str, message: bytes) -> bytes:
    if algorithm == "SM2DSA":
        return sm3_of(z() + message)
    return (hashlib.sha384 if algorithm == "ECC_P384_R1" else hashlib.sha256)(message).digest()


def encrypt(padding: str, plaintext: bytes, name: str) -> bytes:
    random = random_of(name)
    if padding == "RSAES_PKCS1_V1_5":
        return bytes(PKCS1_v1_5.new(RSA_KEY, randfunc=random).encrypt(plaintext))
    algorithm = SHA1 if padding == "RSAES_OAEP_SHA_1" else SHA256
    return bytes(PKCS1_OAEP.new(RSA_KEY, hashAlgo=algorithm, randfunc=random).encrypt(plaintext))


def signature(name: str, algorithm: str, message: bytes, made: bytes, *, is_digest: bool = False) -> Vector:
    given = {
        "algorithm": algorithm,
        "public_key": public(algorithm).hex(),
        "message": message.hex(),
        "is_digest": is_digest,
    }
    return {"name": f"{algorithm}: {name}", "format": "signature", "given": given, "sealed": made.hex()}


def ciphertext(name: str, padding: str, made: bytes, plaintext: bytes | None = None) -> Vector:
    vector = {
        "name": f"{padding}: {name}",
        "format": "ciphertext",
        "given": {"padding": padding, "key": "SM2" if padding.startswith("SM2") else "RSA_2048"},
        "sealed": made.hex(),
    }
    return vector if plaintext is None else vector | {"plaintext": plaintext.hex()}


def both(name: str, parts: tuple[bytes, bytes, bytes], plaintext: bytes | None = None) -> Iterator[Vector]:
    """An SM2 ciphertext in its two forms."""
    yield ciphertext(name, "SM2", b"".join(parts), plaintext)
    yield ciphertext(name, "SM2_C1C3C2_ASN1", sm2_der(*parts), plaintext)


def pem(name: str, text: str, padding: str) -> Vector:
    return {
        "name": f"public key for {padding}: {name}",
        "format": "public_key",
        "given": {"padding": padding},
        "sealed": text,
    }


def armour(der: bytes, label: str = "PUBLIC KEY", columns: int = 64, newline: str = "\n") -> str:
    body = base64.b64encode(der).decode()
    lines = [body[at : at + columns] for at in range(0, len(body), columns)]
    return newline.join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def opened() -> Iterator[Vector]:
    for algorithm in ALGORITHMS:
        for name, message in MESSAGES.items():
            made = sign(algorithm, message, f"{algorithm}, {name}")
            yield signature(name, algorithm, message, made)
            yield signature(f"{name}, digest", algorithm, hashed(algorithm, message), made, is_digest=True)
    short = EC_KEYS["EC_P384"]
    made = DSS.new(short, "deterministic-rfc6979", encoding="der").sign(SHA256.new(b"message digest"))
    digest = hashlib.sha256(b"message digest").digest()
    yield signature("SHA-256, digest", "ECC_P384_R1", digest, bytes(made), is_digest=True)
    for padding, longest in PADDINGS.items():
        for size in (0, 1, 32, longest):
            plaintext = bytes(range(256))[-size:] if size else b""
            made = encrypt(padding, plaintext, f"{padding}, {size}")
            yield ciphertext(f"{size} bytes", padding, made, plaintext)
    for size in (1, 16, 19, 127, 128, 255, 256, 4096):
        plaintext = (bytes(range(256)) * 16)[-size:]
        nonce = int.from_bytes(random_of(f"SM2, {size}")(31), "big")
        yield from both(f"{size} bytes", sm2_parts(plaintext, nonce), plaintext)
    for name, test in {
        "x is short": lambda nonce: times(nonce, GX + GY).startswith("00"),
        "y is short": lambda nonce: times(nonce, GX + GY)[64:].startswith("00"),
        "x has its top bit set": lambda nonce: times(nonce, GX + GY)[0] >= "8",
        "x begins with 04": lambda nonce: times(nonce, GX + GY).startswith("04"),
    }.items():
        yield from both(name, sm2_parts(b"encryption standard", nonce_where(test)), b"encryption standard")
    for padding in ("RSAES_OAEP_SHA_256", "SM2"):
        der = public("SM2DSA" if padding == "SM2" else "RSA")
        yield pem("64 columns", armour(der), padding)
        yield pem("no newline at the end", armour(der).rstrip("\n"), padding)
        yield pem("CR LF", armour(der, newline="\r\n"), padding)
        yield pem("76 columns", armour(der, columns=76), padding)
        yield pem("one line", armour(der, columns=1000), padding)
        yield pem("blank lines around", "\n\n" + armour(der) + "\n", padding)


# Refused


def flipped(whole: bytes, offset: int) -> bytes:
    changed = bytearray(whole)
    changed[offset] ^= 1
    return bytes(changed)


def bad_ders(r: int, s: int, n: int) -> dict[str, bytes]:
    """What is not the one spelling of two numbers in range."""
    good = sequence(integer(r), integer(s))
    body = integer(r) + integer(s)
    width = n.bit_length() // 8
    return {
        "nothing": b"",
        "a byte less": good[:-1],
        "a byte more": good + b"\0",
        "a byte in front": b"\0" + good,
        "a byte more inside": sequence(integer(r), integer(s), b"\0"),
        "a third number": sequence(integer(r), integer(s), integer(1)),
        "one number": sequence(integer(r)),
        "r || s": r.to_bytes(width, "big") + s.to_bytes(width, "big"),
        "a SET": tlv(0x31, body),
        "a length in long form": tlv(0x30, body, bytes([0x81, len(body)])),
        "a length with leading zeros": tlv(0x30, body, bytes([0x82, 0, len(body)])),
        "a length without end": bytes([0x30, 0x80]) + body + b"\0\0",
        "a length of 2^32": tlv(0x30, body, b"\x85\x01\0\0\0\0"),
        "a length of 127 octets": tlv(0x30, body, b"\xff"),
        "r with a leading zero": sequence(tlv(2, b"\0" + integer(r)[2:]), integer(s)),
        "s with a leading zero": sequence(integer(r), tlv(2, b"\0" + integer(s)[2:])),
        "r with a long length": sequence(tlv(2, integer(r)[2:], bytes([0x81, len(integer(r)) - 2])), integer(s)),
        "r is an OCTET STRING": sequence(tlv(4, integer(r)[2:]), integer(s)),
        "r has no bytes": sequence(tlv(2, b""), integer(s)),
        "r is negative": sequence(tlv(2, ((1 << 8 * len(integer(r)[2:])) - r).to_bytes(len(integer(r)) - 2, "big")), integer(s)),
        "r is 0": sequence(integer(0), integer(s)),
        "s is 0": sequence(integer(r), integer(0)),
        "r is n": sequence(integer(n), integer(s)),
        "s is n": sequence(integer(r), integer(n)),
        "n is added to r": sequence(integer(r + n), integer(s)),
        "n is added to s": sequence(integer(r), integer(s + n)),
        "both are 0": sequence(integer(0), integer(0)),
        "both are 1": sequence(integer(1), integer(1)),
        "r is huge": sequence(integer(r << 4096), integer(s)),
        "s is turned round": sequence(integer(s), integer(r)),
    }  # fmt: skip


def refused_signatures() -> Iterator[Vector]:
    message = MESSAGES["short"]
    for algorithm in ALGORITHMS:
        good = sign(algorithm, message, f"{algorithm}, short")
        yield signature("another message", algorithm, message + b"\0", good)
        yield signature(
            "another digest", algorithm, flipped(hashed(algorithm, message), 0), good, is_digest=True
        )
        yield signature("the message as a digest", algorithm, hashlib.sha256(message).digest(), good)
        yield signature("the first byte changed", algorithm, message, flipped(good, 0))
        yield signature("the last byte changed", algorithm, message, flipped(good, -1))
    for algorithm in ("RSA_PKCS1_SHA_256", "RSA_PSS_SHA_256"):
        good = sign(algorithm, message, f"{algorithm}, short")
        number = int.from_bytes(good, "big")
        for name, made in {
            "nothing": b"",
            "a byte less": good[:-1],
            "a byte more": good + b"\0",
            "a byte in front": b"\0" + good,
            "zeros": bytes(256),
            "one": (1).to_bytes(256, "big"),
            "the modulus": RSA_KEY.n.to_bytes(256, "big"),
            "the modulus less one": (RSA_KEY.n - 1).to_bytes(256, "big"),
            "negated": (RSA_KEY.n - number).to_bytes(256, "big"),
            "the modulus added": (number + RSA_KEY.n).to_bytes(257, "big"),
            "4 KiB": bytes(4096),
        }.items():
            yield signature(name, algorithm, message, made)
    other = pkcs1_15.new(RSA_KEY).sign(SHA384.new(message))
    yield signature("another hash", "RSA_PKCS1_SHA_256", message, bytes(other))
    other = pkcs1_15.new(RSA_KEY).sign(SHA1.new(message))
    yield signature("SHA-1", "RSA_PKCS1_SHA_256", message, bytes(other))
    yield signature("a PSS signature", "RSA_PKCS1_SHA_256", message, sign("RSA_PSS_SHA_256", message, "a"))
    yield signature(
        "a PKCS #1 signature", "RSA_PSS_SHA_256", message, sign("RSA_PKCS1_SHA_256", message, "a")
    )
    for size in (0, 20, 31, 33, 222):
        other = pss.new(RSA_KEY, salt_bytes=size, rand_func=random_of("salt")).sign(SHA256.new(message))
        yield signature(f"a salt of {size} bytes", "RSA_PSS_SHA_256", message, bytes(other))
    other = pss.new(RSA_KEY, salt_bytes=32, mask_func=mgf1(SHA1), rand_func=random_of("mask")).sign(
        SHA256.new(message)
    )
    yield signature("MGF1 with SHA-1", "RSA_PSS_SHA_256", message, bytes(other))
    for algorithm, order in {
        "ECC_P256_R1": P256_N,
        "ECC_P384_R1": P384_N,
        "SM2DSA": N,
    }.items():
        good = sign(algorithm, message, f"{algorithm}, short")
        for name, made in bad_ders(*numbers(good), order).items():
            yield signature(name, algorithm, message, made)
    digest = sm3_of(z() + message)
    r, s = sm2_numbers(digest, 7)
    for name, pair in {
        "r + s is n": (r, N - r),
        "the sum of points is infinity": (r, (-r * SCALAR * pow(1 + SCALAR, -1, N)) % N),
        "another user id": sm2_numbers(sm3_of(z(b"ALICE123@YAHOO.COM") + message), 7),
        "no user id": sm2_numbers(sm3_of(message), 7),
        "as ECDSA, negated s": (r, N - s),
    }.items():
        yield signature(name, "SM2DSA", message, sequence(integer(pair[0]), integer(pair[1])))


def mgf1(algorithm: Any) -> Any:
    """MGF1 with a hash of PyCryptodome's, whatever the rest hashes with."""
    return lambda seed, length, _=None: pss.MGF1(seed, length, algorithm)


def numbers(der: bytes) -> tuple[int, int]:
    at = 2
    found = []
    for _ in range(2):
        size = der[at + 1]
        found.append(int.from_bytes(der[at + 2 : at + 2 + size], "big"))
        at += 2 + size
    return found[0], found[1]


def refused_ciphertexts() -> Iterator[Vector]:
    plaintext = b"encryption standard"
    for padding in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        good = encrypt(padding, plaintext, f"{padding}, good")
        algorithm: Any
        other: Any
        algorithm, other = (SHA1, SHA256) if padding == "RSAES_OAEP_SHA_1" else (SHA256, SHA1)
        labelled = PKCS1_OAEP.new(RSA_KEY, algorithm, label=b"label", randfunc=random_of("label"))
        mixed = PKCS1_OAEP.new(
            RSA_KEY,
            algorithm,
            mgfunc=mgf1(other),
            randfunc=random_of("mixed"),
        )
        for name, made in {
            "the first byte changed": flipped(good, 0),
            "the last byte changed": flipped(good, -1),
            "the other hash": bytes(
                PKCS1_OAEP.new(RSA_KEY, other, randfunc=random_of("o")).encrypt(plaintext)
            ),
            "MGF1 with the other hash": bytes(mixed.encrypt(plaintext)),
            "a label": bytes(labelled.encrypt(plaintext)),
            "PKCS #1 v1.5": encrypt("RSAES_PKCS1_V1_5", plaintext, "v1.5"),
        }.items():
            yield ciphertext(name, padding, made)
    for padding in PADDINGS:
        good = encrypt(padding, plaintext, f"{padding}, good")
        for name, made in {
            "nothing": b"",
            "a byte less": good[:-1],
            "a byte more": good + b"\0",
            "a byte in front": b"\0" + good,
            "the modulus": RSA_KEY.n.to_bytes(256, "big"),
            "more than the modulus": b"\xff" * 256,
        }.items():
            yield ciphertext(name, padding, made)
    c1, c3, c2 = sm2_parts(plaintext, 7)
    x, y = int.from_bytes(c1[:32], "big"), int.from_bytes(c1[32:], "big")
    root = pow(B, (P + 1) // 4, P)
    for name, parts in {
        "C1 off the curve": (flipped(c1, 63), c3, c2),
        "C1 on another curve": (twist_point(), c3, c2),
        "C1 is zeros": (bytes(64), c3, c2),
        "C1 negated": (c1[:32] + (P - y).to_bytes(32, "big"), c3, c2),
        "C1 turned round": (c1[32:] + c1[:32], c3, c2),
        "x is p": (P.to_bytes(32, "big") + root.to_bytes(32, "big"), c3, c2),
        "x is 0, of order n": (bytes(32) + root.to_bytes(32, "big"), c3, c2),
        "y is p": (c1[:32] + P.to_bytes(32, "big"), c3, c2),
        "C1 is all ones": (b"\xff" * 64, c3, c2),
        "C3 changed": (c1, flipped(c3, 0), c2),
        "C3 is zeros": (c1, bytes(32), c2),
        "C2 changed": (c1, c3, flipped(c2, 0)),
        "C2 shorter": (c1, c3, c2[:-1]),
        "C2 longer": (c1, c3, c2 + b"\0"),
        "C2 empty": (c1, c3, b""),
        "the key stream is zeros": zero_stream(),
        "of another key": sm2_parts_of_another_key(plaintext),
    }.items():
        yield from both(name, parts)
    raw, der = c1 + c3 + c2, sm2_der(c1, c3, c2)
    for name, made in {
        "04 in front": b"\4" + raw,
        "C1, C2, C3": c1 + c2 + c3,
        "DER": der,
        "only C1": c1,
        "C1 and C3": c1 + c3,
        "nothing": b"",
        "a byte": b"\0",
    }.items():
        yield ciphertext(name, "SM2", made)
    body = der[2:]
    number_x, number_y = integer(x), integer(y)
    strings = tlv(4, c3) + tlv(4, c2)
    for name, made in {
        "raw": raw,
        "nothing": b"",
        "a byte less": der[:-1],
        "a byte more": der + b"\0",
        "a byte more inside": sequence(body, b"\0"),
        "a fifth element": sequence(body, integer(1)),
        "no C2": sequence(number_x, number_y, tlv(4, c3)),
        "C2, C3": sequence(number_x, number_y, tlv(4, c2), tlv(4, c3)),
        "C3 of 31 bytes": sequence(number_x, number_y, tlv(4, c3[:-1]), tlv(4, c2)),
        "C3 of 33 bytes": sequence(number_x, number_y, tlv(4, c3 + b"\0"), tlv(4, c2)),
        "a SET": tlv(0x31, body),
        "a length in long form": tlv(0x30, body, bytes([0x81, len(body)])),
        "a length with leading zeros": tlv(0x30, body, bytes([0x82, 0, len(body)])),
        "a length without end": bytes([0x30, 0x80]) + body + b"\0\0",
        "a length that is too long": tlv(0x30, body, bytes([len(body) + 1])),
        "x with a leading zero": sequence(tlv(2, b"\0" + number_x[2:]), number_y, strings),
        "x is an OCTET STRING": sequence(tlv(4, number_x[2:]), number_y, strings),
        "x is negative": sequence(tlv(2, b"\x80" + c1[1:32]), number_y, strings),
        "p is added to x": sequence(integer(x + P), number_y, strings),
        "p is added to y": sequence(number_x, integer(y + P), strings),
        "x is huge": sequence(integer(x << 4096), number_y, strings),
        "C3 is built of parts": sequence(number_x, number_y, tlv(0x24, tlv(4, c3)), tlv(4, c2)),
        "C2 with a long length": sequence(number_x, number_y, tlv(4, c3), tlv(4, c2, bytes([0x81, len(c2)]))),
    }.items():  # fmt: skip
        yield ciphertext(name, "SM2_C1C3C2_ASN1", made)


def twist_point() -> bytes:
    """A point of the curve with another b: what an invalid-curve attack sends."""
    x, y = 5, 11
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def zero_stream() -> tuple[bytes, bytes, bytes]:
    """A ciphertext of one byte whose key stream is 00, which GB/T 32918.4 forbids."""
    nonce = nonce_where(lambda nonce: sm3.sm3_kdf(times(nonce, POINT).encode(), 1) == "00")
    return sm2_parts(b"!", nonce)


def sm2_parts_of_another_key(plaintext: bytes) -> tuple[bytes, bytes, bytes]:
    shared = times(7, times(SCALAR + 1, GX + GY))
    stream = bytes.fromhex(sm3.sm3_kdf(shared.encode(), len(plaintext)))
    c2 = bytes([one ^ other for one, other in zip(stream, plaintext, strict=True)])
    c3 = sm3_of(bytes.fromhex(shared[:64]) + plaintext + bytes.fromhex(shared[64:]))
    return bytes.fromhex(times(7, GX + GY)), c3, c2


def rsa_spki(n: int, e: int) -> bytes:
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return sequence(algorithm, tlv(3, b"\0" + sequence(integer(n), integer(e))))


def refused_public_keys() -> Iterator[Vector]:
    rsa, sm2, p256 = PUBLIC["RSA"], PUBLIC["SM2DSA"], PUBLIC["ECC_P256_R1"]
    n, point = RSA_KEY.n, bytes.fromhex(POINT)
    body = base64.b64encode(rsa).decode()
    for name, text in {
        "nothing": "",
        "base64 alone": body,
        "an SM2 key": armour(sm2),
        "a P-256 key": armour(p256),
        "a PKCS #1 key": armour(sequence(integer(n), integer(65537)), "RSA PUBLIC KEY"),
        "a PKCS #1 key as PUBLIC KEY": armour(sequence(integer(n), integer(65537))),
        "a certificate's label": armour(rsa, "CERTIFICATE"),
        "a private key": armour(bytes.fromhex(KEYS["RSA_2048"]), "PRIVATE KEY"),
        "a private key as PUBLIC KEY": armour(bytes.fromhex(KEYS["RSA_2048"])),
        "two keys": armour(rsa) * 2,
        "text in front": "key:\n" + armour(rsa),
        "text behind": armour(rsa) + "x",
        "a header": armour(rsa).replace("KEY-----\n", "KEY-----\nProc-Type: 4\n\n", 1),
        "no end": armour(rsa).split("-----END")[0],
        "no line breaks": armour(rsa).replace("\n", ""),
        "two ends that differ": armour(rsa).replace("END PUBLIC", "END RSA PUBLIC"),
        "a byte less": armour(rsa[:-1]),
        "a byte more": armour(rsa + b"\0"),
        "another alphabet": armour(rsa).replace("+", "-_"),
        "padding in the middle": armour(rsa).replace("\n", "=\n", 2),
        "a NUL": armour(rsa) + "\0",
        "not ASCII": armour(rsa).replace("A", "\u0410", 1),
        "more than 1024 characters": armour(rsa) + "\n" * 1024,
        "1024 bits": armour(rsa_spki(n >> 1024 | 1 | 1 << 1023, 65537)),
        "2047 bits": armour(rsa_spki(n >> 1 | 1, 65537)),
        "2056 bits": armour(rsa_spki(n << 8 | 1, 65537)),
        "3072 bits": armour(rsa_spki(n << 1024 | 1, 65537)),
        "an even modulus": armour(rsa_spki(n - 1, 65537)),
        "exponent 0": armour(rsa_spki(n, 0)),
        "exponent 1": armour(rsa_spki(n, 1)),
        "exponent 2": armour(rsa_spki(n, 2)),
        "exponent 65536": armour(rsa_spki(n, 65536)),
        "an exponent of 33 bits": armour(rsa_spki(n, 2**32 + 1)),
        "an exponent of 2047 bits": armour(rsa_spki(n, n >> 1 | 1)),
        "a negative modulus": armour(rsa_spki(n, 65537).replace(b"\0" + n.to_bytes(256, "big"), n.to_bytes(256, "big"))),
        "no NULL": armour(sequence(bytes.fromhex("300b06092a864886f70d010101"), tlv(3, b"\0" + sequence(integer(n), integer(65537))))),
        "for PSS": armour(sequence(bytes.fromhex("300b06092a864886f70d01010a"), tlv(3, b"\0" + sequence(integer(n), integer(65537))))),
        "long lengths": armour(tlv(0x30, rsa[4:], b"\x83\0\x01\x22")),
    }.items():  # fmt: skip
        yield pem(name, text, "RSAES_OAEP_SHA_256")
    odd = bytes([2 + point[-1] % 2])
    explicit = sequence(integer(1), sequence(bytes.fromhex("06072a8648ce3d0101"), integer(P)))
    for name, text in {
        "an RSA key": armour(rsa),
        "a P-256 key": armour(p256),
        "the point of P-256": armour(SM2_SPKI + p256[26:]),
        "named as P-256": armour(p256[:26] + sm2[26:]),
        "compressed": armour(bytes.fromhex("3039301306072a8648ce3d020106082a811ccf5501822d032200") + odd + point[:32]),
        "hybrid": armour(SM2_SPKI + bytes([6 + point[-1] % 2]) + point),
        "infinity": armour(bytes.fromhex("3019301306072a8648ce3d020106082a811ccf5501822d03020000")),
        "off the curve": armour(sm2[:-1] + bytes([sm2[-1] ^ 1])),
        "zeros": armour(sm2_spki(bytes(64))),
        "x is p": armour(sm2_spki(P.to_bytes(32, "big") + pow(B, (P + 1) // 4, P).to_bytes(32, "big"))),
        "y is 0": armour(sm2_spki(point[:32] + bytes(32))),
        "a byte less": armour(sm2[:-1]),
        "a byte more": armour(sm2 + b"\0"),
        "unused bits": armour(sm2.replace(bytes.fromhex("034200"), bytes.fromhex("034201"))),
        "explicit parameters": armour(sequence(sequence(bytes.fromhex("06072a8648ce3d0201"), explicit), tlv(3, b"\0\4" + point))),
        "long lengths": armour(tlv(0x30, sm2[2:], b"\x81\x59")),
    }.items():  # fmt: skip
        yield pem(name, text, "SM2")


# Generated


def check_value(kind: str, key: bytes) -> bytes:
    """KS-FMT-4.5, written down a second time: CMAC of two blocks."""
    blocks = [bytes([0, counter]) + b"C" + bytes(13) for counter in (1, 2)]
    if kind == "AES_256":
        return b"".join([CMAC.new(key, block, ciphermod=AES).digest() for block in blocks])
    block_cipher = CryptSM4()
    block_cipher.set_key(key, SM4_ENCRYPT)

    def encrypt_block(block: bytes) -> bytes:
        return bytes(block_cipher.one_round(block_cipher.sk, list(block)))

    zeros = int.from_bytes(encrypt_block(bytes(16)), "big")
    subkey = (zeros << 1) % 2**128 ^ (0x87 if zeros >= 2**127 else 0)
    return b"".join(
        [encrypt_block((int.from_bytes(block, "big") ^ subkey).to_bytes(16, "big")) for block in blocks]
    )


def generated() -> Iterator[Vector]:
    """What follows from a key."""
    for kind, size in (("AES_256", 32), ("SM4", 16)):
        for name in ("one", "two"):
            key = random_of(f"{kind}, {name}")(size)
            yield {
                "name": f"check value: {kind}, {name}",
                "format": "check_value",
                "given": {"kind": kind, "key": key.hex()},
                "sealed": check_value(kind, key).hex(),
            }
    sm2 = bytes.fromhex(KEYS["SM2"]), bytes.fromhex(POINT)
    pkcs8 = "308187020100" + SM2_SPKI[2:23].hex() + "046d306b0201010420{}a14403420004{}"
    for kind, material, public_key in (
        ("RSA_2048", KEYS["RSA_2048"], PUBLIC["RSA"]),
        ("EC_P256", KEYS["EC_P256"], PUBLIC["ECC_P256_R1"]),
        ("EC_P384", KEYS["EC_P384"], PUBLIC["ECC_P384_R1"]),
        ("SM2", pkcs8.format(sm2[0].hex(), sm2[1].hex()), PUBLIC["SM2DSA"]),
    ):
        yield {
            "name": f"public half: {kind}",
            "format": "public_half",
            "given": {"kind": kind, "material": material},
            "sealed": public_key.hex(),
        }
    for kind, post_quantum in (
        ("ML_KEM_1024", MLKEM1024PrivateKey.from_seed_bytes(random_of("ML_KEM_1024")(64))),
        ("ML_DSA_87", MLDSA87PrivateKey.from_seed_bytes(random_of("ML_DSA_87")(32))),
    ):
        made = post_quantum.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        yield {
            "name": f"public half: {kind}",
            "format": "public_half",
            "given": {"kind": kind, "material": post_quantum.private_bytes_raw().hex()},
            "sealed": made.hex(),
        }
    for name, message in MESSAGES.items():
        yield {
            "name": f"SM2 digest: {name}",
            "format": "sm2_digest",
            "given": {"public_key": PUBLIC["SM2DSA"].hex(), "message": message.hex()},
            "sealed": sm3_of(z() + message).hex(),
        }


def lists() -> dict[str, list[Vector]]:
    return {
        "asymmetric_generated": list(generated()),
        "asymmetric_opened": list(opened()),
        "asymmetric_refused": [*refused_signatures(), *refused_ciphertexts(), *refused_public_keys()],
    }
