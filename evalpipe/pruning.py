"""Which evaluators have outlived their use, and retiring them: a last version that says so, never a deletion.

A person takes a retirement back with `restore`, which is a version too.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from evalpipe.errors import StateError
from evalpipe.evaluators.catalog import current_evaluators, load, write_artifact
from evalpipe.lake.store import Lake
from evalpipe.quality.coverage import latest_quality
from evalpipe.settings import MonitorSettings
from evalpipe.tables import (
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUE_EVENTS,
    ISSUES,
    LABELS,
    VERDICTS,
)

STALE = pl.Schema({"evaluator_id": pl.String, "version": pl.Int32, "issue_id": pl.String, "reason": pl.String})
"""One row an evaluator to retire, with the reason in words."""

_SAME_CATCHES = 0.95  # Jaccard index of what two evaluators flag: from here one of them says nothing new,
_MIN_CATCHES = 10  # if they flag so many: fewer may agree by luck
_CAUGHT = ("new regression", "returned after resolution")
_RESTORED = "restored by "


@dataclass(frozen=True)
class PruningTables:
    """What pruning is decided by; those not given are empty. `verdicts` may be lazy: they are many."""

    evaluators: pl.DataFrame = field(default_factory=EVALUATORS.empty)  # current versions
    issues: pl.DataFrame = field(default_factory=ISSUES.empty)
    labels: pl.DataFrame = field(default_factory=LABELS.empty)
    verdicts: pl.DataFrame | pl.LazyFrame = field(default_factory=VERDICTS.empty)
    quality: pl.DataFrame = field(default_factory=EVALUATOR_QUALITY.empty)
    events: pl.DataFrame = field(default_factory=ISSUE_EVENTS.empty)
    gate_runs: pl.DataFrame = field(default_factory=GATE_RUNS.empty)
    gate_results: pl.DataFrame = field(default_factory=GATE_RESULTS.empty)


def prune(lake: Lake, settings: MonitorSettings, now: datetime, *, is_rehearsal: bool = False) -> pl.DataFrame:
    """Retire what is stale and return it as STALE rows; a rehearsal only returns it.

    A retired evaluator judges nothing; its history stays.
    """
    current = current_evaluators(lake.read(EVALUATORS))
    tables = PruningTables(
        evaluators=current,
        issues=lake.read(ISSUES),
        labels=lake.read(LABELS),
        verdicts=lake.scan(VERDICTS),
        quality=lake.read(EVALUATOR_QUALITY),
        events=lake.read(ISSUE_EVENTS),
        gate_runs=lake.read(GATE_RUNS),
        gate_results=lake.read(GATE_RESULTS),
    )
    stale = stale_evaluators(tables, now=now, settings=settings)
    retired = current.drop("reason").join(stale.select("evaluator_id", "reason"), on="evaluator_id")
    if retired.height and not is_rehearsal:
        last = retired.with_columns(version=pl.col("version") + 1, status=pl.lit("retired"), created_at=pl.lit(now))
        lake.append_new(EVALUATORS, last)
    return stale


def restore(lake: Lake, artifacts: Path, issue_id: str, *, by: str, now: datetime) -> pl.DataFrame:
    """Bring the retired evaluator of an issue back as a new version, and return its EVALUATORS row.

    It is the artifact of the last living version under the new number. What `prune` found stale it leaves alone for
    `settings.stale_after_days`, unless its issue is merged or ignored. Raises StateError when there is none that is
    retired.
    """
    versions = lake.read(EVALUATORS, pl.col("issue_id") == issue_id).sort("version")
    living = versions.filter(pl.col("status") != "retired")
    if living.is_empty():
        raise StateError(f"issue {issue_id} never had an evaluator. Run: evalpipe generate {issue_id}")
    newest, last = versions.row(-1, named=True), living.row(-1, named=True)
    if newest["status"] != "retired":
        raise StateError(f"the evaluator of issue {issue_id} is not retired. Run: evalpipe evaluators list")
    version = newest["version"] + 1
    artifact = load(last["artifact"], last["artifact_sha256"]).model_copy(update={"version": version})
    row = living.tail(1).with_columns(
        version=pl.lit(version, pl.Int32),
        artifact=pl.lit(artifact.to_json()),
        artifact_sha256=pl.lit(artifact.sha256),
        created_at=pl.lit(now),
        reason=pl.lit(f"{_RESTORED}{by}, as version {last['version']} was; it had been retired: {newest['reason']}"),
    )
    write_artifact(artifacts, artifact)
    lake.append_new(EVALUATORS, row)
    return EVALUATORS.conform(row)


def stale_evaluators(tables: PruningTables, *, now: datetime, settings: MonitorSettings) -> pl.DataFrame:
    """STALE rows, by evaluator_id, of the current versions.

    Within the last `settings.stale_after_days`, whatever version of an evaluator judged, it is stale when
    its issue was merged or ignored;
    its issue was resolved before and nobody annotated the failure since, nor has it recurred;
    it is older than that, judged traffic and failed none of it while nobody annotated a failure of its issue (one that
    judged nothing is not stale: nothing was looked at);
    it cost more than `settings.max_usd_per_find` for each failure that it flagged and people confirmed, though people
    did annotate its issue;
    or another one for the same services that agrees better with people flags the same traces.
    None of this holds for the only one that caught a regression in that time: alone in its gate, or as its issue
    recurred. Nor, but for the first, for one that a person restored in that time.
    """
    since = now - timedelta(days=settings.stale_after_days)
    verdicts = tables.verdicts.lazy().filter(pl.col("day") >= since.date())
    evaluators = tables.evaluators.filter(pl.col("status") != "retired").sort("evaluator_id")
    is_needed = pl.col("evaluator_id").is_in(_only_catchers(tables, since).implode()) | pl.col("issue_id").is_in(
        _recurred(tables, since).implode()
    )
    is_restored = pl.col("reason").str.starts_with(_RESTORED) & (pl.col("created_at") >= since)
    known = (
        evaluators.select(
            "evaluator_id", "version", "issue_id", "created_at", is_needed=is_needed, is_restored=is_restored
        )
        .join(tables.issues.select("issue_id", "state", "resolved_at", "updated_at"), on="issue_id", how="left")
        .join(_seen(verdicts, tables.labels), on="evaluator_id", how="left")
        .join(_annotated(tables.labels, since), on="issue_id", how="left")
        .with_columns(pl.col("n_judged", "n_failed", "n_found", "n_failures", "n_labels", "cost_usd").fill_null(0))
    )
    days = settings.stale_after_days
    resolved_at = pl.coalesce("resolved_at", "updated_at")
    is_unseen = pl.col("n_failures") == 0
    is_quiet = (pl.col("created_at") < since) & (pl.col("n_judged") > 0) & (pl.col("n_failed") == 0) & is_unseen
    is_dear = (pl.col("n_labels") > 0) & (
        pl.col("cost_usd") > settings.max_usd_per_find * pl.max_horizontal("n_found", 1)
    )
    reasons = known.with_columns(
        reason=pl.when("is_needed")
        .then(None)
        .when(pl.col("state") == "merged")
        .then(pl.lit("its issue was merged into another"))
        .when(pl.col("state") == "ignored")
        .then(pl.lit("its issue was ignored"))
        .when("is_restored")
        .then(None)
        .when((pl.col("state") == "resolved") & (resolved_at < since) & is_unseen)
        .then(
            pl.format(
                "its issue was resolved on {} and has not been seen in {} days",
                resolved_at.dt.date().cast(pl.String),
                pl.lit(days),
            )
        )
        .when(is_quiet)
        .then(
            pl.format("failed none of {} traces and nobody annotated its failure in {} days", "n_judged", pl.lit(days))
        )
        .when(is_dear)
        .then(
            pl.format(
                "cost {} USD in {} days and found {}: more than {} USD each",
                pl.col("cost_usd").round(2),
                pl.lit(days),
                pl.when(pl.col("n_found") == 1)
                .then(pl.lit("1 confirmed failure"))
                .otherwise(pl.format("{} confirmed failures", "n_found")),
                pl.lit(settings.max_usd_per_find),
            )
        )
    )
    useful = reasons.filter(pl.col("reason").is_null())
    subsumed = _subsumed(
        evaluators.join(useful.select("evaluator_id"), on="evaluator_id", how="semi"),
        verdicts,
        tables.labels,
        tables.quality,
        held=useful.filter(pl.col("is_needed") | pl.col("is_restored"))["evaluator_id"].to_list(),
    )
    return (
        reasons.join(subsumed, on="evaluator_id", how="left", suffix="_subsumed")
        .with_columns(reason=pl.coalesce("reason", "reason_subsumed"))
        .filter(pl.col("reason").is_not_null())
        .sort("evaluator_id")
        .select(pl.col(name).cast(dtype) for name, dtype in STALE.items())
    )


def _only_catchers(tables: PruningTables, since: datetime) -> pl.Series:
    """The evaluators that alone failed in a gate, with a failure that was new or had returned."""
    recent = tables.gate_runs.filter(pl.col("decided_at") >= since).select("gate_id")
    failed = tables.gate_results.filter(pl.col("outcome") == "failed").join(recent, on="gate_id", how="semi")
    alone = failed.filter(pl.len().over("gate_id") == 1)
    return alone.filter(pl.col("link").is_in(_CAUGHT))["evaluator_id"].unique()


def _recurred(tables: PruningTables, since: datetime) -> pl.Series:
    """The issues that recurred: their evaluator noticed it, or will be needed to see it gone."""
    return tables.events.filter(pl.col("kind") == "recurred", pl.col("at") >= since)["issue_id"].unique()


def _seen(verdicts: pl.LazyFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Of each evaluator: traces judged, of them failed, of these confirmed by people, and what the verdicts cost."""
    confirmed = labels.filter("is_failure").select("issue_id", "trace_id", is_confirmed=pl.lit(True)).unique()
    is_fail = pl.col("outcome") == "fail"
    return (
        verdicts.select("evaluator_id", "issue_id", "trace_id", "outcome", "cost_usd")
        .join(confirmed.lazy(), on=["issue_id", "trace_id"], how="left")
        .group_by("evaluator_id")
        .agg(
            n_judged=(pl.col("outcome") != "fault").sum(),
            n_failed=is_fail.sum(),
            n_found=pl.col("trace_id").filter(is_fail & pl.col("is_confirmed").fill_null(False)).n_unique(),
            cost_usd=pl.col("cost_usd").sum(),
        )
        .collect()
    )


