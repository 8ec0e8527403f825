from pathlib import Path

import pytest

from evalpipe.errors import SettingsError
from evalpipe.settings import load_settings


def test_the_defaults_are_the_thresholds_of_the_design():
    settings = load_settings()
    assert (settings.quality.monitor_mcc, settings.quality.block_mcc, settings.gate.pass_rate) == (0.4, 0.6, 0.8)
    assert (settings.generation.min_positives, settings.monitor.stale_after_days) == (10, 90)


def test_the_environment_sets_one_value_and_leaves_its_neighbours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVALPIPE_GATE__PASS_RATE", "0.95")
    monkeypatch.setenv("EVALPIPE_JUDGE_MODEL", "openai/some-model")
    monkeypatch.setenv("EVALPIPE_REFLECTION_MODEL", "openai/other-model")
    settings = load_settings("/srv/home")
    assert settings.gate.pass_rate == 0.95
    assert settings.gate.on_abstain == "block"
    assert (settings.llm.judge_model, settings.llm.reflection_model) == ("openai/some-model", "openai/other-model")
    assert settings.home == Path("/srv/home")


def test_a_value_out_of_range_is_refused_by_the_name_of_its_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVALPIPE_GATE__PASS_RATE", "80")
    with pytest.raises(SettingsError, match=r"EVALPIPE_GATE__PASS_RATE.*'80'"):
        load_settings()


def test_who_may_ask_the_gate_is_named_by_the_secret(monkeypatch: pytest.MonkeyPatch):
    """Base64 ends with the sign that names a secret."""
    monkeypatch.setenv("EVALPIPE_GATE_SECRETS", "github=one, gitlab=whsec_dHdv== ,")
    secrets = {name: secret.get_secret_value() for name, secret in load_settings().hook.secrets.items()}
    assert secrets == {"github": "one", "gitlab": "whsec_dHdv=="}
    monkeypatch.setenv("EVALPIPE_GATE_SECRETS", "whsec_dHdv==")
    assert load_settings().hook.secrets["ci"].get_secret_value() == "whsec_dHdv=="
    monkeypatch.setenv("EVALPIPE_GATE_SECRETS", "ci=s3cret,ci=other")
    with pytest.raises(SettingsError, match="ci has two secrets") as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_settings_do_not_change_once_loaded():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().gate.pass_rate = 0.1  # type: ignore[misc]
