"""TC3-HMAC-SHA256, HmacSHA1 and HmacSHA256 on requests that real clients sent, and on what others may send."""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest

from chalicelib.api.http import Request
from chalicelib.api.signature import (
    HMAC_SHA1,
    HMAC_SHA256,
    MAX_GET,
    MAX_PARAMETERS,
    MAX_TC3_POST,
    MAX_V1_POST,
    SKIP,
    TC3,
    Claim,
    check_timestamp,
    derive_signing_key,
    peek,
    read_claim,
    verify,
)
from chalicelib.errors import (
    ApiError,
    InvalidAuthorization,
    InvalidParameter,
    MissingParameter,
    RequestSizeLimitExceeded,
    SignatureExpire,
    SignatureFailure,
    UnsupportedProtocol,
)
from chalicelib.settings import Settings
from tests.api.conftest import (
    CASES,
    DATE,
    HOST,
    NOW,
    SECRET_ID,
    SECRET_KEY,
    SEED,
    Case,
    Keys,
    accept,
    case_name,
    case_request,
    flip,
    is_host_on_the_wire,
    is_payload_signed,
    is_signed,
    tc3_request,
    with_header,
)

SIGNED = [case for case in CASES if is_signed(case)]
SETTINGS = Settings()
FORM = "application/x-www-form-urlencoded"


def claim_of(request: Request, settings: Settings = SETTINGS, now: int = NOW) -> Claim:
    claim = read_claim(request, settings)
    verify(request, claim, Keys(), now=now, settings=settings)
    return claim


def v1_request(
    parameters: dict[str, str] | None = None,
    *,
    method: str = "POST",
    algorithm: str = HMAC_SHA256,
    host: str = HOST,
    signed: dict[str, str] | None = None,
) -> Request:
    """Sign by hand; `signed` replaces what the text to sign is made of."""
    sent = {
        "Action": "DescribeKey",
        "Version": "2019-01-18",
        "Timestamp": str(NOW),
        "Nonce": "0",
        "SecretId": SECRET_ID,
        "SignatureMethod": algorithm,
        **(parameters or {}),
    }
    pairs = sent if signed is None else signed
    text = f"{method}{host}/?" + "&".join(f"{name}={pairs[name]}" for name in sorted(pairs))
    digest = hashlib.sha256 if algorithm == HMAC_SHA256 else hashlib.sha1
    sent["Signature"] = b64encode(hmac.new(SECRET_KEY.encode(), text.encode(), digest).digest()).decode()
    return v1_raw(urlencode(sent), method=method)


def v1_raw(text: str, method: str = "POST") -> Request:
    headers = {"host": HOST} if method == "GET" else {"host": HOST, "content-type": FORM}
    query, body = (text, b"") if method == "GET" else ("", text.encode())
    return Request(method, "/", (query,), headers, body, "192.0.2.1")


