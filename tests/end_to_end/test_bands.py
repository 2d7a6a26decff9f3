"""More than three bands, from FITS files to the packaged model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from astropy.io import fits

from astroclf.data.decode.images import decode_bands, fit_square
from astroclf.data.decode.tone import tones_from_plain
from astroclf.models.custom6conv import Custom6Conv
from astroclf.registry.package import load_package
from astroclf.settings.reading import ReadSettings

BANDS = "yzirg"


def write_galaxy(folder, name: str, slope: float, rng: np.random.Generator) -> None:
    """Five files of a round galaxy, brighter in one band than in the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:40, :40] - rng.uniform(15, 25, (2, 1, 1))
    for number, band in enumerate(BANDS):
        flux = 100 * slope**number * np.exp(-np.hypot(x, y) / 4) + rng.normal(0, 1, x.shape)
        fits.writeto(folder / f"{name}_{band}.fits", flux.astype(np.float32))


@pytest.mark.slow
def test_five_bands_from_pretrained_color_weights_to_a_model_that_loads(train, tmp_path):
    rng = np.random.default_rng(0)
    for kind, slope in (("red", 0.7), ("blue", 1.4)):
        for number in range(12):
            write_galaxy(tmp_path / "survey" / kind, f"obj {number}", slope, rng)
    torch.save(Custom6Conv(32, channels=3).state_dict(), tmp_path / "color.pth")

    names = ",".join(f"'{{id}}_{band}.fits'" for band in BANDS)
    done = train(
        "dataset=folder", "dataset.path=survey", "dataset.channels=5", f"dataset.fits.files=[{names}]",
        "dataset.tone.interval=percentile", "dataset.image_size=32", "dataset.val_fraction=0.25",
        "dataset.test_fraction=0.25", "backbone=custom6conv", "backbone.weights=color.pth", "trainer.epochs=1",
        "trainer.batch_size=4", "trainer.device=cpu", "tracking=none",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "experiments" / "runs" / "survey").iterdir()
    assert json.loads((run / "metrics.json").read_text())["test/images"] == 6
    for name in ("plots/augmented.png", "plots/mistakes.png", "report.html"):
        assert (run / name).stat().st_size > 10_000
    ids = [line.split(",")[0] for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    assert all(name.startswith(("red/obj ", "blue/obj ")) and "fits" not in name for name in ids)

    files = [tmp_path / "survey" / f"{ids[0]}_{band}.fits" for band in BANDS]
    said = json.loads((run / "model" / "model.json").read_text())  # all that is needed to decode a new sample
    settings, tones = ReadSettings.from_plain(said["reading"]), tones_from_plain(said["tones"])
    image = decode_bands(files, ids[0], settings, said["channels"], tones).image_HWC
    predictor = load_package(run / "model", device="cpu")
    np.testing.assert_array_equal(predictor.preparation.band_files(files, "x"), fit_square(image, 32))
    table = predictor.predict(files)
    saved = (run / "predictions.csv").read_text().splitlines()
    row = dict(zip(saved[0].split(","), saved[1].split(","), strict=True))
    assert table["label"][0] == row["prediction"]
    assert abs(table["p_red"][0] - float(row["p_red"])) < 0.01  # trained in bf16, loaded in fp32
