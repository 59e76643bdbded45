"""`keystead key` against a whole Keystead."""

import base64
import secrets
from pathlib import Path
from typing import Any

import pytest

from keystead.cli.exits import Exit

from ..client.servers import KeysteadServer
from .terminal import CommandLine


def create(line: CommandLine, alias: str = "orders", *more: str) -> str:
    key_id: str = line("key", "create", alias, *more).json()["KeyId"]
    return key_id


def kms(keystead: KeysteadServer, action: str, region: str = "ap-guangzhou", **parameters: Any) -> Any:
    return keystead.api().call("kms", "2019-01-18", action, region, parameters)


def state(line: CommandLine, key_id: str) -> str:
    found: str = line("key", "describe", key_id).json()["KeyState"]
    return found


def test_a_key_is_created_and_described(line: CommandLine) -> None:
    key_id = create(line, "orders", "--description", "of tests", "--tag", "team=a=b")
    described = line("key", "describe", key_id).json()
    assert (described["Alias"], described["Description"]) == ("orders", "of tests")
    assert [k["KeyId"] for k in line("key", "list", "--tag", "team=a=b").json()] == [key_id]
    assert line("key", "list", "--tag", "team=a").json() == []


def test_a_tag_without_value_is_refused(line: CommandLine) -> None:
    assert line("key", "create", "orders", "--tag", "team").code == Exit.USAGE


def test_keys_of_every_usage_are_listed_and_filtered(line: CommandLine) -> None:
    symmetric = create(line, "a-symmetric")
    signing = create(line, "a-signing", "--usage", "ASYMMETRIC_SIGN_VERIFY_SM2")
    listed = {k["KeyId"]: k["KeyUsage"] for k in line("key", "list").json()}
    assert listed == {symmetric: "ENCRYPT_DECRYPT", signing: "ASYMMETRIC_SIGN_VERIFY_SM2"}
    assert [k["KeyId"] for k in line("key", "list", "--usage", "ENCRYPT_DECRYPT").json()] == [symmetric]
    assert [k["KeyId"] for k in line("key", "list", "--search", "signing").json()] == [signing]
    line("key", "disable", symmetric).json()
    assert [k["KeyId"] for k in line("key", "list", "--state", "disabled").json()] == [symmetric]
    assert len(line("key", "list", "--limit", "1").json()) == 1


def test_an_unknown_key_is_not_found(line: CommandLine) -> None:
    ran = line("key", "describe", "00000000-0000-0000-0000-000000000000")
    assert (ran.code, ran.out) == (Exit.NOT_FOUND, "")


def test_a_key_goes_through_its_states(line: CommandLine) -> None:
    key_id = create(line)
    line("key", "disable", key_id).json()
    assert state(line, key_id) == "Disabled"
    line("key", "enable", key_id).json()
    assert state(line, key_id) == "Enabled"
    line("key", "archive", key_id).json()
    assert state(line, key_id) == "Archived"
    line("key", "cancel-archive", key_id).json()
    assert state(line, key_id) == "Enabled"


def test_deletion_needs_a_yes_and_can_be_taken_back(line: CommandLine, keystead: KeysteadServer) -> None:
    key_id = create(line)
    line("key", "disable", key_id).json()
    assert line("key", "schedule-deletion", key_id).code == Exit.USAGE
    assert line("key", "schedule-deletion", key_id, "--days", "6", "--yes").code == Exit.USAGE
    assert keystead.calls["ScheduleKeyDeletion"] == 0
    scheduled = line("key", "schedule-deletion", key_id, "--yes").json()
    assert scheduled["DeletionDate"] - keystead.installation.clock.now() == pytest.approx(30 * 86400, abs=5)
    assert state(line, key_id) == "PendingDelete"
    line("key", "cancel-deletion", key_id).json()
    assert state(line, key_id) == "Disabled"


def test_a_key_is_rotated_now_or_by_days(line: CommandLine, keystead: KeysteadServer) -> None:
    key_id = create(line)
    before = kms(keystead, "GetKeyRotationStatus", KeyId=key_id)["KeyRotationEnabled"]
    line("key", "rotate", key_id, "--every", "30").json()
    after = line("key", "describe", key_id).json()
    assert (before, after["KeyRotationEnabled"], after["RotateDays"]) == (False, True, 30)
    assert keystead.calls["RotateKey"] == 0
    line("key", "rotate", key_id).json()
    assert keystead.calls["RotateKey"] == 1
    line("key", "rotate", key_id, "--never").json()
    assert line("key", "describe", key_id).json()["KeyRotationEnabled"] is False
    assert line("key", "rotate", key_id, "--never", "--every", "30").code == Exit.USAGE


@pytest.mark.parametrize(("region", "size"), [("ap-guangzhou", 16), ("ap-singapore", 32)])
def test_imported_material_is_the_key(
    line: CommandLine, keystead: KeysteadServer, tmp_path: Path, region: str, size: int
) -> None:
    line.environment["KEYSTEAD_REGION"] = region
    material = secrets.token_bytes(size)
    place = tmp_path / "material"
    place.write_bytes(material)
    first = create(line, "imported", "--external")
    assert state(line, first) == "PendingImport"
    ran = line("key", "import", first, "--from-file", str(place))
    assert ran.json() == {"KeyId": first, "ValidTo": 0}
    assert state(line, first) == "Enabled"
    # The same material again is taken, another is not: what the service holds is what the file had.
    blob = kms(keystead, "Encrypt", region, KeyId=first, Plaintext=base64.b64encode(b"x").decode())
    kms(keystead, "DeleteImportedKeyMaterial", region, KeyId=first)
    other = line("key", "import", first, "--from-file", "-", stdin=secrets.token_bytes(size))
    assert other.code == Exit.REFUSED
    line("key", "import", first, "--from-file", "-", stdin=material).json()
    opened = kms(keystead, "Decrypt", region, CiphertextBlob=blob["CiphertextBlob"])
    assert base64.b64decode(opened["Plaintext"]) == b"x"


def test_material_of_another_length_does_not_leave_the_machine(
    line: CommandLine, keystead: KeysteadServer
) -> None:
    key_id = create(line, "imported", "--external")
    # Bytes in hexadecimal or base64 are the usual mistake.
    for content in (b"", secrets.token_bytes(15), secrets.token_hex(16).encode() + b"\n"):
        assert line("key", "import", key_id, "--from-file", "-", stdin=content).code == Exit.USAGE
    assert keystead.calls["GetParametersForImport"] == 0


def test_material_expires_as_said(line: CommandLine, keystead: KeysteadServer) -> None:
    key_id = create(line, "imported", "--external")
    end = keystead.installation.clock.now() + 1000
    ran = line(
        "key", "import", key_id, "--valid-to", str(end), "--from-file", "-", stdin=secrets.token_bytes(16)
    )
    assert ran.json()["ValidTo"] == end
    assert line("key", "describe", key_id).json()["ValidTo"] == end
