"""A second implementation, straight from docs/encryption-sdk-format.md and without the package: for one message at a time."""

import base64
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SUITES: Final[dict[int, tuple[Any, Any, Any, int]]] = {
    0x11: (hashes.SHA512, hashes.SHA256, algorithms.AES, 32),
    0x12: (hashes.SM3, hashes.SM3, algorithms.SM4, 16),
    **{n: (hashes.SM3, hashes.SM3, algorithms.SM4, 48 if n % 2 else 16) for n in range(1, 9)},
}
VENDOR_MODES: Final = ("CBC", "GCM", "CTR", "ECB")
SIGNED: Final = 0x80


def mac(algorithm: Any, key: bytes, data: bytes) -> bytes:
    one = hmac.HMAC(key, algorithm())
    one.update(data)
    return one.finalize()


def expand(algorithm: Any, secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand, RFC 5869, 2.3."""
    made, block, number = b"", b"", 0
    while len(made) < length:
        number += 1
        block = mac(algorithm, secret, block + info + bytes([number]))
        made += block
    return made[:length]


def context_bytes(context: dict[str, str]) -> bytes:
    encoded = b""
    for name in sorted(context):
        for text in (name, context[name]):
            encoded += len(text.encode()).to_bytes(2, "big") + text.encode()
    return encoded


def seal(suite: int, key: bytes, number: int, piece: bytes, *, last: bool) -> bytes:
    word = (len(piece) + (2**31 if last else 0)).to_bytes(4, "big")
    nonce = number.to_bytes(8, "big") + word
    block = SUITES[suite & ~SIGNED][2]
    mode = VENDOR_MODES[(suite - 1) // 2] if suite < 9 else "GCM"
    with_mac = suite < 9 and suite % 2 == 1
    if with_mac:
        key, mac_key = key[:16], key[16:]
    if mode == "GCM":
        sealer = Cipher(block(key), modes.GCM(nonce)).encryptor()
        sealed: bytes = sealer.update(piece) + sealer.finalize() + sealer.tag
    else:
        if mode != "CTR":
            piece += bytes([16 - len(piece) % 16]) * (16 - len(piece) % 16)
        ecb = Cipher(block(key), modes.ECB()).encryptor()  # noqa: S305 - ESF-6
        chosen: Any = {
            "CBC": lambda: modes.CBC(ecb.update(nonce + bytes(4))),
            "CTR": lambda: modes.CTR(nonce + bytes(4)),
            "ECB": modes.ECB,
        }[mode]()
        sealed = Cipher(block(key), chosen).encryptor().update(piece)
    return word + sealed + (mac(hashes.SM3, mac_key, nonce + sealed) if with_mac else b"")


def derived(message: bytes, data_key: bytes) -> tuple[bytes, bytes]:
    """Commitment and frame key of the message."""
    kdf, _, _, key_bytes = SUITES[message[4] & ~SIGNED]
    core = message[: 43 + int.from_bytes(message[41:43], "big")]
    made = expand(kdf, mac(kdf, b"keystead encryption sdk 1", data_key), core, 32 + key_bytes)
    return made[:32], made[32:]


def write(
    suite: int,
    frame_bytes: int,
    message_id: bytes,
    context: dict[str, str],
    data_key: bytes,
    edks: list[tuple[str, str, str]],
    plaintext: bytes,
    signing_key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    kdf, tag_hash, _, key_bytes = SUITES[suite & ~SIGNED]
    encoded = context_bytes(context)
    core = b"KSE\x01" + bytes([suite]) + frame_bytes.to_bytes(4, "big") + message_id
    core += len(encoded).to_bytes(2, "big") + encoded
    secret = mac(kdf, b"keystead encryption sdk 1", data_key)
    made = expand(kdf, secret, core, 32 + key_bytes)
    commitment, key = made[:32], made[32:]
    section = b""
    for region, key_id, ciphertext in edks:
        section += bytes([len(region)]) + region.encode() + bytes([len(key_id)]) + key_id.encode()
        section += len(ciphertext).to_bytes(2, "big") + ciphertext.encode()
    edk_tag = mac(tag_hash, expand(kdf, secret, b"encrypted data keys", 32), section)
    frames = b""
    for number in range(len(plaintext) // frame_bytes + 1):
        piece = plaintext[number * frame_bytes : (number + 1) * frame_bytes]
        last = len(piece) < frame_bytes
        frames += seal(suite, key, number, piece, last=last)
    message = core + commitment + len(section).to_bytes(2, "big") + section + edk_tag + frames
    if signing_key is not None:
        r, s = decode_dss_signature(signing_key.sign(core + commitment + frames, ec.ECDSA(hashes.SHA256())))
        message += r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return message


def read(message: bytes, data_key: bytes) -> tuple[bytes, dict[str, str]]:
    """The plaintext and the context of a message that is whole; asserts that it is."""
    suite, frame_bytes = message[4], int.from_bytes(message[5:9], "big")
    kdf, tag_hash, block, key_bytes = SUITES[suite & ~SIGNED]
    end = 43 + int.from_bytes(message[41:43], "big")
    texts, at = [], 43
    while at < end:
        length = int.from_bytes(message[at : at + 2], "big")
        texts.append(message[at + 2 : at + 2 + length].decode())
        at += 2 + length
    context = dict(zip(texts[::2], texts[1::2], strict=True))
    core, commitment = message[:end], message[end : end + 32]
    secret = mac(kdf, b"keystead encryption sdk 1", data_key)
    made = expand(kdf, secret, core, 32 + key_bytes)
    assert (message[:4], made[:32]) == (b"KSE\x01", commitment)
    size = int.from_bytes(message[end + 32 : end + 34], "big")
    section = message[end + 34 : end + 34 + size]
    at = begin = end + 34 + size + 32
    assert message[begin - 32 : begin] == mac(
        tag_hash, expand(kdf, secret, b"encrypted data keys", 32), section
    )
    plaintext, number, last = b"", 0, False
    while not last:
        word = message[at : at + 4]
        length = int.from_bytes(word, "big")
        last, length = length >= 2**31, length % 2**31
        assert length <= frame_bytes
        assert last or length == frame_bytes
        sealed = message[at + 4 : at + 4 + length + 16]
        nonce = number.to_bytes(8, "big") + word
        opener = Cipher(block(made[32:]), modes.GCM(nonce, sealed[-16:])).decryptor()
        plaintext += opener.update(sealed[:-16]) + opener.finalize()
        at, number = at + 4 + len(sealed), number + 1
    if suite & SIGNED:
        point = base64.b64decode(context.pop("keystead-public-key"))
        r, s = (int.from_bytes(message[at + n : at + n + 32], "big") for n in (0, 32))
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).verify(
            encode_dss_signature(r, s), core + commitment + message[begin:at], ec.ECDSA(hashes.SHA256())
        )
        at += 64
    assert at == len(message)
    return plaintext, context
