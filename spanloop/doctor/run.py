"""`spanloop doctor`: what stands between the agents and a trained model, each with the setting that mends it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field
from rich.console import Console

from foundation.errors import Busy, SpanloopError
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA, Settings
from receiver.schema import find
from spanloop.doctor.finding import Finding
from spanloop.doctor.machine import check_machine
from spanloop.doctor.serving import check_serving
from spanloop.doctor.traffic import check_receiver, check_traffic


class DoctorConfig(Settings):
    """Settings of the check."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory the receiver writes to."""


def doctor(
    *,
    config: Annotated[DoctorConfig, Parameter(name="*")] = DoctorConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Look for what stands between the agents and a trained model, and say how to mend it.

    Ends with status 1 when something must be mended before spans can be taken.

    Example: spanloop doctor --data /var/lib/spanloop

    Parameters
    ----------
    as_json
        Print the findings as a report on stdout.
    """
    report = RunReport("doctor", config.model_dump(mode="json"))
    with contextlib.suppress(Busy):  # told below
        find(config.data)  # what can be no DATA at all is refused here
    checks = (check_machine, check_receiver, check_traffic, check_serving)
    findings = [finding for check in checks for finding in _look(check, config.data)]
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
        console.print(
            f"[{color[finding.verdict]}]{finding.verdict:<4}[/] {finding.message}", highlight=False, soft_wrap=True
        )
        if finding.remedy:
            console.print(f"     {finding.remedy}", highlight=False, soft_wrap=True)


def _look(check: Callable[[Path], Iterable[Finding]], data: Path) -> Iterator[Finding]:
    """Yield what a check finds; what keeps it from looking is a finding too."""
    try:
        yield from check(data)
    except SpanloopError as error:
        yield Finding(check.__name__.removeprefix("check_"), "fail", error.message, error.hint)
