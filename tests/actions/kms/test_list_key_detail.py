import pytest

from tests.actions.kms.arrange_keys import STATES, aliases, describe, make, product_key
from tests.actions.ssm.arrange import outputs
from tests.installation import FIPS, Client, Installation, refused


def test_no_keys_are_an_empty_list_not_null(kms: Client) -> None:
    assert outputs(kms.ListKeyDetail()) == {"TotalCount": 0, "KeyMetadatas": []}


def test_a_line_shows_what_describe_key_shows(kms: Client) -> None:
    key = make(kms, state="PendingDelete", Description="d")
    (line,) = kms.ListKeyDetail().KeyMetadatas
    assert line._serialize(allow_none=True) == describe(kms, key)._serialize(allow_none=True)


@pytest.fixture
def five(installation: Installation, kms: Client) -> Client:
    """Keys z, y, x, w, v, made in this order, a second apart: letters that no key id has."""
    for alias in "zyxwv":
        make(kms, alias, Type=2)
        installation.clock.advance(1)
    return kms


def test_the_newest_comes_first_unless_the_oldest_is_asked_for(five: Client) -> None:
    assert aliases(five) == aliases(five, OrderType=0) == ["v", "w", "x", "y", "z"]
    assert aliases(five, OrderType=1) == ["z", "y", "x", "w", "v"]


def test_a_change_does_not_move_a_key(five: Client) -> None:
    (key,) = (m.KeyId for m in five.ListKeyDetail(SearchKeyAlias="y").KeyMetadatas)
    five.UpdateAlias(KeyId=key, Alias="new")
    five.UpdateKeyDescription(KeyId=key, Description="x")
    assert aliases(five) == ["v", "w", "x", "new", "z"]


def test_pages_fit_together_and_count_all_matches(five: Client) -> None:
    pages = [five.ListKeyDetail(Offset=offset, Limit=2) for offset in (0, 2, 4, 6)]
    assert [[m.Alias for m in p.KeyMetadatas] for p in pages] == [["v", "w"], ["x", "y"], ["z"], []]
    assert {p.TotalCount for p in pages} == {5}
    assert aliases(five, Offset=2**63 - 1) == []


def test_more_keys_than_are_read_at_once_are_listed_once_each(kms: Client) -> None:
    # All of one moment: their order is nobody's business, but it is the same for every page.
    made = {f"k{i}" for i in range(101)}
    for alias in made:
        make(kms, alias, Type=2)
    paged = [a for offset in range(0, 120, 20) for a in aliases(kms, Offset=offset, Limit=20)]
    assert (len(paged), set(paged)) == (101, made)
    assert len(kms.ListKeyDetail().KeyMetadatas) == 10


def test_the_state_filters(kms: Client) -> None:
    for state in STATES:
        make(kms, state, state)
    assert set(aliases(kms, KeyState=0)) == set(STATES)
    # The numbers of the API: 1 Enabled, 2 Disabled, 3 PendingDelete, 4 PendingImport, 5 Archived.
    assert [aliases(kms, KeyState=number) for number in range(1, 6)] == [[state] for state in STATES]


def test_without_a_usage_symmetric_keys_are_meant(kms: Client) -> None:
    for usage in ("ENCRYPT_DECRYPT", "ENCRYPT_DECRYPT_AES_256", "ASYMMETRIC_SIGN_VERIFY_ECC"):
        make(kms, usage, KeyUsage=usage)
    assert aliases(kms) == aliases(kms, KeyUsage="") == ["ENCRYPT_DECRYPT"]
    assert aliases(kms, KeyUsage="ASYMMETRIC_SIGN_VERIFY_ECC") == ["ASYMMETRIC_SIGN_VERIFY_ECC"]
    assert len(aliases(kms, KeyUsage="ALL")) == 3
    assert aliases(kms, KeyUsage="ASYMMETRIC_DECRYPT_SM2") == []


