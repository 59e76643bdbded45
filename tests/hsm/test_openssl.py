"""The `openssl` command, with the lines of the product's documents: it checks and opens what we make, and we what it makes."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from chalicelib.hsm import public, sm2
from chalicelib.hsm.port import HsmKey, KeyKind, Padding, SignatureAlgorithm
from chalicelib.hsm.software import SoftwareHsm

OPENSSL = shutil.which("openssl") or ""
SM2_ID = ["-sigopt", "distid:1234567812345678"]
PSS = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"]
SIGNATURES: dict[SignatureAlgorithm, tuple[KeyKind, list[str]]] = {
    SignatureAlgorithm.RSA_PKCS1_SHA_256: (KeyKind.RSA_2048, ["-sha256"]),
    SignatureAlgorithm.RSA_PSS_SHA_256: (KeyKind.RSA_2048, ["-sha256", *PSS]),
    SignatureAlgorithm.ECC_P256_R1: (KeyKind.EC_P256, ["-sha256"]),
    SignatureAlgorithm.ECC_P384_R1: (KeyKind.EC_P384, ["-sha384"]),
    SignatureAlgorithm.SM2DSA: (KeyKind.SM2, ["-sm3", *SM2_ID]),
}
OAEP = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt"]
CIPHERTEXTS: dict[Padding, tuple[KeyKind, list[str]]] = {
    Padding.RSAES_PKCS1_V1_5: (KeyKind.RSA_2048, ["-pkeyopt", "rsa_padding_mode:pkcs1"]),
    Padding.RSAES_OAEP_SHA_1: (KeyKind.RSA_2048, [*OAEP, "rsa_oaep_md:sha1"]),
    Padding.RSAES_OAEP_SHA_256: (KeyKind.RSA_2048, [*OAEP, "rsa_oaep_md:sha256"]),
    Padding.SM2_ASN1: (KeyKind.SM2, []),
}
MESSAGE = b"message digest"
PLAINTEXT = bytes(range(32))


def openssl(folder: Path, *arguments: str, input_: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([OPENSSL, *arguments], input=input_, capture_output=True, cwd=folder, check=False)


@pytest.fixture(scope="module", autouse=True)
def _openssl_3() -> None:
    if not OPENSSL:
        pytest.skip("no openssl command on this machine")
    version = subprocess.run([OPENSSL, "version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith(("OpenSSL 3", "OpenSSL 4")):
        pytest.skip(f"needs OpenSSL 3, not {version.strip()}")
    listed = subprocess.run([OPENSSL, "list", "-public-key-algorithms"], capture_output=True, check=True)
    if b"SM2" not in listed.stdout:
        pytest.skip("this openssl has no SM2")


@pytest.fixture(scope="module")
def hsm() -> SoftwareHsm:
    return SoftwareHsm.ephemeral("d")


@pytest.fixture(scope="module")
def keys(hsm: SoftwareHsm) -> dict[KeyKind, HsmKey]:
    kinds = (KeyKind.RSA_2048, KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.SM2)
    return {kind: hsm.generate(kind, b"") for kind in kinds}


@pytest.fixture
def folder(tmp_path: Path, hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey]) -> Path:
    """With each key's halves as files, and the message."""
    for kind, key in keys.items():
        (tmp_path / f"{kind.name}.pem").write_text(public.to_pem(hsm.public_key(key)))
        (tmp_path / f"{kind.name}.der").write_bytes(hsm._unwrap(key.kind, key.token, key.binding))
    (tmp_path / "message").write_bytes(MESSAGE)
    return tmp_path


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.SM2])
def test_it_writes_the_same_key(
    hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey], folder: Path, kind: KeyKind
) -> None:
    """KS-FMT-5.3, KS-FMT-10: the private key, checked, gives the public one, and both the same bytes."""
    private = f"{kind.name}.der"
    checked = openssl(folder, "pkey", "-in", private, "-inform", "DER", "-check", "-noout")
    assert b"Key is valid" in checked.stdout
    made = openssl(folder, "pkey", "-in", private, "-inform", "DER", "-pubout").stdout
    assert made.decode() == public.to_pem(hsm.public_key(keys[kind]))
    again = openssl(
        folder, "pkcs8", "-topk8", "-nocrypt", "-in", private, "-inform", "DER", "-outform", "DER"
    )
    assert again.stdout == (folder / private).read_bytes()


@pytest.mark.parametrize("algorithm", SIGNATURES)
def test_it_verifies_our_signatures(
    hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey], folder: Path, algorithm: SignatureAlgorithm
) -> None:
    kind, options = SIGNATURES[algorithm]
    signature = hsm.sign(keys[kind], algorithm, MESSAGE, is_digest=False)
    (folder / "signature").write_bytes(signature)
    command = ["dgst", *options, "-verify", f"{kind.name}.pem", "-signature", "signature"]
    assert openssl(folder, *command, "message").stdout == b"Verified OK\n"
    (folder / "other").write_bytes(MESSAGE + b"\0")
    assert openssl(folder, *command, "other").returncode == 1


