"""How whole the traces of each service are: half a trace makes a poor annotation, and a poor evaluator after it."""

import polars as pl

DEFECTS = {
    "missing_root": "the root span never came: is it sampled out, or sent by another process?",
    "orphan_span": "a span names a parent that never came: does an exporter drop spans under load?",
    "unfinished": "a span has no end: did the process die before it ended?",
    "truncated_output": "an output was cut off: a token limit of the model, or an attribute limit of the SDK",
    "missing_session": "no session.id: turns of one conversation cannot be told to belong together",
}
"""What can be wrong with a trace (TRACES.defects), and where to look."""

COMPLETENESS = pl.Schema(
    {
        "service_name": pl.String,
        "n_traces": pl.Int64,
        "n_open": pl.Int64,
        "complete_share": pl.Float64,
        **dict.fromkeys(DEFECTS, pl.Int64),
        "advice": pl.String,  # on the most frequent defect; null where nothing is wrong
    }
)
"""Columns of a completeness frame: counts of traces by service."""


def completeness_frame(traces: pl.LazyFrame) -> pl.DataFrame:
    """One row a service of these TRACES rows, most traffic first. An open trace counts in n_open and nowhere else."""
    is_open = pl.col("is_open").fill_null(False)
    closed = pl.col("n_traces") - pl.col("n_open")
    counts = (
        traces.group_by("service_name")
        .agg(
            pl.len().alias("n_traces"),
            is_open.sum().alias("n_open"),
            (pl.col("is_complete") & ~is_open).sum().alias("n_complete"),
            *((pl.col("defects").list.contains(name) & ~is_open).sum().alias(name) for name in DEFECTS),
        )
        .with_columns(complete_share=pl.when(closed > 0).then(pl.col("n_complete") / closed))
        .sort("n_traces", "service_name", descending=[True, False])
        .collect()
    )
    most = pl.concat_list(*DEFECTS).list.arg_max()
    advice = pl.when(pl.max_horizontal(*DEFECTS) > 0).then(most.replace_strict(dict(enumerate(DEFECTS.values()))))
    return counts.with_columns(advice=advice).select(pl.col(name).cast(dtype) for name, dtype in COMPLETENESS.items())
