"""The report of a run shows where its network looked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report.answers import SHOWN_SAMPLES, Pictures, least_sure_section, mistakes_section
from astroclf.inference.attribution import attribute, overlay
from astroclf.inference.predictor import Predictor
from astroclf.registry.package import load_package
from astroclf.run.report import shown_of, with_heat_maps
from astroclf.simulation.readers import Galaxy10Sim

IMAGES = 80


class Flat(nn.Module):
    """A backbone without maps."""

    num_features = 8

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW.flatten(1)[:, :8]


@pytest.fixture
def predictor(tiny_package: Path) -> Predictor:
    return load_package(tiny_package, device="cpu")


@pytest.fixture
def pictures() -> Pictures:
    return Pictures(np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8))


@pytest.fixture
def predictions(predictor: Predictor, pictures: Pictures) -> Predictions:
    """Nearly all of them wrong."""
    said = predictor.classify(pictures.images)
    return replace(said, labels=np.where(np.arange(IMAGES) % 8, (said.predicted + 1) % 3, said.predicted))


def test_the_most_confident_mistakes_have_heat_maps_of_what_was_said(predictions, pictures, predictor):
    looked = with_heat_maps(pictures, predictions, predictor)
    chosen = predictions.mistakes(SHOWN_SAMPLES)
    assert list(looked.heat_maps) == chosen.tolist()
    last = chosen[-1]
    found = attribute(predictor, pictures.images[last][None], predictions.predicted[[last]])
    np.testing.assert_array_equal(looked.heat_maps[last], overlay(found.seen_NHWC[0], found.maps_NHW[0]))
    gallery = mistakes_section(predictions, looked)
    assert all(sample.heat_map for sample in gallery.samples)
    assert "in red" in gallery.text
    assert "in red" not in mistakes_section(predictions, pictures).text
    assert not any(sample.heat_map for sample in least_sure_section(predictions, looked, IMAGES).samples)


def test_a_backbone_without_maps_costs_the_report_its_heat_maps_alone(predictions, pictures, predictor):
    predictor.model.backbone = Flat()
    assert with_heat_maps(pictures, predictions, predictor) == pictures


def test_where_nothing_is_wrong_nothing_is_explained(predictions, pictures, predictor):
    right = replace(predictions, labels=predictions.predicted)
    assert with_heat_maps(pictures, right, predictor) == pictures


def test_nobody_is_sent_to_where_a_simulated_galaxy_would_be_on_the_sky(tmp_path):
    cache = open_image_cache(Galaxy10Sim(samples=10, image_size=16, cache_dir=tmp_path), tmp_path, progress=False)
    assert shown_of(cache, np.arange(4, 6)).sky(1) == ("", "")
    real = replace(cache, catalog=replace(cache.catalog, simulated=None))
    assert (
        shown_of(real, np.arange(4, 6)).sky(1)[0]
        == f"RA {cache.catalog.ra_deg[5]:.4f}° Dec {cache.catalog.dec_deg[5]:+.4f}°"
    )
