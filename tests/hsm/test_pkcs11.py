"""The PKCS#11 HSM beyond what every HSM does: what crosses into the process, what attackers try, what faults leave behind."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_private_key

from chalicelib.formats import key_token, sealed_generation, token_message
from chalicelib.formats.pkcs11_token import Pkcs11Token
from chalicelib.formats.sealed_generation import SealedGeneration
from chalicelib.hsm import cryptoki, public
from chalicelib.hsm.cryptoki import Mechanism, Session
from chalicelib.hsm.pkcs11 import Dialect, Pkcs11Hsm
from chalicelib.hsm.pkcs11_domain import secret_key
from chalicelib.hsm.port import (
    Damaged,
    HsmKey,
    HsmMisconfigured,
    HsmUnavailable,
    KeyKind,
    Padding,
    Protection,
    SignatureAlgorithm,
)
from chalicelib.hsm.sessions import Token
from chalicelib.settings import Settings
from tests.hsm import softhsm
from tests.hsm.shim import SM4, Shim
from tests.vectors.make_token import PRIVATE_KEY

pytestmark = pytest.mark.softhsm

DOMAIN: Final = "ap-guangzhou"
ALL: Final = Settings().hsm_fallbacks
BACKUP_KEY: Final = bytes.fromhex(PRIVATE_KEY)
BACKUP: Final = sealed_generation.public_half(BACKUP_KEY)
SM4_NUMBERS: Final = {name: number for name, number in SM4.items() if name != "SM4_ECB"}


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def new() -> softhsm.NewToken:
    return softhsm.new_token()


@pytest.fixture
def shim(new: softhsm.NewToken) -> Shim:
    return Shim()


@pytest.fixture
def token(shim: Shim, new: softhsm.NewToken) -> Iterator[Token]:
    found = new.open(shim.path)
    yield found
    found.close()


@pytest.fixture
def hsm(token: Token) -> Pkcs11Hsm:
    made = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL)
    made.rotate()
    return made


@pytest.fixture
def settings(new: softhsm.NewToken, tmp_path: Path) -> Settings:
    module = str(shutil.copy(new.module, tmp_path))
    return Settings(
        home=tmp_path,
        hsm="pkcs11",
        pkcs11_module=module,
        pkcs11_tokens=(new.label,),
        pkcs11_pin=new.pin,
    )


def generation(key: HsmKey) -> int:
    return key_token.generation_of(key.token)


# What crosses into the process


def numbers_of(pkcs8: bytes) -> list[bytes]:
    """The secret numbers of a private key, in the bytes that any encoding has them in."""
    # SoftHSM keeps the zeros with which AES-KWP fills up: cut them off behind the SEQUENCE.
    header = 2 + (pkcs8[1] & 0x7F if pkcs8[1] & 0x80 else 0)
    size = int.from_bytes(pkcs8[2:header]) if header > 2 else pkcs8[1]
    key = load_der_private_key(pkcs8[: header + size], None, unsafe_skip_rsa_key_validation=True)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return [key.private_numbers().private_value.to_bytes(key.key_size // 8)]
    assert isinstance(key, rsa.RSAPrivateKey)
    found = key.private_numbers()
    return [
        number.to_bytes((number.bit_length() + 7) // 8)
        for number in (found.d, found.p, found.q, found.dmp1, found.dmq1, found.iqmp)
    ]


def occurrences(secret: bytes, crossed: list[tuple[str, str, bytes]]) -> list[str]:
    """Which functions were given the secret, or any half of it, or gave it out."""
    half = len(secret) // 2
    return [
        f"{way} {function}"
        for function, way, data in crossed
        if any(part in data for part in (secret[:half], secret[half:], secret[::-1][:half]))
    ]


def everything(hsm: Pkcs11Hsm) -> dict[str, HsmKey]:
    """One of each thing that can be done with keys that stay inside; the keys."""
    keys = {kind.name: hsm.generate(kind, b"place") for kind in KeyKind if hsm.protection(kind) == "HSM"}
    pem = public.to_pem(hsm.public_key(keys["RSA_2048"]))
    for padding in (Padding.RSAES_PKCS1_V1_5, Padding.RSAES_OAEP_SHA_1):
        wrapped = public.encrypt_to(pem, padding, bytes(range(100, 132)))
        imported = hsm.import_key(keys["RSA_2048"], padding, wrapped, KeyKind.AES_256, b"place")
        keys[padding.name] = imported
        hsm.decrypt_asymmetric(keys["RSA_2048"], padding, public.encrypt_to(pem, padding, b"message"))
    for key in keys.values():
        if key.kind in (KeyKind.AES_256, KeyKind.SM4):
            assert hsm.decrypt(key, hsm.encrypt(key, b"plaintext", b"ad"), b"ad") == b"plaintext"
            hsm.check_value(key)
    for kind, algorithm in (
        ("RSA_2048", SignatureAlgorithm.RSA_PSS_SHA_256),
        ("EC_P256", SignatureAlgorithm.ECC_P256_R1),
        ("EC_P384", SignatureAlgorithm.ECC_P384_R1),
    ):
        hsm.sign(keys[kind], algorithm, b"message", is_digest=False)
    return keys | {f"{name} again": hsm.rewrap(key) for name, key in keys.items()}


@pytest.mark.parametrize("sm4", [False, True], ids=["AES, RSA, ECDSA", "with SM4"])
def test_no_key_material_crosses(new: softhsm.NewToken, *, sm4: bool) -> None:
    """What was recorded has neither a domain key, nor a CMK's key, nor a message key, going in or coming out.

    The backup of the generation, whose key the test has, tells the domain keys, and those open all the rest.
    """
    shim = Shim(sm4=sm4)
    token = new.open(shim.path)
    hsm = Pkcs11Hsm(DOMAIN, token, Dialect.of(SM4_NUMBERS if sm4 else {}), ALL)
    with shim.recording() as crossed:
        made = hsm.rotate([BACKUP])
        keys = everything(hsm)
        message = hsm.encrypt(keys["AES_256"], b"a plaintext that crosses", b"")
    wrap, mac = sealed_generation.open_keys(SealedGeneration.decode(made.sealed[0]), BACKUP_KEY)
    secrets = {"wrap": [wrap], "mac": [mac]}
    for name, key in keys.items():
        material = aes_key_unwrap_with_padding(wrap, Pkcs11Token.decode(key).wrapped)
        is_symmetric = key.kind in (KeyKind.AES_256, KeyKind.SM4)
        secrets[name] = [material] if is_symmetric else numbers_of(material)
    aes = secrets["AES_256"][0]
    secrets["message key"] = [aes_key_unwrap_with_padding(aes, message[1:41])]

    assert {len(secrets[name][0]) for name in ("wrap", "mac", "AES_256", "message key")} == {32}
    assert secrets[Padding.RSAES_OAEP_SHA_1.name] == [bytes(range(100, 132))]
    assert len(crossed) > 100
    for name, values in secrets.items():
        for value in values:
            assert occurrences(value, crossed) == [], name
    # The recorder does see: what is meant to cross, and where it does.
    assert occurrences(b"a plaintext that crosses", crossed) == ["< Encrypt"]
    assert any(function == "WrapKey" and way == ">" for function, way, _ in crossed)
    token.close()


def test_the_recorder_sees_material_that_crosses(shim: Shim, token: Token) -> None:
    """The test above can fail."""

    def leak(session: Session) -> bytes:
        template = secret_key(cryptoki.CKK_AES, cryptoki.CKA_ENCRYPT, extractable=True)
        made = session.generate_key(
            Mechanism(cryptoki.CKM_AES_KEY_GEN),
            template | {cryptoki.CKA_SENSITIVE: False, cryptoki.CKA_VALUE_LEN: 32},
        )
        return session.get_attributes(made, [cryptoki.CKA_VALUE])[cryptoki.CKA_VALUE]

    with shim.recording() as crossed:
        material = token.call(leak)
    assert set(occurrences(material, crossed)) == {"> GetAttributeValue"}


def test_domain_keys_stay_where_they_are(hsm: Pkcs11Hsm, token: Token) -> None:
    """KS-FMT-22.5: who has a session, and so the PIN, gets neither their values nor wraps them."""
    hsm.transport_key()

    def attempt(session: Session) -> int:
        carrier = session.generate_key(
            Mechanism(cryptoki.CKM_AES_KEY_GEN),
            secret_key(cryptoki.CKK_AES, cryptoki.CKA_WRAP) | {cryptoki.CKA_VALUE_LEN: 32},
        )
        private = {cryptoki.CKA_TOKEN: True, cryptoki.CKA_CLASS: cryptoki.CKO_PRIVATE_KEY}
        secret = private | {cryptoki.CKA_CLASS: cryptoki.CKO_SECRET_KEY}
        found = [*session.find_objects(private), *session.find_objects(secret)]
        for handle in found:
            with pytest.raises(cryptoki.CryptokiError):
                session.wrap_key(Mechanism(cryptoki.CKM_AES_KEY_WRAP_PAD), carrier, handle)
            with pytest.raises(cryptoki.CryptokiError):
                session.set_attributes(handle, {cryptoki.CKA_EXTRACTABLE: True})
            for value in (cryptoki.CKA_VALUE, cryptoki.CKA_PRIVATE_EXPONENT):
                with pytest.raises(cryptoki.CryptokiError):
                    session.get_attributes(handle, [value])
        session.destroy_object(carrier)
        return len(found)

    assert token.call(attempt) == 3


def test_keys_have_one_use(hsm: Pkcs11Hsm, token: Token) -> None:
    """KS-FMT-20.2: the key of a CMK wraps, its message keys encrypt, and a domain key does one thing alone.

    A generic secret does nothing but HMAC by its type: not every token lets its other uses be switched off.
    """
    key = hsm.generate(KeyKind.AES_256, b"place")
    hsm.encrypt(key, b"", b"")
    uses = {
        cryptoki.CKA_ENCRYPT: "encrypt",
        cryptoki.CKA_DECRYPT: "decrypt",
        cryptoki.CKA_WRAP: "wrap",
        cryptoki.CKA_UNWRAP: "unwrap",
        cryptoki.CKA_SIGN: "sign",
        cryptoki.CKA_VERIFY: "verify",
        cryptoki.CKA_DERIVE: "derive",
        cryptoki.CKA_EXTRACTABLE: "extract",
    }

    def look(session: Session) -> list[str]:
        found = []
        for handle in session.find_objects({cryptoki.CKA_KEY_TYPE: cryptoki.CKK_AES}):
            values = session.get_attributes(handle, list(uses))
            found.append(" ".join(name for use, name in uses.items() if values[use] != b"\0"))
        return sorted(found)

    assert token.call(look) == ["encrypt decrypt", "wrap unwrap", "wrap unwrap"]


# What attackers try


def test_nothing_is_unwrapped_that_was_not_authenticated(hsm: Pkcs11Hsm, shim: Shim) -> None:
    """KS-FMT-22.2: a kind, a place, a public key or a wrapped key put into another token."""
    aes, rsa_key = hsm.generate(KeyKind.AES_256, b"place"), hsm.generate(KeyKind.RSA_2048, b"place")
    p256 = hsm.generate(KeyKind.EC_P256, b"place")
    parts = {key.kind: Pkcs11Token.decode(key) for key in (aes, rsa_key, p256)}
    wrong = [
        HsmKey(KeyKind.AES_256, replace(parts[KeyKind.RSA_2048], kind=KeyKind.AES_256).encode(), b"place"),
        HsmKey(KeyKind.AES_256, replace(parts[KeyKind.AES_256], public_key=b"k").encode(), b"place"),
        HsmKey(
            KeyKind.AES_256,
            replace(parts[KeyKind.AES_256], wrapped=parts[KeyKind.EC_P256].wrapped).encode(),
            b"place",
        ),
        HsmKey(
            KeyKind.EC_P256,
            replace(parts[KeyKind.EC_P256], public_key=parts[KeyKind.RSA_2048].public_key).encode(),
            b"place",
        ),
        HsmKey(KeyKind.AES_256, aes.token, b"elsewhere"),
    ]
    hsm.encrypt(aes, b"", b"")
    shim.reset()
    for key in wrong:
        use: Callable[[], object] = (
            (lambda key=key: hsm.public_key(key))  # type: ignore[misc]
            if key.kind is KeyKind.EC_P256
            else (lambda key=key: hsm.encrypt(key, b"", b""))  # type: ignore[misc]
        )
        with pytest.raises(Damaged):
            use()
        with pytest.raises(Damaged):
            hsm.rewrap(key)
    assert (shim.calls("UnwrapKey"), shim.calls("DecryptInit"), shim.calls("EncryptInit")) == (0, 0, 0)
    assert shim.calls("Verify") > 0


def test_a_token_that_a_writer_of_the_table_made_is_refused(new: softhsm.NewToken, shim: Shim) -> None:
    """He may have a domain, even a token, of his own with the same names in it, and knows all that is no secret."""
    victim = Pkcs11Hsm(DOMAIN, new.open(shim.path), Dialect.of({}), ALL)
    victim.rotate()
    own = Shim()
    attacker = Pkcs11Hsm(DOMAIN, softhsm.new_token().open(own.path), Dialect.of({}), ALL)
    attacker.rotate()
    neighbour = Pkcs11Hsm("ap-beijing", new.open(shim.path), Dialect.of({}), ALL)
    neighbour.rotate()
    for forger in (attacker, neighbour):
        for kind in (KeyKind.AES_256, KeyKind.SM4, KeyKind.EC_P256):
            key = forger.generate(kind, b"place")
            with pytest.raises(Damaged):
                victim.rewrap(key)


def test_message_keys_do_not_change_hands(hsm: Pkcs11Hsm) -> None:
    """KS-FMT-20.1: a message keeps its own message key, and that belongs to one CMK."""
    some, other = (hsm.generate(KeyKind.AES_256, b"place") for _ in range(2))
    messages = [hsm.encrypt(key, b"plaintext", b"ad") for key in (some, other)]
    spliced = messages[0][:1] + messages[1][1:41] + messages[0][41:]
    for key in (some, other):
        with pytest.raises(Damaged):
            hsm.decrypt(key, spliced, b"ad")
    # A second message key of the same CMK, as another process has.
    hsm._sealer.cache_clear()
    third = hsm.encrypt(some, b"plaintext", b"ad")
    assert third[1:41] != messages[0][1:41]
    for mixed in (third[:41] + messages[0][41:], messages[0][:41] + third[41:]):
        with pytest.raises(Damaged):
            hsm.decrypt(some, mixed, b"ad")
    assert hsm.decrypt(some, third, b"ad") == hsm.decrypt(some, messages[0], b"ad") == b"plaintext"


def test_the_key_that_everybody_knows_is_no_message_key(hsm: Pkcs11Hsm, token: Token) -> None:
    """KS-FMT-20.5: even one who saw it wrapped under a CMK could not make a message with it."""
    key = hsm.generate(KeyKind.AES_256, b"place")
    seen: list[bytes] = []
    wrap_key = Session.wrap_key

    def spy(session: Session, mechanism: Mechanism, wrapping: int, handle: int) -> bytes:
        seen.append(wrap_key(session, mechanism, wrapping, handle))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "wrap_key", spy)
        hsm.check_value(key)
    (wrapped,) = seen
    assert len(wrapped) > max(token_message.WRAPPED_BYTES.values())
    for message in (b"\3" + wrapped + bytes(28), b"\3" + wrapped[:40] + bytes(28)):
        with pytest.raises(Damaged):
            hsm.decrypt(key, message, b"")


def test_suites_of_other_hsms_are_refused(hsm: Pkcs11Hsm) -> None:
    aes, sm4 = hsm.generate(KeyKind.AES_256, b"place"), hsm.generate(KeyKind.SM4, b"place")
    messages = {key.kind: hsm.encrypt(key, b"plaintext", b"") for key in (aes, sm4)}
    for key, message in ((aes, messages[KeyKind.AES_256]), (sm4, messages[KeyKind.SM4])):
        for suite in {0, 1, 2, 3, 4, 5} - {message[0]}:
            with pytest.raises(Damaged):
                hsm.decrypt(key, bytes([suite]) + message[1:], b"")


def test_an_object_that_can_be_extracted_is_not_trusted(hsm: Pkcs11Hsm, token: Token) -> None:
    """KS-FMT-22.5: somebody with the PIN put a pair there whose keys he knows."""

    def plant(session: Session) -> None:
        for role, key_type, size in (
            ("mac", cryptoki.CKK_GENERIC_SECRET, 32),
            ("wrap", cryptoki.CKK_AES, 32),
        ):
            session.create_object(
                secret_key(key_type, extractable=True)
                | {
                    cryptoki.CKA_TOKEN: True,
                    cryptoki.CKA_LABEL: f"keystead/{DOMAIN}/{role}".encode(),
                    cryptoki.CKA_ID: (9).to_bytes(4) + b"planted!",
                    cryptoki.CKA_VALUE: bytes(size),
                }
            )

    token.call(plant)
    with pytest.raises(HsmMisconfigured, match="extracted"):
        Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL).generate(KeyKind.AES_256, b"place")


# Message keys


def test_a_message_key_seals_so_many_messages(hsm: Pkcs11Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """KS-FMT-20.2, KS-FMT-20.3: whatever number of threads use it."""
    monkeypatch.setattr(token_message, "MAX_MESSAGES", 10)
    key = hsm.generate(KeyKind.AES_256, b"place")
    with ThreadPoolExecutor(4) as pool:
        messages = list(pool.map(lambda _: hsm.encrypt(key, b"text", b""), range(100)))
    counted: dict[bytes, int] = {}
    for message in messages:
        assert hsm.decrypt(key, message, b"") == b"text"
        counted[message[1:41]] = counted.get(message[1:41], 0) + 1
    assert max(counted.values()) <= 10
    assert len(counted) >= 10
    assert len({message[41:53] for message in messages}) == 100


def encrypt_elsewhere(hsm: Pkcs11Hsm, key: HsmKey, made: "multiprocessing.Queue[bytes]") -> None:
    made.put(hsm.encrypt(key, b"child", b""))


def test_a_forked_process_makes_message_keys_of_its_own(hsm: Pkcs11Hsm) -> None:
    """KS-FMT-20.2: the count of its parent's is the parent's."""
    key = hsm.generate(KeyKind.AES_256, b"place")
    before = hsm.encrypt(key, b"parent", b"")
    context = multiprocessing.get_context("fork")
    made: multiprocessing.Queue[bytes] = context.Queue()
    children = [context.Process(target=encrypt_elsewhere, args=(hsm, key, made)) for _ in range(2)]
    for child in children:
        child.start()
    messages = [made.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert len({message[1:41] for message in (before, *messages)}) == 3
    assert [hsm.decrypt(key, message, b"") for message in messages] == [b"child"] * 2
    assert hsm.encrypt(key, b"parent", b"")[1:41] == before[1:41]


def test_what_is_lost_with_the_sessions_is_made_again(hsm: Pkcs11Hsm, token: Token, shim: Shim) -> None:
    """The message key comes back from the message; its count goes on."""
    key = hsm.generate(KeyKind.AES_256, b"place")
    message = hsm.encrypt(key, b"plaintext", b"")
    token.close()
    assert hsm.decrypt(key, message, b"") == b"plaintext"
    shim.fail("EncryptInit", cryptoki.CKR_SESSION_HANDLE_INVALID)
    again = hsm.encrypt(key, b"plaintext", b"")
    assert again[:41] == message[:41]
    assert again[41:] != message[41:]


# Faults


def test_trouble_is_no_damage(hsm: Pkcs11Hsm, shim: Shim) -> None:
    """CKR_GENERAL_ERROR is what SoftHSM answers a bad tag with, and what a token in trouble answers."""
    key, rsa_key = hsm.generate(KeyKind.AES_256, b"place"), hsm.generate(KeyKind.RSA_2048, b"place")
    message = hsm.encrypt(key, b"plaintext", b"")
    pem = public.to_pem(hsm.public_key(rsa_key))
    ciphertext = public.encrypt_to(pem, Padding.RSAES_OAEP_SHA_1, bytes(32))
    uses: list[tuple[str, Callable[[], object]]] = [
        ("Decrypt", lambda: hsm.decrypt(key, message, b"")),
        ("Decrypt", lambda: hsm.decrypt_asymmetric(rsa_key, Padding.RSAES_OAEP_SHA_1, ciphertext)),
        (
            "UnwrapKey",
            lambda: hsm.import_key(rsa_key, Padding.RSAES_OAEP_SHA_1, ciphertext, KeyKind.AES_256, b"place"),
        ),
    ]
    for function, use in uses:
        use()
        shim.reset()
        shim.fail(function, cryptoki.CKR_GENERAL_ERROR)
        with pytest.raises(Damaged):
            use()
        shim.reset()
        shim.fail(function, cryptoki.CKR_GENERAL_ERROR, times=9)
        shim.fail("GenerateRandom", cryptoki.CKR_FUNCTION_FAILED, times=9)
        with pytest.raises(HsmUnavailable):
            use()
        shim.reset()
        use()


@pytest.mark.parametrize(
    "function",
    ["GenerateKey", "WrapKey", "UnwrapKey", "Sign", "CreateObject", "FindObjects", "DestroyObject"],
)
def test_a_rotation_that_fails_anywhere_leaves_all_as_it_was(
    hsm: Pkcs11Hsm, shim: Shim, function: str
) -> None:
    """KS-FMT-22.5: at each call of each function. What was made before works, and the next rotation does."""
    key = hsm.generate(KeyKind.AES_256, b"place")
    message = hsm.encrypt(key, b"plaintext", b"")
    failures = 0
    for skip in range(40):
        before = tuple(hsm.generations())
        shim.reset()
        shim.fail(function, cryptoki.CKR_FUNCTION_FAILED, skip=skip)
        try:
            made = hsm.rotate([BACKUP])
        except HsmUnavailable:
            failures += 1
            shim.reset()
            again = Pkcs11Hsm(DOMAIN, hsm._token, Dialect.of({}), ALL)
            found = tuple(again.generations())
            assert found[: len(before)] == before
            assert len(found) <= len(before) + 1  # made, but not told
            assert again.encrypt(again.generate(KeyKind.AES_256, b"place"), b"", b"")
            hsm._domain_keys.look()
        else:
            assert made.number > max(before)
            if shim.calls(function) <= skip:
                break
        assert hsm.decrypt(key, message, b"") == b"plaintext"
    shim.reset()
    assert hsm.rotate().number == max(hsm.generations())
    assert failures or function == "DestroyObject", "the fault was never met"


def test_what_a_cut_short_rotation_left_is_no_generation(hsm: Pkcs11Hsm, token: Token) -> None:
    """KS-FMT-22.5: a claim without a partner; its number is not used again, and `retire` removes it."""

    def leave_claim(session: Session) -> None:
        made = session.generate_key(
            Mechanism(cryptoki.CKM_GENERIC_SECRET_KEY_GEN),
            secret_key(cryptoki.CKK_GENERIC_SECRET, cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, extractable=True)
            | {cryptoki.CKA_VALUE_LEN: 32},
        )
        hsm._domain_keys._keep(session, made, "mac", (2).to_bytes(4) + b"left off")
        session.destroy_object(made)

    def claims(session: Session) -> list[int]:
        return sorted(int.from_bytes(id_[:4]) for id_, _ in hsm._domain_keys._objects(session, "mac"))

    token.call(leave_claim)
    hsm._domain_keys.look()
    assert hsm.generations() == (1,)
    assert generation(hsm.generate(KeyKind.AES_256, b"place")) == 1
    assert hsm.rotate().number == 3
    assert token.call(claims) == [1, 2, 3]
    hsm.retire(2)
    assert token.call(claims) == [1, 3]
    assert hsm.generations() == (1, 3)


def test_a_rival_makes_a_rotation_step_back(
    hsm: Pkcs11Hsm, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KS-FMT-22.5: of two claims on one number none, or one, gets a partner."""
    domain_keys = hsm._domain_keys
    keep, rivals = domain_keys._keep, 0

    def keep_and_be_rivalled(session: Session, handle: int, role: str, id_: bytes) -> int:
        nonlocal rivals
        kept = keep(session, handle, role, id_)
        if role == "mac" and rivals < 2:
            rivals += 1
            keep(session, handle, role, id_[:4] + b"another!")
        return kept

    monkeypatch.setattr(domain_keys, "_keep", keep_and_be_rivalled)
    assert hsm.rotate().number == 4
    assert hsm.generations() == (1, 4)


