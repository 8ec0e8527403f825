import numpy as np
import polars as pl
import pytest

from evalpipe.issues.resolution import first_proof, verify
from evalpipe.settings import VerificationSettings
from evalpipe_tests.issues.histories import GOOD, day, exposure, hours, readings

SETTINGS = VerificationSettings()
# Before, 4 % of the traffic showed it: the target is the lesser of 1 % and a quarter of that, and 0 of 299 say that a
# rate is below 1 %. Of the failures 19.5 of 21 are flagged, so that 299 / (19.5 / 21) = 322 traces must be looked at.
# 73 passes without a failure say that the rate is not the old one: 0.96 ** 73 = 0.0508, 0.96 ** 74 = 0.0488.
ENOUGH, PASSES = 322, 74
SINCE = day(7)


def after(n: int, n_flagged: int = 0):
    return hours((0, "1.0", 500, 20), (7, "1.1", n, n_flagged))


def test_a_fix_that_nobody_has_seen_in_production_is_waited_for():
    said = verify("1.1", None, exposure(after(0).head(1)), SETTINGS)
    assert said.finding == "waiting"
    assert "1.1" in said.reason
    assert (said.n_exposed, said.rate_upper) == (0, None)


def test_without_an_evaluator_only_a_person_can_answer_for_it():
    said = verify("1.1", SINCE, exposure(after(1_000), agreement=None), SETTINGS)
    assert said.finding == "waiting"
    assert "person" in said.reason


def test_what_is_asked_for_is_worked_out_from_the_rate_before():
    said = verify("1.1", SINCE, exposure(after(10)), SETTINGS)
    assert (said.n_needed, said.n_passes_needed) == (322, PASSES)
    assert said.target_rate == pytest.approx(0.01)
    assert said.finding == "reading"
    assert "312 more traces" in said.reason
    assert "74 more of its passes" in said.reason


def test_traffic_alone_solves_nothing():
    said = verify("1.1", SINCE, exposure(after(100_000)), SETTINGS)
    assert said.finding == "reading"
    assert "passes to be read by people" in said.reason


def test_enough_traffic_and_enough_reading_solve_it():
    read = readings((7, "1.1", PASSES, False, False))
    said = verify("1.1", SINCE, exposure(after(ENOUGH), read), SETTINGS)
    assert said.finding == "solved"
    assert said.rate_upper is not None
    assert said.rate_upper < 0.01
    assert said.decided_at == day(8)  # when people had read
    assert verify("1.1", SINCE, exposure(after(ENOUGH - 1), read), SETTINGS).finding == "reading"


def test_traces_of_the_old_release_and_of_those_before_it_prove_nothing():
    seen = hours((0, "1.0", 500, 20), (7, "1.1", 10, 0), (8, "1.0", 5_000, 0))
    read = readings((8, "1.0", 200, False, False))
    said = verify("1.1", SINCE, exposure(seen, read), SETTINGS)
    assert (said.releases, said.n_exposed, said.n_passes_read) == (("1.1",), 10, 0)


def test_later_releases_count_with_the_one_that_fixed_it():
    seen = hours((0, "1.0", 500, 20), (7, "1.1", 200, 0), (9, "1.2", 200, 0))
    said = verify("1.1", SINCE, exposure(seen), SETTINGS)
    assert (said.releases, said.n_exposed) == (("1.1", "1.2"), 400)


def test_a_hit_that_nobody_has_read_counts_as_a_failure():
    read = readings((7, "1.1", PASSES, False, False))
    said = verify("1.1", SINCE, exposure(after(ENOUGH, 3), read), SETTINGS)
    assert said.finding == "reading"
    assert "3 hits to be read" in said.reason
    refuted = pl.concat([read, readings((7, "1.1", 3, True, False))])
    assert verify("1.1", SINCE, exposure(after(ENOUGH, 3), refuted), SETTINGS).finding == "solved"


def test_hits_that_people_confirm_say_that_it_is_not_fixed():
    read = readings((7, "1.1", 6, True, True))
    said = verify("1.1", SINCE, exposure(after(150, 6), read), SETTINGS)
    assert said.finding == "not_solved"
    assert "6 of 6 hits" in said.reason


def test_passes_that_show_the_failure_say_that_the_evaluator_was_fooled():
    read = readings((7, "1.1", 6, False, True), (7, "1.1", 60, False, False))
    said = verify("1.1", SINCE, exposure(after(ENOUGH), read), SETTINGS)
    assert said.finding == "fooled"
    assert "6 of 66" in said.reason


def test_one_failing_pass_asks_for_more_reading_and_decides_nothing():
    read = readings((7, "1.1", 1, False, True), (7, "1.1", PASSES, False, False))
    said = verify("1.1", SINCE, exposure(after(ENOUGH), read), SETTINGS)
    assert said.finding == "reading"
    # A reader sees it in three of a thousand others too, so 0.013 must be twenty times likelier than 0.043:
    # 13/43 * (0.987 / 0.957)**n reaches 20 at n = ln(20 * 43 / 13) / 0.030866 = 135.8.
    assert said.n_passes_needed == 1 + 136


