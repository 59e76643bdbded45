from typing import Any

from tests.actions.kms.arrange_data_keys import STATES, make
from tests.installation import Client, Installation, refused


def listed(kms: Client, **given: int) -> list[str]:
    return [d.DataKeyId for d in kms.ListDataKeys(**given).DataKeys]


def test_all_states_newest_first_in_pages(installation: Installation, kms: Client) -> None:
    data_keys: list[str] = []
    for number in range(12):
        installation.clock.advance(0.001)
        data_keys.insert(0, make(kms, f"d{number}", state=STATES[number % 3]))
    answer = kms.ListDataKeys()
    assert ([d.DataKeyId for d in answer.DataKeys], answer.TotalCount) == (data_keys[:10], 12)
    assert listed(kms, Limit=200) == data_keys
    assert listed(kms, Offset=1, Limit=1) == data_keys[1:2]
    assert listed(kms, Offset=10) == data_keys[10:]
    answer = kms.ListDataKeys(Offset=12)
    assert (answer.DataKeys, answer.TotalCount) == ([], 12)
    assert kms.ListDataKeys(Role=0).TotalCount == 12
    assert kms.ListDataKeys(Role=1).TotalCount == 0
    assert kms.ListDataKeys(HsmClusterId="default").TotalCount == 12


REFUSALS: list[tuple[dict[str, Any], Any]] = [
    ({"Limit": 0}, "InvalidParameterValue"),
    ({"Limit": 201}, "InvalidParameterValue"),
    ({"Offset": -1}, "InvalidParameterValue"),
    ({"Role": 2}, "InvalidParameterValue"),
    ({"HsmClusterId": "cluster"}, "InvalidParameterValue.InvalidHsmClusterId"),
]


def test_what_is_refused(kms: Client) -> None:
    for given, error in REFUSALS:
        with refused(error):
            kms.ListDataKeys(**given)
