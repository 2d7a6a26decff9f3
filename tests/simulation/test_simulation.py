from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from astropy.io import fits

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.data.readers.arrays import Arrays
from astroclf.data.readers.editions import DECALS
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.errors import AstroclfError, DataError
from astroclf.simulate import main
from astroclf.simulation import contact_sheet, write_astro8, write_galaxy10
from astroclf.simulation.galaxies import draw_galaxy
from astroclf.simulation.profiles import exponential, sersic
from astroclf.simulation.sky_folder import SKY_CLASSES
from astroclf.simulation.telescope import SkyGrid, color_composite, nanomaggies, per_survey_pixel


def folder_digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def galaxy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("galaxies") / "galaxies.h5"
    return write_galaxy10(path, samples=40, image_size=32, seed=3, progress=False, num_workers=2)


@pytest.fixture(scope="module")
def sky_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sky") / "objects"
    return write_astro8(path, samples_per_class=11, image_size=48, seed=3, progress=False, num_workers=2)


# --- galaxies -------------------------------------------------------------------------------------------------------


def test_the_galaxy_file_is_laid_out_like_the_official_one(galaxy_file: Path) -> None:
    with h5py.File(galaxy_file) as file:
        assert set(file) == {"images", "ans", "ra", "dec", "redshift", "pxscale", "simulated"}
        images = file["images"]
        assert images.shape == (40, 32, 32, 3)
        assert images.dtype == np.uint8
        assert images.chunks == (40, 16, 16, 1)
        assert images.compression == "gzip"
        assert file["ans"].dtype == np.uint8
        for name in ("ra", "dec", "redshift", "pxscale"):
            assert file[name].dtype == np.float64
            assert file[name].shape == (40,)
        assert np.bincount(file["ans"][()]).tolist() == [4] * 10
        assert len(set(zip(file["ra"][()], file["dec"][()], strict=True))) == 40
        assert np.all((file["ra"][()] >= 0) & (file["ra"][()] < 360))
        assert np.all(np.abs(file["dec"][()]) < 35)


def test_a_file_longer_than_a_chunk_holds_every_galaxy_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astroclf.simulation.galaxy10_file._CHUNKS", (7, 16, 16, 1))  # 555 would take long
    path = write_galaxy10(tmp_path / "long.h5", samples=17, image_size=16, seed=1, progress=False)
    with h5py.File(path) as file:
        for row in (0, 6, 7, 13, 14, 16):
            expected = draw_galaxy(int(file["ans"][row]), np.random.default_rng([1, row]), 16)
            np.testing.assert_array_equal(file["images"][row], expected)


def test_the_same_seed_gives_the_same_file_whatever_the_workers(galaxy_file: Path, tmp_path: Path) -> None:
    again = write_galaxy10(tmp_path / "again.h5", samples=40, image_size=32, seed=3, progress=False, num_workers=1)
    assert again.read_bytes() == galaxy_file.read_bytes()
    other = write_galaxy10(tmp_path / "other.h5", samples=40, image_size=32, seed=4, progress=False)
    with h5py.File(galaxy_file) as one, h5py.File(other) as two:
        assert not np.array_equal(one["images"][()], two["images"][()])


def test_simulated_galaxies_have_positions_but_no_place_on_the_sky(galaxy_file: Path, tmp_path: Path) -> None:
    cache = open_image_cache(Galaxy10(galaxy_file, image_size=32), tmp_path, progress=False)
    for catalog in (cache.catalog, Arrays(galaxy_file, image_size=32).catalog):
        assert np.isfinite(catalog.ra_deg).all()  # by which neighbours are kept together, as in real data
        assert np.isnan(catalog.places_on_sky()).all()
        real = replace(catalog, simulated=None)
        assert real.places_on_sky() == (real.ra_deg, real.dec_deg)


def test_galaxies_of_a_class_differ_and_stand_out_from_the_sky(galaxy_file: Path) -> None:
    images = Galaxy10(galaxy_file, image_size=32).read(range(40)).images_BHWC
    assert len({image.tobytes() for image in images}) == 40
    centre = images[:, 12:20, 12:20].mean(axis=(1, 2, 3))
    sky = np.median(images[:, :4, :4], axis=(1, 2, 3))
    assert np.all(centre > sky + 30)
    assert 25 < np.median(sky) < 40  # the pedestal of the survey's color pictures


