-- Spans of each service
select service_name, count(*) as spans, count(distinct trace_id) as traces
from spans
group by all
order by spans desc

-- The newest traces
select trace_id, root_name, service_name, start_time, duration_s, num_spans, num_errors
from traces
order by start_time desc
limit 20

-- One trace, in order
select span_id, parent_span_id, name, kind, status_code, (end_ns - start_ns) / 1e6 as duration_ms
from spans
where trace_id = '0af7651916cd43dd8448eb211c80319c'
order by start_ns

-- The same as a tree
with recursive tree as (
    select span_id, name, start_ns, 0 as depth, [start_ns] as path
    from spans
    where trace_id = '0af7651916cd43dd8448eb211c80319c' and parent_span_id is null
    union all
    select s.span_id, s.name, s.start_ns, depth + 1, list_append(path, s.start_ns)
    from spans as s
    join tree on s.parent_span_id = tree.span_id
    where s.trace_id = '0af7651916cd43dd8448eb211c80319c'
)
select repeat('  ', depth) || name as span
from tree
order by path

-- Spans a minute, by time of receipt
select time_bucket(interval '1 minute', received_time) as minute, count(*) as spans
from spans
group by all
order by minute

-- Instrumentation libraries and their versions
select scope_name, scope_version, count(*) as spans
from spans
group by all
order by spans desc

-- Attributes in use, and how often
select key, count(*) as spans
from (select unnest(json_keys(attributes)) as key from spans)
group by all
order by spans desc
limit 50

-- Errors by name of the span
select service_name, name, status_message, count(*) as spans
from spans
where status_code = 'error'
group by all
order by spans desc

-- The slowest operations
select
    name,
    count(*) as spans,
    quantile_cont((end_ns - start_ns) / 1e6, [0.5, 0.95]) as p50_p95_ms
from spans
group by all
order by p50_p95_ms[2] desc
limit 20

-- Spans whose parent never arrived
select child.trace_id, child.span_id, child.name
from spans as child
left join spans as parent
    on parent.trace_id = child.trace_id and parent.span_id = child.parent_span_id
where child.parent_span_id is not null and parent.span_id is null

-- Services whose SDK drops attributes: raise its limits
select service_name, sum(dropped_attributes_count) as attributes, sum(dropped_events_count) as events
from spans
group by all
having attributes > 0 or events > 0

-- Evaluations as they arrived
select
    trace_id,
    attributes->>'$."gen_ai.evaluation.name"' as name,
    (attributes->>'$."gen_ai.evaluation.score.value"')::double as value,
    time
from log_records
where event_name = 'gen_ai.evaluation.result'
order by time desc

-- Traces nobody judged
select trace_id, root_name, start_time
from traces
where trace_id not in (
    select trace_id from log_records
    where event_name = 'gen_ai.evaluation.result' and trace_id is not null
)
order by start_time desc
limit 20

-- Calls and tokens by model
select
    coalesce(model_returned, model_requested) as model,
    count(*) as calls,
    sum((usage->>'$.input_tokens')::bigint) as input_tokens,
    sum((usage->>'$.output_tokens')::bigint) as output_tokens
from llm_calls
group by all
order by calls desc

-- Which dialect wrote the calls of each service
select s.service_name, c.dialect, count(*) as calls
from llm_calls as c
join spans as s using (project, trace_id, span_id)
group by all
order by calls desc

-- Tools, how often they fail and how long they take
select
    name,
    count(*) as calls,
    count(error) as errors,
    median((end_ns - start_ns) / 1e6) as median_ms
from tool_calls
group by all
order by calls desc

-- Success of each agent
select agent, count(distinct t.episode_id) as episodes, avg(e.outcome) as mean_outcome
from transitions as t
join episodes as e using (project, episode_id)
group by all
order by episodes desc

-- Tasks that are neither always nor never solved: what there is to learn from
select task_id, count(*) as attempts, avg(outcome) as success
from episodes
where outcome is not null
group by all
having success > 0 and success < 1
order by attempts desc

-- How much of each kind of evidence there is
select evidence, count(*) as transitions, avg(len(response_token_ids)) as mean_tokens
from transitions
group by all
order by evidence

-- What was set aside, and why
select reason, count(*) as rows
from rejected
group by all
order by rows desc

-- Why the calls of an agent were pushed up or down
select agent, loss, weight > 0 as trained, count(*) as calls, avg(outcome) as outcome, avg(value) as expected,
    avg(advantage) as advantage
from credit
group by all
order by calls desc
