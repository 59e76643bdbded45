"""Request signatures: TC3-HMAC-SHA256, and HmacSHA1 and HmacSHA256 ("v1"). Pure: no I/O, no clock.

Two steps, because the key is looked up in between: `read_claim` answers what a request says about itself, `verify`
whether the holder of the key says so. Source: the product document, corrected by what the clients of tests/wire send.
"""

import functools
import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Final, NamedTuple, Protocol
from urllib.parse import parse_qsl

from chalicelib.api.body import media_type, too_large
from chalicelib.api.http import Request
from chalicelib.errors import (
    ApiError,
    InvalidAuthorization,
    InvalidParameter,
    MissingParameter,
    SignatureExpire,
    SignatureFailure,
    UnsupportedProtocol,
)
from chalicelib.settings import Settings

TC3: Final = "TC3-HMAC-SHA256"
HMAC_SHA1: Final = "HmacSHA1"
HMAC_SHA256: Final = "HmacSHA256"
SKIP: Final = "SKIP"

MAX_SKEW: Final = 300
MAX_GET: Final = 32 * 1024
MAX_V1_POST: Final = 1024 * 1024
MAX_TC3_POST: Final = 10 * 1024 * 1024
MAX_PARAMETERS: Final = 4096
MAX_SIGNED_HEADERS: Final = 32
MAX_CANDIDATES: Final = 64
"""Signed texts tried for one request, over all hosts, spellings and query encodings."""

