"""Jobs: what a person, a schedule, a sensor or CI starts as one run."""

import dagster as dg

OBSERVED = ("raw_otlp", "spans", "traces", "sessions", "trace_features", "trace_signals")
"""What one run makes of new traffic, in order."""

ANNOTATED = ("annotations", "issue_events", "labels", "issues", "issue_proposals", "agreement", "queue_yield")
"""What one run makes of new annotations, in order; generation comes after it."""

JUDGED = ("verdicts", "verdict_counts")
"""What one run says of a day's traffic, in order."""

MEASURED = (
    *("prevalence", "traffic_drift", "evaluator_quality", "evaluator_health", "issue_rates"),
    *("issue_transitions", "verifications", "coverage", "coverage_report"),
)
"""What one run measures: agreement with people, rates in traffic, what these say of the issues, and coverage."""

FOLLOWING = tuple(asset for asset in MEASURED if asset != "traffic_drift")
"""Of these, what follows its inputs within minutes; the drift of traffic compares weeks, and is made every night."""

observe_job = dg.define_asset_job(
    "observe_job",
    dg.AssetSelection.assets(*OBSERVED),
    description="What has landed for a day or a range of days: spans, traces, sessions and signals.",
)
annotation_cycle_job = dg.define_asset_job(
    "annotation_cycle_job", dg.AssetSelection.assets("candidates"), description="Build the review queue of a week."
)
annotations_job = dg.define_asset_job(
    "annotations_job",
    dg.AssetSelection.assets(*ANNOTATED),
    description="Take the inbox in: annotations, the issues born from them, labels, and what reviewing found.",
)
generate_job = dg.define_asset_job(
    "generate_job", dg.AssetSelection.assets("evaluators"), description="Generate one issue's evaluator again."
)
verdicts_job = dg.define_asset_job(
    "verdicts_job",
    dg.AssetSelection.assets(*JUDGED),
    description="Judge the traces of a day or a range, and count what was found.",
)
coverage_job = dg.define_asset_job(
    "coverage_job",
    dg.AssetSelection.assets(*MEASURED),
    description="Measure every evaluator, what the suite covers, and write the report.",
)
prune_job = dg.define_asset_job(
    "prune_job",
    dg.AssetSelection.assets("evaluator_pruning"),
    description="Retire the evaluators that have outlived their use, and say why.",
)
maintenance_job = dg.define_asset_job(
    "maintenance_job",
    dg.AssetSelection.assets("lake_upkeep"),
    description="Compact and vacuum the tables, and remove raw segments that are past their retention.",
)
gate_job = dg.define_asset_job(
    "gate_job",
    dg.AssetSelection.assets("gate_runs"),
    description="May this release ship? Fails when it may not, so that CI sees it.",
)

JOBS = [
    observe_job,
    annotation_cycle_job,
    annotations_job,
    generate_job,
    verdicts_job,
    coverage_job,
    prune_job,
    maintenance_job,
    gate_job,
]
