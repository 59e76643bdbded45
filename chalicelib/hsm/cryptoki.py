"""PKCS #11 v2.40 through ctypes: what the standard says, and no policy.

Every call releases the interpreter lock, modules lock by the operating system's primitives, and any mechanism, attribute or key
type may be named by its number, those of vendors too. Names and numbers are the standard's (OASIS, PKCS #11 Cryptographic Token
Interface Base Specification 2.40, and Current Mechanisms 2.40). Structures have the natural alignment of Unix.
"""

import ctypes
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_ubyte, c_ulong, c_void_p
from dataclasses import dataclass
from typing import Any, Final

from chalicelib.hsm.port import HsmMisconfigured

CKR_HOST_MEMORY: Final = 0x02
CKR_SLOT_ID_INVALID: Final = 0x03
CKR_GENERAL_ERROR: Final = 0x05
CKR_FUNCTION_FAILED: Final = 0x06
CKR_ARGUMENTS_BAD: Final = 0x07
CKR_ATTRIBUTE_TYPE_INVALID: Final = 0x12
CKR_ATTRIBUTE_VALUE_INVALID: Final = 0x13
CKR_DATA_INVALID: Final = 0x20
CKR_DATA_LEN_RANGE: Final = 0x21
CKR_DEVICE_ERROR: Final = 0x30
CKR_DEVICE_MEMORY: Final = 0x31
CKR_DEVICE_REMOVED: Final = 0x32
CKR_ENCRYPTED_DATA_INVALID: Final = 0x40
CKR_ENCRYPTED_DATA_LEN_RANGE: Final = 0x41
CKR_FUNCTION_NOT_SUPPORTED: Final = 0x54
CKR_KEY_HANDLE_INVALID: Final = 0x60
CKR_KEY_FUNCTION_NOT_PERMITTED: Final = 0x68
CKR_MECHANISM_INVALID: Final = 0x70
CKR_MECHANISM_PARAM_INVALID: Final = 0x71
CKR_OBJECT_HANDLE_INVALID: Final = 0x82
CKR_PIN_INCORRECT: Final = 0xA0
CKR_PIN_INVALID: Final = 0xA1
CKR_PIN_LEN_RANGE: Final = 0xA2
CKR_PIN_EXPIRED: Final = 0xA3
CKR_PIN_LOCKED: Final = 0xA4
CKR_SESSION_CLOSED: Final = 0xB0
CKR_SESSION_COUNT: Final = 0xB1
CKR_SESSION_HANDLE_INVALID: Final = 0xB3
CKR_SIGNATURE_INVALID: Final = 0xC0
CKR_SIGNATURE_LEN_RANGE: Final = 0xC1
CKR_TEMPLATE_INCONSISTENT: Final = 0xD1
CKR_TOKEN_NOT_PRESENT: Final = 0xE0
CKR_TOKEN_NOT_RECOGNIZED: Final = 0xE1
CKR_USER_ALREADY_LOGGED_IN: Final = 0x100
CKR_USER_NOT_LOGGED_IN: Final = 0x101
CKR_USER_PIN_NOT_INITIALIZED: Final = 0x102
CKR_WRAPPED_KEY_INVALID: Final = 0x110
CKR_WRAPPED_KEY_LEN_RANGE: Final = 0x112
CKR_BUFFER_TOO_SMALL: Final = 0x150
CKR_CRYPTOKI_NOT_INITIALIZED: Final = 0x190
CKR_CRYPTOKI_ALREADY_INITIALIZED: Final = 0x191

CKF_USER_PIN_INITIALIZED: Final = 0x08
CKF_USER_PIN_FINAL_TRY: Final = 0x20000
CKF_USER_PIN_LOCKED: Final = 0x40000
CKF_TOKEN_INITIALIZED: Final = 0x400

CKO_PUBLIC_KEY: Final = 2
CKO_PRIVATE_KEY: Final = 3
CKO_SECRET_KEY: Final = 4

CKK_RSA: Final = 0x00
CKK_EC: Final = 0x03
CKK_GENERIC_SECRET: Final = 0x10
CKK_AES: Final = 0x1F

