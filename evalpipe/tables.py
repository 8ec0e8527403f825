"""Every Delta table: its columns with dtype, unit and meaning, its key and its partition. Siblings meet here.

Reading and writing are in lake/store.py. A frame enters a table through `conform`, which is the only cast there is.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from evalpipe.errors import InputError

UTC = pl.Datetime("us", "UTC")
TEXTS = pl.List(pl.String)
MESSAGE = pl.Struct({"role": pl.String, "content": pl.String, "tool": pl.String, "is_error": pl.Boolean})
"""One step of a transcript. role: system, user, assistant, tool_call (content = arguments), tool_result."""


@dataclass(frozen=True)
class Column:
    """One column: what its values are and what they mean."""

    name: str
    dtype: Any  # a polars data type, class or instance
    meaning: str
    is_nullable: bool = True


@dataclass(frozen=True)
class Table:
    """A Delta table. `key` identifies a row; `partition` (a Date or String column) bounds what one write touches."""

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition: str | None = None
    version: int = 1

    @property
    def schema(self) -> pl.Schema:
        """Column names and dtypes, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """A frame without rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with exactly this table's columns and dtypes; missing nullable columns become null.

        Raises InputError when a column is missing, cannot be cast, or is null where it must not be.
        """
        missing = [c.name for c in self.columns if c.name not in frame.columns]
        required = {c.name for c in self.columns if not c.is_nullable}
        if absent := sorted(required & set(missing)):
            raise InputError(f"table {self.name}: the frame has no column {', '.join(absent)}")
        try:
            conformed = frame.with_columns(pl.lit(None).alias(name) for name in missing).select(
                pl.col(c.name).cast(c.dtype, strict=True) for c in self.columns
            )
        except pl.exceptions.PolarsError as error:
            raise InputError(f"table {self.name}: a column does not fit: {error}") from error
        nulls = conformed.select(pl.col(sorted(required)).null_count()).row(0, named=True) if required else {}
        if bad := [name for name, count in nulls.items() if count]:
            raise InputError(f"table {self.name}: null in {', '.join(bad)}, which must have a value")
        return conformed


def _must(name: str, dtype: Any, meaning: str) -> Column:
    return Column(name, dtype, meaning, is_nullable=False)


_DAY = _must("day", pl.Date, "UTC date of the start")

RAW_OTLP = Table(
    "raw_otlp",
    "The landing ledger: one row per immutable raw segment and day that its spans start on.",
    ("segment_id", "day"),
    (
        _must("segment_id", pl.String, "content hash of the segment"),
        _must("day", pl.Date, "UTC date on which some of its spans start"),
        Column("source", pl.String, "file or client the payloads came from"),
        _must("n_payloads", pl.Int64, "export requests in the segment"),
        _must("n_spans", pl.Int64, "spans in them, before any is refused"),
        _must("n_bytes", pl.Int64, "size of the segment file"),
        _must("days", pl.List(pl.Date), "UTC dates on which its spans start"),
        _must("landed_at", UTC, "when it became durable"),
        Column("is_expired", pl.Boolean, "its file was removed when its retention had passed"),
    ),
    partition="day",
)

SPANS = Table(
    "spans",
    "One operation of the application, in one vocabulary for every dialect.",
    ("trace_id", "span_id"),
    (
        _must("trace_id", pl.String, "32 lower-case hex digits"),
        _must("span_id", pl.String, "16 lower-case hex digits"),
        _DAY,
        _must("start_unix_ns", pl.Int64, "start, nanoseconds since 1970 UTC"),
        _must("end_unix_ns", pl.Int64, "end, nanoseconds since 1970 UTC; the start of an unfinished span"),
        Column("is_finished", pl.Boolean, "whether an end was reported"),
        Column("parent_span_id", pl.String, "null for a root"),
        Column("session_id", pl.String, "the conversation it belongs to"),
        Column("user_id", pl.String, "the application's user"),
        _must("service_name", pl.String, "resource service.name, 'unknown_service' when absent"),
        Column("service_version", pl.String, "resource service.version: the release"),
        Column("environment", pl.String, "deployment.environment.name"),
        _must("name", pl.String, "span name"),
        _must("operation", pl.String, "agent, llm, tool, retriever, embedding, chain, guardrail or other"),
        _must("status", pl.String, "ok, error or unset"),
        Column("status_message", pl.String, "what the application said of the status"),
        Column("provider", pl.String, "model provider"),
        Column("model", pl.String, "model that answered, else the one asked for"),
        Column("input", pl.String, "input as text or JSON"),
        Column("output", pl.String, "output as text or JSON"),
        Column("instructions", pl.String, "system instructions sent apart from the input, as text or JSON"),
        Column("finish_reason", pl.String, "why the model stopped; several are joined by commas"),
        Column("tool_name", pl.String, "tool that was called"),
        Column("tool_input", pl.String, "its arguments, as text or JSON"),
        Column("tool_output", pl.String, "its result, as text or JSON"),
        Column("tool_call_id", pl.String, "what the model called this call"),
        Column("is_tool_success", pl.Boolean, "whether the call worked; null when this is no tool"),
        Column("n_input_tokens", pl.Int64, "tokens read, cached ones included; llm and embedding spans only"),
        Column("n_output_tokens", pl.Int64, "tokens written, reasoning included; llm spans only"),
        Column("n_cached_tokens", pl.Int64, "of n_input_tokens, those read from the provider's cache"),
        Column("n_cache_write_tokens", pl.Int64, "of n_input_tokens, those written to the provider's cache"),
        Column("cost_usd", pl.Float64, "cost as reported, else estimated"),
        Column("is_cost_estimated", pl.Boolean, "computed from the price table; null without a cost"),
        _must("dialect", pl.String, "convention it was read by"),
        Column("attributes", pl.String, "every attribute that has no column of its own, JSON object"),
        Column("events", pl.String, "span events, JSON array of {name, time_unix_ns, attributes}"),
        Column("links", pl.String, "span links, JSON array of {trace_id, span_id, attributes}"),
        Column("resource", pl.String, "resource and scope attributes that have no column, JSON object"),
        Column("gate_ref", pl.String, "resource evalpipe.gate.id: what CI replays for a gate; null for traffic"),
        _must("segment_id", pl.String, "raw segment it was decoded from"),
        _must("ingested_at", UTC, "when its segment landed"),
    ),
    partition="day",
)

