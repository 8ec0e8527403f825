import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl

from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.run import SCHEMA, fields_of, run_evaluators
from evalpipe.evaluators.view import evaluator_view
from evalpipe.settings import GenerationSettings, LlmSettings
from evalpipe_tests.evaluators.made import artifact, rule_artifact, trace_id, traces, transcript, view

LLM = LlmSettings()
SORRY = {"op": "contains", "field": "final", "any": ["sorry"]}
NEVER = {"op": "constant", "value": False}


def verdicts(*artifacts: Any, on: pl.DataFrame) -> list[tuple[Any, ...]]:
    said = run_evaluators(artifacts, on, llm=LLM)
    assert dict(said.schema) == dict(SCHEMA)
    return said.select("evaluator_id", "trace_id", "outcome", "score").rows()


TWO = view(transcript(("assistant", "I am sorry")), transcript(("assistant", "Done")))


def test_a_rule_fails_the_traces_of_which_it_is_true_and_says_why():
    said = run_evaluators([rule_artifact(SORRY)], TWO, llm=LLM)
    assert said.select("trace_id", "outcome", "score", "explanation", "cost_usd").rows() == [
        (trace_id(0), "fail", 1.0, 'the final answer contains "sorry"', None),
        (trace_id(1), "pass", 0.0, None, None),
    ]


def test_each_evaluator_speaks_of_each_trace_in_the_order_of_the_keys():
    said = verdicts(rule_artifact(NEVER, evaluator_id="ev_b"), rule_artifact(SORRY, evaluator_id="ev_a"), on=TWO[::-1])
    assert said == [
        ("ev_a", trace_id(0), "fail", 1.0),
        ("ev_a", trace_id(1), "pass", 0.0),
        ("ev_b", trace_id(0), "pass", 0.0),
        ("ev_b", trace_id(1), "pass", 0.0),
    ]


def test_an_evaluator_judges_its_services_and_traces_that_name_none():
    names = ["shop", "bank", None, "unknown_service", "unknown_service:python"]
    frame = view(*[transcript(("assistant", "x"))] * 5).with_columns(service_name=pl.Series(names))
    only_shop = rule_artifact(NEVER, services=["shop"])
    assert [row[1] for row in verdicts(only_shop, on=frame)] == [trace_id(i) for i in (0, 2, 3, 4)]
    assert len(verdicts(rule_artifact(NEVER), on=frame)) == 5


def test_a_broken_evaluator_gives_faults_with_a_reason_and_does_not_stop_the_others():
    broken = [
        # Built past validation, as a damaged table could hand it in.
        rule_artifact(NEVER).model_copy(update={"program": {"rule": {"op": "eval"}}, "evaluator_id": "ev_rule"}),
        rule_artifact(NEVER).model_copy(update={"program": {}, "kind": "learned", "evaluator_id": "ev_learned"}),
        rule_artifact(NEVER).model_copy(update={"program": {}, "kind": "judge", "evaluator_id": "ev_judge"}),
    ]
    said = run_evaluators([*broken, rule_artifact(SORRY, evaluator_id="ev_sound")], TWO, llm=LLM)
    faults = said.filter(pl.col("outcome") == "fault")
    assert sorted(faults["evaluator_id"].unique()) == ["ev_judge", "ev_learned", "ev_rule"]
    assert faults.height == 6
    assert faults["score"].null_count() == 6
    assert not faults["explanation"].str.contains("\n").any()
    assert faults.filter(pl.col("evaluator_id") == "ev_rule")["explanation"][0].startswith("ArtifactError: rule.op")
    assert said.filter(pl.col("evaluator_id") == "ev_sound")["outcome"].to_list() == ["fail", "pass"]


def test_a_field_that_the_view_lacks_is_a_fault_of_the_rules_that_ask_for_it_only():
    frame = TWO.drop("tool_sequence")
    needs_tools = rule_artifact({"op": "tool", "name": "find", "min": 1}, evaluator_id="ev_tools")
    said = run_evaluators([needs_tools, rule_artifact(SORRY)], frame, llm=LLM)
    assert said["outcome"].to_list() == ["fail", "pass", "fault", "fault"]
    assert "tool_sequence" in said["explanation"][2]


