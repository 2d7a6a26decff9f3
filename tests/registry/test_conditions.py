"""The documented error rates of the gate's rule about recall."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from astroclf.evaluation.compare import RecallLoss
from astroclf.registry.conditions import no_class_pays

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_docs_have_the_error_rates_that_the_study_computes(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "experiments/studies/gate.py"), run_name="__main__")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    docs = (ROOT / "docs/registry.md").read_text(encoding="utf-8")
    assert len(rows) == 12
    for row in rows:
        assert row in docs


@pytest.mark.parametrize(("images", "blocks"), [(5, False), (6, True)])
def test_a_class_of_six_images_is_the_smallest_that_can_block(images: int, blocks: bool) -> None:
    assert no_class_pays([RecallLoss.of("comet", images, images, 0)], 0.1).passed is not blocks


def test_classes_that_pay_are_listed_the_worst_first_and_no_others() -> None:
    losses = [RecallLoss.of("a", 50, 8, 0), RecallLoss.of("b", 4, 1, 0), RecallLoss.of("c", 100, 30, 2)]
    found = no_class_pays(losses, 0.1)
    assert found.said == (
        "recall lost, in points: c 28.0 [+18.7, +31.5] of 100 images, a 16.0 [+4.2, +16.0] of 50 images (10 allowed)"
    )
