from tests.actions.ssm.arrange import make, outputs, status
from tests.installation import Client, refused


def describe(ssm: Client, text: str) -> object:
    return ssm.UpdateDescription(SecretName="s", Description=text)


def shown(ssm: Client) -> tuple[str, str]:
    """The description in DescribeSecret and in lists."""
    return ssm.DescribeSecret(SecretName="s").Description, ssm.ListSecrets().SecretMetadatas[0].Description


def test_the_description_is_replaced(ssm: Client) -> None:
    make(ssm, Description="old")
    assert outputs(describe(ssm, "new \u63cf\u8ff0")) == {"SecretName": "s"}
    assert shown(ssm) == ("new \u63cf\u8ff0", "new \u63cf\u8ff0")


def test_an_empty_text_clears_it(ssm: Client) -> None:
    make(ssm, Description="old")
    describe(ssm, "")
    assert shown(ssm) == ("", "")


def test_limits_of_the_description(ssm: Client) -> None:
    make(ssm)
    for text in ("d" * 2048, "\u00e9" * 1024):
        describe(ssm, text)
        assert shown(ssm) == (text, text)
    for text in ("d" * 2049, "\u00e9" * 1024 + "d"):
        with refused("InvalidParameterValue"):
            describe(ssm, text)
    assert shown(ssm) == ("\u00e9" * 1024, "\u00e9" * 1024)


def test_a_disabled_secret_can_be_described(ssm: Client) -> None:
    make(ssm, state="Disabled")
    describe(ssm, "new")
    assert (shown(ssm), status(ssm)) == (("new", "new"), "Disabled")


def test_a_secret_pending_deletion_keeps_its_description(ssm: Client) -> None:
    make(ssm, state="PendingDelete", Description="old")
    with refused("FailedOperation"):
        describe(ssm, "new")
    assert shown(ssm) == ("old", "old")
