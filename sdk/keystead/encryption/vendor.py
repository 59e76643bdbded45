"""The vendor's call names for programs that migrate, over `Client`: InitSdk ... Decrypt, as in its Python SDK.

The bytes are those of docs/encryption-sdk-format.md: the vendor's own are not published, so what its SDK encrypted has to be
decrypted with it first. Return codes are the vendor's; nothing is raised. New programs use `Client`.
"""

import enum
import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keystead.api import TENCENT_CLOUD, Api
from keystead.credentials import Credential, CredentialError
from keystead.encryption.cache import CacheLimits
from keystead.encryption.client import Client
from keystead.encryption.envelope import MasterKey
from keystead.encryption.errors import Damaged, EncryptionError, KeysUnavailable
from keystead.encryption.format import MAX_EDKS, MAX_FRAME_BYTES, decode_context, decode_edks, header_of
from keystead.encryption.kms import ApiKms
from keystead.encryption.suites import Suite

WITHOUT_BLOCK: Final = 1
"""`MsgHead.blockType` of a message that was not cut into blocks."""
WITH_BLOCK: Final = 2
"""`MsgHead.blockType` of a message in blocks of `blockLength`."""
_VENDOR_SUITES: Final = range(1, 9)


class Code(enum.IntEnum):
    """What the calls return; those that this implementation gives."""

    ES_OK = 0
    """Done."""
    ES_ERROR = -1
    """An argument that makes no sense, or another failure."""
    SOURCE_EMPTY = -2
    """There is nothing to encrypt or decrypt."""
    NO_CMKEY = -3
    """There is no CMK."""
    ALGRITHM_ERR = -4
    """Not 1 to 8, or a weak one without `allowWeak`."""
    GENERATE_DATAKEY = -5
    """KMS made no data key."""
    DECRYPT_DATAKEY = -11
    """KMS opened none of the data keys."""
    DIGEST_INVALIDATE = -13
    """The message is damaged."""


@dataclass(frozen=True)
class EncryptedDataKey:
    """The data key under one CMK, as MsgHead has it."""

    cmkRegion: str  # noqa: N815 - the vendor's name
    """Region of the CMK."""
    cmkKeyId: str  # noqa: N815 - the vendor's name
    """Id of the CMK."""
    dataKey: str  # noqa: N815 - the vendor's name
    """CiphertextBlob."""


@dataclass(frozen=True)
class MsgHead:
    """The header of a message."""

    algorithm: int
    """1 to 8."""
    encryptionContext: str  # noqa: N815 - the vendor's name
    """JSON, or empty."""
    dataKeyNum: int  # noqa: N815 - the vendor's name
    """Length of `dataKey`."""
    dataKey: tuple[EncryptedDataKey, ...]  # noqa: N815 - the vendor's name
    """One for each CMK that had answered."""
    blockType: int  # noqa: N815 - the vendor's name
    """WITH_BLOCK or WITHOUT_BLOCK."""
    blockLength: int  # noqa: N815 - the vendor's name
    """Bytes of plaintext in a block; 0 without blocks."""


@dataclass
class KeyManager:
    """The data keys, the CMKs that open messages, and who calls KMS. Threads may share it."""

    keys: tuple[MasterKey, ...]
    """The CMKs that open messages."""
    limits: CacheLimits
    """Of each cache."""
    api: Api
    """What calls KMS."""
    allow_weak: bool
    """Whether the algorithms 2, 6, 7 and 8 are admitted."""
    clients: dict[tuple[tuple[MasterKey, ...], int, int], Client] = field(default_factory=dict, repr=False)
    """One for each kind of message, made when it is needed."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Of `clients`."""

    def client(self, keys: tuple[MasterKey, ...], suite: Suite, frame_bytes: int) -> Client:
        """The client with this manager's cache for messages of one kind."""
        place = keys, int(suite), frame_bytes
        with self.lock:
            if place not in self.clients:
                self.clients[place] = Client(
                    ApiKms(self.api),
                    keys[0],
                    keys[1:],
                    suite=suite,
                    frame_bytes=frame_bytes,
                    cache=self.limits,
                    allow_weak=self.allow_weak,
                )
            return self.clients[place]


_endpoint: list[str] = [TENCENT_CLOUD]


def InitSdk(region: str, secretId: str, secretKey: str, domainName: str = "") -> int:
    """Set the endpoint of all managers that are made afterwards, and check the arguments; KMS is not called.

    `domainName` is a host (HTTPS) or a URL; else the variable TENCENT_SDK_DOMAIN; else the vendor's cloud.
    """
    domain = domainName or os.environ.get("TENCENT_SDK_DOMAIN", "")  # noqa: TID251 - it is how the vendor's SDK is told
    endpoint = domain if "://" in domain else f"https://{domain}" if domain else TENCENT_CLOUD
    try:
        Api(Credential(secretId, secretKey), endpoint=endpoint)
    except (ValueError, CredentialError):
        return Code.ES_ERROR
    if not region:
        return Code.ES_ERROR
    _endpoint[0] = endpoint
    return Code.ES_OK