def test_nothing_to_run_or_nothing_to_judge_is_an_empty_answer():
    assert verdicts(on=TWO) == []
    assert verdicts(rule_artifact(SORRY), artifact(learned().to_program(), "learned"), on=view()) == []


def learned() -> LearnedModel:
    """A model that learned from 24 traces that "sorry" is the failure."""
    texts = ["I am sorry, no" if i % 2 else "All done, fine" for i in range(24)]
    examples = view(*[transcript(("user", f"question {i}"), ("assistant", text)) for i, text in enumerate(texts)])
    is_failure = np.array([i % 2 == 1 for i in range(24)])
    groups = [str(i) for i in range(24)]
    return LearnedModel.fit(examples, is_failure, np.ones(24), groups, GenerationSettings(), seed=1)


def test_a_learned_evaluator_scores_flags_at_its_threshold_and_explains_what_it_flags():
    said = run_evaluators([artifact(learned().to_program(), "learned")], TWO, llm=LLM)
    assert said["outcome"].to_list() == ["fail", "pass"]
    assert said["score"][0] > said["score"][1]
    assert said["score"].is_between(0, 1).all()
    assert "sorry" in said["explanation"][0]
    assert said["explanation"][1] is None


def test_a_suite_asks_for_the_columns_of_its_rules_and_of_its_learned_programs_alone():
    rule = rule_artifact({"op": "all", "of": [SORRY, {"op": "not", "of": {"op": "tool", "name": "find", "min": 1}}]})
    judge = artifact({"instruction": "It apologises.", "model": None, "max_chars": 24_000}, "judge")
    broken = rule_artifact(NEVER).model_copy(update={"program": {"rule": {"op": "eval"}}})
    assert fields_of([rule, judge, broken]) == {"final", "tool_sequence"}
    assert fields_of([]) == frozenset()
    program = learned().to_program()
    of_learned = fields_of([artifact(program, "learned")])
    assert of_learned == {feature["field"] for kind in ("words", "steps", "numbers") for feature in program[kind]}
    narrow = evaluator_view(traces(transcript(("assistant", "I am sorry"))), fields=of_learned)
    assert verdicts(artifact(program, "learned"), on=narrow)[0][2] == "fail"


def test_a_suite_says_the_same_of_the_columns_that_it_asks_for_as_of_all():
    numbers = ("n_turns", "n_claims", "broken_output", "answer_novelty", "unsupported")
    rules = [{"op": "number", "field": field, "compare": ">=", "value": 0.5} for field in numbers]
    suite = [rule_artifact(rule, evaluator_id=f"ev_{i}") for i, rule in enumerate([SORRY, *rules])]
    suite.append(artifact(learned().to_program(), "learned", evaluator_id="ev_learned"))
    rows = traces(
        transcript(("user", "cancel my order"), ("assistant", "I am sorry. I have cancelled your order.")),
        transcript(("user", "how much?"), ("call", "find", "{}"), ("result", "find", "12 euros"), ("assistant", "90")),
        transcript(("user", "hello"), ("assistant", "{{name}} {{")),
        transcript(("user", "hello")),
    )
    asked, whole = (
        run_evaluators(suite, evaluator_view(rows, fields=fields), llm=LLM) for fields in (fields_of(suite), None)
    )
    assert asked.equals(whole)
    assert set(asked["outcome"]) == {"fail", "pass"}


def test_a_judge_without_a_model_gives_faults_and_says_what_to_set():
    judge = artifact({"instruction": "It apologises.", "model": None, "max_chars": 24_000}, "judge")
    said = run_evaluators([judge, rule_artifact(SORRY, evaluator_id="ev_2")], TWO, llm=LLM)
    assert said["outcome"].to_list() == ["fault", "fault", "fail", "pass"]
    assert said["explanation"][0] == "no judge model is configured; set EVALPIPE_JUDGE_MODEL"


def test_rules_alone_load_neither_a_model_library_nor_scikit_learn():
    program = (
        "import sys\n"
        "import evalpipe.evaluators.run, evalpipe.evaluators.catalog, evalpipe.evaluators.measure\n"
        "print([name for name in ('dspy', 'litellm', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
