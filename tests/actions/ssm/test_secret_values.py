"""The rules for a value, which CreateSecret, PutSecretValue and UpdateSecret share."""

import base64
from typing import Any

import pytest

from chalicelib.clock import ManualClock
from tests.actions.ssm.arrange import CALLS, VALUE, make, value, versions, with_settings
from tests.installation import Client, refused

WRITERS = ("CreateSecret", "PutSecretValue", "UpdateSecret")


def write(ssm: Client, action: str, **given: Any) -> str:
    """Write a value with an action; how it is read back."""
    call = {k: v for k, v in CALLS[action].items() if k != "SecretString"}
    written = getattr(ssm, action)(**{**call, **given})
    return value(ssm, written.SecretName, written.VersionId)


@pytest.fixture
def ssm(ssm: Client) -> Client:
    make(ssm)
    return ssm


def refuse(ssm: Client, action: str, code: str, **given: Any) -> None:
    """The value is refused, the text of the refusal does not hold it, and nothing has changed."""
    with refused(code) as caught:
        write(ssm, action, **given)
    # Shorter values stand in any text by chance.
    assert not any(len(v) > 3 and v in str(caught.value) for v in given.values())
    assert (versions(ssm), value(ssm)) == (["v1"], VALUE)


@pytest.mark.parametrize("action", WRITERS)
@pytest.mark.parametrize(
    "text",
    [
        "x",
        " ",
        "\x00",
        "\n\t",
        '{"UserName": "u", "Password": "p"}',
        "\u5bc6\u7801 \U0001f511",
        "x" * 4096,
        "\u00e9" * 2048,
    ],
    ids=[
        "one byte",
        "space",
        "nul",
        "control",
        "json",
        "unicode",
        "4096 bytes",
        "2048 characters of 2 bytes",
    ],
)
def test_text_comes_back_as_it_was(ssm: Client, action: str, text: str) -> None:
    assert write(ssm, action, SecretString=text) == text


@pytest.mark.parametrize("action", WRITERS)
@pytest.mark.parametrize("binary", [b"\x00", b"\xff\xfe", bytes(4095), bytes(4096)], ids=len)
def test_bytes_come_back_as_they_were(ssm: Client, action: str, binary: bytes) -> None:
    encoded = base64.b64encode(binary).decode()
    assert write(ssm, action, SecretBinary=encoded) == encoded


@pytest.mark.parametrize("action", WRITERS)
def test_one_byte_more_than_4096_is_refused(ssm: Client, action: str) -> None:
    for text in ("x" * 4097, "\u00e9" * 2048 + "x", "x" * 32769):
        refuse(ssm, action, "InvalidParameterValue", SecretString=text)
    for binary in (bytes(4097), bytes(32769)):
        refuse(ssm, action, "InvalidParameterValue", SecretBinary=base64.b64encode(binary).decode())


@pytest.mark.parametrize("action", WRITERS)
def test_exactly_one_of_text_and_bytes_is_set_and_not_empty(ssm: Client, action: str) -> None:
    refuse(ssm, action, "InvalidParameterValue")
    refuse(ssm, action, "InvalidParameterValue", SecretString="", SecretBinary="")
    refuse(ssm, action, "InvalidParameterValue", SecretString="")
    refuse(ssm, action, "InvalidParameterValue", SecretBinary="")
    refuse(ssm, action, "InvalidParameterValue", SecretString="x", SecretBinary="eA==")
    # Clients that send every member leave the unused one empty.
    assert write(ssm, action, SecretString="x", SecretBinary="") == "x"


@pytest.mark.parametrize("action", WRITERS)
@pytest.mark.parametrize("text", ["_-8=", "+/8", "+/9=", "+/8=\n", " +/8=", "%", "\u00e9", "+/8==="])
def test_bytes_are_canonical_standard_base64(ssm: Client, action: str, text: str) -> None:
    refuse(ssm, action, "InvalidParameterValue", SecretBinary=text)


@pytest.mark.parametrize("action", WRITERS)
def test_a_value_is_a_string_on_the_wire(ssm: Client, action: str) -> None:
    call = {k: v for k, v in CALLS[action].items() if k != "SecretString"}
    for name in ("SecretString", "SecretBinary"):
        for wrong in (17, True, ["x"], {"x": "y"}):
            with refused("InvalidParameter"):
                ssm.call_raw(action, {**call, name: wrong})
    with refused("InvalidParameter"):
        ssm.call_raw(action, {**call, "SecretString": "\ud800"})


@pytest.mark.parametrize("action", WRITERS)
@pytest.mark.parametrize("most", [1, 4096, 32768])
def test_the_limit_is_a_setting(clock: ManualClock, action: str, most: int) -> None:
    ssm = with_settings(clock, secret_value_max_bytes=most)
    ssm.CreateSecret(SecretName="s", VersionId="v1", SecretString="x")
    assert write(ssm, action, SecretString="y" * most) == "y" * most
    call = {"SecretName": "s2", "VersionId": "v3"} if action != "UpdateSecret" else {}
    if action == "PutSecretValue":
        call["SecretName"] = "s"
    with refused("InvalidParameterValue"):
        write(ssm, action, SecretString="y" * (most + 1), **call)
    with refused("InvalidParameterValue"):
        write(ssm, action, SecretBinary=base64.b64encode(bytes(most + 1)).decode(), **call)
