"""Every AWS stage, packaged once for all tests and all workers, and expanded as AWS expands it."""

import fcntl
import json
import os
import zipfile
from pathlib import Path

import boto3
import pytest
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from tests.packaging.templates import AWS_STAGES, Template, functions
from tools import package


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make package` writes for the AWS stages."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    built = base / "dist"
    with (base / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            package.build(AWS_STAGES, base / "draft")
            (base / "draft").rename(built)
    return built


@pytest.fixture(params=AWS_STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    """Each AWS stage in turn."""
    return str(request.param)


@pytest.fixture
def template(dist: Path, stage: str) -> Template:
    """What is handed to CloudFormation, before the SAM transform."""
    content: Template = json.loads((dist / f"keystead-{stage}/sam.json").read_text())
    return content


@pytest.fixture
def expanded(template: Template) -> Template:
    """The template after the SAM transform."""
    for function in functions(template).values():
        function["CodeUri"] = "s3://a-bucket/a-key"  # `aws cloudformation package` puts the like there
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    content: Template = translator.translate(template, {})
    return content


@pytest.fixture(scope="session")
def bundle(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The functions' code directory."""
    tree = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(dist / "keystead-prod/deployment.zip") as archive:
        archive.extractall(tree)
    return tree