_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_FORM = "application/x-www-form-urlencoded"
_TC3_BODIES = ("application/json", "multipart/form-data", "application/octet-stream")
_V1_COMMON = frozenset(
    (
        "Action",
        "Language",
        "Nonce",
        "Region",
        "RequestClient",
        "SecretId",
        "Signature",
        "SignatureMethod",
        "Timestamp",
        "Token",
        "Version",
    )
)
_AUTHORIZATION = re.compile(
    TC3
    + r" +Credential=([!-+\-.0-~]{1,128})/([0-9]{4}-[0-9]{2}-[0-9]{2})/([!-+\-.0-~]{1,255})/tc3_request, *"
    r"SignedHeaders=([a-z0-9_;-]{1,1024}), *Signature=([0-9a-f]{64})"
)
_SECRET_ID = re.compile(r"Credential=([A-Za-z0-9]{1,128})/")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,10}")
_NONCE = re.compile(r"[0-9]{1,20}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_EMPTY_SHA256 = hashlib.sha256().hexdigest()
_UNSIGNED_SHA256 = hashlib.sha256(_UNSIGNED_PAYLOAD.encode()).hexdigest()
_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a request says about itself. Nothing of it is true before `verify` has returned."""

    secret_id: str
    """Empty for `Authorization: SKIP` only."""
    token: str = field(repr=False)
    action: str
    version: str
    region: str
    language: str
    timestamp: int
    algorithm: str
    """TC3, HMAC_SHA1, HMAC_SHA256 or SKIP."""
    parameters: Mapping[str, str] | None = field(repr=False)
    """Flattened (`Tags.0.TagKey`), v1's common parameters left out; None if the body holds them (JSON, multipart)."""
    scope_date: str = ""
    scope_service: str = ""
    signed_headers: tuple[str, ...] = ()
    signed_parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    """v1: all but Signature."""
    signature: str = field(default="", repr=False)


class SigningKeys(Protocol):
    """The secret of one API key."""

    @property
    def secret_key(self) -> str:
        """Answer the SecretKey; v1 signs with it directly."""
        ...

    def signing_key(self, date: str, service: str) -> bytes:
        """Answer `derive_signing_key`, from a cache if there is one: bound it, callers choose both strings."""
        ...


class Glimpse(NamedTuple):
    """What could be made out of a request, for its audit event; empty where nothing could."""

    version: str
    action: str
    region: str
    secret_id: str


def derive_signing_key(secret_key: str, date: str, service: str) -> bytes:
    """Answer the TC3 key of one day and service."""
    key = hmac.digest(b"TC3" + secret_key.encode(), date.encode(), "sha256")
    return hmac.digest(hmac.digest(key, service.encode(), "sha256"), b"tc3_request", "sha256")


def read_claim(request: Request, settings: Settings) -> Claim:
    """Read a request's claim and refuse what no key could make valid.

    Raises UnsupportedProtocol, RequestSizeLimitExceeded, InvalidAuthorization, MissingParameter, InvalidParameter,
    and SignatureFailure for a kind of signature that the settings refuse.
    """
    if request.method not in ("GET", "POST"):
        raise UnsupportedProtocol("Send a GET or a POST request.")
    authorization = request.headers.get("authorization")
    if authorization is None:
        return _read_v1(request)
    return _read_tc3(request, authorization.strip(), settings)


def verify(request: Request, claim: Claim, credentials: SigningKeys, *, now: int, settings: Settings) -> None:
    """Return if the holder of the key made this claim now; raise SignatureExpire or SignatureFailure if not.

    `Authorization: SKIP` is never verified: the caller decides where a request may go without a signature.
    """
    check_timestamp(claim, now=now)
    hosts = _hosts(request, settings)
    if claim.algorithm == TC3:
        _verify_tc3(request, claim, credentials, hosts, now)
    elif claim.algorithm in (HMAC_SHA1, HMAC_SHA256):
        _verify_v1(request, claim, credentials, hosts, now)
    else:
        raise SignatureFailure(
            "This request must be signed: `Authorization: SKIP` is for unsigned actions only."
        )


def check_timestamp(claim: Claim, *, now: int) -> None:
    """Raise SignatureExpire if the timestamp is more than 300 seconds away, in either direction."""
    ahead = claim.timestamp - now
    if abs(ahead) > MAX_SKEW:
        raise SignatureExpire(
            f"The timestamp is {abs(ahead)} seconds {'ahead of' if ahead > 0 else 'behind'} the server's clock, "
            f"{MAX_SKEW} are allowed: synchronise the client's clock. The server's time is {_clock(now)}."
        )


def peek(request: Request) -> Glimpse:
    """Answer what can be read of a request that may be refused later. Never raises, and claims nothing."""
    found: Mapping[str, str] = {}
    if "authorization" not in request.headers:
        try:
            found = _v1_parameters(request)
        except ApiError:
            found = {}
    secret_id = _SECRET_ID.search(request.headers.get("authorization", "")[:1024])
    return Glimpse(
        version=_plain(found.get("Version") or request.headers.get("x-tc-version", "")),
        action=_plain(found.get("Action") or request.headers.get("x-tc-action", "")),
        region=_plain(found.get("Region") or request.headers.get("x-tc-region", "")),
        secret_id=secret_id[1] if secret_id else _plain(found.get("SecretId", "")),
    )


# TC3-HMAC-SHA256


def _read_tc3(request: Request, authorization: str, settings: Settings) -> Claim:
    skip = authorization == SKIP
    match = None if skip else _AUTHORIZATION.fullmatch(authorization)
    if not (match or skip):
        raise InvalidAuthorization
    headers = request.headers
    parameters = None
    if request.method == "GET":
        _check_size(request, MAX_GET)
        parameters = _parse(_query(request))
    else:
        if media_type(headers.get("content-type", "")) not in _TC3_BODIES:
            raise UnsupportedProtocol(f"Send the Content-Type application/json with a POST signed by {TC3}.")
        _check_size(request, MAX_TC3_POST)
    secret_id, scope_date, scope_service, names, signature = match.groups() if match else ("", "", "", "", "")
    claim = Claim(
        secret_id=secret_id,
        token=_optional(_header(headers, "x-tc-token"), "X-TC-Token"),
        action=_required(_header(headers, "x-tc-action"), "X-TC-Action"),
        version=_required(_header(headers, "x-tc-version"), "X-TC-Version"),
        region=_optional(_header(headers, "x-tc-region"), "X-TC-Region"),
        language=_optional(_header(headers, "x-tc-language"), "X-TC-Language"),
        timestamp=_timestamp(_header(headers, "x-tc-timestamp"), "X-TC-Timestamp"),
        algorithm=SKIP if skip else TC3,
        parameters=parameters,
        scope_date=scope_date,
        scope_service=scope_service,
        signed_headers=tuple(names.split(";")) if names else (),
        signature=signature,
    )
    if not skip:
        _check_signed_headers(headers, claim.signed_headers, settings)
    return claim


def _check_signed_headers(headers: Mapping[str, str], signed: tuple[str, ...], settings: Settings) -> None:
    if "content-type" not in signed or "host" not in signed:
        raise InvalidAuthorization("SignedHeaders must contain content-type and host.")
    if len(signed) > MAX_SIGNED_HEADERS or len(set(signed)) != len(signed):
        raise InvalidAuthorization(f"SignedHeaders names at most {MAX_SIGNED_HEADERS} headers, each once.")
    for name in signed:
        value = headers.get(name)
        if value is None or not value.strip().isprintable():
            raise InvalidAuthorization(
                "SignedHeaders names a header that the request does not carry as plain text."
            )
    if settings.require_signed_action:
        wanted = ["x-tc-action", "x-tc-version", *(["x-tc-region"] if "x-tc-region" in headers else [])]
        if not set(wanted) <= set(signed):
            raise SignatureFailure(
                f"This server demands that SignedHeaders contains {', '.join(wanted)} as well."
            )
    if _is_unsigned_payload(headers) and not settings.accept_unsigned_payload:
        raise SignatureFailure(
            f"This server refuses {_UNSIGNED_PAYLOAD}: sign the payload, and leave X-TC-Content-SHA256 out."
        )


def _verify_tc3(
    request: Request, claim: Claim, credentials: SigningKeys, hosts: tuple[str, ...], now: int
) -> None:
    if claim.scope_date != _date(claim.timestamp // _DAY):
        raise SignatureFailure(
            "The date in Credential is not the UTC date of X-TC-Timestamp: derive both from one reading of the "
            f"clock. The server's time is {_clock(now)}."
        )
    if _is_unsigned_payload(request.headers):
        payload = _UNSIGNED_SHA256
    elif request.method == "GET":
        payload = _EMPTY_SHA256
    else:
        payload = hashlib.sha256(request.body).hexdigest()
    key = credentials.signing_key(claim.scope_date, claim.scope_service)
    scope = f"{claim.scope_date}/{claim.scope_service}/tc3_request"
    prefix = f"{TC3}\n{claim.timestamp}\n{scope}\n"
    for canonical in islice(_canonical_requests(request, claim, hosts, payload), MAX_CANDIDATES):
        text = prefix + hashlib.sha256(canonical.encode()).hexdigest()
        if hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), claim.signature):
            return
    seen = next(_canonical_requests(request, claim, hosts, payload))
    raise SignatureFailure(
        "The signature does not match. Compare with your signer: the SHA-256 of the canonical request is "
        f"{hashlib.sha256(seen.encode()).hexdigest()} here, with host {hosts[0][:255]}, "
        f"SignedHeaders {';'.join(claim.signed_headers)} and scope {scope}. If all are equal, check the SecretKey. "
        f"The server's time is {_clock(now)}."
    )


