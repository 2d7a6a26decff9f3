"""The search space: Hydra's sweep syntax, conditions, and what a trial's overrides look like."""

from __future__ import annotations

import optuna
import pytest

from astroclf.errors import ConfigError
from astroclf.sweep.space import SearchSpace

PARAMS = {
    "loss.beta": "choice(0.9, 0.999)",
    "loss": "choice(focal, cb_focal)",
    "optimizer.lr": "tag(log, interval(1e-5, 1e-2))",
}
WHEN = {"loss.beta": {"loss": "cb_focal"}}


def suggested(space: SearchSpace, seed: int, base: dict[str, str] | None = None) -> dict:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return space.suggest(study.ask(), base or {})


def test_the_command_line_goes_before_the_config():
    space = SearchSpace.parse(["optimizer.lr=0.01", "seed=3"], PARAMS, {})
    assert list(space.distributions) == ["loss.beta", "loss"]
    assert space.overrides({"loss": "focal"}) == ["optimizer.lr=0.01", "seed=3", "loss=focal"]
    again = SearchSpace.parse(["optimizer.lr=interval(0.1, 0.2)"], PARAMS, {})
    assert (again.distributions["optimizer.lr"].low, again.distributions["optimizer.lr"].high) == (0.1, 0.2)


def test_keys_may_be_mappings_in_each_other():
    space = SearchSpace.parse(["loss.gamma=1,2"], {"loss": {"beta": "interval(0.9, 0.99)"}, "a": {"b": {"c": 3}}}, {})
    assert list(space.distributions) == ["loss.beta", "loss.gamma"]
    assert space.fixed == ("a.b.c=3",)


def test_the_last_override_of_a_key_counts():
    space = SearchSpace.parse(["seed=1", "loss=focal", "seed=2,3"], {}, {})
    assert list(space.distributions) == ["seed"]
    assert space.fixed == ("loss=focal",)
    with pytest.raises(ConfigError, match="Nothing is searched"):
        SearchSpace.parse(["seed=2,3", "seed=1"], {}, {})


def test_a_key_is_searched_only_where_its_condition_holds():
    space = SearchSpace.parse([], PARAMS, WHEN)
    assert list(space.distributions).index("loss") < list(space.distributions).index("loss.beta")
    trials = [suggested(space, seed) for seed in range(20)]
    assert {trial["loss"] for trial in trials} == {"focal", "cb_focal"}
    assert all(("loss.beta" in trial) == (trial["loss"] == "cb_focal") for trial in trials)


def test_a_condition_may_look_at_a_key_that_is_not_searched():
    space = SearchSpace.parse(["loss=focal"], PARAMS, WHEN)
    assert "loss.beta" not in suggested(space, 0, base={"loss": "focal"})
    assert "loss.beta" in suggested(space, 0, base={"loss": "cb_focal"})


def test_combinations_follow_the_conditions():
    params = {key: PARAMS[key] for key in ("loss", "loss.beta")}
    space = SearchSpace.parse(["seed=range(0, 2)"], params, WHEN)
    combinations = list(space.combinations({}))
    assert len(combinations) == space.count({}) == 2 * (1 + 2)
    assert {"seed": 1, "loss": "cb_focal", "loss.beta": 0.999} in combinations
    assert SearchSpace.parse(["loss=focal"], params, WHEN).count({"loss": "cb_focal"}) == 2
    assert SearchSpace.parse([], PARAMS, WHEN).count({}) is None


def test_a_range_is_a_list_of_values_and_an_interval_of_whole_numbers_is_none():
    space = SearchSpace.parse(["seed=range(1,9,3)", "head.dropout=range(0.1,0.5,0.1)"], {}, {})
    assert [each["seed"] for each in space.combinations({})] == [1] * 4 + [4] * 4 + [7] * 4
    assert [each["head.dropout"] for each in space.combinations({})][:4] == [0.1, 0.2, 0.3, 0.4]
    assert SearchSpace.parse(["seed=interval(1,9)"], {}, {}).count({}) is None
    assert SearchSpace.parse(["seed=interval(1,9)", "seed=1,2"], {}, {}).count({}) == 2
    assert space.describe()["seed"] == "from 1 to 7 in steps of 3"


def test_combinations_are_counted_without_making_them():
    space = SearchSpace.parse(
        ["seed=range(0,1000000000)", "loss=focal,cb_focal", "a=1,2"], {}, {"a": {"loss": "focal"}}
    )
    assert space.count({}) == 3_000_000_000


def test_every_value_is_shown_in_a_trial_that_can_be():
    space = SearchSpace.parse([], PARAMS, WHEN)
    examples = {(key, value): space.example(key, value, {}) for key, value in space.extremes()}
    assert len(examples) == 2 + 2 + 2
    assert examples["loss.beta", 0.9] == {"loss": "cb_focal", "loss.beta": 0.9, "optimizer.lr": 1e-5}
    assert examples["loss", "focal"] == {"loss": "focal", "optimizer.lr": 1e-5}


def test_values_are_written_as_they_are_typed():
    space = SearchSpace.parse(["seed=0,1"], {}, {})
    assert space.overrides({"a": None, "b": True, "c": 1e-5, "d": "resnet18"}) == [
        "a=null", "b=true", "c=1e-05", "d=resnet18",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "params", "when", "message"),
    [
        (["seed=1"], {}, {}, "Nothing is searched"),
        (["seed=1,2", "~trainer"], {}, {}, "~trainer"),
        ([], {"seed": "range(3, 3)"}, {}, "at least one value"),
        ([], {"seed": "choice(3"}, {}, r"cannot be read: seed=choice\(3\. Values are written as choice\(16, 32\)"),
        ([], PARAMS, {"loss.bta": {"loss": "focal"}}, r"'loss\.bta', which is not searched.*loss\.beta"),
        ([], PARAMS, {"loss": {"loss.beta": 0.9}, **WHEN}, "in a circle"),
    ],
)
def test_a_space_that_cannot_be_is_refused(arguments, params, when, message):
    with pytest.raises(ConfigError, match=message):
        SearchSpace.parse(arguments, params, when)


def test_identity_tells_two_spaces_apart():
    one = SearchSpace.parse([], PARAMS, WHEN).identity()
    assert one == SearchSpace.parse(["seed=5"], PARAMS, WHEN).identity()
    assert one != SearchSpace.parse([], PARAMS, {}).identity()
    assert one != SearchSpace.parse(["optimizer.lr=interval(1e-5, 1e-2)"], PARAMS, WHEN).identity()
