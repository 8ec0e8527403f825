"""What is usual for a service, learned from its reference traces: centres, scales, expected tokens, tool transitions.

All of it is robust: a few odd traces in the reference move it little, and few traces make it say little.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.signals.features import END, START

_PRIOR_TRACES = 10  # as many imagined usual traces stand beside the real ones: three traces make no norm
_MAX_SIGMAS = 20.0  # beyond this, more is not more unusual
_SMOOTHING = 1.0  # transitions imagined beside those seen after a tool, spread as the tools are
_HUBER = 1.345  # sigmas from which a residual pulls only linearly: 95 % efficient on clean data. Source: Huber (1964)
_N_REFITS = 8  # reweighted fits; the coefficients are still by then
_RIDGE = 3.0  # traces' worth of evidence that length does not matter, against slopes from a handful of traces


def sigmas_above(features: pl.DataFrame, reference: pl.DataFrame, column: str, floor: float) -> pl.Series:
    """How many robust standard deviations each row of `features` lies above its service's median, in [0, 20].

    The deviation is the widest of three: the median absolute one, the upper quartile's (counts are skewed), and
    `floor`, which is what nobody would call a difference. Few reference rows shrink the result; none makes it 0.
    """
    usual = reference.group_by("service_name").agg(
        centre=pl.col(column).median(),
        spread=1.4826 * (pl.col(column) - pl.col(column).median()).abs().median(),
        upper=(pl.col(column).quantile(0.75, "linear") - pl.col(column).median()) / 0.6745,
        n=pl.col(column).count(),
    )
    above = (pl.col(column) - pl.col("centre")) / pl.max_horizontal("spread", "upper", pl.lit(floor))
    trust = pl.col("n") / (pl.col("n") + _PRIOR_TRACES)
    return (
        features.select("service_name", column)
        .join(usual, on="service_name", how="left", maintain_order="left")
        .select((above * trust).clip(0.0, _MAX_SIGMAS).fill_null(0.0).fill_nan(0.0).alias(column))
        .to_series()
    )


def usual_value(features: pl.DataFrame, reference: pl.DataFrame, column: str) -> pl.Series:
    """The median of `column` in the reference of each row's service; null without one."""
    usual = reference.group_by("service_name").agg(pl.col(column).median())
    return features.select("service_name").join(usual, on="service_name", how="left", maintain_order="left")[column]


def expected_log2_tokens(features: pl.DataFrame, is_reference: pl.Series) -> pl.Series:
    """log2 of the tokens that a trace's task predicts: length of the requests, their number, and the tool calls.

    One robust line per service, fitted on its reference rows that report tokens; null where there are none.
    """
    rows = features.with_row_index("row").with_columns(is_reference=is_reference)
    parts = [_fitted(service) for service in rows.partition_by("service_name")]
    return pl.concat(parts).sort("row")["expected"] if parts else pl.Series("expected", [], pl.Float64)


def surprise(steps: pl.DataFrame, is_reference: pl.DataFrame) -> pl.DataFrame:
    """Per trace, the mean surprise of its tool steps in bits, and its most surprising step (before, after).

    -log2 of the step's probability among the service's transitions, smoothed towards how often the tool is used at
    all. A reference trace is judged by the others: its own steps are taken out of the counts first.
    `is_reference` has trace_id and is_reference.
    """
    step = ["service_name", "before", "after"]
    seen = steps.join(is_reference, on="trace_id", maintain_order="left")
    n_tools = (
        seen.group_by("service_name")
        .agg(n_tools=pl.col("after").n_unique())
        .with_columns(n_tools=pl.col("n_tools") + 1)  # and the tool that nobody has called yet
    )
    counts = [
        _counted(seen, over, name) for over, name in ((step, "ab"), (step[:2], "a"), (["service_name", "after"], "b"))
    ]
    frame = seen.join(n_tools, on="service_name", maintain_order="left")
    for keys, name, total in counts:
        own = pl.col("is_reference").cast(pl.Int64) * pl.len().over("trace_id", *keys)
        frame = frame.join(total, on=keys, how="left", maintain_order="left").with_columns(
            pl.col(name).fill_null(0) - own
        )
    n_steps = pl.col("n_steps").fill_null(0) - pl.col("is_reference").cast(pl.Int64) * pl.len().over("trace_id")
    totals = seen.filter("is_reference").group_by("service_name").agg(n_steps=pl.len())
    backoff = (pl.col("b") + 1) / (pl.col("n_steps") + pl.col("n_tools"))
    chance = (pl.col("ab") + _SMOOTHING * pl.col("backoff")) / (pl.col("a") + _SMOOTHING)
    return (
        frame.join(totals, on="service_name", how="left", maintain_order="left")
        .with_columns(n_steps=n_steps)
        .with_columns(backoff=backoff)
        .with_columns(bits=-chance.log(2))
        .group_by("trace_id", maintain_order=True)
        .agg(
            pl.col("bits").mean(),
            oddest_bits=pl.col("bits").max(),
            before=pl.col("before").get(pl.col("bits").arg_max()),
            after=pl.col("after").get(pl.col("bits").arg_max()),
        )
        .sort("trace_id")
    )


def step_in_words(before: pl.Expr, after: pl.Expr) -> pl.Expr:
    """A tool step as a reader says it."""
    name = [tool.str.slice(0, 60) for tool in (before, after)]  # a tool's name is trace text: as long as it likes
    return (
        pl.when((before == START) & (after == END))
        .then(pl.lit("no tool call at all"))
        .when(before == START)
        .then(pl.format("{} first", name[1]))
        .when(after == END)
        .then(pl.format("nothing after {}", name[0]))
        .otherwise(pl.format("{} after {}", name[1], name[0]))
    )


def _counted(seen: pl.DataFrame, keys: list[str], name: str) -> tuple[list[str], str, pl.DataFrame]:
    return keys, name, seen.filter("is_reference").group_by(keys).agg(pl.len().cast(pl.Int64).alias(name))


def _fitted(service: pl.DataFrame) -> pl.DataFrame:
    design = service.select(
        (1 + pl.col("n_user_words")).log(2).alias("words"),
        pl.col("n_user_messages").clip(lower_bound=1).log(2),
        (1 + pl.col("n_tool_calls")).log(2).alias("calls"),
    ).to_numpy()
    is_fitted = (service["is_reference"] & service["n_tokens"].is_not_null()).to_numpy()
    if not is_fitted.any():
        return service.select("row", expected=pl.lit(None, pl.Float64))
    tokens = np.log2(np.maximum(service["n_tokens"].fill_null(1).to_numpy().astype(np.float64), 1.0))
    expected = _robust_line(design[is_fitted], tokens[is_fitted], design)
    return service.select("row").with_columns(expected=pl.Series(expected))


def _robust_line(
    inputs: NDArray[np.float64], outputs: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The values at `at` of a ridge line through (inputs, outputs), refitted with Huber's weights."""
    middle, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 0.1)
    x = (inputs - middle) / scale
    slopes, level = np.zeros(x.shape[1]), float(np.median(outputs))
    for _ in range(_N_REFITS):
        residuals = outputs - level - x @ slopes
        sigma = max(1.4826 * float(np.median(np.abs(residuals - np.median(residuals)))), 0.05)
        weights = np.minimum(1.0, _HUBER * sigma / np.maximum(np.abs(residuals), 1e-9))
        pull = x * weights[:, None]
        slopes = np.linalg.solve(x.T @ pull + _RIDGE * np.eye(x.shape[1]), pull.T @ (outputs - level))
        level = float(np.average(outputs - x @ slopes, weights=weights))
    return level + ((at - middle) / scale) @ slopes
