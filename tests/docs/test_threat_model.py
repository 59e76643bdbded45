"""What docs/threat-model.md claims, tried: what an attacker is stopped from, and what is known not to be noticed."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.api.gateway import Gateway
from chalicelib.bootstrap import ensure
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.settings import Settings
from chalicelib.table.port import Expect, Put, Row
from tests.calls import ask, code, tc3
from tests.inspected import NOW, Inspected
from tests.installation import FIPS, SM

VALUE = "s3cret-canary-7d1f"
DOES_NOT_OPEN = "FailedOperation.AccessKmsError"


@pytest.fixture
def installation() -> Iterator[Inspected]:
    made = Inspected()
    yield made
    made.service.close()


def call(installation: Inspected, action: str, region: str = SM, **parameters: Any) -> dict[str, Any]:
    service = "kms" if "Key" in action or action in ("Encrypt", "Decrypt") else "ssm"
    request = tc3(installation.root, installation.clock.now(), service, action, parameters, region=region)
    return ask(installation.gateway, request)


def made(response: dict[str, Any]) -> dict[str, Any]:
    assert not code(response), response
    return response


def value_row(installation: Inspected, name: str, version: str) -> Row:
    (row,) = [
        r for (pk, sk), r in installation.data().items() if pk.endswith(f"#{name}") and sk == f"V#{version}"
    ]
    return row


def main_row(installation: Inspected, prefix: str, name: str, domain: str = SM) -> Row:
    rows = installation.tables[domain].rows().items()
    (row,) = [r for (pk, sk), r in rows if pk.startswith(prefix) and pk.endswith(f"#{name}") and sk in "MK"]
    return row


def put(installation: Inspected, row: Row, domain: str = SM, **changes: Any) -> None:
    """What somebody with the right to write to the table can do."""
    installation.service.table(domain).write([Put(dataclasses.replace(row, **changes), Expect.ANY)])


def edited(row: Row, **members: Any) -> bytes:
    return record.encode({**record.decode(row.body), **members})


# Who writes to the table


def test_a_sealed_value_opens_in_no_other_place(installation: Inspected) -> None:
    for name in ("mine", "other"):
        made(call(installation, "CreateSecret", SecretName=name, VersionId="v1", SecretString=name))
    made(call(installation, "PutSecretValue", SecretName="mine", VersionId="v2", SecretString="newer"))
    mine = value_row(installation, "mine", "v1")
    other = value_row(installation, "other", "v1")
    put(installation, other, body=mine.body)
    put(installation, value_row(installation, "mine", "v2"), body=mine.body)
    assert code(call(installation, "GetSecretValue", SecretName="other", VersionId="v1")) == DOES_NOT_OPEN
    assert code(call(installation, "GetSecretValue", SecretName="mine", VersionId="v2")) == DOES_NOT_OPEN
    assert call(installation, "GetSecretValue", SecretName="mine", VersionId="v1")["SecretString"] == "mine"


def test_an_older_value_put_back_alone_does_not_open(installation: Inspected) -> None:
    made(call(installation, "CreateSecret", SecretName="a", VersionId="v1", SecretString="old"))
    old = value_row(installation, "a", "v1")
    made(call(installation, "UpdateSecret", SecretName="a", VersionId="v1", SecretString="new"))
    put(installation, old)
    assert code(call(installation, "GetSecretValue", SecretName="a", VersionId="v1")) == DOES_NOT_OPEN


def test_all_rows_of_a_secret_put_back_together_are_not_noticed(installation: Inspected) -> None:
    made(call(installation, "CreateSecret", SecretName="a", VersionId="v1", SecretString="old"))
    before = [main_row(installation, "S#", "a"), value_row(installation, "a", "v1")]
    made(call(installation, "UpdateSecret", SecretName="a", VersionId="v1", SecretString="new"))
    for row in before:
        put(installation, row)
    assert call(installation, "GetSecretValue", SecretName="a", VersionId="v1")["SecretString"] == "old"


def test_a_state_edited_in_the_table_is_not_noticed(installation: Inspected) -> None:
    key_id = made(call(installation, "CreateKey", Alias="k"))["KeyId"]
    blob = made(call(installation, "Encrypt", KeyId=key_id, Plaintext="aGk="))["CiphertextBlob"]
    made(call(installation, "DisableKey", KeyId=key_id))
    assert code(call(installation, "Decrypt", CiphertextBlob=blob)) == "ResourceUnavailable.CmkDisabled"
    row = main_row(installation, "K#", key_id)
    put(installation, row, body=edited(row, state="Enabled"))
    assert call(installation, "Decrypt", CiphertextBlob=blob)["Plaintext"] == "aGk="


def test_key_material_serves_no_other_account_and_region(installation: Inspected) -> None:
    key_id = made(call(installation, "CreateKey", Alias="k"))["KeyId"]
    blob = made(call(installation, "Encrypt", KeyId=key_id, Plaintext="aGk="))["CiphertextBlob"]
    row = main_row(installation, "K#", key_id)
    thief = installation.add_account()
    mine, theirs = installation.root.uin, thief.uin
    put(installation, row, pk=row.pk.replace(mine, theirs), body=edited(row, account=theirs))
    put(installation, row, FIPS, pk=row.pk.replace(SM, FIPS), body=edited(row, region=FIPS))
    stolen = tc3(thief, installation.clock.now(), "kms", "Decrypt", {"CiphertextBlob": blob})
    refused = "InvalidParameterValue.InvalidCiphertext"
    assert code(ask(installation.gateway, stolen)) == refused
    assert code(call(installation, "Decrypt", FIPS, CiphertextBlob=blob)) == refused
    assert call(installation, "Decrypt", CiphertextBlob=blob)["Plaintext"] == "aGk="


def test_an_access_key_cannot_be_given_to_another_account_or_user(installation: Inspected) -> None:
    thief = installation.add_account()
    row = installation.service.table(IDENTITY).get(f"AK#{thief.secret_id}", "K")
    assert row is not None
    put(
        installation,
        row,
        IDENTITY,
        body=edited(row, account=installation.root.uin, uin=installation.root.uin),
    )
    request = tc3(thief, installation.clock.now(), "ssm", "ListSecrets", {})
    assert code(ask(installation.gateway, request)) == "AuthFailure.SecretIdNotFound"


def test_an_access_key_that_was_switched_off_or_deleted_is_not_put_back(installation: Inspected) -> None:
    user = installation.add_user("u")
    row = installation.tables[IDENTITY].get(f"AK#{user.secret_id}", "K")
    assert row is not None

    def status(action: str, **more: Any) -> str:
        given = {"AccessKeyId": user.secret_id, "TargetUin": int(user.uin), **more}
        request = tc3(installation.root, installation.clock.now(), "cam", action, given)
        assert not code(ask(installation.gateway, request))
        put(installation, row, IDENTITY)
        return code(ask(installation.gateway, tc3(user, NOW, "ssm", "ListSecrets", {})))

    assert status("UpdateAccessKey", Status="Inactive") == "AuthFailure.SecretIdNotFound"
    assert status("DeleteAccessKey") == "AuthFailure.SecretIdNotFound"


def test_an_access_key_and_its_user_put_back_together_are_not_noticed(installation: Inspected) -> None:
    user = installation.add_user("u")
    table = installation.tables[IDENTITY]
    before = [
        table.get(f"AK#{user.secret_id}", "K"),
        table.get(f"AC#{installation.root.uin}", f"U#{user.uin}"),
    ]
    given = {"AccessKeyId": user.secret_id, "TargetUin": int(user.uin)}
    made(ask(installation.gateway, tc3(installation.root, NOW, "cam", "DeleteAccessKey", given)))
    for row in before:
        assert row is not None
        put(installation, row, IDENTITY)
    answer = ask(installation.gateway, tc3(user, NOW, "ssm", "ListSecrets", {}))
    assert code(answer) == "AuthFailure.UnauthorizedOperation", "the key signs again"


# Who reads the table, the files or the log


def test_files_and_log_show_names_but_no_value_and_no_secret_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock(NOW)
    service = wiring.build(Settings(home=tmp_path, throttle=False), clock)
    root, credentials = ensure(service)
    gateway = Gateway(service)
    given = {"SecretName": "name-canary", "VersionId": "v1", "SecretString": VALUE}
    with caplog.at_level(0):
        made(ask(gateway, tc3(root, NOW, "ssm", "CreateSecret", given)))
        read = {"SecretName": "name-canary", "VersionId": "v1"}
        assert made(ask(gateway, tc3(root, NOW, "ssm", "GetSecretValue", read)))["SecretString"] == VALUE
    service.close()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"name-canary" in content for content in files.values())
    assert not [path for path, content in files.items() if VALUE.encode() in content]
    assert [path for path, content in files.items() if root.secret_key.encode() in content] == [credentials]
    assert VALUE not in caplog.text
    assert root.secret_key not in caplog.text
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


# Who is on the network


def test_a_captured_request_can_be_sent_again_for_300_seconds(installation: Inspected) -> None:
    made(call(installation, "CreateSecret", SecretName="a", VersionId="v1", SecretString=VALUE))
    captured = tc3(installation.root, NOW, "ssm", "GetSecretValue", {"SecretName": "a", "VersionId": "v1"})
    installation.clock.advance(300)
    assert ask(installation.gateway, captured)["SecretString"] == VALUE
    installation.clock.advance(1)
    assert code(ask(installation.gateway, captured)) == "AuthFailure.SignatureExpire"


@pytest.mark.parametrize(("header", "value"), [("x-tc-action", "DisableSecret"), ("x-tc-region", FIPS)])
def test_unsigned_headers_can_be_changed_unless_a_setting_forbids_it(header: str, value: str) -> None:
    for demanded in (False, True):
        installation = Inspected(
            settings=Settings(throttle=False, credential_cache_seconds=0, require_signed_action=demanded)
        )
        given = {"SecretName": "a"}
        changed = tc3(installation.root, NOW, "ssm", "DescribeSecret", given, headers={header: value})
        # The signature holds: it is only that there is no such secret.
        expected = "AuthFailure.SignatureFailure" if demanded else "ResourceNotFound"
        assert code(ask(installation.gateway, changed)) == expected
        installation.service.close()


def test_a_request_without_a_valid_signature_is_recorded_all_the_same(installation: Inspected) -> None:
    stranger = dataclasses.replace(installation.root, secret_key="x" * 32)
    response = ask(installation.gateway, tc3(stranger, NOW, "ssm", "ListSecrets", {}))
    assert code(response) == "AuthFailure.SignatureFailure"
    event = installation.event(response["RequestId"])
    assert event["error"] == "AuthFailure.SignatureFailure"
    assert event["account"] == "0"
