"""Files that hold no image or give their class away, and pictures that show nothing."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.audit.files import blank_pictures, given_away, signature_classes, small_images
from astroclf.data.decode.headers import FileFacts
from tests.audit.planted import bare_cache, catalog

JPEG = FileFacts("JPEG", "RGB", 8, 200, 100)
PNG = FileFacts("PNG", "L", 8, 64, 64)


@pytest.mark.parametrize("shape", [(64, 64), (64, 31), (30, 64)])
def test_a_faint_star_on_a_black_sky_is_a_picture(shape):
    rng = np.random.default_rng(0)
    sky = rng.integers(4, 9, shape).astype(np.uint8)
    with_star = sky.copy()
    with_star[10:12, 20:22] += 30
    padded = np.zeros((2, 64, 64), np.uint8)
    top, left = (64 - shape[0]) // 2, (64 - shape[1]) // 2
    padded[:, top : top + shape[0], left : left + shape[1]] = np.stack([sky, with_star])
    (found,) = blank_pictures(bare_cache(catalog([0, 0]), padded))
    assert found.kind == "near-blank"
    assert [case.rows for case in found.cases] == [(0,)]


def test_what_a_header_suggests_is_learned_from_the_other_files():
    one, two, alone = (FileFacts("PNG", "L", 8, side, side) for side in (10, 20, 30))
    facts = [one, one, one, two, two, None, None, alone]
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 1])
    assert signature_classes(facts, labels, 3).tolist() == [0, 0, 0, 1, 1, 2, 2, 1]


def test_files_that_give_their_class_away():
    labels = [0] * 10 + [1] * 10
    (found,) = given_away([JPEG] * 10 + [PNG] * 10, catalog(labels))
    assert found.cases[0].values == {"share": 1.0, "most_frequent": 0.5}
    assert [case.labels for case in found.cases[1:]] == [("galaxy",), ("star",)]
    assert given_away([JPEG, PNG] * 10, catalog(labels)) == []
    sizes = [FileFacts("JPEG", "RGB", 8, 200 + row, 100) for row in range(20)]
    assert given_away(sizes, catalog(labels)) == []  # a size of its own tells nothing


def test_images_far_smaller_than_asked_for():
    (found,) = small_images([JPEG, PNG, PNG, None], catalog([0, 1, 1, 0]), 224)
    assert [case.text for case in found.cases] == ["star: 2 of 2 images, 64 px, scaled to 224"]
    assert small_images([JPEG, PNG], catalog([0, 1]), 128) == []
