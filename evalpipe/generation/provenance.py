"""What an artifact says of its making, so that it can be made again: data, folds, engines, settings, lineage, price."""

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np

from evalpipe.evaluators.artifact import Artifact
from evalpipe.generation.agreement import mcc_of, stored
from evalpipe.generation.competitors import Competitor, Material
from evalpipe.ids import content_hash


def provenance_of(
    chosen: Competitor,
    competitors: Sequence[Competitor],
    material: Material,
    incumbent: Artifact | None,
    labels_fingerprint: int,
    lake_versions: dict[str, int],
) -> dict[str, Any]:
    """The provenance block of an artifact. Nothing in it depends on the clock."""
    examples, settings = material.examples, material.settings
    return {
        "labels_fingerprint": labels_fingerprint,
        "lake_versions": dict(sorted(lake_versions.items())),
        "n_positives": examples.n_positives,
        "n_negatives": examples.n_negatives,
        "n_groups": len(set(examples.groups)),
        "group_key": "session, near-duplicate first request, first id in the tool calls, same tool results",
        "split": chosen.split or _split_of(material),
        "held_out_mcc_of": {each.name: stored(mcc_of(examples, each.held_out)) for each in competitors},
        "seed": settings.seed,
        "engines": {name: installed_version(name) for name in (*chosen.engines, "evalpipe")},
        "settings_sha256": content_hash(settings.model_dump(mode="json"), 64),
        "parent": None if incumbent is None else {"version": incumbent.version, "sha256": incumbent.sha256},
        "lineage": chosen.lineage,
        "stop_reason": chosen.stop_reason,
        "spent": {each.name: dict(each.spent) for each in competitors},
    }


def _split_of(material: Material) -> dict[str, Any]:
    """The folds, and of each a hash of the traces that it held out."""
    ids = np.array(material.examples.trace_ids)
    folds = material.folds()
    return {
        "scheme": "stratified group folds, the whole procedure inside; refit on all",
        "n_folds": int(folds[0].max()) + 1,
        "n_repeats": len(folds),
        "held_out_ids_sha256": [
            [content_hash(ids[fold_of == fold].tolist(), 64) for fold in range(int(fold_of.max()) + 1)]
            for fold_of in folds
        ],
    }
