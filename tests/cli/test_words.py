"""Words that people type become overrides that Hydra reads as they were meant."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroclf.cli.adapter import HydraSession
from astroclf.cli.answers import Answers
from astroclf.cli.grammar import DATA_PATH, hydra_value, parse
from astroclf.cli.options import read_options
from astroclf.cli.vocabulary import Vocabulary
from astroclf.cli.words import WordReader
from astroclf.errors import ConfigError
from astroclf.settings.config import Config
from astroclf.settings.yaml_files import config_dir

Read = Callable[..., list[str]]


@pytest.fixture(scope="module")
def vocabulary() -> Iterator[Vocabulary]:
    with HydraSession.begin("train", "config", [config_dir()]) as session:
        yield Vocabulary(session, Config)


@pytest.fixture
def read(vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read words in an empty folder, which is home too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def read_words(*words: str) -> list[str]:
        answers = Answers(vocabulary, "astroclf train")
        return WordReader(vocabulary, answers, read_options(words), (DATA_PATH,)).overrides()

    return read_words


@given(st.text(string.printable + "éß€星", min_size=1).filter(lambda text: not text.isspace()))
def test_any_text_is_read_as_it_stands(text):
    override = parse(f"dataset.path={hydra_value(text)}")
    assert override is not None
    assert override.value() == text


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_mappings_that_take_new_entries_take_them_all_at_once(read, prefix):
    """Hydra's own answer to the first is the second, and to the second it was that the key is there already."""
    value = "{optimizer.lr: 'interval(1e-4, 1e-2)'}"
    (word,) = [word for word in read("-m", f"{prefix}hydra.sweeper.params={value}") if "params" in word]
    assert word == f"++hydra.sweeper.params={value}"


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        "a=b",
        "#1",
        "[a]",
        "(b)",
        "{c}",
        "it's",
        'a "b"',
        "a,b",
        "a:b",
        "étoiles",
        "007",
        "1e5",
        "true",
        "$x",
    ],
)
def test_a_path_is_taken_literally_to_the_end_of_the_word(read, tmp_path, name):
    (path,) = [word for word in read("dataset=folder", f"dataset.path={name}") if word.startswith("dataset.path")]
    override = parse(path)
    assert override is not None
    assert override.value() == name


def test_quotes_interpolations_and_null_keep_their_meaning(read):
    for word in ("dataset.path='a b'", 'dataset.path="a b"', "dataset.path=${oc.env:HOME}/a", "dataset.path=null"):
        assert read("dataset=folder", word)[1] == word


def test_home_is_found_in_any_path(read, tmp_path):
    assert read("dataset=folder", "dataset.path=~/sky")[1] == f"dataset.path={tmp_path}/sky"
    assert read("backbone.weights=~/w.pt")[0] == f"backbone.weights={tmp_path}/w.pt"
    assert read("hydra.run.dir=~/runs/a b")[0] == f"hydra.run.dir={tmp_path}/runs/a b"


def test_with_multirun_commas_and_functions_are_sweeps(read):
    words = ("-m", "backbone.weights=null,imagenet", "tracking.run_name=choice(a,b)")
    assert read(*words) == list(words[1:])
    assert parse(read("tracking.run_name=a,b")[0]).value() == "a,b"


@pytest.mark.parametrize(
    ("made", "word", "overrides"),
    [
        ("sky/star", "sky", ["dataset=folder", "dataset.path=sky"]),
        ("sky/star", "~/sky", ["dataset=folder", "dataset.path={home}/sky"]),
        ("a=b/star", "a=b", ["dataset=folder", 'dataset.path="a=b"']),
        ("Galaxy10_DECals.h5", "Galaxy10_DECals.h5", ["dataset=galaxy10", "dataset.path=Galaxy10_DECals.h5"]),
        ("Galaxy10.h5", "Galaxy10.h5", ["dataset=galaxy10_sdss", "dataset.path=Galaxy10.h5"]),
        ("g.h5", "g.h5", ["dataset=arrays", "dataset.path=g.h5"]),
        ("a.npz", "a.npz", ["dataset=arrays", "dataset.path=a.npz"]),
        ("arrays/images.npy", "arrays", ["dataset=arrays", "dataset.path=arrays"]),
        ("arrays/images.npy", "arrays/images.npy", ["dataset=arrays", "dataset.path=arrays"]),
        ("sky/metadata.csv", "sky/metadata.csv", ["dataset=folder", "dataset.path=sky"]),
    ],
)
def test_a_path_may_stand_alone(read, tmp_path, made, word, overrides):
    (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / made).touch()
    assert read(word) == [text.format(home=tmp_path) for text in overrides]
    assert read("dataset=astro8", word) == ["dataset=astro8", overrides[1].format(home=tmp_path)]


def test_a_reader_of_somebody_elses_may_have_paths_among_its_keys(read, tmp_path):
    (tmp_path / "my #1").touch()
    assert parse(read("+dataset.own=my #1")[0]).value() == "my #1"


