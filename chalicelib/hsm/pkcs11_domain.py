"""A domain's keys in a PKCS#11 token: the generations, and how one is made, moved, and destroyed.

A generation is two token objects that cannot be extracted, one key for one use each: `keystead/<domain>/wrap` (AES-256, wraps
and unwraps) and `keystead/<domain>/mac` (generic secret, HMAC-SHA256). Their CKA_ID is the generation (4 bytes) and a random
number (8), the same in both.

A token has no transactions. So the mac object is stored first and is a claim on the number; whoever then sees another
claim on it takes his own away. The wrap object is stored last: only a pair counts, and only the one claim that stayed alone
gets a partner. A claim without a partner is what is left of an attempt that was cut short: its number is not used again,
and nobody but `retire` removes it, as nobody else can know whether the attempt is still under way.
"""

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.formats import sealed_generation
from chalicelib.formats.sealed_generation import OaepHash, SealedGeneration, Technology
from chalicelib.hsm import cryptoki
from chalicelib.hsm.cryptoki import Attributes, CryptokiError, Mechanism, Session
from chalicelib.hsm.port import Damaged, HsmMisconfigured, HsmUnavailable, NewGeneration
from chalicelib.hsm.sessions import Token

T = TypeVar("T")

REFRESH_SECONDS: Final = 30.0
"""How long a generation that another process made or destroyed may stay unnoticed."""
ATTEMPTS: Final = 5
"""How often a new generation looks for a number of its own."""

_NONCE_BYTES: Final = 8
_HMAC: Final = cryptoki.CKM_SHA256_HMAC
_WRAP: Final = "wrap"
_MAC: Final = "mac"
_TRANSPORT: Final = "transport"

_MACS: Final = (cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, cryptoki.CKA_DERIVE)
_ALL: Final = (
    cryptoki.CKA_ENCRYPT,
    cryptoki.CKA_DECRYPT,
    cryptoki.CKA_WRAP,
    cryptoki.CKA_UNWRAP,
    *_MACS,
)
_USES: Final = {
    (cryptoki.CKO_SECRET_KEY, cryptoki.CKK_GENERIC_SECRET): _MACS,
    (cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_RSA): (
        cryptoki.CKA_DECRYPT,
        cryptoki.CKA_UNWRAP,
        cryptoki.CKA_SIGN,
        cryptoki.CKA_DERIVE,
    ),
    (cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_EC): (cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE),
}
"""Every use of a type is named in its template, since tokens differ in what is on by default; not every token takes others."""
BAD_BYTES: Final = frozenset(
    {
        cryptoki.CKR_GENERAL_ERROR,
        cryptoki.CKR_FUNCTION_FAILED,
        cryptoki.CKR_DATA_INVALID,
        cryptoki.CKR_DATA_LEN_RANGE,
        cryptoki.CKR_ENCRYPTED_DATA_INVALID,
        cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE,
        0x62,  # CKR_KEY_SIZE_RANGE: an unwrapped key that is none of its type
        cryptoki.CKR_WRAPPED_KEY_INVALID,
        cryptoki.CKR_WRAPPED_KEY_LEN_RANGE,
    }
)
"""What tokens answer to bytes that they cannot decrypt or unwrap."""
_BAD_SIGNATURE: Final = frozenset({cryptoki.CKR_SIGNATURE_INVALID, cryptoki.CKR_SIGNATURE_LEN_RANGE})
_VAGUE: Final = frozenset({cryptoki.CKR_GENERAL_ERROR, cryptoki.CKR_FUNCTION_FAILED})
"""Also what a token in trouble answers."""


UNSUPPORTED: Final = frozenset(
    {
        cryptoki.CKR_ARGUMENTS_BAD,
        cryptoki.CKR_ATTRIBUTE_TYPE_INVALID,
        cryptoki.CKR_ATTRIBUTE_VALUE_INVALID,
        cryptoki.CKR_FUNCTION_NOT_SUPPORTED,
        cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED,
        cryptoki.CKR_MECHANISM_INVALID,
        cryptoki.CKR_MECHANISM_PARAM_INVALID,
        cryptoki.CKR_TEMPLATE_INCONSISTENT,
    }
)
"""What a token does not do at all."""


