"""checkov finds nothing in the template but what `infra/checkov.json` gives a reason for."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.packaging.templates import Template
from tools import package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SKIPPED: dict[str, str] = json.loads((package.ROOT / "infra/checkov.json").read_text())


def test_checkov(template: Template, tmp_path: Path) -> None:
    program = Path(os.environ.get("KEYSTEAD_CHECKOV", package.ROOT / ".venv-checkov/bin/checkov"))
    if not program.exists():
        pytest.skip("checkov is not installed: `make checkov`, or KEYSTEAD_CHECKOV=path")
    file = tmp_path / "template.json"
    file.write_text(json.dumps(template))
    command = [
        str(program),
        "--framework",
        "cloudformation",
        "--output",
        "json",
        "--quiet",
        "--file",
        str(file),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    failed = {check["check_id"] for check in report["results"]["failed_checks"]}
    assert failed == set(SKIPPED), (
        "take out what is not found any more, and give new findings a reason or mend them"
    )
    assert all(len(reason) > 20 for reason in SKIPPED.values())
