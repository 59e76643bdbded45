import functools

from tests.actions.kms.arrange_data_keys import make, make_key, state_of
from tests.actions.ssm.arrange import together
from tests.installation import Client, Installation, refused


def test_it_works_again_afterwards(kms: Client) -> None:
    data_key = make(kms)
    plaintext = kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext
    kms.DisableDataKey(DataKeyId=data_key)
    for _ in range(2):  # repeating it succeeds
        kms.EnableDataKey(DataKeyId=data_key)
        assert state_of(kms, data_key) == "Enabled"
        assert kms.GetDataKeyPlaintext(DataKeyId=data_key).Plaintext == plaintext


def test_the_key_has_to_decrypt(kms: Client) -> None:
    key, data_key = make_key(kms), make(kms, state="Disabled")
    kms.DisableKey(KeyId=key)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.EnableDataKey(DataKeyId=data_key)
    assert state_of(kms, data_key) == "Disabled"
    kms.ArchiveKey(KeyId=key)
    kms.EnableDataKey(DataKeyId=data_key)
    assert state_of(kms, data_key) == "Enabled"


def test_many_changes_at_once_all_succeed(installation: Installation, kms: Client) -> None:
    data_key = make(kms)
    clients = [installation.client("kms") for _ in range(3)]
    calls = [functools.partial(c.EnableDataKey, DataKeyId=data_key) for c in clients[:2]]
    calls.append(functools.partial(clients[2].UpdateDataKeyDescription, DataKeyId=data_key, Description="x"))
    assert together(calls) == ["ok"] * 3
    assert kms.DescribeDataKey(DataKeyId=data_key).DataKeyMetadata.Description == "x"


def test_the_id_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.EnableDataKey()
