"""Parameters: types, limits, paths and texts, one at a time."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from chalicelib.actions.parameters import KeyId, SecretName, VersionId
from chalicelib.errors import (
    ApiError,
    InvalidKeyId,
    InvalidParameter,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    UnknownParameter,
)
from chalicelib.params import (
    MASK,
    MAX_DEPTH,
    MAX_FLAT,
    RECORDED,
    Base64,
    Between,
    Characters,
    Items,
    Matches,
    OneOf,
    Parameters,
    Utf8,
    Wire,
    nest,
    read_json,
)

CANARY = "c4n4ry+value/that=must not travel"


@dataclass(frozen=True, slots=True)
class Pair:
    tag_key: Annotated[str, Characters(4, 1), RECORDED]
    tag_value: Annotated[str, Characters(4)] = "-"
    more: Annotated[list[Annotated[int, Between(0, 9)]], Items(2), RECORDED] = field(default_factory=list)


def sample(
    ctx: object,
    *,
    name: Annotated[str, Characters(4, 1), RECORDED],
    count: Annotated[int, Between(-5, 5), RECORDED] = 0,
    big: int = 0,
    kind: Annotated[str, OneOf(("a", "b"))] = "a",
    level: Annotated[int, OneOf((1, 2))] = 1,
    text: Annotated[str, Utf8(6, 1)] = "-",
    word: Annotated[str, Matches("[a-z]{1,3}", "has 1 to 3 small letters")] = "a",
    blob: Annotated[bytes, Base64(4)] = b"-",
    on: bool = False,
    pairs: Annotated[list[Pair], Items(2, 1, LimitExceeded), RECORDED] | None = None,
    one: Pair | None = None,
    words: list[str] | None = None,
    clean_ssh: Annotated[bool, Wire("CleanSSHKey")] = False,
) -> dict[str, Any]:
    return {}


SAMPLE = Parameters(sample)


def read(body: dict[str, Any], *, lexical: bool = False) -> dict[str, Any]:
    return SAMPLE.read({"Name": "x", **body}, lexical=lexical)


def test_names_are_pascal_case_unless_told() -> None:
    assert SAMPLE.names == (
        "Name",
        "Count",
        "Big",
        "Kind",
        "Level",
        "Text",
        "Word",
        "Blob",
        "On",
        "Pairs",
        "One",
        "Words",
        "CleanSSHKey",
    )


def test_absent_optional_parameters_are_left_out() -> None:
    assert read({}) == {"name": "x"}
    assert read({"Count": None, "Pairs": None, "One": None}) == {"name": "x"}


@pytest.mark.parametrize(
    ("body", "argument", "value"),
    [
        ({"Count": -5}, "count", -5),
        ({"Count": 5}, "count", 5),
        ({"Count": "5"}, "count", 5),
        ({"Count": "-05"}, "count", -5),
        ({"Big": 2**63 - 1}, "big", 2**63 - 1),
        ({"Big": -(2**63)}, "big", -(2**63)),
        ({"Big": str(2**63 - 1)}, "big", 2**63 - 1),
        ({"Kind": "b"}, "kind", "b"),
        ({"Level": 2}, "level", 2),
        ({"Level": "2"}, "level", 2),
        ({"Text": "密钥"}, "text", "密钥"),
        ({"Text": "a\x00b"}, "text", "a\x00b"),
        ({"Word": "abc"}, "word", "abc"),
        ({"Blob": "AA=="}, "blob", b"\0"),
        ({"Blob": "AAAAAA=="}, "blob", bytes(4)),
        ({"On": True}, "on", True),
        ({"On": False}, "on", False),
        ({"CleanSSHKey": True}, "clean_ssh", True),
        ({"Words": []}, "words", []),
        ({"Words": ["", "a"]}, "words", ["", "a"]),
        ({"One": {"TagKey": "a"}}, "one", Pair("a")),
        ({"One": {"TagKey": "a", "TagValue": None}}, "one", Pair("a")),
        ({"Pairs": [{"TagKey": "a", "More": [1, "2"]}]}, "pairs", [Pair("a", "-", [1, 2])]),
        ({"Pairs": [{"TagKey": "a"}, {"TagKey": "a"}]}, "pairs", [Pair("a"), Pair("a")]),
    ],
)
def test_what_is_taken(body: dict[str, Any], argument: str, value: object) -> None:
    taken = read(body)[argument]
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"Nope": 1}, UnknownParameter, "Nope is not a parameter of this action."),
        ({"name": "x"}, UnknownParameter, "name is not a parameter of this action."),
        ({CANARY: 1}, UnknownParameter, "A name in the request is not a parameter of this action."),
        ({"": 1}, UnknownParameter, "A name in the request is not a parameter of this action."),
        ({"k3yL00kingText": 1}, UnknownParameter, "A name in the request is not a parameter of this action."),
        ({"\ud800": 1}, UnknownParameter, "A name in the request is not a parameter of this action."),
        ({"One": {"Nope": 1}}, UnknownParameter, "One.Nope is not a parameter of this action."),
        ({"Pairs": [{"TagKey": "a"}, {"a b": 1}]}, UnknownParameter, "Pairs.1.A name in the request is not"),
        ({"Name": None}, MissingParameter, "Name is required."),
        ({"One": {}}, MissingParameter, "One.TagKey is required."),
        ({"Pairs": [{"TagKey": "a"}, {"TagKey": None}]}, MissingParameter, "Pairs.1.TagKey is required."),
        ({"Name": 1}, InvalidParameter, "Name is a string."),
        ({"Name": ["x"]}, InvalidParameter, "Name is a string."),
        ({"Name": True}, InvalidParameter, "Name is a string."),
        ({"Name": "\ud800"}, InvalidParameter, "Name is not valid Unicode text."),
        ({"Name": ""}, InvalidParameterValue, "Name has 1 to 4 characters."),
        ({"Name": "abcde"}, InvalidParameterValue, "Name has 1 to 4 characters."),
        ({"Count": 1.0}, InvalidParameter, "Count is a whole number."),
        ({"Count": True}, InvalidParameter, "Count is a whole number."),
        ({"Count": "1.0"}, InvalidParameter, "Count is a whole number."),
        ({"Count": ""}, InvalidParameter, "Count is a whole number."),
        ({"Count": "+1"}, InvalidParameter, "Count is a whole number."),
        ({"Count": " 1"}, InvalidParameter, "Count is a whole number."),
        ({"Count": "1\n"}, InvalidParameter, "Count is a whole number."),
        ({"Count": "1_0"}, InvalidParameter, "Count is a whole number."),
        ({"Count": "\u0661"}, InvalidParameter, "Count is a whole number."),
        ({"Count": "0" * 20}, InvalidParameter, "Count is a whole number."),
        ({"Count": {}}, InvalidParameter, "Count is a whole number."),
        ({"Count": -6}, InvalidParameterValue, "Count is a whole number from -5 to 5."),
        ({"Count": 6}, InvalidParameterValue, "Count is a whole number from -5 to 5."),
        ({"Big": 2**63}, InvalidParameterValue, "Big does not fit in 64 bits."),
        ({"Big": -(2**63) - 1}, InvalidParameterValue, "Big does not fit in 64 bits."),
        ({"Big": 10**4000}, InvalidParameterValue, "Big does not fit in 64 bits."),
        ({"Kind": "c"}, InvalidParameterValue, "Kind is one of a, b."),
        ({"Kind": 1}, InvalidParameter, "Kind is a string."),
        ({"Level": 3}, InvalidParameterValue, "Level is one of 1, 2."),
        ({"Level": True}, InvalidParameter, "Level is a whole number."),
        ({"Text": "密钥a"}, InvalidParameterValue, "Text has 1 to 6 bytes in UTF-8."),
        ({"Text": ""}, InvalidParameterValue, "Text has 1 to 6 bytes in UTF-8."),
        ({"Word": "abcd"}, InvalidParameterValue, "Word has 1 to 3 small letters."),
        ({"Word": "abc\n"}, InvalidParameterValue, "Word has 1 to 3 small letters."),
        ({"Blob": ""}, InvalidParameterValue, "Blob is the standard base64 of 1 to 4 bytes."),
        ({"Blob": "AAAAAAA="}, InvalidParameterValue, "Blob is the standard base64 of 1 to 4 bytes."),
        ({"Blob": "AA="}, InvalidParameterValue, "Blob is the standard base64 of 1 to 4 bytes."),
        ({"Blob": "AB=="}, InvalidParameterValue, "Blob is the standard base64 of 1 to 4 bytes."),
        ({"Blob": "A_=="}, InvalidParameterValue, "Blob is the standard base64 of 1 to 4 bytes."),
        ({"Blob": "AA==\n"}, InvalidParameterValue, "Blob is the standard base64 of 1 to 4 bytes."),
        ({"Blob": "密"}, InvalidParameterValue, "Blob is the standard base64 of 1 to 4 bytes."),
        ({"Blob": 1}, InvalidParameter, "Blob is a string."),
        ({"On": 1}, InvalidParameter, "On is true or false."),
        ({"On": "true"}, InvalidParameter, "On is true or false."),
        ({"Words": "a"}, InvalidParameter, "Words is a list."),
        ({"Words": {"0": "a"}}, InvalidParameter, "Words is a list."),
        ({"Words": ["a", 1]}, InvalidParameter, "Words.1 is a string."),
        ({"Words": ["a", None]}, InvalidParameter, "Words.1 is a string."),
        ({"One": "a"}, InvalidParameter, "One is an object."),
        ({"One": []}, InvalidParameter, "One is an object."),
        ({"Pairs": ["a"]}, InvalidParameter, "Pairs.0 is an object."),
        ({"Pairs": [{"TagKey": "abcde"}]}, InvalidParameterValue, "Pairs.0.TagKey has 1 to 4 characters."),
        (
            {"Pairs": [{"TagKey": "a"}, {"TagKey": "a", "More": [0, 10]}]},
            InvalidParameterValue,
            "Pairs.1.More.1 is a whole number from 0 to 9.",
        ),
        (
            {"Pairs": [{"TagKey": "a", "More": [1, 2, 3]}]},
            InvalidParameterValue,
            "Pairs.0.More has 0 to 2 members.",
        ),
        ({"Pairs": []}, LimitExceeded, "Pairs has 1 to 2 members."),
        ({"Pairs": [{"TagKey": "a"}] * 3}, LimitExceeded, "Pairs has 1 to 2 members."),
    ],
)
def test_what_is_refused(body: dict[str, Any], error: type[ApiError], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(body)
    assert type(caught.value) is error
    assert str(caught.value).startswith(message)


def test_unknown_names_are_refused_first() -> None:
    with pytest.raises(UnknownParameter):
        SAMPLE.read({"Count": "x", "Nope": 1}, lexical=False)


def test_members_are_read_in_the_order_of_the_signature() -> None:
    with pytest.raises(MissingParameter, match=r"^Name"):
        SAMPLE.read({"Count": "x"}, lexical=False)
    with pytest.raises(InvalidParameter, match=r"^Count"):
        SAMPLE.read({"Blob": 1, "Count": "x", "Name": "x"}, lexical=False)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("false", False), ("False", False)]
)
def test_booleans_as_text(text: str, *, value: bool) -> None:
    assert read({"On": text}, lexical=True)["on"] is value


@pytest.mark.parametrize("text", ["TRUE", "1", "0", "yes", "tRue", " true", "on"])
def test_other_texts_are_no_booleans(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^On is true or false\.$"):
        read({"On": text}, lexical=True)


@pytest.mark.parametrize("name", ["Count", "Big", "Level", "On", "Pairs", "One", "Words", "CleanSSHKey"])
def test_an_empty_text_is_an_absent_value_where_no_text_is_meant(name: str) -> None:
    """Untyped GET clients send `Name=` for what is not set."""
    assert read({name: ""}, lexical=True) == {"name": "x"}


@pytest.mark.parametrize("name", ["Text", "Word", "Blob", "Kind"])
def test_an_empty_text_is_a_value_where_text_is_meant(name: str) -> None:
    with pytest.raises(InvalidParameterValue):
        read({name: ""}, lexical=True)


def test_an_empty_required_text_is_not_missing() -> None:
    with pytest.raises(InvalidParameterValue, match=r"^Name has 1 to 4"):
        read({"Name": ""}, lexical=True)


# The keys of rows


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (
            SecretName,
            ["a", "0", "a-_", "x" * 128],
            ["", "-a", "_a", "x" * 129, "a.b", "a#b", "a/b", "a\x00", "a\n", "é", "\uff41", "a b", "a\u200b"],
        ),
        (
            VersionId,
            ["a", "0.1", "SSM_Current", "x" * 64],
            ["", ".a", "x" * 65, "a#b", "a\x00", "a\n", "V#a", "é", "a b"],
        ),
        (
            KeyId,
            ["00000000-0000-0000-0000-000000000000"],
            [
                "",
                "00000000-0000-0000-0000-00000000000G",
                "00000000-0000-0000-0000-00000000000A",
                "00000000-0000-0000-0000-000000000000\x00",
                "00000000-0000-0000-0000-000000000000\n",
                "alias",
                "{00000000-0000-0000-0000-000000000000}",
            ],
        ),
    ],
    ids=["SecretName", "VersionId", "KeyId"],
)
def test_what_becomes_a_rows_key_has_plain_characters(hint: Any, good: list[str], bad: list[str]) -> None:
    def handler(ctx: object, *, name: str) -> None: ...

    handler.__annotations__["name"] = hint
    parameters = Parameters(handler)
    for value in good:
        assert parameters.read({"Name": value}, lexical=False) == {"name": value}
    for value in bad:
        with pytest.raises((InvalidParameterValue, InvalidKeyId)):
            parameters.read({"Name": value}, lexical=False)


# What the audit trail keeps


def test_only_harmless_values_are_recorded() -> None:
    body = {
        "Name": "x",
        "Count": 3,
        "Text": CANARY[:6],
        "Blob": "AAAA",
        "On": True,
        "Big": None,
        "Pairs": [{"TagKey": "a b", "TagValue": "ok", "More": [1, "2"]}, {"TagKey": "k"}],
    }
    SAMPLE.read(body, lexical=False)
    assert SAMPLE.recorded(body) == {
        "Name": "x",
        "Count": 3,
        "Text": MASK,
        "Blob": MASK,
        "On": MASK,
        "Pairs": [{"TagKey": MASK, "TagValue": "ok", "More": [1, "2"]}, {"TagKey": "k"}],
    }


@pytest.mark.parametrize("text", [CANARY, "x" * 129, "a b", "密", "a+b", "a=", "a\n", "a/b", '"', "\x00"])
def test_a_text_that_no_name_looks_like_is_masked(text: str) -> None:
    def handler(ctx: object, *, name: Annotated[str, RECORDED]) -> None: ...

    assert Parameters(handler).recorded({"Name": text}) == {"Name": MASK}
    assert Parameters(handler).recorded({"Name": "ap-1.b_c:d"}) == {"Name": "ap-1.b_c:d"}


# JSON


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", {}),
        (b"{}", {}),
        (b' {"a" : 1}\r\n', {"a": 1}),
        (b'{"a": {"b": 1}, "b": 1}', {"a": {"b": 1}, "b": 1}),
        ('{"a": "密"}'.encode(), {"a": "密"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": "\\u0000"}', {"a": "\x00"}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'{"a": ' + b"9" * 4000 + b"}", {"a": int("9" * 4000)}),
        (b'{"a": 1e999}', {"a": float("inf")}),
    ],
)
def test_json(body: bytes, value: object) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'"{}"',
        b"1",
        b"{",
        b"{}{}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": [-Infinity]}',
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": "\n"}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 01}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        CANARY.encode(),
        b"\x00",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidParameter) as caught:
        read_json(body)
    assert str(caught.value) in (
        "The body is a JSON object in UTF-8 without duplicate names.",
        "The body is a JSON object.",
    )


# Flat names


@pytest.mark.parametrize(
    ("flat", "value"),
    [
        ({}, {}),
        ({"A": ""}, {"A": ""}),
        ({"Tags.0.TagKey": "a", "Tags.0.TagValue": "b"}, {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ({"Ids.1": "b", "Ids.0": "a"}, {"Ids": ["a", "b"]}),
        ({f"Ids.{i}": str(i) for i in range(12)}, {"Ids": [str(i) for i in range(12)]}),
        ({"F.0.V.0": "a", "F.0.V.1": "b"}, {"F": [{"V": ["a", "b"]}]}),
        ({"A.B.C": "x", "A.D": "y"}, {"A": {"B": {"C": "x"}, "D": "y"}}),
        ({"0": "a"}, {"0": "a"}),
        ({"A.²": "x"}, {"A": {"²": "x"}}),
        ({"A.0": "x", "A.B": "y"}, {"A": {"0": "x", "B": "y"}}),
        ({".".join("ABCDEFGH"): "x"}, {"A": {"B": {"C": {"D": {"E": {"F": {"G": {"H": "x"}}}}}}}}),
    ],
)
def test_nest(flat: dict[str, str], value: object) -> None:
    assert nest(flat) == value


@pytest.mark.parametrize(
    "flat",
    [
        {"": "x"},
        {".": "x"},
        {"A.": "x"},
        {".A": "x"},
        {"A..B": "x"},
        {"A": "x", "A.B": "y"},
        {"A.B": "y", "A": "x"},
        {"A.B.C": "y", "A.B": "x"},
        {"A.0": "x", "A.2": "y"},
        {"A.1": "x"},
        {"A.00": "x"},
        {"A.01": "x", "A.0": "y"},
        {"A.0": "x", "A.4294967296": "y"},
        {"A." + "9" * 200: "x"},
        {".".join("A" * (MAX_DEPTH + 1)): "x"},
        {"." * 100_000: "x"},
        {f"A{i}": "" for i in range(MAX_FLAT + 1)},
    ],
    ids=lambda flat: next(iter(flat))[:12],
)
def test_what_does_not_nest(flat: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter) as caught:
        nest(flat)
    assert CANARY not in str(caught.value)


def test_the_most_that_nests() -> None:
    assert len(nest({f"A.{i}": "" for i in range(MAX_FLAT)})["A"]) == MAX_FLAT


@pytest.mark.parametrize("name", [n for n in SAMPLE.names if n != "Words"])
@pytest.mark.parametrize("lexical", [False, True])
def test_the_texts_name_no_value(name: str, *, lexical: bool) -> None:
    """Whatever is sent where: the message is made of names and limits."""
    values = (CANARY, [CANARY], {CANARY: CANARY}, {"TagKey": CANARY}, [{"TagKey": CANARY}], [[CANARY]])
    for value in values:
        with pytest.raises(ApiError) as caught:
            read({name: value}, lexical=lexical)
        assert "c4n4ry" not in str(caught.value)
