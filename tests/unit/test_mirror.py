"""Tests stand where their modules stand, and no folder is a heap."""

import ast
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"
INTEGRATION = ROOT / "tests" / "integration"
ROOTS = ("foundation", "otel_exporter", "receiver", "etl", "train", "serve", "spanloop")
LOGIC = (ast.If, ast.For, ast.While, ast.Try, ast.IfExp, ast.BoolOp, ast.comprehension, ast.Match)
LEAST = 5
"""Branches and loops from which a module has logic of its own; what has fewer is held by whoever uses it."""

MOST_MODULES = 14
"""In one folder."""

ELSEWHERE = {
    # Kinds of modules.
    "*/cli.py": "tests/integration/spanloop/test_command_line.py",
    "*/settings.py": "tests/test_docs.py",
    "*/schema.py": "tests/test_docs.py",
    # Servers and what only a socket or another process shows.
    "serve/engines/vllm_extension.py": "tests/integration/serve/test_vllm.py",  # runs inside vLLM's workers
}
"""Modules that no test mirrors, and the one that holds them."""

SEVERAL = {
    "deploy/*", "examples/*", "etl/dialects/test_*", "etl/test_examples.py", "etl/test_invariants.py",
    "etl/test_stray_values.py", "receiver/history/test_recordings.py",
    "receiver/store/test_arrival_order.py", "serve/gateway/test_malformed.py",
    "train/test_learning.py", "train/credit/test_bias.py", "train/losses/test_parity.py", "test_mirror.py",
}  # fmt: skip
"""Tests of what several modules do together, or of what is no module."""


def modules() -> list[str]:
    found = (path for root in ROOTS for path in (ROOT / root).rglob("*.py") if path.name[:2] != "__")
    return sorted(path.relative_to(ROOT).as_posix() for path in found if "build" not in path.parts)


def mirror(module: str) -> Path:
    path = Path(module)
    return UNIT / path.parent / f"test_{path.name}"


def has_test(module: str) -> bool:
    """Tell whether a test is named for a module: beside it, or among those of its stage that need processes."""
    path = Path(module)
    return mirror(module).exists() or (INTEGRATION / path.parts[0] / f"test_{path.name}").exists()


def has_logic(module: str) -> bool:
    tree = ast.parse((ROOT / module).read_text())
    return sum(isinstance(node, LOGIC) for node in ast.walk(tree)) >= LEAST


def test_every_module_with_logic_has_its_test_beside_it_or_a_reason() -> None:
    """Whoever changes a module knows what to run."""
    alone = [module for module in modules() if not has_test(module) and has_logic(module)]

    assert [module for module in alone if not any(fnmatchcase(module, kind) for kind in ELSEWHERE)] == []
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).exists()] == []
    needless = [kind for kind in ELSEWHERE if not any(fnmatchcase(module, kind) for module in alone)]
    assert needless == [], "these have their tests now"


def test_every_unit_test_is_of_a_module() -> None:
    """Of the one it is named for; a test that was left behind by a move tests nothing one would look for there."""
    known = {mirror(module) for module in modules()}
    tests = [path for path in UNIT.rglob("test_*.py") if path not in known]
    names = [path.relative_to(UNIT).as_posix() for path in tests]

    assert [name for name in names if not any(fnmatchcase(name, kind) for kind in SEVERAL)] == []


def test_no_folder_is_a_heap() -> None:
    """About a dozen modules are found by reading their names; more are searched."""
    places = [*(Path(module).parent for module in modules())]
    places += [path.relative_to(ROOT).parent for path in (ROOT / "benchmarks").rglob("*.py")]

    assert {str(place): count for place, count in Counter(places).items() if count > MOST_MODULES} == {}