def _annotated(labels: pl.DataFrame, since: datetime) -> pl.DataFrame:
    recent = labels.filter(pl.col("labelled_at") >= since)
    return recent.group_by("issue_id").agg(n_failures=pl.col("is_failure").sum(), n_labels=pl.len())


def _subsumed(
    evaluators: pl.DataFrame,
    verdicts: pl.LazyFrame,
    labels: pl.DataFrame,
    quality: pl.DataFrame,
    *,
    held: Collection[str],
) -> pl.DataFrame:
    """evaluator_id and reason of those that flag what a better one for the same services flags.

    Compared on the traces that both judged: on all that either flags, and on those of them which people found failing,
    for either issue. The best stay: one is subsumed only by one that stays. Those in `held` stay anyway.
    """
    measured = latest_quality(quality, "held_out").select("evaluator_id", "version", "mcc")
    ranked = (
        evaluators.join(measured, on=["evaluator_id", "version"], how="left")
        .sort("mcc", "evaluator_id", descending=[True, False], nulls_last=True)
        .select(
            "evaluator_id",
            "failure_mode",
            "mcc",
            services=pl.col("artifact").str.json_path_match("$.services").fill_null("[]"),
        )
    )
    services = {row["evaluator_id"]: row["services"] for row in ranked.iter_rows(named=True)}
    alike = _alike(ranked["evaluator_id"], verdicts, labels)
    staying: list[str] = []
    reasons: dict[str, str] = {}
    names = dict(ranked.select("evaluator_id", "failure_mode").iter_rows())
    for evaluator in ranked["evaluator_id"]:
        twins = (
            []
            if evaluator in held
            else [kept for kept in staying if (kept, evaluator) in alike and services[kept] == services[evaluator]]
        )
        if twins:
            n_both, n_any = alike[twins[0], evaluator]
            reasons[evaluator] = (
                f"{twins[0]} ({names[twins[0]]}) agrees at least as well with people and flags the same: "
                f"{n_both} of {n_any} traces"
            )
        else:
            staying.append(evaluator)
    return pl.DataFrame(list(reasons.items()), schema={"evaluator_id": pl.String, "reason": pl.String}, orient="row")