def NewMasterKey(region: str, keyId: str) -> tuple[int, list[MasterKey]]:
    """A list of CMKs with its primary."""
    return AddMasterKey([], region, keyId)


def AddMasterKey(masterKeys: list[MasterKey], region: str, keyId: str) -> tuple[int, list[MasterKey]]:
    """The list with one CMK more, five at most. The list that is given stays as it is."""
    key = MasterKey(region, keyId)
    if not region or not keyId or key in masterKeys or len(masterKeys) >= MAX_EDKS:
        return Code.ES_ERROR, masterKeys
    return Code.ES_OK, [*masterKeys, key]


def InitKeyManager(
    masterKey: list[MasterKey],
    msgCount: int,
    enExpiretime: int,
    deExpiretime: int,
    id: str,  # noqa: A002 - the vendor's name
    key: str,
    *,
    allowWeak: bool = False,
) -> KeyManager:
    """Messages for each data key (0: no limit), seconds that it encrypts and decrypts (0: no limit), SecretId and SecretKey.

    `allowWeak`, which the vendor does not have, admits the algorithms 2, 6, 7 and 8. Raises ValueError or CredentialError
    for arguments that make no manager, because there is no code to return.
    """
    limits = CacheLimits(
        messages=msgCount or 1 << 32,
        encrypt_seconds=enExpiretime or math.inf,
        decrypt_seconds=deExpiretime or math.inf,
    )
    api = Api(Credential(id, key), endpoint=_endpoint[0], timeout=3, retries=1)
    return KeyManager(tuple(masterKey), limits, api, allowWeak)


def Encrypt(
    source: bytes,
    km: KeyManager,
    masterKeys: list[MasterKey],
    algorithm: int,
    encryptionContext: str | Mapping[str, str] = "",
    blockSize: int = 0,
) -> tuple[int, MsgHead | None, bytes]:
    """Code, header and message. `algorithm` is 1 to 8; the context is a JSON object of texts; `blockSize` 0 is no blocks.

    Without blocks the format still cuts at 1 MiB.
    """
    if not source:
        return Code.SOURCE_EMPTY, None, b""
    if not masterKeys:
        return Code.NO_CMKEY, None, b""
    if algorithm not in _VENDOR_SUITES or (Suite(algorithm).is_weak and not km.allow_weak):
        return Code.ALGRITHM_ERR, None, b""
    try:
        context = _context(encryptionContext)
        client = km.client(tuple(masterKeys), Suite(algorithm), blockSize or MAX_FRAME_BYTES)
        message = client.encrypt(source, context)
    except KeysUnavailable:
        return Code.GENERATE_DATAKEY, None, b""
    except (EncryptionError, TypeError, ValueError):
        return Code.ES_ERROR, None, b""
    return Code.ES_OK, _head(message), message


def Decrypt(source: bytes, km: KeyManager) -> tuple[int, MsgHead | None, bytes]:
    """Code, header and plaintext; neither of them unless the whole message was checked, as far as its mode can be."""
    if not source:
        return Code.SOURCE_EMPTY, None, b""
    if not km.keys:
        return Code.NO_CMKEY, None, b""
    try:
        plaintext = km.client(km.keys, Suite.SM4_GCM, MAX_FRAME_BYTES).decrypt(source).plaintext
    except KeysUnavailable:
        return Code.DECRYPT_DATAKEY, None, b""
    except Damaged:
        return Code.DIGEST_INVALIDATE, None, b""
    except (EncryptionError, TypeError, ValueError):
        return Code.ES_ERROR, None, b""
    return Code.ES_OK, _head(source), plaintext


def _context(given: str | Mapping[str, str]) -> Mapping[str, str]:
    try:
        read: Any = json.loads(given or "{}") if isinstance(given, str) else given
    except RecursionError:
        read = None
    if not isinstance(read, Mapping):
        raise ValueError("An encryption context is a JSON object.")  # noqa: TRY004 - of what was read
    return read


def _head(message: bytes) -> MsgHead:
    header = header_of(message)
    edks = tuple(EncryptedDataKey(edk.region, edk.key_id, edk.ciphertext) for edk in decode_edks(header.edks))
    context = decode_context(header.context)
    has_blocks = header.frame_bytes != MAX_FRAME_BYTES
    return MsgHead(
        int(header.suite),
        json.dumps(context, ensure_ascii=False) if context else "",
        len(edks),
        edks,
        WITH_BLOCK if has_blocks else WITHOUT_BLOCK,
        header.frame_bytes if has_blocks else 0,
    )
