"""What reviewing found: the yield of each queue, how common an issue is in all traffic, how far people agree."""

import dagster as dg
import polars as pl

from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import WHEN_INPUTS_CHANGE, spec
from evalpipe.defs.tell import told
from evalpipe.issues.grouping import mode_owners
from evalpipe.issues.on_lake import propose
from evalpipe.plan import WHOLE, expected
from evalpipe.review.annotations import effective_annotations
from evalpipe.review.on_lake import agreement as agreement_now
from evalpipe.review.on_lake import prevalence as prevalence_now
from evalpipe.review.on_lake import queue_yield as yield_now
from evalpipe.tables import (
    AGREEMENT,
    ANNOTATIONS,
    CANDIDATES,
    ISSUE_EVENTS,
    ISSUE_PROPOSALS,
    ISSUES,
    LABELS,
    PREVALENCE,
    QUEUE_YIELD,
    VERDICTS,
)


@asset(**spec(QUEUE_YIELD, "annotate"), deps=[CANDIDATES.name, ANNOTATIONS.name])
def queue_yield(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "queue_yield", home.now()).get(WHOLE)
    rows = yield_now(opened.lake, opened.settings.review)
    opened.lake.replace(QUEUE_YIELD, rows, made_from=made_from)
    newest = rows.filter(pl.col("lift").is_not_null()).sort("cycle").group_by("arm").last()
    lifts = {f"lift: {arm}": lift for arm, lift in newest.select("arm", "lift").iter_rows()}
    return dg.MaterializeResult(metadata=told(opened, QUEUE_YIELD, rows, **lifts))


@asset(**spec(AGREEMENT, "annotate"), deps=[ANNOTATIONS.name, ISSUE_EVENTS.name])
def agreement(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "agreement", home.now()).get(WHOLE)
    rows = agreement_now(opened.lake, mode_owners(opened.lake.read(ISSUE_EVENTS)), opened.settings.review)
    opened.lake.replace(AGREEMENT, rows, made_from=made_from)
    of_all = rows.row(by_predicate=pl.col("scope") == "all", named=True)
    figures = {name: of_all[name] for name in ("n_traces", "kappa", "alpha", "ceiling")}
    return dg.MaterializeResult(metadata=told(opened, AGREEMENT, rows, **figures))


@asset(**spec(ISSUE_PROPOSALS, "annotate", {"scikitlearn"}), deps=[ISSUES.name, ANNOTATIONS.name])
def issue_proposals(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "issue_proposals", home.now()).get(WHOLE)
    said = effective_annotations(opened.lake.read(ANNOTATIONS))
    rows = propose(opened.lake, said, opened.settings.issues)
    opened.lake.replace(ISSUE_PROPOSALS, rows, made_from=made_from)
    return dg.MaterializeResult(metadata=told(opened, ISSUE_PROPOSALS, rows))


@asset(
    **spec(PREVALENCE, "iterate"),
    deps=[CANDIDATES.name, LABELS.name, ISSUES.name, VERDICTS.name],
    automation_condition=WHEN_INPUTS_CHANGE,
)
def prevalence(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "prevalence", home.now()).get(WHOLE)
    rows = prevalence_now(opened.lake, opened.settings.review)
    opened.lake.replace(PREVALENCE, rows, made_from=made_from)
    names = opened.lake.read(ISSUES).select("issue_id", "name")
    shares = rows.join(names, on="issue_id").select("name", "prevalence").drop_nulls()
    figures = {f"prevalence: {name}": float(found) for name, found in shares.iter_rows()}
    return dg.MaterializeResult(metadata=told(opened, PREVALENCE, rows, **figures))
