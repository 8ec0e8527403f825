"""evalpipe: production traces become evaluators that gate the next deployment.

The public Python is what `__all__` names; each name is loaded when it is first used, so that `import evalpipe` costs
nothing and needs none of dagster, dspy, scikit-learn or polars.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalpipe.errors import (
        ArtifactError,
        EvalpipeError,
        EvaluatorFaultError,
        InputError,
        LakeConflictError,
        NotEnoughEvidenceError,
        SettingsError,
        StateError,
    )
    from evalpipe.gate.suite import GeneratedEval, run_eval_suite

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "EvalpipeError",
    "EvaluatorFaultError",
    "GeneratedEval",
    "InputError",
    "LakeConflictError",
    "NotEnoughEvidenceError",
    "SettingsError",
    "StateError",
    "run_eval_suite",
]

_IN_SUITE = ("GeneratedEval", "run_eval_suite")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("evalpipe.gate.suite" if name in _IN_SUITE else "evalpipe.errors"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