def flatten(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    """The flattened form of the wire facts: null and empty containers vanish."""
    if isinstance(value, dict | list):
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(f"{prefix}.{name}" if prefix else str(name), member)
    elif value is not None:
        yield prefix, str(value)


# The captured requests


def test_there_are_103_captured_requests() -> None:
    assert len(CASES) == 103
    assert len({case_name(case) for case in CASES}) == 103
    assert len(SIGNED) == 102


@pytest.mark.parametrize("case", SIGNED, ids=case_name)
def test_a_captured_request_is_verified_and_read(case: Case) -> None:
    expected = case["expect"]
    claim = accept(case, case_request(case))
    assert claim.algorithm == expected["algorithm"]
    assert claim.secret_id == case["secret_id"]
    assert claim.token == (case["token"] or "")
    assert (claim.action, claim.version) == (expected["action"], expected["version"])
    assert (claim.region, claim.language) == (expected["region"] or "", expected["language"])
    assert claim.timestamp == expected["timestamp"]
    if claim.algorithm == TC3 and case["request"]["method"] == "POST":
        assert claim.parameters is None
    else:
        assert claim.parameters == dict(flatten("", case["params"]))


@pytest.mark.parametrize("case", [c for c in SIGNED if not is_host_on_the_wire(c)], ids=case_name)
def test_a_host_that_is_not_on_the_wire_must_be_configured(case: Case) -> None:
    request = case_request(case)
    claim = read_claim(request, SETTINGS)
    with pytest.raises(SignatureFailure):
        verify(request, claim, Keys(case["secret_key"]), now=claim.timestamp, settings=SETTINGS)


@pytest.mark.parametrize("case", [c for c in SIGNED if not is_payload_signed(c)], ids=case_name)
def test_unsigned_payload_is_refused_knowingly(case: Case) -> None:
    with pytest.raises(SignatureFailure, match="This server refuses UNSIGNED-PAYLOAD"):
        read_claim(case_request(case), SETTINGS)


def mutants(case: Case) -> Iterator[Request]:
    """Every request that differs from a captured one in a byte that the signature covers."""
    request = case_request(case)
    headers = request.headers
    other = "POST" if request.method == "GET" else "GET"
    yield replace(request, method=other)
    if is_host_on_the_wire(case):
        yield from (with_header(request, "host", text) for text in flip(headers["host"]))
    if "authorization" in headers:
        for name in ("authorization", "content-type", "x-tc-timestamp"):
            yield from (with_header(request, name, text) for text in flip(headers[name]))
    if request.method == "GET":
        yield from (replace(request, queries=(text,)) for text in flip(request.queries[0]))
        yield replace(request, queries=(request.queries[0] + "&a=b",))
    elif is_payload_signed(case):
        step = max(1, len(request.body) // 500)
        for at in range(0, len(request.body), step):
            body = bytearray(request.body)
            body[at] ^= 1
            yield replace(request, body=bytes(body))
        yield replace(request, body=request.body + b"&a=b")


@pytest.mark.parametrize("case", SIGNED, ids=case_name)
def test_one_changed_byte_is_refused(case: Case) -> None:
    count = 0
    for mutant in mutants(case):
        with pytest.raises(ApiError):
            accept(case, mutant)
        count += 1
    assert count > 100


@pytest.mark.parametrize("case", SIGNED, ids=case_name)
def test_another_key_is_refused(case: Case) -> None:
    with pytest.raises(SignatureFailure):
        accept({**case, "secret_key": case["secret_key"] + "x"}, case_request(case))


def test_skip_is_read_but_never_verified() -> None:
    (case,) = [case for case in CASES if not is_signed(case)]
    request = case_request(case)
    claim = read_claim(request, SETTINGS)
    assert (claim.algorithm, claim.secret_id, claim.action) == (SKIP, "", "AssumeRoleWithWebIdentity")
    with pytest.raises(SignatureFailure, match="must be signed"):
        verify(request, claim, Keys(), now=claim.timestamp, settings=SETTINGS)


# The product document's examples


@pytest.mark.parametrize("name", ["v1-published", "v1-as-displayed"])
def test_a_v1_example_of_the_product_document(name: str) -> None:
    request, vector = seed_v1(name)
    claim = read_claim(request, SETTINGS)
    verify(request, claim, Keys(vector["secret_key"]), now=1465185768, settings=SETTINGS)
    assert claim.algorithm == HMAC_SHA1
    assert claim.parameters == {"InstanceIds.0": "ins-09dx96dg", "Limit": "20", "Offset": "0"}


def test_the_python_sample_without_the_question_mark_is_refused() -> None:
    request, vector = seed_v1("v1-seed-python-sample")
    claim = read_claim(request, SETTINGS)
    with pytest.raises(SignatureFailure):
        verify(request, claim, Keys(vector["secret_key"]), now=1465185768, settings=SETTINGS)


def test_sha256_needs_its_signature_method_in_the_signed_text() -> None:
    request, vector = seed_v1("v1-as-displayed-sha256", SignatureMethod=HMAC_SHA256)
    claim = read_claim(request, SETTINGS)
    assert claim.algorithm == HMAC_SHA256
    with pytest.raises(SignatureFailure):
        verify(request, claim, Keys(vector["secret_key"]), now=1465185768, settings=SETTINGS)
    unnamed = replace(claim, signed_parameters=dict(vector["params"]))
    verify(request, unnamed, Keys(vector["secret_key"]), now=1465185768, settings=SETTINGS)


@pytest.mark.parametrize("escape", [str.upper, str.lower])
def test_percent_escapes_of_either_case_are_read(escape: object) -> None:
    request, vector = seed_v1("v1-published")
    query = request.queries[0]
    at = query.index("%2F")
    assert callable(escape)
    request = replace(request, queries=(query[:at] + escape("%2F") + query[at + 3 :],))
    verify(
        request,
        read_claim(request, SETTINGS),
        Keys(vector["secret_key"]),
        now=1465185768,
        settings=SETTINGS,
    )


@pytest.mark.parametrize(
    "name", ["v3-published", "v3-as-displayed", "v3-post-json-as-displayed", "v3-post-unsigned-payload"]
)
def test_a_tc3_example_of_the_product_document(name: str) -> None:
    vector = SEED[name]
    headers = {
        "host": vector["host"],
        "content-type": vector["content_type"],
        "authorization": vector["authorization"],
        "x-tc-action": "DescribeInstances",
        "x-tc-version": "2017-03-12",
        "x-tc-timestamp": str(vector["timestamp"]),
    }
    unsigned = name.endswith("unsigned-payload")
    if unsigned:
        headers["x-tc-content-sha256"] = "UNSIGNED-PAYLOAD"
    request = Request(vector["method"], "/", (vector["query"],), headers, vector["payload"].encode(), "")
    settings = Settings(accept_unsigned_payload=unsigned)
    claim = read_claim(request, settings)
    verify(request, claim, Keys(vector["secret_key"]), now=vector["timestamp"], settings=settings)
    key = derive_signing_key(vector["secret_key"], vector["date"], vector["service"])
    assert key.hex() == vector["secret_signing_hex"]


def seed_v1(name: str, **more: str) -> tuple[Request, Case]:
    vector = SEED[name]
    query = urlencode({**vector["params"], **more, "Signature": vector["signature"]})
    return Request("GET", "/", (query,), {"host": vector["host"]}, b"", ""), vector


# TC3: what other clients do


@pytest.mark.parametrize(
    "signed",
    [
        "content-type;host",
        "host;content-type",
        "content-type;host;x-tc-action",
        "content-type;host;user-agent",
    ],
)
def test_every_list_of_signed_headers_with_the_two_is_honoured(signed: str) -> None:
    claim = claim_of(tc3_request(signed=signed, headers={"user-agent": " Some Client/1.0 "}))
    assert claim.signed_headers == tuple(signed.split(";"))


def test_values_are_signed_as_received_or_all_lower_cased() -> None:
    signed = "content-type;host;x-tc-action"
    headers = {"x-tc-action": "CreateSecret", "content-type": "application/json; charset=UTF-8"}
    claim_of(tc3_request(signed=signed, headers=headers))
    lowered = {name: value.lower() for name, value in headers.items()}
    claim_of(tc3_request(signed=signed, headers=headers, signed_values=lowered))
    with pytest.raises(SignatureFailure):
        claim_of(tc3_request(signed=signed, headers=headers, signed_values={"x-tc-action": "CREATESECRET"}))


@pytest.mark.parametrize(
    ("received", "signed"),
    [
        ("127.0.0.1:8000", "127.0.0.1"),  # Node signs the host without its port
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),  # tccli with an endpoint with a scheme
        ("host/api", "host/api"),  # Python with an endpoint with a path
        ("KMS.Example.com", "kms.example.com"),
        ("[::1]:8000", "[::1]"),
        ("internal", "kms.tencentcloudapi.com"),
    ],
)
def test_a_host_may_be_signed_as(received: str, signed: str) -> None:
    settings = Settings(hosts=("kms.tencentcloudapi.com",))
    claim_of(tc3_request(headers={"host": received}, signed_values={"host": signed}), settings)


@pytest.mark.parametrize(
    ("received", "signed"),
    [("kms.example.com", "kms.example.com:443"), ("a:b", "a"), ("127.0.0.1:8000", "127.0.0.1:8001")],
)
def test_a_host_may_not_be_signed_as(received: str, signed: str) -> None:
    with pytest.raises(SignatureFailure):
        claim_of(tc3_request(headers={"host": received}, signed_values={"host": signed}))


@pytest.mark.parametrize("service", ["kms", "127", "localhost:8000", "anything-at-all"])
def test_the_scope_names_any_service(service: str) -> None:
    claim = claim_of(tc3_request(scope=f"{DATE}/{service}"))
    assert (claim.scope_date, claim.scope_service) == (DATE, service)


@pytest.mark.parametrize("date", ["2026-11-21", "2026-11-23"])
def test_the_scope_has_the_date_of_the_timestamp(date: str) -> None:
    with pytest.raises(SignatureFailure, match="UTC date"):
        claim_of(tc3_request(scope=f"{date}/kms"))


def test_a_get_is_signed_with_any_candidate_of_its_query() -> None:
    request = tc3_request(method="GET", query="Name=a%20b&Empty=")
    claim = claim_of(replace(request, queries=("Name=a+b&Empty=", "Name=a%20b&Empty=")))
    assert claim.parameters == {"Name": "a b", "Empty": ""}
    with pytest.raises(SignatureFailure):
        claim_of(replace(request, queries=("Name=a+b&Empty=",)))


def test_a_get_without_parameters() -> None:
    request = tc3_request(method="GET")
    assert claim_of(request).parameters == {}
    assert claim_of(replace(request, queries=())).parameters == {}


def test_a_query_beside_a_post_and_a_body_beside_a_get_mean_nothing() -> None:
    assert claim_of(replace(tc3_request(), queries=("Action=Other",))).parameters is None
    assert claim_of(replace(tc3_request(method="GET", query="A=1"), body=b'{"A": 2}')).parameters == {
        "A": "1"
    }


def test_unsigned_payload_where_it_is_accepted() -> None:
    settings = Settings(accept_unsigned_payload=True)
    headers = {"x-tc-content-sha256": "UNSIGNED-PAYLOAD"}
    request = tc3_request(headers=headers, payload=b"UNSIGNED-PAYLOAD")
    claim_of(replace(request, body=b"another"), settings)
    signed = tc3_request()
    with pytest.raises(SignatureFailure):  # nobody can make a signed payload an unsigned one
        claim_of(with_header(signed, "x-tc-content-sha256", "UNSIGNED-PAYLOAD"), settings)


@pytest.mark.parametrize(
    ("signed", "region", "accepted"),
    [
        ("content-type;host", "", False),
        ("content-type;host;x-tc-action", "", False),
        ("content-type;host;x-tc-action;x-tc-version", "", True),
        ("content-type;host;x-tc-action;x-tc-version", "ap-guangzhou", False),
        ("content-type;host;x-tc-action;x-tc-region;x-tc-version", "ap-guangzhou", True),
    ],
)
def test_a_setting_demands_that_the_action_is_signed(signed: str, region: str, *, accepted: bool) -> None:
    request = tc3_request(signed=signed, headers={"x-tc-region": region} if region else {})
    claim_of(request)
    settings = Settings(require_signed_action=True)
    if accepted:
        claim_of(request, settings)
    else:
        with pytest.raises(SignatureFailure, match="demands that SignedHeaders contains"):
            read_claim(request, settings)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic Zm9vOmJhcg==",
        "skip",
        "TC3-HMAC-SHA256",
        "TC3-HMAC-SHA256 Credential=AKID/2026-11-22/kms/tc3_request",
        "TC3-HMAC-SHA256 Credential=AKID/Date/service/tc3_request, SignedHeaders=content-type;host, Signature="
        + 64 * "0",
        f"TC3-HMAC-SHA256 Credential=AKID/{DATE}//tc3_request, SignedHeaders=content-type;host, Signature="
        + 64 * "0",
        f"TC3-HMAC-SHA256 Credential=AKID/{DATE}/a/b/tc3_request, SignedHeaders=content-type;host, Signature="
        + 64 * "0",
        f"TC3-HMAC-SHA256 Credential=AKID/{DATE}/kms/tc3_request, SignedHeaders=content-type;host, Signature="
        + 64 * "A",
        f"TC3-HMAC-SHA256 Credential=AKID/{DATE}/kms/tc3_request, SignedHeaders=content-type;host, Signature=0",
        f"TC3-HMAC-SHA1 Credential=AKID/{DATE}/kms/tc3_request, SignedHeaders=content-type;host, Signature="
        + 64 * "0",
    ],
)
def test_a_malformed_authorization_is_named_so(authorization: str) -> None:
    with pytest.raises(InvalidAuthorization):
        read_claim(with_header(tc3_request(), "authorization", authorization), SETTINGS)