TRACES = Table(
    "traces",
    "One request to the application, as a reader sees it.",
    ("trace_id",),
    (
        _must("trace_id", pl.String, "32 lower-case hex digits"),
        _DAY,
        Column("session_id", pl.String, "null when the application sends none"),
        Column("user_id", pl.String, "the application's user"),
        Column("turn_index", pl.Int32, "position in its session from 0, within the days read together"),
        _must("service_name", pl.String, "of the root span"),
        Column("service_version", pl.String, "release that answered"),
        Column("environment", pl.String, "deployment environment"),
        Column("model", pl.String, "model of the last llm span"),
        _must("name", pl.String, "name of the root span"),
        Column("request", pl.String, "first user message"),
        Column("response", pl.String, "last assistant message"),
        _must("transcript", pl.List(MESSAGE), "messages and tool calls in order"),
        _must("n_spans", pl.Int32, "spans"),
        _must("n_llm_calls", pl.Int32, "llm spans"),
        _must("n_tool_calls", pl.Int32, "tool calls"),
        _must("n_tool_errors", pl.Int32, "tool calls that failed"),
        _must("n_user_messages", pl.Int32, "user messages in the transcript"),
        Column("n_input_tokens", pl.Int64, "over llm and embedding spans; null when none reported"),
        Column("n_output_tokens", pl.Int64, "over llm spans; null when none reported"),
        Column("cost_usd", pl.Float64, "over its spans; null when none is known"),
        Column("is_cost_estimated", pl.Boolean, "any of it came from the price table; null without a cost"),
        _must("duration_ns", pl.Int64, "last end minus first start"),
        _must("start_unix_ns", pl.Int64, "first start, nanoseconds since 1970 UTC"),
        _must("end_unix_ns", pl.Int64, "last end, nanoseconds since 1970 UTC"),
        _must("status", pl.String, "of the root span: ok, error or unset"),
        Column("is_open", pl.Boolean, "its last span was so recent that others may follow"),
        Column("gate_ref", pl.String, "resource evalpipe.gate.id: a replay for that gate; null for traffic"),
        _must("is_complete", pl.Boolean, "no defect"),
        _must("defects", TEXTS, "missing_root, orphan_span, truncated_output, missing_session, unfinished"),
    ),
    partition="day",
)

CLOSED = ~pl.col("is_open").fill_null(False)
"""Of TRACES: those to which nothing more is expected. Half a trace is neither judged nor read by people."""

PRODUCTION = CLOSED & pl.col("gate_ref").is_null()
"""Of TRACES: what users did. What CI replays for a gate is judged by the gate alone, and is in no rate and no queue."""

SESSIONS = Table(
    "sessions",
    "The traces that share session.id.",
    ("session_id",),
    (
        _must("session_id", pl.String, "as the application named it"),
        _must("service_name", pl.String, "of its first trace"),
        Column("user_id", pl.String, "of its first trace that has one"),
        _must("trace_ids", TEXTS, "in order of start"),
        _must("n_turns", pl.Int32, "traces"),
        _must("n_resubmissions", pl.Int32, "turns whose request nearly repeats an earlier one"),
        Column("n_input_tokens", pl.Int64, "sum over its traces"),
        Column("n_output_tokens", pl.Int64, "sum over its traces"),
        Column("cost_usd", pl.Float64, "sum over its traces"),
        _must("start_unix_ns", pl.Int64, "first start"),
        _must("end_unix_ns", pl.Int64, "last end"),
        _must("first_day", pl.Date, "UTC date of the first trace"),
        _must("last_day", pl.Date, "UTC date of the last trace"),
    ),
    partition="first_day",
)

SIGNALS = {
    "session_length": "turns of the session so far, user messages included",
    "token_excess": "log2 of tokens over what request, tools and service predict",
    "latency": "log2 of the duration over what the same work usually takes",
    "cost": "log2 of the cost over what the same work usually costs",
    "resubmission": "similarity in [0, 1] to the nearest earlier request of the session",
    "tool_deviation": "mean surprise of its tool steps under the service's own sequence model, bits",
    "repetition": "longest run of the same call, or of the same cycle of calls",
    "ignored_error": "failed tool calls that nothing was done about",
    "hedging": "hedging phrases per 100 words of the answer",
    "refusal": "sentences of the answer that refuse or deflect",
    "unbacked_claim": "sentences that claim to have done something which no call of the trace could have done",
    "asked_again": "questions for something that the user had given before",
    "unsupported": "share of the answer's content words and numbers found in no source of the trace",
    "broken_output": "1 empty, 0.9 an error or invalid where JSON is usual, 0.8 cut off, 0.6 repeating itself; else 0",
    "frustration": "signs of a dissatisfied user: complaints, corrections, shouting, leaving without an answer",
    "language_mismatch": "share of the answer in another language or script than the request's",
    "incomplete": "defects that make the trace a partial record",
}
"""Each signal and the unit of its value; its score is in [0, 1]."""

EVIDENCE = pl.Struct({"signal": pl.String, "step": pl.Int32, "text": pl.String})
"""Where a signal shows: step, counted from 0 in the transcript (null: the whole trace), and the passage in it as it
stands there (null: the whole step)."""

CALL = pl.Struct({"tool": pl.String, "step": pl.Int32})
"""One tool call of a transcript: which tool, and its step there."""

