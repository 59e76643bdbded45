"""The PKCS #11 binding, on SoftHSM2 and with `cryptography` as the other opinion."""

import copy
import ctypes
import hashlib
import hmac
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from chalicelib.hsm import cryptoki
from chalicelib.hsm.cryptoki import CryptokiError, Mechanism, Module, Session
from chalicelib.hsm.port import HsmMisconfigured
from tests.hsm import softhsm
from tests.hsm.shim import Shim

pytestmark = pytest.mark.softhsm

KEY = bytes(range(32))
IV = bytes(range(12))
MESSAGE = b"a message that is nobody else's"
P256 = bytes.fromhex("06082a8648ce3d030107")
AES: dict[int, bool | int | bytes] = {
    cryptoki.CKA_CLASS: cryptoki.CKO_SECRET_KEY,
    cryptoki.CKA_KEY_TYPE: cryptoki.CKK_AES,
    cryptoki.CKA_TOKEN: False,
    cryptoki.CKA_PRIVATE: True,
}
READABLE = {cryptoki.CKA_SENSITIVE: False, cryptoki.CKA_EXTRACTABLE: True}
CIPHER = {cryptoki.CKA_ENCRYPT: True, cryptoki.CKA_DECRYPT: True}
WRAPPER = {cryptoki.CKA_WRAP: True, cryptoki.CKA_UNWRAP: True}


@pytest.fixture(scope="module")
def token() -> softhsm.NewToken:
    return softhsm.new_token()


@pytest.fixture(scope="module")
def module(token: softhsm.NewToken) -> Module:
    """Initialized, with the token there."""
    module = cryptoki.load(token.module)
    module.initialize()
    if token.label not in [module.token_info(slot).label for slot in module.slots()]:
        module.finalize()
        module.initialize()
    return module


@pytest.fixture(scope="module")
def slot(module: Module, token: softhsm.NewToken) -> int:
    return next(slot for slot in module.slots() if module.token_info(slot).label == token.label)


@pytest.fixture
def session(module: Module, slot: int, token: softhsm.NewToken) -> Iterator[Session]:
    session = module.open_session(slot)
    session.login(token.pin.encode())
    yield session
    session.close()


def known_key(session: Session) -> int:
    return session.create_object({**AES, **READABLE, **CIPHER, **WRAPPER, cryptoki.CKA_VALUE: KEY})


