"""The data card of a student, `card.md`: what it was taught, by whom, and what was left out, for who asks later."""

from pathlib import Path

from train.distill.preparing import Lesson
from train.distill.settings import DistillConfig
from train.distill.teaching import Taught

CARD = "card.md"

BY = {
    "outcomes": "calls of episodes whose outcome is {threshold:g} or more",
    "signals": "nobody rewarded anything: calls against which neither their form nor a signal of the trace speaks",
    "judge": "nobody rewarded anything: calls a judge gave {threshold:g} or more",
}


BEFORE_USE = """A held-out loss says that answers are likelier, not that they are good: `spanloop replay` compares
student and teacher. The terms of many hosted models forbid training other models on their answers, some only competing
ones: read the licence of every teacher above, and that of the base. What stood in prompts and answers, personal data
among it, may be said by the student."""


def write_card(config: DistillConfig, lesson: Lesson, taught: Taught, *, checkpoint_id: str, student: Path) -> str:
    """Return the text of a card."""
    facts, choice = lesson.plan.facts, lesson.choice
    how = BY[choice.by].format(threshold=choice.threshold or 0.0)
    teachers = ", ".join(f"{name} ({count})" for name, count in lesson.teachers.items())
    agents = sorted({call.agent for call in lesson.plan.logged.calls})
    lines = [
        f"# {checkpoint_id}",
        "",
        f"A student of **{teachers}** (calls chosen), taught to answer as it did.",
        "",
        "| | |",
        "|---|---|",
        f"| base | {student.name} |",
        f"| agents | {', '.join(name or '(no name)' for name in agents)} |",
        f"| chosen | {how} |",
        f"| calls read | {facts['num_read']} |",
        f"| calls taught | {facts['num_taught_calls']}, {facts['num_trained_tokens']} tokens |",
        f"| calls held out | {facts['num_examined_calls']}, whole tasks |",
        f"| tasks | {facts['num_tasks']} |",
        f"| imitated before | {facts['num_imitated_before']} |",
        f"| held-out loss | {taught.loss_before:.4f} before, {taught.loss_after:.4f} after, nats a token |",
        f"| passes | {taught.best_epoch} of {taught.epochs}; ended: {taught.stopped} |",
        "",
        "## Left out",
        "",
        "| reason | calls |",
        "|---|---|",
        *(f"| `{reason}` | {count} |" for reason, count in choice.left.items()),
        "",
    ]
    if choice.is_unanimous:
        lines += ["All outcomes are alike: nothing in the data says which calls were better than others.", ""]
    if lesson.pruned is not None:
        lines += [
            f"The system message all calls had (digest `{lesson.pruned}`) was left out: ask the student without it.",
            "",
        ]
    lines += [
        "## Before it is used",
        "",
        BEFORE_USE,
        "",
        f"Seed {config.seed}.",
        "",
    ]
    return "\n".join(lines)