def test_of_a_resumed_run_only_the_grammar_is_looked_at(read):
    words = ["resume=run one", "dataset.own=3", "trainer.epochs=4"]
    assert read(*words) == words


def test_choices_that_a_search_path_may_bring_are_left_to_hydra(read, tmp_path):
    (tmp_path / "more" / "loss").mkdir(parents=True)
    (tmp_path / "more" / "loss" / "mine.yaml").write_text("gamma: 3\n")
    words = [f"hydra.searchpath=[file://{tmp_path / 'more'}]", "loss=mine", "loss.gamma=2"]
    assert read(*words) == words


@pytest.mark.parametrize("word", ["+hydra.job.env_set.X=1", "++trainer.epochs=2", "~trainer.max_steps", "+new.key=1"])
def test_what_hydra_takes_is_left_to_it(read, word):
    assert read(word) == [word]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["loss.gamma=2"], "'loss.gamma' is no key of the chosen loss, cross_entropy, only of cb_focal and focal."),
        (["gamma=2"], "Did you mean 'loss.gamma'? It is a key of loss=cb_focal or focal."),
        (["+trainer.epochs=2"], "Leave out the plus sign: trainer.epochs=2"),
        (["~trainer.nothing"], "'trainer.nothing' is no key"),
        (["objective=val/loss"], "Did you mean 'monitor'?"),
        (["dataset.residency=gpu"], "Did you mean 'dataset.keep_images_on'?"),
        (["dataset.contradictions=drop"], "Did you mean 'dataset.label_conflicts'?"),
        (["trainer.max_skipped=3"], "Did you mean 'trainer.max_nonfinite_steps'?"),
        (["dataset=folder", "dataset.fits.interval=sigma"], "Did you mean 'dataset.tone.interval'?"),
        (["dataset=folder", "dataset.fits.planes=[0]"], "Did you mean 'dataset.planes'?"),
        (["hydra.sweeper.n_trial=2"], "Did you mean 'hydra.sweeper.n_trials'?"),
        (["hydra.sweeper.params.seed=choice(1,2)", "-m"], "added with a plus sign: +hydra.sweeper.params.seed=..."),
        (["hydra/sweeper/sampler=tp"], "There is no hydra/sweeper/sampler called 'tp'. Did you mean 'tpe'?"),
        (["dataset=_base"], "There is no dataset called '_base'."),
        (["-m", "loss=focal,fokal"], "There is no loss called 'fokal'. Did you mean 'focal'"),
        (["seed=0,1"], "seed=0,1 is several values: add -m to run each of them. If it is one list, write seed=[0,1]."),
        (["optimizer.lr=interval(0,1)"], "is several values: add -m to run each of them."),
        (["hydra.job.name=a#b"], "it needs quotes of its own:\n  'hydra.job.name=\"a#b\"'"),
        (["dataset.own=a#b"], "'dataset.own' is no key of this configuration."),
        (["dataset..path=1"], "Did you mean 'dataset.path'?"),
        (["é=1"], "'é' is no key of this configuration."),
        (["trainer.device=gpu"], "cannot be 'gpu'. The device is chosen with trainer.device=cuda or cpu"),
        (["-m", "experiment=quickstart,seed"], "There is no experiment called 'seed'"),
        (["experiment=quickstart,seed_astro8"], "is several values: add -m to run each of them."),
        (["trainer.epochs=[1"], "trainer.epochs=[1 cannot be read: is there a bracket"),
        (["trainer.epochs", "=5"], "Leave no space beside the equals sign: trainer.epochs=5"),
        (["trainer.cuda_graph"], "Give it one with an equals sign, and no space: trainer.cuda_graph=true"),
        (["--trainer.epochs", "5"], "Type trainer.epochs=5"),
        (["--trainer.cuda_graph"], "Type trainer.cuda_graph=true"),
        (["--hepl"], "--hepl is no option of `astroclf train`. Did you mean --help?"),
        (["--xyzzy"], "`astroclf train --help` lists the keys."),
        (["-sc", "install=bash"], "astroclf --completion bash"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_answered(read, words, says):
    with pytest.raises(ConfigError) as raised:
        read(*words)
    assert says in str(raised.value)


def test_the_folder_of_a_run_is_gone_on_with(read, tmp_path):
    (tmp_path / "my run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="Go on with it by\n  astroclf train 'resume=my run'"):
        read("my run")


def test_a_sweep_may_have_keys_that_only_some_of_its_choices_have(read):
    words = ["-m", "loss=cross_entropy,focal", "loss.gamma=1,2"]
    assert read(*words) == words[1:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.text(string.printable, max_size=12))
def test_any_word_is_read_or_answered(read, word):
    with contextlib.suppress(ConfigError):
        for override in read(word.replace("\0", "")):
            assert parse(override) is not None
