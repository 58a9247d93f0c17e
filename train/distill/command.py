"""`spanloop distill`: from the calls of a hosted model to a student of one's own."""

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.errors import SettingsError
from foundation.models import find_model
from foundation.narration import get_logger
from foundation.report import RunReport
from train.distill.settings import DistillConfig

log = get_logger("distill")


def distill(
    *,
    config: Annotated[DistillConfig, Parameter(name="*")] = DistillConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Teach a model of your own to answer as the logged calls did, and write it as a checkpoint with a data card.

    Example: spanloop distill --data traces --agent solver --model Qwen/Qwen3-0.6B

    Parameters
    ----------
    as_json
        Print the report on stdout.
    dry_run
        Say what would be taken and what not, and rank the candidate students; teach nothing, write nothing but what a
        judge said.
    """
    report = RunReport("distill", config.model_dump(mode="json"))
    if config.model is not None:
        config = config.model_copy(update={"model": find_model(config.model)})
    if dry_run:
        _rehearse(config, report)
        if as_json:
            report.print()
        return
    if config.model is None:
        raise SettingsError(
            "no student is named", hint="Name one with --model; `spanloop distill --dry-run` ranks those at hand."
        )
    from train.distill.preparing import TooFew
    from train.distill.run import distill as teach

    try:
        checkpoint = teach(config, report)
    except TooFew as few:
        if not config.wait:
            raise
        report.update(checkpoint=None, waiting=few.message)
        log.info("waiting", reason=few.message)
        if as_json:
            report.print()
        return
    if checkpoint is None:
        return
    report.update(checkpoint=str(checkpoint))
    log.info("checkpoint written", path=str(checkpoint), card=str(checkpoint / "card.md"))
    if as_json:
        report.print()


def _rehearse(config: DistillConfig, report: RunReport) -> None:
    from train.distill.preparing import read_choice
    from train.distill.students import NoStudent, find_students, rank

    with report.phase("choose"):
        choice, num_read, num_before = read_choice(config)
    report.update(
        num_read=num_read,
        num_chosen=choice.rows.height,
        num_imitated_before=num_before,
        chosen_by=choice.by,
        threshold=choice.threshold,
        left_out=choice.left,
    )
    log.info("would be imitated", calls=choice.rows.height, of=num_read, by=choice.by, **choice.left)
    try:
        students = find_students(config.students, config.model)
    except NoStudent as nobody:  # what would be taken is known all the same
        log.warning(nobody.message, hint=nobody.hint)
        students = []
    with report.phase("rank"):
        ranked = rank(students, choice.rows)
    report.update(students=[each.as_dict() for each in ranked])
    if not ranked:
        return
    table = Table("student", "weights", "written", "with tools", "nats a byte", "")
    for each in ranked:
        table.add_row(
            escape(each.name),
            f"{each.num_weights / 1e6:,.1f} M",
            f"{each.rendered:.0%}",
            "-" if each.rendered_tools is None else f"{each.rendered_tools:.0%}",
            "-" if each.nats_per_byte is None else f"{each.nats_per_byte:.3f}",
            escape(each.trouble or "") or ("" if each.is_able else "its template does not write these calls"),
        )
    Console(file=sys.stderr).print(table)