def test_the_origin_filters(kms: Client) -> None:
    make(kms, "ours")
    make(kms, "theirs", Type=2)
    assert set(aliases(kms, Origin="")) == set(aliases(kms, Origin="ALL")) == {"ours", "theirs"}
    assert (aliases(kms, Origin="TENCENT_KMS"), aliases(kms, Origin="EXTERNAL")) == (["ours"], ["theirs"])


def test_a_part_of_the_alias_or_of_the_id_is_enough(installation: Installation, kms: Client) -> None:
    keys = {}
    for alias in ("sql", "my-sql-1", "cache", "SQL"):
        keys[alias] = make(kms, alias, Type=2)
        installation.clock.advance(1)
    assert aliases(kms, SearchKeyAlias="sql") == ["my-sql-1", "sql"]
    assert aliases(kms, SearchKeyAlias=keys["cache"]) == ["cache"]
    assert aliases(kms, SearchKeyAlias=keys["cache"][3:30]) == ["cache"]
    assert aliases(kms, SearchKeyAlias="nothing") == []
    assert kms.ListKeyDetail(SearchKeyAlias="ql", Limit=1).TotalCount == 2


def test_the_role_tells_the_users_keys_from_those_of_products(kms: Client, ssm: Client) -> None:
    product_key(kms, ssm)
    make(kms)
    assert (aliases(kms), aliases(kms, Role=1)) == (["k"], ["kms-ssm"])
    (line,) = kms.ListKeyDetail(Role=1).KeyMetadatas
    assert line.Owner == "ssm"


def test_tag_filters_are_anded_and_their_values_ored(kms: Client) -> None:
    for alias, team, stage in (("a", "red", "dev"), ("b", "red", "prod"), ("c", "blue", "prod")):
        tags = [{"TagKey": "team", "TagValue": team}, {"TagKey": "stage", "TagValue": stage}]
        make(kms, alias, Tags=tags)
    make(kms, "untagged")

    def found(**filters: list[str]) -> set[str]:
        pairs = [{"TagKey": key, "TagValue": values} for key, values in filters.items()]
        return set(aliases(kms, TagFilters=pairs))

    assert found(team=["red"]) == {"a", "b"}
    assert found(team=["red", "blue"]) == found(team=[]) == {"a", "b", "c"}
    assert found(team=["red"], stage=["prod"]) == {"b"}
    assert found(team=["RED"]) == found(Team=["red"]) == set()


def test_filters_work_together(five: Client) -> None:
    make(five, "vw")
    assert aliases(five, SearchKeyAlias="w", Origin="EXTERNAL", KeyState=4) == ["w"]
    assert aliases(five, SearchKeyAlias="w", KeyState=1) == ["vw"]


def test_each_region_and_account_lists_its_own(installation: Installation, kms: Client) -> None:
    make(kms, "here")
    elsewhere = installation.client("kms", FIPS)
    make(elsewhere, "there")
    somebody = installation.client("kms", who=installation.add_account())
    assert (aliases(kms), aliases(elsewhere), aliases(somebody)) == (["here"], ["there"], [])


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"Limit": 0}, "InvalidParameter"),
        ({"Limit": 201}, "InvalidParameter"),
        ({"Role": 2}, "InvalidParameter"),
        ({"OrderType": 2}, "InvalidParameter"),
        ({"KeyState": 6}, "InvalidParameter"),
        ({"KeyState": -1}, "InvalidParameter"),
        ({"Origin": "external"}, "InvalidParameter"),
        ({"SearchKeyAlias": "x" * 61}, "InvalidParameter"),
        ({"KeyUsage": "x" * 65}, "InvalidParameter"),
        ({"Offset": -1}, "InvalidParameterValue"),
        ({"HsmClusterId": "cls-1"}, "InvalidParameterValue.InvalidHsmClusterId"),
        ({"MemberAccounts": [{"MemberUin": 1}]}, "UnsupportedOperation.NotRoleOperation"),
    ],
)
def test_values_outside_the_limits_are_refused(kms: Client, given: dict[str, object], code: str) -> None:
    with refused(code):
        kms.ListKeyDetail(**given)
    assert aliases(kms, HsmClusterId="default", MemberAccounts=[], Limit=200) == []
