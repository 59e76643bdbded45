"""`keystead doctor`: what works here and what does not, and what to do about it."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from enum import Enum
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import typer

from keystead.cli import profile as profiles
from keystead.cli.exits import Exit, Failure, exit_of
from keystead.cli.session import Session, session

if TYPE_CHECKING:
    from keystead.credentials import Credential, Provider

_COLUMNS: Final = ("Check", "Status", "Found", "Do")
_TIMEOUT: Final = 10.0
_MOST_SKEW: Final = 300
"""Seconds after which a signature is refused (the product document, "Signature v3")."""
_MUCH_SKEW: Final = 60
_SOON: Final = 30 * 86400
_NEARLY_FULL: Final = 0.9
_TYPICAL: Final = (
    "ssm:GetSecretValue",
    "ssm:CreateSecret",
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:CreateKey",
    "cloudaudit:DescribeEvents",
)
_ADVICE: Final = {
    "AuthFailure.SignatureExpire": "Set this machine's clock.",
    "AuthFailure.SecretIdNotFound": "Use a key of this service: another one made it, or it was deleted.",
    "AuthFailure.SignatureFailure": "Copy the SecretKey again: it is not the one of this SecretId.",
    "AuthFailure.TokenFailure": "Get new temporary credentials.",
    "UnsupportedRegion": "Say another --region: the service has none of this name.",
}
# GB/T 32918.5, annex A.2: public key, and a signature of "message digest".
_X: Final = 0x09F9DF31_1E5421A1_50DD7D16_1E4BC5C6_72179FAD_1833FC07_6BB08FF3_56F35020
_Y: Final = 0xCCEA490C_E26775A5_2DC6EA71_8CC1AA60_0AED05FB_F35E084A_6632F607_2DA9AD13
_R: Final = 0xF5A03B06_48D2C463_0EEAC513_E1BB81A1_5944DA38_27D5B741_43AC7EAC_EEE720B3
_S: Final = 0xB1B6AA29_DF212FD8_763182BC_0D421CA1_BB9038FD_1F7F42D4_840B69C4_85BBC1AA


class Status(str, Enum):
    """How a check ended."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Line(NamedTuple):
    """A check: what was found, and what to do."""

    check: str
    status: Status
    found: str
    do: str = ""


def command(context: typer.Context) -> None:
    """Check this machine, the endpoint, the clock, the credentials, their permissions, and the service.

    Nothing is changed. The exit code is 1 if a check fails; a WARN fails nothing.
    """
    here = session(context)
    lines = [*_machine(), *_service(here)]
    here.show_all(
        (dict(zip(_COLUMNS, (check, status.value, *rest), strict=True)) for check, status, *rest in lines),
        _COLUMNS,
    )
    failed = sum(each.status is Status.FAIL for each in lines)
    if failed:
        raise Failure(f"Checks that failed: {failed}.")


# This machine


def _machine() -> Iterator[Line]:
    from importlib.metadata import PackageNotFoundError, version

    import cryptography
    from cryptography.hazmat.backends.openssl import backend

    try:
        own = version("keystead")
    except PackageNotFoundError:
        own = "of a checkout"
    python = ".".join(map(str, sys.version_info[:3]))
    yield Line(
        "versions",
        Status.OK,
        f"keystead {own}, Python {python}, cryptography {cryptography.__version__} with {backend.openssl_version_text()}",
    )
    yield _computes(
        "SM3, SM4", _sm3_and_sm4, "Install `cryptography` from PyPI: this build has no SM3 or SM4."
    )
    yield _computes("SM2 signatures", _sm2, "Install keystead again: it is damaged.")
    yield _libgcrypt()
    yield _detector()


def _computes(check: str, function: Callable[[], bool], do: str) -> Line:
    try:
        works = function()
    except Exception:  # noqa: BLE001 - whatever is missing, the advice is the same
        works = False
    return (
        Line(check, Status.OK, "gives the standard's example") if works else Line(check, Status.FAIL, "", do)
    )