def refused(call: object) -> int:
    """The code of the CryptokiError that a call raises."""
    assert callable(call)
    with pytest.raises(CryptokiError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("path", ["/nowhere/module.so", "libc.so.6"])
def test_what_is_no_module_is_a_wrong_setting(path: str) -> None:
    with pytest.raises(HsmMisconfigured, match="KEYSTEAD_PKCS11_MODULE"):
        Module(path)


def test_a_module_is_loaded_once(token: softhsm.NewToken) -> None:
    assert cryptoki.load(token.module) is cryptoki.load(token.module)


def test_it_tells_what_is_in_a_slot(module: Module, slot: int, token: softhsm.NewToken) -> None:
    info = module.token_info(slot)
    assert info.label == token.label
    assert info.manufacturer == "SoftHSM project"
    assert info.model == "SoftHSM v2"
    assert info.flags & cryptoki.CKF_USER_PIN_INITIALIZED
    assert {cryptoki.CKM_AES_GCM, cryptoki.CKM_AES_KEY_WRAP_PAD} <= set(module.mechanisms(slot))


def test_initializing_twice_is_no_error(module: Module) -> None:
    module.initialize()


def test_the_module_is_told_of_threads(module: Module) -> None:
    """CKF_OS_LOCKING_OK, without which SoftHSM2 takes no locks at all."""
    told = []

    def initialize(arguments: Any) -> int:
        told.append(arguments._obj.flags)
        return 0

    watched = copy.copy(module)
    watched.functions = {**module.functions, "Initialize": initialize}  # type: ignore[misc]
    watched.initialize()
    assert told == [2]


def test_a_second_login_is_no_error(session: Session, token: softhsm.NewToken) -> None:
    session.login(token.pin.encode())


@pytest.mark.parametrize("size", [0, 1, 16, 1000, 100_000])
def test_gcm_is_gcm(session: Session, size: int) -> None:
    """Both ways, also where the output is larger than the buffer that stays."""
    key, plaintext = known_key(session), bytes(size)
    for _ in range(2):
        mechanism = Mechanism.gcm(IV, b"header")
        ciphertext = session.encrypt(mechanism, key, plaintext)
        assert ciphertext == AESGCM(KEY).encrypt(IV, plaintext, b"header")
        assert mechanism.iv == IV
        assert session.decrypt(Mechanism.gcm(IV, b"header"), key, ciphertext) == plaintext


@pytest.mark.parametrize("change", ["iv", "aad", "ciphertext", "tag"])
def test_gcm_authenticates(session: Session, change: str) -> None:
    key = known_key(session)
    ciphertext = bytearray(session.encrypt(Mechanism.gcm(IV, b"header"), key, MESSAGE))
    iv, aad = IV, b"header"
    match change:
        case "iv":
            iv = bytes(12)
        case "aad":
            aad = b"Header"
        case "ciphertext":
            ciphertext[0] ^= 1
        case _:
            ciphertext[-1] ^= 1
    code = refused(lambda: session.decrypt(Mechanism.gcm(iv, aad), key, bytes(ciphertext)))
    assert code in {cryptoki.CKR_GENERAL_ERROR, cryptoki.CKR_ENCRYPTED_DATA_INVALID}
    assert session.encrypt(Mechanism.gcm(IV, b""), key, MESSAGE), "the session goes on"


def test_any_number_is_passed_on(session: Session) -> None:
    """SoftHSM2 has no vendor mechanisms, and says so about just this number."""
    key = known_key(session)
    for number in (0x80001087, 0xFFFFFFFE):
        mechanism = Mechanism.gcm(IV, b"", number=number)
        assert refused(lambda used=mechanism: session.encrypt(used, key, MESSAGE)) == 0x70
    mechanism = Mechanism(0x8000216F, b"\xa6" * 8)
    assert refused(lambda: session.wrap_key(mechanism, key, key)) == cryptoki.CKR_MECHANISM_INVALID


def test_the_token_may_choose_the_iv(token: softhsm.NewToken) -> None:
    """In front of the ciphertext with CKM_CLOUDHSM_AES_GCM, in the zeroed buffer with CKM_AES_GCM (pkcs11-mechanisms)."""
    opened = softhsm.NewToken(token.module, token.label, f"user:{token.pin}", "").open(
        Shim(cloudhsm=True).path
    )

    def operation(session: Session) -> tuple[bytes, bytes, bytes]:
        template = {**AES, **READABLE, **CIPHER, cryptoki.CKA_VALUE: KEY}
        key = session.create_object(template)
        in_front = session.encrypt(Mechanism.gcm(None, b"h", number=0x80001087), key, MESSAGE)
        assert session.decrypt(Mechanism.gcm(None, b"h", number=0x80001087), key, in_front) == MESSAGE
        mechanism = Mechanism.gcm(bytes(12), b"h")
        return in_front, session.encrypt(mechanism, key, MESSAGE), mechanism.iv

    in_front, ciphertext, iv = opened.call(operation)
    assert AESGCM(KEY).decrypt(in_front[:12], in_front[12:], b"h") == MESSAGE
    assert iv not in {bytes(12), in_front[:12]}
    assert AESGCM(KEY).decrypt(iv, ciphertext, b"h") == MESSAGE
    opened.close()


def test_hmac_is_signed_and_verified(session: Session) -> None:
    template = {**AES, **READABLE, cryptoki.CKA_SIGN: True, cryptoki.CKA_VERIFY: True}
    key = session.create_object(
        {**template, cryptoki.CKA_KEY_TYPE: cryptoki.CKK_GENERIC_SECRET, cryptoki.CKA_VALUE: KEY}
    )
    mechanism = Mechanism(cryptoki.CKM_SHA256_HMAC)
    signature = session.sign(mechanism, key, MESSAGE)
    assert signature == hmac.digest(KEY, MESSAGE, "sha256")
    session.verify(mechanism, key, MESSAGE, signature)
    wrong = bytes([signature[0] ^ 1]) + signature[1:]
    assert refused(lambda: session.verify(mechanism, key, MESSAGE, wrong)) == cryptoki.CKR_SIGNATURE_INVALID
    assert refused(lambda: session.verify(mechanism, key, MESSAGE, b"")) in {
        cryptoki.CKR_SIGNATURE_INVALID,
        cryptoki.CKR_SIGNATURE_LEN_RANGE,
    }


def test_keys_are_wrapped_and_unwrapped(session: Session) -> None:
    """RFC 5649; a secret of 5000 bytes does not fit the first buffer."""
    wrapper, mechanism = known_key(session), Mechanism(cryptoki.CKM_AES_KEY_WRAP_PAD)
    for size in (32, 5000):
        template = {**AES, **READABLE, cryptoki.CKA_KEY_TYPE: cryptoki.CKK_GENERIC_SECRET}
        key = session.create_object({**template, cryptoki.CKA_VALUE: bytes(size)})
        wrapped = session.wrap_key(mechanism, wrapper, key)
        assert wrapped == aes_key_wrap_with_padding(KEY, bytes(size))
        again = session.unwrap_key(mechanism, wrapper, wrapped, template)
        assert session.get_attributes(again, [cryptoki.CKA_VALUE]) == {cryptoki.CKA_VALUE: bytes(size)}
    assert refused(lambda: session.unwrap_key(mechanism, wrapper, bytes(40), template)) != 0


def test_a_key_that_stays_inside_is_not_read(session: Session) -> None:
    inside = {cryptoki.CKA_SENSITIVE: True, cryptoki.CKA_EXTRACTABLE: False}
    key = session.generate_key(
        Mechanism(cryptoki.CKM_AES_KEY_GEN), {**AES, **inside, **CIPHER, cryptoki.CKA_VALUE_LEN: 32}
    )
    assert refused(lambda: session.get_attributes(key, [cryptoki.CKA_VALUE])) == 0x11
    assert refused(lambda: session.get_attributes(key, [0x80000001])) == 0x12
    values = session.get_attributes(key, [cryptoki.CKA_VALUE_LEN, cryptoki.CKA_SENSITIVE, cryptoki.CKA_LABEL])
    assert cryptoki.number(values[cryptoki.CKA_VALUE_LEN]) == 32
    assert cryptoki.number(values[cryptoki.CKA_SENSITIVE]) == 1
    assert values[cryptoki.CKA_LABEL] == b""


def test_rsa(session: Session) -> None:
    public, private = session.generate_key_pair(
        Mechanism(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN),
        {
            cryptoki.CKA_MODULUS_BITS: 2048,
            cryptoki.CKA_PUBLIC_EXPONENT: b"\1\0\1",
            cryptoki.CKA_ENCRYPT: True,
            cryptoki.CKA_VERIFY: True,
        },
        {cryptoki.CKA_PRIVATE: True, cryptoki.CKA_DECRYPT: True, cryptoki.CKA_SIGN: True},
    )
    modulus = session.get_attributes(public, [cryptoki.CKA_MODULUS])[cryptoki.CKA_MODULUS]
    key = rsa.RSAPublicNumbers(65537, int.from_bytes(modulus)).public_key()

    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - what SoftHSM2 has
    ciphertext = key.encrypt(MESSAGE, oaep)
    assert session.decrypt(Mechanism.oaep(), private, ciphertext) == MESSAGE
    assert session.decrypt(Mechanism.oaep(), private, session.encrypt(Mechanism.oaep(), public, b"")) == b""

    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    whole = Mechanism.pss(cryptoki.CKM_SHA256_RSA_PKCS_PSS, cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, 32)
    key.verify(session.sign(whole, private, MESSAGE), MESSAGE, pss, hashes.SHA256())
    digest = Mechanism.pss(cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, 32)
    signature = session.sign(digest, private, hashlib.sha256(MESSAGE).digest())
    key.verify(signature, MESSAGE, pss, hashes.SHA256())
    session.verify(digest, public, hashlib.sha256(MESSAGE).digest(), signature)
    with pytest.raises(InvalidSignature):
        key.verify(signature, MESSAGE + b"\0", pss, hashes.SHA256())


def test_ecdsa(session: Session) -> None:
    public, private = session.generate_key_pair(
        Mechanism(cryptoki.CKM_EC_KEY_PAIR_GEN),
        {cryptoki.CKA_EC_PARAMS: P256, cryptoki.CKA_VERIFY: True},
        {cryptoki.CKA_PRIVATE: True, cryptoki.CKA_SIGN: True},
    )
    point = session.get_attributes(public, [cryptoki.CKA_EC_POINT])[cryptoki.CKA_EC_POINT]
    assert point[:2] == b"\x04\x41", "an OCTET STRING in DER"
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[2:])
    signature = session.sign(Mechanism(cryptoki.CKM_ECDSA), private, hashlib.sha256(MESSAGE).digest())
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    key.verify(utils.encode_dss_signature(r, s), MESSAGE, ec.ECDSA(hashes.SHA256()))


