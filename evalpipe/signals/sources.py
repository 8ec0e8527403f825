"""How much of the final answer is in no source of its trace: what users, tools and retrieved context said.

Which share is usual for the service is anomaly.py's.
"""

import polars as pl

from evalpipe.traces.words import ROW, answer_words, tokens_of

_BATCH_CHARS = 20_000_000  # looked at together: a word costs some 100 bytes while it is compared
_SENTENCE = r"(?s).+?(?:[.!?]+\s+|[。！？]|\n|$)"  # a point within a number ends nothing
_N_PASSAGES = 2  # a reader is shown where to look first, not all
_PASSAGE_CHARS = 200


def source_features(messages: pl.DataFrame) -> pl.DataFrame:
    """One row a trace of today that has both an answer and a source; messages as of messages.py.

    unsupported: share in [0, 1] of the different content words and numbers of the final answer that are in no source;
    n_unsupported_numbers; evidence: the sentences with most of them. A source is a tool result or a system message of
    this trace alone (a text that all traces have is an instruction); words of the user are not counted against it.
    """
    ours = messages.filter("is_today").with_columns(
        is_final=(pl.col("role") == "assistant")
        & (pl.col("step") == pl.col("step").filter(pl.col("role") == "assistant").max().over("trace_id")),
        is_source=(pl.col("role") == "tool_result") | ((pl.col("role") == "system") & pl.col("content").is_unique()),
    )
    wanted = (
        ours.group_by("trace_id", maintain_order=True)
        .agg(
            is_compared=(pl.col("is_final") & (pl.col("content") != "")).any() & pl.col("is_source").any(),
            n_chars=pl.col("content").str.len_bytes().sum(),
        )
        .filter("is_compared")
        .select("trace_id", batch=(pl.col("n_chars").cum_sum() - 1) // _BATCH_CHARS)
        .with_row_index(ROW)
    )
    compared = ours.filter(pl.col("is_final") | pl.col("is_source") | (pl.col("role") == "user")).join(
        wanted, on="trace_id", maintain_order="left"
    )
    batches = compared.partition_by("batch", maintain_order=True) or [compared]
    return pl.concat([_compared(batch) for batch in batches])


def _compared(messages: pl.DataFrame) -> pl.DataFrame:
    sentences = (
        messages.filter("is_final")
        .with_columns(pl.col("content").str.extract_all(_SENTENCE))
        .explode("content", empty_as_null=False, keep_nulls=False)
    )
    parts = pl.concat([messages.filter(~pl.col("is_final")), sentences]).with_row_index("_message")
    is_told = pl.col("role").is_in(["user", "assistant"])
    tokens = tokens_of(parts.with_columns(role=pl.when(is_told).then("role").otherwise(pl.lit("tool_result"))))
    # Every sentence of the final answer is its last message.
    words = answer_words(tokens.with_columns(is_last=pl.lit(True))).filter("is_content")
    share = words.group_by(ROW).agg(
        unsupported=pl.col("is_novel").mean(),
        n_unsupported_numbers=(pl.col("is_novel") & pl.col("is_number")).sum().cast(pl.Int64),
    )
    passages = (
        words.filter("is_novel")
        .group_by(ROW, "_message")
        .agg(n_novel=pl.len(), n_numbers=pl.col("is_number").sum())
        .sort(ROW, "n_numbers", "n_novel", "_message", descending=[False, True, True, False])
        .group_by(ROW, maintain_order=True)
        .head(_N_PASSAGES)
        .join(parts.select("_message", "step", "content"), on="_message")
        .sort(ROW, "_message")
        .group_by(ROW, maintain_order=True)
        .agg(
            evidence=pl.struct(
                signal=pl.lit("unsupported"),
                step="step",
                text=pl.col("content").str.strip_chars().str.slice(0, _PASSAGE_CHARS),
            )
        )
    )
    return (
        messages.select("trace_id", ROW)
        .unique(maintain_order=True)
        .join(share, on=ROW, maintain_order="left")
        .join(passages, on=ROW, how="left", maintain_order="left")
        .select("trace_id", "unsupported", "n_unsupported_numbers", pl.col("evidence").fill_null([]))
    )
