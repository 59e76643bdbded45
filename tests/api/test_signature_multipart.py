"""multipart/form-data bodies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.api.body import MAX_PARTS, media_type, read_event_body, read_multipart
from chalicelib.errors import ApiError, InvalidParameter, InvalidRequest, RequestSizeLimitExceeded
from tests.api.conftest import CASES, case_body, case_headers

TYPE = "multipart/form-data; boundary=b"


def part(content: bytes, disposition: str = 'form-data; name="A"', more: str = "") -> bytes:
    return (
        b"--b\r\nContent-Disposition: "
        + disposition.encode()
        + more.encode()
        + b"\r\n\r\n"
        + content
        + b"\r\n"
    )


def test_the_captured_bodies() -> None:
    read = {
        case["name"]: read_multipart(case_headers(case)["content-type"], case_body(case))
        for case in CASES
        if "multipart" in case["name"]
    }
    assert read == {
        "tc3-post-multipart": {
            "KeyId": "k1",
            "Plaintext": b"\x00\x01bin\xff",
            "Tags": [{"TagKey": "a", "TagValue": "b"}],
            "Note": "é",
        },
        "hmacsha1-post-multipart-option": {"KeyId": "k1", "Plaintext": b"abc"},
    }


@pytest.mark.parametrize(
    "content_type",
    [TYPE, 'multipart/form-data; boundary="b"', "Multipart/Form-Data;charset=utf-8;BOUNDARY=b ; x=y"],
)
def test_boundaries_of_every_form(content_type: str) -> None:
    assert read_multipart(content_type, part(b"1") + b"--b--") == {"A": "1"}
    assert read_multipart(content_type, part(b"1") + b"--b--\r\n") == {"A": "1"}


def test_an_empty_body_has_no_parameters() -> None:
    assert read_multipart(TYPE, b"") == {}
    assert read_multipart(TYPE, b"--b--\r\n") == {}


def test_a_part_keeps_its_bytes() -> None:
    content = b"\r\n--c\r\n\r\n-b--\r\n"
    body = part(content, 'form-data; name="A"; filename="x"') + part(b"{}", 'form-data; name="B"')
    assert read_multipart(TYPE, body + b"--b--\r\n") == {"A": content, "B": "{}"}


@pytest.mark.parametrize(
    "body",
    [
        b"--b",
        b"--b--x",
        b"--c--\r\n",
        b"preamble\r\n--b--\r\n",
        part(b"1"),
        part(b"1") + part(b"2") + b"--b--\r\n",
        part(b"1", "form-data") + b"--b--\r\n",
        part(b"1", 'form-data; name=""') + b"--b--\r\n",
        part(b"1", 'attachment; name="A"') + b"--b--\r\n",
        part(b"\xff") + b"--b--\r\n",
        b"--b\r\nno headers\r\n--b--\r\n",
        b"--b\r\n\xff: 1\r\n\r\n\r\n--b--\r\n",
        b"--bb" + part(b"1")[3:] + b"--b--\r\n",
    ],
)
def test_a_body_that_is_not_as_declared(body: bytes) -> None:
    with pytest.raises(InvalidParameter):
        read_multipart(TYPE, body)


@pytest.mark.parametrize("boundary", ["", "; boundary=", '; boundary=""', "; boundary=" + "x" * 71])
def test_a_boundary_is_needed(boundary: str) -> None:
    with pytest.raises(InvalidParameter):
        read_multipart("multipart/form-data" + boundary, b"")


@pytest.mark.parametrize("content", [b"", b"{", b"NaN", b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000])
def test_json_parts_are_strict(content: bytes) -> None:
    body = part(content, more="\r\ncontent-type: application/json; charset=utf-8") + b"--b--\r\n"
    with pytest.raises(InvalidParameter):
        read_multipart(TYPE, body)


def test_the_number_of_parts_is_bounded() -> None:
    parts = [part(b"", f'form-data; name="{n}"') for n in range(MAX_PARTS + 1)]
    assert len(read_multipart(TYPE, b"".join(parts[:MAX_PARTS]) + b"--b--\r\n")) == MAX_PARTS
    with pytest.raises(InvalidParameter):
        read_multipart(TYPE, b"".join(parts) + b"--b--\r\n")


@given(
    st.text(), st.lists(st.sampled_from([b"--b", b"\r\n", b"--", part(b"1"), b"a", b"\xff"])).map(b"".join)
)
def test_nothing_but_an_api_error_comes_out_of_any_body(parameters: str, body: bytes) -> None:
    for content_type in (TYPE, "multipart/form-data; boundary=" + parameters):
        try:
            read_multipart(content_type, body)
        except ApiError:
            continue


def test_media_types() -> None:
    assert media_type(" Application/JSON ; charset=utf-8") == "application/json"
    assert media_type("") == ""


def test_bodies_of_events() -> None:
    assert read_event_body(None, encoded=False, limit=10) == b""
    assert read_event_body("é", encoded=False, limit=10) == "é".encode()
    assert read_event_body("AAH/", encoded=True, limit=3) == b"\x00\x01\xff"
    assert read_event_body(b"\xff", encoded=False, limit=10) == b"\xff"
    for body, encoded in (
        ("A", True),
        ("AA!==", True),
        ("é", True),
        ("\ud800", False),
        (b"AA==", True),
        (7, False),
    ):
        with pytest.raises(InvalidRequest):
            read_event_body(body, encoded=encoded, limit=100)
    with pytest.raises(RequestSizeLimitExceeded):
        read_event_body("A" * 1000, encoded=True, limit=100)
