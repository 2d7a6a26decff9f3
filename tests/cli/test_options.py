"""Options are told from words, and what is no option is kept with the word after it."""

from __future__ import annotations

import pytest

from astroclf.cli.options import Options, read_options
from astroclf.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", Options()),
        ("-m seed=0,1", Options(multirun=True, words=("seed=0,1",))),
        ("seed=1 --help", Options(help=True, words=("seed=1",))),
        ("-c job -p dataset", Options(cfg="job", package="dataset")),
        ("--cfg=all --resolve", Options(cfg="all", resolve=True)),
        ("--info", Options(info="all")),
        ("-i defaults", Options(info="defaults")),
        ("-i seed=1", Options(info="all", words=("seed=1",))),
        ("-cd my_conf --config-dir=more", Options(config_dirs=("my_conf", "more"))),
        ("-- -strange=1", Options(words=("-strange=1",))),
        ("--dataset folder", Options(words=("folder",), unknown=(("--dataset", "folder"),))),
        ("--dataset=folder", Options(unknown=(("--dataset=folder", None),))),
        ("--all -m", Options(multirun=True, unknown=(("--all", None),))),
    ],
)
def test_a_command_line_is_taken_apart(line, options):
    assert read_options(line.split()) == options


@pytest.mark.parametrize(
    ("line", "says"),
    [("--cfg", "one of job, hydra, all"), ("-c jb", "such as -c job"), ("--config-dir", "needs a value after it")],
)
def test_an_option_without_a_value_that_it_takes_is_refused(line, says):
    with pytest.raises(ConfigError, match=says):
        read_options(line.split())


def test_other_commands_need_the_options_that_say_which_yaml_files_are_read():
    line = (
        "-m --config-dir a -cn mine -cd b hydra.searchpath=[file://c] +hydra.verbose=true hydra/job_logging=none "
        "hydra.run.dir=out hydra/sweeper=basic hydra.sweeper.n_trials=3 hydra.sweep.dir=d seed=1,2 --cfg=job"
    )
    assert read_options(line.split()).sources() == (
        "--config-dir=a", "--config-dir=b", "--config-name=mine",
        "hydra.searchpath=[file://c]", "+hydra.verbose=true", "hydra/job_logging=none",
    )  # fmt: skip
