"""Every tunable, with its unit and its reason; one frozen object per stage. The environment is read here only.

A variable is EVALPIPE_<STAGE>__<NAME>, for example EVALPIPE_GATE__PASS_RATE=0.9. The shorthands that people set
often have names of their own: EVALPIPE_HOME, EVALPIPE_JUDGE_MODEL, EVALPIPE_REFLECTION_MODEL.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from evalpipe.errors import SettingsError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Detector = Literal["email", "phone", "card", "api_key"]


class _Stage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IngestSettings(_Stage):
    """The OTLP receivers. EVALPIPE_INGEST_TOKENS sets `tokens`, separated by commas."""

    host: str = "127.0.0.1"  # any other address needs tokens
    http_port: int = Field(default=4318, ge=0, le=65_535)  # OTLP's own; 0 takes a free one
    grpc_port: int = Field(default=4317, ge=0, le=65_535)
    tokens: tuple[SecretStr, ...] = ()  # one of them must come with every request; none: loopback only
    tls_certificate: Path | None = None  # PEM files, both or neither
    tls_key: Path | None = None
    max_waiting_bytes: Count = 256 * 1024 * 1024  # received and not yet durable; above it clients are told to wait
    max_backlog_bytes: Count = 8 * 1024 * 1024 * 1024  # durable and not yet in segments; above it likewise
    journal_bytes: Count = 64 * 1024 * 1024  # a journal is closed and made into segments at this size,
    seal_s: float = Field(default=30.0, gt=0)  # or this long after its first request: shorter makes more, smaller files
    request_timeout_s: float = Field(default=30.0, gt=0)  # a request must have arrived whole: slow clients hold memory
    max_connections: Count = 4_096  # beyond it new ones are closed; each costs a file descriptor
    retry_after_s: Count = 5  # what a client is told where it must wait


class RedactionSettings(_Stage):
    """What is replaced by placeholders in each group of columns: email, phone, card, api_key.

    EVALPIPE_REDACTION__CONTENT='["email","card"]'.
    """

    content: frozenset[Detector] = frozenset()  # input, output, instructions, tool input and output
    attributes: frozenset[Detector] = frozenset()  # attributes, events, links, resource, status message
    identity: frozenset[Detector] = frozenset()  # user and session ids
    before_landing: bool = False  # in the raw segments too: then the originals are nowhere


class ObserveSettings(_Stage):
    """Landing, spans, traces and sessions."""

    first_day: date = date(2024, 1, 1)  # Dagster's first day partition; older spans are refused, with this name
    max_future_s: Count = 86_400  # a clock may be wrong by a time zone, not by more
    max_payload_bytes: Count = 64 * 1024 * 1024  # OTLP's recommended limit, after decompression
    segment_bytes: Count = 20 * 1024 * 1024  # one landing segment: decoded whole, two at once, so it bounds memory
    window_days: Count = 1  # how far a trace may reach into the days beside its own
    session_days: Count = 7  # how long a conversation may pause and still be one session
    quiet_s: Count = 90  # a trace is closed this long after its last span; a late span opens it again
    retention_days: Count | None = None  # raw segments whose spans are in the tables are removed after; None keeps all
    prices: Path | None = None  # a price table that adds to the one that comes with evalpipe; same form

    @property
    def first_start(self) -> datetime:
        """The earliest start of a span that is taken."""
        return datetime.combine(self.first_day, time(), UTC)

    def last_start(self, received_at: datetime) -> datetime:
        """The latest start of a span that is taken, in UTC, when it is received at this moment."""
        return received_at.astimezone(UTC) + timedelta(seconds=self.max_future_s)


class UpkeepSettings(_Stage):
    """Nightly upkeep of the tables."""

    vacuum_after_hours: int = Field(default=168, ge=24)  # a reader of an older version has so long to finish


class SignalSettings(_Stage):
    """The signals and the anomaly score."""

    history_days: Count = 28  # what is usual is learned from these past days: four whole weeks
    min_history_traces: Count = 50  # below this a service's own day joins its history
    flag_score: Share = 0.8  # a signal at or above this puts the trace into the queue's pool
    max_reasons: Count = 3  # a reviewer reads the strongest, not all


class ReviewSettings(_Stage):
    """The review queue and what an annotation counts."""

    capacity: Count = 100  # traces a reviewer reads in two hours a week
    default_reviewer: str = "reviewer"
    control_share: Share = 0.1  # random traces: the only unbiased view of all traffic
    uncertainty_share: Share = 0.15  # traces on which the evaluators are unsure or disagree
    verification_share: Share = 0.4  # of a queue at most, to check fixes: new failures must still be found
    second_share: Share = 0.1  # of a queue, read by a second reviewer too: how far people agree
    carry_cycles: Count = 1  # an unread trace competes in so many later queues, then expires
    estimate_days: Count = 28  # traffic that an estimate of prevalence speaks for: four queues
    confidence: Share = 0.9  # of the intervals of yield, prevalence and agreement
    max_pattern_share: Share = 0.25  # one pattern must not fill the queue with its copies
    partial_weight: Share = 0.5  # a partial failure is half the evidence of a whole one
    desk_bytes: Count = 256 * 1024 * 1024  # conversations that the review page keeps in memory; one queue always
    seed: int = 20_261_123


class IssueSettings(_Stage):
    """When a failure mode becomes an issue that is worked on."""

    promote_after: Count = 3  # annotated failures before a candidate issue is active
    propose_similarity: Share = 0.45  # from which two issues are proposed as one: a glance costs less than a double


class GenerationSettings(_Stage):
    """From labels to an evaluator. Figures: docs/decisions/generation.md."""

    min_positives: Count = 10  # ten annotated failures must suffice, fewer say nothing
    min_negatives: Count = 10
    min_new_labels: Count = 5  # fewer new failures than this do not pay for a regeneration
    n_folds: int = Field(default=10, ge=2)
    n_repeats: int = Field(default=1, ge=1)
    iterations: Count = 50  # gepa iterations for a rule; more did not help
    patience: Count = 10  # iterations without an accepted candidate
    learned_margin: Share = 0.05  # a learned evaluator must beat the rule by this: rules explain themselves
    learned_probability: Share = 0.95  # or be better than the rule with this paired probability
    replace_probability: Share = 0.8  # paired probability of being better that a challenger must reach
    max_features: Count = 4_000  # of the learned evaluator, by naive-Bayes weight
    half_life_days: float = Field(default=180.0, gt=0)  # a label so much older than the newest weighs half
    case_correlation: Share = 0.5  # n traces of one case weigh n / (1 + (n - 1) * this): more of the same teaches less
    judge_below: Share = 0.6  # a judge is evolved where the lower bound of the best other evaluator is below this
    judge_margin: Share = 0.05  # a judge must beat the others by this: it costs money and seconds for every verdict
    seed: int = 7


class QualitySettings(_Stage):
    """When an evaluator is trusted. The same figures decide its status and its role in the gate."""

    monitor_mcc: float = Field(default=0.4, ge=-1, le=1)
    block_mcc: float = Field(default=0.6, ge=-1, le=1)
    block_lower: float = Field(default=0.4, ge=-1, le=1)  # a lucky point estimate must not block a release
    block_min_positives: Count = 10
    confidence: Share = 0.9
    evidence: float = Field(
        default=0.5, gt=0, le=1
    )  # intervals speak of as many later traces, which vary as much again


class MonitorSettings(_Stage):
    """Verdicts on production traffic, drift and pruning."""

    window_days: Count = 28  # a new evaluator version judges this much of the past
    judge_rate: float = Field(default=0.2, gt=0, le=1)  # of traffic that a judge reads: each verdict costs money
    cheap_rate: float = Field(default=1.0, gt=0, le=1)  # likewise of rules and learned evaluators, which cost nothing
    # By issue id, a rate of its own: EVALPIPE_MONITOR__RATES='{"iss_3f2": 0.5}'.
    rates: Mapping[str, Annotated[float, Field(gt=0, le=1)]] = {}
    prefilter_below: Share = 0.05  # for an issue rarer than this a rule chooses what its judge reads,
    prefilter_recall: Share = 0.8  # if it finds at least this share of the failures;
    prefilter_rest: float = Field(default=0.1, gt=0, le=1)  # of what it does not choose, this share of the rate is read
    confidence: Share = 0.95  # of intervals of rates in traffic
    drift_psi: float = Field(default=0.2, gt=0)  # population stability: from here traffic is commonly called shifted
    min_recent_failures: Count = 5  # fewer new failures say nothing of a drop in agreement,
    min_recent: Count = 20  # nor do fewer new labels
    stale_after_days: Count = 90  # an evaluator without a failure or a label for so long is pruned
    max_usd_per_find: float = Field(default=5.0, gt=0)  # one that costs more for each confirmed failure is pruned


class VerificationSettings(_Stage):
    """When an issue is solved, when it has returned, and when it escalates. Figures: docs/lifecycle.md."""

    target_rate: float = Field(default=0.01, gt=0, le=1)  # a solved issue shows in less of the traffic than this,
    target_share: float = Field(default=0.25, gt=0, le=1)  # and in less than this share of what it was before
    confidence: Share = 0.95  # that it is below the target
    max_passes: Count = 300  # 0 of 299 say that a rate is below 1 %, the least that is taken for a rate of before
    reader_error: Share = 0.003  # of traces without the failure in which a slip that nobody corrects sees it
    recurrence_error: float = Field(default=0.05, gt=0, lt=1)  # chance ever to call a solved issue returned wrongly
    recurrence_rate: float = Field(default=0.02, gt=0, lt=1)  # the least share of traffic that counts as a return
    epoch_days: Count = 28  # the search for a return starts anew with each release, and after so many days
    new_days: Count = 7  # an issue is flagged new for so long after it was promoted
    baseline_days: Count = 28  # what is usual at an hour of the week is learned from these days before
    escalation_hours: Count = 6  # the rate of so many hours is compared with what is usual then
    escalation_ratio: float = Field(default=2.0, gt=1)  # times the usual rate: escalating from here,
    calm_ratio: float = Field(default=1.3, ge=1)  # and calm again only below here
    escalation_floor: Count = 5  # flagged traces in these hours: below it nothing escalates
    escalation_error: float = Field(default=0.001, gt=0, lt=1)  # chance that usual traffic looks so in one comparison
    dwell_hours: Count = 12  # calm must have lasted so long before an escalation ends: it does not flap


class AlertSettings(_Stage):
    """Who is told when something needs a person. EVALPIPE_WEBHOOK_URL sets `webhook_url`."""

    webhook_url: SecretStr | None = None  # takes Slack-compatible JSON by POST; None: nobody is told
    timeout_s: float = Field(default=10.0, gt=0)
    max_tries: int = Field(default=3, ge=1)  # of one message, within a minute
    base_url: str | None = None  # where people reach `evalpipe serve`, such as https://evals.example.com: for links
    dagster_url: str | None = None  # likewise Dagster's pages


class GateSettings(_Stage):
    """May this release ship?"""

    pass_rate: Share = 0.80  # an evaluator passes when this share of its cases passes
    # By issue id, a pass rate of its own: EVALPIPE_GATE__PASS_RATES='{"iss_3f2": 0.95}'.
    pass_rates: Mapping[str, Share] = {}
    min_cases: Count = 1  # fewer cases than this abstain
    max_traces: Count = 100_000  # of a release that has more the newest are judged: memory is bounded by this
    max_fault_share: Share = 0.2  # more faults than this and the evaluator abstains; likewise of cases that are none
    on_abstain: Literal["block", "warn"] = "block"
    confidence: Share = 0.95  # of the interval of a pass rate
    # default: an evaluator blocks only on evidence, and what got surely worse blocks too. article: the point figures
    # alone, MCC >= block_mcc and pass rate >= pass_rate.
    policy: Literal["default", "article"] = "default"
    on_regression: Literal["block", "warn"] = "block"  # what got surely worse than the last release, by default policy
    regression_chance: Share = 0.01  # that of all evaluators together one calls a release worse that is not
    regression_margin: Share = 0.1  # a pass rate that fell by less than this is no reason to stop a release
    otlp_endpoint: str | None = None  # where gen_ai.evaluation.result events go, such as http://localhost:4318


class HookSettings(_Stage):
    """The webhook by which CI asks the gate."""

    secrets: Mapping[str, SecretStr] = {}  # by name: who may ask, and the key that signs; empty: nobody may
    max_body_bytes: Count = 32 * 1024 * 1024  # some 20,000 cases
    tolerance_s: Count = 300  # a request that was signed longer ago, or so far in the future, is refused
    requests_per_minute: Count = 30  # of one secret
    max_wait_s: float = Field(default=60.0, ge=0)  # of ?wait=1; after it the answer is 202
    workers: int = Field(default=2, ge=1)  # processes that judge; each holds some 400 MB
    keep_days: Count = 30  # what was asked and answered


class GithubSettings(_Stage):
    """Commit statuses and pull request comments, through GitHub's REST API. Nothing is sent without a token."""

    token: SecretStr | None = None
    api_url: str = "https://api.github.com"  # of GitHub Enterprise Server: https://HOST/api/v3
    context: str = "evalpipe/gate"  # the name under which the status stands beside those of other checks
    timeout_s: float = Field(default=10.0, gt=0)
    max_tries: Count = 4


