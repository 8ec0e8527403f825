"""From TRACE_FEATURES to TRACE_SIGNALS: the reference traces are chosen, the scores become one, the flagged are shown.

What each signal scores is scores.py's, what is said of it reasons.py's.
"""

from collections.abc import Mapping

import polars as pl

from evalpipe.settings import SignalSettings
from evalpipe.signals.reasons import reason_expressions
from evalpipe.signals.scores import COUNTED, DEVIATIONS, hill, scored
from evalpipe.tables import SIGNALS, TRACE_SIGNALS

MAX_REFERENCE = 2_000  # traces of a service that teach what is usual: a longer history then costs no more
_TELLING = 0.5  # a weaker signal is no reason to anyone
_MAX_EVIDENCE = 5  # passages of one signal that are shown
_FOREST_WEIGHT = 0.3  # an odd combination alone is a hint, not a finding
_FOREST_SEED = 7
_N_TREES = 25  # a hundred find no more and take four times as long, which is most of what a small day costs

WEIGHTS: Mapping[str, float] = {
    # The chance that a trace which shows nothing else, and this in full, is a failure: an estimate, not a fit.
    "ignored_error": 0.9,  # the application itself said that something failed
    "broken_output": 0.9,  # whatever was asked, this is no answer
    "frustration": 0.85,  # the one person who knows says so
    "repetition": 0.8,  # no task needs the same call with the same arguments four times
    "language_mismatch": 0.8,  # translations are wanted now and then
    "unsupported": 0.75,  # common knowledge has no source either
    "unbacked_claim": 0.7,  # an older turn, or a tool that is not traced, may have done it
    "asked_again": 0.7,  # now and then there are two of a kind
    "refusal": 0.7,  # many refusals are right
    "resubmission": 0.6,  # people also ask again after a success
    "tool_deviation": 0.6,  # rare is not wrong
    "hedging": 0.5,  # honest doubt is no failure
    "session_length": 0.3,  # hard tasks are long,
    "token_excess": 0.3,  # and dear,
    "cost": 0.25,
    "latency": 0.2,  # and slow, and so is a busy provider
    "incomplete": 0.25,  # the record's fault more often than the application's
}
_EFFORT = ("session_length", "token_excess", "cost", "latency")  # a long trace shows all four: together they count once


def signal_frame(today: pl.DataFrame, past: pl.DataFrame, settings: SignalSettings) -> pl.DataFrame:
    """TRACE_SIGNALS of the TRACE_FEATURES rows `today`, against the TRACE_FEATURES rows `past` of days before.

    What is usual is learned per service from its past alone; a service with fewer than `min_history_traces` in it is
    also compared with its own day. Of either a fixed part is used, whole sessions of it.
    """
    if today.is_empty():
        return TRACE_SIGNALS.empty()
    rows = scored(_with_reference(today, past, settings.min_history_traces), settings.min_history_traces)
    of_today = rows.filter("is_today").sort("trace_id").rechunk()  # polars panics on texts made of unequal chunks
    score = _combined(of_today, rows.filter("is_reference"), settings)
    told = _told(of_today, settings)
    return TRACE_SIGNALS.conform(
        of_today.drop("evidence")
        .with_columns(anomaly_score=score)
        .join(told, on="trace_id", how="left", maintain_order="left")
        .join(_evidence(of_today, told), on="trace_id", how="left", maintain_order="left")
        .with_columns(pl.col("flagged", "reasons", "evidence").fill_null([]))
    )


def sample_bound(n_traces: pl.Expr) -> pl.Expr:
    """The `draw` below which about MAX_REFERENCE of `n_traces` lie."""
    return MAX_REFERENCE / n_traces.clip(lower_bound=1)


def _with_reference(today: pl.DataFrame, past: pl.DataFrame, min_history_traces: int) -> pl.DataFrame:
    """Both, with is_today and is_reference; past traces that are not reference are left out."""
    past = past.join(today.select("trace_id"), on="trace_id", how="anti")
    is_drawn = pl.col("draw") < sample_bound(pl.len().over("service_name"))
    n_past = past.group_by("service_name").agg(n_past=pl.len())
    judged = today.join(n_past, on="service_name", how="left").with_columns(
        is_today=pl.lit(True), is_reference=is_drawn & (pl.col("n_past").fill_null(0) < min_history_traces)
    )
    known = past.filter(is_drawn).with_columns(is_today=pl.lit(False), is_reference=pl.lit(True))
    return pl.concat([judged.drop("n_past"), known], how="diagonal").sort("trace_id")


