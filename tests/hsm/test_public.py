"""What needs only the public half of a key. What the keys sign and open is in test_contract_asymmetric.py."""

import base64
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.hsm import asymmetric, public, sm2
from chalicelib.hsm.port import KeyKind, Padding, SignatureAlgorithm
from chalicelib.hsm.software import SoftwareHsm
from tests.vectors.make_asymmetric import PUBLIC, armour

RSA, SM2 = PUBLIC["RSA"], PUBLIC["SM2DSA"]
RSA_PEM, SM2_PEM = armour(RSA), armour(SM2)


@pytest.mark.parametrize("kind", [kind for kind in KeyKind if asymmetric.is_asymmetric(kind)])
def test_pem_has_64_columns_and_a_newline(kind: KeyKind) -> None:
    """KS-FMT-10: as `openssl pkey -pubout` writes it."""
    hsm = SoftwareHsm.ephemeral("d")
    der = hsm.public_key(hsm.generate(kind, b""))
    pem = public.to_pem(der)
    lines = pem.splitlines()
    assert (lines[0], lines[-1], pem[-1]) == ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----", "\n")
    assert {len(line) for line in lines[1:-2]} <= {64}
    assert 1 <= len(lines[-2]) <= 64
    assert base64.b64decode("".join(lines[1:-1])) == der
    if kind is not KeyKind.SM2:
        written = load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert pem == written.decode()
    if kind in (KeyKind.RSA_2048, KeyKind.SM2):
        assert len(pem) == {KeyKind.RSA_2048: 451, KeyKind.SM2: 178}[kind]


@pytest.mark.parametrize(
    ("padding", "longest"),
    [(Padding.RSAES_PKCS1_V1_5, 245), (Padding.RSAES_OAEP_SHA_1, 214), (Padding.RSAES_OAEP_SHA_256, 190)],
)
def test_rsa_takes_what_fits(padding: Padding, longest: int) -> None:
    for size in (0, 1, 32, longest):
        assert len(public.encrypt_to(RSA_PEM, padding, bytes(size))) == 256
    for size in (longest + 1, 256, 4096, 32768):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - not BadPublicKey
            public.encrypt_to(RSA_PEM, padding, bytes(size))
        assert not isinstance(caught.value, public.BadPublicKey)


@pytest.mark.parametrize("padding", [Padding.SM2_RAW, Padding.SM2_ASN1])
def test_sm2_takes_all_but_nothing(engine: sm2.Engine, padding: Padding) -> None:
    for size in (1, 32, 4096, 32768):
        assert size + 96 <= len(public.encrypt_to(SM2_PEM, padding, bytes(size))) <= size + 96 + 20
    with pytest.raises(ValueError, match="at least one byte"):
        public.encrypt_to(SM2_PEM, padding, b"")


@pytest.mark.parametrize(
    "text", ["A" * 50_000_000, "-----BEGIN PUBLIC KEY-----\n" * 500_000, "\n" * 50_000_000]
)
def test_long_texts_are_refused_before_they_are_read(text: str) -> None:
    """KS-FMT-10.6."""
    start = time.thread_time()
    with pytest.raises(public.BadPublicKey):
        public.encrypt_to(text, Padding.SM2_RAW, b"x")
    assert time.thread_time() - start < 0.1


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([RSA, SM2, PUBLIC["ECC_P256_R1"]]), st.data())
def test_changed_public_keys_are_refused_or_are_other_keys(der: bytes, data: st.DataObject) -> None:
    """KS-FMT-10.6: never another error."""
    at, bit = data.draw(st.integers(0, len(der) - 1)), data.draw(st.integers(0, 7))
    changed = der[:at] + bytes([der[at] ^ 1 << bit]) + der[at + 1 :]
    for padding in (Padding.SM2_RAW, Padding.RSAES_OAEP_SHA_1):
        try:
            made = public.encrypt_to(public.to_pem(changed), padding, b"x")
        except public.BadPublicKey:
            continue
        # Another modulus cannot be told from the right one, a point off the curve can.
        assert padding is Padding.RSAES_OAEP_SHA_1
        assert der is RSA
        assert len(made) == 256


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_other_bytes_are_no_public_key(der: bytes) -> None:
    """KS-FMT-10.6."""
    for prefix in (b"", RSA[:24], SM2[:26], SM2[:27]):
        for padding in (Padding.SM2_RAW, Padding.RSAES_PKCS1_V1_5):
            with pytest.raises(public.BadPublicKey):
                public.encrypt_to(public.to_pem(prefix + der), padding, b"x")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_other_texts_are_no_public_key(text: str) -> None:
    """KS-FMT-10.6."""
    for pem in (text, RSA_PEM.replace("MII", text, 1), RSA_PEM + text.strip() + "x"):
        if pem != RSA_PEM:
            with pytest.raises(public.BadPublicKey):
                public.encrypt_to(pem, Padding.RSAES_PKCS1_V1_5, b"x")


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
@pytest.mark.parametrize("key", [b"", b"\x30", RSA[:-1], RSA + b"\0", SM2[:-1]])
def test_what_is_no_key_checks_nothing(algorithm: SignatureAlgorithm, key: bytes) -> None:
    """A damaged row is an error, not a bad signature."""
    with pytest.raises(public.BadPublicKey):
        public.verify(key, algorithm, b"", b"", is_digest=False)
    with pytest.raises(public.BadPublicKey):
        public.encapsulate(key)


def test_only_ml_kem_keys_encapsulate() -> None:
    for key in PUBLIC.values():
        with pytest.raises(ValueError, match="do not fit together"):
            public.encapsulate(key)


def test_an_ml_kem_key_out_of_range_is_refused() -> None:
    """FIPS 203, 7.2: its numbers are below 3329."""
    hsm = SoftwareHsm.ephemeral("d")
    der = hsm.public_key(hsm.generate(KeyKind.ML_KEM_1024, b""))
    assert public.encapsulate(der)
    with pytest.raises(public.BadPublicKey):
        public.encapsulate(der[:22] + b"\xff" * 1536 + der[-32:])
    with pytest.raises(public.BadPublicKey):
        public.encapsulate(der[:-1])
