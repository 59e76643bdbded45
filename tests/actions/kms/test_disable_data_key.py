from tests.actions.kms.arrange_data_keys import bring_key_to, make, make_key, quota, state_of
from tests.installation import Client, Installation, refused


def test_it_is_not_shown_any_more(installation: Installation, kms: Client) -> None:
    data_key = make(kms)
    blob = kms.GetDataKeyCiphertextBlob(DataKeyId=data_key).CiphertextBlob
    for _ in range(2):  # repeating it succeeds
        kms.DisableDataKey(DataKeyId=data_key)
        assert state_of(kms, data_key) == "Disabled"
    with refused("ResourceUnavailable.DataKeyDisabled"):
        kms.GetDataKeyPlaintext(DataKeyId=data_key)
    with refused("ResourceUnavailable.DataKeyStateNotSupport"):
        kms.GetDataKeyCiphertextBlob(DataKeyId=data_key)
    assert quota(installation) == 1
    # A ciphertext that somebody has is the CMK's business.
    assert kms.Decrypt(CiphertextBlob=blob).KeyId == make_key(kms)


def test_the_key_may_be_gone(installation: Installation, kms: Client) -> None:
    data_key = make(kms)
    bring_key_to(installation, kms, make_key(kms), "gone")
    kms.DisableDataKey(DataKeyId=data_key)
    assert state_of(kms, data_key) == "Disabled"


def test_the_id_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.DisableDataKey()