class LlmSettings(_Stage):
    """Any LiteLLM model; without one, rules and learned evaluators do all the work."""

    judge_model: str | None = None  # such as openai/gpt-4o-mini, anthropic/claude-haiku-4-5, ollama_chat/qwen3
    reflection_model: str | None = None  # rewrites the instruction of a judge; None: the judge model
    api_base: str | None = None
    timeout_s: float = Field(default=60.0, gt=0)
    max_retries: Count = 3
    max_retry_after_s: float = Field(default=60.0, ge=0)  # a server that asks for longer is not waited for
    max_concurrency: int = Field(default=8, ge=1)  # questions under way: servers answer in seconds, this many is polite
    max_prompt_chars: Count = 24_000  # about 8,000 tokens at three characters a token
    cache: Path | None = None  # answers are kept here by their content; None: in the home, answers.sqlite
    max_calls: Count | None = 5_000  # of one run: one generation, one day of verdicts, one gate; None: no limit
    max_tokens: Count | None = None
    max_cost_usd: float | None = Field(default=None, ge=0)  # only models with a known price count towards it


class JudgeSettings(_Stage):
    """How the instruction of a judge is evolved.

    A run takes about validation * (1 + accepted) + 2 * minibatch * iterations calls.
    """

    backend: Literal["gepa", "dspy"] = "gepa"
    max_train: Count = 40  # examples that the reflection learns from, a third failures where there are so many
    max_validation: Count = 40  # examples that every accepted instruction is tried on
    minibatch: int = Field(default=6, ge=2)  # half failures, half others
    iterations: Count = 20
    patience: Count = 8  # reflections in a row without an accepted instruction
    n_cases: Count = 4  # few-shot cases; half failures, half others
    n_samples: int = Field(default=1, ge=1)  # of one trace; the majority is the verdict
    max_fault_share: Share = 0.2  # of a batch without a verdict: above it the run stops, and resumes when asked again
    seed: int = 11