def test_class_names_are_earned() -> None:
    """Second moments of the light: round is round, a cigar is long, an edge-on disc is longer still."""
    axis_ratios = {}
    for name in ("Round Smooth", "In-between Round Smooth", "Cigar Shaped Smooth", "Edge-on without Bulge"):
        ratios = []
        for number in range(8):
            image = draw_galaxy(DECALS.classes.index(name), np.random.default_rng([9, number]), 64)
            light = np.maximum(image[16:48, 16:48].mean(axis=2) - 70.0, 0.0)
            y, x = np.mgrid[0:32, 0:32]
            points = np.stack([x.ravel(), y.ravel()])
            small, large = np.linalg.eigvalsh(np.cov(points, aweights=light.ravel()))
            ratios.append(np.sqrt(small / large))
        axis_ratios[name] = np.median(ratios)
    assert axis_ratios["Round Smooth"] > 0.85
    assert 0.5 < axis_ratios["In-between Round Smooth"] < 0.85
    assert axis_ratios["Cigar Shaped Smooth"] < 0.55
    assert axis_ratios["Edge-on without Bulge"] < axis_ratios["Cigar Shaped Smooth"]


@pytest.mark.parametrize("n", [0.8, 1.0, 2.5, 4.0])
def test_a_sersic_profile_has_half_its_light_inside_the_half_light_radius(n: float) -> None:
    grid = SkyGrid(512, 60.0)
    radius = np.hypot(grid.x, grid.y / 0.6)
    light = sersic(radius, 3.0, n, 17.0, 0.6) / per_survey_pixel(grid.cell**2)
    assert light[radius < 3.0].sum() == pytest.approx(0.5 * nanomaggies(17.0), rel=0.03)


def test_a_disc_has_the_magnitude_asked_for() -> None:
    grid = SkyGrid(512, 60.0)
    light = exponential(np.hypot(grid.x, grid.y / 0.8), 3.0, 16.0, 0.8) / per_survey_pixel(grid.cell**2)
    assert light.sum() == pytest.approx(nanomaggies(16.0), rel=0.01)


def test_the_color_composite_of_empty_sky_and_of_a_saturated_star() -> None:
    empty = color_composite(np.zeros((3, 4, 4), np.float32))
    assert np.all(empty == 32)  # as in the survey's own cut-outs
    assert np.all(color_composite(np.full((3, 4, 4), 50.0, np.float32)) == 255)


# --- sky objects ----------------------------------------------------------------------------------------------------


def test_every_class_folder_holds_every_kind_of_file(sky_folder: Path) -> None:
    assert sorted(path.name for path in sky_folder.iterdir()) == sorted(SKY_CLASSES)
    for name in SKY_CLASSES:
        files = sorted((sky_folder / name).iterdir())
        assert len(files) == 11
        assert {path.suffix for path in files} == {".jpg", ".png", ".fits"}
        pngs = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in files if path.suffix == ".png"]
        assert {image.dtype.name for image in pngs} == {"uint8", "uint16"}
        assert {image.ndim for image in pngs} == {2, 3}
        assert 4 in {image.shape[-1] for image in pngs if image.ndim == 3}
        tables = [path for path in files if path.suffix == ".fits"]
        assert {fits.getheader(path)["BITPIX"] for path in tables} == {16, -32}
        assert {fits.getheader(path)["NAXIS"] for path in tables} == {2, 3}


def test_scaled_integers_read_back_as_counts(sky_folder: Path) -> None:
    path = next(path for path in sky_folder.rglob("*.fits") if fits.getheader(path)["BITPIX"] == 16)
    assert "BSCALE" in fits.getheader(path)
    counts = fits.getdata(path)
    assert 0 < np.median(counts) < 5_000
    assert np.isfinite(counts).all()


