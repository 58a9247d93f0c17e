"""Plans a run: which window of receipt it covers, which traces are to be computed anew, and in which buckets."""

from dataclasses import dataclass, field

from etl.episodes.grouping import Trace
from etl.published.publish import load_watermark
from etl.published.rows import Published
from etl.published.window import Window, Windows
from etl.rewards.stand_ins import is_stand_in
from etl.runs.buckets import Bucket, divide, fits
from etl.runs.several import Several, find_window, reached, touched_traces, trace_facts, with_links
from etl.settings import EtlConfig
from receiver.schema import Reader


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do. Whoever carries it out, in whichever process, what comes out is the same."""

    window: Window
    processed: int
    """The last request that an earlier run processed."""

    is_new: bool
    """Something came since."""

    pending: set[Trace]
    """Traces that were not complete at the end of the last run."""

    now_us: int
    """The instant idleness is measured against, microseconds since 1970."""

    buckets: list[Bucket]

    reached: dict[str, int] = field(default_factory=dict)
    """Of several receivers, by URL, the last request that is processed once this is published."""

    @property
    def is_contiguous(self) -> bool:
        """Tell whether nothing lies between what was processed before and the window."""
        if isinstance(self.window, Windows):
            return all(seq >= last for seq, (_, last) in zip(self.reached.values(), self.window.each, strict=True))
        return self.window.since_seq <= self.processed + 1

    @property
    def stand_ins(self) -> frozenset[Trace]:
        """Return the stand-ins of traces that are to be read."""
        return frozenset(trace for bucket in self.buckets for trace in bucket.traces if is_stand_in(trace))

    @property
    def num_traces(self) -> int:
        """Return how many traces are to be read."""
        return sum(len(bucket.traces) for bucket in self.buckets)


def make_plan(config: EtlConfig, reader: Reader, now_us: int) -> Plan:
    """Plan to process what arrived since the last finished run, or in the window the settings name."""
    watermark = load_watermark(config.data)
    processed: int = watermark["received_seq"]
    pending = {(project, trace_id) for project, trace_id in watermark["pending"]}
    found = find_window(reader, watermark=watermark, since=config.since, until=config.until)
    window = found or Window(processed, processed)
    touched = (touched_traces(reader, window) if found is not None else set()) | pending
    published = Published(config.data)
    traces = published.with_their_episodes(touched)
    buckets = _divide(config, reader, traces, published)
    return Plan(window, processed, found is not None, pending, now_us, buckets, reached(reader, window, watermark))


def _divide(config: EtlConfig, reader: Reader, traces: set[Trace], published: Published) -> list[Bucket]:
    facts = trace_facts(reader, traces)
    if fits(facts, max_spans=config.bucket_spans):
        return [Bucket(traces)]
    buckets = divide(
        with_links(reader, facts),
        published.episodes_of(traces),
        max_spans=config.bucket_spans,
        by_time=isinstance(reader, Several),
    )
    buckets[-1].traces |= traces - {fact.trace for fact in facts}  # log records of traces without spans
    return buckets
