import polars as pl
import pytest

from evalpipe.review.agreement import agreement_frame, ceiling_of
from evalpipe.settings import ReviewSettings
from evalpipe.tables import AGREEMENT
from evalpipe_tests.review.made import DAY, annotation, annotations, made_id

ISSUE_OF = pl.DataFrame({"mode_key": ["slow", "rude"], "issue_id": ["iss_slow", "iss_rude"]})
SETTINGS = ReviewSettings()


def rows(*said: dict, services: dict[int, str] | None = None) -> dict[tuple[str, str], dict]:
    known = [(made_id(i), DAY, None, (services or {}).get(i, "shop")) for i in range(40)]
    schema = {"trace_id": pl.String, "day": pl.Date, "session_id": pl.String, "service_name": pl.String}
    traces = pl.DataFrame(known, schema=schema, orient="row")
    found = agreement_frame(annotations(*said), traces, ISSUE_OF, SETTINGS)
    assert found.schema == AGREEMENT.schema
    return {(row["scope"], row["name"]): row for row in found.iter_rows(named=True)}


def both(trace: int, one: tuple[str, str | None], other: tuple[str, str | None]) -> list[dict]:
    return [annotation(trace, *one), annotation(trace, *other, annotator="bo")]


GOOD, SLOW, RUDE = ("good", None), ("bad", "slow"), ("bad", "rude")


def test_over_all_the_question_is_whether_the_trace_failed():
    found = rows(*both(0, SLOW, RUDE), *both(1, SLOW, SLOW), *both(2, GOOD, GOOD), *both(3, GOOD, GOOD))
    assert found["all", ""]["kappa"] == 1
    assert (found["all", ""]["n_traces"], found["all", ""]["n_annotators"]) == (4, 2)


def test_for_an_issue_who_names_another_failure_denies_it():
    found = rows(*both(0, SLOW, RUDE), *both(1, SLOW, SLOW), *both(2, GOOD, GOOD), *both(3, GOOD, GOOD))
    # yes-yes 1, yes-no 1, no-no 2: observed .75, by chance .5 * .25 + .5 * .75 = .5
    assert found["issue", "iss_slow"]["kappa"] == pytest.approx(0.5)


def test_an_issue_is_asked_about_in_the_services_where_it_was_claimed():
    found = rows(*both(0, SLOW, SLOW), *both(1, GOOD, GOOD), *both(2, GOOD, GOOD), services={2: "bank"})
    assert found["issue", "iss_slow"]["n_traces"] == 2
    assert found["all", ""]["n_traces"] == 3


def test_what_only_one_has_read_and_what_programs_and_models_say_is_no_second_reading():
    program = annotation(1, *SLOW, annotator="replay", label_source="programmatic")
    model = annotation(1, *SLOW, annotator="gpt", label_source="model")
    assert rows(annotation(0), annotation(1), program, model)["all", ""]["n_traces"] == 0


def test_a_changed_mind_counts_once_and_a_withdrawn_opinion_not_at_all():
    changed = [*both(0, GOOD, GOOD), annotation(0, *SLOW, minute=5)]
    withdrawn = [*both(1, GOOD, GOOD), annotation(1, "withdrawn", minute=5)]
    found = rows(*changed, *withdrawn)["all", ""]
    assert found["n_traces"] == 1


def test_a_reader_is_compared_with_all_others():
    third = [annotation(0, *SLOW, annotator="cy"), annotation(1, annotator="cy")]
    found = rows(*both(0, SLOW, GOOD), *both(1, GOOD, GOOD), *third)
    assert found["reviewer", "ada"]["n_annotators"] == 3
    assert found["reviewer", "bo"]["kappa"] < found["reviewer", "cy"]["kappa"] == found["reviewer", "ada"]["kappa"]


def test_an_issue_that_nobody_read_twice_borrows_the_ceiling_of_all():
    said = [row for trace in range(21) for row in both(trace, SLOW if trace < 5 else GOOD, SLOW if trace < 4 else GOOD)]
    few = both(30, RUDE, RUDE)
    named = agreement_frame_of(said + few)
    found = ceiling_of(named, pl.Series(["iss_rude", "iss_slow", "iss_new"]))
    assert found["issue_id"].to_list() == ["iss_rude", "iss_slow", "iss_new"]
    assert found["is_own"].to_list() == [True, True, False]
    assert found["ceiling"][2] == named.filter(pl.col("scope") == "all")["ceiling"][0]


def test_without_any_agreement_row_the_ceiling_is_not_known():
    found = ceiling_of(AGREEMENT.empty(), pl.Series(["iss_slow"]))
    assert found.row(0) == ("iss_slow", None, None, None, None, False)


def agreement_frame_of(said: list[dict]) -> pl.DataFrame:
    known = [(made_id(i), None, "shop") for i in range(40)]
    schema = {"trace_id": pl.String, "session_id": pl.String, "service_name": pl.String}
    return agreement_frame(annotations(*said), pl.DataFrame(known, schema=schema, orient="row"), ISSUE_OF, SETTINGS)
