from typing import Any

import pytest

from tests.actions.kms.arrange_data_keys import (
    SECRET,
    STATES,
    UNKNOWN,
    bring_key_to,
    describe,
    make,
    make_key,
    names,
)
from tests.installation import Client, Installation, refused


@pytest.fixture
def keys(installation: Installation, kms: Client) -> dict[str, str]:
    """Data keys `alpha` (enabled), `beta` (disabled), `gamma` (pending), `delta` (imported, another key), by age."""
    made = {}
    for name, state, length in zip(("alpha", "beta", "gamma"), STATES, (16, 32, 1024), strict=True):
        installation.clock.advance(1)
        tags = [{"TagKey": "name", "TagValue": name}, {"TagKey": "kind", "TagValue": "a"}]
        made[name] = make(kms, name, state=state, NumberOfBytes=length, Tags=tags)
    installation.clock.advance(1)
    made["delta"] = kms.ImportDataKey(
        KeyId=make_key(kms, "another"),
        ImportType=2,
        ImportKeyMaterial=SECRET,
        DataKeyName="delta",
        Tags=[{"TagKey": "kind", "TagValue": "b"}],
    ).DataKeyId
    return made


EVERY = ["delta", "gamma", "beta", "alpha"]


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({}, EVERY),
    ({"OrderType": 0}, EVERY),
    ({"OrderType": 1}, EVERY[::-1]),
    ({"Role": 0}, EVERY),
    ({"Role": 1}, []),
    ({"KeyState": 0}, EVERY),
    ({"KeyState": 1}, ["delta", "alpha"]),
    ({"KeyState": 2}, ["beta"]),
    ({"KeyState": 3}, ["gamma"]),
    ({"SearchKeyAlias": ""}, EVERY),
    ({"SearchKeyAlias": "et"}, ["beta"]),
    ({"SearchKeyAlias": "ALPHA"}, []),
    ({"SearchKeyAlias": "x" * 60}, []),
    ({"Origin": ""}, EVERY),
    ({"Origin": "ALL"}, EVERY),
    ({"Origin": "TENCENT_KMS"}, ["gamma", "beta", "alpha"]),
    ({"Origin": "EXTERNAL"}, ["delta"]),
    ({"HsmClusterId": ""}, EVERY),
    ({"HsmClusterId": "default"}, EVERY),
    ({"KeyId": ""}, EVERY),
    ({"DataKeyLen": 0}, EVERY),
    ({"DataKeyLen": 16}, ["alpha"]),
    ({"DataKeyLen": 32}, ["delta", "beta"]),
    ({"DataKeyLen": 1024}, ["gamma"]),
    ({"DataKeyLen": 1025}, []),
    ({"TagFilters": []}, EVERY),
    ({"TagFilters": [{"TagKey": "kind"}]}, EVERY),
    ({"TagFilters": [{"TagKey": "kind", "TagValue": ["a", "c"]}]}, ["gamma", "beta", "alpha"]),
    ({"TagFilters": [{"TagKey": "kind", "TagValue": ["a", "b"]}]}, EVERY),
    ({"TagFilters": [{"TagKey": "name"}, {"TagKey": "kind", "TagValue": ["b"]}]}, []),
    ({"TagFilters": [{"TagKey": "other"}]}, []),
    ({"MemberAccounts": []}, EVERY),
    ({"KeyState": 1, "Origin": "TENCENT_KMS", "SearchKeyAlias": "l", "DataKeyLen": 16}, ["alpha"]),
]


def test_filters(kms: Client, keys: dict[str, str]) -> None:
    for filters, expected in FILTERS:
        answer = kms.ListDataKeyDetail(**filters)
        assert [m.DataKeyName for m in answer.DataKeyMetadatas] == expected, filters
        assert answer.TotalCount == len(expected)


def test_filters_by_what_is_made_up_on_creation(
    installation: Installation, kms: Client, keys: dict[str, str]
) -> None:
    assert names(kms, SearchKeyAlias=keys["beta"]) == ["beta"]
    assert names(kms, SearchKeyAlias=keys["beta"][:13]) == ["beta"]
    key, another = make_key(kms), make_key(kms, "another")
    assert names(kms, KeyId=key) == ["gamma", "beta", "alpha"]
    assert names(kms, KeyId=another) == ["delta"]
    bring_key_to(installation, kms, another, "gone")
    with refused("ResourceUnavailable.CmkNotFound"):
        names(kms, KeyId=another)
    # The others are past their date, too, where they had one.
    assert names(kms) == ["delta", "beta", "alpha"]


def test_each_is_as_it_is_described(kms: Client, keys: dict[str, str]) -> None:
    for metadata in kms.ListDataKeyDetail().DataKeyMetadatas:
        assert metadata.DataKeyId == keys[metadata.DataKeyName]
        assert metadata.to_json_string() == describe(kms, metadata.DataKeyId).to_json_string()


def test_pages(kms: Client, keys: dict[str, str]) -> None:
    assert names(kms, Limit=1) == EVERY[:1]
    assert names(kms, Limit=3, Offset=2) == EVERY[2:]
    assert names(kms, Offset=4) == []
    assert kms.ListDataKeyDetail(Limit=1, Offset=4).TotalCount == 4
    for number in range(7):
        make(kms, f"d{number}")
    answer = kms.ListDataKeyDetail()
    assert (len(answer.DataKeyMetadatas), answer.TotalCount) == (10, 11)


def test_a_page_of_more_keys_than_one_read_takes(kms: Client) -> None:
    for number in range(101):
        make(kms, f"d{number}", KeyId=kms.CreateKey(Alias=f"k{number}").KeyId)
    found = kms.ListDataKeyDetail(Limit=200).DataKeyMetadatas
    assert {(m.DataKeyName, m.KeyName) for m in found} == {(f"d{n}", f"k{n}") for n in range(101)}


REFUSALS: list[tuple[dict[str, Any], Any]] = [
    ({"Limit": 0}, "InvalidParameter"),
    ({"Limit": 201}, "InvalidParameter"),
    ({"Offset": -1}, "InvalidParameterValue"),
    ({"Role": 2}, "InvalidParameter"),
    ({"OrderType": 2}, "InvalidParameter"),
    ({"KeyState": 4}, "InvalidParameter"),
    ({"KeyState": -1}, "InvalidParameter"),
    ({"SearchKeyAlias": "x" * 61}, "InvalidParameter"),
    ({"Origin": "external"}, "InvalidParameter"),
    ({"HsmClusterId": "cluster"}, "InvalidParameterValue.InvalidHsmClusterId"),
    ({"KeyId": "k"}, "InvalidParameterValue.InvalidKeyId"),
    ({"KeyId": UNKNOWN}, "ResourceUnavailable.CmkNotFound"),
    ({"DataKeyLen": -1}, "InvalidParameterValue"),
    ({"MemberAccounts": [{"MemberUin": 1}]}, "UnsupportedOperation.NotRoleOperation"),
]


def test_what_is_refused(kms: Client) -> None:
    for given, error in REFUSALS:
        with refused(error):
            kms.ListDataKeyDetail(**given)
