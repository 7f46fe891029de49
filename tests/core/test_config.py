"""Settings: presets, file, flags, -o; each fault named with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtloop import config
from gtloop.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gtloop.toml"
    path.write_text(text)
    return path


def test_later_sources_win(tmp_path: Path) -> None:
    file = write(tmp_path, '[run]\ntask = "bbox"\nworkers = 4\nseed = 1\n[annotators.synthetic]\nnoise = 0.5\n')
    settings = config.load(file, {"run.seed": 2}, ("annotator.synthetic.noise=0.1", "promise.delta=0.05"))
    assert (settings.run.workers, settings.run.seed, settings.promise.delta) == (4, 2, 0.05)
    assert settings.options("annotator", "synthetic") == {"noise": "0.1"}
    assert str(settings.prices.answer_usd) == "0.036"


def test_the_ground_truth_preset_is_the_service_s() -> None:
    s = config.load(None, {"run.preset": "ground-truth"})
    assert (s.run.workers, s.promise.rule, s.loop.certify, s.sizes.batch) == (5, "empirical", "every-round", 200)
    assert (s.prices.rates().request(5), s.prices.machine_fee) == (260_000, 80_000)
    assert s.options("score", "mean") == {"empty": "zero"}


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    file = write(tmp_path, '[run]\nsource = "photos"\ntruth = "../t.json"\n')
    s = config.load(file, {})
    assert s.run.source == str(tmp_path / "photos")
    assert s.run.truth == str(tmp_path.parent / "t.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[run]\ndetecter = "x"\n', r"gtloop\.toml: run\.detecter: unknown key \(got 'x'\); did you mean detector\?"),
        ("[run]\nworkers = 0\n", r"run\.workers: input should be greater than or equal to 1 \(got 0\)"),
        ("[runn]\na = 1\n", r"runn: unknown key .*did you mean run\?"),
        ("[run\n", "not valid TOML"),
        ('[prices]\nanswer_usd = "-1"\n', r"prices\.answer_usd"),
        ('[run]\npreset = "x"\n', "no preset named 'x'; there are: default, ground-truth"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(write(tmp_path, text), {})


@pytest.mark.parametrize("text", ["noise=1", "annotators.synthetic.noise", "="])
def test_a_malformed_override_is_explained(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write it as kind\.plugin\.key=value"):
        config.load(None, {}, (text,))


def test_a_list_is_typed_as_in_the_file() -> None:
    given = ('run.classes=["a, b", "c"]', "annotators.local.people=['anna', 'ben']", "run.instructions=[sic] a box")
    settings = config.load(None, {}, given)
    assert settings.run.classes == ("a, b", "c")
    assert settings.annotators["local"] == {"people": ["anna", "ben"]}
    assert settings.run.instructions == "[sic] a box"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gtloop init"):
        config.load(tmp_path / "none.toml", {})


def test_what_changes_during_a_run_and_what_may_not() -> None:
    old = config.load(None, {"run.task": "bbox", "annotators.synthetic": {"noise": 1}})
    new = config.load(None, {"run.task": "bbox", "run.budget_usd": 5.0, "sizes.batch": 7})
    assert config.changes(old, new) == {"run.budget_usd": 5.0, "sizes.batch": 7, "annotators.synthetic": {}}
    for key, value in {"run.seed": 3, "promise.delta": 0.2, "run.classes": ("a",), "sizes.probe": 3}.items():
        with pytest.raises(ConfigError, match=f"{key} is frozen"):
            config.changes(old, config.load(None, {"run.task": "bbox", key: value}))


def test_settings_survive_toml(tmp_path: Path) -> None:
    s = config.load(None, {"run.classes": ('a "b"', "é"), "run.source": "x", "annotators.files": {"folder": "f"}})
    again = config.load(write(tmp_path, config.to_toml(s).replace('source = "x"', f'source = "{tmp_path}/x"')), {})
    assert again.model_copy(update={"run": again.run.model_copy(update={"source": "x"})}) == s


def test_a_fault_is_blamed_on_where_it_was_given(tmp_path: Path) -> None:
    file = write(tmp_path, "[run]\nworkers = 0\n[sizes]\nprobe = 0\n")
    with pytest.raises(ConfigError) as e:
        config.load(file, {"run.seed": -1}, ("run.workers=many", "sizes.batsh=3"))
    for says in ("command line: run.seed: ", "-o: run.workers: ", f"{file}: sizes.probe: ", "-o: sizes.batsh: unknown"):
        assert says in str(e.value)
    with pytest.raises(ConfigError, match=r"^-o: tables: unknown key"):
        config.load(None, {}, ("tables.of.key=1",))


def test_options_of_plugins_know_where_they_were_given(tmp_path: Path) -> None:
    file = write(tmp_path, "[annotators.synthetic]\nnoise = 0.5\nworkers = 9\n")
    s = config.load(file, {}, ("annotator.synthetic.noise=0.1",))
    assert s.origins("annotator", "synthetic") == {"noise": "-o", "workers": str(file)}
    assert s.origins("annotator", "files") == {}
    same = config.Settings.model_validate(s.model_dump(mode="json"))
    assert same == s, "where they come from is no part of the settings"
    assert same.origins("annotator", "synthetic") == {}
    assert config.replaced(s, {"run.seed": 3}) != s
    again = config.replaced(same, {}, ("annotators.synthetic.decline=0.2",))
    assert again.origins("annotator", "synthetic") == {"decline": "-o"}
