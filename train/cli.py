"""`spanloop train`: transitions in, checkpoint out."""

from typing import Annotated

from cyclopts import App, Parameter

from foundation.narration import get_logger
from foundation.report import RunReport
from train.settings import TrainConfig

app = App(name="train", help="Transitions in, checkpoint out.")

log = get_logger("train")

Json = Annotated[bool, Parameter(name="--json", negative="")]


@app.command
def run(
    *,
    config: Annotated[TrainConfig, Parameter(name="*")],
    as_json: Json = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a model on the calls that were logged, and write a checkpoint.

    Example: spanloop train run --data /var/lib/spanloop --model models/base --agents planner --json

    Parameters
    ----------
    as_json
        Print the report on stdout.
    dry_run
        Say what would be trained, and refuse what would be refused; open no model, write nothing.
    """
    from train.plan import make_plan, read_limits

    report = RunReport("train run", config.model_dump(mode="json"))
    vocabulary_size, max_length = read_limits(config.model)
    with report.phase("plan"):
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    report.update(**plan.facts, checkpoint=None)
    log.info(
        "planned",
        episodes=plan.facts["num_trained_episodes"],
        calls=plan.facts["num_trained_calls"],
        sequences=plan.facts["num_sequences"],
        tokens=plan.facts["num_trained_tokens"],
    )
    if not dry_run:
        from train.run import train

        checkpoint = train(config, plan, report)
        if checkpoint is None:
            return
        report.update(checkpoint=str(checkpoint))
        log.info("checkpoint written", path=str(checkpoint))
    if as_json:
        report.print()
