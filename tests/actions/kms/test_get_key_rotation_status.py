from tests.actions.kms.arrange_keys import make
from tests.actions.ssm.arrange import outputs
from tests.installation import Client


def test_whether_it_is_on(kms: Client) -> None:
    key = make(kms)
    assert outputs(kms.GetKeyRotationStatus(KeyId=key)) == {"KeyRotationEnabled": False}
    kms.EnableKeyRotation(KeyId=key)
    assert outputs(kms.GetKeyRotationStatus(KeyId=key)) == {"KeyRotationEnabled": True}
    kms.DisableKeyRotation(KeyId=key)
    assert outputs(kms.GetKeyRotationStatus(KeyId=key)) == {"KeyRotationEnabled": False}