CKA_CLASS: Final = 0x00
CKA_TOKEN: Final = 0x01
CKA_PRIVATE: Final = 0x02
CKA_LABEL: Final = 0x03
CKA_VALUE: Final = 0x11
CKA_KEY_TYPE: Final = 0x100
CKA_ID: Final = 0x102
CKA_SENSITIVE: Final = 0x103
CKA_ENCRYPT: Final = 0x104
CKA_DECRYPT: Final = 0x105
CKA_WRAP: Final = 0x106
CKA_UNWRAP: Final = 0x107
CKA_SIGN: Final = 0x108
CKA_VERIFY: Final = 0x10A
CKA_DERIVE: Final = 0x10C
CKA_MODULUS: Final = 0x120
CKA_MODULUS_BITS: Final = 0x121
CKA_PUBLIC_EXPONENT: Final = 0x122
CKA_PRIVATE_EXPONENT: Final = 0x123
CKA_VALUE_LEN: Final = 0x161
CKA_EXTRACTABLE: Final = 0x162
CKA_COPYABLE: Final = 0x171
CKA_EC_PARAMS: Final = 0x180
CKA_EC_POINT: Final = 0x181

CKM_RSA_PKCS_KEY_PAIR_GEN: Final = 0x0000
CKM_RSA_PKCS: Final = 0x0001
CKM_RSA_X_509: Final = 0x0003
CKM_RSA_PKCS_OAEP: Final = 0x0009
CKM_RSA_PKCS_PSS: Final = 0x000D
CKM_SHA256_RSA_PKCS_PSS: Final = 0x0043
CKM_SHA_1: Final = 0x0220
CKM_SHA256: Final = 0x0250
CKM_SHA256_HMAC: Final = 0x0251
CKM_GENERIC_SECRET_KEY_GEN: Final = 0x0350
CKM_EC_KEY_PAIR_GEN: Final = 0x1040
CKM_ECDSA: Final = 0x1041
CKM_AES_KEY_GEN: Final = 0x1080
CKM_AES_ECB: Final = 0x1081
CKM_AES_GCM: Final = 0x1087
CKM_AES_KEY_WRAP: Final = 0x2109
CKM_AES_KEY_WRAP_PAD: Final = 0x210A

CKG_MGF1_SHA1: Final = 1
CKG_MGF1_SHA256: Final = 2

_CKF_OS_LOCKING_OK: Final = 2
_CKF_RW_SERIAL_SESSION: Final = 6
_CKU_USER: Final = 1
_CKZ_DATA_SPECIFIED: Final = 1
_UNAVAILABLE_LENGTH: Final = c_ulong(-1).value
"""What a length becomes when its attribute cannot be read (CK_UNAVAILABLE_INFORMATION)."""

_HEADROOM: Final = 1024
"""Bytes that an output may be longer than its input: an RSA-8192 block, a tag and an IV."""
_KEPT_BYTES: Final = 64 * 1024
"""Output buffers up to this size stay with their session."""

Attributes = Mapping[int, bool | int | bytes]
"""A template: CKA number to CK_BBOOL, CK_ULONG or bytes."""