TRACE_FEATURES = Table(
    "trace_features",
    "What can be counted in a trace and its session: what is usual for a service is learned from past days of it.",
    ("trace_id",),
    (
        _must("trace_id", pl.String, "the trace"),
        _DAY,
        Column("session_id", pl.String, "its session"),
        _must("service_name", pl.String, "its service"),
        Column("service_version", pl.String, "its release"),
        _must("draw", pl.Float64, "uniform in [0, 1), by session: what is below a bound is a sample of whole sessions"),
        _must("n_turns", pl.Int64, "turns of the session so far, user messages included"),
        _must("session_s", pl.Float64, "seconds from the first start of the session to the end of this trace"),
        Column("context_growth", pl.Float64, "input tokens a model call over those in the session's first trace"),
        Column("n_tokens", pl.Int64, "input and output tokens; null when none reported"),
        Column("cost_usd", pl.Float64, "cost; null when unknown"),
        _must("duration_s", pl.Float64, "duration"),
        _must("n_user_messages", pl.Int64, "user messages"),
        _must("n_user_words", pl.Int64, "words in them"),
        _must("n_tool_calls", pl.Int64, "tool calls"),
        Column("similarity", pl.Float64, "of its requests to the nearest earlier one, in [0, 1]; null without one"),
        _must("n_times_asked", pl.Int64, "times its most repeated request was asked, this one included"),
        _must("n_complaints", pl.Int64, "complaints, corrections and shouts of the user"),
        _must("complaints", TEXTS, "what they were"),
        _must("is_left_unanswered", pl.Boolean, "to the last user message nothing was answered, nor done about it"),
        Column("n_answer_words", pl.Int64, "words of the answers; null without one"),
        Column("hedges_per_100_words", pl.Float64, "hedging phrases per 100 of them"),
        _must("hedges", TEXTS, "the phrases"),
        _must("n_refusals", pl.Int64, "sentences of the answer that refuse or deflect"),
        _must("refusals", TEXTS, "their phrases"),
        Column("broken_output", pl.Float64, "as the signal, but for invalid JSON, which needs to know what is usual"),
        Column("is_json", pl.Boolean, "the final answer is a JSON object or array; null without one"),
        Column("is_cut_off", pl.Boolean, "the final answer stops in the middle"),
        Column("language_mismatch", pl.Float64, "share of the answer in another language or script than the request's"),
        Column("request_language", pl.String, "language of the requests"),
        Column("answer_language", pl.String, "language of the answers"),
        _must("calls", pl.List(CALL), "its tool calls in order, the first 1,000"),
        _must("n_repeats", pl.Int64, "longest run of the same call, or of the same cycle of calls; 0 without calls"),
        _must("repeated", TEXTS, "the tools of that cycle"),
        _must("n_ignored_errors", pl.Int64, "failed tool calls that nothing was done about"),
        Column("ignored_tool", pl.String, "the tool of the first of them"),
        _must("n_claims", pl.Int64, "sentences of the answers that claim to have done something"),
        _must("n_unbacked_claims", pl.Int64, "of them those that no successful call could have done"),
        _must("unbacked_claims", TEXTS, "their words"),
        _must("n_asked_again", pl.Int64, "questions of the answers for something that the user had given before"),
        _must("asked_again", TEXTS, "what they ask for"),
        Column("unsupported", pl.Float64, "as the signal; null without a source or an answer"),
        Column("n_unsupported_numbers", pl.Int64, "numbers of the answer that are in no source"),
        _must("defects", TEXTS, "as in traces"),
        _must("is_error", pl.Boolean, "the application reported an error for the whole trace"),
        Column("evidence", pl.List(EVIDENCE), "where each signal would show"),
    ),
    partition="day",
)

TRACE_SIGNALS = Table(
    "trace_signals",
    "How unusual a trace is for its service, and why.",
    ("trace_id",),
    (
        _must("trace_id", pl.String, "the trace"),
        _DAY,
        Column("session_id", pl.String, "its session"),
        _must("service_name", pl.String, "its service"),
        *(
            column
            for name, meaning in SIGNALS.items()
            for column in (
                Column(f"{name}_value", pl.Float64, meaning),
                _must(f"{name}_score", pl.Float64, "in [0, 1]"),
            )
        ),
        _must("anomaly_score", pl.Float64, "all signals and features together, in [0, 1]"),
        _must("flagged", TEXTS, "signals at or above the flag score"),
        _must("reasons", TEXTS, "the strongest, in words"),
        Column("evidence", pl.List(EVIDENCE), "where the flagged signals show"),
    ),
    partition="day",
)

CANDIDATES = Table(
    "candidates",
    "The review queue: which traces a reviewer should read in a cycle, in order.",
    ("cycle", "trace_id", "reviewer"),
    (
        _must("cycle", pl.String, "ISO week of the traffic, such as 2026-W47"),
        _must("trace_id", pl.String, "the trace"),
        _must("reviewer", pl.String, "who should read it"),
        _must("day", pl.Date, "UTC date of the trace"),
        Column("session_id", pl.String, "its session"),
        _must("service_name", pl.String, "its service"),
        _must("queue", pl.String, "signal it is here for, or 'control', 'uncertainty' where it was drawn"),
        _must("rank", pl.Int32, "reading order from 1"),
        _must("priority", pl.Float64, "impact: log2 of frequency x severity x anomaly x experience"),
        _must("reasons", TEXTS, "why it was chosen, in words"),
        _must("pattern_id", pl.String, "group of alike traces"),
        _must("pattern_frequency", pl.Int32, "traces of the cycle in that group"),
        _must("arm", pl.String, "anomaly, uncertainty, control, or verification: to confirm that a fix works"),
        _must("inclusion_probability", pl.Float64, "chance that either drawn arm took it, in (0, 1]; 1: chosen"),
        Column("is_second_opinion", pl.Boolean, "somebody else reads it too: to measure agreement, or to settle a tie"),
        Column("carried_from", pl.String, "the earlier cycle in which it was queued and not read"),
        _must("status", pl.String, "queued or reviewed, when the queue was built"),
    ),
    partition="cycle",
)

