"""Pictures for people, whatever the bands of an image are."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from astroclf.util.pictures import PICTURE_SIDE, as_rgb, picture_uri


def test_any_number_of_bands_is_shown_as_rgb():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(as_rgb(images), images[..., :3])
    np.testing.assert_array_equal(as_rgb(images[..., :3]), images[..., :3])
    assert as_rgb(np.array([[[10, 21]]], np.uint8)).tolist() == [[[16, 16, 16]]]
    assert as_rgb(np.array([[[10]]], np.uint8)).tolist() == [[[10, 10, 10]]]


@pytest.mark.parametrize(("shape", "shown"), [((20, 30, 3), (20, 30)), ((1000, 10, 1), (PICTURE_SIDE, 1))])
def test_a_small_picture_is_a_jpeg_that_is_never_enlarged(shape, shown):
    address = picture_uri(np.full(shape, 200, np.uint8))
    assert address.startswith("data:image/jpeg;base64,")
    content = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert picture.shape[:2] == shown
    assert abs(int(picture.mean()) - 200) <= 2
