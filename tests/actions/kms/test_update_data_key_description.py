import pytest

from tests.actions.kms.arrange_data_keys import describe, make
from tests.installation import Client, refused


@pytest.mark.parametrize("description", ["", "x", "x" * 100, "\u00e9" * 50, "\u5bc6\u94a5 \n"])
def test_the_description_changes_and_nothing_else(kms: Client, description: str) -> None:
    data_key = make(kms, Description="before")
    before = describe(kms, data_key)
    kms.UpdateDataKeyDescription(DataKeyId=data_key, Description=description)
    before.Description = description
    assert describe(kms, data_key).to_json_string() == before.to_json_string()


@pytest.mark.parametrize("description", ["x" * 101, "\u00e9" * 51])
def test_more_than_a_hundred_bytes_are_refused(kms: Client, description: str) -> None:
    data_key = make(kms, Description="before")
    with refused("InvalidParameter"):
        kms.UpdateDataKeyDescription(DataKeyId=data_key, Description=description)
    assert describe(kms, data_key).Description == "before"


def test_what_is_required(kms: Client) -> None:
    with refused("MissingParameter"):
        kms.UpdateDataKeyDescription(Description="x")
    with refused("MissingParameter"):
        kms.UpdateDataKeyDescription(DataKeyId=make(kms))
