"""A secret value, a plaintext and a SecretKey, sent through every action in every way, are found nowhere."""

import base64
import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.api import registry
from chalicelib.api.http import Request
from chalicelib.clock import ManualClock
from chalicelib.hsm.port import Hsm
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Bootstrap, Settings
from chalicelib.table.port import Table
from chalicelib.table.sqlite import SqliteTable
from tests import scenarios
from tests.calls import METHODS, VERSIONS, code, members, tc3, tc3_get, v1
from tests.inspected import NOW
from tests.installation import Installation
from tests.scenarios import CONTEXT, SCENARIOS, Scenario, World
from tests.security.canary import CORE, VALUE, files_with, found_in, traces

# What these parameters hold is shown to whoever may list: they are tried in dry runs, which store nothing.
PUBLIC = {"Description", "GroupName", "Remark", "Tags"}


class OnDisk(Installation):
    """A whole service with its files in one directory."""

    def __init__(self, home: Path) -> None:
        super().__init__(ManualClock(NOW), Settings(home=home, throttle=False, credential_cache_seconds=0))

    def open_table(self, domain: str) -> Table:
        self.settings.home.mkdir(exist_ok=True)
        return SqliteTable(self.settings.home / f"{domain}.sqlite", self.clock)

    def open_hsm(self, domain: str) -> Hsm:
        return SoftwareHsm.open(self.settings, domain)


class Watch:
    """An installation whose every answer is looked through; what it may show is said beforehand."""

    def __init__(self, installation: OnDisk) -> None:
        self.installation = installation
        self.secrets = [CORE, installation.root.secret_key]
        self.sent = 0

    def ask(self, request: Request, *, shows: bool = False) -> dict[str, Any]:
        self.sent += 1
        reply = self.installation.gateway(request)
        if not shows:
            assert not found_in(reply.body + repr(reply.headers).encode(), self.secrets), request
        return members(reply)


@pytest.fixture
def watch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Watch]:
    """Looks through logs, output and files when the test has sent what it had."""
    caplog.set_level(logging.DEBUG)
    installation = OnDisk(tmp_path / "home")
    made = Watch(installation)
    yield made
    assert made.sent
    open_files = files_with(tmp_path, made.secrets)
    wal = [path for path in tmp_path.rglob("*-wal") if path.stat().st_size]
    installation.service.close()
    assert not open_files
    assert wal, "the write-ahead log was among them"
    assert not files_with(tmp_path, made.secrets)
    records = [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.records]
    for record in records:
        told = f"{record.getMessage()} {record.exc_text} {record.__dict__}"
        assert not found_in(told.encode(errors="replace"), made.secrets), record.name
    output = "".join(capfd.readouterr())
    assert not found_in(output.encode(errors="replace"), made.secrets)


def in_every_form(value: str) -> tuple[Any, ...]:
    """A value as a text, in a list, as a name, in an object, and too long for anything."""
    return (value, [value], {value: value}, [{"TagKey": value, "TagValue": value}], value * 300)


# That the search itself works


