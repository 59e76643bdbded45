"""Signatures on random input: the official SDK as the signer, arbitrary requests, and equal meanings only."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from chalicelib.api.http import Request
from chalicelib.api.signature import peek, read_claim, verify
from chalicelib.errors import ApiError
from chalicelib.settings import Settings
from tests.api.conftest import CASES, SECRET_ID, SECRET_KEY, Case, Keys, accept, case_request, flip

V1_POSTS = [
    case for case in CASES if case["expect"]["algorithm"].startswith("Hmac") and case_request(case).body
]

names = st.from_regex(r"[A-Z][A-Za-z0-9]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("Action", "Nonce", "Region", "Language", "Token", "Version", "Timestamp")
)
scalars = st.text() | st.integers(-(2**63), 2**64) | st.booleans() | st.floats(allow_nan=False) | st.none()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def sdk_request(
    parameters: dict[str, Any],
    *,
    sign_method: str,
    method: str,
    endpoint: str,
    token: str,
    region: str,
    options: dict[str, Any],
) -> Request:
    """Let the SDK build and sign a request, and take what it would send."""
    profile = ClientProfile(
        signMethod=sign_method, httpProfile=HttpProfile(endpoint=endpoint, reqMethod=method)
    )
    client = AbstractClient(Credential(SECRET_ID, SECRET_KEY, token or None), region, profile)
    client._service, client._apiVersion = "kms", "2019-01-18"
    wire = RequestInternal(endpoint, method, "/", header={})
    client._build_req_inter("encrypt", parameters, wire, options)
    data = wire.data.encode() if isinstance(wire.data, str) else wire.data
    query, body = (data.decode(), b"") if method == "GET" else ("", data)
    headers = {"host": endpoint, **{name.lower(): value for name, value in wire.header.items()}}
    return Request(method, "/", (query,), headers, body, "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's datetime.utcfromtimestamp
@settings(max_examples=300)
@given(
    parameters=st.dictionaries(names, values, max_size=5),
    sign_method=st.sampled_from(["TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"]),
    method=st.sampled_from(["GET", "POST"]),
    endpoint=st.sampled_from(["127.0.0.1:8000", "kms.Example.com", "http://127.0.0.1:8000"]),
    token=st.sampled_from(["", "a+/=&b"]),
    region=st.sampled_from(["", "ap-guangzhou"]),
)
def test_what_the_sdk_signs_is_verified(
    parameters: dict[str, Any], sign_method: str, method: str, endpoint: str, token: str, region: str
) -> None:
    request = sdk_request(
        parameters,
        sign_method=sign_method,
        method=method,
        endpoint=endpoint,
        token=token,
        region=region,
        options={},
    )
    claim = read_claim(request, Settings())
    verify(request, claim, Keys(), now=claim.timestamp, settings=Settings())
    assert (claim.action, claim.token, claim.region) == ("Encrypt", token, region)
    assert claim.algorithm == sign_method
    with pytest.raises(ApiError):
        verify(request, claim, Keys(SECRET_KEY + "x"), now=claim.timestamp, settings=Settings())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's datetime.utcfromtimestamp
@given(parameters=st.dictionaries(names, st.text(), max_size=3), sign_method=st.sampled_from(["HmacSHA1"]))
def test_what_the_sdk_signs_as_multipart_is_verified(parameters: dict[str, str], sign_method: str) -> None:
    request = sdk_request(
        parameters,
        sign_method=sign_method,
        method="POST",
        endpoint="localhost:8000",
        token="",
        region="",
        options={"IsMultipart": True, "BinaryParams": list(parameters)[:1]},
    )
    claim = read_claim(request, Settings())
    verify(request, claim, Keys(), now=claim.timestamp, settings=Settings())
    assert claim.parameters is None


header_values = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "SKIP",
        "TC3-HMAC-SHA256 Credential=AKID/2026-11-22/kms/tc3_request, SignedHeaders=content-type;host, Signature="
        + "0" * 64,
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "1795367907",
        "99999999999",
        "UNSIGNED-PAYLOAD",
        "127.0.0.1:8000",
        "\ud800",
    ]
)
header_names = st.sampled_from(
    [
        "authorization",
        "content-type",
        "host",
        "x-tc-action",
        "x-tc-content-sha256",
        "x-tc-language",
        "x-tc-region",
        "x-tc-timestamp",
        "x-tc-token",
        "x-tc-version",
    ]
)
forms = st.lists(
    st.tuples(
        st.sampled_from(
            ["Action", "Version", "Timestamp", "Nonce", "SecretId", "Signature", "K_1", "K.1", "%"]
        ),
        st.sampled_from(["1795367907", "", "%ff", "é", "a+b", "Encrypt", "%20"]),
    ),
    max_size=9,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))


@settings(max_examples=500)
@given(
    method=st.sampled_from(["GET", "POST"]) | st.text(max_size=5),
    queries=st.lists(forms | st.text(st.characters(), max_size=20), max_size=3).map(tuple),
    headers=st.dictionaries(header_names, header_values),
    body=forms.map(str.encode) | st.binary(max_size=40),
    hosts=st.sampled_from([(), ("kms.example.com",)]),
)
def test_nothing_but_an_api_error_comes_out_of_any_request(
    method: str, queries: tuple[str, ...], headers: dict[str, str], body: bytes, hosts: tuple[str, ...]
) -> None:
    request = Request(method, "/", queries, headers, body, "")
    peek(request)
    config = Settings(hosts=hosts, accept_unsigned_payload=True)
    try:
        claim = read_claim(request, config)
    except ApiError:
        return
    with pytest.raises(ApiError):
        verify(request, claim, Keys(), now=claim.timestamp, settings=config)


@settings(max_examples=300)
@given(st.sampled_from(V1_POSTS), st.data())
def test_a_v1_form_that_means_something_else_is_refused(case: Case, data: st.DataObject) -> None:
    """Whatever bytes are put in: what is accepted reads as the same parameters, but for empty ones and `_` for `.`."""
    request = case_request(case)
    at = data.draw(st.integers(0, len(request.body)))
    to = data.draw(st.integers(at, min(at + 4, len(request.body))))
    body = request.body[:at] + data.draw(st.binary(max_size=4) | st.just(b"&A_a=")) + request.body[to:]
    try:
        accept(case, replace(request, body=body))
    except ApiError:
        return
    assert meaning(body) == meaning(request.body)


def meaning(form: bytes) -> dict[str, str]:
    pairs = parse_qsl(form.decode(), keep_blank_values=True)
    return {name.replace("_", "."): value for name, value in pairs if value}


def test_the_helper_changes_one_byte() -> None:
    assert list(flip("ab-c", keep="-")) == ["`b-c", "ac-c", "ab-b"]
