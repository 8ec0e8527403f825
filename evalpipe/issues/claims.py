"""Which issue an annotation speaks of. What becomes of the issues is in replay.py."""

import polars as pl

from evalpipe.ids import normalised_failure_mode
from evalpipe.issues.replay import Issues, owners_of
from evalpipe.tables import TRUTH_SOURCES


def claims_of(annotations: pl.DataFrame, issues: Issues) -> pl.DataFrame:
    """The annotations that name a failure, with `mode_key` (it, normalised) and the `issue_id` that owns it, or null.

    `annotations` are effective ones; what models say claims nothing.
    """
    claims = annotations.filter(
        pl.col("label_source").is_in(TRUTH_SOURCES)
        & pl.col("failure_mode").is_not_null()
        & (pl.col("verdict") != "good")
    )
    owners = owners_of(issues)
    names = claims["failure_mode"].unique().to_list()
    keys = [normalised_failure_mode(name) for name in names]
    known = pl.DataFrame(
        {"failure_mode": names, "mode_key": keys, "issue_id": [owners.get(key) for key in keys]},
        schema={"failure_mode": pl.String, "mode_key": pl.String, "issue_id": pl.String},
    )
    return claims.join(known, on="failure_mode", how="left", maintain_order="left")