ANNOTATIONS = Table(
    "annotations",
    "What people (and outcomes known to be true) say of traces; append-only.",
    ("annotation_id",),
    (
        _must("annotation_id", pl.String, "content hash"),
        _must("trace_id", pl.String, "the trace"),
        _must("verdict", pl.String, "good, bad or partial; withdrawn: takes back all the annotator said of the trace"),
        Column("failure_mode", pl.String, "in the expert's words; null when good"),
        Column("correction", pl.String, "what the answer should have been"),
        Column("comment", pl.String, "free text"),
        Column("evidence", pl.String, "the passage of the trace that shows it"),
        _must("annotator", pl.String, "who"),
        _must("annotated_at", UTC, "when"),
        _must("label_source", pl.String, "human, programmatic (an outcome that is the truth) or model"),
        Column("cycle", pl.String, "review cycle it was queued in"),
        Column("source", pl.String, "file it came from"),
    ),
)

REVIEW_EVENTS = Table(
    "review_events",
    "What reviewers did with their queue besides annotating; append-only.",
    ("event_id",),
    (
        _must("event_id", pl.String, "content hash"),
        _must("kind", pl.String, "skipped or unskipped"),
        _must("cycle", pl.String, "the queue's"),
        _must("trace_id", pl.String, "the trace"),
        _must("reviewer", pl.String, "who"),
        _must("reason", pl.String, "why it was skipped, in words; '' for unskipped"),
        _must("at", UTC, "when"),
    ),
)

QUEUE_YIELD = Table(
    "queue_yield",
    "What reading each arm of a queue found, and its lift over the random control, on people's labels.",
    ("cycle", "arm"),
    (
        _must("cycle", pl.String, "ISO week of the traffic; 'all' for all weeks of the estimate together"),
        _must("arm", pl.String, "anomaly, uncertainty or control"),
        _must("n_queued", pl.Int64, "traces in the arm"),
        _must("n_reviewed", pl.Int64, "of them annotated by a person"),
        _must("n_failures", pl.Int64, "of these bad or partial"),
        Column("failure_rate", pl.Float64, "n_failures over n_reviewed; null when nothing was read"),
        Column("failure_rate_lower", pl.Float64, "lower bound of its interval"),
        Column("failure_rate_upper", pl.Float64, "upper bound"),
        Column("lift", pl.Float64, "failure rate over the control's; null for the control, or when that is 0"),
        Column("lift_lower", pl.Float64, "lower bound of its interval"),
        Column("lift_upper", pl.Float64, "upper bound; null when unbounded"),
        _must("confidence", pl.Float64, "of the intervals"),
    ),
)

PREVALENCE = Table(
    "prevalence",
    "How much of all traffic shows an issue, and how much of that its evaluator finds, weighted back from the queues.",
    ("issue_id",),
    (
        _must("issue_id", pl.String, "the issue"),
        _must("first_day", pl.Date, "first day of the traffic it speaks for"),
        _must("last_day", pl.Date, "last day"),
        _must("n_traces", pl.Int64, "traces of these days in the issue's services"),
        _must("n_reviewed", pl.Int64, "of them read by chance: the control and uncertainty arms"),
        _must("n_failures", pl.Int64, "of these showing the issue"),
        Column("prevalence", pl.Float64, "share of all traces that show it; null when nothing was read"),
        Column("prevalence_lower", pl.Float64, "lower bound of its interval"),
        Column("prevalence_upper", pl.Float64, "upper bound"),
        Column("evaluator_id", pl.String, "the evaluator that checks it"),
        Column("version", pl.Int32, "its version"),
        Column("recall", pl.Float64, "share of all failures that it flags; null without a failure among those read"),
        Column("recall_lower", pl.Float64, "lower bound of its interval"),
        Column("recall_upper", pl.Float64, "upper bound"),
        _must("confidence", pl.Float64, "of the intervals"),
    ),
)

AGREEMENT = Table(
    "agreement",
    "How far people agree on traces that two of them read: no evaluator can be measured as better than that.",
    ("scope", "name"),
    (
        _must("scope", pl.String, "all, issue or reviewer (against all others)"),
        _must("name", pl.String, "issue_id or reviewer; '' for all"),
        _must("n_traces", pl.Int64, "read by at least two"),
        _must("n_annotators", pl.Int64, "who read them"),
        Column("kappa", pl.Float64, "Cohen's, mean over pairs weighted by traces; null when undefined"),
        Column("kappa_lower", pl.Float64, "lower bound of its interval"),
        Column("kappa_upper", pl.Float64, "upper bound"),
        Column("alpha", pl.Float64, "Krippendorff's, nominal; null when undefined"),
        Column("alpha_lower", pl.Float64, "lower bound of its interval"),
        Column("alpha_upper", pl.Float64, "upper bound"),
        Column("ceiling", pl.Float64, "MCC that an evaluator without a fault would reach against one such reader"),
        Column("ceiling_lower", pl.Float64, "lower bound of its interval"),
        Column("ceiling_upper", pl.Float64, "upper bound"),
        _must("confidence", pl.Float64, "of the intervals"),
    ),
)

ISSUE_PROPOSALS = Table(
    "issue_proposals",
    "Issues whose failure modes seem to mean the same, for a person to merge or to keep apart.",
    ("issue_id", "into_issue_id"),
    (
        _must("issue_id", pl.String, "the issue that would go"),
        _must("into_issue_id", pl.String, "the one that would take it over"),
        _must("name", pl.String, "name of the first"),
        _must("into_name", pl.String, "name of the second"),
        _must("similarity", pl.Float64, "in [0, 1]"),
        _must("shared_words", TEXTS, "what they have in common, the most telling first"),
        _must("reason", pl.String, "why it is proposed, in words"),
    ),
)

TRUTH_SOURCES = ("human", "programmatic")
"""The label sources that count as truth; what a model says never does."""

