"""The page of one issue, without any script: what it says of the evaluator, and of whose traces it keeps quiet."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evalpipe.evaluators.artifact import Artifact, program_sha256
from evalpipe.evaluators.features import features_of
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.view import evaluator_view
from evalpipe.home import Home
from evalpipe.ids import issue_id
from evalpipe.issues.events import event
from evalpipe.issues.replay import replay
from evalpipe.tables import EVALUATOR_QUALITY, EVALUATORS, ISSUE_EVENTS, LABELS, TRACES, VERIFICATIONS
from evalpipe_tests.generation.made import QUICK
from evalpipe_tests.generation.planted import NOW, labels_of, planted
from evalpipe_tests.review.made import CYCLE
from evalpipe_tests.web.dossier_home import PLANTED, Known, dossier_home
from evalpipe_tests.web.reviewed import HOSTILE, LOUD, PROMISED, UNSENT, client, issues_home

ADDRESS = f"/review/issues/{PLANTED}"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return dossier_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def shown(known: Known) -> str:
    answer = client(known.home).get(ADDRESS)
    assert answer.status_code == 200
    return answer.text


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """Issues, and no evaluator of any."""
    return issues_home(tmp_path)


def with_artifact(home: Home, artifact: Artifact, **changed: object) -> None:
    """The one evaluator is `artifact`, with these parts changed."""
    made = Artifact.from_json(json.dumps(json.loads(artifact.to_json()) | changed))
    row = home.lake.read(EVALUATORS).with_columns(artifact=pl.lit(made.to_json()), artifact_sha256=pl.lit(made.sha256))
    home.lake.replace(EVALUATORS, row)


def test_the_board_leads_to_the_page(known: Known):
    assert f'href="{ADDRESS}"' in client(known.home).get("/review/issues").text


def test_it_says_what_the_evaluator_does_and_is_trusted_with(shown: str, known: Known):
    assert "may block a release" in shown
    assert "A rule, version 1, made on 5 Jan 2026 from 12 failures and 48 other traces" in shown
    assert "tool &#34;issue_refund&#34; is called before tool &#34;check_policy&#34;" in shown
    assert "The rule as data" in shown
    assert "&#34;op&#34;: &#34;tool_before&#34;" in shown


def test_it_says_how_common_the_issue_was_week_by_week(shown: str):
    """Three weeks have a figure; a line joins the first two, since the third week has none. Release 1.1 is marked."""
    section = shown[shown.index('id="common"') : shown.index('id="patterns"')]
    assert "Share of traffic in 3 weeks, from 2.0 % to 8.0 %" in section
    assert section.count("<circle") == 3
    assert section.count('class="path held_out"') == 1
    assert section.count('class="threshold"') == 1
    assert "<bdi>1.1</bdi>" in section
    assert "<td>26 Jan 2026</td><td>8.0 % [4.0, 10.0]</td><td>1,000 traces</td>" in section


def test_an_issue_whose_traffic_nobody_judged_says_nothing_of_it(bare: Home):
    assert 'id="common"' not in client(bare).get(ADDRESS).text


def test_held_out_stands_first_and_in_sample_beside_it(shown: str, known: Known):
    quality = known.artifact.quality
    assert f"1.00 [{quality['mcc_lower']:.2f}, 1.00]" in shown
    assert shown.index("held-out") < shown.index("in-sample")
    for cell in (
        '<td class="right">12</td><td class="wrong">0</td>',
        '<td class="wrong">0</td><td class="right">48</td>',
    ):
        assert cell in shown


def test_patterns_stand_under_their_family_with_their_evidence(shown: str):
    tools = shown[shown.index("What separates its failures") :]
    assert '<h3 class="family">Tools</h3>' in tools
    # 12 of 12 failures and none of 48 others.
    assert "<b>100 %</b>" in tools
    assert "in 12 traces" in tools


def test_only_traces_that_the_reader_has_read_are_linked(shown: str, known: Known):
    evidence = shown[shown.index("What separates") : shown.index("What it still gets wrong")]
    assert f'href="/review/{CYCLE}/{known.read}"' in evidence
    assert known.unread not in shown
    assert known.elsewhere not in shown
    assert "1 still in your queue" in evidence
    assert "3 more not in your queues" in evidence


def test_what_it_gets_wrong_are_its_held_out_verdicts_against_the_labels_of_today(shown: str, known: Known):
    wrong = shown[shown.index("What it still gets wrong") :]
    assert "1 missed failure<" in wrong
    assert "1 false alarm<" in wrong
    assert f'href="/review/{CYCLE}/{known.missed}"' in wrong
    assert f'href="/review/{CYCLE}/{known.false_alarm}"' in wrong


def test_the_way_to_the_rule_is_told_from_the_rule_that_never_fires(shown: str):
    lineage = shown[shown.index("How it came to be") :]
    assert lineage.index("never") < lineage.index("is called before")


def test_another_reviewer_is_not_told_where_marias_traces_lie(known: Known):
    page = client(known.home, "ben").get(ADDRESS).text
    assert known.read not in page
    assert "5 not in your queues" in page


def test_nothing_of_a_trace_or_a_person_becomes_markup(known: Known, tmp_path: Path):
    home = dossier_home(tmp_path).home
    pattern = dict(known.artifact.patterns[0]) | {"predicate": HOSTILE, "family": "<b>"}
    with_artifact(home, known.artifact, patterns=[pattern], explanation=HOSTILE)
    page = client(home).get(ADDRESS).text
    assert "<script>document" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    loud = client(home).get(f"/review/issues/{issue_id(LOUD)}").text
    assert "<b>SHOUTS" not in loud
    assert "<script>document" not in loud


def test_an_artifact_of_an_older_kind_is_shown_as_far_as_it_says(known: Known, tmp_path: Path):
    home = dossier_home(tmp_path).home
    old = {"predicate": "it is late", "support": 3, "tpr": 0.25, "fpr": 0.0, "log_odds": 1.5}
    with_artifact(home, known.artifact, patterns=[old])
    page = client(home).get(ADDRESS).text
    assert '<h3 class="family">Other</h3>' in page
    assert "in 3 traces · log-odds +1.5<" in page


def test_a_learned_evaluator_says_how_it_decides(tmp_path: Path):
    known = dossier_home(tmp_path)
    view, is_failure = evaluator_view(known.home.lake.read(TRACES)), known.home.lake.read(LABELS)
    rows = view.join(is_failure.select("trace_id", "is_failure"), on="trace_id")
    model = LearnedModel.fit_rows(
        features_of(rows.drop("is_failure")),
        np.arange(rows.height),
        rows["is_failure"].to_numpy(),
        np.ones(rows.height),
        rows["trace_id"].to_list(),
        QUICK,
        1,
    )
    program = model.to_program()
    quality = known.artifact.quality | {"program_sha256": program_sha256(program)}
    changed = {"kind": "learned", "program": program, "explanation": model.describe(), "quality": quality}
    with_artifact(known.home, known.artifact, **changed)
    page = client(known.home).get(ADDRESS).text
    assert "How it decides" in page
    assert "A learned evaluator" in page
    assert "The rule as data" not in page


def test_measurements_stand_in_the_order_of_time(known: Known, tmp_path: Path):
    home = dossier_home(tmp_path).home
    first = home.lake.read(EVALUATOR_QUALITY).filter(pl.col("split") == "held_out")
    later = first.with_columns(
        split=pl.lit("prospective"), measured_at=pl.lit(NOW + timedelta(days=7)), mcc=pl.lit(0.5),
        mcc_lower=pl.lit(0.3), mcc_upper=pl.lit(0.7), labels_fingerprint=pl.lit(99, pl.Int64),
    )  # fmt: skip
    unknown = later.with_columns(
        mcc=pl.lit(None, pl.Float64), mcc_lower=pl.lit(None, pl.Float64), mcc_upper=pl.lit(None, pl.Float64),
        labels_fingerprint=pl.lit(98, pl.Int64),
    )  # fmt: skip
    home.lake.append_new(EVALUATOR_QUALITY, pl.concat([later, unknown]))
    page = client(home).get(ADDRESS).text
    assert "MCC of 2 measurements, from 1.00 to 0.50" in page
    assert "0.50 [0.30, 0.70]" in page
    assert "1 measurement had no MCC" in page


def test_too_little_evidence_is_said_in_numbers(bare: Home):
    made = planted("ordering", 6, 20, seed=1)
    labels = labels_of(made.traces, made.labels.sort("trace_id")["is_failure"].to_list())
    bare.lake.replace(LABELS, labels.with_columns(issue_id=pl.lit(PLANTED)))
    page = client(bare).get(ADDRESS).text
    assert "No evaluator yet" in page
    assert "<b>4 more failures</b>" in page
    assert "note 22" in page


def test_what_others_say_is_kept_from_who_is_still_to_read(bare: Home):
    assert "not for Maria" not in client(bare).get(f"/review/issues/{issue_id(UNSENT)}").text


def test_a_merged_issue_says_where_it_went(bare: Home):
    browser = client(bare)
    merge = {"issue": issue_id(UNSENT), "other": PLANTED, "into": PLANTED, "do": "merge"}
    browser.post("/review/issues", data=merge)
    gone = browser.get(f"/review/issues/{issue_id(UNSENT)}")
    assert gone.status_code == 404
    assert UNSENT in gone.text
    assert PROMISED in gone.text
    assert f'href="{ADDRESS}"' in gone.text


@pytest.mark.parametrize("address", ["iss_unknown", "%3Cscript%3E", "..%2F..%2Fsecret", "x" * 2000])
def test_an_unknown_issue_is_no_page(bare: Home, address: str):
    answer = client(bare).get(f"/review/issues/{address}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text


def test_who_is_not_signed_in_is_sent_to_sign_in(bare: Home):
    assert client(bare, None).get(ADDRESS).status_code == 303


def verification(**known: object) -> pl.DataFrame:
    figures = {name: 0 for name, dtype in VERIFICATIONS.schema.items() if dtype.is_numeric()}
    said = {"issue_id": PLANTED, "state": "verifying", "release": "1.1", "releases": ["1.1"], "finding": "reading"}
    return VERIFICATIONS.conform(pl.DataFrame([figures | said | known]))


def test_it_tells_what_happened_and_what_a_fix_still_has_to_show(bare: Home):
    events = bare.lake.read(ISSUE_EVENTS)
    for kind, evidence in (("promoted", {"n_failures": 3}), ("fix_claimed", {"release": "1.1"})):
        issue = replay(events)[PLANTED]
        events = pl.concat([events, event(issue, kind, author="ada", now=issue.updated_at, evidence=evidence)])
    bare.lake.append_new(ISSUE_EVENTS, events)
    needs = {"reason": "1.1 needs <b>40</b> more", "n_exposed": 120, "n_needed": 322, "n_hits_read": 2}
    needs |= {"n_hits_confirmed": 1, "n_flagged": 5, "n_passes_read": 30, "n_passes_needed": 74}
    rates = {"target_rate": 0.01, "rate_before": 0.04, "confidence": 0.95}
    bare.lake.replace(VERIFICATIONS, verification(**needs, **rates))
    page = client(bare).get(ADDRESS).text
    life = page[page.index('id="life"') :]
    assert "The fix is being checked" in life
    assert "1.1 needs &lt;b&gt;40&lt;/b&gt; more" in life
    for figures in (
        "<td>120</td><td>322</td>",
        "<td>2, 1 confirmed</td><td>5</td>",
        "<td>30, 0 show it</td><td>74</td>",
    ):
        assert figures in life
    assert "below 1.00 %, where it was 4.0 %, at 95 % confidence" in life
    said = [
        life.index(words) for words in ("said to be fixed in release 1.1: ada said so", "became an issue", "first seen")
    ]
    assert said == sorted(said)  # the newest first


def test_an_issue_that_nobody_calls_fixed_has_no_fix_on_its_page(shown: str):
    assert "What the fix has to show" not in shown
    assert "first seen" in shown
