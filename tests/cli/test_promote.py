"""``astroclf promote`` over a real registry."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from astroclf.models.classifier import Classifier
from astroclf.models.custom6conv import Custom6Conv
from astroclf.promote import main
from astroclf.registry.conditions import Condition
from astroclf.registry.decision import Decision, carry_out
from astroclf.registry.package import write_package
from astroclf.registry.register import register
from astroclf.registry.versions import CHALLENGER, CHAMPION, RegisteredModel
from astroclf.tracking.client import connect
from astroclf.tracking.mlflow import MlflowTracker
from tests.data.augment.recipes import recipe_values

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def template(made_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with galaxy10, whose version 1 is champion and whose version 2 is challenger."""
    folder = tmp_path_factory.mktemp("promote")
    shutil.copy(made_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    backbone = {"_target_": "astroclf.models.custom6conv.Custom6Conv"}
    model = Classifier(Custom6Conv(image_size=64), 2)
    spec = {"backbone": backbone, "classes": ["a", "b"], "image_size": 64, "augment": recipe_values()}
    package = write_package(folder / "package", spec, model.state_dict())
    for accuracy in (0.912, 0.905):
        tracker = MlflowTracker(uri, "galaxies", folder / "artifacts")
        tracker.close()
        tags = {"test/accuracy": accuracy, "test/macro_f1": accuracy - 0.01, "test_fingerprint": "f00dfeed1234"}
        register(uri, package, "galaxy10", str(tracker.run_id), tags=tags, description="A network.")
    galaxy10 = RegisteredModel(uri, "galaxy10")
    reproduced = Condition("reproduced", True, "to the bit")
    carry_out(galaxy10, 1, Decision(CHAMPION, "the first of galaxy10", None, None, (reproduced,)))
    better = Condition("better", False, "accuracy -0.7 points [-2.1, +0.6] against version 1")
    numbers = {"difference": "-0.0070", "interval": "[-0.0210, +0.0060]"}
    carry_out(galaxy10, 2, Decision(CHALLENGER, better.said, 1, 1, (reproduced, better), numbers))
    return folder / "mlflow.db"


@pytest.fixture
def promote(template: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)
    shutil.copy(template, tmp_path / "mlflow.db")

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def champion() -> int | None:
    return RegisteredModel(f"sqlite:///{Path('mlflow.db').absolute()}", "galaxy10").holder(CHAMPION)


def line_with(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_without_a_name_every_model_is_listed(promote: Command) -> None:
    status, out, _ = promote()
    assert status == 0
    assert line_with(out, "galaxy10").split()[:5] == ["galaxy10", "2", "1", "0.912", "2"]


def test_history_shows_versions_and_champions(promote: Command) -> None:
    status, out, _ = promote("galaxy10")
    assert status == 0
    first = line_with(out, "1 ").split()
    assert first[1:5] == ["champion", "0.912", "0.902", "f00dfeed"]
    assert "-0.007 over 1" in line_with(out, "2 ")
    assert "the first of galaxy10" in out.partition("Champions")[2]


def test_explain_gives_each_condition_and_number(promote: Command) -> None:
    status, out, _ = promote("galaxy10", "2")
    assert status == 0
    assert "better than the champion" in out
    assert "failed" in line_with(out, "better than the champion")
    assert "not checked" in line_with(out, "no class pays for it")
    assert "[-0.0210, +0.0060]" in line_with(out, "interval of the difference")
    assert "astroclf promote galaxy10 2 action=champion reason=" in out


def test_by_hand_and_back_again(promote: Command) -> None:
    status, out, _ = promote("galaxy10", "2", "action=champion", "reason=better on [faint], red galaxies")
    assert status == 0
    assert "models:/galaxy10/2 is now champion; before: version 1." in out
    assert "not compared" in out
    assert "The gate had said: stays challenger: accuracy -0.7 points" in " ".join(out.split())
    assert champion() == 2
    _, out, _ = promote("galaxy10", "2")
    assert "better on [faint], red galaxies" in out.partition("By hand:")[2]

    status, out, _ = promote("model=galaxy10", "action=rollback", "reason=satellite trails")
    assert (status, champion()) == (0, 1)
    assert "models:/galaxy10/1 is champion again, not version 2." in out
    _, out, _ = promote("galaxy10")
    assert "satellite trails" in out
    status, _, err = promote("galaxy10", "action=rollback", "reason=further")
    assert status == 1
    assert "no earlier champion" in err
    assert champion() == 1


def test_a_model_that_does_not_load_is_not_made_champion(promote: Command, template: Path) -> None:
    client = connect(f"sqlite:///{Path('mlflow.db').absolute()}")
    client.create_model_version("galaxy10", str(template.parent / "gone"))
    status, _, err = promote("galaxy10", "version=3", "action=champion", "reason=it must be good")
    assert status == 1
    assert "models:/galaxy10/3 was not made champion: it does not load." in " ".join(err.split())
    assert champion() == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["galaxy11"], "There is no registered model 'galaxy11'"),
        (["model=galaxy11"], "Did you mean 'galaxy10'?"),
        (["galaxy10", "7"], "galaxy10 has no version 7. Versions: 2, 1."),
        (["galaxy10", "1", "action=champion", "reason=again"], "is champion already"),
        (["galaxy10", "2", "action=champion", "reason= "], "needs reason='...': say in a few words why"),
        (["galaxy10", "tracking.uri=mlruns"], "no tracking database"),
        (["galaxy10", "2", "action=champion"], "needs reason='...'"),
        (["galaxy10", "action=champion", "reason=x"], "say which, such as version=7 of galaxy10"),
        (["galaxy10", "2", "action=rollback", "reason=x"], "takes no version"),
        (["action=rollback", "reason=x"], "Say of which model"),
        (["galaxy10", "2", "reason=x"], "nothing was changed"),
        (["galaxy10", "two"], "'version' cannot be 'two'"),
        (["galaxy10", "2", "champion"], "Did you mean action=champion?"),
        (["galaxy10", "2", "action=chmpion"], "Did you mean 'champion'?"),
        (["--uri", "sqlite:///x.db"], "Type tracking.uri=sqlite:///x.db"),
    ],
)
def test_a_mistake_ends_in_one_paragraph_and_changes_nothing(
    promote: Command, arguments: list[str], words: str
) -> None:
    status, out, err = promote(*arguments)
    assert (status, out) == (1, "")
    assert words in " ".join(err.split())
    assert err.startswith("Error: ")
    assert champion() == 1


@pytest.mark.parametrize("arguments", [[], ["galaxy10"], ["galaxy10", "action=rollback", "reason=why not"]])
def test_looking_makes_no_database(promote: Command, tmp_path: Path, arguments: list[str]) -> None:
    status, _, err = promote(*arguments, f"tracking.uri=sqlite:///{tmp_path / 'elsewhere' / 'mlflow.db'}")
    assert status == 1
    assert "There is no tracking database" in err
    assert not (tmp_path / "elsewhere").exists()


def test_an_empty_registry_says_so(promote: Command, made_database: Path, tmp_path: Path) -> None:
    shutil.copy(made_database, tmp_path / "empty.db")
    status, out, _ = promote("tracking.uri=sqlite:///empty.db")
    assert status == 0
    assert "No model is registered yet" in out
