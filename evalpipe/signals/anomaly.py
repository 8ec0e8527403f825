"""From features to TRACE_SIGNALS: five scores, the reasons in words, and one anomaly score. Counting is in features.py.

A score is a Hill curve of robust standard deviations above what is usual for the service: 0.5 at 2.5, the flag score
0.8 at 3.5. An absent figure (no tokens reported, no answer) scores 0: undefined is not anomalous.
"""

import polars as pl

from evalpipe.settings import SignalSettings
from evalpipe.signals.features import NEARLY_SAME, trace_features
from evalpipe.signals.usual import (
    expected_log2_tokens,
    sigmas_above,
    step_in_words,
    surprise,
    usual_value,
)
from evalpipe.tables import SIGNALS, TRACE_SIGNALS

_MAX_REFERENCE = 2_000  # past traces of a service that teach what is usual: more days then cost no more
_HALF_SIGMAS = 2.5  # deviations that score one half; 0.8 then falls on 3.5, the rule of Iglewicz and Hoaglin (1993)
_STEEPNESS = 4  # of the Hill curve: one deviation scores 0.02, two 0.3
_TELLING = 0.5  # a weaker signal is no reason to anyone
_FOREST_WEIGHT = 0.5  # what an odd combination may score when no signal says anything by itself
_FOREST_SEED = 7
_FLOORS = {  # differences that nobody would call one, in the unit of the column
    "log2_turns": 0.5,  # a factor 1.4
    "log2_token_excess": 0.3,  # a factor 1.2
    "bits": 0.5,
    "log2_run": 0.5,
    "log2_ignored_errors": 0.25,  # one ignored error is news where there are none
    "log2_hedges": 0.5,
    "log2_duration": 0.5,
    "log2_calls": 0.5,
}


def signal_frame(today: pl.DataFrame, history: pl.DataFrame, settings: SignalSettings) -> pl.DataFrame:
    """TRACE_SIGNALS of the TRACES rows `today`, against the TRACES rows `history` of past days (which may be none).

    What is usual is learned per service from its history alone; a service with fewer than `min_history_traces` in it is
    also compared with its own day. Of a long history a fixed part is used, whole sessions of it.
    """
    if today.is_empty():
        return TRACE_SIGNALS.empty()
    past = history.join(today.select("trace_id"), on="trace_id", how="anti")
    roles = _roles(today, past, settings.min_history_traces)
    traces = pl.concat([today, past], how="diagonal").join(roles.select("trace_id"), on="trace_id", how="semi")
    measured = _measured(traces, roles)
    scored = _scored(measured)
    of_today = scored.filter("is_today").sort("trace_id")
    told = _told(of_today, settings)
    anomaly = _combined(of_today, scored.filter("is_reference"), settings)
    return TRACE_SIGNALS.conform(
        of_today.with_columns(anomaly_score=anomaly).join(told, on="trace_id", how="left", maintain_order="left")
    )


def _roles(today: pl.DataFrame, past: pl.DataFrame, min_history_traces: int) -> pl.DataFrame:
    """The traces that matter: is_today; is_reference; or earlier in a session of today (neither)."""
    keyed = pl.concat(
        [
            frame.select(
                "trace_id", "service_name", is_today=pl.lit(is_today), key=pl.coalesce("session_id", "trace_id")
            )
            for frame, is_today in ((today, True), (past, False))
        ]
    )
    # The tail of a trace id is random (W3C trace context): it draws whole sessions without a clock or a generator.
    sessions = (
        keyed.filter(~pl.col("is_today"))
        .group_by("service_name", "key")
        .agg(draw=pl.col("trace_id").str.slice(-12).min(), n=pl.len())
        .sort("service_name", "draw", "key")
        .with_columns(n_until=pl.col("n").cum_sum().over("service_name"))
        .filter((pl.col("n_until") <= _MAX_REFERENCE) | (pl.col("n_until") == pl.col("n")))
        .select("service_name", "key", is_drawn=pl.lit(True))
    )
    n_past = (~pl.col("is_today")).sum().over("service_name")
    return (
        keyed.join(sessions, on=["service_name", "key"], how="left")
        .with_columns(
            is_reference=pl.when("is_today")
            .then(n_past < min_history_traces)
            .otherwise(pl.col("is_drawn").fill_null(False))
        )
        .filter(pl.col("is_reference") | pl.col("is_today").any().over("key"))
        .select("trace_id", "is_today", "is_reference")
    )


