import pytest

from tests.actions.kms.arrange_keys import DAY, describe, make
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


@pytest.mark.parametrize(("given", "days"), [({}, 365), ({"RotateDays": 7}, 7), ({"RotateDays": 365}, 365)])
def test_rotation_is_on_afterwards(
    installation: Installation, kms: Client, given: dict[str, int], days: int
) -> None:
    key = make(kms)
    assert outputs(kms.EnableKeyRotation(KeyId=key, **given)) == {}
    shown = describe(kms, key)
    assert (shown.KeyRotationEnabled, shown.RotateDays) == (True, days)
    assert shown.NextRotateTime == installation.clock.now() + days * DAY


def test_repeating_it_changes_the_days(kms: Client) -> None:
    key = make(kms)
    for days in (30, 30, 90):
        kms.EnableKeyRotation(KeyId=key, RotateDays=days)
        assert describe(kms, key).RotateDays == days


def test_limits_of_the_days(kms: Client) -> None:
    key = make(kms)
    for days in (6, 366, 0, -1):
        with refused("InvalidParameterValue"):
            kms.EnableKeyRotation(KeyId=key, RotateDays=days)
    for wrong in ("x", True, 7.5):
        with refused("InvalidParameter"):
            kms.call_raw("EnableKeyRotation", {"KeyId": key, "RotateDays": wrong})
    assert describe(kms, key).KeyRotationEnabled is False


def test_terraform_enables_it_for_disabled_keys(kms: Client) -> None:
    key = make(kms, state="Disabled")
    kms.EnableKeyRotation(KeyId=key)
    assert describe(kms, key).KeyRotationEnabled is True


def test_keys_that_never_rotate(kms: Client) -> None:
    with refused("UnsupportedOperation.ExternalCmkCanNotRotate"):
        kms.EnableKeyRotation(KeyId=make(kms, "external", Type=2))
    with refused("InvalidParameter"):
        kms.EnableKeyRotation(KeyId=make(kms, "pair", KeyUsage="ASYMMETRIC_SIGN_VERIFY_ECC"))
    for state in ("PendingDelete", "Archived"):
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            kms.EnableKeyRotation(KeyId=make(kms, state, state))