def test_nobody_looks_for_objects_while_one_is_made(new: softhsm.NewToken, shim: Shim) -> None:
    """Of all threads and domains of the process: SoftHSM2 spoils the object, and it is no fault of the token."""
    token = Token(cryptoki.load(shim.path), new.label, new.pin, wait_seconds=60)  # an RSA key takes seconds
    domains = [Pkcs11Hsm(name, token, Dialect.of({}), ALL) for name in (DOMAIN, DOMAIN, "ap-beijing")]
    for hsm in domains[1:]:
        hsm.rotate()
    shim.disturb()
    for function in ("UnwrapKey", "FindObjectsInit"):
        shim.delay(function, 20)
    with ThreadPoolExecutor(4) as threads:
        transport_key = threads.submit(domains[0].transport_key)
        rotations = [threads.submit(hsm.rotate) for hsm in domains]
        made = [rotation.result().number for rotation in rotations]
        assert transport_key.result()
    assert min(made) > 1
    assert made[0] != made[1]
    shim.reset()
    assert [hsm._domain_keys.look()[number] for hsm, number in zip(domains, made, strict=True)]
    token.close()


def test_a_token_that_refuses_what_is_needed_is_misconfigured(hsm: Pkcs11Hsm, shim: Shim) -> None:
    shim.fail("UnwrapKey", cryptoki.CKR_TEMPLATE_INCONSISTENT)
    with pytest.raises(HsmMisconfigured, match="0x000000D1"):
        hsm.rotate()
    assert hsm.generations() == (1,)