@pytest.mark.parametrize(
    "signed",
    [
        "host",
        "content-type",
        "content-type;host;host",
        "content-type;host;x-not-sent",
        "content-type;host;",
        "content-type;host;x-tab",
        "content-type;host;" + ";".join(f"x-{n}" for n in range(31)),
    ],
)
def test_signed_headers_that_cannot_be_right(signed: str) -> None:
    headers = {"x-tab": "a\nhost:b", **{f"x-{n}": "1" for n in range(31)}}
    with pytest.raises(InvalidAuthorization):
        read_claim(tc3_request(signed=signed, headers=headers), SETTINGS)


def test_spaces_around_a_header_are_not_its_value() -> None:
    claim = claim_of(with_header(tc3_request(), "x-tc-action", " DescribeKey\t"))
    assert claim.action == "DescribeKey"


@pytest.mark.parametrize("space", ["", " ", "  "])
def test_spaces_after_the_commas_of_authorization_are_free(space: str) -> None:
    request = tc3_request()
    claim_of(
        with_header(
            request, "authorization", f" {request.headers['authorization'].replace(', ', ',' + space)}"
        )
    )


def test_a_missing_authorization_is_named_so() -> None:
    request = tc3_request()
    headers = {name: value for name, value in request.headers.items() if name != "authorization"}
    with pytest.raises(InvalidAuthorization, match="missing"):
        read_claim(replace(request, headers=headers), SETTINGS)