def call(token: Token, operation: Callable[[Session], T]) -> T:
    """`Token.call` where no CryptokiError is expected: HsmMisconfigured for what the token never does, else HsmUnavailable."""
    try:
        return token.call(operation)
    except CryptokiError as error:
        if error.code in UNSUPPORTED:
            raise HsmMisconfigured(
                f"The token {token.label!r} does not do what is needed ({error})."
            ) from None
        raise HsmUnavailable(f"The token {token.label!r} failed ({error}).") from None


def secret_key(key_type: int, *uses: int, extractable: bool = False) -> dict[int, bool | int | bytes]:
    """The template of a secret key, a session object; `uses` are all that it may do."""
    return _key(cryptoki.CKO_SECRET_KEY, key_type, uses, extractable=extractable)


def private_key(key_type: int, *uses: int, extractable: bool = False) -> dict[int, bool | int | bytes]:
    """The template of a private key, a session object; `uses` are all that it may do."""
    return _key(cryptoki.CKO_PRIVATE_KEY, key_type, uses, extractable=extractable)


def _key(
    class_: int, key_type: int, uses: Sequence[int], *, extractable: bool
) -> dict[int, bool | int | bytes]:
    return {
        cryptoki.CKA_CLASS: class_,
        cryptoki.CKA_KEY_TYPE: key_type,
        cryptoki.CKA_TOKEN: False,
        cryptoki.CKA_PRIVATE: True,
        cryptoki.CKA_SENSITIVE: True,
        cryptoki.CKA_EXTRACTABLE: extractable,
        **{use: use in uses for use in _USES.get((class_, key_type), _ALL)},
    }


@contextlib.contextmanager
def destroying(session: Session, *handles: int) -> Iterator[None]:
    """Destroys objects in the end. Where the session went, they went with it."""
    try:
        yield
    finally:
        for handle in handles:
            with contextlib.suppress(CryptokiError):
                session.destroy_object(handle)


def judged(session: Session, error: CryptokiError) -> Exception:
    """What an error means where bytes from outside were decrypted or unwrapped: Damaged, or the error itself.

    The code that tokens like to answer bad bytes with also means trouble: one in trouble makes no random number either.
    """
    if error.code not in BAD_BYTES:
        return error
    if error.code in _VAGUE:
        session.generate_random(1)
    return Damaged()