def test_domains_that_are_made_at_once_in_one_token_are_all_seen(
    new: softhsm.NewToken, shim: Shim, settings: Settings
) -> None:
    """SoftHSM2 misses what another process does between a look and a change: a second copy of it is as good as a process."""
    slow = replace(settings, pkcs11_module=shim.path)
    shim.delay("WrapKey", 500)  # between the look and the change
    with ThreadPoolExecutor(1) as threads:
        making = threads.submit(Pkcs11Hsm.open, slow, "ap-beijing", new.label, create=True)
        while not shim.calls("WrapKey") and not making.done():
            time.sleep(0.01)
        other = Pkcs11Hsm.open(settings, DOMAIN, new.label, create=True)
        opened = [making.result()]
    shim.reset()
    key = other.generate(KeyKind.AES_256, b"place")
    opened += [other, Pkcs11Hsm.open(slow, DOMAIN, new.label, create=True)]
    assert opened[-1].generations() == other.generations() == (1,)
    assert opened[-1].encrypt(key, b"", b"")
    for hsm in opened:
        hsm.close()


STARTER: Final = """
import sys
from pathlib import Path
from chalicelib.hsm.pkcs11 import Pkcs11Hsm
from chalicelib.hsm.port import KeyKind
from chalicelib.settings import Settings
home, module, label, pin = sys.argv[1:]
settings = Settings(home=Path(home), pkcs11_module=module, pkcs11_tokens=(label,), pkcs11_pin=pin)
print("ready", flush=True)
sys.stdin.readline()
hsm = Pkcs11Hsm.open(settings, "ap-guangzhou", label, create=True)
print(hsm.generate(KeyKind.AES_256, b"place").token.hex(), hsm.generations())
"""