class CryptokiError(Exception):
    """A function of the module answered something else than CKR_OK."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function}: CKR 0x{code:08X}")
        self.function = function
        self.code = code


class _Version(Structure):
    _fields_ = (("major", c_ubyte), ("minor", c_ubyte))


class _InitializeArgs(Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        ("create_mutex", c_void_p),
        ("destroy_mutex", c_void_p),
        ("lock_mutex", c_void_p),
        ("unlock_mutex", c_void_p),
        ("flags", c_ulong),
        ("reserved", c_void_p),
    )


class _TokenInfo(Structure):
    """CK_TOKEN_INFO."""

    _fields_ = (
        ("label", c_char * 32),
        ("manufacturer", c_char * 32),
        ("model", c_char * 16),
        ("serial", c_char * 16),
        ("flags", c_ulong),
        ("counts", c_ulong * 10),
        ("hardware", _Version),
        ("firmware", _Version),
        ("utc_time", c_char * 16),
    )


class _Attribute(Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("type", c_ulong), ("value", c_void_p), ("length", c_ulong))


class _Mechanism(Structure):
    """CK_MECHANISM."""

    _fields_ = (("mechanism", c_ulong), ("parameter", c_void_p), ("length", c_ulong))
    kept: object = None
    """What `parameter` points to."""


class _GcmParams(Structure):
    """CK_GCM_PARAMS."""

    _fields_ = (
        ("iv", c_void_p),
        ("iv_length", c_ulong),
        ("iv_bits", c_ulong),
        ("aad", c_char_p),
        ("aad_length", c_ulong),
        ("tag_bits", c_ulong),
    )
    kept: object = None
    """What `iv` points to."""


class _OaepParams(Structure):
    """CK_RSA_PKCS_OAEP_PARAMS."""

    _fields_ = (
        ("hash", c_ulong),
        ("mgf", c_ulong),
        ("source", c_ulong),
        ("source_data", c_char_p),
        ("source_length", c_ulong),
    )


class _PssParams(Structure):
    """CK_RSA_PKCS_PSS_PARAMS."""

    _fields_ = (("hash", c_ulong), ("mgf", c_ulong), ("salt_length", c_ulong))


_FUNCTIONS: Final = (
    "Initialize Finalize GetInfo GetFunctionList GetSlotList GetSlotInfo GetTokenInfo GetMechanismList GetMechanismInfo"
    " InitToken InitPIN SetPIN OpenSession CloseSession CloseAllSessions GetSessionInfo GetOperationState"
    " SetOperationState Login Logout CreateObject CopyObject DestroyObject GetObjectSize GetAttributeValue"
    " SetAttributeValue FindObjectsInit FindObjects FindObjectsFinal EncryptInit Encrypt EncryptUpdate EncryptFinal"
    " DecryptInit Decrypt DecryptUpdate DecryptFinal DigestInit Digest DigestUpdate DigestKey DigestFinal SignInit Sign"
    " SignUpdate SignFinal SignRecoverInit SignRecover VerifyInit Verify VerifyUpdate VerifyFinal VerifyRecoverInit"
    " VerifyRecover DigestEncryptUpdate DecryptDigestUpdate SignEncryptUpdate DecryptVerifyUpdate GenerateKey"
    " GenerateKeyPair WrapKey UnwrapKey DeriveKey SeedRandom GenerateRandom GetFunctionStatus CancelFunction"
    " WaitForSlotEvent"
)
"""In the order of CK_FUNCTION_LIST."""


class _FunctionList(Structure):
    """CK_FUNCTION_LIST."""

    _fields_ = (("version", _Version), *((name, c_void_p) for name in _FUNCTIONS.split()))


_ulong, _in, _out, _count = c_ulong, c_char_p, c_void_p, c_void_p
_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "Initialize": (c_void_p,),
    "Finalize": (c_void_p,),
    "GetSlotList": (c_ubyte, c_void_p, _count),
    "GetTokenInfo": (_ulong, c_void_p),
    "GetMechanismList": (_ulong, c_void_p, _count),
    "OpenSession": (_ulong, _ulong, c_void_p, c_void_p, c_void_p),
    "CloseSession": (_ulong,),
    "Login": (_ulong, _ulong, c_void_p, _ulong),
    "CreateObject": (_ulong, c_void_p, _ulong, c_void_p),
    "DestroyObject": (_ulong, _ulong),
    "GetAttributeValue": (_ulong, _ulong, c_void_p, _ulong),
    "SetAttributeValue": (_ulong, _ulong, c_void_p, _ulong),
    "FindObjectsInit": (_ulong, c_void_p, _ulong),
    "FindObjects": (_ulong, c_void_p, _ulong, _count),
    "FindObjectsFinal": (_ulong,),
    "EncryptInit": (_ulong, c_void_p, _ulong),
    "Encrypt": (_ulong, _in, _ulong, _out, _count),
    "DecryptInit": (_ulong, c_void_p, _ulong),
    "Decrypt": (_ulong, _in, _ulong, _out, _count),
    "SignInit": (_ulong, c_void_p, _ulong),
    "Sign": (_ulong, _in, _ulong, _out, _count),
    "VerifyInit": (_ulong, c_void_p, _ulong),
    "Verify": (_ulong, _in, _ulong, _in, _ulong),
    "GenerateKey": (_ulong, c_void_p, c_void_p, _ulong, c_void_p),
    "GenerateKeyPair": (
        *(_ulong, c_void_p, c_void_p, _ulong, c_void_p, _ulong),
        *(c_void_p, c_void_p),
    ),
    "WrapKey": (_ulong, c_void_p, _ulong, _ulong, _out, _count),
    "UnwrapKey": (_ulong, c_void_p, _ulong, _in, _ulong, c_void_p, _ulong, c_void_p),
    "GenerateRandom": (_ulong, c_void_p, _ulong),
}


class Mechanism:
    """CK_MECHANISM with its parameter. Made for one call at a time."""

    __slots__ = ("_iv", "number", "reference")

    def __init__(self, number: int, parameter: bytes | Structure | None = None) -> None:
        self.number = number
        self._iv: ctypes.Array[c_char] | None = None
        structure = _Mechanism(number, None, 0)
        if parameter is not None:
            kept = (
                ctypes.create_string_buffer(parameter, len(parameter))
                if isinstance(parameter, bytes)
                else parameter
            )
            structure.kept = kept
            structure.parameter, structure.length = ctypes.addressof(kept), ctypes.sizeof(kept)
        self.reference = byref(structure)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(0x{self.number:08X})"

    @property
    def iv(self) -> bytes:
        """GCM's IV: what was given, or what the token wrote there while it encrypted."""
        return b"" if self._iv is None else self._iv.raw

    @classmethod
    def gcm(
        cls, iv: bytes | None, aad: bytes, *, number: int = CKM_AES_GCM, tag_bits: int = 128
    ) -> "Mechanism":
        """AES-GCM; without an IV the pointer is NULL, and the token makes one and puts it where it says."""
        parameters = _GcmParams(None, 0, 0, aad, len(aad), tag_bits)
        mechanism = cls(number, parameters)
        if iv is not None:
            buffer = mechanism._iv = parameters.kept = ctypes.create_string_buffer(iv, len(iv))
            parameters.iv = ctypes.addressof(buffer)
            parameters.iv_length = len(iv)
            parameters.iv_bits = len(iv) * 8
        return mechanism

    @classmethod
    def oaep(cls, hash_mechanism: int = CKM_SHA_1, mgf: int = CKG_MGF1_SHA1) -> "Mechanism":
        """RSAES-OAEP (RFC 8017, 7.1) with an empty label."""
        return cls(CKM_RSA_PKCS_OAEP, _OaepParams(hash_mechanism, mgf, _CKZ_DATA_SPECIFIED, None, 0))

    @classmethod
    def pss(cls, number: int, hash_mechanism: int, mgf: int, salt_bytes: int) -> "Mechanism":
        """RSASSA-PSS (RFC 8017, 8.1): of a digest with CKM_RSA_PKCS_PSS, of a message with CKM_SHA256_RSA_PKCS_PSS."""
        return cls(number, _PssParams(hash_mechanism, mgf, salt_bytes))


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What C_GetTokenInfo tells."""

    label: str
    manufacturer: str
    model: str
    serial: str
    flags: int


class Module:
    """A loaded PKCS #11 library. Made by `load`."""

    def __init__(self, path: str) -> None:
        """HsmMisconfigured for what is not a PKCS #11 library."""
        self.path = path
        try:
            self._library = ctypes.CDLL(path)
            get_function_list = self._library.C_GetFunctionList
        except (OSError, AttributeError):
            raise HsmMisconfigured(
                f"{path} is not a PKCS #11 library that this machine can load: set KEYSTEAD_PKCS11_MODULE to one."
            ) from None
        get_function_list.restype, get_function_list.argtypes = c_ulong, [c_void_p]
        functions = POINTER(_FunctionList)()
        _check("C_GetFunctionList", get_function_list(byref(functions)))
        self.functions: Final[dict[str, Callable[..., int]]] = {
            name: _prototype(types)(address)
            if (address := getattr(functions.contents, name))
            else _unsupported
            for name, types in _PROTOTYPES.items()
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def initialize(self) -> None:
        """C_Initialize for a process with threads; nothing if that was done."""
        arguments = _InitializeArgs(None, None, None, None, _CKF_OS_LOCKING_OK, None)
        code = self.functions["Initialize"](byref(arguments))
        if code != CKR_CRYPTOKI_ALREADY_INITIALIZED:
            _check("C_Initialize", code)

    def finalize(self) -> None:
        """C_Finalize. No other call may be under way, in any thread: what happens then is undefined."""
        _check("C_Finalize", self.functions["Finalize"](None))

    def slots(self) -> list[int]:
        """The slots that have a token now."""
        function = self.functions["GetSlotList"]
        return _list("C_GetSlotList", lambda array, count: function(1, array, count))

    def token_info(self, slot: int) -> TokenInfo:
        """What is in a slot."""
        info = _TokenInfo()
        _check("C_GetTokenInfo", self.functions["GetTokenInfo"](slot, byref(info)))
        texts = (getattr(info, name) for name in ("label", "manufacturer", "model", "serial"))
        label, manufacturer, model, serial = (text.decode("utf-8", "replace").rstrip(" ") for text in texts)
        return TokenInfo(label, manufacturer, model, serial, info.flags)

    def mechanisms(self, slot: int) -> list[int]:
        """The mechanisms that the token lists; it may refuse parameters of one."""
        function = self.functions["GetMechanismList"]
        return _list("C_GetMechanismList", lambda array, count: function(slot, array, count))

    def open_session(self, slot: int) -> "Session":
        """A read-write session."""
        handle = c_ulong()
        code = self.functions["OpenSession"](slot, _CKF_RW_SERIAL_SESSION, None, None, byref(handle))
        _check("C_OpenSession", code)
        return Session(self, handle.value)


@functools.cache
def load(path: str) -> Module:
    """The library at `path`, loaded once: its state is the process's."""
    return Module(path)


class Session:
    """A session: for one thread at a time. Every method may raise CryptokiError. Object and key parameters are handles."""

    def __init__(self, module: Module, handle: int) -> None:
        self.module = module
        self.handle = handle
        functions = module.functions
        self._encrypt_init, self._encrypt = functions["EncryptInit"], functions["Encrypt"]
        self._decrypt_init, self._decrypt = functions["DecryptInit"], functions["Decrypt"]
        self._sign_init, self._sign = functions["SignInit"], functions["Sign"]
        self._output = ctypes.create_string_buffer(2 * _HEADROOM)
        self._length = c_ulong()
        self._length_reference = byref(self._length)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.handle})"

    def login(self, pin: bytes) -> None:
        """C_Login as the normal user; nothing if the token is logged in."""
        buffer = ctypes.create_string_buffer(pin, len(pin))
        try:
            code = self.module.functions["Login"](self.handle, _CKU_USER, buffer, len(pin))
        finally:
            _wipe(buffer)
        if code != CKR_USER_ALREADY_LOGGED_IN:
            _check("C_Login", code)

    def close(self) -> None:
        """C_CloseSession, which destroys its session objects."""
        self._call("CloseSession", self.handle)

    def generate_random(self, count: int) -> bytes:
        """`count` bytes of the token's generator."""
        buffer = ctypes.create_string_buffer(count)
        try:
            self._call("GenerateRandom", self.handle, buffer, count)
            return buffer.raw
        finally:
            _wipe(buffer)

    def generate_key(self, mechanism: Mechanism, template: Attributes) -> int:
        """C_GenerateKey: the handle of a secret key."""
        made, attributes = c_ulong(), _Template(template)
        self._call("GenerateKey", self.handle, mechanism.reference, *attributes.arguments, byref(made))
        return made.value

    def generate_key_pair(
        self, mechanism: Mechanism, public: Attributes, private: Attributes
    ) -> tuple[int, int]:
        """C_GenerateKeyPair: the handles of the public and the private key."""
        made, made_private = c_ulong(), c_ulong()
        templates = _Template(public), _Template(private)
        self._call(
            "GenerateKeyPair",
            self.handle,
            mechanism.reference,
            *templates[0].arguments,
            *templates[1].arguments,
            byref(made),
            byref(made_private),
        )
        return made.value, made_private.value

    def create_object(self, template: Attributes) -> int:
        """C_CreateObject."""
        made, attributes = c_ulong(), _Template(template)
        try:
            self._call("CreateObject", self.handle, *attributes.arguments, byref(made))
        finally:
            attributes.wipe()
        return made.value

    def destroy_object(self, handle: int) -> None:
        """C_DestroyObject."""
        self._call("DestroyObject", self.handle, handle)

    def find_objects(self, template: Attributes) -> list[int]:
        """The handles of all objects that have these attributes."""
        attributes, found, count = _Template(template), (c_ulong * 64)(), c_ulong()
        self._call("FindObjectsInit", self.handle, *attributes.arguments)
        handles: list[int] = []
        try:
            while True:
                self._call("FindObjects", self.handle, found, len(found), byref(count))
                if not count.value:
                    return handles
                handles += found[: count.value]
        finally:
            self.module.functions["FindObjectsFinal"](self.handle)

    def get_attributes(self, handle: int, types: Sequence[int]) -> dict[int, bytes]:
        """The values, as the token has them: CK_BBOOL is one byte, CK_ULONG a machine word (see `number`)."""
        attributes = (_Attribute * len(types))(*(_Attribute(type_, None, 0) for type_ in types))
        self._call("GetAttributeValue", self.handle, handle, attributes, len(types))
        if any(attribute.length == _UNAVAILABLE_LENGTH for attribute in attributes):
            raise CryptokiError("C_GetAttributeValue", CKR_ATTRIBUTE_TYPE_INVALID)
        buffers = [ctypes.create_string_buffer(max(attribute.length, 1)) for attribute in attributes]
        for attribute, buffer in zip(attributes, buffers, strict=True):
            attribute.value = ctypes.addressof(buffer)
        try:
            self._call("GetAttributeValue", self.handle, handle, attributes, len(types))
            values = zip(attributes, buffers, strict=True)
            return {attribute.type: buffer.raw[: attribute.length] for attribute, buffer in values}
        finally:
            for buffer in buffers:
                _wipe(buffer)

    def set_attributes(self, handle: int, template: Attributes) -> None:
        """C_SetAttributeValue."""
        attributes = _Template(template)
        self._call("SetAttributeValue", self.handle, handle, *attributes.arguments)

    def wrap_key(self, mechanism: Mechanism, wrapping_key: int, key: int) -> bytes:
        """C_WrapKey."""
        function, handle = self.module.functions["WrapKey"], self.handle
        reference = mechanism.reference
        return self._read(
            "C_WrapKey",
            lambda output, length: function(handle, reference, wrapping_key, key, output, length),
            4 * _HEADROOM,
        )

    def unwrap_key(
        self, mechanism: Mechanism, unwrapping_key: int, wrapped: bytes, template: Attributes
    ) -> int:
        """C_UnwrapKey: the handle of the key."""
        made, attributes = c_ulong(), _Template(template)
        self._call(
            "UnwrapKey",
            self.handle,
            mechanism.reference,
            unwrapping_key,
            wrapped,
            len(wrapped),
            *attributes.arguments,
            byref(made),
        )
        return made.value

    def encrypt(self, mechanism: Mechanism, key: int, plaintext: bytes) -> bytes:
        """C_EncryptInit and C_Encrypt."""
        code = self._encrypt_init(self.handle, mechanism.reference, key)
        if code:
            raise CryptokiError("C_EncryptInit", code)
        return self._transform("C_Encrypt", self._encrypt, plaintext)

    def decrypt(self, mechanism: Mechanism, key: int, ciphertext: bytes) -> bytes:
        """C_DecryptInit and C_Decrypt."""
        code = self._decrypt_init(self.handle, mechanism.reference, key)
        if code:
            raise CryptokiError("C_DecryptInit", code)
        return self._transform("C_Decrypt", self._decrypt, ciphertext)

    def sign(self, mechanism: Mechanism, key: int, message: bytes) -> bytes:
        """C_SignInit and C_Sign."""
        code = self._sign_init(self.handle, mechanism.reference, key)
        if code:
            raise CryptokiError("C_SignInit", code)
        return self._transform("C_Sign", self._sign, message)

    def verify(self, mechanism: Mechanism, key: int, message: bytes, signature: bytes) -> None:
        """C_VerifyInit and C_Verify; CKR_SIGNATURE_INVALID or CKR_SIGNATURE_LEN_RANGE for a wrong signature."""
        self._call("VerifyInit", self.handle, mechanism.reference, key)
        self._call("Verify", self.handle, message, len(message), signature, len(signature))

    def _transform(self, name: str, function: Callable[..., int], data: bytes) -> bytes:
        """One call with a buffer that is long enough, so that the data crosses once. The buffer is overwritten."""
        capacity = len(data) + _HEADROOM
        output = self._output
        if len(output) < capacity:
            output = ctypes.create_string_buffer(capacity)
            if capacity <= _KEPT_BYTES:
                self._output = output
        length = self._length
        length.value = len(output)
        code = function(self.handle, data, len(data), output, self._length_reference)
        if code == CKR_BUFFER_TOO_SMALL:  # the operation is still active
            return self._read(
                name,
                lambda larger, size: function(self.handle, data, len(data), larger, size),
                length.value,
            )
        if code:
            _wipe(output)
            raise CryptokiError(name, code)
        made: bytes = output[: length.value]  # type: ignore[assignment]  # a slice of c_char is bytes
        ctypes.memset(output, 0, length.value)
        return made

    def _read(self, name: str, function: Callable[..., int], capacity: int) -> bytes:
        length = c_ulong(capacity)
        output = ctypes.create_string_buffer(capacity)
        code = function(output, byref(length))
        if code == CKR_BUFFER_TOO_SMALL and length.value > capacity:
            output = ctypes.create_string_buffer(length.value)
            code = function(output, byref(length))
        try:
            _check(name, code)
            return ctypes.string_at(output, length.value)
        finally:
            _wipe(output)

    def _call(self, name: str, *arguments: object) -> None:
        code = self.module.functions[name](*arguments)
        if code:
            raise CryptokiError(f"C_{name}", code)


