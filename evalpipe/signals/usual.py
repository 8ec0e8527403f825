"""What is usual for a service, learned from its reference traces: centres, spreads, tails, lines, tool transitions.

All of it is robust: a few odd traces in the reference move it little, and few traces make it say little. What follows
from it for a trace is scores.py's.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

START, END = "\x02", "\x03"  # before the first and after the last tool call; no tool can be named so
_PRIOR_TRACES = 10  # as many imagined usual traces stand beside the real ones: three traces make no norm
_MAX_SIGMAS = 20.0  # beyond this, more is not more unusual
_PRIOR_SHARE = 0.05  # of them show any given sign: what a service does before it has shown what it does
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
    return of_service(features, reference.group_by("service_name").agg(pl.col(column).median()))


def of_service(rows: pl.DataFrame, figures: pl.DataFrame) -> pl.Series:
    """For each row the figure of its service: `figures` has service_name and one column more; null without one."""
    return rows.select("service_name").join(figures, on="service_name", how="left", maintain_order="left").to_series(1)


def tail_share(rows: pl.DataFrame, reference: pl.DataFrame, column: str) -> pl.Series:
    """For each row, the share of its service's reference rows in which `column` is at least as high, in (0, 1).

    Ten imagined traces stand beside them, of which one in twenty is as high. Null counts as lower than any value.
    """
    counts = (
        reference.filter(pl.col(column).is_not_null())
        .group_by("service_name", column)
        .agg(n=pl.len())
        .sort("service_name", column, descending=[False, True])
        .with_columns(n_as_high=pl.col("n").cum_sum().over("service_name"))
        .sort(column)
    )
    totals = reference.group_by("service_name").agg(n_traces=pl.len())
    n_as_high = pl.col("n_as_high").fill_null(0) + _PRIOR_SHARE * _PRIOR_TRACES
    return (
        rows.select("service_name", column)
        .with_row_index("row")
        .sort(column, nulls_last=True)
        .join_asof(counts, on=column, by="service_name", strategy="forward", check_sortedness=False)
        .join(totals, on="service_name", how="left")
        .sort("row")
        .select(n_as_high / (pl.col("n_traces").fill_null(0) + _PRIOR_TRACES))
        .to_series()
        .alias(column)
    )


def expected_log2(features: pl.DataFrame, is_reference: pl.Series, column: str, min_traces: int) -> pl.Series:
    """log2 of the `column` that a trace's task predicts: length of the requests, their number, and the tool calls.

    One robust line per service, fitted on its reference rows that report the column, and one of its own for a version
    that has `min_traces` of them; null where there are none.
    """
    rows = features.with_row_index("row").with_columns(is_fitted=is_reference & (pl.col(column) > 0))
    n_fitted = pl.col("is_fitted").sum().over("service_name", "service_version")
    expected = rows.select("row", expected=pl.lit(None, pl.Float64))
    for_services = [_fitted(service, column) for service in rows.partition_by("service_name")]
    own = rows.filter(n_fitted >= min_traces).partition_by("service_name", "service_version")
    for_versions = [_fitted(version, column) for version in own]
    for parts in (for_services, for_versions):
        if parts:
            expected = expected.update(pl.concat(parts), on="row")
    return expected["expected"]


def surprise(features: pl.DataFrame) -> pl.DataFrame:
    """Per trace, `bits`: the mean surprise of its tool steps; and its most surprising one: before, after, odd_step.

    -log2 of the step's probability among the service's transitions, smoothed towards how often the tool is used at
    all. A reference trace is judged by the others: its own steps are taken out of the counts first.
    `features` has trace_id, service_name, calls and is_reference; odd_step is where `after` was called.
    """
    step = ["service_name", "before", "after"]
    seen = _transitions(features)
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
            pl.col("before", "after", "odd_step").get(pl.col("bits").arg_max()),
        )
        .sort("trace_id")
    )


def _transitions(features: pl.DataFrame) -> pl.DataFrame:
    tools = pl.col("calls").list.eval(pl.element().struct.field("tool"))
    steps = pl.col("calls").list.eval(pl.element().struct.field("step"))
    return features.select(
        "trace_id",
        "service_name",
        "is_reference",
        before=pl.concat_list(pl.lit(START), tools),
        after=pl.concat_list(tools, pl.lit(END)),
        odd_step=pl.concat_list(steps, pl.lit(None, pl.Int32)),
    ).explode("before", "after", "odd_step", empty_as_null=False, keep_nulls=False)


def _counted(seen: pl.DataFrame, keys: list[str], name: str) -> tuple[list[str], str, pl.DataFrame]:
    return keys, name, seen.filter("is_reference").group_by(keys).agg(pl.len().cast(pl.Int64).alias(name))


def _fitted(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """row, expected: the line through those that are fitted, at all of them."""
    design = rows.select(
        (1 + pl.col("n_user_words")).log(2).alias("words"),
        pl.col("n_user_messages").clip(lower_bound=1).log(2),
        (1 + pl.col("n_tool_calls")).log(2).alias("calls"),
    ).to_numpy()
    is_fitted = rows["is_fitted"].fill_null(False).to_numpy()
    if not is_fitted.any():
        return rows.select("row", expected=pl.lit(None, pl.Float64))
    outputs = rows.filter("is_fitted")[column].cast(pl.Float64).log(2).to_numpy()
    return rows.select("row", expected=pl.Series(_robust_line(design[is_fitted], outputs, design)))


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