def test_processes_that_start_first_at_once_make_one_generation(
    new: softhsm.NewToken, settings: Settings
) -> None:
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", STARTER),
                *(str(settings.home), new.module, new.label, new.pin),
            ],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **new.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].split(maxsplit=1) for process in started]
    hsm = Pkcs11Hsm.open(settings, DOMAIN, new.label, create=False)
    for token, generations in answers:
        assert generations == "(1,)\n"
        assert hsm.encrypt(HsmKey(KeyKind.AES_256, bytes.fromhex(token), b"place"), b"", b"")
    assert hsm.generations() == (1,)
    hsm.close()


def test_what_another_process_made_or_destroyed_is_noticed_in_time(token: Token) -> None:
    seconds = Seconds()
    some = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL)
    some.rotate()
    other = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL, now=seconds)
    old = other.generate(KeyKind.AES_256, b"place")
    other.encrypt(old, b"", b"")
    some.rotate()
    seconds.now += 29
    assert generation(other.generate(KeyKind.AES_256, b"place")) == 1
    seconds.now += 1
    assert generation(other.generate(KeyKind.AES_256, b"place")) == 2
    some.retire(1)
    seconds.now += 30
    with pytest.raises(Damaged):
        other.encrypt(old, b"", b"")
    assert other.generations() == (2,)


