"""Each signal's value and score for a trace, against the reference traces of its service.

A score is how severe the sign is in itself, times how rare it is in the service. Signs that have a scale of their own
(tokens, turns, surprise) are severe by robust deviations above what is usual; signs that can be counted, by their
number. What is undefined (no tokens reported, no answer) scores 0. Together they are anomaly.py's.
"""

from collections.abc import Mapping

import polars as pl

from evalpipe.signals.usual import expected_log2, of_service, sigmas_above, surprise, tail_share, usual_value
from evalpipe.tables import SIGNALS

_HALF_SIGMAS = 2.5  # deviations that score one half; 0.8 then falls on 3.5, the rule of Iglewicz and Hoaglin (1993)
_STEEPNESS = 4  # of the Hill curve: one deviation scores 0.02, two 0.3
_USUAL_SHARE = (
    0.5  # what half of a service's traces show as strongly is its way; what a tenth shows is hardly discounted
)
_JSON_SHARE = 0.8  # of a service's answers, from which it is one that answers in JSON
_JSON_PRIOR = 2  # answers imagined that are none: two answers make no norm
_BAD_JSON = 0.9
_REPORTED_ERROR = 0.9
_ONE_SIGN = {  # severity of the first; each of them leaves as much of the rest
    "ignored_error": 0.85,
    "refusal": 0.8,
    "frustration": 0.6,
    "unbacked_claim": 0.85,
    "asked_again": 0.85,
}
_CLAIM_PRIOR = 2  # traces imagined whose claims no call backs: two that are backed make no norm
_ALIKE_FROM, _ALIKE_TO = 0.3, 0.9  # similarity of requests: two tasks of one shop, and the same sentence again
_OTHER_LANGUAGE_FROM, _OTHER_LANGUAGE_TO = 0.2, 0.6  # share of the answer: a quotation, and most of it
DEFECT_SEVERITIES: Mapping[str, float] = {
    "unfinished": 0.9,  # work that never ended
    "truncated_output": 0.9,
    "missing_root": 0.7,
    "orphan_span": 0.5,
    "missing_session": 0.2,  # of no matter to the one trace
}
DEVIATIONS: Mapping[str, float] = {  # what is compared by deviations, with the difference that nobody would call one
    "log2_turns": 0.5,  # a factor 1.4
    "log2_calls": 0.5,
    "log2_session": 1.0,  # a factor 2: people make pauses
    "log2_growth": 0.5,
    "log2_token_excess": 0.3,  # a factor 1.2
    "log2_latency": 0.5,
    "log2_cost": 0.3,
    "bits": 0.5,
    "log2_repeats": 0.5,
    "log2_hedges": 0.5,
    "unsupported": 0.1,
    "log2_unsupported_numbers": 0.5,
}
COUNTED = ("resubmission", *_ONE_SIGN, "broken_output", "language_mismatch", "incomplete")
"""The signals that are not compared by deviations."""


def scored(features: pl.DataFrame, min_traces: int) -> pl.DataFrame:
    """The TRACE_FEATURES rows with `{signal}_value` and `{signal}_score` of every signal.

    `features` says which rows are `is_reference`: they teach what is usual, and are scored too. Also `sigmas_*` for
    each of DEVIATIONS and the usual figures that reasons.py names. A version has a line of its own from `min_traces`.
    """
    measured = _measured(features, min_traces)
    reference = measured.filter("is_reference")
    # A session counts once, with its full length so far: its early turns are not short sessions.
    session = pl.coalesce("session_id", "trace_id").alias("session_key")
    lengths = ["n_turns", "session_s", "log2_turns", "log2_session", "log2_growth"]
    sessions = reference.group_by("service_name", session).agg(pl.col(lengths).max())
    severe = measured.with_columns(
        **{
            f"sigmas_{name}": sigmas_above(measured, sessions if name in lengths else reference, name, floor)
            for name, floor in DEVIATIONS.items()
        },
        usual_turns=usual_value(measured, sessions, "n_turns"),
        usual_session_s=usual_value(measured, sessions, "session_s"),
        usual_calls=usual_value(measured, reference, "n_tool_calls"),
        usual_bits=usual_value(measured, reference, "bits"),
        usual_hedges=usual_value(measured, reference, "hedges_per_100_words"),
        usual_unsupported=usual_value(measured, reference, "unsupported"),
        usual_backed=_backed_share(measured, reference),
        is_json_usual=_is_json_usual(measured, reference),
    ).with_columns(_values())
    severe = severe.with_columns(expression.alias(f"{name}_score") for name, expression in _severities().items())
    reference = severe.filter("is_reference")
    tails = [tail_share(severe, reference, f"{name}_score") for name in SIGNALS]
    return severe.with_columns(
        pl.col(tail.name) * (1 - (tail / _USUAL_SHARE) ** 2).clip(lower_bound=0) for tail in tails
    )


def hill(sigmas: pl.Expr) -> pl.Expr:
    """Deviations as a severity in [0, 1]."""
    return sigmas**_STEEPNESS / (sigmas**_STEEPNESS + _HALF_SIGMAS**_STEEPNESS)


