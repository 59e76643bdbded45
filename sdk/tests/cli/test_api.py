"""`keystead api`: any action."""

import base64
from pathlib import Path

import pytest

from keystead.cli.api import parsed
from keystead.cli.exits import Exit, Failure

from ..client.servers import KeysteadServer
from .terminal import CommandLine

VALUE = "correct-horse-battery-staple"


def test_an_action_is_called_and_its_response_printed(line: CommandLine) -> None:
    key_id = line("api", "kms", "CreateKey", "--Alias", "orders", "--Type=1").json()["KeyId"]
    answer = line("api", "kms", "DescribeKey", "--KeyId", key_id).json()
    assert answer["KeyMetadata"]["Alias"] == "orders"
    assert answer["RequestId"]


def test_values_are_json_where_they_can_be() -> None:
    read = parsed(
        ["--N", "3", "--T", "true", "--L", '["a"]', "--O", '{"a": 1}', "--S", "text", "--Q", '"3"', "--E="]
    )
    assert read == {"N": 3, "T": True, "L": ["a"], "O": {"a": 1}, "S": "text", "Q": "3", "E": ""}


def test_what_json_lacks_is_a_string() -> None:
    assert parsed(["--A", "NaN", "--B", "Infinity", "--C", "1" * 5000]) == {
        "A": "NaN",
        "B": "Infinity",
        "C": "1" * 5000,
    }


def test_values_may_begin_with_a_dash() -> None:
    assert parsed(["--N", "-3", "--M=--x", "--D", "--y"]) == {"N": -3, "M": "--x", "D": "--y"}


@pytest.mark.parametrize(
    "arguments", [["x"], ["-K", "v"], ["--K"], ["--K", "1", "--K", "2"], ["--", "v"], ["--K-x", "1"]]
)
def test_what_is_no_parameter_is_refused(arguments: list[str]) -> None:
    with pytest.raises(Failure) as failure:
        parsed(arguments)
    assert failure.value.code is Exit.USAGE


def test_options_of_keystead_may_follow(line: CommandLine) -> None:
    answer = line(
        "api", "kms", "ListKeys", "--Limit", "5", "--region", "ap-singapore", "--Offset", "0"
    ).json()
    assert answer["TotalCount"] == 0
    assert line("api", "kms", "ListKeys", "--region", "ap-nowhere").code == Exit.REFUSED


def test_values_come_from_files_and_standard_input(line: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "value"
    place.write_text("[1]\n")
    create = ("api", "ssm", "CreateSecret", "--VersionId", "v1", "--SecretName")
    line(*create, "a", "--SecretString", f"file://{place}").json()
    line(*create, "b", "--SecretString", "-", stdin=VALUE).json()
    line(*create, "c", "--SecretBinary", f"fileb://{place}").json()
    get = ("api", "ssm", "GetSecretValue", "--VersionId", "v1", "--SecretName")
    assert line(*get, "a").json()["SecretString"] == "[1]\n"
    assert line(*get, "b").json()["SecretString"] == VALUE
    assert base64.b64decode(line(*get, "c").json()["SecretBinary"]) == b"[1]\n"


def test_parameters_come_from_a_json_object(line: CommandLine) -> None:
    whole = f'{{"SecretName": "a", "VersionId": "v1", "SecretString": "{VALUE}"}}'
    line("api", "ssm", "CreateSecret", "--input", "-", stdin=whole).json()
    got = line(
        "api", "ssm", "GetSecretValue", "--input", "-", "--VersionId", "v1", stdin='{"SecretName": "a"}'
    )
    assert got.json()["SecretString"] == VALUE
    for wrong in ("[]", "{", ""):
        assert line("api", "ssm", "CreateSecret", "--input", "-", stdin=wrong).code == Exit.USAGE


def test_secret_values_are_refused_as_arguments(line: CommandLine, keystead: KeysteadServer) -> None:
    ran = line("api", "ssm", "CreateSecret", "--SecretName", "a", "--SecretString", VALUE)
    assert ran.code == Exit.USAGE
    assert VALUE not in ran.err
    assert keystead.calls["CreateSecret"] == 0
    token = line("api", "sts", "AssumeRoleWithWebIdentity", "--WebIdentityToken", VALUE)
    assert token.code == Exit.USAGE
    assert VALUE not in token.err
    assert keystead.calls["AssumeRoleWithWebIdentity"] == 0


def test_a_dry_run_checks_and_does_nothing(line: CommandLine, keystead: KeysteadServer) -> None:
    assert line("api", "kms", "CreateKey", "--Alias", "orders", "--dry-run").code == 0
    assert line("key", "list").json() == []
    nobody = keystead.installation.add_user("nobody")
    line.environment |= {
        "TENCENTCLOUD_SECRET_ID": nobody.secret_id,
        "TENCENTCLOUD_SECRET_KEY": nobody.secret_key,
    }
    assert line("api", "kms", "CreateKey", "--Alias", "orders", "--dry-run").code == Exit.DENIED


def test_other_services_need_their_version(line: CommandLine) -> None:
    assert line("api", "cvm", "DescribeInstances").code == Exit.USAGE
    asked = line("api", "cvm", "DescribeInstances", "--api-version", "2017-03-12")
    assert asked.code == Exit.REFUSED
    assert "NoSuchVersion" in asked.err


@pytest.mark.parametrize("names", [("KMS", "ListKeys"), ("kms", "List Keys"), ("kms", "List\r\nKeys")])
def test_names_that_are_none_are_refused(line: CommandLine, names: tuple[str, str]) -> None:
    assert line("api", *names, "--api-version", "2019-01-18").code == Exit.USAGE