def test_a_generation_that_goes_while_it_is_used_is_no_outage_for_long(token: Token) -> None:
    seconds = Seconds()
    some = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL)
    some.rotate()
    other = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL, now=seconds)
    old = some.generate(KeyKind.AES_256, b"place")
    assert other.generations() == (1,)
    some.rotate()
    some.retire(1)
    with pytest.raises((HsmUnavailable, Damaged)):
        other.encrypt(old, b"", b"")
    assert generation(other.generate(KeyKind.AES_256, b"place")) == 2


# Fallbacks


def test_what_may_not_be_done_in_process_memory_is_not_done(token: Token, shim: Shim) -> None:
    """Keys of such kinds are neither made nor used, whoever made them; they can be kept."""
    free, strict = (Pkcs11Hsm(DOMAIN, token, Dialect.of({}), allowed) for allowed in (ALL, frozenset[str]()))
    free.rotate()
    inside = {KeyKind.AES_256, KeyKind.RSA_2048, KeyKind.EC_P256, KeyKind.EC_P384}
    assert set(free.describe()["kinds"].split(",")) == {kind.name for kind in KeyKind}
    assert set(strict.describe()["kinds"].split(",")) == {kind.name for kind in inside}
    assert free.describe()["fallbacks"] == "sm4,sm2,ml_kem,ml_dsa,oaep_sha256"
    assert strict.describe()["fallbacks"] == ""
    for kind in KeyKind:
        key = free.generate(kind, b"place")
        if kind in inside:
            assert strict.protection(kind) is Protection.HSM
            continue
        assert strict.protection(kind) is Protection.PROCESS
        uses: list[Callable[[], object]] = [
            lambda kind=kind: strict.generate(kind, b"place"),  # type: ignore[misc]
            lambda key=key: (
                strict.public_key(key)  # type: ignore[misc]
                if key.kind is not KeyKind.SM4
                else strict.encrypt(key, b"", b"")
            ),
        ]
        if kind is KeyKind.SM4:
            message = free.encrypt(key, b"", b"")
            uses += [
                lambda key=key, message=message: strict.decrypt(key, message, b""),  # type: ignore[misc]
                lambda key=key: strict.check_value(key),  # type: ignore[misc]
            ]
        for use in uses:
            with pytest.raises(HsmMisconfigured, match="KEYSTEAD_HSM_FALLBACKS"):
                use()
        free.rotate()
        strict._domain_keys.look()
        assert generation(strict.rewrap(key)) > generation(key)


