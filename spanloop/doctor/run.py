"""`spanloop doctor`: what stands between the agents and a trained model, each with the setting that mends it."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field
from rich.console import Console
from rich.text import Text

from foundation.errors import Busy, SpanloopError
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA, Settings
from receiver.schema import find_all
from spanloop.doctor.finding import Finding
from spanloop.doctor.follow import follow
from spanloop.doctor.machine import check_machine
from spanloop.doctor.serving import check_serving
from spanloop.doctor.surroundings import check_surroundings, run_agent
from spanloop.doctor.traffic import check_receiver, check_traffic


class DoctorConfig(Settings):
    """Settings of the check."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory the receiver writes to."""

    follow: bool = False
    """Send one span as an agent's exporter started here would, and follow it until SQL shows it."""

    endpoint: str | None = None
    """Where to send it, http://HOST:4318, or http://HOST:4317 for gRPC. Default: the environment's, else the
    receiver's."""

    timeout_s: float = Field(default=15, gt=0)
    """Longest to look for it."""


def doctor(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    config: Annotated[DoctorConfig, Parameter(name="*")] = DoctorConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Look for what stands between the agents and a trained model, and say how to mend it.

    Ends with status 1 when something must be mended before spans can be taken.

    Example: spanloop doctor --data /var/lib/spanloop

    Example: spanloop doctor --follow -- opentelemetry-instrument python agent.py

    Parameters
    ----------
    command
        An agent to run, after `--`: what it complains of is said, and what is missing of the spans it sends.
    as_json
        Print the findings as a report on stdout.
    """
    report = RunReport("doctor", config.model_dump(mode="json"))
    with contextlib.suppress(Busy):  # told below
        find_all(config.data)  # what can be no DATA at all is refused here
    began = datetime.now(UTC)
    findings = list(check_surroundings(os.environ))
    if config.follow:
        findings += _look(
            partial(follow, endpoint=config.endpoint, environment=os.environ, timeout_s=config.timeout_s), config.data
        )
    if command:
        findings += run_agent(command, os.environ)
    traffic = partial(check_traffic, since=began if command else None)
    checks = (check_machine, check_receiver, traffic, check_serving)
    findings += [finding for check in checks for finding in _look(check, config.data)]
    report.update(findings=[asdict(finding) for finding in findings])
    if as_json:
        report.print()
    else:
        _print(findings)
    failed = [finding.check for finding in findings if finding.verdict == "fail"]
    if failed:
        raise SpanloopError(f"{len(failed)} checks failed: {', '.join(failed)}")


def _print(findings: list[Finding]) -> None:
    console = Console()
    color = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        said = Text.assemble((f"{finding.verdict:<4}", color[finding.verdict]), f" {finding.message}")
        console.print(said, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"     {finding.remedy}"), soft_wrap=True)


def _look(check: Callable[[Path], Iterable[Finding]], data: Path) -> Iterator[Finding]:
    """Yield what a check finds; what keeps it from looking is a finding too."""
    try:
        yield from check(data)
    except SpanloopError as error:
        name = getattr(check, "func", check).__name__
        yield Finding(name.removeprefix("check_"), "fail", error.message, error.hint)