LABELS = Table(
    "labels",
    "Annotations consolidated: does this trace show this issue?",
    ("trace_id", "issue_id"),
    (
        _must("trace_id", pl.String, "the trace"),
        _must("issue_id", pl.String, "the issue"),
        _must("day", pl.Date, "UTC date of the trace"),
        Column("session_id", pl.String, "its session"),
        _must("service_name", pl.String, "its service"),
        _must("is_failure", pl.Boolean, "the failure is present"),
        _must("weight", pl.Float64, "evidence in (0, 1]; a partial failure counts less"),
        _must("n_annotators", pl.Int32, "people and programs that said something of the trace"),
        Column("n_yes", pl.Int32, "of them claiming the failure"),
        Column("n_no", pl.Int32, "of them denying it"),
        _must("is_disputed", pl.Boolean, "as many claim the failure as deny it: one more opinion is asked for"),
        _must("labelled_at", UTC, "latest annotation that counts"),
        _must("sources", TEXTS, "human, programmatic"),
    ),
)

SETTLED = ~pl.col("is_disputed")
"""The rows of LABELS that are evidence: as many who claim as who deny say nothing yet."""

TRACKED = ("active", "fix_claimed", "verifying")
"""The states of ISSUES in which the failure is there, for all that is proven: it needs an evaluator, and blocks."""

SEVERITIES = ("critical", "major", "minor")
"""How bad one occurrence is, as people say, the worst first; major unless somebody said otherwise."""

SEVERITY_WEIGHTS = {"critical": 9.0, "major": 3.0, "minor": 1.0}
"""What one occurrence weighs in harm: each step is three times the one below."""

ISSUES = Table(
    "issues",
    "Tracked failure modes: the state that replaying issue_events gives, with what the labels say.",
    ("issue_id",),
    (
        _must("issue_id", pl.String, "hash of the failure mode it was born from"),
        _must("name", pl.String, "failure mode in the expert's words, or what it was renamed to"),
        _must("state", pl.String, "candidate, active, fix_claimed, verifying, resolved, ignored or merged"),
        _must("flags", TEXTS, "new, escalating, regressed"),
        Column("severity", pl.String, "critical, major or minor: how bad one occurrence is"),
        Column("merged_into", pl.String, "issue that took it over"),
        Column("fixed_in", pl.String, "release that is said, or was found, to have fixed it; null when unknown"),
        Column("fix_claimed_at", UTC, "when a gate passed again or a person said that it is fixed; null when nobody"),
        Column("deployed_at", UTC, "when the first trace of the fixed release started; null before"),
        Column("resolved_at", UTC, "when it was last resolved; null unless it is, or was before it returned"),
        Column("returned_in", pl.String, "release in which it returned, while it is flagged regressed"),
        _must("services", TEXTS, "services it was seen in"),
        _must("n_failures", pl.Int64, "annotated traces that show it"),
        _must("first_seen_at", UTC, "first annotation"),
        _must("last_seen_at", UTC, "last annotation"),
        _must("updated_at", UTC, "time of its last event"),
    ),
)

ISSUE_EVENTS = Table(
    "issue_events",
    "Everything that ever happened to an issue; append-only.",
    ("event_id",),
    (
        _must("event_id", pl.String, "content hash"),
        _must("issue_id", pl.String, "the issue"),
        _must(
            "kind",
            pl.String,
            "sighted, promoted, renamed, rated, merged, split, kept_apart, fix_claimed, fix_withdrawn, deployed, "
            "verified, refuted, resolved, reopened, recurred, escalated, calmed, ignored, unignored",
        ),
        _must("at", UTC, "when"),
        _must("author", pl.String, "'pipeline' or a person"),
        _must("evidence", pl.String, "JSON: what the event rests on"),
    ),
)

EVALUATORS = Table(
    "evaluators",
    "Every version of every generated check; its artifact is data.",
    ("evaluator_id", "version"),
    (
        _must("evaluator_id", pl.String, "one per issue"),
        _must("version", pl.Int32, "from 1"),
        _must("issue_id", pl.String, "the issue it checks"),
        _must("failure_mode", pl.String, "name of the issue when it was made"),
        _must("kind", pl.String, "rule, learned or judge"),
        _must("status", pl.String, "candidate, active, monitoring or retired"),
        _must("artifact", pl.String, "the whole artifact, canonical JSON"),
        _must("artifact_sha256", pl.String, "of that JSON"),
        _must("n_positives", pl.Int64, "failures it was made from"),
        _must("n_negatives", pl.Int64, "other annotated traces it was made from"),
        _must("labels_fingerprint", pl.Int64, "of the labels it was made from"),
        _must("created_at", UTC, "when"),
        _must("reason", pl.String, "why this kind, and why it replaced what was there"),
    ),
)

VERDICTS = Table(
    "verdicts",
    "What an evaluator said of a production trace.",
    ("evaluator_id", "version", "trace_id"),
    (
        _must("evaluator_id", pl.String, "the evaluator"),
        _must("version", pl.Int32, "its version"),
        _must("trace_id", pl.String, "the trace"),
        _DAY,
        _must("issue_id", pl.String, "the issue it checks"),
        _must("outcome", pl.String, "pass, fail or fault"),
        Column("score", pl.Float64, "in [0, 1], higher is more surely a failure; null for a fault"),
        Column("explanation", pl.String, "what fired, where; or what went wrong"),
        _must("inclusion_probability", pl.Float64, "chance with which the trace was judged"),
        Column("cost_usd", pl.Float64, "of the model calls"),
        Column("trace_state", pl.Int64, "of the trace as it was judged: one that has grown since is judged again"),
    ),
    partition="day",
)

