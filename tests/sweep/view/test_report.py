from __future__ import annotations

import html
import re

from optuna.trial import TrialState

from astroclf.evaluation.report.page import write_report
from astroclf.sweep.results import best_trials
from astroclf.sweep.view.plots import draw_plots
from astroclf.sweep.view.report import SweepStory, sweep_report

ONE = ("val/accuracy",)


def test_the_report_of_a_sweep_has_its_figures_trials_failures_and_commands(trials, study_of, tmp_path):
    study = study_of(trials(24))
    for each in study.get_trials(deepcopy=False):
        each.user_attrs["folder"] = str(tmp_path / str(each.number))
    (best,) = best_trials(study.trials, study.directions)
    draw_plots(study, tmp_path / "plots", ONE)
    story = SweepStory(
        "astroclf train -m 'x=<1>'", "astroclf train experiment=best", defaults={"head.dropout": "0.3"},
        places={"Model": "models:/galaxy10/7 is now champion"}, finalists={"4": [0.8, 0.7], "9": [0.79, 0.81]},
    )  # fmt: skip
    page = write_report(tmp_path / "report.html", sweep_report(study, ONE, tmp_path, story, best)).read_text()
    words = html.unescape(re.sub("<[^>]+>", "|", page))
    for text in (
        "Sweep galaxy10", "24 trials", "2 failed", "models:/galaxy10/7 is now champion", "the loss is nan",
        "CUDA out of memory", "astroclf train -m 'x=<1>'", "astroclf train experiment=best", "0.3", "best",
        "0.8000, 0.7000",
    ):  # fmt: skip
        assert text in words, text
    assert page.count('class="chart"') == 5
    links = re.findall(r'href="(\d+)/"', page)
    assert int(links[0]) == best.number
    assert sorted(map(int, links)) == list(range(24))
    assert "<1>" not in page
    table = page.partition("<h2>Finalists")[2].partition("</section>")[0]
    assert re.findall(r"<tr><td class=\"n\">(\d+)", table) == ["9", "4"]  # by the mean


def test_a_sweep_of_which_nothing_is_left_to_tell_is_a_page_too(trial, study_of, tmp_path):
    study = study_of([trial(0, TrialState.FAIL)])
    page = write_report(tmp_path / "r.html", sweep_report(study, ONE, tmp_path, SweepStory("go on"))).read_text()
    assert "no reason is known" in page


def test_several_objectives_have_a_column_and_a_headline_each(trials, study_of, tmp_path):
    study = study_of(trials(8, objectives=2), ["maximize", "minimize"])
    best = best_trials(study.trials, study.directions)[0]
    report = sweep_report(study, ("val/accuracy", "val/loss"), tmp_path, SweepStory("go on"), best)
    assert [item.label for item in report.headlines[:2]] == ["val/accuracy", "val/loss"]
    assert {len(row) for row in report.sections[1].rows} == {len(report.sections[1].columns)}
