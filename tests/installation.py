"""A whole Keystead in the test's own process, and the official SDK wired to it without a network."""

import contextlib
import importlib
import io
import json
import types
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from chalicelib import bootstrap, ids
from chalicelib.access_keys import add_access_key
from chalicelib.api import wsgi
from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY, Service
from chalicelib.hsm.port import Hsm
from chalicelib.model.user import User
from chalicelib.settings import Bootstrap, Settings
from chalicelib.table import users
from chalicelib.table.port import Table
from chalicelib.table.sqlite import SqliteTable
from tests import hsms, oidc

VERSIONS = {
    "kms": "v20190118",
    "ssm": "v20190923",
    "cam": "v20190116",
    "sts": "v20180813",
    "tag": "v20180813",
    "cloudaudit": "v20190319",
}
SM, FIPS = "ap-guangzhou", "ap-singapore"


class Installation:
    """One service, its clock and its root account."""

    def __init__(self, clock: ManualClock, settings: Settings | None = None) -> None:
        self.clock = clock
        self.settings = settings or Settings(
            throttle=False, credential_cache_seconds=0, oidc_providers={oidc.NAME: oidc.PROVIDER}
        )
        self.service = Service(self.settings, clock, self.open_table, self.open_hsm)
        self.root = Bootstrap(ids.uin(), ids.secret_id(), ids.secret_key())
        bootstrap.store(self.service, self.root)
        self.gateway = Gateway(self.service)

    def open_table(self, _domain: str) -> Table:
        return SqliteTable(":memory:", self.clock)

    def open_hsm(self, domain: str) -> Hsm:
        return hsms.fresh(domain)

    def add_account(self) -> Bootstrap:
        """Another root account of the same installation."""
        other = Bootstrap(ids.uin(), ids.secret_id(), ids.secret_key())
        bootstrap.store(self.service, other)
        return other

    def add_user(self, name: str) -> Bootstrap:
        """A user of the root account, with a key and no permission at all."""
        made = Bootstrap(ids.uin(), ids.secret_id(), ids.secret_key())
        seal, hsm, now = self.service.seals.of(self.root.uin), self.service.hsm(IDENTITY), self.clock.now()
        user = User(account=self.root.uin, uin=made.uin, name=name, created_at=now)
        user, key = add_access_key(hsm, user, made.secret_id, made.secret_key, now)
        self.service.table(IDENTITY).write([*users.create_user(seal, user), key])
        return made

    def client(
        self, service: str, region: str = SM, who: Bootstrap | None = None, sign: str = "", token: str = ""
    ) -> "Client":
        """The official SDK client of a service; temporary credentials have a token."""
        return Client(self, service, region, who or self.root, sign, token)


class Client:
    """The official client: requests and answers go through its models. `client.CreateSecret(SecretName=...)`."""

    def __init__(
        self,
        installation: Installation,
        service: str,
        region: str,
        who: Bootstrap,
        sign: str,
        token: str = "",
    ) -> None:
        package = f"tencentcloud.{service}.{VERSIONS[service]}"
        self.models = importlib.import_module(f"{package}.models")
        module = importlib.import_module(f"{package}.{service}_client")
        http = HttpProfile(protocol="http", endpoint="127.0.0.1:8000")
        profile = ClientProfile(httpProfile=http, **({"signMethod": sign} if sign else {}))
        credential = Credential(who.secret_id, who.secret_key, token or None)
        self.sdk = getattr(module, f"{service.capitalize()}Client")(credential, region, profile)
        self.sdk.request.conn._session.mount("http://", InProcess(installation.gateway))

    def __getattr__(self, action: str) -> Any:
        def call(**parameters: Any) -> Any:
            request = getattr(self.models, f"{action}Request")()
            request.from_json_string(json.dumps(parameters))
            return getattr(self.sdk, action)(request)

        return call

    def call_raw(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The same call without models: unknown and malformed parameters can be sent too."""
        answer: dict[str, Any] = self.sdk.call_json(action, parameters)["Response"]
        return answer


class InProcess(BaseAdapter):
    """Carries requests to the WSGI front door instead of a socket."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._application = wsgi.application(gateway)

    def send(self, request: requests.PreparedRequest, *_args: Any, **_kwargs: Any) -> requests.Response:
        given: object = request.body or b""  # text or bytes, whatever the stubs say
        body = given if isinstance(given, bytes) else str(given).encode()
        path, _, query = str(request.path_url).partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "192.0.2.1",
            "wsgi.input": io.BytesIO(body),
        }
        for name, value in request.headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        status: list[str] = []
        headers: list[tuple[str, str]] = []

        def start_response(line: str, pairs: list[tuple[str, str]], _info: Any = None) -> Any:
            status.append(line)
            headers.extend(pairs)

        content = b"".join(self._application(environ, start_response))
        response = requests.Response()
        response.status_code = int(status[0].split()[0])
        response.headers.update(headers)
        response.raw = io.BytesIO(content)
        response.request = request
        response.url = str(request.url)
        return response

    def close(self) -> None:
        pass


@contextlib.contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[TencentCloudSDKException]]:
    """The call inside is refused with exactly this code."""
    with pytest.raises(TencentCloudSDKException) as caught:
        yield caught
    assert caught.value.code == code, caught.value
    assert caught.value.requestId


def sdk_time(clock: ManualClock) -> types.SimpleNamespace:
    """What the SDK gets for its `time` module: it signs at the test's time."""
    return types.SimpleNamespace(time=clock.now, sleep=lambda _seconds: None)