@functools.lru_cache(maxsize=16)
def _date(day: int) -> str:
    """The date of the `day`th day after 1970-01-01."""
    return date.fromordinal(_EPOCH + day).isoformat()


def _canonical_requests(
    request: Request, claim: Claim, hosts: tuple[str, ...], payload: str
) -> Iterator[str]:
    """Yield what a client may have signed, the likeliest first.

    The SDKs sign header values as sent, the product document lower-cases them.
    """
    queries = (request.queries or ("",)) if request.method == "GET" else ("",)
    values = [(name, request.headers[name].strip()) for name in claim.signed_headers]
    tail = f"\n{';'.join(claim.signed_headers)}\n{payload}"
    for spelt in (str, str.lower):
        for host in hosts:
            lines = "".join(
                [f"{name}:{spelt(host if name == 'host' else value)}\n" for name, value in values]
            )
            for query in queries:
                yield f"{request.method}\n/\n{query}\n{lines}{tail}"


def _is_unsigned_payload(headers: Mapping[str, str]) -> bool:
    return _header(headers, "x-tc-content-sha256") == _UNSIGNED_PAYLOAD


def _header(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").strip()


# HmacSHA1 and HmacSHA256


def _read_v1(request: Request) -> Claim:
    parameters = _v1_parameters(request)
    signature = _required(parameters.get("Signature", ""), "Signature")
    if not _NONCE.fullmatch(_required(parameters.get("Nonce", ""), "Nonce")):
        raise InvalidParameter("Nonce is a whole number.")
    return Claim(
        secret_id=_required(parameters.get("SecretId", ""), "SecretId"),
        token=_optional(parameters.get("Token", ""), "Token"),
        action=_required(parameters.get("Action", ""), "Action"),
        version=_required(parameters.get("Version", ""), "Version"),
        region=_optional(parameters.get("Region", ""), "Region"),
        language=_optional(parameters.get("Language", ""), "Language"),
        timestamp=_timestamp(parameters.get("Timestamp", ""), "Timestamp"),
        algorithm=HMAC_SHA256 if parameters.get("SignatureMethod") == HMAC_SHA256 else HMAC_SHA1,
        parameters={name: value for name, value in parameters.items() if name not in _V1_COMMON},
        signed_parameters={name: value for name, value in parameters.items() if name != "Signature"},
        signature=signature,
    )


def _v1_parameters(request: Request) -> dict[str, str]:
    if request.method == "GET":
        _check_size(request, MAX_GET)
        return _parse(_query(request))
    kind = media_type(request.headers.get("content-type", ""))
    if kind in _TC3_BODIES:
        raise InvalidAuthorization(f"The Authorization header is missing: sign this request with {TC3}.")
    if kind != _FORM:
        raise UnsupportedProtocol(
            f"Send the Content-Type application/json and a {TC3} signature, or {_FORM} and a Signature parameter."
        )
    _check_size(request, MAX_V1_POST)
    try:
        return _parse(request.body.decode())
    except UnicodeDecodeError:
        raise InvalidParameter("The form is not UTF-8.") from None


def _verify_v1(
    request: Request, claim: Claim, credentials: SigningKeys, hosts: tuple[str, ...], now: int
) -> None:
    key = credentials.secret_key.encode()
    digest = "sha256" if claim.algorithm == HMAC_SHA256 else "sha1"
    signature = claim.signature.encode()
    for text in islice(_v1_texts(request, claim, hosts), MAX_CANDIDATES):
        if hmac.compare_digest(b64encode(hmac.digest(key, text.encode(), digest)), signature):
            return
    seen = next(_v1_texts(request, claim, hosts))
    raise SignatureFailure(
        "The signature does not match. Compare with your signer: the SHA-256 of the text to sign is "
        f"{hashlib.sha256(seen.encode()).hexdigest()} here, with host {hosts[0][:255]}, method {request.method}, "
        f"{len(claim.signed_parameters)} parameters and {claim.algorithm}. If all are equal, check the SecretKey. "
        f"The server's time is {_clock(now)}."
    )


def _v1_texts(request: Request, claim: Claim, hosts: tuple[str, ...]) -> Iterator[str]:
    """Yield what a client may have signed, the likeliest first.

    Python signs `.` for `_` in names; old Go releases leave empty values out.
    """
    plain = dict(claim.signed_parameters)
    spellings = [plain]
    dotted = {name.replace("_", "."): value for name, value in plain.items()}
    if dotted != plain and len(dotted) == len(plain):  # else a name would go unsigned
        spellings.append(dotted)
    for pairs in list(spellings):
        filled = {name: value for name, value in pairs.items() if value}
        if filled != pairs:
            spellings.append(filled)
    for pairs in spellings:
        text = "&".join([f"{name}={value}" for name, value in sorted(pairs.items())])
        for host in hosts:
            yield f"{request.method}{host}/?{text}"


# Both


def _hosts(request: Request, settings: Settings) -> tuple[str, ...]:
    """Answer the hosts that a client may have signed: as received, without the port, the configured names."""
    host = _header(request.headers, "host")
    if not (host and host.isprintable()):
        raise SignatureFailure("The Host header is missing or not plain text: send the host that was signed.")
    name, colon, port = host.rpartition(":")
    bare = (name,) if colon and port.isdigit() else ()
    return (host, *bare, *settings.hosts)


def _query(request: Request) -> str:
    for query in request.queries:
        if not (query.isascii() and query.isprintable()):
            raise InvalidParameter("Percent-encode the query.")
    return request.queries[0] if request.queries else ""


def _parse(text: str) -> dict[str, str]:
    if text.count("&") >= MAX_PARAMETERS:
        raise InvalidParameter(f"Send at most {MAX_PARAMETERS} parameters.")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise InvalidParameter("Percent-encode parameters as UTF-8.") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise InvalidParameter("A parameter appears more than once: send each name once.")
    return parameters


def _check_size(request: Request, limit: int) -> None:
    if request.method == "GET":
        size = len(request.body) + max(map(len, request.queries), default=0)
    else:
        size = len(request.body)
        limit = min(limit, request.body_limit)
    if size > limit:
        raise too_large(limit)


def _optional(value: str, label: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise InvalidParameter(f"{label} is not plain ASCII text.")
    return value


def _required(value: str, label: str) -> str:
    if not value:
        raise MissingParameter(f"{label} is missing.")
    return _optional(value, label)


def _timestamp(value: str, label: str) -> int:
    if not _TIMESTAMP.fullmatch(_required(value, label)):
        raise InvalidParameter(f"{label} is the UNIX time in whole seconds.")
    return int(value)


def _plain(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else ""


def _clock(now: int) -> str:
    return f"{now} ({datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ})"
