"""ProtectionLevel, an extension: where the material of a key is while it is used."""

from typing import Any

from tests import hsms
from tests.actions.kms.arrange_keys import make
from tests.installation import Client


def levels(kms: Client, key: str) -> set[str]:
    """What the three actions say that show properties of keys."""
    shown: list[dict[str, Any]] = [
        kms.call_raw("DescribeKey", {"KeyId": key})["KeyMetadata"],
        *kms.call_raw("DescribeKeys", {"KeyIds": [key]})["KeyMetadatas"],
        *kms.call_raw("ListKeyDetail", {"SearchKeyAlias": key, "KeyUsage": "ALL"})["KeyMetadatas"],
    ]
    assert [metadata["KeyId"] for metadata in shown] == [key] * 3
    return {metadata["ProtectionLevel"] for metadata in shown}


def test_what_an_hsm_does_itself_is_told(kms: Client) -> None:
    own = "PROCESS" if hsms.chosen == ["software"] else "HSM"
    for alias, usage in (("a", "ENCRYPT_DECRYPT_AES_256"), ("r", "ASYMMETRIC_DECRYPT_RSA_2048")):
        assert levels(kms, make(kms, alias, KeyUsage=usage)) == {own}


def test_what_is_done_in_process_memory_is_told(kms: Client) -> None:
    for alias, usage in (("s", "ENCRYPT_DECRYPT_SM4"), ("m", "ASYMMETRIC_DECRYPT_SM2")):
        assert levels(kms, make(kms, alias, KeyUsage=usage)) == {"PROCESS"}


def test_a_key_that_waits_for_its_material_has_a_level(kms: Client) -> None:
    assert levels(kms, make(kms, state="PendingImport")) == {"PROCESS"}