def _measured(traces: pl.DataFrame, roles: pl.DataFrame) -> pl.DataFrame:
    """The features in the units they are compared in: factors as log2, so that twice and half are equally far."""
    features = trace_features(traces)
    bits = surprise(features.steps, roles.select("trace_id", "is_reference"))
    rows = features.traces.join(roles, on="trace_id").join(bits, on="trace_id").sort("trace_id")
    expected = expected_log2_tokens(rows, rows["is_reference"])
    return rows.with_columns(
        expected_log2_tokens=expected,
        log2_turns=pl.col("n_turns").log(2),
        log2_token_excess=pl.col("n_tokens").clip(lower_bound=1).log(2) - expected,
        log2_run=pl.col("longest_run").clip(lower_bound=1).log(2),
        log2_ignored_errors=(1 + pl.col("n_ignored_errors")).log(2),
        log2_hedges=(1 + pl.col("hedges_per_100_words")).log(2),
        log2_duration=(1 + pl.col("duration_s")).log(2),
        log2_calls=(1 + pl.col("n_tool_calls")).log(2),
    )


def _scored(measured: pl.DataFrame) -> pl.DataFrame:
    """Adds each signal's value and score, the usual figures its reason names, and the deviations (`sigmas_*`)."""
    reference = measured.filter("is_reference")
    # A session counts once, with its full length so far: its early turns are not short sessions.
    sessions = reference.group_by("service_name", "session_key").agg(pl.col("n_turns", "log2_turns").max())
    sigmas = {
        column: sigmas_above(measured, sessions if column == "log2_turns" else reference, column, floor)
        for column, floor in _FLOORS.items()
    }
    frame = measured.with_columns(
        **{f"sigmas_{column}": values for column, values in sigmas.items()},
        usual_turns=usual_value(measured, sessions, "n_turns"),
        usual_bits=usual_value(measured, reference, "bits"),
        usual_hedges=usual_value(measured, reference, "hedges_per_100_words"),
        repeating_share=_repeating_share(measured, reference),
    ).with_columns(
        session_length_score=_hill(pl.col("sigmas_log2_turns")),
        token_excess_score=_hill(pl.col("sigmas_log2_token_excess")),
        order_score=_hill(pl.col("sigmas_bits")),
        run_score=_hill(pl.col("sigmas_log2_run")),
        ignored_score=_hill(pl.col("sigmas_log2_ignored_errors")),
        hedging_score=_hill(pl.col("sigmas_log2_hedges")),
        resubmission_score=_resubmission_score(),
    )
    deviation = 1 - (1 - pl.col("order_score")) * (1 - pl.col("run_score")) * (1 - pl.col("ignored_score"))
    return frame.with_columns(
        tool_deviation_score=deviation,
        session_length_value=pl.col("n_turns"),
        token_excess_value=pl.col("log2_token_excess"),
        resubmission_value=pl.col("similarity"),
        tool_deviation_value=pl.col("bits"),
        hedging_value=pl.col("hedges_per_100_words"),
    )


def _hill(sigmas: pl.Expr) -> pl.Expr:
    return sigmas**_STEEPNESS / (sigmas**_STEEPNESS + _HALF_SIGMAS**_STEEPNESS)


def _repeating_share(measured: pl.DataFrame, reference: pl.DataFrame) -> pl.Series:
    share = reference.group_by("service_name").agg(
        share=(pl.col("similarity").fill_null(0) >= NEARLY_SAME).sum() / (pl.len() + 1)
    )
    joined = measured.select("service_name").join(share, on="service_name", how="left", maintain_order="left")
    return joined["share"].fill_null(0.0)


def _resubmission_score() -> pl.Expr:
    """0 up to a similarity of 0.3, 1 from 0.9; asking often lifts it, where most users repeat themselves it falls."""
    alike = ((pl.col("similarity").fill_null(0) - 0.3) / 0.6).clip(0, 1)
    n_repeats = (pl.col("n_times_asked") - 1).clip(lower_bound=1)
    return (1 - (1 - alike) ** n_repeats) * (1 - pl.col("repeating_share") ** 2)


