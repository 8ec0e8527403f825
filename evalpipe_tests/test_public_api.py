"""What `import evalpipe` offers, and what it costs."""

import subprocess
import sys

import pytest

import evalpipe
from evalpipe.errors import EvalpipeError

HEAVY = ("dagster", "dspy", "sklearn", "polars", "litellm", "gepa", "scipy", "deltalake", "pydantic")


def loaded_after(statements: str) -> set[str]:
    code = f"{statements}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_evalpipe_loads_nothing_heavy():
    assert loaded_after("import evalpipe") == set()


def test_running_a_suite_loads_neither_the_orchestrator_nor_any_learner():
    statements = (
        "from evalpipe import GeneratedEval, run_eval_suite\n"
        "run_eval_suite([{'output': 'a'}], [GeneratedEval('e', 'm', 'rule', lambda case: True, 0.9, 0.5)])"
    )
    assert loaded_after(statements) <= {"pydantic"}


def test_the_errors_are_one_tree():
    errors = [getattr(evalpipe, name) for name in evalpipe.__all__ if name.endswith("Error")]
    assert len(errors) == 8
    assert all(issubclass(error, EvalpipeError) for error in errors)


def test_everything_offered_is_there_and_listed():
    assert set(evalpipe.__all__) <= set(dir(evalpipe))
    assert [name for name in evalpipe.__all__ if not callable(getattr(evalpipe, name))] == []
    assert {"GeneratedEval", "run_eval_suite"} <= set(evalpipe.__all__)


def test_what_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="run_eval_suit'"):
        evalpipe.run_eval_suit  # noqa: B018


def test_submodules_are_still_found():
    import evalpipe.ids

    assert evalpipe.ids.is_safe_name("a")