VERDICT_COUNTS = Table(
    "verdict_counts",
    "What evaluators found hour by hour in each release: all that rates over time are made from.",
    ("evaluator_id", "version", "day", "hour", "service_name", "service_version"),
    (
        _must("evaluator_id", pl.String, "the evaluator"),
        _must("version", pl.Int32, "its version"),
        _must("issue_id", pl.String, "the issue it checks"),
        _DAY,
        _must("hour", pl.Int8, "UTC hour of the start, 0 to 23"),
        _must("service_name", pl.String, "service of the traces"),
        _must("service_version", pl.String, "their release; '' when they name none"),
        _must("first_start_unix_ns", pl.Int64, "start of the first of them"),
        _must("n_judged", pl.Int64, "traces with a pass or a fail"),
        _must("n_flagged", pl.Int64, "of them failed"),
        _must("n_faults", pl.Int64, "traces it could not judge; in neither of the two"),
        _must("n_judged_sessions", pl.Int64, "sessions whose first judged trace of the day is among them"),
        _must("n_flagged_sessions", pl.Int64, "sessions whose first failed trace of the day is among them"),
        _must("judged_weight", pl.Float64, "sum over the judged of one over their inclusion probability"),
        _must("flagged_weight", pl.Float64, "the same over the flagged"),
        _must("judged_weight_sq", pl.Float64, "sum over the judged of its square"),
        _must("flagged_weight_sq", pl.Float64, "the same over the flagged"),
    ),
    partition="day",
)

ISSUE_RATES = Table(
    "issue_rates",
    "How much of a week's traffic shows an issue: what its evaluator flags, corrected by that evaluator's errors.",
    ("issue_id", "first_day"),
    (
        _must("issue_id", pl.String, "the issue"),
        _must("first_day", pl.Date, "Monday of the week"),
        _must("evaluator_id", pl.String, "the evaluator that found it"),
        _must("version", pl.Int32, "its newest version that judged the week"),
        _must("n_judged", pl.Int64, "traces judged"),
        _must("n_flagged", pl.Int64, "of them failed"),
        Column("flagged_share", pl.Float64, "of the week's traffic, weighted back by inclusion probability"),
        Column("tpr", pl.Float64, "share of failures that it flags, held out; null without one"),
        Column("fpr", pl.Float64, "share of other traces that it flags, held out; null without one"),
        Column("prevalence", pl.Float64, "Rogan-Gladen; null where the evaluator tells nothing"),
        Column("prevalence_lower", pl.Float64, "lower bound of its interval"),
        Column("prevalence_upper", pl.Float64, "upper bound"),
        _must("confidence", pl.Float64, "of the interval"),
    ),
)

VERIFICATIONS = Table(
    "verifications",
    "What it takes to call an issue solved, and what there is: traffic of the fixed release, and people's reading.",
    ("issue_id",),
    (
        _must("issue_id", pl.String, "an issue that is fix_claimed, verifying or resolved"),
        _must("state", pl.String, "its state"),
        Column("release", pl.String, "the release that is said to have fixed it; null when unknown"),
        Column("since", UTC, "start of its first trace; null before it is deployed"),
        Column("releases", TEXTS, "service versions whose traces count"),
        Column("rate_before", pl.Float64, "share of traffic that showed it before"),
        _must("target_rate", pl.Float64, "the share that it must be below"),
        _must("n_needed", pl.Int64, "traces without a confirmed failure that say so"),
        _must("n_exposed", pl.Int64, "traces of these releases that the evaluator has judged"),
        _must("n_flagged", pl.Int64, "of them it failed"),
        _must("n_hits_read", pl.Int64, "of those read by people"),
        _must("n_hits_confirmed", pl.Int64, "of those that show the failure"),
        _must("n_passes_needed", pl.Int64, "traces that it passed, drawn at random, that people must read"),
        _must("n_passes_read", pl.Int64, "of them read"),
        _must("n_passes_failing", pl.Int64, "of those that show the failure: the evaluator missed them"),
        Column("rate_upper", pl.Float64, "upper bound of the share now, one-sided"),
        _must("confidence", pl.Float64, "of that bound"),
        _must("finding", pl.String, "waiting, reading, solved, not_solved, fooled, quiet or returned"),
        _must("reason", pl.String, "the finding in words, with what is missing"),
    ),
)

EVALUATOR_HEALTH = Table(
    "evaluator_health",
    "Whether each evaluator still agrees with people as it did when it was made, and if not, whose change it is.",
    ("evaluator_id",),
    (
        _must("evaluator_id", pl.String, "the evaluator"),
        _must("version", pl.Int32, "its current version"),
        _must("issue_id", pl.String, "the issue it checks"),
        Column("mcc_held_out", pl.Float64, "what it promised: held-out MCC on the traces it was made from"),
        Column("mcc_recent", pl.Float64, "on annotations that came after it was made"),
        _must("n_recent", pl.Int64, "of these annotations"),
        _must("n_recent_failures", pl.Int64, "of them showing the issue"),
        Column("change", pl.Float64, "recent minus held out"),
        Column("change_lower", pl.Float64, "lower bound of its interval"),
        Column("change_upper", pl.Float64, "upper bound; below zero: it fell beyond noise"),
        Column("mcc_prequential", pl.Float64, "of all versions: each annotation against the version that was current"),
        Column("mcc_prequential_lower", pl.Float64, "lower bound of its interval"),
        Column("mcc_prequential_upper", pl.Float64, "upper bound"),
        _must("n_prequential", pl.Int64, "annotations that a version met before it could learn from them"),
        _must("finding", pl.String, "holds, unknown (too few new labels), overfitted or drifted"),
        _must(
            "is_demoted", pl.Boolean, "it fell, and by its later figures would not block: it monitors until it recovers"
        ),
        _must("has_traffic_shifted", pl.Boolean, "the traffic itself is other than what it was made from"),
        _must("reason", pl.String, "the finding in words"),
        _must("confidence", pl.Float64, "of the intervals"),
    ),
)

