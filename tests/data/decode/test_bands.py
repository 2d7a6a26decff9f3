"""Images of any number of bands, for OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.data.decode.bands import in_fours


@pytest.mark.parametrize("bands", [1, 3, 4, 5, 8, 12])
def test_every_band_is_seen_once_and_four_at_most_at_a_time(bands):
    image = np.random.default_rng(0).integers(0, 256, (6, 5, bands), dtype=np.uint8)

    def upside_down(part: np.ndarray) -> np.ndarray:
        assert part.shape[2] <= 4
        return part[::-1]

    np.testing.assert_array_equal(in_fours(upside_down, image), image[::-1])
