"""The docs say what the code does: generated pages are current, links lead somewhere, exit codes are explained."""

import importlib.util
import re
from pathlib import Path

import pytest

from foundation.errors import ExitStatus

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def test_reference_pages_are_current() -> None:
    """`make docs` would change nothing."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    behind = [path.name for path, content in generate.pages().items() if path.read_text() != content]

    assert behind == [], "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of the repository."""
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text())

    missing = [target for target in targets if not (page.parent / target).exists()]

    assert missing == []


def test_every_exit_code_is_explained() -> None:
    """The operations page names each status a scheduler can meet."""
    operations = (ROOT / "docs" / "operations.md").read_text()

    missing = [status for status in ExitStatus if not re.search(rf"^\| {int(status)} \|", operations, re.MULTILINE)]

    assert missing == []


def test_the_readme_has_the_two_commands() -> None:
    """A newcomer needs no others."""
    readme = (ROOT / "README.md").read_text()

    assert "$ make demo" in readme
    assert "$ make test" in readme


@pytest.mark.parametrize("page", ["receiver.md", "security.md", "serving.md"])
def test_every_test_that_a_page_of_promises_names_is_there(page: str) -> None:
    """A claim whose test is gone is no claim."""
    named = set(re.findall(r"\b(test_\w+(?:\.py)?)", (ROOT / "docs" / page).read_text()))
    files = list((ROOT / "tests").rglob("test_*.py"))
    defined = {name for path in files for name in re.findall(r"def (test_\w+)\(", path.read_text())}

    assert named
    assert named - defined - {path.name for path in files} == set()
