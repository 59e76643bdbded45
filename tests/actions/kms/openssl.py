"""The OpenSSL command line: the independent other side of what KMS signs and decrypts."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

PADDINGS = {
    "RSAES_PKCS1_V1_5": ("-pkeyopt", "rsa_padding_mode:pkcs1"),
    "RSAES_OAEP_SHA_1": ("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1"),
    "RSAES_OAEP_SHA_256": ("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"),
}


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    """Run the command; its output."""
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


def encrypt_to(pem: str, plaintext: bytes, folder: Path, *options: str) -> str:
    """Base64 of a ciphertext to a public key."""
    key, message = folder / "public.pem", folder / "message"
    key.write_text(pem)
    message.write_bytes(plaintext)
    made = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", str(key), "-in", str(message), *options)
    return base64.b64encode(made).decode()


def verifies(pem: str, signature: str, message: bytes, folder: Path, *options: str) -> bool:
    """Whether `openssl dgst` accepts a signature of a message."""
    key, signed, text = folder / "public.pem", folder / "signature", folder / "message"
    key.write_text(pem)
    signed.write_bytes(base64.b64decode(signature))
    text.write_bytes(message)
    command = ["openssl", "dgst", *options, "-verify", str(key), "-signature", str(signed), str(text)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
