"""AWS CloudHSM's differences, on a shim that has those that are documented: no cluster was at hand (docs/hsm.md)."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.hsm import cloudhsm, cryptoki
from chalicelib.hsm.cloudhsm import CloudHsm
from chalicelib.hsm.cryptoki import Attributes, CryptokiError, Mechanism, Session
from chalicelib.hsm.pkcs11 import Pkcs11Hsm
from chalicelib.hsm.port import Damaged, HsmMisconfigured, HsmUnavailable, KeyKind, Protection
from chalicelib.hsm.sessions import Token
from chalicelib.settings import Settings
from tests.hsm import softhsm
from tests.hsm.shim import SM4, USER, Shim

pytestmark = pytest.mark.softhsm

GCM = cloudhsm.MECHANISMS["AES_GCM"]
KWP = cloudhsm.MECHANISMS["AES_KEY_WRAP_PAD"]
AES: Attributes = {
    cryptoki.CKA_CLASS: cryptoki.CKO_SECRET_KEY,
    cryptoki.CKA_KEY_TYPE: cryptoki.CKK_AES,
    cryptoki.CKA_ENCRYPT: True,
    cryptoki.CKA_DECRYPT: True,
    cryptoki.CKA_WRAP: True,
    cryptoki.CKA_UNWRAP: True,
    cryptoki.CKA_SIGN: False,
}
NEW: Attributes = {**AES, cryptoki.CKA_VALUE_LEN: 32}
SECRET: Attributes = {
    cryptoki.CKA_CLASS: cryptoki.CKO_SECRET_KEY,
    cryptoki.CKA_KEY_TYPE: cryptoki.CKK_GENERIC_SECRET,
    cryptoki.CKA_SIGN: True,
    cryptoki.CKA_VALUE: bytes(32),
}


@pytest.fixture(scope="module")
def new() -> softhsm.NewToken:
    return softhsm.new_token()


@pytest.fixture(scope="module")
def shim(new: softhsm.NewToken) -> Shim:
    return Shim(cloudhsm=True)


@pytest.fixture(autouse=True)
def _full_size(shim: Shim) -> None:
    shim.limits(sessions=1024, keys=3300)


@pytest.fixture
def token(shim: Shim, new: softhsm.NewToken) -> Iterator[Token]:
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, f"{USER}:{new.pin}")
    yield token
    token.close()


@pytest.fixture
def settings(shim: Shim, new: softhsm.NewToken, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        pkcs11_module=shim.path,
        pkcs11_tokens=(new.label,),
        pkcs11_pin=f"{USER}:{new.pin}",
    )


@pytest.fixture
def hsm(settings: Settings, new: softhsm.NewToken, token: Token) -> Iterator[CloudHsm]:
    hsm = cloudhsm.open_hsm(settings, "ap-guangzhou", new.label, create=True)
    yield hsm
    hsm.close()


def new_key(session: Session) -> int:
    return session.generate_key(Mechanism(cryptoki.CKM_AES_KEY_GEN), NEW)


def answer(token: Token, operation: Callable[[Session], object]) -> int:
    """The return code that an operation ends with."""
    with pytest.raises(CryptokiError) as caught:
        token.call(operation)
    return caught.value.code


# The shim behaves as documented


def test_sessions_are_read_write(shim: Shim, token: Token) -> None:
    """CKR_FUNCTION_FAILED otherwise (ki-pkcs11-sdk)."""
    token.mechanisms()
    slot, handle = token.module.slots()[0], ctypes.c_ulong()
    opened = token.module.functions["OpenSession"](slot, 4, None, None, ctypes.byref(handle))
    assert opened == cryptoki.CKR_FUNCTION_FAILED


@pytest.mark.parametrize(("size", "code"), [(16_224, 0), (16_225, cryptoki.CKR_DATA_LEN_RANGE)])
def test_gcm_has_a_longest_message(token: Token, size: int, code: int) -> None:
    def operation(session: Session) -> int:
        sealed = session.encrypt(Mechanism.gcm(None, b"", number=GCM), new_key(session), bytes(size))
        return len(sealed)

    if code:
        assert answer(token, operation) == code
    else:
        assert token.call(operation) == 12 + size + 16


def test_gcm_takes_no_iv(token: Token) -> None:
    mechanism = Mechanism.gcm(bytes(12), b"", number=GCM)
    assert answer(token, lambda session: session.encrypt(mechanism, new_key(session), b"")) == 0x71
    mechanism = Mechanism.gcm(b"x" * 12, b"")
    assert answer(token, lambda session: session.encrypt(mechanism, new_key(session), b"")) == 0x71


@pytest.mark.parametrize("number", [cryptoki.CKM_AES_KEY_WRAP_PAD, cryptoki.CKM_AES_KEY_WRAP])
def test_the_standard_numbers_of_key_wrap_are_unknown(token: Token, number: int) -> None:
    assert number not in token.mechanisms()
    assert KWP in token.mechanisms()

    def operation(session: Session) -> bytes:
        return session.wrap_key(Mechanism(number), new_key(session), new_key(session))

    assert answer(token, operation) == cryptoki.CKR_MECHANISM_INVALID


def test_objects_are_not_changed(token: Token) -> None:
    """C_SetAttributeValue is not among its functions (pkcs11-apis)."""
    change: Attributes = {cryptoki.CKA_LABEL: b"new"}
    assert answer(token, lambda session: session.set_attributes(new_key(session), change)) == 0x54


def test_macs_have_a_longest_message(token: Token) -> None:
    def operation(session: Session) -> bytes:
        key = session.create_object(SECRET)
        return session.sign(Mechanism(cryptoki.CKM_SHA256_HMAC), key, bytes(16_289))

    assert answer(token, operation) == cryptoki.CKR_DATA_LEN_RANGE


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ({**SECRET, cryptoki.CKA_WRAP: False}, cryptoki.CKR_ATTRIBUTE_TYPE_INVALID),
        ({**SECRET, cryptoki.CKA_VALUE_LEN: 32}, cryptoki.CKR_ATTRIBUTE_TYPE_INVALID),
        ({**SECRET, cryptoki.CKA_COPYABLE: False}, cryptoki.CKR_ATTRIBUTE_TYPE_INVALID),
        ({**SECRET, cryptoki.CKA_PRIVATE: False}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID),
        ({cryptoki.CKA_VALUE: bytes(32)}, 0xD0),
    ],
)
def test_attributes_are_those_of_its_tables(token: Token, template: Attributes, code: int) -> None:
    assert answer(token, lambda session: session.create_object(template)) == code
    assert token.call(lambda session: session.create_object(SECRET))


def test_private_keys_are_sensitive(token: Token) -> None:
    def operation(session: Session) -> object:
        return session.generate_key_pair(
            Mechanism(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN),
            {cryptoki.CKA_MODULUS_BITS: 2048, cryptoki.CKA_PUBLIC_EXPONENT: b"\1\0\1"},
            {cryptoki.CKA_SENSITIVE: False},
        )

    assert answer(token, operation) == cryptoki.CKR_ATTRIBUTE_VALUE_INVALID


def test_a_cluster_holds_so_many_keys(shim: Shim, token: Token) -> None:
    shim.limits(sessions=1024, keys=shim.objects + 2)

    def operation(session: Session) -> None:
        for _ in range(3):
            new_key(session)

    with pytest.raises(HsmUnavailable):
        token.call(operation)


def test_an_application_has_so_many_sessions(shim: Shim, token: Token) -> None:
    token.mechanisms()
    shim.limits(sessions=shim.sessions, keys=3300)

    def nested(session: Session) -> None:
        token.call(lambda other: other.generate_random(1))

    with pytest.raises(HsmUnavailable):
        token.call(nested)


# The adapter copes with it


def test_it_says_what_it_is(hsm: CloudHsm) -> None:
    found = hsm.describe()
    assert found["technology"] == "cloudhsm"
    assert "AES_256" in found["kinds"]


def test_the_iv_of_a_message_is_the_tokens(hsm: CloudHsm, shim: Shim) -> None:
    key = hsm.generate(KeyKind.AES_256, b"place")
    with shim.recording() as crossed:
        message = hsm.encrypt(key, b"plaintext", b"")
    made = next(data for function, way, data in crossed if (function, way) == ("Encrypt", ">"))
    assert message.endswith(made), "iv, ciphertext and tag as they came out"
    assert hsm.decrypt(key, message, b"") == b"plaintext"


def test_what_is_too_long_is_refused(hsm: CloudHsm, shim: Shim) -> None:
    key = hsm.generate(KeyKind.AES_256, b"place")
    longest = bytes(cloudhsm.MAX_PLAINTEXT_BYTES)
    message = hsm.encrypt(key, longest, b"")
    assert hsm.decrypt(key, message, b"") == longest
    calls = shim.calls("Encrypt")
    with pytest.raises(ValueError, match="16224 bytes"):
        hsm.encrypt(key, longest + b"\0", b"")
    assert shim.calls("Encrypt") == calls
    with pytest.raises(Damaged):
        hsm.decrypt(key, message + b"\0", b"")


@pytest.mark.parametrize("pin", ["87654321", ":87654321", f"{'u' * 32}:87654321", "alice:7654321", "alice:"])
def test_a_pin_that_is_none_is_not_tried(
    settings: Settings, shim: Shim, new: softhsm.NewToken, pin: str
) -> None:
    shim.reset()
    with pytest.raises(HsmMisconfigured, match="KEYSTEAD_PKCS11_PIN") as caught:
        cloudhsm.open_hsm(replace(settings, pkcs11_pin=pin), "ap-guangzhou", new.label, create=True)
    assert shim.calls("Login") == 0
    assert pin not in str(caught.value)


def test_few_objects_are_cached(hsm: CloudHsm, shim: Shim) -> None:
    """A cluster's keys are for all processes, and those of sessions count."""
    for number in range(cloudhsm.HANDLES // 2 + 5):
        key = hsm.generate(KeyKind.AES_256, str(number).encode())
        hsm.encrypt(key, b"", b"")
        assert shim.objects <= cloudhsm.HANDLES + 10


def test_other_numbers_may_be_set(settings: Settings, new: softhsm.NewToken) -> None:
    other = replace(settings, pkcs11_mechanisms={"AES_GCM": 0x80009999})
    with pytest.raises(HsmMisconfigured):
        cloudhsm.open_hsm(other, "ap-beijing", new.label, create=True).describe()


# Vendor numbers for SM4


def test_sm4_may_stay_inside(new: softhsm.NewToken, tmp_path: Path) -> None:
    shim = Shim(sm4=True)
    settings = Settings(
        home=tmp_path,
        pkcs11_module=shim.path,
        pkcs11_tokens=(new.label,),
        pkcs11_pin=new.pin,
        pkcs11_mechanisms={name: number for name, number in SM4.items() if name != "SM4_ECB"},
        hsm_fallbacks=frozenset(),
    )
    hsm = Pkcs11Hsm.open(settings, "sm4", new.label, create=True)
    assert hsm.protection(KeyKind.SM4) is Protection.HSM
    key = hsm.generate(KeyKind.SM4, b"place")
    message = hsm.encrypt(key, b"plaintext", b"context")
    assert message[:1] == b"\4"
    assert hsm.decrypt(key, message, b"context") == b"plaintext"
    with pytest.raises(Damaged):
        hsm.decrypt(key, message, b"another")
    assert hsm.check_value(key) == hsm.check_value(hsm.rewrap(key))
    hsm.close()
