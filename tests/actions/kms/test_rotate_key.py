import functools
import uuid

import pytest

from chalicelib.formats import ciphertext_blob
from tests.actions.kms.arrange_keys import DAY, call, decrypt, describe, encrypt, make, rotate
from tests.actions.ssm.arrange import together
from tests.installation import Client, Installation, refused

TOO_SOON = "RequestLimitExceeded.RotateRateLimited"
NEVER = "UnsupportedOperation.RotateNotSupported"


def rotating(kms: Client, alias: str = "k") -> str:
    key = make(kms, alias)
    kms.EnableKeyRotation(KeyId=key, RotateDays=30)
    return key


def generation(kms: Client, key: str) -> int:
    return int(ciphertext_blob.decode(encrypt(kms, key)).backing_version)


def test_new_ciphertexts_have_fresh_material_and_old_ones_open(
    installation: Installation, kms: Client
) -> None:
    key = rotating(kms)
    before = describe(kms, key)
    blob = encrypt(kms, key, b"p")
    installation.clock.advance(100)
    task = kms.RotateKey(KeyId=key).TaskId
    assert str(uuid.UUID(task)) == task
    assert (generation(kms, key), decrypt(kms, blob)) == (2, b"p")
    after = describe(kms, key)
    assert after.LastRotateTime == installation.clock.now()
    assert after.NextRotateTime == installation.clock.now() + 30 * DAY
    for name in ("KeyId", "Alias", "Description", "CreateTime", "KeyState", "RotateDays"):
        assert getattr(after, name) == getattr(before, name)


def test_once_in_24_hours(installation: Installation, kms: Client) -> None:
    key = rotating(kms)
    kms.RotateKey(KeyId=key)
    installation.clock.advance(DAY - 1)
    with refused(TOO_SOON):
        kms.RotateKey(KeyId=key)
    # Switching rotation off and on does not help.
    kms.DisableKeyRotation(KeyId=key)
    kms.EnableKeyRotation(KeyId=key)
    with refused(TOO_SOON):
        kms.RotateKey(KeyId=key)
    assert generation(kms, key) == 2
    kms.RotateKey(KeyId=rotating(kms, "other"))
    installation.clock.advance(1)
    kms.RotateKey(KeyId=key)
    assert generation(kms, key) == 3


def test_of_many_at_once_one_rotates(installation: Installation, kms: Client) -> None:
    key = rotating(kms)
    clients = [installation.client("kms") for _ in range(6)]
    ended = together([functools.partial(c.RotateKey, KeyId=key) for c in clients])
    assert sorted(ended) == [TOO_SOON] * 5 + ["ok"]
    assert call(kms, "ListKeyRotations", KeyId=key)["TotalCount"] == 2


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "Archived"])
def test_only_enabled_keys_rotate(kms: Client, state: str) -> None:
    from tests.actions.kms.arrange_keys import bring_to

    key = rotating(kms)
    bring_to(kms, key, state)
    with refused(NEVER):
        kms.RotateKey(KeyId=key)


def test_keys_that_do_not_rotate(kms: Client) -> None:
    for alias, given in (
        ("off", {}),
        ("external", {"Type": 2}),
        ("pair", {"KeyUsage": "ASYMMETRIC_SIGN_VERIFY_ECC"}),
    ):
        with refused(NEVER):
            kms.RotateKey(KeyId=make(kms, alias, **given))


def test_generations_that_overflow_the_keys_row_do_not_get_lost(
    installation: Installation, kms: Client
) -> None:
    key = rotating(kms)
    blobs = [encrypt(kms, key, b"0")]
    for i in range(1, 12):
        rotate(installation, kms, key)
        blobs.append(encrypt(kms, key, str(i).encode()))
        kms.UpdateKeyDescription(KeyId=key, Description=str(i))
        kms.UpdateAlias(KeyId=key, Alias=f"k{i}")
    assert [decrypt(kms, blob) for blob in blobs] == [str(i).encode() for i in range(12)]