class DomainKeys:
    """The domain keys in one token. Methods that take a session run inside an operation of `Token.call`."""

    def __init__(
        self, domain: str, token: Token, key_wrap_pad: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`key_wrap_pad` is the token's number for AES-KWP."""
        self.domain = domain
        self._token = token
        self._key_wrap_pad = key_wrap_pad
        self._now = now
        self._ids: Mapping[int, bytes] = {}
        self._looked_at: float | None = None
        self._preferred: int | None = None

    # Which there are

    def known(self) -> Mapping[int, bytes]:
        """Generation -> CKA_ID, as it was 30 seconds ago or later."""
        if self._looked_at is None or self._now() - self._looked_at >= REFRESH_SECONDS:
            return self.look()
        return self._ids

    def look(self) -> Mapping[int, bytes]:
        """As `known`, now."""
        looked_at = self._now()
        self._ids = call(self._token, self._pairs)
        self._looked_at = looked_at
        return self._ids

    def check(self, generation: int) -> None:
        """Damaged for a generation that is not there, HsmMisconfigured where there is none at all."""
        if generation not in self.known() and generation not in self.look():
            self.newest()
            raise Damaged

    def newest(self) -> int:
        """The generation that makes tokens; HsmMisconfigured where there is none."""
        known = self.known() or self.look()
        if not known:
            raise HsmMisconfigured(
                f"The token {self._token.label!r} has no domain key of {self.domain}: run"
                " `python -m chalicelib.hsm init`, or `restore` if there was one."
            )
        preferred = self._preferred
        return preferred if preferred is not None and preferred in known else max(known)

    def prefer(self, generation: int | None) -> None:
        """See `Hsm.use_generation`."""
        self._preferred = generation

    # Using them

    def wrap(self, session: Session, generation: int, handle: int) -> bytes:
        """A key, wrapped."""
        with self._use(generation, _WRAP) as wrapping:
            return session.wrap_key(self._kwp(), wrapping, handle)

    def unwrap(self, session: Session, generation: int, wrapped: bytes, template: Attributes) -> int:
        """The key that `wrap` wrapped. What is unwrapped was authenticated, by `verify`."""
        with self._use(generation, _WRAP) as wrapping:
            return session.unwrap_key(self._kwp(), wrapping, wrapped, template)

    def mac(self, session: Session, generation: int, message: bytes) -> bytes:
        """32 bytes."""
        with self._use(generation, _MAC) as key:
            return session.sign(Mechanism(_HMAC), key, message)

    def verify(self, session: Session, generation: int, message: bytes, mac: bytes) -> None:
        """Damaged unless `mac` is the message's."""
        with self._use(generation, _MAC) as key:
            _verify(session, key, message, mac)

    # Making and moving them

    def rotate(
        self, recipients: Sequence[bytes], keep: Callable[[NewGeneration], None] | None
    ) -> NewGeneration:
        """See `Hsm.rotate`."""
        keys = [sealed_generation.recipient(recipient) for recipient in recipients]
        made = call(self._token, lambda session: self._rotate(session, keys, keep))
        self.look()
        return made

    def retire(self, generation: int) -> None:
        """See `Hsm.retire`."""
        if generation >= max(self.look(), default=0):
            raise ValueError("the newest generation cannot be retired: rotate first")

        def destroy(session: Session) -> None:
            # The wrap object first: a pair that lost one is a pair no more.
            for role in (_WRAP, _MAC):
                for id_, handle in self._objects(session, role):
                    if _generation(id_) == generation:
                        self._destroy(session, handle)

        call(self._token, destroy)
        self.look()

    def transport_key(self) -> bytes:
        """See `Hsm.transport_key`."""
        return call(self._token, self._transport_key)

    def receive(self, generation: int, text: bytes) -> None:
        """See `Hsm.receive`."""
        self._take(SealedGeneration.decode(text), generation, None, is_trusted=False)

    def restore(self, generation: int, text: bytes, private: bytes) -> None:
        """See `Hsm.restore`. Who has the backup's private key has the keys: they pass through process memory."""
        sealed = SealedGeneration.decode(text)
        sealed.check(Technology.PKCS11, self.domain, generation)
        keys = sealed_generation.open_keys(sealed, private)
        transport_key = self.transport_key()
        again = sealed_generation.seal_keys(transport_key, OaepHash.SHA_1, keys)
        self._take(sealed, generation, again, is_trusted=True)

    # How

    def _kwp(self) -> Mechanism:
        return Mechanism(self._key_wrap_pad)

    def _label(self, role: str) -> bytes:
        return f"keystead/{self.domain}/{role}".encode()

    def _use(self, generation: int, role: str) -> AbstractContextManager[int]:
        id_ = self._ids.get(generation)
        if id_ is None:  # retired meanwhile
            raise Damaged
        return self._token.handle(
            ("domain key", self.domain, role, id_), lambda keeper: self._find(keeper, role, id_)
        )

    def _find(self, session: Session, role: str, id_: bytes) -> int:
        template: Attributes = {
            cryptoki.CKA_CLASS: cryptoki.CKO_SECRET_KEY,
            cryptoki.CKA_TOKEN: True,
            cryptoki.CKA_LABEL: self._label(role),
            cryptoki.CKA_ID: id_,
        }
        with self._token.inventory():
            found = session.find_objects(template)
        if found:
            return found[0]
        self._looked_at = None
        raise HsmUnavailable(f"Generation {_generation(id_)} of {self.domain} was just retired: try again.")

    def _objects(
        self, session: Session, role: str, class_: int = cryptoki.CKO_SECRET_KEY
    ) -> list[tuple[bytes, int]]:
        """(CKA_ID, handle) of all objects of a role, also half made ones."""
        template: Attributes = {
            cryptoki.CKA_CLASS: class_,
            cryptoki.CKA_TOKEN: True,
            cryptoki.CKA_LABEL: self._label(role),
        }
        types = [cryptoki.CKA_ID]
        if class_ != cryptoki.CKO_PUBLIC_KEY:
            types += [cryptoki.CKA_EXTRACTABLE, cryptoki.CKA_SENSITIVE]
        with self._token.inventory():
            objects = [
                (handle, session.get_attributes(handle, types)) for handle in session.find_objects(template)
            ]
        found = []
        for handle, values in objects:
            if values.get(cryptoki.CKA_EXTRACTABLE, b"\0") != b"\0" or not cryptoki.number(
                values.get(cryptoki.CKA_SENSITIVE, b"\1")
            ):
                raise HsmMisconfigured(
                    f"An object keystead/{self.domain}/{role} of the token {self._token.label!r} can be extracted:"
                    " the service did not make it; remove it."
                )
            found.append((values[cryptoki.CKA_ID], handle))
        return found

    def _pairs(self, session: Session) -> Mapping[int, bytes]:
        claims = {id_ for id_, _ in self._objects(session, _MAC)}
        pairs = sorted({id_ for id_, _ in self._objects(session, _WRAP)} & claims)
        # Two pairs of one number have the same keys: `receive` ran twice at once.
        return {_generation(id_): id_ for id_ in reversed(pairs)}

    def _rotate(
        self,
        session: Session,
        recipients: Sequence[rsa.RSAPublicKey],
        keep: Callable[[NewGeneration], None] | None,
    ) -> NewGeneration:
        uses = (cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP)
        wrap = session.generate_key(
            Mechanism(cryptoki.CKM_AES_KEY_GEN),
            secret_key(cryptoki.CKK_AES, *uses, extractable=True) | {cryptoki.CKA_VALUE_LEN: 32},
        )
        uses = (cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY)
        mac = session.generate_key(
            Mechanism(cryptoki.CKM_GENERIC_SECRET_KEY_GEN),
            secret_key(cryptoki.CKK_GENERIC_SECRET, *uses, extractable=True) | {cryptoki.CKA_VALUE_LEN: 32},
        )
        with destroying(session, wrap, mac):
            for attempt in range(ATTEMPTS):
                if attempt:
                    time.sleep(secrets.randbelow(200) / 1000)
                older = self._pairs(session)
                taken = {
                    _generation(id_) for role in (_MAC, _WRAP) for id_, _ in self._objects(session, role)
                }
                number = max(taken, default=0) + 1
                sealed = [
                    self._seal(session, recipient, number=number, wrap=wrap, mac=mac, older=older)
                    for recipient in recipients
                ]
                made = NewGeneration(number, tuple(sealed))
                before = functools.partial(keep, made) if keep else None
                if self._store(session, number, wrap, mac, before):
                    return made
        raise HsmUnavailable("Other processes make a domain key at the same time: try again.")

    def _store(
        self,
        session: Session,
        number: int,
        wrap: int,
        mac: int,
        before: Callable[[], None] | None,
        *,
        alone: bool = True,
    ) -> bool:
        """Store a generation's keys, unless (`alone`) somebody else claims its number, too; whether it was done."""
        id_ = number.to_bytes(4) + secrets.token_bytes(_NONCE_BYTES)
        claim = self._keep(session, mac, _MAC, id_)
        try:
            rivals = [other for other, _ in self._objects(session, _MAC) if _generation(other) == number]
            if alone and rivals != [id_]:
                self._destroy(session, claim)
                return False
            if before:
                before()
            partner = self._keep(session, wrap, _WRAP, id_)
        except BaseException:
            with contextlib.suppress(CryptokiError, HsmUnavailable):
                self._destroy(session, claim)
            raise
        if (id_, claim) in self._objects(session, _MAC):
            return True
        self._destroy(session, partner)  # somebody removed the claim
        return False

    def _keep(self, session: Session, handle: int, role: str, id_: bytes) -> int:
        """A copy of a key as a token object that cannot be extracted.

        Wrapped and unwrapped under a key of the moment: not every token has C_CopyObject.
        """
        uses = (
            (cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP)
            if role == _WRAP
            else (cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY)
        )
        key_type = cryptoki.CKK_AES if role == _WRAP else cryptoki.CKK_GENERIC_SECRET
        stored = secret_key(key_type, *uses) | {
            cryptoki.CKA_TOKEN: True,
            cryptoki.CKA_LABEL: self._label(role),
            cryptoki.CKA_ID: id_,
        }
        template = secret_key(cryptoki.CKK_AES, cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP)
        carrier = session.generate_key(
            Mechanism(cryptoki.CKM_AES_KEY_GEN), template | {cryptoki.CKA_VALUE_LEN: 32}
        )
        with destroying(session, carrier):
            wrapped = session.wrap_key(self._kwp(), carrier, handle)
            with self._token.inventory():
                return session.unwrap_key(self._kwp(), carrier, wrapped, stored)

    def _destroy(self, session: Session, handle: int) -> None:
        """Destroy a token object."""
        with self._token.inventory():
            session.destroy_object(handle)

    def _seal(
        self,
        session: Session,
        recipient: rsa.RSAPublicKey,
        *,
        number: int,
        wrap: int,
        mac: int,
        older: Mapping[int, bytes],
    ) -> bytes:
        numbers = recipient.public_numbers()
        public = session.create_object(
            {
                cryptoki.CKA_CLASS: cryptoki.CKO_PUBLIC_KEY,
                cryptoki.CKA_KEY_TYPE: cryptoki.CKK_RSA,
                cryptoki.CKA_TOKEN: False,
                cryptoki.CKA_WRAP: True,
                cryptoki.CKA_ENCRYPT: False,
                cryptoki.CKA_VERIFY: False,
                cryptoki.CKA_MODULUS: _bytes(numbers.n),
                cryptoki.CKA_PUBLIC_EXPONENT: _bytes(numbers.e),
            }
        )
        with destroying(session, public):
            keys = tuple(session.wrap_key(Mechanism.oaep(), public, key) for key in (wrap, mac))
        sealed = SealedGeneration(Technology.PKCS11, OaepHash.SHA_1, self.domain, number, keys)
        return sealed.proved(
            lambda proven: session.sign(Mechanism(_HMAC), mac, proven),
            {other: functools.partial(self._voucher, session, id_) for other, id_ in older.items()},
        ).encode()

    def _voucher(self, session: Session, id_: bytes, proven: bytes) -> bytes:
        return session.sign(Mechanism(_HMAC), self._find(session, _MAC, id_), proven)

    def _transport_key(self, session: Session) -> bytes:
        privates = {id_ for id_, _ in self._objects(session, _TRANSPORT, cryptoki.CKO_PRIVATE_KEY)}
        publics = sorted(self._objects(session, _TRANSPORT, cryptoki.CKO_PUBLIC_KEY))
        found = [handle for id_, handle in publics if id_ in privates]
        if not found:
            found = [self._new_transport_key(session)]
        return rsa_spki(session, found[0])

    def _new_transport_key(self, session: Session) -> int:
        name: dict[int, bool | int | bytes] = {
            cryptoki.CKA_TOKEN: True,
            cryptoki.CKA_PRIVATE: True,
            cryptoki.CKA_LABEL: self._label(_TRANSPORT),
            cryptoki.CKA_ID: secrets.token_bytes(_NONCE_BYTES),
        }
        with self._token.inventory():
            public, _ = session.generate_key_pair(
                Mechanism(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN),
                rsa_public(sealed_generation.MIN_RSA_BITS) | name,
                private_key(cryptoki.CKK_RSA, cryptoki.CKA_UNWRAP) | name,
            )
        return public

    def _take(
        self,
        sealed: SealedGeneration,
        generation: int,
        ciphertexts: tuple[bytes, ...] | None,
        *,
        is_trusted: bool,
    ) -> None:
        sealed.check(Technology.PKCS11, self.domain, generation)
        keys = ciphertexts or sealed.keys
        if len(keys) != 2:  # noqa: PLR2004 - wrap and mac
            raise Damaged

        def operation(session: Session) -> None:
            held = self._pairs(session)
            if generation in held:
                try:
                    self._check(session, held[generation], sealed, sealed.proof)
                except Damaged:
                    raise ValueError(f"generation {generation} is there already, with another key") from None
                return
            voucher = sealed.voucher_of(held, is_trusted=is_trusted)
            if voucher:
                self._check(session, held[voucher], sealed, sealed.vouchers[voucher])
            for _, transport in self._objects(session, _TRANSPORT, cryptoki.CKO_PRIVATE_KEY):
                with contextlib.suppress(Damaged), self._opened(session, transport, keys) as (wrap, mac):
                    _verify(session, mac, sealed.proven(), sealed.proof)
                    if self._store(session, generation, wrap, mac, None, alone=False):
                        return
                    raise HsmUnavailable(
                        f"Generation {generation} was removed while it was stored: try again."
                    )
            raise Damaged

        call(self._token, operation)
        self.look()

    def _check(self, session: Session, id_: bytes, sealed: SealedGeneration, proof: bytes) -> None:
        _verify(session, self._find(session, _MAC, id_), sealed.proven(), proof)

    @contextlib.contextmanager
    def _opened(self, session: Session, transport: int, keys: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
        """Session objects of the two keys; Damaged where they were sealed to another transport key."""
        templates = (
            secret_key(cryptoki.CKK_AES, cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP, extractable=True),
            secret_key(cryptoki.CKK_GENERIC_SECRET, cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, extractable=True),
        )
        opened: list[int] = []
        try:
            for ciphertext, template in zip(keys, templates, strict=True):
                opened.append(session.unwrap_key(Mechanism.oaep(), transport, ciphertext, template))
            # A key that is not one of AES shows when it is used.
            session.wrap_key(self._kwp(), opened[0], opened[1])
        except CryptokiError as error:
            with destroying(session, *opened):
                raise judged(session, error) from None
        with destroying(session, *opened):
            yield opened[0], opened[1]


def rsa_public(bits: int) -> dict[int, bool | int | bytes]:
    """The template of the public half of a new RSA key. It is used outside of the token."""
    return {
        cryptoki.CKA_TOKEN: False,
        cryptoki.CKA_MODULUS_BITS: bits,
        cryptoki.CKA_PUBLIC_EXPONENT: b"\x01\x00\x01",
        cryptoki.CKA_WRAP: False,
        cryptoki.CKA_ENCRYPT: False,
        cryptoki.CKA_VERIFY: True,  # some tokens want a use
    }


def rsa_spki(session: Session, public: int) -> bytes:
    """SubjectPublicKeyInfo of an RSA public key object."""
    values = session.get_attributes(public, [cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT])
    n, e = (int.from_bytes(values[type_]) for type_ in (cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT))
    key = rsa.RSAPublicNumbers(e, n).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _verify(session: Session, key: int, message: bytes, mac: bytes) -> None:
    try:
        session.verify(Mechanism(_HMAC), key, message, mac)
    except CryptokiError as error:
        if error.code in _BAD_SIGNATURE:
            raise Damaged from None
        raise


def _generation(id_: bytes) -> int:
    return int.from_bytes(id_[:4])


def _bytes(number: int) -> bytes:
    return number.to_bytes(-(-number.bit_length() // 8))
