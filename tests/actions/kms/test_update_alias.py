import functools

from tests.actions.kms.arrange_keys import aliases, describe, everything, make, product_key
from tests.actions.ssm.arrange import outputs, together
from tests.installation import FIPS, Client, Installation, refused


def test_the_new_alias_is_taken_and_the_old_one_free(kms: Client) -> None:
    key = make(kms, "old")
    assert outputs(kms.UpdateAlias(KeyId=key, Alias="new")) == {}
    assert aliases(kms) == ["new"]
    make(kms, "old")
    with refused("InvalidParameterValue.AliasAlreadyExists"):
        make(kms, "new")


def test_the_own_alias_again_succeeds(kms: Client) -> None:
    key = make(kms)
    for _ in range(2):
        kms.UpdateAlias(KeyId=key, Alias="k")
    assert describe(kms, key).Alias == "k"


def test_another_keys_alias_is_taken_even_while_that_is_pending_deletion(
    installation: Installation, kms: Client
) -> None:
    key = make(kms)
    make(kms, "other", "PendingDelete")
    before = everything(kms)
    with refused("InvalidParameterValue.AliasAlreadyExists"):
        kms.UpdateAlias(KeyId=key, Alias="other")
    assert everything(kms) == before
    make(installation.client("kms", FIPS), "elsewhere")
    kms.UpdateAlias(KeyId=key, Alias="elsewhere")


def test_one_of_many_gets_the_alias(installation: Installation, kms: Client) -> None:
    keys = [make(kms, f"k{i}") for i in range(5)]
    clients = [installation.client("kms") for _ in keys]
    ended = together(
        [functools.partial(c.UpdateAlias, KeyId=k, Alias="x") for c, k in zip(clients, keys, strict=True)]
    )
    assert sorted(ended) == ["InvalidParameterValue.AliasAlreadyExists"] * 4 + ["ok"]
    assert max(aliases(kms)) == "x"


def test_limits_of_the_alias(kms: Client) -> None:
    key = make(kms)
    for alias in ("a", "0", "A-_9", "a" * 60):
        kms.UpdateAlias(KeyId=key, Alias=alias)
        assert aliases(kms) == [alias]
    for alias in ("", "a" * 61, "-a", "_a", "a b", "\u00e9", "a\n", "kms-", "kms-ssm"):
        with refused("InvalidParameterValue.InvalidAlias"):
            kms.UpdateAlias(KeyId=key, Alias=alias)
    assert aliases(kms) == ["a" * 60]


def test_a_key_pending_deletion_keeps_its_alias(kms: Client) -> None:
    key = make(kms, state="PendingDelete")
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        kms.UpdateAlias(KeyId=key, Alias="new")
    assert aliases(kms) == ["k"]


def test_secrets_manager_keeps_finding_its_key(kms: Client, ssm: Client) -> None:
    key = product_key(kms, ssm)
    with refused("UnsupportedOperation.NotUserCreatedCmk"):
        kms.UpdateAlias(KeyId=key, Alias="mine")
    ssm.CreateSecret(SecretName="second", VersionId="v1", SecretString="x")
    assert [k.KeyId for k in kms.ListKeys(Role=1).Keys] == [key]
