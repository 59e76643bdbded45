"""Keys behind any PKCS#11 token: AES, RSA and EC material is made, wrapped, unwrapped and used inside it.

A CMK's key leaves the token only wrapped (docs/formats.md, KS-FMT-22), and is a session object, kept for its next use. What a
token cannot do is done in process memory as the software HSM does it, if the setting KEYSTEAD_HSM_FALLBACKS allows it: each
such fallback has a name. What this protects, and what not: docs/threat-model.md.
"""

import contextlib
import fcntl
import functools
import hashlib
import itertools
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from chalicelib.formats import aead, key_token, token_message
from chalicelib.formats.message import SUITES, MessageKey
from chalicelib.formats.pkcs11_token import Pkcs11Token
from chalicelib.hsm import asymmetric, cryptoki, rsa_padding, sessions, sm2
from chalicelib.hsm.cryptoki import Attributes, CryptokiError, Mechanism, Session
from chalicelib.hsm.pkcs11_domain import (
    UNSUPPORTED,
    DomainKeys,
    call,
    destroying,
    judged,
    private_key,
    rsa_public,
    rsa_spki,
    secret_key,
)
from chalicelib.hsm.port import (
    Damaged,
    HsmKey,
    HsmMisconfigured,
    HsmUnavailable,
    KeyKind,
    NewGeneration,
    Padding,
    Protection,
    SignatureAlgorithm,
)
from chalicelib.hsm.sessions import Token
from chalicelib.settings import Settings

T = TypeVar("T")

CACHED_KEYS: Final = 4096
"""Of each kind of thing that is remembered about keys; the least recently used goes first."""
OAEP_SHA256: Final = "oaep_sha256"
"""The fallback that unpads in the process what the token left of an RSA ciphertext."""

_FALLBACKS: Final = {
    KeyKind.SM4: "sm4",
    KeyKind.SM2: "sm2",
    KeyKind.ML_KEM_1024: "ml_kem",
    KeyKind.ML_DSA_87: "ml_dsa",
}
"""The kinds whose keys are used in process memory; SM4 only where the token does not do it."""
_MATERIAL_BYTES: Final = {
    KeyKind.SM4: 16,
    KeyKind.SM2: 138,
    KeyKind.ML_KEM_1024: asymmetric.ML_KEM_SEED_BYTES,
    KeyKind.ML_DSA_87: asymmetric.ML_DSA_SEED_BYTES,
}
"""How long their material is (KS-FMT-5.3). Some tokens keep the zeros that AES-KWP fills up with, so it comes filled up."""
_CURVES: Final[dict[KeyKind, ec.EllipticCurve]] = {
    KeyKind.EC_P256: ec.SECP256R1(),
    KeyKind.EC_P384: ec.SECP384R1(),
}
_CURVE_OIDS: Final = {
    KeyKind.EC_P256: bytes.fromhex("06082a8648ce3d030107"),
    KeyKind.EC_P384: bytes.fromhex("06052b81040022"),
}
"""OBJECT IDENTIFIER in DER (RFC 5480)."""
_DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""In front of a SHA-256 digest (RFC 8017, 9.2)."""
_RSA_BYTES: Final = asymmetric.RSA_BITS // 8
_WRAPS: Final = (cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP)
_REJECTION: Final = b"keystead implicit rejection"
"""Signed to make a secret of an RSA key. It is no DigestInfo, so nobody else gets it signed."""
_CHECKED: Final = b"keystead check value, a key that everybody knows"
"""Wrapped to make a check value. As long as no other key that is wrapped under a CMK's."""


@dataclass(frozen=True, slots=True)
class Cipher:
    """How a token spells a symmetric kind."""

    key_type: int
    key_gen: int
    key_wrap_pad: int
    gcm: int
    value_len: int | None
    """CKA_VALUE_LEN, where keys of the type have different lengths."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between tokens beside the mechanisms that they list."""

    technology: str = "pkcs11"
    ciphers: Mapping[KeyKind, Cipher] = field(default_factory=dict)
    """AES_256 always, SM4 where the token does it."""
    token_makes_ivs: bool = False
    """GCM refuses an IV, makes its own, and puts it in front of the ciphertext."""
    handle_limit: int = sessions.HANDLES
    """Session objects that one process keeps in a token."""

    @classmethod
    def of(
        cls,
        mechanisms: Mapping[str, int],
        *,
        technology: str = "pkcs11",
        token_makes_ivs: bool = False,
        handle_limit: int = sessions.HANDLES,
    ) -> Self:
        """With the numbers of KEYSTEAD_PKCS11_MECHANISMS in place of the standard's; HsmMisconfigured for half of SM4."""
        ciphers = {
            KeyKind.AES_256: Cipher(
                cryptoki.CKK_AES,
                cryptoki.CKM_AES_KEY_GEN,
                mechanisms.get("AES_KEY_WRAP_PAD", cryptoki.CKM_AES_KEY_WRAP_PAD),
                mechanisms.get("AES_GCM", cryptoki.CKM_AES_GCM),
                aead.KEY_BYTES[KeyKind.AES_256],
            )
        }
        names = ("CKK_SM4", "SM4_KEY_GEN", "SM4_KEY_WRAP_PAD", "SM4_GCM")
        given = [name for name in names if name in mechanisms]
        if given:
            if len(given) < len(names):
                raise HsmMisconfigured(f"KEYSTEAD_PKCS11_MECHANISMS has all of {', '.join(names)}, or none.")
            key_type, key_gen, key_wrap_pad, gcm = (mechanisms[name] for name in names)
            # Keys of a type that AES shares, as in tests, have several lengths; SM4 has one.
            length = aead.KEY_BYTES[KeyKind.SM4] if key_type == cryptoki.CKK_AES else None
            ciphers[KeyKind.SM4] = Cipher(key_type, key_gen, key_wrap_pad, gcm, length)
        return cls(technology, ciphers, token_makes_ivs, handle_limit)

    @property
    def key_wrap_pad(self) -> int:
        """AES-KWP's number."""
        return self.ciphers[KeyKind.AES_256].key_wrap_pad


