"""The docs say what the code does: generated pages are current, links lead somewhere, exit codes are explained."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.errors import ExitStatus
from spanloop.cli import app

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


def typed(text: str) -> Iterator[str]:
    """Yield each line behind a prompt of a page, with the lines that go on from it."""
    for block in re.findall(r"^ *```console\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for command in re.split(r"^ *\w*[$#] ", block, flags=re.MULTILINE)[1:]:
            whole = ""
            for line in command.splitlines():
                whole += line
                if whole.endswith("\\"):
                    whole = whole[:-1]
                elif whole.count('"') % 2 == 0 and whole.count("'") % 2 == 0:
                    break
            yield whole


def ours(line: str) -> Iterator[list[str]]:
    """Yield the arguments of every `spanloop` of a shell's line; … stands for a value behind a flag, else for more.

    >>> list(ours("A=b spanloop up --data D > log && torchrun -m spanloop train run --model … … # why"))
    [['up', '--data', 'D'], ['train', 'run', '--model', 'x']]
    """
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    program: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("|&;<>"):
            started = [part for part in program if not re.match(r"[A-Z_]+=", part)]
            if "spanloop" in started and started[max(0, started.index("spanloop") - 1)] in {"spanloop", "-m"}:
                arguments = started[started.index("spanloop") + 1 :]
                pairs = zip(["", *arguments], arguments, strict=False)
                yield [
                    "x" if "…" in part else part for before, part in pairs if "…" not in part or before.startswith("--")
                ]
            program = []
        else:
            program.append(word)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_ours_is_one_with_flags_it_takes(page: Path) -> None:
    """What somebody copies from a page is not refused; it is read as the command line reads it, and not run."""
    for line in typed(page.read_text()):
        for arguments in ours(line):
            _, given, *_ = app.meta.parse_args(arguments, print_error=False, exit_on_error=False)
            app.parse_args(list(given.args), print_error=False, exit_on_error=False)


def test_a_command_that_is_none_is_seen() -> None:
    """Over lines, behind others, with global flags before it."""
    page = "```console\na$ make x && spanloop --store s3://b etl \\\n  run --datta D\n```"
    ((arguments,),) = [list(ours(line)) for line in typed(page)]
    _, given, *_ = app.meta.parse_args(arguments, print_error=False, exit_on_error=False)
    with pytest.raises(Exception, match="--datta"):
        app.parse_args(list(given.args), print_error=False, exit_on_error=False)


@pytest.mark.parametrize(
    "page", ["deploying.md", "etl.md", "receiver.md", "security.md", "serving.md", "training.md", "upgrading.md"]
)
def test_every_test_that_a_page_of_promises_names_is_there(page: str) -> None:
    """A claim whose test is gone is no claim."""
    named = set(re.findall(r"\b(test_\w+(?:\.py)?)", (ROOT / "docs" / page).read_text()))
    files = list((ROOT / "tests").rglob("test_*.py"))
    defined = {name for path in files for name in re.findall(r"def (test_\w+)\(", path.read_text())}

    assert named
    assert named - defined - {path.name for path in files} == set()