def _sm3_and_sm4() -> bool:
    """The examples of GB/T 32905, A.1, and GB/T 32907, A.1."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    from keystead.sm2 import sm3

    text = bytes.fromhex("0123456789abcdeffedcba9876543210")
    sealed = Cipher(algorithms.SM4(text), modes.ECB()).encryptor().update(text)  # noqa: S305 - one block of an example
    hashed = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    return sm3(b"abc").hex() == hashed and sealed.hex() == "681edf34d206965e86b3e94f536e4246"


def _sm2() -> bool:
    from keystead import sm2

    key = sm2.PublicKey(_X, _Y)
    return key.is_signed(b"message digest", _R, _S) and not key.is_signed(b"message digest", _S, _R)


def _libgcrypt() -> Line:
    from keystead.encryption import libgcrypt

    try:
        libgcrypt.enable()
    except libgcrypt.Unusable as error:
        return Line(
            "libgcrypt",
            Status.WARN,
            str(error),
            "Optional: install libgcrypt20, SM4-GCM is then much faster.",
        )
    libgcrypt.disable()
    return Line("libgcrypt", Status.OK, "usable: keystead.encryption.libgcrypt.enable()")


def _detector() -> Line:
    from importlib.util import find_spec

    if find_spec("kingfisher_sdk") is None:
        return Line("scan", Status.WARN, "no detector", "Optional: pip install 'keystead[scan]'.")
    return Line("scan", Status.OK, "detector installed")


# The service


def _service(here: Session) -> Iterator[Line]:
    try:
        endpoint, region = here.endpoint, here.region
        here.check_endpoint(replace(here.profile, endpoint=endpoint))
    except Failure as failure:
        yield Line("profile", Status.FAIL, "", failure.message)
        return
    yield Line("profile", Status.OK, f"{here.name or profiles.DEFAULT}: {endpoint}, {region}")
    is_reached = yield from _endpoint(here, endpoint)
    credential = yield from _credential(here)
    if not is_reached or credential is None or not (yield from _identity(here)):
        return
    yield from _regions(here)
    yield from _status(here)
    yield from _hsm(here)
    yield _permissions(here)


def _endpoint(here: Session, endpoint: str) -> Generator[Line, None, bool]:
    """Name, connection, certificate, answer and clock, each asked of the endpoint itself: no proxy, nothing signed."""
    url = urlsplit(endpoint.replace("{service}", "kms"))
    host, is_https = url.hostname or "", url.scheme == "https"
    try:
        port = url.port or (443 if is_https else 80)
        addresses = {each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, ValueError) as error:
        yield Line("name", Status.FAIL, f"{host}: {error}", "Correct the endpoint, or the name service.")
        return False
    yield Line("name", Status.OK, f"{host} is {', '.join(sorted(map(str, addresses)))}")
    connection: HTTPConnection
    if is_https:
        tls = ssl.create_default_context(cafile=here.profile.ca_file or None)
        connection = HTTPSConnection(host, port, timeout=_TIMEOUT, context=tls)
    else:
        connection = HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        begun = time.monotonic()
        connection.connect()
        took = f"{(time.monotonic() - begun) * 1000:.0f} ms to connect"
        yield _connected(connection, took)
        sent = _now()
        connection.request("POST", "/", body=b"{}", headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read(1 << 16)
        middle = (sent + _now()) / 2
    except ssl.SSLCertVerificationError as error:
        yield Line(
            "connection",
            Status.FAIL,
            f"the certificate is not trusted: {error.verify_message}",
            "Name the authority as ca_file in the profile, or correct the host.",
        )
        return False
    except (OSError, HTTPException) as error:
        yield Line(
            "connection",
            Status.FAIL,
            f"{type(error).__name__} {getattr(error, 'strerror', None) or ''}".strip(),
            "Start the service, or correct host, port and scheme. Proxies of the environment are not used.",
        )
        return False
    finally:
        connection.close()
    yield _answered(response.status, content)
    yield _clock(response.headers.get("Date"), middle)
    return True


def _connected(connection: HTTPConnection, took: str) -> Line:
    if not isinstance(connection.sock, ssl.SSLSocket):
        return Line("connection", Status.OK, f"{took}; not encrypted")
    certificate = connection.sock.getpeercert() or {}
    until = str(certificate.get("notAfter", ""))
    left = ssl.cert_time_to_seconds(until) - _now() if until else 0
    found = f"{took}; {connection.sock.version()}, certificate until {until}"
    if left < _SOON:
        return Line("connection", Status.WARN, found, "Renew the certificate.")
    return Line("connection", Status.OK, found)


def _answered(status: int, content: bytes) -> Line:
    try:
        document = json.loads(content)
        is_api = isinstance(document["Response"], dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        is_api = False
    if is_api:
        return Line("answer", Status.OK, "speaks API 3.0")
    return Line(
        "answer",
        Status.FAIL,
        f"HTTP {status}, and not API 3.0",
        "Correct the endpoint: something else answers.",
    )


def _clock(date: str | None, middle: float) -> Line:
    try:
        # The header has whole seconds: on average it is half a second old.
        skew = parsedate_to_datetime(date or "").timestamp() + 0.5 - middle
    except (TypeError, ValueError):
        return Line("clock", Status.WARN, "the answer has no date", "Compare the clocks yourself.")
    found = f"{abs(skew):.0f} seconds {'behind' if skew > 0 else 'ahead of'} the service's"
    if abs(skew) >= _MOST_SKEW:
        return Line("clock", Status.FAIL, found, "Set the clock: signatures are refused.")
    if abs(skew) >= _MUCH_SKEW:
        return Line("clock", Status.WARN, found, "Set the clock: at 300 seconds signatures are refused.")
    return Line("clock", Status.OK, found if abs(skew) >= 2 else "as the service's")  # noqa: PLR2004


def _credential(here: Session) -> Generator[Line, None, Credential | None]:
    from keystead.credentials import CredentialError

    try:
        found = profiles.provider(here.name).current()
    except (CredentialError, Failure) as error:
        yield Line("credentials", Status.FAIL, "", str(error))
        return None
    place = _place_of(here, found)
    kind = "temporary credentials" if found.token else "access key"
    text = f"{kind} {found.secret_id} from {place or 'the environment'}"
    left = found.expires_at - _now()
    if left <= 0:
        yield Line("credentials", Status.FAIL, text, "They have expired: get new ones.")
        return None
    if place is not None and sys.platform != "win32" and place.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Line("credentials", Status.WARN, text, f"Others can read the file: chmod 600 {place}")
    else:
        yield Line("credentials", Status.OK, text)
    return found


def _place_of(here: Session, found: Credential) -> Path | None:
    """The file that a credential is from; None: the environment."""
    from keystead import credentials

    def same(load: Callable[[], Provider]) -> bool:
        try:
            return load().current() == found
        except credentials.CredentialError:
            return False

    if same(credentials.from_environment):
        return None
    own = profiles.keys_file()
    if same(lambda: credentials.from_file(own, here.name or profiles.DEFAULT)):
        return own
    written = credentials.keystead_file()
    return written if same(credentials.from_file) else credentials.tccli_file()


def _identity(here: Session) -> Generator[Line, None, bool]:
    answer = _ask(here, "identity", "sts", "GetCallerIdentity")
    if isinstance(answer, Line):
        yield answer
        return False
    arn, account = str(answer.get("Arn")), str(answer.get("AccountId"))
    if arn.endswith(f":uin/{account}"):
        yield Line(
            "identity",
            Status.WARN,
            f"{arn}, the root of the account",
            "It may do everything: give programs users of their own (`keystead user create`).",
        )
    else:
        yield Line("identity", Status.OK, arn)
    return True


def _regions(here: Session) -> Iterator[Line]:
    answer = _ask(here, "region", "kms", "GetRegions")
    if isinstance(answer, Line):
        yield answer
    elif here.region in (answer.get("Regions") or []):
        yield Line("region", Status.OK, f"{here.region}, one of {', '.join(answer['Regions'])}")
    else:
        yield Line(
            "region",
            Status.FAIL,
            f"{here.region} is none of {', '.join(answer.get('Regions') or ['-'])}",
            "Say another --region.",
        )


def _status(here: Session) -> Iterator[Line]:
    for service, used, limit in (("kms", "CmkUserCount", "CmkLimit"), ("ssm", "", "SecretLimit")):
        answer = _ask(here, service, service, "GetServiceStatus")
        if isinstance(answer, Line):
            yield answer
            continue
        if not answer.get("ServiceEnabled"):
            yield Line(service, Status.FAIL, "not enabled", "Enable the service for the account.")
            continue
        most = answer.get(limit) or 0
        count = answer.get(used)
        found = "enabled" if count is None else f"enabled; {count} of {most} keys"
        is_nearly_full = bool(most) and (count or 0) >= _NEARLY_FULL * most
        if is_nearly_full:
            yield Line(service, Status.WARN, found, "Delete what is not needed, or have the limit raised.")
        else:
            yield Line(service, Status.OK, found)


def _hsm(here: Session) -> Iterator[Line]:
    """What the region's HSM can do, and that it does something: random bytes come from it, and are thrown away."""
    answer = _ask(here, "algorithms", "kms", "ListAlgorithms")
    if isinstance(answer, Line):
        yield answer
    else:
        lists = ("SymmetricAlgorithms", "AsymmetricAlgorithms", "AsymmetricSignVerifyAlgorithms")
        names = [str(each.get("Algorithm")) for member in lists for each in answer.get(member) or ()]
        yield Line("algorithms", Status.OK, ", ".join(dict.fromkeys(names)))
    begun = time.monotonic()
    answer = _ask(here, "HSM", "kms", "GenerateRandom", NumberOfBytes=16)
    took = (time.monotonic() - begun) * 1000
    yield answer if isinstance(answer, Line) else Line("HSM", Status.OK, f"answers in {took:.0f} ms")