def _measured(features: pl.DataFrame, min_traces: int) -> pl.DataFrame:
    """The features in the units they are compared in: factors as log2, so that twice and half are equally far."""
    rows = features.join(surprise(features), on="trace_id", maintain_order="left")
    expected = {
        column: expected_log2(rows, rows["is_reference"], column, min_traces)
        for column in ("n_tokens", "duration_s", "cost_usd")
    }

    def excess(column: str) -> pl.Expr:
        return pl.when(pl.col(column) > 0).then(pl.col(column).log(2)) - pl.col(f"expected_{column}")

    return rows.with_columns(values.alias(f"expected_{column}") for column, values in expected.items()).with_columns(
        log2_turns=pl.col("n_turns").log(2),
        log2_calls=(1 + pl.col("n_tool_calls")).log(2),
        log2_session=(1 + pl.col("session_s")).log(2),
        log2_growth=pl.when(pl.col("context_growth") > 0).then(pl.col("context_growth").log(2)),
        log2_token_excess=excess("n_tokens"),
        log2_latency=excess("duration_s"),
        log2_cost=excess("cost_usd"),
        log2_repeats=pl.col("n_repeats").clip(lower_bound=1).log(2),
        log2_hedges=(1 + pl.col("hedges_per_100_words")).log(2),
        log2_unsupported_numbers=(1 + pl.col("n_unsupported_numbers")).log(2),
    )


def _backed_share(measured: pl.DataFrame, reference: pl.DataFrame) -> pl.Series:
    """Of the service's traces that claim to have done something, the share whose claims are all backed, in [0, 1)."""
    share = (
        reference.filter(pl.col("n_claims") > 0)
        .group_by("service_name")
        .agg(share=(pl.col("n_unbacked_claims") == 0).sum() / (pl.len() + _CLAIM_PRIOR))
    )
    return of_service(measured, share).fill_null(0.0)


def _is_json_usual(measured: pl.DataFrame, reference: pl.DataFrame) -> pl.Series:
    share = reference.group_by("service_name").agg(
        share=pl.col("is_json").sum() / (pl.col("is_json").count() + _JSON_PRIOR)
    )
    return of_service(measured, share).fill_null(0.0) >= _JSON_SHARE


def _values() -> list[pl.Expr]:
    is_bad_json = pl.col("is_json_usual") & ~pl.col("is_json").fill_null(True)
    columns = {
        "session_length": pl.col("n_turns"),
        "token_excess": pl.col("log2_token_excess"),
        "latency": pl.col("log2_latency"),
        "cost": pl.col("log2_cost"),
        "resubmission": pl.col("similarity"),
        "tool_deviation": pl.col("bits"),
        "repetition": pl.col("n_repeats"),
        "ignored_error": pl.col("n_ignored_errors"),
        "hedging": pl.col("hedges_per_100_words"),
        "refusal": pl.col("n_refusals"),
        "unsupported": pl.col("unsupported"),
        "broken_output": pl.max_horizontal(
            "broken_output", is_bad_json * pl.lit(_BAD_JSON), pl.col("is_error") * pl.lit(_REPORTED_ERROR)
        ),
        "frustration": pl.col("n_complaints") + pl.col("is_left_unanswered"),
        "language_mismatch": pl.col("language_mismatch"),
        "unbacked_claim": pl.col("n_unbacked_claims"),
        "asked_again": pl.col("n_asked_again"),
        "incomplete": pl.col("defects").list.len(),
    }
    return [columns[name].cast(pl.Float64).alias(f"{name}_value") for name in SIGNALS]


def _severities() -> dict[str, pl.Expr]:
    deviation = {name: hill(pl.col(f"sigmas_{name}")) for name in DEVIATIONS}
    alike = _between(pl.col("similarity"), _ALIKE_FROM, _ALIKE_TO)
    n_repeats = (pl.col("n_times_asked") - 1).clip(lower_bound=1)
    invented = 1 - (1 - deviation["unsupported"]) * (1 - deviation["log2_unsupported_numbers"])
    worst_defect = pl.col("defects").list.eval(pl.element().replace_strict(DEFECT_SEVERITIES, default=0.5)).list.max()
    severities = {
        "session_length": pl.max_horizontal(
            deviation["log2_turns"], deviation["log2_calls"], deviation["log2_session"], deviation["log2_growth"]
        ),
        "token_excess": deviation["log2_token_excess"],
        "latency": deviation["log2_latency"],
        "cost": deviation["log2_cost"],
        "resubmission": 1 - (1 - alike) ** n_repeats,
        "tool_deviation": deviation["bits"],
        "repetition": deviation["log2_repeats"],
        "hedging": deviation["log2_hedges"],
        "unsupported": pl.when(pl.col("unsupported").is_not_null()).then(invented),
        "broken_output": pl.col("broken_output_value"),
        "language_mismatch": _between(pl.col("language_mismatch"), _OTHER_LANGUAGE_FROM, _OTHER_LANGUAGE_TO),
        "incomplete": worst_defect,
        **{name: 1 - (1 - one) ** pl.col(f"{name}_value") for name, one in _ONE_SIGN.items()},
    }
    # Where claims are usually made without a call, its tools are not traced, and a call that is missing says nothing.
    severities["unbacked_claim"] *= pl.col("usual_backed")
    return {name: severities[name].cast(pl.Float64).fill_null(0.0).clip(0.0, 1.0) for name in SIGNALS}


def _between(value: pl.Expr, nothing: float, all_of_it: float) -> pl.Expr:
    return ((value - nothing) / (all_of_it - nothing)).clip(0, 1).fill_null(0)
