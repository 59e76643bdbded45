from tests.actions.kms.arrange_keys import describe, make
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, refused


def test_the_description_is_replaced_and_cleared(kms: Client) -> None:
    key = make(kms, Description="old")
    assert outputs(kms.UpdateKeyDescription(KeyId=key, Description="new")) == {}
    assert describe(kms, key).Description == "new"
    kms.UpdateKeyDescription(KeyId=key, Description="")
    assert describe(kms, key).Description == ""


def test_limits_are_in_bytes(kms: Client) -> None:
    key = make(kms)
    for text in ("d" * 1024, "\u5bc6" * 341, "\U0001f511" * 256):
        kms.UpdateKeyDescription(KeyId=key, Description=text)
        assert describe(kms, key).Description == text
    for text in ("d" * 1025, "\u5bc6" * 342, "\U0001f511" * 256 + "x"):
        with refused("InvalidParameter"):
            kms.UpdateKeyDescription(KeyId=key, Description=text)


def test_a_key_pending_deletion_keeps_its_description(kms: Client) -> None:
    key = make(kms, state="PendingDelete", Description="d")
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.UpdateKeyDescription(KeyId=key, Description="new")
    assert describe(kms, key).Description == "d"
