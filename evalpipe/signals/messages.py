"""The steps of transcripts as rows: what every feature of this room is counted from. Nothing is counted here."""

import polars as pl


def message_frame(today: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """One row a step of the TRACES rows `today`, and of `earlier` ones of the same sessions and users.

    Columns: trace_id, session_key, user_id, service_name, start_unix_ns, is_today; position, unique and rising by
    session, start and step; step, from 0 in its transcript; role, content ('' where there is none), tool
    ('(unnamed)' where there is none), is_error. A trace without steps has no row; one that is in both is of today.
    """
    past = earlier.join(today.select("trace_id"), on="trace_id", how="anti")
    return (
        pl.concat([_steps(today, is_today=True), _steps(past, is_today=False)])
        .sort("session_key", "start_unix_ns", "trace_id")
        .explode("step", "transcript", empty_as_null=False, keep_nulls=False)
        .unnest("transcript")
        .with_columns(
            pl.col("content").fill_null(""),
            pl.col("tool").fill_null("(unnamed)"),
            pl.col("is_error").fill_null(False),
        )
        .with_row_index("position")
    )


def session_key() -> pl.Expr:
    """The session of a trace; a trace without one is a session of its own."""
    return pl.coalesce("session_id", "trace_id")


def _steps(traces: pl.DataFrame, *, is_today: bool) -> pl.DataFrame:
    return traces.select(
        "trace_id",
        "user_id",
        "service_name",
        "start_unix_ns",
        "transcript",
        session_key=session_key(),
        is_today=pl.lit(is_today),
        step=pl.int_ranges(pl.col("transcript").list.len(), dtype=pl.Int32),
    )