TRAFFIC_DRIFT = Table(
    "traffic_drift",
    "How far the last week's traffic of a service differs from the weeks before: population stability by feature.",
    ("service_name", "feature"),
    (
        _must("service_name", pl.String, "the service"),
        _must("feature", pl.String, "a column of trace_features, or 'words of requests', 'words of answers', 'tools'"),
        _must("first_day", pl.Date, "first of the recent days"),
        _must("last_day", pl.Date, "last of them"),
        _must("n_before", pl.Int64, "traces before, sampled"),
        _must("n_recent", pl.Int64, "recent traces, sampled"),
        Column("psi", pl.Float64, "population stability index; null with too few traces"),
        Column("psi_noise", pl.Float64, "what chance keeps all features of the service below in 95 of 100 such weeks"),
        _must("has_shifted", pl.Boolean, "beyond chance, and at least settings.monitor.drift_psi"),
        _must("detail", pl.String, "what became more and what less, in words"),
    ),
)

EVALUATOR_QUALITY = Table(
    "evaluator_quality",
    "Agreement with people, one row per measurement, for ever.",
    ("evaluator_id", "version", "split", "labels_fingerprint"),
    (
        _must("evaluator_id", pl.String, "the evaluator"),
        _must("version", pl.Int32, "its version"),
        _must("issue_id", pl.String, "the issue it checks"),
        _must("kind", pl.String, "rule, learned or judge"),
        _must("measured_at", UTC, "when"),
        _must(
            "split",
            pl.String,
            "held_out (unseen by generation), prospective (labelled after this version was made), in_sample, or "
            "prequential (each label against the version that was current before it; all versions)",
        ),
        _must("tp", pl.Int64, "failure present, verdict fail"),
        _must("fp", pl.Int64, "failure absent, verdict fail"),
        _must("tn", pl.Int64, "failure absent, verdict pass"),
        _must("fn", pl.Int64, "failure present, verdict pass"),
        _must("n_faults", pl.Int64, "verdicts that could not be given; in none of the four"),
        Column("mcc", pl.Float64, "Matthews correlation in [-1, 1]; null when undefined"),
        Column("mcc_lower", pl.Float64, "lower bound of its interval"),
        Column("mcc_upper", pl.Float64, "upper bound of its interval"),
        _must("confidence", pl.Float64, "of the interval"),
        _must("n_sessions", pl.Int64, "groups the examples fall into"),
        _must("labels_fingerprint", pl.Int64, "of the labels it was measured on"),
    ),
)

COVERAGE = Table(
    "coverage",
    "Which active issues have an evaluator that can be trusted.",
    ("measured_at", "issue_id"),
    (
        _must("measured_at", UTC, "when"),
        _must("issue_id", pl.String, "the issue"),
        _must("name", pl.String, "its name then"),
        _must("is_covered", pl.Boolean, "an evaluator of at least monitoring quality checks it"),
        Column("evaluator_id", pl.String, "that evaluator"),
        Column("version", pl.Int32, "its version"),
        Column("status", pl.String, "active, monitoring or candidate"),
        Column("mcc", pl.Float64, "held-out MCC"),
        Column("mcc_lower", pl.Float64, "lower bound of its interval"),
        _must("n_occurrences", pl.Int64, "annotated failures"),
        _must("occurrence_share", pl.Float64, "of all annotated failures of active issues"),
        Column("traffic_share", pl.Float64, "share of judged traces that its evaluator fails; null when uncovered"),
        Column("severity", pl.String, "critical, major or minor"),
        Column(
            "prevalence", pl.Float64, "share of traffic that shows it, by its evaluator or the queues; null unknown"
        ),
        Column("harm", pl.Float64, "prevalence, else its share of annotated failures, times the weight of severity"),
        Column("lacks", pl.String, "what it needs before its evaluator blocks releases; null when nothing"),
    ),
)

GATE_RUNS = Table(
    "gate_runs",
    "One decision: may this release ship?",
    ("gate_id",),
    (
        _must("gate_id", pl.String, "content hash of cases, suite and policy"),
        _must("decided_at", UTC, "when"),
        _must("decision", pl.String, "pass, block or abstain"),
        _must("reasons", TEXTS, "all of them"),
        Column("release", pl.String, "service version judged"),
        _must("source", pl.String, "cases or release"),
        _must("n_cases", pl.Int64, "cases judged"),
        _must("n_evaluators", pl.Int64, "evaluators that ran"),
        Column("suite_pass_rate", pl.Float64, "share of the evaluators that ran which passed; null when none ran"),
        Column("question_id", pl.String, "content hash of cases, suite, policy and release, without what came before"),
        Column("n_refused", pl.Int64, "cases that could not be read, and were not judged"),
        Column("policy", pl.String, "default or article"),
        Column("baseline_gate_id", pl.String, "the gate of the last release, that it was compared with; null: none"),
        Column("baseline_release", pl.String, "that release"),
        Column("asked_by", pl.String, "cli, dagster, or the name of the webhook's secret"),
        Column("commit", pl.String, "commit of the application, as CI named it"),
        Column(
            "cost_usd", pl.Float64, "what models charged for the verdicts; null: none was asked, or a price unknown"
        ),
    ),
)

GATE_RESULTS = Table(
    "gate_results",
    "What each evaluator said in a gate run.",
    ("gate_id", "evaluator_id"),
    (
        _must("gate_id", pl.String, "the run"),
        _must("evaluator_id", pl.String, "the evaluator"),
        _must("version", pl.Int32, "its version"),
        _must("issue_id", pl.String, "the issue a failure belongs to"),
        _must("failure_mode", pl.String, "its name"),
        _must("kind", pl.String, "rule, learned or judge"),
        _must("role", pl.String, "blocking, monitoring or skipped"),
        _must("outcome", pl.String, "passed, failed, abstained or skipped"),
        _must("n_pass", pl.Int64, "cases that passed"),
        _must("n_fail", pl.Int64, "cases that failed"),
        _must("n_fault", pl.Int64, "cases it could not judge"),
        Column("pass_rate", pl.Float64, "n_pass over passes and fails; null when there are none"),
        Column("pass_rate_lower", pl.Float64, "Wilson lower bound"),
        Column("pass_rate_upper", pl.Float64, "Wilson upper bound"),
        Column("mcc", pl.Float64, "held-out MCC"),
        Column("mcc_lower", pl.Float64, "its lower bound"),
        Column("link", pl.String, "new regression, known open or returned after resolution"),
        _must("failing_case_ids", TEXTS, "at most the first 50"),
        _must("reason", pl.String, "the outcome in words"),
        Column("pass_rate_asked", pl.Float64, "pass rate from which it passes"),
        Column("n_own", pl.Int64, "cases that name its issue, which alone are counted above; null: all are"),
        Column("n_fail_elsewhere", pl.Int64, "other cases that show the failure; null where all are counted"),
        Column("n_effective", pl.Float64, "independent cases that the judged ones are worth, sessions being alike"),
        Column("compared", pl.String, "paired (same inputs) or unpaired; null: not compared with the last release"),
        Column("baseline_pass_rate", pl.Float64, "pass rate of the last release, of the cases compared"),
        Column("n_compared", pl.Int64, "its cases compared"),
        Column("pass_rate_change", pl.Float64, "pass rate now less that of then, on the cases compared"),
        Column("p_worse", pl.Float64, "chance of so large a fall or a larger one if nothing changed"),
        Column("is_regression", pl.Boolean, "it got worse beyond chance and by more than the margin"),
    ),
)

