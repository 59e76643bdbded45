"""What the steps of a call cost: processor time in one thread, on a table of its own in this process.

usage: python -m benchmarks.stages [--directory D] [--rounds N]

Each step is the least of many rounds of 20, so its code and data are in the processor's caches; a whole call, which runs
through all of them once, costs more than their sum.
"""  # noqa: INP001 - a script

import argparse
import base64
import io
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import peers
from chalicelib import wiring
from chalicelib.api import envelope, registry, signature, wsgi
from chalicelib.api.gateway import Gateway
from chalicelib.bootstrap import ensure
from chalicelib.context import Context, Service
from chalicelib.params import read_json
from chalicelib.settings import Bootstrap, Settings

HOST = "127.0.0.1"
AT_ONCE = 20


class Installation:
    """A service with a key and a secret, and WSGI requests to it."""

    def __init__(self, home: Path) -> None:
        self.service: Service = wiring.build(Settings(home=home, throttle=False))
        self.root: Bootstrap = ensure(self.service)[0]
        self.gateway = Gateway(self.service)
        self.application = wsgi.application(self.gateway)
        key = self.ask("kms", "CreateKey", {"Alias": "benchmark", "KeyUsage": "ENCRYPT_DECRYPT_AES_256"})
        plaintext = base64.b64encode(secrets.token_bytes(1024)).decode()
        secret = {"SecretName": "read", "VersionId": "v1", "SecretString": secrets.token_hex(2048)}
        self.ask("ssm", "CreateSecret", secret)
        encrypt = {"KeyId": key["KeyId"], "Plaintext": plaintext}
        blob = self.ask("kms", "Encrypt", encrypt)["CiphertextBlob"]
        self.calls: dict[str, tuple[str, str, dict[str, Any]]] = {
            "empty": ("ssm", "GetServiceStatus", {}),
            "encrypt": ("kms", "Encrypt", encrypt),
            "decrypt": ("kms", "Decrypt", {"CiphertextBlob": blob}),
            "generate_data_key": ("kms", "GenerateDataKey", {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
            "get_secret": ("ssm", "GetSecretValue", {"SecretName": "read", "VersionId": "v1"}),
        }

    def ask(self, service: str, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Call an action once."""
        response: dict[str, Any] = json.loads(self.answer(self.environ(service, action, parameters)))[
            "Response"
        ]
        if "Error" in response:
            raise RuntimeError(response["Error"])
        return response

    def answer(self, environ: dict[str, Any]) -> bytes:
        """What the application answers; an environ serves once."""
        return b"".join(self.application(environ, _ignore))

    def environ(self, service: str, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """A request signed with TC3-HMAC-SHA256, as a WSGI server hands it over."""
        body = json.dumps(parameters).encode()
        headers = peers.tc3((self.root.secret_id, self.root.secret_key), HOST, service, action, body)
        content_type = headers.pop("Content-Type")
        return {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "REMOTE_ADDR": HOST,
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
        }

    def stages(self, name: str) -> dict[str, Callable[[], object]]:
        """The steps of a call, each with all that it needs at hand."""
        environ = self.environ(*self.calls[name])
        body = environ["wsgi.input"].getvalue()
        request = wsgi._request({**environ, "wsgi.input": io.BytesIO(body)})
        settings = self.service.settings
        claim = signature.read_claim(request, settings)
        action = registry.find(claim.version, claim.action)
        credential = self.gateway._credentials.find(claim.secret_id, claim.token)
        arguments = action.parameters.read(read_json(body), lexical=False)
        recorded = action.parameters.recorded(read_json(body))

        def context() -> Context:
            event = self.gateway._event(request)
            event.service, event.action, event.is_read = action.service, action.name, action.is_read
            event.account, event.uin = credential.caller.account, credential.caller.uin
            event.secret_id, event.region, event.parameters = claim.secret_id, peers.REGION, recorded
            return Context(self.service, credential.caller, peers.REGION, event)

        def keep() -> None:
            ctx = context()
            ctx.trail.keep(ctx.event)

        members = action.handler(context(), **arguments)
        return {
            "read the request": lambda: wsgi._request({**environ, "wsgi.input": io.BytesIO(body)}),
            "read its claim": lambda: signature.read_claim(request, settings),
            "find the access key": lambda: self.gateway._credentials.find(claim.secret_id, claim.token),
            "verify the signature": lambda: signature.verify(
                request, claim, credential, now=self.service.clock.now(), settings=settings
            ),
            "read the parameters": lambda: action.parameters.read(read_json(body), lexical=False),
            "begin an event": context,
            "do it (and the event)": lambda: action.handler(context(), **arguments),
            "write the event (and it)": keep,
            "answer": lambda: envelope.answer("request", members),
        }

    def whole(self, name: str) -> Callable[[], object]:
        """The whole call."""
        environ = self.environ(*self.calls[name])
        body = environ["wsgi.input"].getvalue()
        return lambda: self.answer({**environ, "wsgi.input": io.BytesIO(body)})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages")
    parser.add_argument("--directory", default=".", help="where the tables are")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        installation = Installation(Path(folder))
        for name in installation.calls:
            sys.stdout.write(f"{name}\n")
            for stage, step in {**installation.stages(name), "whole": installation.whole(name)}.items():
                sys.stdout.write(f"  {stage:26} {_microseconds(step, options.rounds):7.1f} us\n")
            sys.stdout.flush()
        installation.service.close()


def _microseconds(step: Callable[[], object], rounds: int) -> float:
    least = float("inf")
    for _ in range(rounds):
        begin = time.thread_time()
        for _ in range(AT_ONCE):
            step()
        least = min(least, time.thread_time() - begin)
    return least / AT_ONCE * 1e6


def _ignore(
    _status: str, _headers: list[tuple[str, str]], _error: object = None
) -> Callable[[bytes], object]:
    return lambda _: None


if __name__ == "__main__":
    main()
