"""`make package STAGE=prod`: a stage's template and code bundle, in dist/keystead-prod/.

`chalice package` does the work, on a copy of the sources, so that no bytecode and no leftover gets in. pip is told the
target's platform, so that every wheel is checked against the hashes in requirements.txt. The bundle is then stripped of
what never runs and is never read, given bytecode (the code directory is read-only on Lambda: without it every cold start compiles every
module), and written so that the same sources and the same Python give the same bytes.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
MACHINES: Final = {"arm64": "aarch64", "x86_64": "x86_64"}
BOTOCORE_DATA: Final = {
    "_retry.json",
    "dynamodb",
    "endpoints.json",
    "partitions.json",
    "sdk-default-configuration.json",
}
USELESS: Final = (
    "**/*.pyi",
    "*.data",  # scripts
    "*.dist-info/RECORD",
    "Cryptodome/SelfTest",
    "botocore/data/dynamodb/2011-12-05",
    "botocore/data/dynamodb/2012-08-10/examples-1.json*",
)
_STAMP: Final = (1980, 1, 1, 0, 0, 0)


class Failure(Exception):
    """Why there is no package."""


def build(stages: Sequence[str], dist: Path) -> None:
    """Write `dist/keystead-<stage>/` with sam.json and deployment.zip for each stage."""
    config = json.loads((ROOT / ".chalice/config.json").read_text())
    known = [name for name, stage in config["stages"].items() if "lambda_functions" in stage]
    if not set(stages) <= set(known):
        raise Failure(f"The stages for AWS are: {', '.join(known)}.")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        sources = _copy_sources(work / "sources")
        for stage in stages:
            made, tree = work / "dist" / stage, work / "tree" / stage
            _run_chalice(sources, stage, made, MACHINES[config["lambda_architecture"]])
            shutil.unpack_archive(made / "deployment.zip", tree)
            _check_complete(tree)
            _strip(tree)
            _trim_models(tree / "botocore/data")
            _add_bytecode(tree)
            _write_zip(tree, made / "deployment.zip")
            target = dist / f"keystead-{stage}"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(made, target)


def _copy_sources(to: Path) -> Path:
    shutil.copytree(
        ROOT / "chalicelib", to / "chalicelib", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    (to / ".chalice").mkdir()
    for path in (ROOT / "app.py", ROOT / "requirements.txt", *(ROOT / ".chalice").glob("*.json")):
        shutil.copyfile(path, to / path.relative_to(ROOT))
    return to


def _run_chalice(sources: Path, stage: str, target: Path, machine: str) -> None:
    glibc = 26 if sys.version_info < (3, 12) else 34  # Amazon Linux 2 and 2023
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(17, glibc + 1)]
    environment = {
        "AWS_DEFAULT_REGION": "us-east-1",
        **os.environ,  # noqa: TID251 - for the child process: its path, proxies, and the operator's AWS region
        "PIP_ONLY_BINARY": ":all:",
        "PIP_PLATFORM": " ".join([*platforms, f"manylinux2014_{machine}"]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    chalice = str(Path(sys.executable).with_name("chalice"))
    merge = str(ROOT / "infra/template.json")
    command = [chalice, "package", "--stage", stage, "--merge-template", merge, str(target)]
    done = subprocess.run(command, cwd=sources, env=environment, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    if done.returncode:
        raise Failure(f"`chalice package` failed:\n{done.stdout}{done.stderr}")


def _check_complete(tree: Path) -> None:
    """Chalice only prints a warning when a dependency has no wheel for the target."""
    pins = re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    missing = [
        f"{name}=={version}" for name, version in pins if not list(tree.glob(_dist_info(name, version)))
    ]
    if missing:
        raise Failure(f"No wheel for the target platform: {', '.join(missing)}.")


def _dist_info(name: str, version: str) -> str:
    return f"{re.sub('[-_.]+', '_', name)}-{version}.dist-info"


def _strip(tree: Path) -> None:
    models = [path for path in (tree / "botocore/data").iterdir() if path.name not in BOTOCORE_DATA]
    for path in [*models, *(path for pattern in USELESS for path in tree.glob(pattern))]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _trim_models(data: Path) -> None:
    """Every cold start parses these files: other services' endpoints and the manual's text are most of them."""
    endpoints = json.loads((data / "endpoints.json").read_text())
    for partition in endpoints["partitions"]:
        partition["services"] = {"dynamodb": partition["services"]["dynamodb"]}
    (data / "endpoints.json").write_text(json.dumps(endpoints, separators=(",", ":")))
    for packed in data.glob("dynamodb/*/service-2.json.gz"):
        model = json.loads(gzip.decompress(packed.read_bytes()), object_hook=_without_documentation)
        packed.with_suffix("").write_text(json.dumps(model, separators=(",", ":")))
        packed.unlink()


def _without_documentation(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in members.items()
        if name != "documentation" or not isinstance(value, str)
    }


def _add_bytecode(tree: Path) -> None:
    # A process of its own, with fixed hashes: what a long-lived one has interned shows in the bytes.
    flags = ["-q", "-f", "-j1", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", "/var/task"]
    command = [sys.executable, "-P", "-W", "ignore", "-m", "compileall", *flags, str(tree)]
    if subprocess.run(command, check=False, env={"PYTHONHASHSEED": "0"}).returncode:  # noqa: S603 - our own
        raise Failure("Some modules do not compile.")


def _write_zip(tree: Path, bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(tree).as_posix(), _STAMP)
            entry.external_attr = 0o644 << 16  # Lambda's user is not the owner
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, path.read_bytes())


def main() -> None:
    """Build the stages named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.package", description=__doc__)
    parser.add_argument(
        "stages", nargs="+", metavar="STAGE", help="a stage of .chalice/config.json: dev, prod"
    )
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where to write; default: dist/")
    options = parser.parse_args()
    try:
        build(options.stages, options.dist)
    except Failure as failure:
        sys.exit(str(failure))
    for stage in options.stages:
        bundle = options.dist / f"keystead-{stage}" / "deployment.zip"
        sys.stdout.write(
            f"{bundle.parent}: sam.json, deployment.zip ({bundle.stat().st_size / 1e6:.1f} MB)\n"
        )


if __name__ == "__main__":
    main()