def number(value: bytes) -> int:
    """The number that an attribute of type CK_ULONG or CK_BBOOL holds."""
    return c_ulong.from_buffer_copy(value).value if len(value) > 1 else int(value[0])


class _Template:
    """An array of CK_ATTRIBUTE."""

    def __init__(self, attributes: Attributes) -> None:
        self._buffers = [_encode(value) for value in attributes.values()]
        items = zip(attributes, self._buffers, strict=True)
        array = (_Attribute * len(attributes))(
            *(_Attribute(type_, ctypes.addressof(buffer), len(buffer)) for type_, buffer in items)
        )
        self.arguments = (array, len(array))

    def wipe(self) -> None:
        """Overwrite the values."""
        for buffer in self._buffers:
            _wipe(buffer)


def _encode(value: bool | int | bytes) -> ctypes.Array[c_char]:  # noqa: FBT001 - a value, not a switch
    if isinstance(value, bool):
        value = bytes([value])
    elif isinstance(value, int):
        value = bytes(c_ulong(value))
    return ctypes.create_string_buffer(value, len(value))


def _list(name: str, function: Callable[..., int]) -> list[int]:
    """What a function that fills an array of CK_ULONG has; the number may change between its two calls."""
    count = c_ulong()
    _check(name, function(None, byref(count)))
    while True:
        array = (c_ulong * max(count.value, 1))()
        count.value = len(array)
        code = function(array, byref(count))
        if code != CKR_BUFFER_TOO_SMALL:
            _check(name, code)
            return list(array[: count.value])


def _wipe(buffer: ctypes.Array[c_char]) -> None:
    ctypes.memset(buffer, 0, len(buffer))


def _check(function: str, code: int) -> None:
    if code:
        raise CryptokiError(function, code)


def _unsupported(*_arguments: object) -> int:
    return CKR_FUNCTION_NOT_SUPPORTED


def _prototype(types: Iterable[Any]) -> Callable[[int], Callable[..., int]]:
    return ctypes.CFUNCTYPE(c_ulong, *types)