def test_a_trace_is_found_in_any_form() -> None:
    neighbours = [b"", b"a", b"ab", b"abc"]
    for before, after in itertools.product(neighbours, neighbours):
        whole = before + VALUE.encode() + after
        for content in (
            whole,
            base64.b64encode(whole),
            base64.urlsafe_b64encode(whole),
            whole.hex().encode(),
            json.dumps(whole.decode()).encode(),
            quote(whole).encode(),
            repr(whole).encode(),
            whole[: -len(CORE) // 2],
        ):
            assert found_in(content, [CORE]) == [CORE]
    assert not found_in(b"something else " + base64.b64encode(b"c4n4ry") * 99, [CORE])


def test_traces_are_long_enough_not_to_be_found_by_chance() -> None:
    assert min(map(len, traces(CORE))) >= 10


# Where it belongs


def test_values_where_they_belong(watch: Watch) -> None:
    """The calls succeed, and only the answers that are meant to show a value do."""
    root = watch.installation.root
    binary = base64.b64encode(VALUE.encode()).decode()
    for at, sign in enumerate(METHODS.values()):
        for name, value in (("text", {"SecretString": VALUE}), ("binary", {"SecretBinary": binary})):
            secret: dict[str, Any] = {"SecretName": f"{name}-{at}", "VersionId": "v1"}

            def call(service: str, action: str, *, sign: Any = sign, **given: Any) -> dict[str, Any]:
                shows = action in ("GetSecretValue", "Decrypt")
                answer = watch.ask(sign(root, NOW, service, action, given), shows=shows)
                assert not code(answer), answer
                return answer

            call("ssm", "CreateSecret", **secret, **value)
            call("ssm", "PutSecretValue", **{**secret, "VersionId": "v2"}, **value)
            call("ssm", "UpdateSecret", **secret, **value)
            read = call("ssm", "GetSecretValue", **secret)
            assert (read["SecretString"], read["SecretBinary"]) == (
                (VALUE, "") if name == "text" else ("", binary)
            )
            for action in ("DescribeSecret", "ListSecretVersionIds"):
                call("ssm", action, SecretName=secret["SecretName"])
            call("ssm", "ListSecrets")
        key = call("kms", "CreateKey", Alias=f"key-{at}")["KeyId"]
        context = json.dumps({"who": VALUE})
        blob = call("kms", "Encrypt", KeyId=key, Plaintext=binary, EncryptionContext=context)
        opened = call(
            "kms",
            "Decrypt",
            CiphertextBlob=blob["CiphertextBlob"],
            EncryptionContext=context,
        )
        assert opened["Plaintext"] == binary
        data_key = call("kms", "GenerateDataKey", KeyId=key, NumberOfBytes=32)
        watch.secrets.append(data_key["Plaintext"][:32])


# Where it does not belong


@pytest.fixture
def world(watch: Watch) -> World:
    return scenarios.build(watch.installation)


def test_values_in_every_parameter_of_every_action(watch: Watch, world: World) -> None:
    """One signature method after the other, so that each meets every action."""
    root = watch.installation.root
    signs = itertools.cycle(METHODS.values())
    for scenario in SCENARIOS:
        given = scenario.parameters(world)
        for name in registry.find(VERSIONS[scenario.service], scenario.action).parameters.names:
            for value in in_every_form(VALUE):
                parameters = {**given, name: value, **({"DryRun": True} if name in PUBLIC else {})}
                request = next(signs)(root, NOW, scenario.service, scenario.action, parameters)
                # A value that was stored just now may be read.
                watch.ask(request, shows=scenario.action == "GetSecretValue")


def test_values_in_unknown_parameters(watch: Watch, world: World) -> None:
    root = watch.installation.root
    for scenario, sign in zip(SCENARIOS, itertools.cycle(METHODS.values())):
        for extra in (
            {"Nope": VALUE},
            {VALUE: "1"},
            {CORE: "1"},
            {"Nope": {VALUE: VALUE}},
            {"DryRun": VALUE},
        ):
            request = sign(
                root, NOW, scenario.service, scenario.action, {**scenario.parameters(world), **extra}
            )
            answer = watch.ask(request)
            assert code(answer) in ("UnknownParameter", "InvalidParameter")


@pytest.mark.parametrize(
    "scenario", [s for s in SCENARIOS if s.action in ("CreateSecret", "Encrypt")], ids=str
)
def test_values_in_bodies_and_queries_that_are_none(watch: Watch, world: World, scenario: Scenario) -> None:
    root = watch.installation.root
    service, action = scenario.service, scenario.action
    text = VALUE.encode()
    bodies = (
        text,
        b'{"SecretString": "' + text,
        b'{"SecretString": "' + text + b'", "SecretString": "' + text + b'"}',
        b'["' + CORE.encode() + b'"]',
        json.dumps(VALUE).encode(),
        text.decode().encode("utf-16"),
        b"SecretString=" + quote(VALUE).encode(),
    )
    kinds = (
        "application/json",
        "multipart/form-data; boundary=x",
        f"multipart/form-data; boundary={CORE}",
        "application/x-www-form-urlencoded",
        "text/plain",
    )
    for body, kind in itertools.product(bodies, kinds):
        assert code(watch.ask(tc3(root, NOW, service, action, body=body, content_type=kind)))
    for query in (quote(VALUE), f"={quote(VALUE)}", f"{CORE}=1&{CORE}=2", f"A.{CORE}=1&A=1", VALUE):
        request = tc3_get(root, NOW, service, action)
        assert code(watch.ask(replace(request, queries=(query,))))
        assert code(watch.ask(tc3(root, NOW, service, action, method="GET", query=query)))
        form = v1(root, NOW, service, action)
        assert code(watch.ask(replace(form, body=form.body + b"&" + query.encode())))


def test_values_in_headers(watch: Watch) -> None:
    """But for the user agent, which is there to be recorded, and the trace id, which is there to be echoed."""
    root = watch.installation.root
    for value in (VALUE, VALUE[: -len(CORE)] + CORE):
        for name in (
            "x-tc-version",
            "x-tc-timestamp",
            "x-tc-region",
            "x-tc-token",
            "content-type",
            "x-tc-language",
        ):
            request = tc3(root, NOW, "ssm", "GetRegions", headers={name: value})
            assert code(watch.ask(request)), name
        for authorization in (
            value,
            f"TC3-HMAC-SHA256 {value}",
            f"TC3-HMAC-SHA256 Credential={value}/2027-01-15/ssm/tc3_request, SignedHeaders=host, Signature=0",
            f"Bearer {value}",
        ):
            request = tc3(root, NOW, "ssm", "GetRegions", headers={"authorization": authorization})
            assert code(watch.ask(request)) == "AuthFailure.InvalidAuthorization"


def test_a_secret_key_where_others_belong(watch: Watch, world: World) -> None:
    """Its two halves mixed up, pasted into values, contexts and texts: it looks like a name, and is none there."""
    root = watch.installation.root
    swapped = Bootstrap(root.uin, root.secret_key, root.secret_id)
    pasted = Bootstrap(root.uin, root.secret_id + "/" + root.secret_key, root.secret_key)
    for sign in METHODS.values():
        for who in (swapped, pasted):
            assert code(watch.ask(sign(who, NOW, "ssm", "GetRegions"))).startswith("AuthFailure.")
        for service, action, given in (
            ("ssm", "CreateSecret", {"SecretName": "x", "SecretString": root.secret_key, "VersionId": "-"}),
            (
                "ssm",
                "UpdateSecret",
                {"SecretName": "live", "VersionId": "v1", "SecretString": root.secret_key},
            ),
            ("ssm", "CreateSecret", {"SecretName": "x", "SecretBinary": root.secret_key + "="}),
            ("kms", "Encrypt", {"KeyId": root.secret_key, "Plaintext": "aGk="}),
            ("kms", "Decrypt", {"CiphertextBlob": root.secret_key}),
            ("kms", "Decrypt", {"CiphertextBlob": world.blob, "EncryptionContext": root.secret_key}),
        ):
            watch.ask(sign(root, NOW, service, action, given))
    opened = watch.ask(
        tc3(root, NOW, "kms", "Decrypt", {"CiphertextBlob": world.blob, "EncryptionContext": CONTEXT})
    )
    assert not code(opened)


def test_failures_inside_show_nothing(watch: Watch, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HSM whose errors quote what it was given."""

    def quote_all(*given: object) -> bytes:
        raise RuntimeError(*given, VALUE)

    hsm = watch.installation.service.hsm("ap-guangzhou")
    monkeypatch.setattr(hsm, "encrypt", quote_all)
    monkeypatch.setattr(hsm, "decrypt", quote_all)
    plaintext = base64.b64encode(VALUE.encode()).decode()
    for service, action, given in (
        ("ssm", "CreateSecret", {"SecretName": "x", "SecretString": VALUE}),
        ("ssm", "GetSecretValue", {"SecretName": "live", "VersionId": "v1"}),
        ("kms", "Encrypt", {"KeyId": world.keys["key"], "Plaintext": plaintext}),
        ("kms", "Decrypt", {"CiphertextBlob": world.blob, "EncryptionContext": CONTEXT}),
    ):
        answer = watch.ask(tc3(watch.installation.root, NOW, service, action, given))
        assert code(answer) == "InternalError"