@pytest.mark.parametrize("header", ["x-tc-action", "x-tc-version", "x-tc-timestamp"])
def test_a_missing_common_header_is_named(header: str) -> None:
    request = tc3_request()
    headers = {name: value for name, value in request.headers.items() if name != header}
    with pytest.raises(MissingParameter, match=f"(?i){header} is missing"):
        read_claim(replace(request, headers=headers), SETTINGS)


@pytest.mark.parametrize(
    "header", ["x-tc-action", "x-tc-version", "x-tc-region", "x-tc-token", "x-tc-language"]
)
def test_a_common_header_is_plain_text(header: str) -> None:
    with pytest.raises(InvalidParameter, match=f"(?i){header}"):
        read_claim(with_header(tc3_request(), header, "a\nb"), SETTINGS)


@pytest.mark.parametrize("timestamp", ["now", "-1", "0", "1795367907.0", "01795367907", "\u0661", "1" * 12])
def test_a_timestamp_is_whole_seconds(timestamp: str) -> None:
    with pytest.raises(InvalidParameter, match=r"(?i)x-tc-timestamp"):
        read_claim(with_header(tc3_request(), "x-tc-timestamp", timestamp), SETTINGS)


@pytest.mark.parametrize("method", ["PUT", "HEAD", "OPTIONS", "get", ""])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(UnsupportedProtocol):
        read_claim(replace(tc3_request(), method=method), SETTINGS)