def _combined(of_today: pl.DataFrame, reference: pl.DataFrame, settings: SignalSettings) -> pl.Series:
    """One score in [0, 1]: the weighted signals as independent hints (noisy or), and an odd combination beside them."""
    hints = {name: weight * pl.col(f"{name}_score") for name, weight in WEIGHTS.items()}
    effort = pl.max_horizontal(hints.pop(name) for name in _EFFORT)
    calm = pl.reduce(lambda calm, hint: calm * (1 - hint), [1 - effort, *hints.values()])
    odd = _oddness(of_today, reference, settings.min_history_traces)
    return of_today.with_columns(odd).select(1 - calm * (1 - _FOREST_WEIGHT * pl.col("odd"))).to_series()


def _oddness(of_today: pl.DataFrame, reference: pl.DataFrame, min_history_traces: int) -> pl.Series:
    """How odd the combination of signs is, in [0, 1]; 0 where there are too few traces to say.

    The forest sees deviations in one direction only, so that a trace with less of everything is not odd. Its score is
    absolute: about 0.5 says nothing, near 1 is an anomaly. Source: Liu, Ting, Zhou (2008). Where all traces are alike
    it isolates by nothing, so it counts only as far as the deviations, taken together, are large.
    """
    if reference.height < max(min_history_traces, 2):
        return pl.zeros(of_today.height, pl.Float64, eager=True).alias("odd")
    from sklearn.ensemble import IsolationForest

    deviations = [f"sigmas_{name}" for name in DEVIATIONS]
    columns = [*deviations, *(f"{name}_score" for name in COUNTED)]
    forest = IsolationForest(n_estimators=_N_TREES, random_state=_FOREST_SEED)
    forest.fit(reference.select(columns).to_numpy())
    odd = pl.Series(-forest.score_samples(of_today.select(columns).to_numpy()))
    distance = of_today.select(hill(pl.sum_horizontal(pl.col(deviations) ** 2).sqrt())).to_series()
    return (((odd - 0.5) / 0.3).clip(0, 1) * distance).alias("odd")


def _told(of_today: pl.DataFrame, settings: SignalSettings) -> pl.DataFrame:
    """trace_id, flagged, reasons of the traces that show something: the signal that weighs most first."""
    reasons = reason_expressions()
    told = of_today.with_columns(reasons[name].alias(f"{name}_reason") for name in SIGNALS)
    shown = pl.concat(
        [
            told.select(
                "trace_id",
                signal=pl.lit(name),
                score=pl.col(f"{name}_score"),
                weight=WEIGHTS[name] * pl.col(f"{name}_score"),
                reason=pl.col(f"{name}_reason"),
                place=pl.lit(place),
            ).filter(pl.col("score") >= min(_TELLING, settings.flag_score))
            for place, name in enumerate(SIGNALS)
        ]
    ).sort("trace_id", "weight", "place", descending=[False, True, False])
    return shown.group_by("trace_id", maintain_order=True).agg(
        flagged=pl.col("signal").filter(pl.col("score") >= settings.flag_score),
        reasons=pl.col("reason").filter(pl.col("score") >= _TELLING).drop_nulls().head(settings.max_reasons),
    )


def _evidence(of_today: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """trace_id, evidence: where each flagged signal shows, in their order; the whole trace where no step does."""
    flags = told.select("trace_id", signal="flagged").explode("signal", empty_as_null=False, keep_nulls=False)
    rows = of_today.join(flags, on="trace_id", how="semi")
    found = rows.select("trace_id", "evidence").explode("evidence", empty_as_null=False, keep_nulls=False)
    odd_steps = rows.select("trace_id", signal=pl.lit("tool_deviation"), step="odd_step", text=pl.lit(None, pl.String))
    passages = pl.concat([found.unnest("evidence"), odd_steps])
    shown = flags.with_row_index("place").join(
        passages, on=["trace_id", "signal"], how="left", maintain_order="left_right"
    )
    return (
        shown.group_by("place", maintain_order=True)
        .head(_MAX_EVIDENCE)
        .group_by("trace_id", maintain_order=True)
        .agg(evidence=pl.struct("signal", "step", "text"))
    )
