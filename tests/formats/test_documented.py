"""docs/formats.md and the tests name the same requirements."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
IDS = re.compile(r"KS-[A-Z]+-\d+(?:\.\d+)?")


def cited(paths: list[Path]) -> set[str]:
    return {found for path in paths for found in IDS.findall(path.read_text("utf-8"))}


def test_every_requirement_is_tested_and_every_cited_one_exists() -> None:
    documented = cited([ROOT / "docs" / "formats.md"])
    tests = [path for folder in ("formats", "hsm") for path in (ROOT / "tests" / folder).glob("test_*.py")]
    tests += [ROOT / "tests" / "test_ceremony.py", ROOT / "sdk" / "tests" / "cli" / "test_trail.py"]
    code = [*(ROOT / "chalicelib" / "formats").glob("*.py"), *(ROOT / "chalicelib" / "hsm").glob("*.py")]
    assert len(documented) > 20
    assert documented - cited(tests) == set()
    assert cited(tests) | cited(code) <= documented
