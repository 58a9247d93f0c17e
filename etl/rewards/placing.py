"""Finds what every reward was given to: a model call, an agent's run, an episode, a session. Says nothing of its use.

The most exact of what a reward names decides: the answer's id, then the span, the trace, the episode, the session. An
evaluator's own span stands for what it is linked to, else for its parent. What was done in what is named decides the
level: one call; all calls of the episode, which is the episode; some of them, a run. Where no agent acted, nothing is
judged.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from etl.calls.readings import Readings
from etl.calls.tree import NO_PARENT, Forest
from etl.dialects.spans import Evaluation, LlmCall, Span
from etl.episodes.grouping import Episode, Trace
from etl.rewards.given import AGENTLIGHTNING, Level, Place, Reason, Reward
from etl.rewards.stand_ins import RESPONSE, is_stand_in

KINDS = (
    "openinference.span.kind",
    "gen_ai.operation.name",
    "langfuse.observation.type",
    "traceloop.span.kind",
    "mlflow.spanType",
    "langsmith.span.kind",
)
"""Attributes that say what a span does."""

NO_AGENTS = {
    "retriever",
    "retrieval",
    "reranker",
    "rerank",
    "embedding",
    "embeddings",
    "tool",
    "execute_tool",
    "guardrail",
}
"""What is done by something that is no agent, even where it asks a model: its scores measure it alone."""


@dataclass(slots=True)
class Ground:
    """What rewards are placed on."""

    forest: Forest
    episodes: list[Episode]
    episode_of: list[int]
    calls: Sequence[LlmCall]
    """The merged calls of the agents, without those of judges and whoever was excluded."""

    readings: Readings
    rows: Mapping[tuple[str, str, str], int]
    """Rows of spans by (project, trace_id, span_id), of every span that a reward names."""

    outcome: str
    """Name of the reward that says how an episode ended."""

    _by_row: dict[int, LlmCall] = field(init=False)
    _by_enter: list[tuple[int, int]] = field(init=False)
    _by_response: dict[tuple[str, str], list[LlmCall]] = field(init=False)
    _by_trace: dict[Trace, list[LlmCall]] = field(init=False)
    _by_episode: dict[int, list[LlmCall]] = field(init=False)
    _numbers: dict[tuple[str, str], int] = field(init=False)
    _sessions: dict[tuple[str, str], list[int]] = field(init=False)
    _traces: set[Trace] = field(init=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.calls, key=lambda call: (call.span.start_ns, call.span.span_id))
        self._by_row = {span.index: call for call in ordered for span in (call.span, *call.merged)}
        self._by_enter = sorted((self.forest.enter[row], row) for row in self._by_row)
        self._by_response, self._by_trace, self._by_episode = defaultdict(list), defaultdict(list), defaultdict(list)
        for call in ordered:
            if call.response_id:
                self._by_response[call.span.project, call.response_id].append(call)
            for trace in {(span.project, span.trace_id) for span in (call.span, *call.merged)}:
                self._by_trace[trace].append(call)
            self._by_episode[self.episode_of[call.span.index]].append(call)
        self._numbers = {episode.key: number for number, episode in enumerate(self.episodes)}
        self._sessions = defaultdict(list)
        for number, episode in enumerate(self.episodes):
            if episode.session is not None and number in self._by_episode:
                self._sessions[episode.key[0], episode.session].append(number)
        self._traces = {(episode.key[0], trace) for episode in self.episodes for trace in episode.traces}

    def place(self, rewards: Iterable[Reward]) -> None:
        """Say of every reward what it judges, in place; of one that judges nothing the reason."""
        for reward in rewards:
            reward.episode, reward.level, reward.calls, reward.judged, reward.reason = None, None, [], None, None
            problem = self._place(reward)
            if reward.value is None:
                problem = Reason.NO_SCORE
            elif reward.value - reward.value != 0:
                problem = Reason.NOT_FINITE
            reward.reason = problem

    def episodes_of(self, reward: Reward) -> list[int]:
        """Return the episodes that a reward was given to."""
        if reward.level == Level.SESSION and reward.session_id is not None:
            return self._sessions[reward.project, reward.session_id]
        return [] if reward.episode is None else [reward.episode]

    def _place(self, reward: Reward) -> Reason | None:
        """Place one reward by the most exact of what it names; return why that is nowhere."""
        if reward.response_id:
            judged = self._answer(reward)
            if judged is not None:
                self._at_call(reward, judged, is_root=False)
                return None
            if reward.source == AGENTLIGHTNING:
                return Reason.NO_SPAN
        if reward.is_whole and reward.session_id and self._sessions.get((reward.project, reward.session_id)):
            self._at_session(reward)
            return None
        problem = self._at_named_span(reward)
        if problem is None or problem == Reason.SIGNAL:
            return problem
        return self._at_name(reward, problem)

    def _at_name(self, reward: Reward, problem: Reason) -> Reason | None:
        """Place a reward by the episode or session it names; a trace that it names may still come."""
        may_come = problem == Reason.NO_SPAN and not is_stand_in((reward.project, reward.trace_id or RESPONSE))
        for name in (reward.episode_id, None if may_come else reward.session_id):
            if name and (reward.project, name) in self._numbers:
                number = self._numbers[reward.project, name]
                return self._at_calls(reward, self._by_episode.get(number, []), number)
            if name and self._sessions.get((reward.project, name)):
                reward.session_id = name
                self._at_session(reward)
                return None
        return problem

    def _at_named_span(self, reward: Reward) -> Reason | None:
        if reward.trace_id is None:
            return Reason.NO_SPAN
        trace = (reward.project, reward.trace_id)
        row = reward.row
        if row is None and reward.span_id and not reward.is_whole:
            row = self.rows.get((*trace, reward.span_id))
            if row is None:
                return Reason.NO_SPAN
        if row is None:
            return self._at_trace(reward, trace)
        if row in self.readings.evaluations:
            return self._at_links(reward) if reward.links else self._at_parent(reward, row)
        return self._at_row(reward, row)

    def _at_links(self, reward: Reward) -> Reason | None:
        for trace_id, span_id in reward.links:
            row = self.rows.get((reward.project, trace_id, span_id))
            if row is not None:
                return self._at_row(reward, row)
        for trace_id, _ in reward.links:
            if (reward.project, trace_id) in self._traces:
                return self._at_trace(reward, (reward.project, trace_id))
        return Reason.NO_SPAN

    def _at_parent(self, reward: Reward, row: int) -> Reason | None:
        above = row
        while above != NO_PARENT and above in self.readings.evaluations:
            above = self.forest.parent[above]
        if above == NO_PARENT:
            return self._at_trace(reward, (reward.project, reward.trace_id or ""))
        return self._at_row(reward, above)

    def _at_trace(self, reward: Reward, trace: Trace) -> Reason | None:
        calls = self._by_trace.get(trace, [])
        if not calls:
            return Reason.NOBODY_ACTED if trace in self._traces else Reason.NO_SPAN
        first = self.episode_of[calls[0].span.index]
        return self._at_calls(reward, [c for c in calls if self.episode_of[c.span.index] == first], first)

    def _at_row(self, reward: Reward, row: int) -> Reason | None:
        reward.judged, number = row, self.episode_of[row]
        reward.episode = number
        if row in self._by_row:
            self._at_call(reward, self._by_row[row], is_root=self.forest.parent[row] == NO_PARENT)
            return None
        span = self.readings.spans.get(row)
        if span is not None and _is_no_agent(span):
            return Reason.SIGNAL
        if row == self.episodes[number].root and len(self.episodes[number].traces) == 1:
            return self._at_calls(reward, self._by_episode.get(number, []), number)
        below = self._below(row)
        if below:
            return self._at_calls(reward, below, number)
        is_named = reward.name == self.outcome
        return self._at_calls(reward, self._by_episode.get(number, []), number) if is_named else Reason.SIGNAL

    def _at_call(self, reward: Reward, call: LlmCall, *, is_root: bool) -> None:
        """Place a reward at a call; at the episode, where that is all there is of it and the reward says so."""
        row = call.span.index
        number = self.episode_of[row]
        is_episode = len(self._by_episode[number]) == 1 and (is_root or reward.name == self.outcome)
        reward.judged, reward.episode, reward.calls = row, number, [call]
        reward.level = Level.EPISODE if is_episode else Level.CALL

    def _at_calls(self, reward: Reward, calls: list[LlmCall], number: int) -> Reason | None:
        if not calls:
            reward.episode = None
            return Reason.NOBODY_ACTED
        is_all = len(calls) == len(self._by_episode[number])
        reward.episode, reward.level = number, Level.EPISODE if is_all else Level.RUN
        reward.calls = [] if is_all else calls
        return None

    def _at_session(self, reward: Reward) -> None:
        numbers = self._sessions[reward.project, reward.session_id or ""]
        reward.episode = max(numbers, key=lambda number: (self.episodes[number].start_ns, number))
        reward.level = Level.SESSION if len(numbers) > 1 else Level.EPISODE

    def _below(self, row: int) -> list[LlmCall]:
        """Return the calls in a span's subtree, each once, in the order they began."""
        start = bisect_left(self._by_enter, (self.forest.enter[row], -1))
        end = bisect_left(self._by_enter, (self.forest.leave[row], -1))
        number = self.episode_of[row]
        found = {id(call): call for call in (self._by_row[inner] for _, inner in self._by_enter[start:end])}
        own = [call for call in found.values() if self.episode_of[call.span.index] == number]
        return sorted(own, key=lambda call: (call.span.start_ns, call.span.span_id))

    def _answer(self, reward: Reward) -> LlmCall | None:
        """Return the call with the reward's response id: the one in its trace, else the only one there is."""
        answered = self._by_response.get((reward.project, reward.response_id or ""), [])
        own = [call for call in answered if call.span.trace_id == reward.trace_id]
        candidates = own or answered
        return candidates[0] if len(candidates) == 1 else None


def _is_no_agent(span: Span) -> bool:
    return any(str(span.attributes.get(name)).lower() in NO_AGENTS for name in KINDS)


def find_evaluators(rewards: Iterable[Reward], readings: Readings, forest: Forest) -> dict[int, Evaluation]:
    """Return by row the spans that are judgements by what stands on them: a score, and a link to another trace.

    Not those of agents, or with an agent's below: their links say what they follow from.
    """
    rows = {r.row for r in rewards if r.row is not None and any(trace_id != r.trace_id for trace_id, _ in r.links)}
    own = {call.span.index for call in readings.calls} | readings.agents.keys() if rows else set()
    above = {row for agent in readings.agents for row in forest.ancestors(agent)} if rows else set()
    return {row: Evaluation(readings.spans[row], "linked") for row in rows - own - above}


def named_places(rewards: Iterable[Reward]) -> set[tuple[str, str, str]]:
    """Return (project, trace_id, span_id) of every span that a reward names or is linked to."""
    named: set[tuple[str, str, str]] = set()
    for reward in rewards:
        own: list[Place] = [(reward.trace_id, reward.span_id)] if reward.trace_id and reward.span_id else []
        named |= {(reward.project, *place) for place in [*own, *reward.links]}
    return named