@dataclass(frozen=True, slots=True)
class _Capabilities:
    """What a token can do, and what may be done for it."""

    oaep_sha256: bool
    kinds: tuple[KeyKind, ...]
    fallbacks: tuple[str, ...]
    mechanisms: str
    model: str


class Pkcs11Hsm:
    """One domain in one token. Thread-safe and fork-safe, as `Token` is."""

    def __init__(
        self,
        domain: str,
        token: Token,
        dialect: Dialect,
        fallbacks: frozenset[str] = frozenset(),
        *,
        release: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked of the token before the first use. `release` is called by `close`.

        `now` is any clock that counts seconds.
        """
        self._domain = domain
        self._token = token
        self._dialect = dialect
        self._allowed = fallbacks
        self._release = release
        self._closed = False
        self._domain_keys = DomainKeys(domain, token, dialect.key_wrap_pad, now)
        self._found: _Capabilities | None = None
        # The whole key, binding included, is the caches' key: a hit needs exactly what was verified.
        self._message_key = functools.lru_cache(CACHED_KEYS)(self._open_message_key)
        self._private_key = functools.lru_cache(CACHED_KEYS)(self._open_private_key)
        self._opened = functools.lru_cache(CACHED_KEYS)(self._verified)
        self._modulus = functools.lru_cache(CACHED_KEYS)(self._read_modulus)
        self._rejection_secret = functools.lru_cache(CACHED_KEYS)(self._make_rejection_secret)
        self._sealer = functools.lru_cache(CACHED_KEYS)(self._new_sealer)

    @classmethod
    def open(cls, settings: Settings, domain: str, label: str, *, create: bool) -> Self:
        """The domain in the token of that label. With `create` a domain without a key gets one.

        Processes of one machine that start at once make one. HsmMisconfigured for settings that do not do.
        """
        return cls.speaking(Dialect.of(settings.pkcs11_mechanisms), settings, domain, label, create=create)

    @classmethod
    def speaking(cls, dialect: Dialect, settings: Settings, domain: str, label: str, *, create: bool) -> Self:
        """As `open`, in a dialect."""
        token, release = _shared_token(dialect, settings, label)
        opened = cls(domain, token, dialect, settings.hsm_fallbacks, release=release)
        if create:
            try:
                with _one_at_a_time(settings, label):
                    if not opened.generations():
                        opened.rotate()
            except BaseException:
                opened.close()
                raise
        return opened

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._domain!r}, {self._token.label!r})"

    # Keys

    def generate(self, kind: KeyKind, binding: bytes) -> HsmKey:
        """See `Hsm.generate`."""
        self._require(kind)
        generation = self._newest()
        if self._is_in_process(kind):
            return self._seal_material(generation, kind, binding, self._new_material(kind))

        def operation(session: Session) -> HsmKey:
            handle, public_key, others = self._generate(session, kind)
            with destroying(session, handle, *others):
                return self._seal(
                    session,
                    handle,
                    generation=generation,
                    kind=kind,
                    binding=binding,
                    public_key=public_key,
                )

        return self._call(operation)

    def rewrap(self, key: HsmKey) -> HsmKey:
        """See `Hsm.rewrap`: also of kinds that the settings refuse to use."""
        self._check(key)
        generation = self._newest()

        def operation(session: Session) -> HsmKey:
            parts = self._open(session, key)
            handle = self._unwrap(session, parts, self._extractable(key.kind))
            with destroying(session, handle):
                return self._seal(
                    session,
                    handle,
                    generation=generation,
                    kind=key.kind,
                    binding=key.binding,
                    public_key=parts.public_key,
                )

        return self._call(operation)

    def import_key(
        self, wrapping_key: HsmKey, padding: Padding, wrapped: bytes, kind: KeyKind, binding: bytes
    ) -> HsmKey:
        """See `Hsm.import_key`.

        A padding that the token takes off by itself never lets the material out of it; bad PKCS #1 v1.5 padding is then
        what the token says it is. With the others, and kinds used in process memory, the material passes through that.
        """
        if asymmetric.is_asymmetric(kind) or asymmetric.OPENED_BY[padding] is not KeyKind.RSA_2048:
            raise asymmetric.WrongUse
        self._check_private(wrapping_key, KeyKind.RSA_2048)
        self._require(kind)
        generation = self._newest()
        if self._is_in_process(kind) or (
            padding is Padding.RSAES_OAEP_SHA_256 and not self._capabilities().oaep_sha256
        ):
            material, is_good = self._unpadded(wrapping_key, padding, wrapped)
            if not is_good or len(material) != aead.KEY_BYTES[kind]:
                raise Damaged
            return self._seal_material(generation, kind, binding, material)
        return self._call(
            lambda session: self._import(
                session,
                wrapping_key,
                padding,
                wrapped,
                generation=generation,
                kind=kind,
                binding=binding,
            )
        )

    # Symmetric keys

    def encrypt(self, key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.encrypt`."""
        self._check_symmetric(key)
        cipher = self._dialect.ciphers.get(key.kind)
        if cipher is None:
            return self._message_key(key).seal(plaintext, associated_data)
        wrapped = self._sealer(os.getpid(), key).wrapped_key()
        front = token_message.front(key.kind, wrapped)
        data = token_message.authenticated(front, associated_data)
        iv = None if self._dialect.token_makes_ivs else secrets.token_bytes(aead.IV_BYTES)

        def operation(session: Session) -> bytes:
            mechanism = Mechanism.gcm(iv, data, number=cipher.gcm)
            with self._message_handle(key, cipher, wrapped) as handle:
                return session.encrypt(mechanism, handle, plaintext)

        # A token that makes the iv puts it where the format has it.
        return front + (iv or b"") + self._call(operation)

    def decrypt(self, key: HsmKey, message: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.decrypt`."""
        self._check_symmetric(key)
        if key.kind is KeyKind.SM4 and message[:1] == SUITES[KeyKind.SM4]:
            # Also where the token does SM4 today: such a message was made before.
            if _FALLBACKS[KeyKind.SM4] not in self._allowed:
                raise self._refused(_FALLBACKS[KeyKind.SM4])
            return self._message_key(key).open_sealed(message, associated_data)
        cipher = self._dialect.ciphers.get(key.kind)
        if cipher is None:
            raise Damaged
        front, iv, sealed = token_message.split(key.kind, message)
        data = token_message.authenticated(front, associated_data)

        def operation(session: Session) -> bytes:
            try:
                with self._message_handle(key, cipher, front[1:]) as handle:
                    if self._dialect.token_makes_ivs:
                        mechanism = Mechanism.gcm(None, data, number=cipher.gcm)
                        return session.decrypt(mechanism, handle, iv + sealed)
                    mechanism = Mechanism.gcm(iv, data, number=cipher.gcm)
                    return session.decrypt(mechanism, handle, sealed)
            except CryptokiError as error:
                raise judged(session, error) from None

        return self._call(operation)

    def check_value(self, key: HsmKey) -> bytes:
        """See `Hsm.check_value`: the hash of a known key, wrapped under this one (KS-FMT-20.5)."""
        self._check_symmetric(key)
        cipher = self._dialect.ciphers.get(key.kind)
        if cipher is None:
            return self._message_key(key).check_value()

        def operation(session: Session) -> bytes:
            with self._handle(key, cipher.key_type, *_WRAPS) as handle:
                return self._check_value(session, cipher, handle)

        return self._call(operation)

    # Asymmetric keys

    def public_key(self, key: HsmKey) -> bytes:
        """See `Hsm.public_key`: the one in the key token, which the token authenticates."""
        self._check_private(key)
        return self._opened(key).public_key

    def sign(self, key: HsmKey, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        """See `Hsm.sign`."""
        self._check_private(key, asymmetric.SIGNED_BY[algorithm])
        if self._is_in_process(key.kind):
            return self._private_key(key).sign(algorithm, message, is_digest=is_digest)
        digest = _digest(algorithm, message, is_digest=is_digest)
        if key.kind is not KeyKind.RSA_2048:
            raw = self._sign(key, cryptoki.CKK_EC, lambda: Mechanism(cryptoki.CKM_ECDSA), digest)
            half = len(raw) // 2
            return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))
        if algorithm is SignatureAlgorithm.RSA_PSS_SHA_256:
            return self._sign(key, cryptoki.CKK_RSA, _pss, digest)
        return self._sign(
            key, cryptoki.CKK_RSA, lambda: Mechanism(cryptoki.CKM_RSA_PKCS), _DIGEST_INFO + digest
        )

    def decrypt_asymmetric(self, key: HsmKey, padding: Padding, ciphertext: bytes) -> bytes:
        """See `Hsm.decrypt_asymmetric`.

        PKCS #1 v1.5 is unpadded here, whatever the token can: what it answers to bad padding, and when, is its own.
        """
        self._check_private(key, asymmetric.OPENED_BY[padding])
        if self._is_in_process(key.kind):
            return self._private_key(key).decrypt(padding, ciphertext)
        return self._unpadded(key, padding, ciphertext)[0]

    def decapsulate(self, key: HsmKey, encapsulated: bytes) -> bytes:
        """See `Hsm.decapsulate`."""
        self._check_private(key, KeyKind.ML_KEM_1024)
        return self._private_key(key).decapsulate(encapsulated)

    # The token

    def random(self, count: int) -> bytes:
        """See `Hsm.random`: the token's generator."""
        return self._call(lambda session: session.generate_random(count) if count else b"")

    def protection(self, kind: KeyKind) -> Protection:
        """See `Hsm.protection`."""
        return Protection.PROCESS if self._is_in_process(kind) else Protection.HSM

    def describe(self) -> Mapping[str, str]:
        """See `Hsm.describe`; `fallbacks` names what is done in process memory, `mechanisms` what the token does."""
        self._check_open()
        found = self._capabilities()
        return {
            "technology": self._dialect.technology,
            "domain": self._domain,
            "generation": str(max(self.generations(), default=0)),
            "kinds": ",".join(kind.name for kind in found.kinds),
            "fallbacks": ",".join(found.fallbacks),
            "mechanisms": found.mechanisms,
            "token": self._token.label,
            "model": found.model,
            "sm2": sm2.describe(),
        }

    def close(self) -> None:
        """See `Hsm.close`. Session objects go when the last domain of the process closes."""
        if not self._closed:
            self._closed = True
            for cache in (self._message_key, self._private_key, self._opened, self._rejection_secret):
                cache.cache_clear()
            self._release()

    # Generations

    def generations(self) -> Sequence[int]:
        """See `Hsm.generations`."""
        self._check_open()
        return tuple(sorted(self._domain_keys.known()))

    def use_generation(self, generation: int | None) -> None:
        """See `Hsm.use_generation`."""
        self._domain_keys.prefer(generation)

    def rotate(
        self, recipients: Sequence[bytes] = (), keep: Callable[[NewGeneration], None] | None = None
    ) -> NewGeneration:
        """See `Hsm.rotate`."""
        self._check_open()
        return self._domain_keys.rotate(recipients, keep)

    def retire(self, generation: int) -> None:
        """See `Hsm.retire`."""
        self._check_open()
        self._domain_keys.retire(generation)

    def export(self, generation: int, recipient: bytes) -> bytes:  # noqa: ARG002 - the port's
        """ValueError: what is stored in the token cannot be extracted."""
        raise ValueError(
            f"generation {generation} cannot leave the token: it is sealed to its recipients when it is made"
        )

    def transport_key(self) -> bytes:
        """See `Hsm.transport_key`."""
        self._check_open()
        return self._domain_keys.transport_key()

    def receive(self, generation: int, sealed: bytes) -> None:
        """See `Hsm.receive`."""
        self._check_open()
        self._domain_keys.receive(generation, sealed)

    def restore(self, generation: int, sealed: bytes, private_key: bytes) -> None:
        """See `Hsm.restore`."""
        self._check_open()
        self._domain_keys.restore(generation, sealed, private_key)

    # What may be done

    def _check_open(self) -> None:
        if self._closed:
            raise HsmUnavailable("The HSM is closed.")

    def _newest(self) -> int:
        self._check_open()
        return self._domain_keys.newest()

    def _check(self, key: HsmKey) -> None:
        """Also where everything about the key is cached: its generation may have been retired."""
        self._check_open()
        self._domain_keys.check(key_token.generation_of(key.token))

    def _check_symmetric(self, key: HsmKey) -> None:
        if asymmetric.is_asymmetric(key.kind):
            self._check_open()
            raise asymmetric.WrongUse
        self._check(key)
        self._require(key.kind)

    def _check_private(self, key: HsmKey, kind: KeyKind | None = None) -> None:
        if not asymmetric.is_asymmetric(key.kind) or (kind and kind is not key.kind):
            self._check_open()
            raise asymmetric.WrongUse
        self._check(key)
        self._require(key.kind)

    def _require(self, kind: KeyKind) -> None:
        if kind not in self._capabilities().kinds:
            raise self._refused(_FALLBACKS.get(kind, kind.name))

    def _refused(self, name: str) -> HsmMisconfigured:
        return HsmMisconfigured(
            f"The token {self._token.label!r} does not do {name}, and KEYSTEAD_HSM_FALLBACKS does not allow it"
            " in process memory."
        )

    def _is_in_process(self, kind: KeyKind) -> bool:
        return kind in _FALLBACKS and kind not in self._dialect.ciphers

    def _capabilities(self) -> _Capabilities:
        found = self._found
        if found is None:
            found = self._found = self._probe()
        return found

    def _probe(self) -> _Capabilities:
        listed = self._token.mechanisms()
        ciphers = self._dialect.ciphers
        needed = {
            "AES_KEY_GEN": cryptoki.CKM_AES_KEY_GEN,
            "AES_GCM": ciphers[KeyKind.AES_256].gcm,
            "AES_KEY_WRAP_PAD": self._dialect.key_wrap_pad,
            "GENERIC_SECRET_KEY_GEN": cryptoki.CKM_GENERIC_SECRET_KEY_GEN,
            "SHA256_HMAC": cryptoki.CKM_SHA256_HMAC,
            "RSA_PKCS_KEY_PAIR_GEN": cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN,
            "RSA_PKCS": cryptoki.CKM_RSA_PKCS,
            "RSA_PKCS_PSS": cryptoki.CKM_RSA_PKCS_PSS,
            "RSA_PKCS_OAEP": cryptoki.CKM_RSA_PKCS_OAEP,
            "RSA_X_509": cryptoki.CKM_RSA_X_509,
            "EC_KEY_PAIR_GEN": cryptoki.CKM_EC_KEY_PAIR_GEN,
            "ECDSA": cryptoki.CKM_ECDSA,
        }
        missing = [name for name, number in needed.items() if number not in listed]
        if missing:
            raise HsmMisconfigured(
                f"The token {self._token.label!r} lacks {', '.join(missing)}: if it has its own numbers for them, set"
                " KEYSTEAD_PKCS11_MECHANISMS."
            )
        in_token = {kind: name for kind, name in _FALLBACKS.items() if kind in ciphers}
        unusable = () if sm2.is_usable() else (KeyKind.SM2,)
        kinds = tuple(
            kind
            for kind in KeyKind
            if (kind not in _FALLBACKS or kind in in_token or _FALLBACKS[kind] in self._allowed)
            and kind not in unusable
        )
        oaep_sha256 = self._call(_takes_oaep_sha256)
        fallbacks = [_FALLBACKS[kind] for kind in kinds if kind in _FALLBACKS and kind not in in_token]
        if not oaep_sha256 and OAEP_SHA256 in self._allowed:
            fallbacks.append(OAEP_SHA256)
        words = [
            "AES-256-GCM",
            "AES-KWP",
            "HMAC-SHA256",
            "RSA-2048",
            "ECDSA P-256",
            "ECDSA P-384",
            "OAEP-SHA1",
        ]
        words += ["OAEP-SHA256"] * oaep_sha256 + ["SM4-GCM"] * (KeyKind.SM4 in ciphers)
        return _Capabilities(oaep_sha256, kinds, tuple(fallbacks), ",".join(words), self._call(self._model))

    def _model(self, session: Session) -> str:
        for slot in session.module.slots():
            with contextlib.suppress(CryptokiError):  # another token, on its way in or out
                info = session.module.token_info(slot)
                if info.label == self._token.label:
                    return info.model
        return ""

    # Key tokens

    def _call(self, operation: Callable[[Session], T]) -> T:
        self._check_open()
        return call(self._token, operation)

    def _seal(
        self,
        session: Session,
        handle: int,
        *,
        generation: int,
        kind: KeyKind,
        binding: bytes,
        public_key: bytes = b"",
    ) -> HsmKey:
        wrapped = self._domain_keys.wrap(session, generation, handle)
        parts = Pkcs11Token(kind, generation, public_key, wrapped)
        mac = self._domain_keys.mac(session, generation, parts.authenticated(binding))
        return HsmKey(kind, replace(parts, mac=mac).encode(), binding)

    def _open(self, session: Session, key: HsmKey) -> Pkcs11Token:
        parts = Pkcs11Token.decode(key)
        self._domain_keys.verify(session, parts.generation, parts.authenticated(key.binding), parts.mac)
        return parts

    def _verified(self, key: HsmKey) -> Pkcs11Token:
        return self._call(lambda session: self._open(session, key))

    def _unwrap(self, session: Session, parts: Pkcs11Token, template: Attributes) -> int:
        return self._domain_keys.unwrap(session, parts.generation, parts.wrapped, template)

    def _handle(self, key: HsmKey, key_type: int, *uses: int) -> AbstractContextManager[int]:
        """The key's object, for these uses alone."""
        build = private_key if asymmetric.is_asymmetric(key.kind) else secret_key
        return self._token.handle(
            ("key", self._domain, uses, key),
            lambda keeper: self._unwrap(keeper, self._open(keeper, key), build(key_type, *uses)),
        )

    def _extractable(self, kind: KeyKind) -> Attributes:
        """The template of a key on its way into a key token."""
        if self._is_in_process(kind):
            return secret_key(cryptoki.CKK_GENERIC_SECRET, cryptoki.CKA_SIGN, extractable=True)
        if kind in self._dialect.ciphers:
            return secret_key(self._dialect.ciphers[kind].key_type, *_WRAPS, extractable=True)
        key_type = cryptoki.CKK_RSA if kind is KeyKind.RSA_2048 else cryptoki.CKK_EC
        return private_key(key_type, cryptoki.CKA_SIGN, extractable=True)

    def _generate(self, session: Session, kind: KeyKind) -> tuple[int, bytes, tuple[int, ...]]:
        """A new key's handle, its public half, and what else was made."""
        template = self._extractable(kind)
        cipher = self._dialect.ciphers.get(kind)
        if cipher is not None:
            return _generate_key(session, cipher, template), b"", ()
        if kind is KeyKind.RSA_2048:
            public, private = session.generate_key_pair(
                Mechanism(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN), rsa_public(asymmetric.RSA_BITS), template
            )
            return private, rsa_spki(session, public), (public,)
        curve: Attributes = {
            cryptoki.CKA_TOKEN: False,
            cryptoki.CKA_EC_PARAMS: _CURVE_OIDS[kind],
            cryptoki.CKA_VERIFY: True,
        }
        public, private = session.generate_key_pair(Mechanism(cryptoki.CKM_EC_KEY_PAIR_GEN), curve, template)
        point = session.get_attributes(public, [cryptoki.CKA_EC_POINT])[cryptoki.CKA_EC_POINT]
        return private, _ec_spki(kind, point), (public,)

    # Message keys

    def _message_handle(self, key: HsmKey, cipher: Cipher, wrapped: bytes) -> AbstractContextManager[int]:
        def make(keeper: Session) -> int:
            template = secret_key(cipher.key_type, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT)
            with self._handle(key, cipher.key_type, *_WRAPS) as handle:
                return keeper.unwrap_key(Mechanism(cipher.key_wrap_pad), handle, wrapped, template)

        return self._token.handle(("message key", self._domain, key, wrapped), make)

    def _new_sealer(self, process: int, key: HsmKey) -> "_Sealer":  # noqa: ARG002 - the cache's key
        return _Sealer(lambda: self._new_message_key(key))

    def _new_message_key(self, key: HsmKey) -> bytes:
        cipher = self._dialect.ciphers[key.kind]

        def operation(session: Session) -> bytes:
            uses = (cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT)
            made = _generate_key(session, cipher, secret_key(cipher.key_type, *uses, extractable=True))
            with destroying(session, made), self._handle(key, cipher.key_type, *_WRAPS) as handle:
                return session.wrap_key(Mechanism(cipher.key_wrap_pad), handle, made)

        return self._call(operation)

    def _check_value(self, session: Session, cipher: Cipher, handle: int) -> bytes:
        with self._token.handle(("checked",), _make_checked) as checked:
            return hashlib.sha256(session.wrap_key(Mechanism(cipher.key_wrap_pad), handle, checked)).digest()

    # RSA

    def _sign(self, key: HsmKey, key_type: int, mechanism: Callable[[], Mechanism], message: bytes) -> bytes:
        def operation(session: Session) -> bytes:
            with self._handle(key, key_type, cryptoki.CKA_SIGN) as handle:
                return session.sign(mechanism(), handle, message)

        return self._call(operation)

    def _unpadded(self, key: HsmKey, padding: Padding, ciphertext: bytes) -> tuple[bytes, bool]:
        """The plaintext, and whether PKCS #1 v1.5 padding was good; Damaged."""
        if len(ciphertext) != _RSA_BYTES or int.from_bytes(ciphertext) >= self._modulus(key):
            raise Damaged
        if padding is Padding.RSAES_PKCS1_V1_5:
            otherwise = asymmetric.rejection_message_of(self._rejection_secret(key), ciphertext)
            block = self._decrypt(key, Mechanism(cryptoki.CKM_RSA_X_509), ciphertext)
            return rsa_padding.unpad_pkcs1(block.rjust(_RSA_BYTES, b"\0"), otherwise)
        if padding is Padding.RSAES_OAEP_SHA_1:
            return self._decrypt(key, Mechanism.oaep(), ciphertext), True
        if self._capabilities().oaep_sha256:
            return self._decrypt(key, _oaep_sha256(), ciphertext), True
        if OAEP_SHA256 not in self._allowed:
            raise self._refused(OAEP_SHA256)
        block = self._decrypt(key, Mechanism(cryptoki.CKM_RSA_X_509), ciphertext)
        return rsa_padding.unpad_oaep_sha256(block.rjust(_RSA_BYTES, b"\0")), True

    def _decrypt(self, key: HsmKey, mechanism: Mechanism, ciphertext: bytes) -> bytes:
        def operation(session: Session) -> bytes:
            with self._handle(key, cryptoki.CKK_RSA, cryptoki.CKA_DECRYPT) as handle:
                try:
                    return session.decrypt(mechanism, handle, ciphertext)
                except CryptokiError as error:
                    raise judged(session, error) from None

        return self._call(operation)

    def _import(
        self,
        session: Session,
        wrapping_key: HsmKey,
        padding: Padding,
        wrapped: bytes,
        *,
        generation: int,
        kind: KeyKind,
        binding: bytes,
    ) -> HsmKey:
        cipher = self._dialect.ciphers[kind]
        mechanism = {
            Padding.RSAES_PKCS1_V1_5: lambda: Mechanism(cryptoki.CKM_RSA_PKCS),
            Padding.RSAES_OAEP_SHA_1: Mechanism.oaep,
            Padding.RSAES_OAEP_SHA_256: _oaep_sha256,
        }[padding]()
        with self._handle(wrapping_key, cryptoki.CKK_RSA, cryptoki.CKA_UNWRAP) as handle:
            try:
                imported = session.unwrap_key(mechanism, handle, wrapped, self._extractable(kind))
            except CryptokiError as error:
                raise judged(session, error) from None
        with destroying(session, imported):
            try:
                # SoftHSM takes any number of bytes for an AES key and tells no length, but does not use it then.
                self._check_value(session, cipher, imported)
            except CryptokiError as error:
                raise judged(session, error) from None
            made = self._seal(session, imported, generation=generation, kind=kind, binding=binding)
            # AES-KWP tells the length up to 8 bytes, and between multiples of 8 there is no key.
            if len(Pkcs11Token.decode(made).wrapped) != token_message.WRAPPED_BYTES[kind]:
                raise Damaged
            return made

    def _read_modulus(self, key: HsmKey) -> int:
        public = load_der_public_key(self._opened(key).public_key)
        if not isinstance(public, rsa.RSAPublicKey):
            raise Damaged
        return public.public_numbers().n

    def _make_rejection_secret(self, key: HsmKey) -> bytes:
        """For `rejection_message_of`: of the private key, so the same after every rewrap."""
        return hashlib.sha256(
            self._sign(key, cryptoki.CKK_RSA, lambda: Mechanism(cryptoki.CKM_RSA_PKCS), _REJECTION)
        ).digest()

    # Keys in process memory

    def _new_material(self, kind: KeyKind) -> bytes:
        """From the token's generator, but for SM2, whose scalar comes from that of its library."""
        if asymmetric.is_asymmetric(kind):
            return asymmetric.generate(kind, self.random)
        return self.random(aead.KEY_BYTES[kind])

    def _seal_material(self, generation: int, kind: KeyKind, binding: bytes, material: bytes) -> HsmKey:
        public = asymmetric.PrivateKey(kind, material).public_key if asymmetric.is_asymmetric(kind) else b""

        def operation(session: Session) -> HsmKey:
            with self._carrier(session) as (carrier, secret):
                filled = material + bytes(-len(material) % 8)
                wrapped = aes_key_wrap_with_padding(secret, filled)
                handle = session.unwrap_key(
                    Mechanism(self._dialect.key_wrap_pad), carrier, wrapped, self._extractable(kind)
                )
                with destroying(session, handle):
                    return self._seal(
                        session,
                        handle,
                        generation=generation,
                        kind=kind,
                        binding=binding,
                        public_key=public,
                    )

        return self._call(operation)

    def _material(self, key: HsmKey) -> bytes:
        """The material of a key that is used in process memory: no other one is ever asked for."""
        if key.kind not in _FALLBACKS or _FALLBACKS[key.kind] not in self._allowed:
            raise self._refused(_FALLBACKS.get(key.kind, key.kind.name))
        template = secret_key(cryptoki.CKK_GENERIC_SECRET, cryptoki.CKA_SIGN, extractable=True)

        def operation(session: Session) -> bytes:
            handle = self._unwrap(session, self._open(session, key), template)
            with destroying(session, handle), self._carrier(session) as (carrier, secret):
                wrapped = session.wrap_key(Mechanism(self._dialect.key_wrap_pad), carrier, handle)
                try:
                    return aes_key_unwrap_with_padding(secret, wrapped)[: _MATERIAL_BYTES[key.kind]]
                except InvalidUnwrap:
                    raise HsmUnavailable("The token wrapped a key wrongly.") from None

        return self._call(operation)

    @contextlib.contextmanager
    def _carrier(self, session: Session) -> Iterator[tuple[int, bytes]]:
        """A key of the moment that token and process know: tokens give out a sensitive key's value wrapped alone."""
        secret = secrets.token_bytes(32)
        template = secret_key(cryptoki.CKK_AES, *_WRAPS) | {cryptoki.CKA_VALUE: secret}
        handle = session.create_object(template)
        with destroying(session, handle):
            yield handle, secret

    def _open_message_key(self, key: HsmKey) -> MessageKey:
        return MessageKey(key.kind, self._material(key))

    def _open_private_key(self, key: HsmKey) -> asymmetric.PrivateKey:
        return asymmetric.PrivateKey(key.kind, self._material(key))


class _Sealer:
    """The message keys of one CMK's key in one process: each for a bounded number of messages (KS-FMT-20.2)."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._current: tuple[bytes, Iterator[int]] | None = None

    def wrapped_key(self) -> bytes:
        """The message key for one more message."""
        current = self._current
        if current is None or next(current[1]) >= token_message.MAX_MESSAGES:
            # Two threads may both come here: then both keys seal a few.
            current = self._current = self._make(), itertools.count(1)
        return current[0]


def _generate_key(session: Session, cipher: Cipher, template: Attributes) -> int:
    length = {} if cipher.value_len is None else {cryptoki.CKA_VALUE_LEN: cipher.value_len}
    return session.generate_key(Mechanism(cipher.key_gen), {**template, **length})


def _make_checked(keeper: Session) -> int:
    template = secret_key(cryptoki.CKK_GENERIC_SECRET, cryptoki.CKA_SIGN, extractable=True)
    return keeper.create_object(template | {cryptoki.CKA_VALUE: _CHECKED})


def _pss() -> Mechanism:
    return Mechanism.pss(
        cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, asymmetric.PSS_SALT_BYTES
    )


def _oaep_sha256() -> Mechanism:
    return Mechanism.oaep(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256)


def _takes_oaep_sha256(session: Session) -> bool:
    """Whether OAEP takes SHA-256: mechanism lists do not tell. Tried with a public key, 2**2047 + 1 as good as any."""
    public = session.create_object(
        {
            cryptoki.CKA_CLASS: cryptoki.CKO_PUBLIC_KEY,
            cryptoki.CKA_KEY_TYPE: cryptoki.CKK_RSA,
            cryptoki.CKA_TOKEN: False,
            cryptoki.CKA_ENCRYPT: True,
            cryptoki.CKA_WRAP: False,
            cryptoki.CKA_VERIFY: False,
            cryptoki.CKA_MODULUS: (2 ** (asymmetric.RSA_BITS - 1) + 1).to_bytes(_RSA_BYTES),
            cryptoki.CKA_PUBLIC_EXPONENT: b"\x01\x00\x01",
        }
    )
    with destroying(session, public):
        try:
            session.encrypt(_oaep_sha256(), public, b"trial")
        except CryptokiError as error:
            if error.code in UNSUPPORTED:
                return False
            raise
        return True


def _digest(algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
    if not is_digest:
        name = "sha384" if algorithm is SignatureAlgorithm.ECC_P384_R1 else "sha256"
        return hashlib.new(name, message).digest()
    asymmetric.hash_of(algorithm, message, is_digest=True)  # the length
    return message


def _ec_spki(kind: KeyKind, point: bytes) -> bytes:
    """SubjectPublicKeyInfo of a CKA_EC_POINT: the point in an OCTET STRING (PKCS #11 v2.40), or alone (some tokens)."""
    size = 1 + 2 * (_CURVES[kind].key_size // 8)
    if len(point) == size + 2 and point[:2] == bytes([4, size]):
        point = point[2:]
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[kind], point)
    except ValueError:
        raise HsmUnavailable("The token gave a public key that is none.") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# The process's tokens

_tokens: Final[dict[tuple[str, str, str], tuple[Token, int]]] = {}
"""Module path, label and PIN -> the token and how many domains use it."""
_tokens_lock: Final = threading.Lock()


def _shared_token(dialect: Dialect, settings: Settings, label: str) -> tuple[Token, Callable[[], None]]:
    """The process's token of that label, and what a domain calls when it no longer needs it."""
    if not settings.pkcs11_module or not label:
        raise HsmMisconfigured(
            "Set KEYSTEAD_PKCS11_MODULE to the PKCS #11 library, KEYSTEAD_PKCS11_TOKENS to labels of tokens."
        )
    key = settings.pkcs11_module, label, pin(settings)
    with _tokens_lock:
        token, users = _tokens.get(key) or (None, 0)
        if token is None:
            token = Token(cryptoki.load(key[0]), label, key[2], handle_limit=dialect.handle_limit)
        _tokens[key] = token, users + 1

    def release() -> None:
        with _tokens_lock:
            token, users = _tokens[key]
            if users > 1:
                _tokens[key] = token, users - 1
                return
            del _tokens[key]
        token.close()

    return token, release


def pin(settings: Settings) -> str:
    """The PIN, or what is in the file with it; HsmMisconfigured."""
    path = settings.pkcs11_pin_file
    if bool(settings.pkcs11_pin) == bool(path):
        raise HsmMisconfigured("Set either KEYSTEAD_PKCS11_PIN or KEYSTEAD_PKCS11_PIN_FILE.")
    if path is None:
        return settings.pkcs11_pin
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read().decode().rstrip("\r\n")
    except (OSError, ValueError):
        raise HsmMisconfigured(f"{path} cannot be read, or is no text.") from None
    if mode & 0o077:
        raise HsmMisconfigured(f"{path} is open to other users: set its mode to 0600.")
    if not text:
        raise HsmMisconfigured(f"{path} is empty.")
    return text


@contextlib.contextmanager
def _one_at_a_time(settings: Settings, label: str) -> Iterator[None]:
    """Of the processes of this machine that start first at once, one looks for domain keys in the token and makes them.

    Those of all domains: SoftHSM2 2.6.1 misses what other processes do between its last look at a token and a change of its own,
    until they do more (OSToken::index, Generation::commit), and so would make a key that is there already.
    """
    folder = settings.home / "hsm"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / f"token-{label.encode().hex()}.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise HsmMisconfigured(f"{error.filename}: {error.strerror}") from None