@pytest.mark.parametrize("algorithm", SIGNATURES)
def test_we_verify_its_signatures(
    hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey], folder: Path, algorithm: SignatureAlgorithm
) -> None:
    signature = signed_by_it(folder, algorithm)
    public_key = hsm.public_key(keys[SIGNATURES[algorithm][0]])
    public.verify(public_key, algorithm, MESSAGE, signature, is_digest=False)
    with pytest.raises(public.BadSignature):
        public.verify(public_key, algorithm, MESSAGE + b"\0", signature, is_digest=False)


@pytest.mark.parametrize("length", ["20", "222", "0", "31"])
def test_other_salts_are_refused(
    hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey], folder: Path, length: str
) -> None:
    """KS-FMT-10.2: 20 and 222 are the default of other software."""
    salt = ["-sigopt", f"rsa_pss_saltlen:{length}"]
    signature = signed_by_it(folder, SignatureAlgorithm.RSA_PSS_SHA_256, *salt)
    public_key = hsm.public_key(keys[KeyKind.RSA_2048])
    with pytest.raises(public.BadSignature):
        public.verify(public_key, SignatureAlgorithm.RSA_PSS_SHA_256, MESSAGE, signature, is_digest=False)


def signed_by_it(folder: Path, algorithm: SignatureAlgorithm, *more: str) -> bytes:
    kind, options = SIGNATURES[algorithm]
    private = ["-sign", f"{kind.name}.der", "-keyform", "DER"]
    made = openssl(folder, "dgst", *options, *more, *private, "message")
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.mark.parametrize("padding", CIPHERTEXTS)
def test_it_opens_our_ciphertexts(
    hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey], folder: Path, padding: Padding
) -> None:
    kind, options = CIPHERTEXTS[padding]
    ciphertext = public.encrypt_to(public.to_pem(hsm.public_key(keys[kind])), padding, PLAINTEXT)
    private = ["-inkey", f"{kind.name}.der", "-keyform", "DER"]
    assert openssl(folder, "pkeyutl", "-decrypt", *private, *options, input_=ciphertext).stdout == PLAINTEXT


@pytest.mark.parametrize("padding", CIPHERTEXTS)
def test_we_open_its_ciphertexts(
    hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey], folder: Path, padding: Padding
) -> None:
    kind, options = CIPHERTEXTS[padding]
    made = encrypted_by_it(folder, kind, options)
    assert hsm.decrypt_asymmetric(keys[kind], padding, made) == PLAINTEXT


@pytest.mark.parametrize(
    "padding", [Padding.RSAES_PKCS1_V1_5, Padding.RSAES_OAEP_SHA_1, Padding.RSAES_OAEP_SHA_256]
)
def test_a_key_that_it_wraps_is_imported(
    hsm: SoftwareHsm, keys: dict[KeyKind, HsmKey], folder: Path, padding: Padding
) -> None:
    """KS-FMT-10.5: the product's own line for BYOK."""
    wrapped = encrypted_by_it(folder, KeyKind.RSA_2048, CIPHERTEXTS[padding][1])
    key = hsm.import_key(keys[KeyKind.RSA_2048], padding, wrapped, KeyKind.AES_256, b"")
    assert hsm._unwrap(KeyKind.AES_256, key.token, b"") == PLAINTEXT


def encrypted_by_it(folder: Path, kind: KeyKind, options: Sequence[str]) -> bytes:
    command = ["pkeyutl", "-encrypt", "-pubin", "-inkey", f"{kind.name}.pem"]
    made = openssl(folder, *command, *options, input_=PLAINTEXT)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_its_keys_are_public_keys(folder: Path, engine: sm2.Engine) -> None:
    """KS-FMT-10.6: a caller's key pair, made with the command."""
    for algorithm, padding in (
        (["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], Padding.RSAES_OAEP_SHA_256),
        (["SM2"], Padding.SM2_ASN1),
        (["EC", "-pkeyopt", "ec_paramgen_curve:SM2"], Padding.SM2_ASN1),
    ):
        assert openssl(folder, "genpkey", "-algorithm", *algorithm, "-out", "made").returncode == 0
        pem = openssl(folder, "pkey", "-in", "made", "-pubout").stdout.decode()
        ciphertext = public.encrypt_to(pem, padding, PLAINTEXT)
        opened = openssl(
            folder, "pkeyutl", "-decrypt", "-inkey", "made", *CIPHERTEXTS[padding][1], input_=ciphertext
        )
        assert opened.stdout == PLAINTEXT
