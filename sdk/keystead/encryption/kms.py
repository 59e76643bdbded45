"""What the Encryption SDK needs of KMS, and the adapter that calls it by TencentCloud API 3.0."""

import base64
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from keystead.api import Api, ApiError, Unreachable
from keystead.encryption.errors import KmsFailure
from keystead.encryption.format import context_json
from keystead.encryption.suites import DATA_KEY_BYTES

_SERVICE: Final = "kms"
_VERSION: Final = "2019-01-18"


class Kms(Protocol):
    """KMS in every region. All calls raise KmsFailure, may be made by several threads, and must end by themselves.

    The context goes to KMS as it is: a ciphertext opens with an equal context only. An empty one is no context.
    """

    def generate_data_key(self, region: str, key_id: str, context: Mapping[str, str]) -> tuple[bytes, str]:
        """A new data key of 32 bytes: in plain, and encrypted under the CMK (`CiphertextBlob`)."""
        ...

    def encrypt(self, region: str, key_id: str, plaintext: bytes, context: Mapping[str, str]) -> str:
        """The plaintext, encrypted under the CMK (`CiphertextBlob`)."""
        ...

    def decrypt(self, region: str, key_id: str, ciphertext: str, context: Mapping[str, str]) -> bytes:
        """The plaintext; KmsFailure also where the ciphertext is of another CMK than `key_id`."""
        ...


class ApiKms:
    """Keystead, or the vendor's cloud, by its endpoint: actions of kms 2019-01-18.

    Where regions have endpoints of their own, `api` is a function from the region to its Api. Short timeouts and few
    retries serve best: `Api(..., timeout=3, retries=1)`, because another region can answer instead.
    """

    def __init__(self, api: Api | Callable[[str], Api]) -> None:
        self._api = api

    def generate_data_key(self, region: str, key_id: str, context: Mapping[str, str]) -> tuple[bytes, str]:
        """By GenerateDataKey."""
        answer = self._call(
            "GenerateDataKey", region, {"KeyId": key_id, "NumberOfBytes": DATA_KEY_BYTES}, context
        )
        return _plaintext(answer), _text(answer, "CiphertextBlob")

    def encrypt(self, region: str, key_id: str, plaintext: bytes, context: Mapping[str, str]) -> str:
        """By Encrypt."""
        parameters = {"KeyId": key_id, "Plaintext": base64.b64encode(plaintext).decode()}
        return _text(self._call("Encrypt", region, parameters, context), "CiphertextBlob")

    def decrypt(self, region: str, key_id: str, ciphertext: str, context: Mapping[str, str]) -> bytes:
        """By Decrypt."""
        answer = self._call("Decrypt", region, {"CiphertextBlob": ciphertext}, context)
        if _text(answer, "KeyId") != key_id:
            raise KmsFailure("OtherKey")
        return _plaintext(answer)

    def _call(
        self, action: str, region: str, parameters: dict[str, Any], context: Mapping[str, str]
    ) -> dict[str, Any]:
        if context:
            parameters["EncryptionContext"] = context_json(context)
        api = self._api if isinstance(self._api, Api) else self._api(region)
        try:
            # GenerateDataKey keeps nothing, so it can be repeated like the others.
            return api.call(_SERVICE, _VERSION, action, region, parameters, repeatable=True)
        except ApiError as error:
            code, is_passing = error.code, error.is_passing
        except Unreachable:
            code, is_passing = "Unreachable", True
        # Out here, so that it has no context: what went wrong there may hold the request, and with it a data key.
        parameters.clear()
        raise KmsFailure(code, unreachable=is_passing)


def _text(answer: dict[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise KmsFailure("MalformedAnswer")
    return value


def _plaintext(answer: dict[str, Any]) -> bytes:
    text = _text(answer, "Plaintext")
    with contextlib.suppress(ValueError):  # binascii.Error is one
        return base64.b64decode(text, validate=True)
    raise KmsFailure("MalformedAnswer")