def _alike(
    evaluator_ids: pl.Series, verdicts: pl.LazyFrame, labels: pl.DataFrame
) -> dict[tuple[str, str], tuple[int, int]]:
    """For each two that flag the same, in either order: the traces that both flag, and those that either does."""
    judged = verdicts.filter(
        pl.col("evaluator_id").is_in(evaluator_ids.implode()), pl.col("outcome") != "fault"
    ).select("evaluator_id", "version", "issue_id", "trace_id", is_flagged=pl.col("outcome") == "fail")
    flagged = judged.filter("is_flagged").select("trace_id").unique()
    # Of several versions the newest verdict counts; the traces that nobody flags are left where they lie.
    said = (
        judged.join(flagged, on="trace_id", how="semi")
        .sort("version")
        .group_by("evaluator_id", "issue_id", "trace_id")
        .agg(pl.col("is_flagged").last())
        .collect()
    )
    failing = labels.filter("is_failure").select("issue_id", "trace_id", is_failing=pl.lit(True)).unique()
    both, either = pl.col("is_flagged") & pl.col("is_flagged_other"), pl.col("is_flagged") | pl.col("is_flagged_other")
    is_failing = pl.col("is_failing") | pl.col("is_failing_other")  # for the issue of either
    said = said.join(failing, on=["issue_id", "trace_id"], how="left").with_columns(
        pl.col("is_failing").fill_null(False)
    )
    pairs = (
        said.join(said, on="trace_id", suffix="_other")
        .filter(pl.col("evaluator_id") != pl.col("evaluator_id_other"))
        .group_by("evaluator_id", "evaluator_id_other")
        .agg(
            n_both=both.sum(),
            n_any=either.sum(),
            n_both_failing=(both & is_failing).sum(),
            n_any_failing=(either & is_failing).sum(),
        )
        .filter(
            pl.col("n_both") >= _MIN_CATCHES,
            pl.col("n_both") >= _SAME_CATCHES * pl.col("n_any"),
            pl.col("n_both_failing") > 0,
            pl.col("n_both_failing") >= _SAME_CATCHES * pl.col("n_any_failing"),
        )
    )
    return {(a, b): (n_both, n_any) for a, b, n_both, n_any, *_ in pairs.iter_rows()}