def test_a_fix_that_is_not_proven_by_three_times_the_reading_is_none():
    # Six of 225 is so near to what was, 9 of 225, that the rate of before cannot be excluded.
    read = readings((7, "1.1", 6, False, True), (7, "1.1", 219, False, False))
    assert verify("1.1", SINCE, exposure(after(ENOUGH), read), SETTINGS).finding == "fooled"


def test_a_sample_with_unequal_chances_counts_for_less():
    # 400 traces of weight 1 and 20 of weight 20 say as much as (400 + 400) ** 2 / (400 + 8000) = 76 equal ones.
    seen = after(420).with_columns(
        judged_weight=pl.when(pl.col("release") == "1.1").then(800.0).otherwise("judged_weight"),
        judged_weight_sq=pl.when(pl.col("release") == "1.1").then(8_400.0).otherwise("judged_weight_sq"),
    )
    read = readings((7, "1.1", PASSES, False, False))
    said = verify("1.1", SINCE, exposure(seen, read), SETTINGS)
    assert said.finding == "reading"
    assert said.rate_upper == pytest.approx(1 - 0.05 ** (1 / (800**2 / 8_400 * 19.5 / 21)))


def test_of_a_rate_that_nobody_knows_the_least_that_counts_is_assumed():
    said = verify("1.1", SINCE, exposure(after(10), rate_before=None), SETTINGS)
    assert said.rate_before == SETTINGS.recurrence_rate
    assert said.target_rate == pytest.approx(0.25 * 0.02)


def test_the_agreement_of_an_evaluator_that_misses_half_doubles_the_traffic():
    blind = verify("1.1", SINCE, exposure(after(10), agreement=GOOD._replace(tp=10, fn=10)), SETTINGS)
    assert blind.n_needed == 299 * 2


@pytest.mark.parametrize("share", [0.0, 0.004, 0.04])
def test_the_first_proof_is_what_was_known_at_the_end_of_the_first_day_that_proves_anything(share: float):
    generator = np.random.default_rng(5)
    rows, read = [(0.0, "1.0", 500, 20), (7.2, "1.0", 30, 1)], []
    for at in np.arange(7.0, 40.0, 0.4):
        release = f"1.{1 + int(at) // 9}"
        n_failing = int(generator.binomial(30, share))
        rows.append((float(at), release, 30, n_failing))
        read += [(float(at), release, n_failing, True, True), (float(at), release, 1, False, share > 0.01)]
    seen = exposure(hours(*rows), readings(*read))
    moments = pl.concat([seen.hours["at"], seen.readings["read_at"]])
    ends = [moments.filter(moments.dt.date() == each).max() for each in moments.dt.date().unique().sort()]
    by_hand = (verify("1.0", SINCE, seen.known_at(at), SETTINGS) for at in ends)
    decided = next((said for said in by_hand if said.finding in ("solved", "not_solved", "fooled")), None)

    assert decided is not None
    assert first_proof("1.0", SINCE, seen, SETTINGS) == decided


def test_hits_that_are_too_many_to_read_speak_by_those_that_were_read():
    # 400 of 10,000 flagged, 40 of them read and all confirmed: 40 of a tenth of the traffic, the target allows 10.
    read = readings((7, "1.1", 40, True, True))
    assert verify("1.1", SINCE, exposure(after(10_000, 400), read), SETTINGS).finding == "not_solved"


def test_one_confirmed_hit_asks_for_more_traffic_than_an_interval_would():
    # A quarter of the target must be twenty times likelier than it: ln 20 + ln 4 = 4.382, and a trace without the
    # failure tells ln 0.9975 - ln 0.99 = 0.007547, so 580.6 traces; with the one that failed 582, over 19.5 / 21.
    said = verify("1.1", SINCE, exposure(after(10, 1), readings((7, "1.1", 1, True, True))), SETTINGS)
    assert said.n_needed == 627


def test_hits_that_people_refute_lower_what_the_failure_is_believed_to_have_been():
    # Held out, 1 of 100 is a false alarm; with 10 of 200 there are 11 of 300. Flagged before: 0.04 * 0.94 + 0.01 =
    # 0.0476; (0.0476 - 0.03667) / (0.95 - 0.03667) = 0.01197.
    said = verify("1.1", SINCE, exposure(after(200, 10), readings((7, "1.1", 10, True, False))), SETTINGS)
    assert said.rate_before == pytest.approx(0.01197, abs=1e-5)
    assert said.target_rate == pytest.approx(0.25 * 0.01197, abs=1e-5)


def test_a_target_is_never_next_to_nothing():
    said = verify("1.1", SINCE, exposure(after(10), rate_before=0.0001), SETTINGS)
    assert (said.rate_before, said.target_rate) == (SETTINGS.target_rate, 0.25 * SETTINGS.target_rate)
    assert said.n_passes_needed == 299  # 0.99 ** 299 = 0.0495