def _combined(of_today: pl.DataFrame, reference: pl.DataFrame, settings: SignalSettings) -> pl.Series:
    """One score in [0, 1]: any signal suffices (noisy or), an odd combination adds to it. Never under the strongest.

    The forest sees deviations in one direction only, so that a trace with less of everything is not odd. Its score
    is absolute: about 0.5 says nothing, near 1 is an anomaly. Source: Liu, Ting, Zhou (2008). Where all traces are
    alike it isolates by nothing, so it counts only as far as the deviations, taken together, are large.
    """
    calm = of_today.select(pl.reduce(lambda a, b: a * b, [1 - pl.col(f"{name}_score") for name in SIGNALS])).to_series()
    if reference.height >= max(settings.min_history_traces, 2):
        from sklearn.ensemble import IsolationForest

        deviations = [f"sigmas_{column}" for column in _FLOORS]
        columns = [*deviations, "resubmission_score"]
        forest = IsolationForest(n_estimators=100, random_state=_FOREST_SEED)
        forest.fit(reference.sort("trace_id").select(columns).to_numpy())
        odd = pl.Series(-forest.score_samples(of_today.select(columns).to_numpy()))
        distance = of_today.select(_hill(pl.sum_horizontal(pl.col(deviations) ** 2).sqrt())).to_series()
        calm = calm * (1 - _FOREST_WEIGHT * distance * ((odd - 0.5) / 0.3).clip(0, 1))
    return 1 - calm


def _told(of_today: pl.DataFrame, settings: SignalSettings) -> pl.DataFrame:
    """trace_id, flagged, reasons: strongest signal first."""
    told = of_today.with_columns(_reasons())
    long = pl.concat(
        [
            told.select(
                "trace_id",
                signal=pl.lit(signal),
                score=pl.col(f"{signal}_score"),
                reason=pl.col(f"{signal}_reason"),
                place=pl.lit(place),
            )
            for place, signal in enumerate(SIGNALS)
        ]
    ).sort("trace_id", "score", "place", descending=[False, True, False])
    is_told = (pl.col("score") >= _TELLING) & pl.col("reason").is_not_null()
    return long.group_by("trace_id", maintain_order=True).agg(
        flagged=pl.col("signal").filter(pl.col("score") >= settings.flag_score),
        reasons=pl.col("reason").filter(is_told).head(settings.max_reasons),
    )


def _reasons() -> list[pl.Expr]:
    expected_tokens = pl.lit(2.0) ** pl.col("expected_log2_tokens")
    times = pl.when(pl.col("n_times_asked") > 2).then(pl.format("{} times", "n_times_asked")).otherwise(pl.lit("twice"))
    tool_reasons = [
        pl.when(pl.col("run_score") >= _TELLING).then(
            pl.format("called {} {} times in a row with the same arguments", _name("run_tool"), "longest_run")
        ),
        pl.when(pl.col("ignored_score") >= _TELLING).then(
            pl.when(pl.col("n_ignored_errors") == 1)
            .then(pl.format("a failed call of {} was left at that", _name("ignored_tool")))
            .otherwise(
                pl.format("{} failed calls (of {}) were left at that", "n_ignored_errors", _name("ignored_tool"))
            )
        ),
        pl.when(pl.col("order_score") >= _TELLING).then(
            pl.format(
                "unusual tool steps, such as {} ({} bits a step where {} is usual)",
                step_in_words(pl.col("before"), pl.col("after")),
                pl.col("bits").round(1),
                pl.col("usual_bits").round(1),
            )
        ),
    ]
    quoted = pl.col("hedges").list.head(3).list.eval(pl.format("'{}'", pl.element())).list.join(", ")
    return [
        pl.format(
            "{} turns in the session where about {} are usual", "n_turns", pl.col("usual_turns").round(0).cast(pl.Int64)
        ).alias("session_length_reason"),
        pl.format(
            "{} tokens where such a request usually takes about {}",
            _grouped(pl.col("n_tokens")),
            _grouped(expected_tokens.round(0).cast(pl.Int64)),
        ).alias("token_excess_reason"),
        pl.format("asked nearly the same thing {}", times).alias("resubmission_reason"),
        pl.concat_str(tool_reasons, separator="; ", ignore_nulls=True).replace("", None).alias("tool_deviation_reason"),
        pl.format(
            "hedges: {} ({} per 100 words where {} is usual)",
            quoted,
            pl.col("hedges_per_100_words").round(1),
            pl.col("usual_hedges").round(1),
        ).alias("hedging_reason"),
    ]


def _name(column: str) -> pl.Expr:
    return pl.col(column).str.slice(0, 60)  # a tool's name is trace text: as long as it likes


def _grouped(number: pl.Expr) -> pl.Expr:
    """1930 -> '1,930'."""
    backwards = number.cast(pl.String).str.reverse().str.replace_all(r"(\d{3})", "${1},")
    return backwards.str.reverse().str.strip_chars_start(",")
