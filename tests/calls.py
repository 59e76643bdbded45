"""Calls without an SDK: requests signed by hand with every method, straight into a gateway, and their answers."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, quote_plus

from chalicelib.api.gateway import Gateway
from chalicelib.api.http import Reply, Request
from chalicelib.settings import Bootstrap
from tests.installation import SM

VERSIONS: Final = {
    "kms": "2019-01-18",
    "ssm": "2019-09-23",
    "cam": "2019-01-16",
    "sts": "2018-08-13",
    "tag": "2018-08-13",
    "cloudaudit": "2019-03-19",
}
HOST: Final = "127.0.0.1:8000"
_BOUNDARY: Final = "b0undary"

Members = Mapping[str, Any]


def tc3(
    who: Bootstrap,
    now: int,
    service: str,
    action: str,
    parameters: Members | None = None,
    *,
    method: str = "POST",
    region: str = SM,
    body: bytes | None = None,
    query: str = "",
    content_type: str = "application/json",
    host: str = HOST,
    headers: Mapping[str, str] = {},
) -> Request:
    """A request signed with TC3-HMAC-SHA256, as the SDKs do it; `headers` are not signed."""
    if body is None:
        body = b"" if method == "GET" else json.dumps(parameters or {}).encode()
    signed = {"content-type": content_type, "host": host}
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    canonical = f"{method}\n/\n{query}\n{lines}\ncontent-type;host\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}/{service}/tc3_request"
    text = f"TC3-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"TC3" + who.secret_key.encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    sent = {
        **signed,
        "x-tc-action": action,
        "x-tc-version": VERSIONS[service],
        "x-tc-timestamp": str(now),
        "x-tc-region": region,
        "authorization": f"TC3-HMAC-SHA256 Credential={who.secret_id}/{scope}, "
        f"SignedHeaders=content-type;host, Signature={key.hex()}",
        **headers,
    }
    return Request(method, "/", (query,), {n: v for n, v in sent.items() if v}, body, source_ip="192.0.2.1")


def tc3_get(
    who: Bootstrap, now: int, service: str, action: str, parameters: Members | None = None, region: str = SM
) -> Request:
    """The parameters flattened into the query."""
    query = "&".join(f"{quote_plus(n)}={quote_plus(v)}" for n, v in flatten(parameters or {}).items())
    form = "application/x-www-form-urlencoded"
    return tc3(who, now, service, action, method="GET", query=query, content_type=form, region=region)


def tc3_multipart(
    who: Bootstrap, now: int, service: str, action: str, parameters: Members | None = None, region: str = SM
) -> Request:
    """Scalars as text parts, everything else as JSON parts."""
    parts = []
    for name, value in (parameters or {}).items():
        nested = isinstance(value, dict | list)
        kind = "\r\nContent-Type: application/json" if nested else ""
        text = json.dumps(value) if nested else _lexical(value)
        parts.append(
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{kind}\r\n\r\n{text}\r\n'
        )
    body = "".join([*parts, f"--{_BOUNDARY}--\r\n"]).encode(errors="surrogatepass")
    content_type = f"multipart/form-data; boundary={_BOUNDARY}"
    return tc3(who, now, service, action, body=body, content_type=content_type, region=region)


def v1(
    who: Bootstrap,
    now: int,
    service: str,
    action: str,
    parameters: Members | None = None,
    region: str = SM,
    *,
    method: str = "POST",
    algorithm: str = "HmacSHA1",
    common: Mapping[str, str] = {},
) -> Request:
    """A request signed with HmacSHA1 or HmacSHA256: everything is a parameter."""
    signer = {
        "Action": action,
        "Version": VERSIONS[service],
        "Region": region,
        "Timestamp": str(now),
        "Nonce": "7",
        "SecretId": who.secret_id,
        "SignatureMethod": algorithm,
        **common,
    }
    flat = flatten(parameters or {}) | {name: value for name, value in signer.items() if value}
    text = f"{method}{HOST}/?" + "&".join(f"{name}={flat[name]}" for name in sorted(flat))
    digest = hmac.digest(
        who.secret_key.encode(), text.encode(), "sha1" if algorithm == "HmacSHA1" else "sha256"
    )
    flat["Signature"] = base64.b64encode(digest).decode()
    form = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in flat.items())
    headers = {"host": HOST, "content-type": "application/x-www-form-urlencoded"}
    query, body = (form, b"") if method == "GET" else ("", form.encode())
    return Request(method, "/", (query,), headers, body, source_ip="192.0.2.1")


def v1_method(method: str, algorithm: str) -> Callable[..., Request]:
    """`v1`, with the method chosen."""

    def sign(
        who: Bootstrap,
        now: int,
        service: str,
        action: str,
        parameters: Members | None = None,
        region: str = SM,
    ) -> Request:
        return v1(who, now, service, action, parameters, region, method=method, algorithm=algorithm)

    return sign


METHODS: Final[Mapping[str, Callable[..., Request]]] = {
    "tc3-post": tc3,
    "tc3-get": tc3_get,
    "tc3-multipart": tc3_multipart,
    "sha1-post": v1_method("POST", "HmacSHA1"),
    "sha1-get": v1_method("GET", "HmacSHA1"),
    "sha256-post": v1_method("POST", "HmacSHA256"),
    "sha256-get": v1_method("GET", "HmacSHA256"),
}
"""Every way to sign; each takes (who, now, service, action, parameters, region)."""


def flatten(parameters: Members) -> dict[str, str]:
    """`{"Tags": [{"TagKey": "a"}]}` -> `{"Tags.0.TagKey": "a"}`, as the SDKs do: null and empty containers vanish."""
    flat: dict[str, str] = {}

    def walk(path: str, value: object) -> None:
        if isinstance(value, Mapping):
            for name, member in value.items():
                walk(f"{path}.{name}", member)
        elif isinstance(value, list):
            for at, member in enumerate(value):
                walk(f"{path}.{at}", member)
        elif value is not None:
            flat[path] = _lexical(value)

    for name, value in parameters.items():
        walk(name, value)
    return flat


def _lexical(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def members(reply: Reply) -> dict[str, Any]:
    """What stands in the envelope of any answer, once the envelope itself is as every client needs it."""
    assert reply.status == 200
    headers = dict(reply.headers)
    assert headers["Content-Type"] == "application/json"
    assert set(headers) <= {"Content-Type", "X-TC-TraceId"}
    answer: dict[str, Any] = json.loads(reply.body)
    assert list(answer) == ["Response"]
    response: dict[str, Any] = answer["Response"]
    assert str(uuid.UUID(response["RequestId"])) == response["RequestId"]
    if "Error" in response:
        assert set(response) == {"Error", "RequestId"}
        assert set(response["Error"]) == {"Code", "Message"}
        assert response["Error"]["Message"]
    return response


def ask(gateway: Gateway, request: Request) -> dict[str, Any]:
    """The members of the answer, `Error` among them if it was refused."""
    return members(gateway(request))


def code(response: Mapping[str, Any]) -> str:
    """The error's code; empty for a success."""
    return str(response["Error"]["Code"]) if "Error" in response else ""
