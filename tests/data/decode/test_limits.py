"""How large an image may be, and what decoding one takes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astroclf.data.decode import fits as decode_fits
from astroclf.data.decode import limits
from astroclf.data.decode.images import read_values
from astroclf.data.decode.limits import claim_pixels, claim_values, one_large_at_a_time
from astroclf.errors import ImageError
from tests.data.decode.pictures import reading

PEAK = 3.0  # times the size of an image's numbers as float32, that its decoding may take


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (lambda: claim_pixels(60_000, 60_000, "a.png"), "a.png: 60000 x 60000 pixels are more than the limit"),
        (lambda: claim_values((9, 2**15, 2**15), "a.fits"), "a.fits: 9 x 32768 x 32768 values are more than the limit"),
    ],
)
def test_what_is_too_large_is_named_with_the_limit(claim, message):
    with pytest.raises(ImageError, match=message) as caught:
        claim()
    assert caught.value.kind == "too large"


def test_one_large_image_is_in_memory_at_a_time_and_small_ones_beside_it(monkeypatch):
    monkeypatch.setattr(limits, "LARGE_VALUES", 100)
    large, small_done, order = threading.Event(), threading.Event(), []

    def first() -> None:
        with one_large_at_a_time():
            claim_values((10, 10), "a")
            with one_large_at_a_time():  # what reads a file inside of what decodes it
                claim_values((20, 20), "b")
            large.set()
            assert small_done.wait(10)
            order.append("first")

    def second() -> None:
        assert large.wait(10)
        with one_large_at_a_time():
            claim_values((3, 3), "c")
            small_done.set()
            claim_pixels(10, 10, "d")
            order.append("second")

    threads = [threading.Thread(target=work) for work in (second, first)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert order == ["first", "second"]


def test_a_large_image_that_cannot_be_read_gives_its_turn_back(monkeypatch):
    monkeypatch.setattr(limits, "LARGE_VALUES", 100)
    with pytest.raises(ImageError), one_large_at_a_time():
        claim_values((10, 10), "a")
        raise ImageError("a: damaged.")
    done = []

    def next_one() -> None:
        with one_large_at_a_time():
            claim_values((10, 10), "b")
            done.append(True)

    thread = threading.Thread(target=next_one, daemon=True)
    thread.start()
    thread.join(10)
    assert done


@pytest.mark.slow
def test_decoding_takes_a_few_times_the_size_of_the_numbers(tmp_path):
    root = Path(__file__).parents[3]
    command = [sys.executable, str(root / "benchmarks" / "memory.py"), "--side", "4096", "--json", str(tmp_path / "m")]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    record = json.loads((tmp_path / "m").read_text())
    peaks = {name: file["peak_mb"] / record["numbers_mb"] for name, file in record["files"].items()}
    assert set(peaks) == {"array.npy", "deflated.tif", "packed.fits.gz", "plain.fits"}
    assert max(peaks.values()) < PEAK, peaks


def test_strips_of_a_file_are_the_file(tmp_path, monkeypatch):
    """Read and turned in strips of any size, also of integers that are scaled, and with unknown pixels."""
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(3, 11, 7)).astype(np.float32)
    flux[1, 4, 2] = np.inf
    counts = rng.integers(0, 60_000, (11, 7)).astype(np.uint16)
    for name, values in (("flux.fits", flux), ("counts.fits", counts), ("stokes.fits", counts[None, None])):
        fits.PrimaryHDU(values).writeto(tmp_path / name)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(counts)]).writeto(tmp_path / "packed.fits")
    for name in ("flux.fits", "counts.fits", "stokes.fits", "packed.fits"):
        whole = read_values(tmp_path / name, reading(), 3).pixels_HWP
        for size in (1, 20, 50):
            monkeypatch.setattr(decode_fits, "STRIP_VALUES", size)
            np.testing.assert_array_equal(read_values(tmp_path / name, reading(), 3).pixels_HWP, whole)
        monkeypatch.undo()
    assert np.isnan(read_values(tmp_path / "flux.fits", reading(), 3).pixels_HWP).sum() == 1
