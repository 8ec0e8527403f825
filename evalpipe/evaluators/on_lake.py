"""Evaluators over the lake: which are trusted now, their verdicts on traffic, its rates, and agreement with people."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.catalog import current_evaluators, load
from evalpipe.evaluators.measure import current_when_labelled, measure, prequential, status_of
from evalpipe.evaluators.rates import N_WEEKS, count_frame, rate_frame
from evalpipe.evaluators.reuse import Standing, standing_of, trace_states
from evalpipe.evaluators.rules import columns_asked, compile_rule
from evalpipe.evaluators.run import fields_of, is_served, run_evaluators, verdicts_of
from evalpipe.evaluators.sampling import Bools, Floats, bits_of, chances, draws, prefilter_of, rate_of
from evalpipe.evaluators.view import evaluator_view, needs_features
from evalpipe.lake.store import Lake
from evalpipe.quality.coverage import latest_quality
from evalpipe.quality.drift import demotions
from evalpipe.settings import MonitorSettings, QualitySettings, Settings
from evalpipe.tables import (
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    PRODUCTION,
    SETTLED,
    TRACE_FEATURES,
    TRACES,
    VERDICT_COUNTS,
    VERDICTS,
)

_TRUSTED = ("active", "monitoring")


def standing(
    evaluators: pl.DataFrame, quality: pl.DataFrame, settings: QualitySettings, health: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The current version of every evaluator with its latest held-out figures and the status these give it.

    EVALUATORS columns, and mcc, mcc_lower, mcc_upper, tp, fp, tn, fn, measured_at, and demotion: where EVALUATOR_HEALTH
    says that this version fell, why it does not block, else null. `status` is what the evaluator is worth today; what
    it was worth when it was made is in EVALUATORS.
    """
    figures = ("tp", "fp", "tn", "fn", "mcc", "mcc_lower", "mcc_upper", "measured_at")
    latest = latest_quality(quality, "held_out").select("evaluator_id", "version", *figures)
    version = ["evaluator_id", "version"]
    joined = (
        current_evaluators(evaluators)
        .join(latest, on=version, how="left")
        .join(demotions(EVALUATOR_HEALTH.empty() if health is None else health), on=version, how="left")
    )
    rows = joined.select("mcc", "mcc_lower", pl.col("tp") + pl.col("fn"), "demotion").rows()
    status = [status_of(mcc, lower, positives or 0, settings, fell) for mcc, lower, positives, fell in rows]
    return joined.with_columns(status=pl.Series(status, dtype=pl.String)).sort("evaluator_id")


def trusted(lake: Lake, settings: QualitySettings) -> pl.DataFrame:
    """The evaluators of issues that are still open or solved, good enough to judge traffic: see `standing`."""
    known = standing(lake.read(EVALUATORS), lake.read(EVALUATOR_QUALITY), settings, lake.read(EVALUATOR_HEALTH))
    gone = lake.read(ISSUES, pl.col("state").is_in(["ignored", "merged"]))
    return known.filter(pl.col("status").is_in(_TRUSTED)).join(gone, on="issue_id", how="anti")


def judging(lake: Lake, settings: QualitySettings, issue_ids: Collection[str] = ()) -> pl.DataFrame:
    """The trusted evaluators of these issues, of all without any: see `trusted`."""
    suite = trusted(lake, settings)
    return suite.filter(pl.col("issue_id").is_in(list(issue_ids))) if issue_ids else suite


def loaded(evaluators: pl.DataFrame) -> list[Artifact]:
    """The artifacts of EVALUATORS rows, each checked against its schema and its hash."""
    return [load(*row) for row in evaluators.select("artifact", "artifact_sha256").iter_rows()]


class DayOfVerdicts(NamedTuple):
    """All VERDICTS of a day, and how many of the current versions' were made now or kept from before."""

    rows: pl.DataFrame
    n_judged: int
    n_reused: int
    n_served: int  # pairs of a trace and an evaluator of its service: what would be judged at a rate of 1

    @property
    def share_judged(self) -> float | None:
        """Of those pairs, the share with a verdict; None without any."""
        return (self.n_judged + self.n_reused) / self.n_served if self.n_served else None