@pytest.mark.parametrize("content_type", [FORM, "text/plain", "", "application/jsonx"])
def test_tc3_posts_have_one_of_three_content_types(content_type: str) -> None:
    with pytest.raises(UnsupportedProtocol):
        read_claim(tc3_request(headers={"content-type": content_type}), SETTINGS)


# v1: what other clients do


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("algorithm", [HMAC_SHA1, HMAC_SHA256, "anything"])
def test_v1_by_hand(method: str, algorithm: str) -> None:
    claim = claim_of(v1_request({"KeyId": "a b+c&d=e/密", "Empty": ""}, method=method, algorithm=algorithm))
    assert claim.algorithm == (HMAC_SHA256 if algorithm == HMAC_SHA256 else HMAC_SHA1)
    assert claim.parameters == {"KeyId": "a b+c&d=e/密", "Empty": ""}


def test_v1_signs_its_names_in_byte_order() -> None:
    claim_of(v1_request({f"KeyIds.{n}": str(n) for n in range(12)}))


def test_v1_signs_the_host_with_or_without_its_port() -> None:
    claim_of(v1_request(host="kms.example.com"))
    claim_of(v1_request(host="kms.tencentcloudapi.com"), Settings(hosts=("kms.tencentcloudapi.com",)))
    with pytest.raises(SignatureFailure):
        claim_of(v1_request(host="kms.example.com:443"))


