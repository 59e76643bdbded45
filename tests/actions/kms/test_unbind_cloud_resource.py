from tests.actions.kms.arrange_keys import BOUND, make
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, refused

NOT_BOUND = "ResourceUnavailable.CloudResourceBindingNotFound"


def test_what_was_bound_is_unbound_once(kms: Client) -> None:
    key = make(kms)
    kms.BindCloudResource(KeyId=key, **BOUND)
    assert outputs(kms.UnbindCloudResource(KeyId=key, **BOUND)) == {}
    with refused(NOT_BOUND):
        kms.UnbindCloudResource(KeyId=key, **BOUND)
    kms.BindCloudResource(KeyId=key, **BOUND)
    kms.UnbindCloudResource(KeyId=key, **BOUND)


def test_what_was_not_bound_is_told(kms: Client) -> None:
    key, other = make(kms), make(kms, "other")
    kms.BindCloudResource(KeyId=key, **BOUND)
    for given in (
        {"KeyId": other, **BOUND},
        {"KeyId": key, **BOUND, "ProductId": "cvm"},
        {"KeyId": key, **BOUND, "ResourceId": "disk-2"},
    ):
        with refused(NOT_BOUND):
            kms.UnbindCloudResource(**given)