def _permissions(here: Session) -> Line:
    may: dict[bool, list[str]] = {True: [], False: []}
    for action in _TYPICAL:
        answer = _ask(here, "permissions", "cam", "SimulatePolicy", ActionName=action, Resource="*")
        if isinstance(answer, Line):
            return answer
        may[answer.get("Decision") == "allow"].append(action)
    found = f"on all resources: {', '.join(may[True]) or 'nothing'}"
    if may[False]:
        found += f"; not: {', '.join(may[False])}"
    return Line("permissions", Status.OK, found)


def _ask(here: Session, check: str, service: str, action: str, **parameters: Any) -> dict[str, Any] | Line:
    """The answer, or the line that says why there is none."""
    from keystead.api import ApiError, Unreachable

    try:
        return here.call(service, action, **parameters)
    except Unreachable as error:
        return Line(check, Status.FAIL, str(error), "Try again; then look at the service's log.")
    except ApiError as error:
        found = f"{error.code} (RequestId {error.request_id or '-'})"
        if error.code in _ADVICE:
            return Line(check, Status.FAIL, found, _ADVICE[error.code])
        if error.code == "InvalidAction":
            return Line(check, Status.WARN, "not known", f"This service has no {service}:{action}.")
        if exit_of(error.code) is Exit.DENIED:
            return Line(check, Status.WARN, found, f"Have {service}:{action} allowed to see this.")
        return Line(
            check, Status.FAIL, f"{found} {error.message}", "Look at the service's log for the RequestId."
        )


def _now() -> float:
    return time.time()  # noqa: TID251 - the rule is the service's
