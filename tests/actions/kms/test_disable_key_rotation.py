from tests.actions.kms.arrange_keys import decrypt, describe, encrypt, make, rotate
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_rotation_is_off_afterwards_and_repeating_it_succeeds(kms: Client) -> None:
    key = make(kms)
    kms.EnableKeyRotation(KeyId=key)
    for _ in range(2):
        assert outputs(kms.DisableKeyRotation(KeyId=key)) == {}
        assert describe(kms, key).KeyRotationEnabled is False
    with refused("UnsupportedOperation.RotateNotSupported"):
        kms.RotateKey(KeyId=key)


def test_older_generations_stay(installation: Installation, kms: Client) -> None:
    key = make(kms)
    kms.EnableKeyRotation(KeyId=key)
    blob = encrypt(kms, key, b"p")
    rotate(installation, kms, key)
    kms.DisableKeyRotation(KeyId=key)
    assert decrypt(kms, blob) == b"p"
