"""The caller's CMKs: read, checked and put to use."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from chalicelib import ids
from chalicelib.errors import (
    CmkNotFound,
    DecryptError,
    DecryptMaterialError,
    DuplicatedKeyId,
    EncryptionError,
    InvalidCiphertext,
    InvalidParameter,
    TokenExpired,
)
from chalicelib.formats import ciphertext_blob, post_quantum
from chalicelib.formats.canonical import associated_data
from chalicelib.formats.canonical import encryption_context as canonical_context
from chalicelib.hsm import public
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind, Padding, SignatureAlgorithm
from chalicelib.model.key import DAY, PQC_DECRYPT, USER, BackingKey, Key, KeyState, Origin, algorithm
from chalicelib.table import keys as rows
from chalicelib.table.port import Delete

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chalicelib.context import Context
    from chalicelib.table.port import Op, Row

SSM: Final = "ssm"
PENDING_DELETE_USED: Final = "KeyPendingDelete"
"""The warning of an event that tried to use a key which is scheduled for deletion."""
DEFAULT_SECRETS_ALIAS: Final = "kms-ssm"
"""The alias of the CMK that Secrets Manager makes for itself; users cannot take names that start with `kms-`."""

_HOUR: Final = 3600
_TOKEN_BYTES: Final = 32
_DIGEST: Final = "A message of type DIGEST has the length of the algorithm's digest."


class KeyStore:
    """The CMKs of one account in one region, for one call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._account = ctx.caller.account
        self._region = ctx.region

    def get(self, key_id: str, encryption_context: str = "") -> Key:
        """The key, once the caller is authorised for it and the audit event names it; raises CmkNotFound."""
        row = self._ctx.table.get(*rows.key_row_key(self._account, self._region, key_id))
        return self._admit(key_id, row, encryption_context)

    def authorise(self, key: Key, encryption_context: str = "") -> None:
        """Refuse a caller who may not do what was called to the key."""
        self._ctx.authorise(
            self.resource(key),
            creator_uin=key.creator_uin,
            tags=key.tags,
            encryption_context=encryption_context,
        )

    def _open_header(
        self, blob_text: str, encryption_context: str = ""
    ) -> tuple[ciphertext_blob.CiphertextBlob, Key, BackingKey | None]:
        """What a ciphertext says, its key and the backing key that made it: one read, however often it was rotated."""
        try:
            blob = ciphertext_blob.decode(blob_text)
        except Damaged:
            raise InvalidCiphertext from None
        key_row = rows.key_row_key(self._account, self._region, blob.key_id)
        backing_row = rows.backing_row_key(self._account, self._region, blob.key_id, blob.backing_version)
        found, older = self._ctx.table.batch_get([key_row, backing_row])
        try:
            key = self._admit(blob.key_id, found, encryption_context)
        except CmkNotFound:
            if found is None:
                # No key ever had this id here: the blob is damaged, or comes from another region or account.
                raise InvalidCiphertext from None
            raise
        self._warn(key)
        inline = {backing.version: backing for backing in key.backing}
        if blob.backing_version in inline:
            return blob, key, inline[blob.backing_version]
        return blob, key, rows.backing_from_row(older) if older is not None else None

    def peek(self, row: Row | None, key_id: str) -> Key:
        """The key in a row that was read along with others, for the service's own use: no check of the caller."""
        key = rows.from_row(row) if row is not None and not rows.is_tombstone(row) else None
        if key is None or (key.account, key.region, key.id) != (self._account, self._region, key_id):
            raise CmkNotFound
        if key.is_gone(self._ctx.now):
            raise CmkNotFound
        return key.as_of(self._ctx.now)

    def find_for_service(self, key_id: str) -> Key:
        """The key, for the service's own use on the account's behalf; raises CmkNotFound."""
        return self.peek(self._ctx.table.get(*rows.key_row_key(self._account, self._region, key_id)), key_id)

    def to_use(self, key_id: str, encryption_context: str = "") -> Key:
        """As `get`, for a call that puts the key to use: one that is pending deletion raises a warning in the trail."""
        key = self.get(key_id, encryption_context)
        self._warn(key)
        return key

    def get_many(self, key_ids: Sequence[str]) -> list[Key]:
        """As `get`, for all or none of up to 100 ids; raises DuplicatedKeyId."""
        if len(set(key_ids)) != len(key_ids):
            raise DuplicatedKeyId
        found = self._ctx.table.batch_get([rows.key_row_key(self._account, self._region, k) for k in key_ids])
        return [self._admit(key_id, row) for key_id, row in zip(key_ids, found, strict=True)]

    def find_many(self, key_ids: Sequence[str]) -> list[Key | None]:
        """As `get`, for up to 100 ids, with None for what does not exist."""
        found: list[Key | None] = []
        rows_found = self._ctx.table.batch_get(
            [rows.key_row_key(self._account, self._region, k) for k in key_ids]
        )
        for key_id, row in zip(key_ids, rows_found, strict=True):
            try:
                found.append(self._admit(key_id, row))
            except CmkNotFound:
                found.append(None)
        return found

    def describe(self, key: Key) -> dict[str, Any]:
        """As `metadata`, with the time of the key's last use (to the hour, 0 is never), which is an extension."""
        row = self._ctx.table.get(*rows.use_row_key(self._account, self._region, key.id))
        return {**self.metadata(key), "LastUsedTime": rows.used_at(row)}

    def metadata(self, key: Key) -> dict[str, Any]:
        """The key's properties, with where its material is used, which is an extension."""
        kind = key.current.kind if key.backing else algorithm(key.usage, key.standard)
        return {**key.metadata(), "ProtectionLevel": self._ctx.hsm.protection(KeyKind[kind])}

    def backing_history(self, key: Key) -> list[BackingKey]:
        """Every generation of the key's material that there is, oldest first."""
        pk, _ = rows.key_row_key(self._account, self._region, key.id)
        older: list[BackingKey] = []
        after = None
        while True:
            page = self._ctx.table.query(pk, prefix="V#", after=after, limit=1000)
            older += [rows.backing_from_row(row) for row in page]
            if len(page) < 1000:  # noqa: PLR2004 - a short page is the last one
                return [*older, *key.backing]
            after = page[-1].sk

    def note_use(self, key: Key) -> None:
        """Write down that the key was used, at most once an hour for each key and process."""
        hour = self._ctx.now - self._ctx.now % _HOUR
        place = (key.account, key.region, key.id)
        if hour not in (self._ctx.service.uses.get(place), self._ctx.uses.get(place)):
            self._ctx.uses[place] = hour
            self._ctx.trailing.append(rows.put_use(*place, self._ctx.now))

    def find_default(self) -> Key | None:
        """The CMK that Secrets Manager made for itself, if it has done so."""
        row = self._ctx.table.get(*rows.alias_row_key(self._account, self._region, DEFAULT_SECRETS_ALIAS))
        return self.find_for_service(rows.alias_owner(row)) if row else None

    def list_all(self) -> list[Key]:
        """Every key that is not gone, as it is now, oldest first."""
        now = self._ctx.now
        found = rows.list_all(self._ctx.table, self._account, self._region)
        return [key.as_of(now) for key in found if not key.is_gone(now)]

    def visible(self) -> list[Key]:
        """As `list_all`, but only what the caller may see in the called list, which is authorised by this."""
        return self._ctx.visible("key/*", self.list_all(), self.resource)

    def bound_to(self, key: Key, limit: int) -> list[str]:
        """Cloud resources that are bound to the key, as `product/resource`."""
        return rows.bound_resources(self._ctx.table, key, limit)

    def new(
        self,
        *,
        alias: str,
        usage: str,
        description: str = "",
        owner: str = USER,
        origin: Origin = Origin.TENCENT_KMS,
        tags: Mapping[str, str] | None = None,
    ) -> Key:
        """A key with fresh material from the HSM, or waiting for the user's; nothing is written yet."""
        key = Key(
            id=ids.key_id(self._ctx.now_ms),
            account=self._account,
            region=self._region,
            creator_uin=self._ctx.caller.uin,
            alias=alias,
            created_ms=self._ctx.now_ms,
            usage=usage,
            standard=self._ctx.standard,
            description=description,
            owner=owner,
            origin=origin,
            state=KeyState.PENDING_IMPORT if origin is Origin.EXTERNAL else KeyState.ENABLED,
            tags=tags or {},
        )
        return key if origin is Origin.EXTERNAL else self.with_new_backing(key)

    def kinds(self) -> frozenset[str]:
        """The kinds of keys that the HSM can make: SM2, say, needs a library that may be missing."""
        return frozenset(self._ctx.hsm.describe()["kinds"].split(","))

    def with_new_backing(self, key: Key) -> Key:
        """The key with one more backing key from the HSM, which new ciphertexts will be made with."""
        kind = KeyKind[algorithm(key.usage, key.standard)]
        version = key.backing[-1].version + 1 if key.backing else 1
        token = self._ctx.hsm.generate(kind, self._binding(key, version)).token
        backing = BackingKey(version, kind.name, token, self._ctx.now)
        return replace(key, backing=(*key.backing, backing))

    def hsm_key(self, key: Key, backing: BackingKey) -> HsmKey:
        """What the HSM needs to use a backing key."""
        return HsmKey(KeyKind[backing.kind], backing.token, self._binding(key, backing.version))

    def encrypt(self, key: Key, plaintext: bytes, encryption_context: str) -> str:
        """A CiphertextBlob under the key's current material."""
        backing = key.current
        place = ciphertext_blob.associated_data_for(key.id, backing.version, _canonical(encryption_context))
        message = self._ctx.hsm.encrypt(self.hsm_key(key, backing), plaintext, place)
        self.note_use(key)
        return ciphertext_blob.encode(key.id, backing.version, message)

    def open_blob(self, blob_text: str, encryption_context: str) -> tuple[Key, int, bytes]:
        """The key that a CiphertextBlob names, the version of its material, and the plaintext.

        Once the key is found and may decrypt, every kind of damage has one outcome, a wrong context included:
        InvalidCiphertext.
        """
        context = _canonical(encryption_context)
        blob, key, backing = self._open_header(blob_text, encryption_context)
        key.check_decrypts()
        if backing is None:
            raise InvalidCiphertext
        place = ciphertext_blob.associated_data_for(key.id, blob.backing_version, context)
        try:
            plaintext = self._ctx.hsm.decrypt(self.hsm_key(key, backing), blob.message, place)
        except Damaged:
            raise InvalidCiphertext from None
        self.note_use(key)
        return key, blob.backing_version, plaintext

    def same_context(self, one: str, other: str) -> bool:
        """Whether two encryption contexts mean the same."""
        return _canonical(one) == _canonical(other)

    def rotated(self, key: Key) -> Key:
        """The key with fresh material for new ciphertexts."""
        return replace(self.with_new_backing(key), last_rotated_at=self._ctx.now)

    def wrap_plaintext(self, plaintext: bytes, encryption_public_key: str, encryption_algorithm: str) -> str:
        """Base64 of a plaintext, or of its encryption to the caller's public key where there is one."""
        if encryption_public_key:
            try:
                padding = Padding(encryption_algorithm or Padding.SM2_RAW.value)
                plaintext = public.encrypt_to(encryption_public_key, padding, plaintext)
            except ValueError:
                raise EncryptionError from None
        return base64.b64encode(plaintext).decode()

    def public_key(self, key: Key) -> bytes:
        """SubjectPublicKeyInfo in DER of an asymmetric key."""
        return self._ctx.hsm.public_key(self.hsm_key(key, key.current))

    def sign(self, key: Key, algorithm: str, message: bytes, *, is_digest: bool) -> bytes:
        """A signature; InvalidParameter for a digest of the wrong length."""
        self.note_use(key)
        try:
            return self._ctx.hsm.sign(
                self.hsm_key(key, key.current), SignatureAlgorithm(algorithm), message, is_digest=is_digest
            )
        except ValueError:
            raise InvalidParameter(_DIGEST) from None

    def is_signed(
        self, key: Key, algorithm: str, message: bytes, signature: bytes, *, is_digest: bool
    ) -> bool:
        """Whether the signature is the key's; InvalidParameter for a digest of the wrong length."""
        self.note_use(key)
        try:
            public.verify(
                self.public_key(key), SignatureAlgorithm(algorithm), message, signature, is_digest=is_digest
            )
        except public.BadSignature:
            return False
        except ValueError:
            raise InvalidParameter(_DIGEST) from None
        return True

    def decrypt_asymmetric(self, key: Key, padding: Padding, ciphertext: bytes) -> bytes:
        """The plaintext; DecryptError for every bad ciphertext alike."""
        self.note_use(key)
        try:
            return self._ctx.hsm.decrypt_asymmetric(self.hsm_key(key, key.current), padding, ciphertext)
        except Damaged:
            raise DecryptError from None

    def encrypt_post_quantum(self, key: Key, plaintext: bytes) -> str:
        """A CiphertextBlob under a shared secret that only the key's private half recovers (KS-FMT-9)."""
        self.note_use(key)
        secret, encapsulated = public.encapsulate(self.public_key(key))
        message = post_quantum.seal(secret, encapsulated, self._place(key, key.current.version), plaintext)
        return ciphertext_blob.encode(key.id, key.current.version, message)

    def decrypt_post_quantum(self, blob_text: str) -> tuple[Key, bytes]:
        """The key that the CiphertextBlob names, and the plaintext; InvalidCiphertext for every kind of damage."""
        blob, key, backing = self._open_header(blob_text)
        key.check_post_quantum(PQC_DECRYPT)
        key.check_may_decrypt()
        if backing is None:
            raise InvalidCiphertext
        try:
            secret = self._ctx.hsm.decapsulate(
                self.hsm_key(key, backing), post_quantum.encapsulated(blob.message)
            )
            plaintext = post_quantum.open_sealed(secret, blob.message, self._place(key, backing.version))
        except Damaged:
            raise InvalidCiphertext from None
        self.note_use(key)
        return key, plaintext

    def import_parameters(self, key: Key, wrapping_algorithm: str) -> tuple[bytes, bytes, int, list[Op]]:
        """An import token, the public key to wrap the material to, when both expire, and the ops that keep them."""
        token = self._ctx.hsm.random(_TOKEN_BYTES)
        place = self._import_place(key, token)
        wrapping = self._ctx.hsm.generate(KeyKind.RSA_2048, rows.import_binding(place))
        expires_at = self._ctx.now + DAY
        ops = [rows.put_import_key(place, wrapping.token, wrapping_algorithm, expires_at)]
        return token, self._ctx.hsm.public_key(wrapping), expires_at, ops

    def imported(self, key: Key, token: bytes, wrapped: bytes, *, valid_to: int) -> tuple[Key, list[Op]]:
        """The key with the material that the user wrapped, and the op that uses up the token."""
        place = self._import_place(key, token)
        row = self._ctx.table.get(*place)
        if row is None:
            raise TokenExpired
        kind = KeyKind[algorithm(key.usage, key.standard)]
        wrapping_token, wrapping_algorithm = rows.import_key(row)
        wrapping = HsmKey(KeyKind.RSA_2048, wrapping_token, rows.import_binding(place))
        try:
            material = self._ctx.hsm.import_key(
                wrapping, Padding(wrapping_algorithm), wrapped, kind, self._binding(key, 1)
            )
        except Damaged:
            raise DecryptMaterialError from None
        backing = BackingKey(1, kind.name, material.token, self._ctx.now)
        new = key.import_material(backing, self._ctx.hsm.check_value(material), valid_to=valid_to)
        return new, [Delete(*place, row.version)]

    def resource(self, key: Key) -> str:
        """The key's name in policies."""
        return self._name(key.creator_uin, key.id)

    def _name(self, creator_uin: str, key_id: str) -> str:
        return f"qcs::kms:{self._region}:uin/{self._account}:key/creatorUin/{creator_uin}/{key_id}"

    def _admit(self, key_id: str, row: Row | None, encryption_context: str = "") -> Key:
        self._ctx.event.note("key", key_id)
        try:
            key = self.peek(row, key_id)
        except CmkNotFound:
            # Who may not touch keys does not learn which ones exist.
            creators = dict.fromkeys((self._ctx.caller.uin, self._account))
            self._ctx.authorise_one_of(*(self._name(uin, key_id) for uin in creators))
            raise
        self.authorise(key, encryption_context)
        return key

    def _warn(self, key: Key) -> None:
        if key.state is KeyState.PENDING_DELETE:
            self._ctx.event.warning = PENDING_DELETE_USED

    def _place(self, key: Key, version: int) -> bytes:
        return associated_data("post-quantum", key.account, key.region, key.id, version)

    def _import_place(self, key: Key, token: bytes) -> tuple[str, str]:
        # Only a hash is kept: whoever reads the table cannot import.
        token_hash = hashlib.sha256(token).hexdigest()
        return rows.import_row_key(key.account, key.region, key.id, token_hash)

    def _binding(self, key: Key, version: int) -> bytes:
        return rows.backing_binding(key.account, key.region, key.id, version)


def _canonical(encryption_context: str) -> bytes:
    try:
        return canonical_context(encryption_context)
    except ValueError:
        raise InvalidParameter(
            "EncryptionContext is a JSON object of strings, without duplicate names."
        ) from None
