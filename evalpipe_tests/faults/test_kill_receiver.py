from pathlib import Path

from evalpipe_tests.faults.kill_receiver import survived


def test_a_receiver_killed_under_load_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path):
    account = survived(tmp_path / "home", n_rounds=3, seed=7)

    assert account.n_acknowledged > 1_000  # 32 clients, four lives of a second or so
    assert account.n_lost == 0
    assert account.n_doubled == 0