def test_unpadding_in_the_process_can_be_refused(token: Token) -> None:
    hsm = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL - {"oaep_sha256"})
    hsm.rotate()
    key = hsm.generate(KeyKind.RSA_2048, b"place")
    pem = public.to_pem(hsm.public_key(key))
    wrapped = public.encrypt_to(pem, Padding.RSAES_OAEP_SHA_256, bytes(32))
    for use in (
        lambda: hsm.decrypt_asymmetric(key, Padding.RSAES_OAEP_SHA_256, wrapped),
        lambda: hsm.import_key(key, Padding.RSAES_OAEP_SHA_256, wrapped, KeyKind.AES_256, b""),
    ):
        with pytest.raises(HsmMisconfigured, match="oaep_sha256"):
            use()
    assert "oaep_sha256" not in hsm.describe()["fallbacks"]


def test_fallbacks_have_names_of_their_own(token: Token) -> None:
    for name, kind in (("sm4", KeyKind.SM4), ("ml_kem", KeyKind.ML_KEM_1024), ("ml_dsa", KeyKind.ML_DSA_87)):
        kinds = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), frozenset({name})).describe()["kinds"]
        assert kind.name in kinds.split(",")
        assert len(kinds.split(",")) == 5


def test_the_material_of_keys_that_stay_inside_is_never_asked_for(hsm: Pkcs11Hsm) -> None:
    for kind in (KeyKind.AES_256, KeyKind.RSA_2048, KeyKind.EC_P256, KeyKind.EC_P384):
        with pytest.raises(HsmMisconfigured):
            hsm._material(hsm.generate(kind, b"place"))


