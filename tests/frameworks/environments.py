"""Environments of the examples, of packages from PyPI or npm, made once and kept."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NODE = "24.21.0"
"""Of node, which comes from npm as well: it runs TypeScript as it is."""

OPENTELEMETRY = ("opentelemetry-distro", "opentelemetry-exporter-otlp", "@opentelemetry/", "zod")
"""What examples need beside the frameworks, which the page does not name."""


@dataclass(frozen=True)
class Environment:
    """How an example is started."""

    command: list[str]
    folder: Path
    versions: str
    """Of what it asks for, but for what every example asks for."""


def names() -> list[str]:
    """Return the examples that are an unmodified agent in an environment of its own."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/environment"))


def prepare(name: str, kept: Path) -> Environment:
    """Return the environment of an example, made where there is none."""
    return _from_npm(name, kept) if (EXAMPLES / name / "package.json").exists() else _from_pypi(name, kept / name)


def _from_pypi(name: str, venv: Path) -> Environment:
    requirements = EXAMPLES / name / "requirements.txt"
    python = venv / "bin" / "python"
    if not (venv / "bin" / "opentelemetry-instrument").exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", "3.11", venv], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True)
    program = """
import sys, importlib.metadata as m
known = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in m.distributions()}
print(", ".join(f"{n} {known[n.lower()]}" for n in sys.argv[1:] if n.lower() in known))
"""
    wanted = [re.split(r"[\[>=]", line)[0] for line in requirements.read_text().split()]
    said = subprocess.check_output([python, "-c", program, *filter(_is_told, wanted)], text=True).strip()
    command = [str(venv / "bin" / one) for one in ("opentelemetry-instrument", "python")]
    return Environment([*command, "agent.py"], EXAMPLES / name, said)


def _from_npm(name: str, kept: Path) -> Environment:
    """Install beside a copy: node looks for packages beside the program."""
    folder, tool = kept / name, kept / "node"
    if not (tool / "node_modules" / ".bin" / "node").exists():
        tool.mkdir(parents=True, exist_ok=True)
        _npm(tool, "install", "--prefix", ".", f"node@{NODE}")
    shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    package = json.loads((folder / "package.json").read_text())
    if not (folder / "node_modules" / ".package-lock.json").exists():
        _npm(folder, "install", "--ignore-scripts", "--prefer-offline")
    said = ", ".join(f"{one} {version}" for one, version in package["dependencies"].items() if _is_told(one))
    start = package["scripts"]["start"].split()
    return Environment([str(tool / "node_modules" / ".bin" / start[0]), *start[1:]], folder, said)


def _npm(folder: Path, *words: str) -> None:
    subprocess.run(["npm", *words, "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)


def _is_told(package: str) -> bool:
    return not package.startswith(OPENTELEMETRY)


def variables(name: str, receiver: str, model: str) -> dict[str, str]:
    """Return the variables of an example, its addresses replaced by those of servers."""
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "TMPDIR"}}
    text = (EXAMPLES / name / "environment").read_text()
    for old, new in {"localhost:4318": receiver, "localhost:8000": model}.items():
        text = text.replace(old, new.removeprefix("http://"))
    return kept | dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
