import pytest

from tests.actions.kms.arrange_keys import STATES, make, product_key
from tests.actions.ssm.arrange import outputs
from tests.installation import FIPS, Client, Installation, refused


def listed(kms: Client, **filters: int | str) -> list[str]:
    return [k.KeyId for k in kms.ListKeys(**{"Limit": 200, **filters}).Keys]


def test_no_keys_are_an_empty_list_not_null(kms: Client) -> None:
    assert outputs(kms.ListKeys()) == {"Keys": [], "TotalCount": 0}


def test_only_keys_that_are_enabled_disabled_or_wait_for_material_are_listed_newest_first(
    installation: Installation, kms: Client
) -> None:
    keys = {}
    for state in STATES:
        installation.clock.advance(1)
        keys[state] = make(kms, state, state)
    pair = make(kms, "pair", KeyUsage="ASYMMETRIC_SIGN_VERIFY_ECC")
    expected = [pair, *(keys[s] for s in ("PendingImport", "Disabled", "Enabled"))]
    assert sorted(listed(kms)) == sorted(expected)
    assert listed(kms)[-2:] == expected[-2:]


def test_pages_fit_together_and_count_all(installation: Installation, kms: Client) -> None:
    keys: list[str] = []
    for i in range(12):
        keys.insert(0, make(kms, f"k{i}", Type=2))
        installation.clock.advance(1)
    pages = [kms.ListKeys(Offset=offset, Limit=5) for offset in (0, 5, 10, 15)]
    assert [k.KeyId for page in pages for k in page.Keys] == keys
    assert [len(page.Keys) for page in pages] == [5, 5, 2, 0]
    assert {page.TotalCount for page in pages} == {12}
    assert [k.KeyId for k in kms.ListKeys().Keys] == keys[:10]
    assert listed(kms, Offset=2**63 - 1) == []


def test_the_role_tells_the_users_keys_from_those_of_products(kms: Client, ssm: Client) -> None:
    own, products = make(kms), product_key(kms, ssm)
    assert (listed(kms), listed(kms, Role=0), listed(kms, Role=1)) == ([own], [own], [products])


def test_each_region_and_account_lists_its_own(installation: Installation, kms: Client) -> None:
    key = make(kms)
    others = (
        installation.client("kms", FIPS),
        installation.client("kms", who=installation.add_account()),
    )
    assert [listed(client) for client in (kms, *others)] == [[key], [], []]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"Limit": 0}, "InvalidParameter"),
        ({"Limit": 201}, "InvalidParameter"),
        ({"Role": 2}, "InvalidParameter"),
        ({"Limit": "x"}, "InvalidParameter"),
        ({"Offset": -1}, "InvalidParameterValue"),
        ({"HsmClusterId": "cls-1"}, "InvalidParameterValue.InvalidHsmClusterId"),
    ],
)
def test_values_outside_the_limits_are_refused(kms: Client, given: dict[str, object], code: str) -> None:
    with refused(code):
        kms.ListKeys(**given)
    assert listed(kms, HsmClusterId="default", Limit=1) == []
