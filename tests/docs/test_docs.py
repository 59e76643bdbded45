"""Documentation points at what is there, and at nothing of the machine that it was written on."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.test_quickstart import run, serving

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])
READMES: Final = ("README.md", "README.zh-CN.md")
FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
FOREIGN: Final = re.compile(
    r"(?<![\w.<>-])/(?:work|home|root|tmp|Users|opt/(?!keystead))/"
    r"|pypi\.org|pythonhosted\.org|npmjs\.|proxy\.golang\.org|crates\.io|registry\.terraform\.io|docker\.io"
    r"|index-url",
)
"""Directories of one machine, and hosts of package registries."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@every_page
def test_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@every_page
def test_named_files_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:app\.py|(?:chalicelib|docs|examples|infra|tests|tools|\.chalice)/)[\w./-]*)`", page.read_text()
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


@every_page
def test_named_targets_of_make_exist(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = page.read_text()
    named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) <= set(targets)


@every_page
def test_no_page_names_a_machine_s_paths_or_a_registry(page: Path) -> None:
    assert not FOREIGN.findall(page.read_text())


def test_the_threat_model_names_tests_that_exist() -> None:
    source = (ROOT / "tests" / "docs" / "test_threat_model.py").read_text()
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "threat-model.md").read_text()))
    assert named == set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))


def test_every_decision_is_in_the_list() -> None:
    listed = re.findall(r"\(adr/([\w-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())
    assert listed == sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))


def test_both_readmes_say_the_same() -> None:
    english, chinese = ((ROOT / name).read_text() for name in READMES)
    for language in ("python", "js", "go"):
        assert blocks(READMES[0], language) == blocks(READMES[1], language)
    commands = [
        [line.partition("#")[0].split() for b in blocks(n, "sh") for line in b.splitlines()] for n in READMES
    ]
    assert commands[0] == commands[1]
    variables = [re.findall(r"^\| (`[A-Z].*?) \| .* \|$", text, re.MULTILINE) for text in (english, chinese)]
    assert variables[0] == variables[1]
    links = [sorted(re.findall(r"\]\(((?:docs|examples)/[^)]+)\)", text)) for text in (english, chinese)]
    assert links[0] == links[1]
    assert english.count("\n## ") == chinese.count("\n## ")


def test_the_program_in_the_readme_runs(tmp_path: Path) -> None:
    (program,) = blocks(READMES[0], "python")
    with serving(tmp_path / ".keystead", tmp_path / "log") as port:
        done = run(["-c", program.replace(":8000", f":{port}")], tmp_path / ".keystead", port, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("world\n", "")


def test_the_readme_s_table_of_settings_agrees_with_the_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)`.*? \| (.*?) \| ", (ROOT / READMES[0]).read_text(), re.MULTILINE)
    assert rows
    for name, default in rows:
        assert f"| `{name}` | {default} |" in page
