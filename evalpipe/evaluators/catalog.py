"""Where artifacts are kept as files, and which version of each evaluator counts now.

The Delta table EVALUATORS is the truth; the files are for people and for tools without a Delta reader. Ids come from
outside, so each is checked before it becomes part of a path.
"""

from functools import lru_cache
from pathlib import Path

import polars as pl

from evalpipe.errors import ArtifactError, StateError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.files import write_whole
from evalpipe.ids import content_hash, is_safe_name

_CURRENT = "CURRENT"
_HELD = 64  # artifacts, of some 100 KB each


def current_evaluators(evaluators: pl.DataFrame) -> pl.DataFrame:
    """The newest version of each evaluator in EVALUATORS rows, by evaluator_id; none of one whose newest is retired."""
    return (
        evaluators.sort("evaluator_id", "version")
        .unique("evaluator_id", keep="last", maintain_order=True)
        .filter(pl.col("status") != "retired")
    )


@lru_cache(_HELD)  # checking a learned one takes a tenth of a second, and a process that judges again has done it
def load(artifact_json: str, artifact_sha256: str) -> Artifact:
    """The artifact of an EVALUATORS row. Raises ArtifactError when it is invalid or not what the row says it is."""
    if (found := content_hash(artifact_json.encode(), 64)) != artifact_sha256:
        raise ArtifactError(
            f"an evaluator artifact hashes to {found[:12]} where its row says {artifact_sha256[:12]}: it was changed "
            "after it was made. It is never run; generate it again with: evalpipe generate"
        )
    return Artifact.from_json(artifact_json)


def write_artifact(root: Path, artifact: Artifact) -> Path:
    """Keep the artifact as root/evaluators/ISSUE/VERSION.json and make it the current one; returns its path.

    A reader sees the old files or the new ones, never half of one; after a crash the artifact may be there without
    being current. Writing the same version again replaces it.
    """
    folder = _folder(root, artifact.issue_id)
    path = folder / f"{artifact.version}.json"
    write_whole(path, artifact.to_json() + "\n")
    write_whole(folder / _CURRENT, f"{artifact.version}\n")
    return path


def read_artifact(root: Path, issue_id: str, version: int | None = None) -> Artifact:
    """The artifact kept for an issue, the current version unless another is named.

    Raises StateError when there is none, ArtifactError when it is not valid.
    """
    folder = _folder(root, issue_id)
    try:
        if version is None:
            version = int((folder / _CURRENT).read_text(encoding="utf-8"))
        text = (folder / f"{version}.json").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StateError(
            f"issue {issue_id} has no evaluator{f' version {version}' if version else ''}. "
            f"Run: evalpipe generate {issue_id}"
        ) from error
    except ValueError as error:
        raise ArtifactError(f"{folder}: a file there is damaged: {error}. Run: evalpipe generate {issue_id}") from error
    return Artifact.from_json(text)


def _folder(root: Path, issue_id: str) -> Path:
    if not is_safe_name(issue_id):
        raise ArtifactError(f"issue id {issue_id[:60]!r} is no file name: letters, digits, '.', '_' and '-' only")
    return root / "evaluators" / issue_id
