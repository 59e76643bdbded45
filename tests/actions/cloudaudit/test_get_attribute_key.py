"""GetAttributeKey."""

import pytest

from chalicelib.actions.cloudaudit import describe_events, look_up_events
from tests.installation import Installation, refused


@pytest.mark.parametrize(("language", "starter"), [("zh", "选择"), ("en", "Select"), (None, "选择")])
def test_it_names_every_key_that_searches_take(
    installation: Installation, language: str | None, starter: str
) -> None:
    given = {"WebsiteType": language} if language else {}
    details = installation.client("cloudaudit").GetAttributeKey(**given).AttributeKeyDetails
    assert {each.Value for each in details} == {*describe_events.KEYS, *look_up_events.KEYS}
    assert [each.Order for each in details] == list(range(1, len(details) + 1))
    assert {each.LabelType for each in details} == {"select", "text"}
    assert all(each.Label for each in details)
    assert details[0].Starter.startswith(starter)


def test_other_languages_are_refused(installation: Installation) -> None:
    with refused("InvalidParameter"):
        installation.client("cloudaudit").GetAttributeKey(WebsiteType="fr")