def test_objects_are_found_changed_and_destroyed(session: Session) -> None:
    label = b"found-70"
    template = {**AES, **READABLE, cryptoki.CKA_LABEL: label, cryptoki.CKA_VALUE: KEY}
    made = [session.create_object(template) for _ in range(70)]
    assert sorted(session.find_objects({cryptoki.CKA_LABEL: label})) == sorted(made)
    session.set_attributes(made[0], {cryptoki.CKA_LABEL: b"another"})
    assert session.find_objects({cryptoki.CKA_LABEL: b"another"}) == [made[0]]
    for handle in made:
        session.destroy_object(handle)
    assert session.find_objects({cryptoki.CKA_LABEL: label}) == []
    assert refused(lambda: session.destroy_object(made[0])) == cryptoki.CKR_OBJECT_HANDLE_INVALID


def test_random_bytes(session: Session) -> None:
    assert len(session.generate_random(100)) == 100
    assert session.generate_random(16) != session.generate_random(16)


def test_closing_a_session_ends_its_objects(
    module: Module, slot: int, session: Session, token: softhsm.NewToken
) -> None:
    other = module.open_session(slot)
    key = known_key(other)
    other.close()
    assert refused(lambda: session.encrypt(Mechanism.gcm(IV, b""), key, b"")) in {0x60, 0x82}
    assert refused(lambda: other.generate_random(1)) == cryptoki.CKR_SESSION_HANDLE_INVALID