def verdicts_on(lake: Lake, day: date, artifacts: Sequence[Artifact], settings: Settings) -> DayOfVerdicts:
    """What these evaluators say of the traces of `day` as they are now, and what other versions and evaluators said.

    Each judges the traces that are drawn for it (sampling.py), and only those of which its version has not judged yet
    what they look like now (reuse.py); a fault is tried again. Traces that nobody has to judge are not even viewed.
    """
    artifacts = sorted(artifacts, key=lambda artifact: (artifact.evaluator_id, artifact.version))
    on_day = pl.col("day") == day
    judges = pl.DataFrame(
        [(a.evaluator_id, a.version) for a in artifacts],
        schema={name: VERDICTS.schema[name] for name in ("evaluator_id", "version")},
        orient="row",
    )
    said = lake.read(VERDICTS, on_day)
    others = said.join(judges, on=judges.columns, how="anti")
    traces = lake.read(TRACES, on_day, PRODUCTION).sort("trace_id")
    if not artifacts or traces.is_empty():
        return DayOfVerdicts(others, 0, 0, 0)
    features = features_of(lake, traces)
    states = traces.select("trace_id", trace_state=trace_states(traces, features))
    said = said.join(judges, on=judges.columns, how="semi").partition_by(judges.columns, as_dict=True)
    standings = _standings(lake, artifacts, traces, features, states, said, settings.monitor)

    is_viewed = np.logical_or.reduce([standing.is_due for standing in standings])
    due = [artifact for artifact, standing in zip(artifacts, standings, strict=True) if standing.is_due.any()]
    view = evaluator_view(traces.filter(is_viewed), features, fields=fields_of(due))
    chosen = [pl.Series(standing.is_due[is_viewed], dtype=pl.Boolean) for standing in standings]
    made = verdicts_of(artifacts, view, chosen, llm=settings.llm)

    parts = [others]
    for artifact, standing, fresh in zip(artifacts, standings, made, strict=True):
        before = said.get((artifact.evaluator_id, artifact.version), VERDICTS.empty())
        parts += [
            _with_chance(
                before.drop("inclusion_probability", "trace_state"), states, standing.is_kept, standing.chance
            ),
            _with_chance(fresh.with_columns(day=pl.lit(day)), states, standing.is_due, standing.chance),
        ]
    return DayOfVerdicts(
        pl.concat(parts),
        n_judged=sum(int(standing.is_due.sum()) for standing in standings),
        n_reused=sum(int(standing.is_kept.sum()) for standing in standings),
        n_served=sum(int(is_served(artifact, traces["service_name"]).sum()) for artifact in artifacts),
    )


def rates_of(lake: Lake, evaluators: pl.DataFrame, settings: MonitorSettings) -> list[float]:
    """The share of traffic that each of these EVALUATORS rows judges: see `rate_of`."""
    severity = dict(lake.read(ISSUES).select("issue_id", "severity").iter_rows())
    return [
        rate_of(kind, issue_id, severity.get(issue_id), settings)
        for kind, issue_id in evaluators.select("kind", "issue_id").iter_rows()
    ]


def _standings(
    lake: Lake,
    artifacts: Sequence[Artifact],
    traces: pl.DataFrame,
    features: pl.DataFrame,
    states: pl.DataFrame,
    said: Mapping[tuple[Any, ...], pl.DataFrame],
    settings: MonitorSettings,
) -> list[Standing]:
    """What each evaluator has to judge of `traces`; `said` is what its version said before, by id and version."""
    of = pl.DataFrame([(a.kind, a.issue_id) for a in artifacts], schema=["kind", "issue_id"], orient="row")
    rates = rates_of(lake, of, settings)
    prevalence = dict(lake.read(PREVALENCE).select("issue_id", "prevalence").iter_rows())
    bits = bits_of(traces["trace_id"]) if any(rate < 1 for rate in rates) else None
    standings = []
    for artifact, rate in zip(artifacts, rates, strict=True):
        before = said.get((artifact.evaluator_id, artifact.version), VERDICTS.empty())
        served = is_served(artifact, traces["service_name"]).to_numpy()
        draw = None if rate >= 1 or bits is None else draws(bits, artifact.evaluator_id)
        chance = np.full(traces.height, rate)
        rule = prefilter_of(artifact.kind, artifact.program, rate, prevalence.get(artifact.issue_id), settings)
        if rule is not None:
            # Of what is certain already the rule has nothing to say.
            certain = before.filter(pl.col("inclusion_probability") >= 1, pl.col("outcome") != "fault")
            known = states.join(certain, on=states.columns, how="semi", maintain_order="left")["trace_id"]
            asked = served & ~traces["trace_id"].is_in(known.implode()).to_numpy()
            flags = np.zeros(traces.height, dtype=bool)
            view = evaluator_view(traces.filter(asked), features, fields=columns_asked(rule))
            flags[asked] = view.select(compile_rule(rule)).to_series().to_numpy()
            chance = chances(rate, flags, settings)
        standings.append(standing_of(before, states, served, draw, chance))
    return standings


def _with_chance(rows: pl.DataFrame, states: pl.DataFrame, is_of: Bools, chance: Floats) -> pl.DataFrame:
    """VERDICTS of the traces that are meant, with the chance and the state of each, in the order of `states`."""
    meant = states.filter(is_of).with_columns(inclusion_probability=pl.Series(chance[is_of], dtype=pl.Float64))
    return VERDICTS.conform(meant.join(rows, on="trace_id", how="inner", maintain_order="left"))


def counts_on(lake: Lake, day: date) -> pl.DataFrame:
    """VERDICT_COUNTS of `day`, of every version that has judged it."""
    on_day = pl.col("day") == day
    said = lake.scan(VERDICTS).filter(on_day).drop("explanation").collect()
    started = (
        lake.scan(TRACES)
        .filter(on_day)
        .select("trace_id", "session_id", "start_unix_ns", "service_name", "service_version")
    )
    return count_frame(said, started.collect())


