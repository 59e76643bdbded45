"""The adapter: what it sends, and what it makes of every answer."""

from collections.abc import Mapping
from typing import Any

import pytest

from keystead.api import Api, ApiError, Unreachable
from keystead.credentials import Credential
from keystead.encryption import ApiKms, KmsFailure


class Told(Api):
    """An Api that answers what it is told."""

    def __init__(self, answer: Mapping[str, Any] | Exception) -> None:
        super().__init__(Credential("id", "key"), endpoint="https://kms.example.com")
        self._told = answer
        self.sent: list[tuple[str, str, Mapping[str, Any] | None]] = []

    def call(
        self,
        service: str,
        version: str,
        action: str,
        region: str = "",
        parameters: Mapping[str, Any] | None = None,
        *,
        repeatable: bool | None = None,
    ) -> dict[str, Any]:
        assert (service, version, repeatable) == ("kms", "2019-01-18", True)
        self.sent.append((action, region, parameters))
        if isinstance(self._told, Exception):
            raise self._told
        return dict(self._told)


def test_what_is_sent() -> None:
    api = Told({"Plaintext": "AAEC", "CiphertextBlob": "blob", "KeyId": "key"})
    kms = ApiKms(api)
    assert kms.generate_data_key("r", "key", {"b": "ü", "a": "1"}) == (b"\0\1\2", "blob")
    assert kms.encrypt("r", "key", b"\0\1\2", {}) == "blob"
    assert kms.decrypt("r", "key", "blob", {"a": "1"}) == b"\0\1\2"
    context = '{"a":"1","b":"ü"}'
    assert api.sent == [
        ("GenerateDataKey", "r", {"KeyId": "key", "NumberOfBytes": 32, "EncryptionContext": context}),
        ("Encrypt", "r", {"KeyId": "key", "Plaintext": "AAEC"}),
        ("Decrypt", "r", {"CiphertextBlob": "blob", "EncryptionContext": '{"a":"1"}'}),
    ]


@pytest.mark.parametrize(
    ("answer", "code", "unreachable"),
    [
        (ApiError("ResourceUnavailable.CmkDisabled", "no", "1"), "ResourceUnavailable.CmkDisabled", False),
        (ApiError("InternalError", "no", "1"), "InternalError", True),
        (Unreachable("kms.example.com: no"), "Unreachable", True),
        ({}, "MalformedAnswer", False),
        ({"KeyId": "key"}, "MalformedAnswer", False),
        ({"KeyId": "key", "Plaintext": 7}, "MalformedAnswer", False),
        ({"KeyId": "key", "Plaintext": "not base64!"}, "MalformedAnswer", False),
        ({"KeyId": "key", "Plaintext": "\N{SNOWMAN}"}, "MalformedAnswer", False),
        ({"KeyId": "other", "Plaintext": "AAEC"}, "OtherKey", False),
    ],
)
def test_what_is_no_answer(answer: Mapping[str, Any] | Exception, code: str, unreachable: bool) -> None:  # noqa: FBT001 - parametrized
    with pytest.raises(KmsFailure) as caught:
        ApiKms(Told(answer)).decrypt("r", "key", "blob", {})
    assert (caught.value.code, caught.value.unreachable) == (code, unreachable)
    assert caught.value.__context__ is None
