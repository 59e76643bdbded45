"""What is in the functions' code directory."""

import importlib.util
import json
import re
import struct
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from botocore.loaders import Loader

from tools import package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AARCH64 = 183
UNCHECKED_HASH = 1
NATIVE = ("Cryptodome", "_cffi_backend", "cffi", "cryptography")

LOAD_APP = """
import os, sys
os.environ["KEYSTEAD_STAGE"] = "prod"
import app
from chalicelib.jobs import schedule
assert all(callable(getattr(app, name)) for name in ("api", *schedule.EVERY_MINUTES))
print(" ".join(name for name in ("boto3", "botocore", "cryptography", "pydantic", "pynamodb") if name in sys.modules))
"""

CALL_DYNAMODB = """
import botocore.awsrequest, botocore.session
URLS = {
    "eu-west-1": "https://dynamodb.eu-west-1.amazonaws.com/",
    "cn-north-1": "https://dynamodb.cn-north-1.amazonaws.com.cn/",
    "us-gov-west-1": "https://dynamodb.us-gov-west-1.amazonaws.com/",
    "xy-new-1": "https://dynamodb.xy-new-1.amazonaws.com/",
}
class Raw:
    def stream(self, *_args, **_kwargs):
        yield b'{"Item": {"pk": {"S": "a"}}}'
for region, url in URLS.items():
    session = botocore.session.get_session()
    session.set_credentials("id", "key")
    client = session.create_client("dynamodb", region)
    def answer(request, **_):
        assert request.url == url, request.url
        return botocore.awsrequest.AWSResponse(request.url, 200, {"content-type": "application/x-amz-json-1.0"}, Raw())
    client.meta.events.register("before-send.dynamodb", answer)
    assert client.get_item(TableName="t", Key={"pk": {"S": "a"}})["Item"]["pk"]["S"] == "a"
"""


def test_the_zip_is_at_most_12_mb(dist: Path) -> None:
    assert (dist / "keystead-prod/deployment.zip").stat().st_size <= 12_000_000


def test_equal_sources_give_equal_bytes(dist: Path) -> None:
    dev, prod = ((dist / f"keystead-{stage}/deployment.zip").read_bytes() for stage in ("dev", "prod"))
    assert dev == prod


def test_every_file_is_readable_for_the_user_that_lambda_runs_as(dist: Path) -> None:
    with zipfile.ZipFile(dist / "keystead-prod/deployment.zip") as archive:
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}


def test_it_ships_exactly_the_locked_requirements_beside_chalice(bundle: Path) -> None:
    shipped = {path.name.removesuffix(".dist-info").lower() for path in bundle.glob("*.dist-info")}
    pins = re.findall(r"^([\w.-]+)==(\S+)", (package.ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert shipped == {f"{name.replace('-', '_')}-{version}" for name, version in pins}
    assert {"cryptography", "gmssl", "pynamodb"} < {name for name, _ in pins}
    assert sorted(path.name for path in (bundle / "chalice").glob("*.py")) == ["__init__.py", "app.py"]
    for name in ("boto3", "hypothesis", "moto", "pytest", "tests", "tools"):
        assert not (bundle / name).exists()


def test_it_ships_the_sources_and_nothing_of_a_local_installation(bundle: Path) -> None:
    ours = {path.relative_to(package.ROOT) for path in (package.ROOT / "chalicelib").rglob("*.py")}
    assert {path.relative_to(bundle) for path in (bundle / "chalicelib").rglob("*.py")} == ours
    assert not [path for path in bundle.rglob("*") if path.suffix in (".keys", ".key", ".sqlite", ".pyi")]


def test_native_code_is_for_the_configured_architecture(bundle: Path) -> None:
    libraries = [*bundle.rglob("*.so")]
    assert libraries
    for library in libraries:
        (machine,) = struct.unpack_from("<H", library.read_bytes(), 18)
        assert machine == AARCH64, library


def test_every_module_has_bytecode_that_is_used_without_a_look_at_its_source(bundle: Path) -> None:
    for source in bundle.rglob("*.py"):
        code = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert code[:4] == importlib.util.MAGIC_NUMBER
        assert int.from_bytes(code[4:8], "little") == UNCHECKED_HASH
        assert code[8:16] == importlib.util.source_hash(source.read_bytes()), source
    assert len([*bundle.rglob("*.pyc")]) == len([*bundle.rglob("*.py")])


def test_the_app_starts_from_the_bundle_alone_and_loads_no_aws_library(bundle: Path, tmp_path: Path) -> None:
    assert _run(LOAD_APP, _with_native_code_of_this_machine(bundle, tmp_path)) == "cryptography"


def test_botocore_finds_all_the_data_that_dynamodb_needs(bundle: Path) -> None:
    assert not _run(CALL_DYNAMODB, [bundle])
    plenty = {"sqs", "sts"}
    endpoints = json.loads((bundle / "botocore/data/endpoints.json").read_text())
    assert not [p for p in endpoints["partitions"] if plenty & set(p["services"])]


def test_the_model_of_dynamodb_is_whole_but_for_its_manual(bundle: Path) -> None:
    """What the adapter's requests and answers are made by; tests use the whole one."""
    (path,) = bundle.glob("botocore/data/dynamodb/*/service-2.json*")
    ours = json.loads(path.read_text())
    theirs = Loader().load_service_model("dynamodb", "service-2")
    assert ours == json.loads(
        json.dumps(theirs),
        object_hook=lambda members: {
            name: value for name, value in members.items() if name != "documentation" or type(value) is dict
        },
    )
    assert '"documentation":"' not in path.read_text()


def _with_native_code_of_this_machine(bundle: Path, tmp_path: Path) -> list[Path]:
    """The bundle's directory may be for another architecture: the same versions of its native parts are installed here."""
    installed = Path(sysconfig.get_path("platlib"))
    for name in NATIVE:
        for path in installed.glob(f"{name}*"):
            (tmp_path / path.name).symlink_to(path)
    return [tmp_path, bundle]


def _run(program: str, path: list[Path]) -> str:
    """What a Python with nothing but this path and the standard library prints."""
    start = f"import sys; sys.path[1:1] = {[str(p) for p in path]}\n"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", start + program]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={})
    return done.stdout.strip()
