import logging

import numpy as np
import polars as pl
import pytest

from evalpipe.errors import ModelDownError
from evalpipe.evaluators.rule_syntax import json_schema
from evalpipe.evaluators.rules import compile_rule
from evalpipe.generation.authoring import propose_predicates, rule_language
from evalpipe.settings import LlmSettings
from evalpipe_tests.generation.claims import ISSUE_NAME, Claims, claims
from evalpipe_tests.scripted_model import MODEL, REFUNDS, Script, ScriptedModel, Server, scripted_model

KEPT = [
    {"op": "contains", "field": "assistant", "any": ["refunded"]},
    {"op": "tool", "name": "issue_refund", "status": "any", "min": None, "max": 0},
]
TEN = claims(10, 40, seed=1)


def proposed(server: Server, made: Claims = TEN, rows: np.ndarray | None = None, **changes) -> list[dict]:
    fields = {"judge_model": MODEL, "api_base": server.url, "max_retries": 0}
    examples = made.examples
    return propose_predicates(
        examples.view,
        examples.is_failure,
        made.notes,
        np.arange(examples.view.height) if rows is None else rows,
        issue_name=ISSUE_NAME,
        llm=LlmSettings(**{**fields, **changes}),
        seed=1,
    )


def test_rules_of_the_language_are_kept_and_what_is_none_is_dropped_and_counted(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "evalpipe.generation.authoring"), scripted_model() as server:
        # The script proposes two rules, an invented operation and a pattern that the engine does not know.
        assert proposed(server) == KEPT
    assert "2 of 4 rules" in caplog.text
    view = TEN.examples.view
    assert view.select(compile_rule({"op": "all", "of": KEPT}).alias("fires"))["fires"].to_numpy().tolist() == (
        TEN.examples.is_failure.tolist()
    )


def test_one_question_is_asked_once_and_answered_from_the_cache_after_that(tmp_path):
    with scripted_model() as server:
        for _ in range(2):
            assert proposed(server, cache=tmp_path / "answers.sqlite") == KEPT
        assert server.n_requests == 1


def test_the_model_reads_nothing_but_the_rows_it_is_given():
    examples = TEN.examples
    failures, others = (np.flatnonzero(examples.is_failure == wanted) for wanted in (True, False))
    rows = np.concatenate([failures[:8], others[:8]])
    with scripted_model() as server:
        proposed(server, rows=rows)
        prompt = "\n".join(message["content"] for message in server.asked[0][1])
    hidden = [examples.view["request"][i] for i in range(50) if i not in rows]
    shown = [examples.view["request"][i] for i in rows.tolist()]
    assert not any(request in prompt for request in hidden)
    assert sum(request in prompt for request in shown) == 12
    assert prompt.count("\nFAILURE\n") == prompt.count("\nOTHER\n") == 6
    assert "issue_refund was never called" in prompt


def test_no_more_than_twenty_different_rules_are_kept_and_only_those_that_the_view_can_answer():
    many = [{"op": "contains", "field": "final", "any": [f"word {i // 2}"]} for i in range(60)]
    unknown = {"op": "number", "field": "moon_phase", "compare": ">=", "value": 1}
    never = {"op": "constant", "value": False}
    script = Script(REFUNDS.criteria, REFUNDS.judge, rules=(unknown, never, *many))
    with scripted_model(ScriptedModel(script)) as server:
        rules = proposed(server)
    assert [rule["any"] for rule in rules] == [[f"word {i}"] for i in range(20)]


@pytest.mark.parametrize("garbage", [1, 2])
def test_an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_is_no_rules(garbage: int):
    with scripted_model(garbage=garbage) as server:
        assert proposed(server) == (KEPT if garbage == 1 else [])
        assert server.n_requests == 2


def test_without_a_model_or_without_both_classes_nothing_is_asked():
    with scripted_model() as server:
        assert proposed(server, judge_model=None) == []
        assert proposed(server, rows=np.flatnonzero(TEN.examples.is_failure)) == []
        assert server.n_requests == 0


def test_a_model_that_is_down_is_an_error():
    with scripted_model() as server:
        pass
    with pytest.raises(ModelDownError, match="no server answers"):
        proposed(server)


def test_the_language_is_described_from_its_schema_with_every_operation_but_those_of_no_use_here():
    described = rule_language()
    ops = {d["properties"]["op"]["const"] for d in json_schema()["$defs"].values() if "op" in d.get("properties", {})}
    for op in ops - {"constant", "at_least"}:
        assert f'{{"op": "{op}"' in described
    assert '"field": a text' in described
    assert "before_first|before_last" in described
    assert len(described) < 3_000


def test_a_long_trace_leaves_room_for_the_others():
    examples = TEN.examples
    first = examples.view["transcript"].to_list()
    first[0][0]["content"] = "x" * 1_000_000
    view = examples.view.with_columns(pl.Series("transcript", first, dtype=examples.view.schema["transcript"]))
    made = Claims(type(examples)(view, examples.is_failure, examples.weight, examples.groups), TEN.notes)
    with scripted_model() as server:
        assert proposed(
            server, made, rows=np.array([0, *np.flatnonzero(examples.is_failure != examples.is_failure[0])])
        )
        assert sum(len(message["content"]) for message in server.asked[0][1]) < 26_000
