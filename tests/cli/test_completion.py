"""Completion in the shell: what a Tab makes of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.cli.completion import SCRIPTS, complete, completion
from astroclf.cli.verbs import VERBS
from astroclf.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("astroclf tr", ["train "]),
        ("astroclf s", ["stores ", "simulate "]),
        ("astroclf train lo", ["loss.", "loss="]),
        ("astroclf train loss=", ["loss=cb_focal", "loss=cross_entropy", "loss=focal"]),
        (
            "astroclf train loss=focal loss.",
            [
                f"loss.{key}="
                for key in ("activation", "beta", "gamma", "soft_labels", "teacher", "teacher_weight", "temperature")
            ],
        ),
        ("astroclf train trainer.dev", ["trainer.device="]),
        ("astroclf train trainer.device=", ["trainer.device=auto", "trainer.device=cuda", "trainer.device=cpu"]),
        ("astroclf train trainer.cuda_graph=t", ["trainer.cuda_graph=true"]),
        ("astroclf train trainer.compile=", [f"trainer.compile={value}" for value in ("auto", "false", "true")]),
        ("astroclf train -m hydra.sweeper.n_", ["hydra.sweeper.n_jobs=", "hydra.sweeper.n_trials="]),
        ("astroclf train --c", ["--cfg", "--config-dir", "--config-name"]),
        ("astroclf train dataset.path=", []),  # the shell's own: files
        ("astroclf prepare los", []),
        ("astroclf prepare data", ["dataset.", "dataset="]),
        ("astroclf check mo", ["model="]),
        ("astroclf stores un", ["unfinished=", "unused_for="]),
        ("astroclf simulate kind=", ["kind=astro8", "kind=galaxy10"]),
        ("astroclf promote action=", ["action=show", "action=champion", "action=rollback"]),
        ("astroclf nothing x", []),
        ("astroclf train dataset=nothing loss=", []),
    ],
)
def test_the_last_word_is_gone_on_with(line, words):
    assert complete(line) == words


def test_every_verb_completes_its_own_keys():
    assert [word.strip() for word in complete("astroclf ")] == list(VERBS)
    for verb, word in (("train", "monitor="), ("check", "model="), ("prepare", "dataset="), ("stores", "remove="),
                       ("simulate", "output="), ("export", "license="), ("promote", "reason="),
                       ("runs", "limit="), ("predict", "inputs="), ("explain", "occlusion=")):  # fmt: skip
        assert word in complete(f"astroclf {verb} ")


def test_bash_completes_as_it_calls_us(shell):
    replies = {
        "astroclf train lo": "loss. loss=",
        "astroclf train loss=f": "focal",  # bash has split the word at its equals sign
        "astroclf train dataset.path=m": "",
    }
    tab = 'COMP_LINE="{}"; COMP_POINT=${{#COMP_LINE}}; COMPREPLY=(); _astroclf astroclf; echo "${{COMPREPLY[*]}}"; '
    tabs = "".join(tab.format(line) for line in replies)
    done = shell(f'eval "$(astroclf --completion bash)"; {tabs} complete -p astroclf')
    *said, registered = done.stdout.splitlines()
    assert said == list(replies.values())
    assert registered.endswith("-F _astroclf astroclf")


def test_there_is_a_script_for_each_shell():
    assert set(SCRIPTS) == {"bash", "zsh", "fish"}
    for shell in SCRIPTS:
        assert "--completion words" in completion(shell)
    with pytest.raises(ConfigError, match="bash, zsh, fish"):
        completion("tcsh")


def test_the_script_in_pyproject_is_the_command():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'astroclf = "astroclf.__main__:main"' in text
    assert "astroclf-train" not in text