def test_files_come_in_mixed_sizes(sky_folder: Path) -> None:
    shapes = {cv2.imread(str(path)).shape[:2] for path in sky_folder.rglob("*.jpg")}
    assert len(shapes) > 10
    assert all(0.7 * 48 <= max(shape) <= 1.6 * 48 for shape in shapes)
    assert any(h > w for h, w in shapes)
    assert any(h < w for h, w in shapes)


def test_the_folder_is_readable_as_a_data_set(sky_folder: Path) -> None:
    reader = ClassFolder(sky_folder, SKY_CLASSES, 48)
    assert reader.catalog.class_counts().tolist() == [11] * 8
    for rows in reader.blocks():
        block = reader.read(rows)
        assert block.faults == {}
        assert np.all(block.images_BHWC.std(axis=(1, 2, 3)) > 2)


def test_the_same_seed_gives_the_same_folder_whatever_the_workers(sky_folder: Path, tmp_path: Path) -> None:
    again = write_astro8(tmp_path / "again", samples_per_class=11, image_size=48, seed=3, progress=False, num_workers=1)
    assert folder_digest(again) == folder_digest(sky_folder)


# --- what can go wrong ----------------------------------------------------------------------------------------------


def test_an_interrupted_simulation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("astroclf.simulation.galaxy10_file.draw_galaxy", interrupted)
    monkeypatch.setattr("astroclf.simulation.sky_folder.draw_sky_object", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_galaxy10(tmp_path / "galaxies.h5", samples=20, image_size=32, seed=0, progress=False)
    with pytest.raises(KeyboardInterrupt):
        write_astro8(tmp_path / "sky", samples_per_class=2, image_size=32, seed=0, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "Galaxy10_DECals.h5"
    file.write_text("2.5 GB that took an hour to fetch")
    with pytest.raises(DataError, match="exists already"):
        write_galaxy10(file, samples=20, image_size=32, seed=0)
    with pytest.raises(DataError, match="exists already"):
        write_astro8(tmp_path, samples_per_class=1, image_size=32, seed=0)
    assert file.read_text().startswith("2.5 GB")


@pytest.mark.parametrize(("samples", "size", "named"), [(9, 32, "samples=9"), (20, 4, "image_size=4")])
def test_sizes_that_make_no_data_set_are_refused(tmp_path: Path, samples: int, size: int, named: str) -> None:
    with pytest.raises(DataError, match=named):
        write_galaxy10(tmp_path / "galaxies.h5", samples=samples, image_size=size, seed=0)


def test_a_folder_that_cannot_be_written_to_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AstroclfError, match="not a folder"):
        write_galaxy10(tmp_path / "file" / "deeper" / "galaxies.h5", samples=10, image_size=16, seed=0, progress=False)
    with pytest.raises(AstroclfError, match="not a folder"):
        write_astro8(tmp_path / "file" / "deeper" / "sky", samples_per_class=1, image_size=32, seed=0, progress=False)


# --- contact sheet and command --------------------------------------------------------------------------------------


def test_the_contact_sheet_shows_every_class_in_its_row(galaxy_file: Path, tmp_path: Path) -> None:
    reader = Galaxy10(galaxy_file, image_size=32)
    path = contact_sheet(reader, tmp_path / "sheet.png", per_class=3, cell=32)
    sheet = cv2.imread(str(path))[..., ::-1]
    assert sheet.shape[0] == 10 * 32
    left = sheet.shape[1] - 3 * 32
    images = reader.read(range(40)).images_BHWC
    for label in range(10):
        first = int(np.flatnonzero(reader.catalog.labels == label)[0])
        row = sheet[label * 32 : (label + 1) * 32]
        np.testing.assert_array_equal(row[:, left : left + 32], images[first])
        assert row[:, :left].max() > 128  # its name


def test_the_command_writes_data_and_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, sheet = tmp_path / "sky", tmp_path / "sky.png"
    size = ["samples=1", "image_size=32"]
    assert main(["astro8", str(output), *size, f"contact_sheet={sheet}"]) == 0
    assert "8 images in 8 classes" in capsys.readouterr().out
    assert sheet.stat().st_size > 1000
    assert main(["kind=astro8", f"output={output}", *size]) == 1
    assert "exists already" in capsys.readouterr().err


def test_simulating_needs_no_torch() -> None:
    code = "import sys, astroclf.simulation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