GATE_CASES = Table(
    "gate_cases",
    "What every evaluator said of each case of a gate: what the next release is compared with.",
    ("gate_id", "case_id"),
    (
        _must("gate_id", pl.String, "the run"),
        _must("case_id", pl.String, "id of the case, or the trace"),
        _must("day", pl.Date, "UTC date on which it was decided"),
        _must("input_hash", pl.String, "content hash of what the user and the system said before the answer"),
        Column("session_id", pl.String, "the conversation it belongs to"),
        Column("line", pl.Int64, "line of the file, from 1; null for traffic"),
        _must("passed", TEXTS, "evaluators that passed it"),
        _must("failed", TEXTS, "evaluators that saw the failure in it"),
        _must("faulted", TEXTS, "evaluators that could not tell"),
    ),
    partition="day",
)

BACKTESTS = Table(
    "backtests",
    "History replayed with what was known then: when each regression would have been caught, and the false alarms.",
    ("backtest_id", "issue_id", "service_name", "release"),
    (
        _must("backtest_id", pl.String, "content hash of the range and of all that was replayed"),
        _must("issue_id", pl.String, "the issue"),
        _must("service_name", pl.String, "service of the release"),
        _must("release", pl.String, "release that brought the regression, or of which there was an alarm; '' unnamed"),
        _must("first_day", pl.Date, "Monday with which the replay begins"),
        _must("last_day", pl.Date, "its last day"),
        _must("week", pl.Date, "Monday of the week in which it regressed, or of the false alarm"),
        _must("issue_name", pl.String, "name of the issue today"),
        Column("release_before", pl.String, "the release before it; null for the first"),
        Column("regressed_at", UTC, "when the regression began, as known today; null for a false alarm"),
        _must("known_by", TEXTS, "why it counts as one: rate, recurred, reopened, escalated; none: a false alarm"),
        Column("rate_before", pl.Float64, "share of the traffic of the release before that shows it, as known today"),
        Column("rate_before_lower", pl.Float64, "lower bound of its interval"),
        Column("rate_before_upper", pl.Float64, "upper bound"),
        Column("rate_after", pl.Float64, "share of the traffic of the release, likewise"),
        Column("rate_after_lower", pl.Float64, "lower bound of its interval"),
        Column("rate_after_upper", pl.Float64, "upper bound"),
        _must("confidence", pl.Float64, "of the intervals"),
        Column("caught_at", UTC, "when the first alarm would have been raised; null: never"),
        Column("caught_how", pl.String, "rate (of the release before), recurrence (of a solved issue) or escalation"),
        Column("caught_by", pl.String, "evaluator whose flags raised it"),
        Column("version", pl.Int32, "its version then"),
        Column("role", pl.String, "blocking or monitoring: what it was worth then"),
        Column("mcc", pl.Float64, "its held-out MCC as measured then"),
        Column(
            "gate",
            pl.String,
            "by the gate in its first week: blocked, warned, passed, abstained, skipped; null: not asked",
        ),
        Column("exposed_until", UTC, "the alarm, else end of the last hour with the release's traffic in the range"),
        _must("delay_traces", pl.Int64, "traces of the release from the begin of the regression until then"),
        Column("delay_days", pl.Float64, "from the begin of the regression to the alarm; null without either"),
        _must("is_false_alarm", pl.Boolean, "an alarm of what today's knowledge does not count as a regression"),
        _must("reason", pl.String, "what happened in words"),
    ),
)

REJECTIONS = Table(
    "rejections",
    "What was refused, where it came from and why. Nothing is dropped silently.",
    ("rejection_id",),
    (
        _must("rejection_id", pl.String, "content hash"),
        _must("kind", pl.String, "file, payload, span, annotation or case"),
        _must("source", pl.String, "file, client or segment"),
        Column("location", pl.String, "line, task, record, payload or span in the source"),
        _must("reason", pl.String, "what is wrong and what next"),
        Column("content", pl.String, "the refused thing, text or base64"),
        _must("rejected_at", UTC, "when"),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RAW_OTLP,
        SPANS,
        TRACES,
        SESSIONS,
        TRACE_FEATURES,
        TRACE_SIGNALS,
        CANDIDATES,
        ANNOTATIONS,
        REVIEW_EVENTS,
        QUEUE_YIELD,
        PREVALENCE,
        AGREEMENT,
        LABELS,
        ISSUES,
        ISSUE_EVENTS,
        ISSUE_PROPOSALS,
        EVALUATORS,
        VERDICTS,
        VERDICT_COUNTS,
        ISSUE_RATES,
        EVALUATOR_QUALITY,
        EVALUATOR_HEALTH,
        TRAFFIC_DRIFT,
        VERIFICATIONS,
        COVERAGE,
        GATE_RUNS,
        GATE_RESULTS,
        GATE_CASES,
        BACKTESTS,
        REJECTIONS,
    )
}