@pytest.mark.parametrize("size", [100, 100_000])
def test_output_buffers_are_overwritten(session: Session, size: int) -> None:
    key, plaintext = known_key(session), b"secret" * (size // 6)
    ciphertext = session.encrypt(Mechanism.gcm(IV, b""), key, plaintext)
    assert session.decrypt(Mechanism.gcm(IV, b""), key, ciphertext) == plaintext
    assert not any(session._output.raw)


def test_what_a_module_leaves_after_an_error_is_overwritten(session: Session, module: Module) -> None:
    def decrypt(handle: int, data: bytes, size: int, output: ctypes.Array[Any], length: object) -> int:
        ctypes.memmove(output, b"secret", 6)
        return cryptoki.CKR_ENCRYPTED_DATA_INVALID

    watched = copy.copy(module)
    watched.functions = {**module.functions, "Decrypt": decrypt, "DecryptInit": lambda *_: 0}  # type: ignore[misc]
    other = Session(watched, session.handle)
    assert refused(lambda: other.decrypt(Mechanism.gcm(IV, b""), 0, b"")) == 0x40
    assert not any(other._output.raw)


def test_the_copy_of_a_pin_is_overwritten(session: Session, module: Module) -> None:
    seen = []

    def login(handle: int, user: int, pin: ctypes.Array[ctypes.c_char], length: int) -> int:
        seen.append((pin, pin.raw))
        return cryptoki.CKR_PIN_INCORRECT

    watched = copy.copy(module)
    watched.functions = {**module.functions, "Login": login}  # type: ignore[misc]
    other = Session(watched, session.handle)
    assert refused(lambda: other.login(b"a wrong one")) == cryptoki.CKR_PIN_INCORRECT
    ((buffer, during),) = seen
    assert during == b"a wrong one"
    assert buffer.raw == bytes(11)


def test_copies_of_key_material_are_overwritten(session: Session, module: Module) -> None:
    seen = []

    def create(handle: int, template: object, count: int, made: object) -> int:
        """Keep the buffers of `create_object`'s template, which calls us through `_call`."""
        buffers = sys._getframe(2).f_locals["attributes"]._buffers
        seen.append((buffers, [buffer.raw for buffer in buffers]))
        return cryptoki.CKR_DEVICE_MEMORY

    watched = copy.copy(module)
    watched.functions = {**module.functions, "CreateObject": create}  # type: ignore[misc]
    template = {**AES, cryptoki.CKA_VALUE: KEY}
    assert refused(lambda: Session(watched, session.handle).create_object(template)) == 0x31
    ((buffers, during),) = seen
    assert KEY in during
    assert not any(any(buffer.raw) for buffer in buffers)


def test_a_buffer_that_is_too_small_is_no_error(token: softhsm.NewToken) -> None:
    """The operation is still active: the second call brings a larger buffer."""
    shim = Shim()
    opened = token.open(shim.path)

    def operation(session: Session) -> bytes:
        key = known_key(session)
        shim.fail("Encrypt", cryptoki.CKR_BUFFER_TOO_SMALL)
        return session.encrypt(Mechanism.gcm(IV, b""), key, MESSAGE)

    assert opened.call(operation) == AESGCM(KEY).encrypt(IV, MESSAGE, b"")
    opened.close()


def test_unwrapping_is_checked_by_the_other_opinion(session: Session) -> None:
    wrapper = known_key(session)
    key = session.generate_key(
        Mechanism(cryptoki.CKM_AES_KEY_GEN), {**AES, **READABLE, cryptoki.CKA_VALUE_LEN: 32}
    )
    value = session.get_attributes(key, [cryptoki.CKA_VALUE])[cryptoki.CKA_VALUE]
    wrapped = session.wrap_key(Mechanism(cryptoki.CKM_AES_KEY_WRAP_PAD), wrapper, key)
    assert aes_key_unwrap_with_padding(KEY, wrapped) == value


def test_nothing_shows_more_than_names(session: Session, token: softhsm.NewToken) -> None:
    shown = f"{session!r} {session.module!r} {Mechanism.gcm(IV, b'header')!r} {token.open()!r}"
    assert token.pin not in shown
    assert "header" not in shown
