"""A thin client of Tencent Cloud API 3.0, for Keystead and by its endpoint for the vendor's cloud.

Requests are JSON, signed with TC3-HMAC-SHA256 (the product document, "Signature v3"). Connections are kept and shared
by threads; certificates are always checked.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import io
import json
import os
import re
import secrets
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

    from keystead.credentials import Credential, Provider

TENCENT_CLOUD: Final = "https://{service}.tencentcloudapi.com"
"""The endpoint of the vendor's cloud, for `Api(endpoint=...)`."""

_TC3: Final = "TC3-HMAC-SHA256"
_JSON: Final = "application/json"
_MAX_ANSWER: Final = 32 * 1024 * 1024
_MAX_IDLE: Final = 16
_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_SERVICE: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_HEADER: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_READS: Final = re.compile(r"(Get|Describe|List|Query|LookUp|Simulate)[A-Z]")
# Computations that leave nothing behind.
_REPEATABLE: Final = frozenset(
    (
        "AsymmetricRsaDecrypt",
        "AsymmetricSm2Decrypt",
        "Decrypt",
        "Encrypt",
        "GenerateRandom",
        "PostQuantumCryptoDecrypt",
        "PostQuantumCryptoEncrypt",
        "PostQuantumCryptoSign",
        "PostQuantumCryptoVerify",
        "ReEncrypt",
        "SignByAsymmetricKey",
        "VerifyByAsymmetricKey",
    )
)
# Refused before anything was done. Other codes below RequestLimitExceeded are about more than a second.
_TOO_FAST: Final = frozenset(
    (
        "RequestLimitExceeded",
        "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
        "RequestLimitExceeded.IPLimitExceeded",
        "RequestLimitExceeded.UinLimitExceeded",
    )
)


class ApiError(Exception):
    """The service refused: its `code` ("ResourceNotFound"), `message` and `request_id`."""

    def __init__(self, code: str, message: str, request_id: str) -> None:
        super().__init__(code, message, request_id)
        self.code = code
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message} (request {self.request_id})"

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed a moment later: the service is busy or broken, not unwilling."""
        return self.code in _TOO_FAST or self.code.split(".")[0] == "InternalError"


class Unreachable(Exception):
    """No answer: no connection, no trusted certificate, out of time, or something that is not API 3.0.

    Of a call that changes something the outcome is unknown unless `was_sent` is False.
    """

    def __init__(self, message: str, was_sent: bool = True) -> None:  # noqa: FBT001, FBT002 - copied by position
        super().__init__(message, was_sent)
        self.was_sent = was_sent
        """False where the request certainly never left."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Call(NamedTuple):
    service: str
    version: str
    action: str
    region: str
    body: bytes


