"""How parallel workers share the tests."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_a_file_is_one_workers(tmp_path: Path) -> None:
    """So that what a module starts once is started once; all that starts vLLM is one worker's, whatever the file."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    for name in ("a", "b", "c", "vllm", "vllm_too"):
        body = f"import pytest, time\n@pytest.mark.parametrize('n', range(6))\ndef test_{name}(n): time.sleep(0.05)\n"
        (tmp_path / f"test_{name}.py").write_text(body)

    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    run = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    workers = defaultdict(set)
    for worker, name in re.findall(r"\[(gw\d)\].* PASSED (test_\w+)\.py", run.stdout):
        workers[name].add(worker)
    assert set(workers) == {"test_a", "test_b", "test_c", "test_vllm", "test_vllm_too"}
    assert {len(each) for each in workers.values()} == {1}
    assert workers["test_vllm"] == workers["test_vllm_too"]
    assert len(set.union(*workers.values())) == 2