# SM4 with a vendor's mechanisms


def test_sm4_stays_in_a_token_that_does_it(new: softhsm.NewToken) -> None:
    """KS-FMT-20.4: and what was encrypted in process memory before still opens, where that is allowed."""
    shim = Shim(sm4=True)
    token = new.open(shim.path)
    before = Pkcs11Hsm(DOMAIN, token, Dialect.of({}), ALL)
    before.rotate()
    key = before.generate(KeyKind.SM4, b"place")
    old = before.encrypt(key, b"plaintext", b"")
    after = Pkcs11Hsm(DOMAIN, token, Dialect.of(SM4_NUMBERS), ALL)
    strict = Pkcs11Hsm(DOMAIN, token, Dialect.of(SM4_NUMBERS), frozenset())
    assert (before.protection(KeyKind.SM4), after.protection(KeyKind.SM4)) == ("PROCESS", "HSM")
    assert "sm4" not in after.describe()["fallbacks"]
    assert "SM4-GCM" in after.describe()["mechanisms"]
    new_message = after.encrypt(key, b"plaintext", b"")
    assert (old[0], new_message[0]) == (2, 4)
    for hsm in (after, strict):
        assert hsm.decrypt(key, new_message, b"") == b"plaintext"
        assert hsm.check_value(key) == after.check_value(key) != before.check_value(key)
    assert after.decrypt(key, old, b"") == b"plaintext"
    with pytest.raises(HsmMisconfigured, match="sm4"):
        strict.decrypt(key, old, b"")
    with pytest.raises(Damaged):
        before.decrypt(key, new_message, b"")
    for at in range(len(new_message)):
        changed = new_message[:at] + bytes([new_message[at] ^ 1]) + new_message[at + 1 :]
        with pytest.raises(Damaged):
            after.decrypt(key, changed, b"")
    token.close()