def test_v1_may_leave_empty_values_out_of_the_text() -> None:
    full = dict(v1_parameters())
    assert claim_of(v1_request({"Empty": ""}, signed=full)).parameters == {"Empty": ""}


def test_v1_may_sign_dots_for_underscores() -> None:
    common = dict(v1_parameters())
    claim_of(v1_request({"Key_Id": "1_2"}))
    claim_of(v1_request({"Key_Id": "1_2", "Empty": ""}, signed={**common, "Key.Id": "1_2", "Empty": ""}))
    claim_of(v1_request({"Key_Id": "1_2", "Empty": ""}, signed={**common, "Key.Id": "1_2"}))


def test_v1_leaves_no_name_unsigned_where_two_names_meet() -> None:
    common = dict(v1_parameters())
    with pytest.raises(SignatureFailure):
        claim_of(v1_request({"Key_Id": "1", "Key.Id": "2"}, signed={**common, "Key.Id": "2"}))


@pytest.mark.parametrize("extra", ["&KeyId=2", "&Action=DescribeKey", "&KeyId=1", "&%4beyId=1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_parameter_that_appears_twice_is_refused(extra: str, method: str) -> None:
    request = v1_request({"KeyId": "1"}, method=method)
    text = request.queries[0] if method == "GET" else request.body.decode()
    with pytest.raises(InvalidParameter, match="more than once"):
        read_claim(v1_raw(text + extra, method), SETTINGS)


@pytest.mark.parametrize("name", ["Action", "Version", "Timestamp", "Nonce", "SecretId", "Signature"])
def test_v1_names_the_missing_common_parameter(name: str) -> None:
    parameters = {**dict(v1_parameters()), "Signature": "x"}
    del parameters[name]
    with pytest.raises(MissingParameter, match=f"^{name} is missing"):
        read_claim(v1_raw(urlencode(parameters)), SETTINGS)


@pytest.mark.parametrize("text", ["%ff=1", "a=%ff", "a=%ed%a0%80"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_parameters_are_utf8(text: str, method: str) -> None:
    with pytest.raises(InvalidParameter):
        read_claim(v1_raw(text, method), SETTINGS)


def test_a_query_is_ascii_and_a_form_utf8() -> None:
    with pytest.raises(InvalidParameter):
        read_claim(v1_raw("a=é", "GET"), SETTINGS)
    with pytest.raises(InvalidParameter):
        read_claim(replace(v1_raw(""), body=b"a=\xff"), SETTINGS)
    request = v1_request({"Name": "é"})
    claim_of(replace(request, body=request.body.replace(b"%C3%A9", "é".encode())))


def test_v1_posts_are_forms() -> None:
    request = v1_request()
    claim_of(with_header(request, "content-type", FORM + "; charset=utf-8"))
    with pytest.raises(UnsupportedProtocol):
        read_claim(with_header(request, "content-type", "text/plain"), SETTINGS)
    with pytest.raises(InvalidAuthorization):
        read_claim(with_header(request, "content-type", "multipart/form-data; boundary=x"), SETTINGS)


@pytest.mark.parametrize("nonce", ["-1", "1.5", "x", "1" * 21])
def test_a_nonce_is_a_whole_number(nonce: str) -> None:
    with pytest.raises(InvalidParameter, match="Nonce"):
        read_claim(v1_request({"Nonce": nonce}), SETTINGS)


@pytest.mark.parametrize("signature", ["", "x", "é", "=" * 44])
def test_a_v1_signature_of_any_form_is_refused_alike(signature: str) -> None:
    text = v1_request().body.decode()
    claim_of(v1_raw(text))
    with pytest.raises((SignatureFailure, InvalidParameter, MissingParameter)):
        claim_of(v1_raw(text.partition("&Signature=")[0] + "&Signature=" + quote(signature)))


@pytest.mark.parametrize("name", ["Action", "Version", "Timestamp", "Nonce", "SecretId", "Signature"])
@pytest.mark.parametrize("space", ["%20", "%09"])
def test_v1_values_are_taken_as_they_are(name: str, space: str) -> None:
    text = v1_request().body.decode() + "&"
    at = text.index("&", text.index(f"{name}="))
    with pytest.raises(ApiError):
        claim_of(v1_raw((text[:at] + space + text[at:]).removesuffix("&")))


def v1_parameters() -> Iterator[tuple[str, str]]:
    yield from read_claim(v1_request(), SETTINGS).signed_parameters.items()


# Both


@pytest.mark.parametrize("make", [tc3_request, v1_request])
@pytest.mark.parametrize("skew", [-300, -299, 0, 299, 300])
def test_a_clock_may_be_300_seconds_away(make: object, skew: int) -> None:
    assert callable(make)
    claim_of(make(), now=NOW + skew)


@pytest.mark.parametrize("make", [tc3_request, v1_request])
@pytest.mark.parametrize("skew", [-301, 301, -(10**8), 10**8])
def test_a_clock_may_not_be_further_away(make: object, skew: int) -> None:
    assert callable(make)
    with pytest.raises(SignatureExpire) as caught:
        claim_of(make(), now=NOW + skew)
    assert f"{abs(skew)} seconds {'ahead of' if skew < 0 else 'behind'}" in str(caught.value)
    assert str(NOW + skew) in str(caught.value)


def test_the_timestamp_can_be_checked_alone() -> None:
    (case,) = [case for case in CASES if not is_signed(case)]
    claim = read_claim(case_request(case), SETTINGS)
    check_timestamp(claim, now=claim.timestamp + 300)
    with pytest.raises(SignatureExpire):
        check_timestamp(claim, now=claim.timestamp + 301)


def test_the_limits_are_those_of_the_product_document() -> None:
    assert (MAX_GET, MAX_V1_POST, MAX_TC3_POST) == (32_768, 1_048_576, 10_485_760)


@pytest.mark.parametrize("over", [0, 1])
def test_a_get_has_at_most_32_kb(over: int) -> None:
    query = "A=" + "x" * (MAX_GET - 2 + over)
    bounded(replace(tc3_request(method="GET", query=query)), over)
    bounded(replace(tc3_request(method="GET", query="A=1"), queries=("A=1", query)), over)
    v1 = v1_request(method="GET").queries[0]
    bounded(v1_raw(v1 + "&A=" + "x" * (MAX_GET - len(v1) - 3 + over), "GET"), over)


@pytest.mark.parametrize("over", [0, 1])
def test_a_v1_post_has_at_most_1_mb(over: int) -> None:
    v1 = v1_request().body.decode()
    bounded(v1_raw(v1 + "&A=" + "x" * (MAX_V1_POST - len(v1) - 3 + over)), over)
    bounded(replace(v1_request(), body_limit=len(v1) - over), over)


@pytest.mark.parametrize("over", [0, 1])
def test_a_tc3_post_has_at_most_10_mb_or_what_the_front_door_takes(over: int) -> None:
    bounded(replace(tc3_request(), body=bytes(MAX_TC3_POST + over), body_limit=2 * MAX_TC3_POST), over)
    bounded(replace(tc3_request(), body=bytes(1000 + over), body_limit=1000), over)


def bounded(request: Request, over: int) -> None:
    if over:
        with pytest.raises(RequestSizeLimitExceeded, match="bytes allowed"):
            read_claim(request, SETTINGS)
    else:
        read_claim(request, SETTINGS)


def test_the_number_of_parameters_is_bounded() -> None:
    text = "&".join(f"A.{n}=" for n in range(MAX_PARAMETERS + 1))
    with pytest.raises(InvalidParameter, match=str(MAX_PARAMETERS)):
        read_claim(v1_raw(text), SETTINGS)


def test_a_missing_host_is_refused() -> None:
    request = v1_request(host="")
    headers = {name: value for name, value in request.headers.items() if name != "host"}
    for hosts in ((), ("kms.example.com",)):
        with pytest.raises(SignatureFailure, match="Host"):
            claim_of(replace(request, headers=headers), Settings(hosts=hosts))


# What a refusal tells


def test_a_tc3_failure_tells_what_to_compare() -> None:
    request = tc3_request(headers={"host": "kms.example.com"}, signed_values={"host": "other"})
    with pytest.raises(SignatureFailure) as caught:
        claim_of(request)
    empty = hashlib.sha256(b"{}").hexdigest()
    canonical = (
        f"POST\n/\n\ncontent-type:application/json\nhost:kms.example.com\n\ncontent-type;host\n{empty}"
    )
    for part in (
        hashlib.sha256(canonical.encode()).hexdigest(),
        "host kms.example.com,",
        "SignedHeaders content-type;host",
        f"scope {DATE}/kms/tc3_request",
        f"{NOW} (2026-11-22T",
    ):
        assert part in str(caught.value)


def test_a_v1_failure_tells_what_to_compare() -> None:
    parameters = dict(v1_parameters())
    with pytest.raises(SignatureFailure) as caught:
        claim_of(v1_request(host="other"))
    text = f"POST{HOST}/?" + "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
    for part in (hashlib.sha256(text.encode()).hexdigest(), f"host {HOST},", "method POST", "6 parameters"):
        assert part in str(caught.value)


def test_no_refusal_and_no_repr_tells_a_secret_or_a_value() -> None:
    value = "canary-of-a-value"
    secrets = (value, SECRET_KEY, derive_signing_key(SECRET_KEY, DATE, "kms").hex())
    texts = []
    body = b'{"Plaintext": "%s"}' % value.encode()
    originals = [
        tc3_request(body=body, headers={"x-tc-token": value}),
        tc3_request(method="GET", query=f"Plaintext={value}"),
        v1_request({"Plaintext": value, "Token": value}),
        v1_request({"Plaintext": value}, method="GET"),
    ]
    for original in originals:
        texts.append(repr(claim_of(original)))
        signature = read_claim(original, SETTINGS).signature
        for settings in (SETTINGS, Settings(require_signed_action=True)):
            for request in spoilt(original):
                for now in (NOW, NOW + 301):
                    with pytest.raises(ApiError) as caught:
                        claim_of(request, settings, now)
                    texts.append(str(caught.value))
        assert not any(signature in text for text in texts)
    assert len(set(texts)) > 20
    assert not any(secret in text for secret in secrets for text in texts)


def spoilt(request: Request) -> Iterator[Request]:
    for name in request.headers:
        yield with_header(request, name, "é\n")
        if name in ("host", "content-type") or name.startswith("authorization"):
            yield with_header(request, name, request.headers[name] + "0")
            yield replace(request, headers={k: v for k, v in request.headers.items() if k != name})
    yield replace(request, method="PUT")
    yield replace(request, body_limit=1, queries=("a" * (MAX_GET + 1),))
    if request.method == "GET":
        yield replace(request, queries=(request.queries[0] + "&Zero=0",))
        yield replace(request, queries=(request.queries[0] + "&" + request.queries[0],))
    else:
        yield replace(request, body=request.body + b"&Zero=0")
        yield replace(request, body=request.body + b"&" + request.body)


# What the audit trail sees


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_peek_agrees_with_the_claim(case: Case) -> None:
    request = case_request(case)
    claim = read_claim(request, Settings(accept_unsigned_payload=True))
    assert peek(request) == (claim.version, claim.action, claim.region, claim.secret_id)


def test_peek_reads_what_is_there_of_a_broken_request() -> None:
    request = with_header(tc3_request(), "authorization", "TC3 Credential=AKIDhalf/x")
    assert peek(request) == ("2019-01-18", "DescribeKey", "", "AKIDhalf")
    headers = {name: value for name, value in request.headers.items() if name != "authorization"}
    assert peek(replace(request, headers=headers)) == ("2019-01-18", "DescribeKey", "", "")
    assert peek(v1_raw("Action=Encrypt&Region=ap-beijing")) == ("", "Encrypt", "ap-beijing", "")
    assert peek(v1_raw("Action=Encrypt&Action=Decrypt")) == ("", "", "", "")


def test_peek_trusts_the_signed_action_of_v1_over_a_header() -> None:
    assert peek(with_header(v1_request(), "x-tc-action", "Other")).action == "DescribeKey"


def test_peek_takes_no_common_parameter_from_the_query_of_tc3() -> None:
    request = tc3_request(method="GET", query="Action=Other&Version=1&SecretId=AKIDother")
    assert peek(request) == ("2019-01-18", "DescribeKey", "", SECRET_ID)


@pytest.mark.parametrize("text", ["a b", "a\nb", "é", "x" * 129, "../x"])
def test_peek_leaves_out_what_is_no_name(text: str) -> None:
    assert peek(with_header(tc3_request(), "x-tc-action", text)).action == ""
