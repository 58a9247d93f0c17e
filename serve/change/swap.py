"""Weights changed in place, proved at once, and the weights from before put back by whatever stops the change."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from foundation.errors import SpanloopError
from serve.change.proof import Difference, ProbeFailed, expected_scores, is_within, measure, score_all, worst
from serve.engines.engine import Engine, EngineFailed, LoadRefused
from train.schema import Probe


async def swap(engine: Engine, checkpoint: Path, probes: Sequence[Probe], *, before: Sequence[float]) -> Difference:
    """Put a checkpoint in the place of the model being served and prove it.

    Called only while no request is in flight, inside `undone_on_error`. `before` is what `score_all` answers with the
    former weights: asked beforehand, so that no call waits for it.
    """
    expected = expected_scores(probes)
    dtype = await engine.load(checkpoint)
    difference = worst([measure(await score_all(part, probes), expected, before) for part in engine.parts])
    if not is_within(difference, dtype):
        raise ProbeFailed(
            f"after loading {checkpoint} the engine's log-probabilities were off by {difference.mean:.6f} on average "
            f"and {difference.max:.6f} at most over {difference.num_tokens} tokens ({dtype}), where the new weights "
            f"were to change them by {difference.shift:.6f}",
            hint="The weights from before are being served again.",
        )
    engine.model = checkpoint
    return difference


@contextlib.asynccontextmanager
async def undone_on_error(engine: Engine) -> AsyncIterator[None]:
    """Run a change of an engine's weights up to the moment it is on record; whatever stops it, undo it.

    Ends with what stopped the block and the weights from before, or with `EngineFailed`: then nobody knows which
    weights the engine has, and it must be stopped.
    """
    former = engine.model
    try:
        yield
    except (LoadRefused, EngineFailed):
        raise  # it still has the weights from before, or nobody knows
    except BaseException as error:
        try:
            await engine.load(former)
        except SpanloopError as failure:
            raise EngineFailed(f"{error}; and {former} could not be put back: {failure.message}") from error
        engine.model = former
        raise