def rates_now(lake: Lake, settings: MonitorSettings) -> pl.DataFrame:
    """ISSUE_RATES of the weeks up to the last day with counts."""
    last = lake.scan(VERDICT_COUNTS).select(pl.col("day").max()).collect().item()
    if last is None:
        return ISSUE_RATES.empty()
    recent = lake.read(VERDICT_COUNTS, pl.col("day") > last - timedelta(weeks=N_WEEKS))
    return rate_frame(recent, lake.read(EVALUATOR_QUALITY), settings.confidence)


def quality_of_all(lake: Lake, settings: Settings, now: datetime) -> pl.DataFrame:
    """EVALUATOR_QUALITY of the current version of every evaluator on all labels of its issue, as of `now`."""
    measured = [EVALUATOR_QUALITY.empty()]
    labels, evaluators = lake.read(LABELS, SETTLED), lake.read(EVALUATORS)
    how = {"now": now, "quality": settings.quality, "seed": settings.generation.seed}
    for artifact in loaded(current_evaluators(evaluators).sort("evaluator_id")):
        of_issue = labels.filter(pl.col("issue_id") == artifact.issue_id)
        if of_issue.height:
            versions = evaluators.filter(pl.col("evaluator_id") == artifact.evaluator_id)
            said = verdicts_on_labels(lake, versions, of_issue, settings)
            measured.append(measure(artifact, of_issue, said.now, **how))
            measured.append(prequential(artifact, of_issue, said.then, **how))
    return pl.concat(measured)


class OnLabels(NamedTuple):
    """What an evaluator says of labelled traces: trace_id, outcome."""

    now: pl.DataFrame  # its newest version, of all of them
    then: pl.DataFrame  # of each the version that was current when it was labelled


def verdicts_on_labels(lake: Lake, versions: pl.DataFrame, labels: pl.DataFrame, settings: Settings) -> OnLabels:
    """The verdicts of one evaluator on the LABELS of its issue; `versions` are all its EVALUATORS rows.

    A verdict that was given on the traffic is taken from there, the others are made now. Each trace is asked of at most
    two versions.
    """
    living = versions.filter(pl.col("status") != "retired").sort("version")
    artifacts = {artifact.version: artifact for artifact in loaded(living)}
    learned = pl.DataFrame(
        [(version, trace_id) for version, artifact in artifacts.items() for trace_id in artifact.held_out],
        schema={"version": pl.Int32, "trace_id": pl.String},
        orient="row",
    )
    then = current_when_labelled(labels, versions, learned)
    now = labels.select("trace_id", version=pl.lit(max(artifacts), pl.Int32)).unique()
    key = ["trace_id", "version"]
    asked = pl.concat([now, then]).unique()
    known = (
        lake.scan(VERDICTS)
        .filter(
            pl.col("day").is_in(labels["day"].unique().implode()),
            pl.col("evaluator_id") == living["evaluator_id"][0],
            pl.col("trace_id").is_in(labels["trace_id"].unique().implode()),
            pl.col("outcome") != "fault",
        )
        .select(*key, "outcome")
        .collect()
        .join(asked, on=key, how="semi")
    )
    missing = asked.join(known, on=key, how="anti")
    due = [artifact for version, artifact in artifacts.items() if version in set(missing["version"])]
    traces = labelled_traces(lake, labels.join(missing, on="trace_id", how="semi"))
    view = view_of(lake, traces, fields_of(due))
    said = [known]
    for artifact in due:
        own = missing.filter(pl.col("version") == artifact.version)
        fresh = run_evaluators([artifact], view.join(own, on="trace_id", how="semi"), llm=settings.llm)
        said.append(fresh.select(*key, "outcome"))
    outcomes = pl.concat(said)
    return OnLabels(
        *(outcomes.join(each, on=key).select("trace_id", "outcome").sort("trace_id") for each in (now, then))
    )


def labelled_traces(lake: Lake, labels: pl.DataFrame) -> pl.DataFrame:
    """The TRACES rows that `labels` speak of, reading only the days they lie on."""
    days, ids = labels["day"].unique(), labels["trace_id"].unique()
    return lake.read(TRACES, pl.col("day").is_in(days.implode()), pl.col("trace_id").is_in(ids.implode()))


def view_of(lake: Lake, traces: pl.DataFrame, fields: Collection[str] | None = None) -> pl.DataFrame:
    """The view of TRACES rows of the lake, with what was counted of their sessions: see `evaluator_view`."""
    return evaluator_view(traces, features_of(lake, traces) if needs_features(fields) else None, fields=fields)


def features_of(lake: Lake, traces: pl.DataFrame) -> pl.DataFrame:
    """The TRACE_FEATURES rows of these traces, reading only the days they lie on."""
    days, ids = (traces[name].unique().implode() for name in ("day", "trace_id"))
    return lake.read(TRACE_FEATURES, pl.col("day").is_in(days), pl.col("trace_id").is_in(ids))
