"""The captured requests of tests/wire, and what it takes to verify them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from chalicelib.api.http import Reply, Request
from chalicelib.api.signature import SKIP, Claim, derive_signing_key, read_claim, verify
from chalicelib.errors import ApiError, SecretIdNotFound
from chalicelib.settings import Settings

Case = dict[str, Any]

WIRE: Final = Path(__file__).parent.parent / "wire"
CASES: Final[list[Case]] = json.loads((WIRE / "python-sdk.json").read_text())
SEED: Final[dict[str, Case]] = {
    vector["name"]: vector for vector in json.loads((WIRE / "seed-vectors.json").read_text())["vectors"]
}
SECRET_ID: Final = "AKIDteststestsTESTS"
SECRET_KEY: Final = "canary-of-the-secret-key"
NOW: Final = 1795367907
DATE: Final = "2026-11-22"
HOST: Final = "kms.example.com:8443"


@dataclass
class Keys:
    """One API key."""

    secret_key: str = field(default=SECRET_KEY)

    def signing_key(self, date: str, service: str) -> bytes:
        return derive_signing_key(self.secret_key, date, service)


def case_name(case: Case) -> str:
    return str(case["name"])


def is_signed(case: Case) -> bool:
    return bool(case["expect"]["algorithm"] != SKIP)


def is_host_on_the_wire(case: Case) -> bool:
    return "not on the wire" not in (case["expect"].get("signed_host_is") or "")


def is_payload_signed(case: Case) -> bool:
    return not case["client"].get("unsigned_payload", False)


def case_settings(case: Case) -> Settings:
    """What an operator must set for this case to pass."""
    return Settings(
        hosts=() if is_host_on_the_wire(case) else (case["expect"]["signed_host"],),
        accept_unsigned_payload=not is_payload_signed(case),
    )


def case_body(case: Case) -> bytes:
    wire = case["request"]
    return base64.b64decode(wire["body_base64"]) if "body_base64" in wire else wire["body"].encode()


def case_target(case: Case) -> tuple[str, str]:
    path, _, query = case["request"]["target"].partition("?")
    return path, query


def case_headers(case: Case) -> dict[str, str]:
    return {name.lower(): value for name, value in case["request"]["headers"]}


def case_request(case: Case) -> Request:
    path, query = case_target(case)
    return Request(
        case["request"]["method"], path, (query,), case_headers(case), case_body(case), "192.0.2.1"
    )


def accept(case: Case, request: Request) -> Claim:
    """Read and verify as the gateway does, at the time of the case and knowing its key only."""
    settings = case_settings(case)
    claim = read_claim(request, settings)
    if claim.algorithm == SKIP:
        return claim
    if claim.secret_id != case["secret_id"]:
        raise SecretIdNotFound
    keys = Keys(case["secret_key"])
    verify(request, claim, keys, now=case["expect"]["timestamp"], settings=settings)
    return claim


class Doorkeeper:
    """A gateway that only verifies: it answers the action, or the code of the refusal, and keeps the request."""

    def __init__(self, judge: Callable[[Request], Claim]) -> None:
        self._judge = judge
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        try:
            return Reply(json.dumps({"Action": self._judge(request).action}).encode())
        except ApiError as error:
            return self.refuse(error)

    def refuse(self, error: ApiError) -> Reply:
        return Reply(json.dumps({"Code": error.code}).encode())


def case_gateway(case: Case) -> Doorkeeper:
    return Doorkeeper(lambda request: accept(case, request))


def tc3_request(
    *,
    method: str = "POST",
    query: str = "",
    body: bytes | None = None,
    headers: Mapping[str, str] = {},
    signed: str = "content-type;host",
    signed_values: Mapping[str, str] = {},
    signed_query: str | None = None,
    scope: str = f"{DATE}/kms",
    payload: bytes | None = None,
) -> Request:
    """Sign a request by hand, without the code under test."""
    if body is None:
        body = b"{}" if method == "POST" else b""
    sent = {
        "content-type": "application/json" if method == "POST" else "application/x-www-form-urlencoded",
        "host": HOST,
        "x-tc-action": "DescribeKey",
        "x-tc-version": "2019-01-18",
        "x-tc-timestamp": str(NOW),
        **headers,
    }
    values = {**sent, **signed_values}
    if payload is None:
        payload = body if method == "POST" else b""
    canonical = "\n".join(
        [
            method,
            "/",
            (query if signed_query is None else signed_query) if method == "GET" else "",
            *(f"{name}:{values.get(name, '').strip()}" for name in signed.split(";")),
            "",
            signed,
            hashlib.sha256(payload).hexdigest(),
        ]
    )
    text = "\n".join(
        [
            "TC3-HMAC-SHA256",
            sent["x-tc-timestamp"],
            f"{scope}/tc3_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = b"TC3" + SECRET_KEY.encode()
    for part in (*scope.split("/"), "tc3_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    sent["authorization"] = (
        f"TC3-HMAC-SHA256 Credential={SECRET_ID}/{scope}/tc3_request, SignedHeaders={signed}, "
        f"Signature={key.hex()}"
    )
    return Request(method, "/", (query,), sent, body, "192.0.2.1")


def flip(text: str, keep: str = "") -> Iterator[str]:
    """Every text of one other byte (the lowest bit), at the characters that are not in `keep`."""
    for at, character in enumerate(text):
        if character not in keep:
            yield text[:at] + chr(ord(character) ^ 1) + text[at + 1 :]


def with_header(request: Request, name: str, value: str) -> Request:
    return replace(request, headers={**request.headers, name: value})