def test_sm4_keys_are_imported_into_a_token_that_does_it(new: softhsm.NewToken) -> None:
    shim = Shim(sm4=True)
    token = new.open(shim.path)
    hsm = Pkcs11Hsm(DOMAIN, token, Dialect.of(SM4_NUMBERS), ALL)
    hsm.rotate()
    wrapping = hsm.generate(KeyKind.RSA_2048, b"")
    pem = public.to_pem(hsm.public_key(wrapping))
    for padding in (Padding.RSAES_PKCS1_V1_5, Padding.RSAES_OAEP_SHA_1, Padding.RSAES_OAEP_SHA_256):
        values = set()
        for _ in range(2):
            wrapped = public.encrypt_to(pem, padding, bytes(range(16)))
            key = hsm.import_key(wrapping, padding, wrapped, KeyKind.SM4, b"place")
            values.add(hsm.check_value(key))
            assert hsm.decrypt(key, hsm.encrypt(key, b"text", b""), b"") == b"text"
        assert len(values) == 1
        for length in (0, 1, 8, 15, 17, 24, 32):
            wrapped = public.encrypt_to(pem, padding, bytes(length))
            with pytest.raises(Damaged):
                hsm.import_key(wrapping, padding, wrapped, KeyKind.SM4, b"place")
    token.close()


def test_half_of_sm4_is_a_mistake() -> None:
    for name in SM4_NUMBERS:
        with pytest.raises(HsmMisconfigured, match="KEYSTEAD_PKCS11_MECHANISMS"):
            Dialect.of({other: number for other, number in SM4_NUMBERS.items() if other != name})


# Settings


def test_a_mechanism_that_the_token_lacks_is_named(token: Token) -> None:
    hsm = Pkcs11Hsm(DOMAIN, token, Dialect.of({"AES_GCM": 0x80001087}), ALL)
    with pytest.raises(HsmMisconfigured, match="lacks AES_GCM"):
        hsm.describe()


@pytest.mark.parametrize("missing", ["pkcs11_module", "pkcs11_tokens", "pkcs11_pin"])
def test_a_missing_setting_is_named(settings: Settings, missing: str) -> None:
    empty = replace(settings, **{missing: () if missing == "pkcs11_tokens" else ""})  # type: ignore[arg-type]
    label = empty.pkcs11_tokens[0] if empty.pkcs11_tokens else ""
    with pytest.raises(HsmMisconfigured, match=f"KEYSTEAD_{missing.upper()}"):
        Pkcs11Hsm.open(empty, DOMAIN, label, create=True)


def test_the_pin_may_be_in_a_file(settings: Settings, new: softhsm.NewToken, tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text(f"{new.pin}\n")
    path.chmod(0o600)
    filed = replace(settings, pkcs11_pin="", pkcs11_pin_file=path)
    Pkcs11Hsm.open(filed, DOMAIN, new.label, create=True).close()
    with pytest.raises(HsmMisconfigured, match="either"):
        Pkcs11Hsm.open(replace(filed, pkcs11_pin=new.pin), DOMAIN, new.label, create=True)
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(HsmMisconfigured, match="0600") as caught:
            Pkcs11Hsm.open(filed, DOMAIN, new.label, create=True)
        assert new.pin not in str(caught.value)
    path.chmod(0o600)
    path.write_text("\n")
    with pytest.raises(HsmMisconfigured, match="empty"):
        Pkcs11Hsm.open(filed, DOMAIN, new.label, create=True)
    path.unlink()
    with pytest.raises(HsmMisconfigured, match="cannot be read"):
        Pkcs11Hsm.open(filed, DOMAIN, new.label, create=True)


def test_domains_share_a_token_and_the_last_one_closes_it(settings: Settings, new: softhsm.NewToken) -> None:
    some, other = (Pkcs11Hsm.open(settings, name, new.label, create=True) for name in (DOMAIN, "ap-beijing"))
    assert some._token is other._token
    key = other.generate(KeyKind.AES_256, b"place")
    message = other.encrypt(key, b"plaintext", b"")
    some.close()
    some.close()
    assert other.decrypt(key, message, b"") == b"plaintext"
    other.close()
    again = Pkcs11Hsm.open(settings, "ap-beijing", new.label, create=False)
    assert again._token is not other._token
    assert again.decrypt(key, message, b"") == b"plaintext"
    again.close()


def test_only_the_first_start_makes_a_key(settings: Settings, new: softhsm.NewToken) -> None:
    for _ in range(2):
        hsm = Pkcs11Hsm.open(settings, DOMAIN, new.label, create=True)
        assert hsm.generations() == (1,)
        hsm.close()


def test_nothing_that_is_shown_has_secrets(settings: Settings, new: softhsm.NewToken) -> None:
    hsm = Pkcs11Hsm.open(settings, DOMAIN, new.label, create=True)
    key = hsm.generate(KeyKind.SM4, b"place")
    hsm.encrypt(key, b"", b"")
    material = hsm._material(key)
    for shown in (repr(hsm), repr(vars(hsm)), str(dict(hsm.describe())), repr(hsm._token)):
        assert new.pin not in shown
        assert material.hex() not in shown
        assert repr(material)[2:-1] not in shown
    hsm.close()


def test_a_generation_in_a_token_is_not_exported(hsm: Pkcs11Hsm) -> None:
    with pytest.raises(ValueError, match="cannot leave"):
        hsm.export(1, BACKUP)
