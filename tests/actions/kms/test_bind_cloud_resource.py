import functools

import pytest

from tests.actions.kms.arrange_keys import BOUND, describe, import_material, make, state_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused

USED = "FailedOperation.CmkUsedByCloudProduct"


def test_a_bound_key_stays_until_everything_is_unbound(kms: Client) -> None:
    key = make(kms)
    other = {"ProductId": "cbs", "ResourceId": "disk-2"}
    assert outputs(kms.BindCloudResource(KeyId=key, **BOUND)) == {}
    kms.BindCloudResource(KeyId=key, **other)
    with refused(USED):
        kms.DisableKey(KeyId=key)
    kms.UnbindCloudResource(KeyId=key, **BOUND)
    with refused(USED):
        kms.DisableKey(KeyId=key)
    kms.UnbindCloudResource(KeyId=key, **other)
    kms.DisableKey(KeyId=key)


def test_repeating_it_succeeds_and_counts_once(installation: Installation, kms: Client) -> None:
    key = make(kms)
    for _ in range(3):
        kms.BindCloudResource(KeyId=key, **BOUND)
    clients = [installation.client("kms") for _ in range(4)]
    given = {"KeyId": key, "ProductId": "cbs", "ResourceId": "disk-2"}
    assert together([functools.partial(c.BindCloudResource, **given) for c in clients]) == ["ok"] * 4
    kms.UnbindCloudResource(KeyId=key, **BOUND)
    kms.UnbindCloudResource(**given)
    kms.DisableKey(KeyId=key)


def test_names_that_run_into_each_other_are_different_resources(kms: Client) -> None:
    key = make(kms)
    pairs = [("a", "b#c"), ("a#b", "c"), ("a%23b", "c"), ("a", "b"), ("b", "a")]
    for product, resource in pairs:
        kms.BindCloudResource(KeyId=key, ProductId=product, ResourceId=resource)
    for product, resource in pairs:
        with refused(USED):
            kms.DisableKey(KeyId=key)
        kms.UnbindCloudResource(KeyId=key, ProductId=product, ResourceId=resource)
    kms.DisableKey(KeyId=key)


@pytest.mark.parametrize("name", ["ProductId", "ResourceId"])
def test_limits_of_the_names(kms: Client, name: str) -> None:
    key = make(kms)
    for good in ("x", "x" * 128, "a/b:c#d%"):
        kms.BindCloudResource(KeyId=key, **{**BOUND, name: good})
        kms.UnbindCloudResource(KeyId=key, **{**BOUND, name: good})
    for wrong in ("", "x" * 129, "a b", "\u5bc6", "a\n"):
        for action in ("BindCloudResource", "UnbindCloudResource"):
            with refused("InvalidParameter"):
                getattr(kms, action)(KeyId=key, **{**BOUND, name: wrong})


@pytest.mark.parametrize("state", ["Disabled", "PendingDelete", "PendingImport", "Archived"])
def test_only_enabled_keys_are_bound(kms: Client, state: str) -> None:
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.BindCloudResource(KeyId=make(kms, state=state), **BOUND)


def test_imported_material_does_not_expire_under_a_resource(installation: Installation, kms: Client) -> None:
    key = make(kms, Type=2)
    import_material(kms, key, ValidTo=installation.clock.now() + 100)
    kms.BindCloudResource(KeyId=key, **BOUND)
    assert describe(kms, key).ValidTo == 0
    installation.clock.advance(100)
    assert state_of(kms, key) == "Enabled"