class Settings(BaseSettings):
    """All stages. Build it with `load_settings`; give tests their own."""

    model_config = SettingsConfigDict(
        env_prefix="EVALPIPE_", env_nested_delimiter="__", frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Path("data")
    lake_uri: str | None = None  # the Delta tables elsewhere than under home: a path, or s3://bucket/prefix
    judge_model: str | None = None  # shorthand of llm.judge_model
    reflection_model: str | None = None  # shorthand of llm.reflection_model
    ingest_tokens: str | None = None  # shorthand of ingest.tokens, separated by commas
    webhook_url: SecretStr | None = None  # shorthand of alerts.webhook_url
    gate_secrets: SecretStr | None = None  # shorthand of hook.secrets: NAME=SECRET, separated by commas
    github_token: SecretStr | None = None  # shorthand of github.token
    ingest: IngestSettings = IngestSettings()
    redaction: RedactionSettings = RedactionSettings()
    observe: ObserveSettings = ObserveSettings()
    upkeep: UpkeepSettings = UpkeepSettings()
    signals: SignalSettings = SignalSettings()
    review: ReviewSettings = ReviewSettings()
    issues: IssueSettings = IssueSettings()
    generation: GenerationSettings = GenerationSettings()
    quality: QualitySettings = QualitySettings()
    monitor: MonitorSettings = MonitorSettings()
    verification: VerificationSettings = VerificationSettings()
    alerts: AlertSettings = AlertSettings()
    gate: GateSettings = GateSettings()
    hook: HookSettings = HookSettings()
    github: GithubSettings = GithubSettings()
    llm: LlmSettings = LlmSettings()
    judges: JudgeSettings = JudgeSettings()


def load_settings(home: Path | str | None = None) -> Settings:
    """The settings of this process: defaults, EVALPIPE_*, then `home`. Raises SettingsError, naming the variable."""
    try:
        settings = Settings() if home is None else Settings(home=Path(home))
    except ValidationError as error:
        first = error.errors()[0]
        name = "EVALPIPE_" + "__".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']} (it is {first['input']!r}). Change or unset it.") from error
    llm = settings.llm.model_copy(
        update={
            "judge_model": settings.judge_model or settings.llm.judge_model,
            "reflection_model": settings.reflection_model or settings.llm.reflection_model,
            "cache": settings.llm.cache or settings.home / "answers.sqlite",
        }
    )
    tokens = tuple(SecretStr(token.strip()) for token in (settings.ingest_tokens or "").split(",") if token.strip())
    ingest = settings.ingest.model_copy(update={"tokens": tokens or settings.ingest.tokens})
    webhook_url = settings.webhook_url or settings.alerts.webhook_url
    alerts = settings.alerts.model_copy(update={"webhook_url": webhook_url})
    hook = settings.hook
    if settings.gate_secrets is not None:
        hook = hook.model_copy(update={"secrets": _secrets_of(settings.gate_secrets.get_secret_value())})
    github = settings.github.model_copy(update={"token": settings.github_token or settings.github.token})
    stages = {"llm": llm, "ingest": ingest, "alerts": alerts, "hook": hook, "github": github}
    return settings.model_copy(update=stages)


def _secrets_of(text: str) -> dict[str, SecretStr]:
    """`ci=KEY,gitlab=KEY`; one without a name is `ci`. Raises SettingsError, which shows no secret."""
    secrets: dict[str, SecretStr] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, is_named, secret = part.partition("=")
        # Base64 ends with the sign that would name it.
        if not is_named or not secret.strip("="):
            name, secret = "ci", part
        if name in secrets:
            raise SettingsError(f"EVALPIPE_GATE_SECRETS: {name} has two secrets. Give each its own name: a=KEY,b=KEY")
        secrets[name] = SecretStr(secret)
    return secrets
