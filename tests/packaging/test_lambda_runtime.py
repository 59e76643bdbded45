"""The code bundle as Lambda runs it: handlers, payloads, cold start. The table is ministack."""

import json
from functools import partial
from pathlib import Path

import pytest

from chalicelib.jobs import schedule
from tests.installation import refused
from tests.packaging.runtime import CREDENTIALS, HOST, Installed, payload_1, payload_2, sdk

pytestmark = [pytest.mark.slow, pytest.mark.ministack, pytest.mark.timeout(600)]

LOADED = """
import sys
import app
at_first = sorted(sys.modules)
def handler(event, context):
    return (at_first, sorted(sys.modules)) if event is None else app.api(event, context)
"""


@pytest.fixture(scope="module")
def installed(ministack: str, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        return Installed(ministack, bundle, tmp_path_factory.mktemp("installed"))


def test_the_official_client_works_through_the_function_url(installed: Installed) -> None:
    with installed.function("app.api") as function:
        client = sdk(installed, function)
        made = {"SecretName": "through-lambda", "VersionId": "v1", "SecretString": "a value"}
        assert client.call_json("CreateSecret", made)["Response"]["VersionId"] == "v1"
        asked = {"SecretName": "through-lambda", "VersionId": "v1"}
        assert client.call_json("GetSecretValue", asked)["Response"]["SecretString"] == "a value"
        refused = function.invoke({"no": "event of HTTP"})
        assert json.loads(refused["body"])["Response"]["Error"]["Code"] == "InvalidRequest"


def test_the_official_client_works_through_a_rest_api_of_api_gateway(installed: Installed) -> None:
    with installed.function("app.app", variables={"KEYSTEAD_STAGE": "local"}) as function:
        client = sdk(installed, function, "kms", payload_1)
        key = client.call_json("CreateKey", {"Alias": "through-api-gateway"})["Response"]["KeyId"]
        made = client.call_json("Encrypt", {"KeyId": key, "Plaintext": "aGVsbG8="})["Response"]
        asked = {"CiphertextBlob": made["CiphertextBlob"]}
        assert client.call_json("Decrypt", asked)["Response"]["Plaintext"] == "aGVsbG8="
        client.call_json("DisableKey", {"KeyId": key})
        client.call_json("ScheduleKeyDeletion", {"KeyId": key, "PendingWindowInDays": 7})
        with refused("ResourceUnavailable.CmkDisabled"):
            client.call_json("Decrypt", asked)
    assert "keystead.warning KeyPendingDelete" in (installed.home / "app.app.log").read_text(), (
        "for the alarm"
    )


def test_behind_a_proxy_that_replaces_the_host_only_named_hosts_may_be_signed(installed: Installed) -> None:
    """CloudFront and custom domains send the function URL's own host."""
    replaced = partial(payload_2, host=HOST)
    named = {"KEYSTEAD_HOSTS": "kms.example.com, SSM.Example.com, ssm.example.com:8443"}
    with installed.function("app.api", variables=named) as function:
        for host in (HOST, *named["KEYSTEAD_HOSTS"].split(", "), "ssm.example.com"):
            client = sdk(installed, function, event=replaced, host=host)
            assert "SecretMetadatas" in client.call_json("ListSecrets", {})["Response"]
        for host in (
            "other.example.com",
            "example.com",
            "kms.example.com.evil.example",
            "kms.example.com:8443",
            "KMS.example.com",
        ):
            client = sdk(installed, function, event=replaced, host=host)
            with refused("AuthFailure.SignatureFailure"):
                client.call_json("ListSecrets", {})
    with installed.function("app.api") as function, refused("AuthFailure.SignatureFailure"):
        client = sdk(installed, function, event=replaced, host="kms.example.com")
        client.call_json("ListSecrets", {})


def test_a_cold_start_to_the_first_secret_loads_no_needless_library(
    installed: Installed, tmp_path: Path
) -> None:
    """`python -m benchmarks.cold_start` measures it."""
    with installed.function("app.api") as function:
        made = {"SecretName": "cold", "VersionId": "v1", "SecretString": "a value"}
        sdk(installed, function).call_json("CreateSecret", made)
    (tmp_path / "loaded.py").write_text(LOADED)
    with installed.function("loaded.handler", tmp_path) as function:
        asked = {"SecretName": "cold", "VersionId": "v1"}
        answer = sdk(installed, function).call_json("GetSecretValue", asked)["Response"]
        assert answer["SecretString"] == "a value"
        at_first, loaded = map(set, function.invoke(None))
    assert {"app", "botocore.client", "pynamodb.connection"} <= at_first, "before there is an event"
    assert "chalicelib.actions.ssm.get_secret_value" in loaded - at_first
    assert not loaded & {"boto3", "gmssl", "granian", "jwt", "pydantic", "requests", "sqlite3"}


@pytest.mark.parametrize("job", sorted(schedule.EVERY_MINUTES))
def test_every_job_runs_on_its_schedules_event(installed: Installed, job: str) -> None:
    event = {
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2026-01-01T00:00:00Z",
        "region": "us-east-1",
        "resources": [f"arn:aws:events:us-east-1:123456789012:rule/{job}"],
        "detail": {},
    }
    with installed.function(f"app.{job}") as function:
        assert function.invoke(event) is None