class Api:
    """Calls of any service: `Api(credential, endpoint=...).call("ssm", "2019-09-23", "ListSecrets", region, {})`.

    `endpoint` is `https://host[:port]` for all services, or has `{service}` in its host (`TENCENT_CLOUD`). Plain HTTP
    is refused except to this machine itself, because answers carry secrets; `allow_http` is for a network that is
    trusted as much. `timeout` is the seconds that one attempt may take to connect, and again to be answered. `retries`
    is how many more attempts follow a failure that is safe to repeat (see `call`). `ca_file` are the authorities to
    trust instead of the system's (PEM).

    Proxies of the environment are not used. One object serves all threads, and goes on after a fork.
    """

    def __init__(
        self,
        credential: Provider,
        *,
        endpoint: str,
        timeout: float = 10.0,
        retries: int = 3,
        ca_file: str | os.PathLike[str] | None = None,
        allow_http: bool = False,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the rule is the service's
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not timeout > 0 or retries < 0:
            raise ValueError("timeout is more than 0 seconds, retries 0 or more")
        self._credential = credential
        self._endpoint = endpoint
        self._is_https, self._host = _split(endpoint, allow_http=allow_http)
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._sleep = sleep
        self._tls = _tls(ca_file) if self._is_https else None
        self._idle: dict[str, deque[http.client.HTTPConnection]] = {}
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Api({self._endpoint!r})"

    def call(
        self,
        service: str,
        version: str,
        action: str,
        region: str = "",
        parameters: Mapping[str, Any] | None = None,
        *,
        repeatable: bool | None = None,
    ) -> dict[str, Any]:
        """The members of `Response`, RequestId among them.

        Raises ApiError where the service refuses, Unreachable where there is no answer. Tried again, after a pause of
        up to 0.1, 0.2, 0.4... seconds (full jitter): whatever never got a connection or came too fast, and, where the
        call only reads or computes, also what broke off, was not API 3.0 or is an InternalError. `repeatable` decides
        for actions whose name does not say so; signatures are never sent twice.
        """
        if not _SERVICE.fullmatch(service) or not all(
            map(_HEADER.fullmatch, (version, action, region or "-"))
        ):
            raise ValueError("service, version, action and region are names as the API spells them")
        if repeatable is None:
            repeatable = action in _REPEATABLE or _READS.match(action) is not None
        body = json.dumps(dict(parameters or {}), separators=(",", ":")).encode()
        wanted = _Call(service, version, action, region, body)
        host = self._host.replace("{service}", service)
        for attempt in range(self._retries + 1):
            failure: ApiError | Unreachable
            try:
                # Not by way of a variable: tools that report failures show those, and an answer carries secrets.
                return _response(host, *self._send(host, self._headers(host, wanted), wanted.body))
            except ApiError as error:
                failure = error
                again = error.code in _TOO_FAST or (repeatable and error.is_passing)
            except Unreachable as error:
                failure = error
                again = repeatable or not error.was_sent
            if not again or attempt == self._retries:
                raise failure
            self._sleep(jitter(min(_LONGEST_PAUSE, _PAUSE * 2**attempt)))
        raise AssertionError("the last attempt answers or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. The object stays usable."""
        for pool in list(self._idle.values()):
            while pool:
                pool.pop().close()

    def _headers(self, host: str, wanted: _Call) -> dict[str, str]:
        credential = self._credential.current()
        timestamp = int(self._clock())
        signed = {
            "Content-Type": _JSON,
            "Host": host,
            "X-TC-Action": wanted.action,
            "X-TC-Version": wanted.version,
            # Signed, it makes each signature one of a kind: a server may refuse those that it has seen.
            "X-TC-TraceId": secrets.token_hex(16),
        }
        if wanted.region:
            signed["X-TC-Region"] = wanted.region
        headers = {
            **signed,
            "Authorization": authorization(
                credential, wanted.service, timestamp, signed.items(), wanted.body
            ),
            "X-TC-Timestamp": str(timestamp),
            "X-TC-RequestClient": "keystead",
            "User-Agent": "keystead",
            "Accept-Encoding": "identity",
        }
        if credential.token:
            headers["X-TC-Token"] = credential.token
        return headers

    def _send(self, host: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        connection = self._connection(host)
        response: http.client.HTTPResponse | None = None
        is_whole = False
        reason, content = "", b""
        try:
            connection.sock.settimeout(self._timeout)
            connection.request("POST", "/", body=body, headers=headers)
            response = connection.getresponse()
            content = response.read(_MAX_ANSWER + 1)
            # `read` ends quietly where the connection does.
            is_whole = not response.length and len(content) <= _MAX_ANSWER
            reason = "the answer broke off or is too long"
        except TimeoutError:
            reason = f"no answer within {self._timeout:g} seconds"
        except OSError as error:
            reason = _reason(error)
        except http.client.HTTPException as error:
            reason = type(error).__name__  # its text quotes what was received
        finally:
            if is_whole and response is not None and response.isclosed() and not response.will_close:
                self._keep(host, connection)
            else:
                connection.close()
                if response is not None:
                    response.close()
        if response is None or not is_whole:
            content = b""
            raise Unreachable(f"{host}: {reason}")
        return response.status, content

    def _connection(self, host: str) -> http.client.HTTPConnection:
        if self._pid != os.getpid():
            # The sockets belong to the parent process as well: two writers would read each other's secrets.
            self._idle, self._pid = {}, os.getpid()
        pool = self._idle.get(host)
        while pool:
            try:
                kept = pool.pop()
            except IndexError:
                break
            if _is_quiet(kept):
                return kept
            kept.close()
        made: http.client.HTTPConnection
        if self._tls is None:
            made = http.client.HTTPConnection(host, timeout=self._timeout)
        else:
            made = http.client.HTTPSConnection(host, timeout=self._timeout, context=self._tls)
        made.response_class = _Response
        reason = ""
        try:
            made.connect()
        except TimeoutError:
            reason = f"no connection within {self._timeout:g} seconds"
        except OSError as error:
            reason = _reason(error)
        except BaseException:
            made.close()
            raise
        if reason:
            made.close()
            raise Unreachable(f"{host}: {reason}", False)  # noqa: FBT003 - see Unreachable
        return made

    def _keep(self, host: str, connection: http.client.HTTPConnection) -> None:
        pool = self._idle.setdefault(host, deque())
        if len(pool) < _MAX_IDLE and self._pid == os.getpid():
            pool.append(connection)
        else:
            connection.close()


def authorization(
    credential: Credential,
    service: str,
    timestamp: int,
    headers: Iterable[tuple[str, str]],
    body: bytes,
) -> str:
    """The Authorization header of a POST to `/` with these headers signed (the product document, "Signature v3").

    Names and values are signed in lower case, in the order of the names; `timestamp` is in seconds.
    """
    lines = sorted((name.lower(), value.strip().lower()) for name, value in headers)
    names = ";".join(name for name, _ in lines)
    canonical = "POST\n/\n\n{}\n{}\n{}".format(
        "".join(f"{name}:{value}\n" for name, value in lines), names, hashlib.sha256(body).hexdigest()
    )
    date = time.strftime("%Y-%m-%d", time.gmtime(timestamp))
    scope = f"{date}/{service}/tc3_request"
    text = f"{_TC3}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"TC3{credential.secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return f"{_TC3} Credential={credential.secret_id}/{scope}, SignedHeaders={names}, Signature={signature}"


def jitter(most: float) -> float:
    """Somewhere in [0, most) seconds: clients that fail together do not come back together."""
    return most * secrets.randbelow(1 << 30) / (1 << 30)


def parsed_json(document: bytes) -> Any:
    """The JSON value, or None where it is none. The parser's own error keeps the document, and secrets with it."""
    try:
        return json.loads(document)
    except (ValueError, RecursionError):
        return None


def _response(host: str, status: int, content: bytes) -> dict[str, Any]:
    document = parsed_json(content)
    content = b""
    response = document.get("Response") if isinstance(document, dict) else None
    if not isinstance(response, dict):
        document = None
        raise Unreachable(f"{host}: HTTP {status}, and not an answer of API 3.0: check the endpoint")
    error = response.get("Error")
    if error is None:
        if status != http.client.OK:
            raise Unreachable(f"{host}: HTTP {status} without an error of API 3.0")
        return response
    members: Mapping[str, Any] = error if isinstance(error, dict) else {}
    raise ApiError(
        str(members.get("Code", "InternalError")),
        str(members.get("Message", "")),
        str(response.get("RequestId", "")),
    )


def _split(endpoint: str, *, allow_http: bool) -> tuple[bool, str]:
    """Whether it is HTTPS, and the host as it stands in the Host header, perhaps with `{service}`."""
    url = urlsplit(endpoint)
    try:
        port = url.port
    except ValueError:
        port = -1
    name = url.hostname or ""
    plain = name.replace("{service}", "x")
    if (
        url.scheme not in ("https", "http")
        or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", plain)
        or port == -1
        or url.path not in ("", "/")
        or url.query
        or url.fragment
        or "@" in url.netloc
    ):
        raise ValueError("endpoint is https://host[:port], where the host may have {service} in it")
    if url.scheme == "http" and not (allow_http or _is_loopback(plain)):
        raise ValueError("answers carry secrets: use https, or say allow_http=True for a network you trust")
    host = f"[{name}]" if ":" in name else name
    usual = 443 if url.scheme == "https" else 80
    return url.scheme == "https", host if port in (None, usual) else f"{host}:{port}"


def _is_loopback(name: str) -> bool:
    return name in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", name) is not None


def _tls(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return f"{type(error).__name__} {error.strerror or error}"


def _is_quiet(connection: http.client.HTTPConnection) -> bool:
    """Whether an idle connection still stands: one that has something to read was closed, or is out of step."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return not selector.select(0)


class _Response(http.client.HTTPResponse):
    """An answer that has to be there, to its last byte, within the socket's timeout, however slowly it drips."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Deadline(sock, self.fp.detach()))


class _Deadline(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._end = time.monotonic() + (sock.gettimeout() or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
