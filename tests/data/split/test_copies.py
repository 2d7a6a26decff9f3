"""Copies are found however they were turned, shifted and compressed; pictures that only look alike are not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from astroclf.data.catalog import THUMBNAIL_SIDE as SIDE
from astroclf.data.decode.original import thumbnail
from astroclf.data.decode.values import numbers
from astroclf.data.split import links as duplicates
from astroclf.data.split.links import exact_duplicates, near_duplicates
from astroclf.data.split.perceptual import hash_pictures, similarity, turned

COUNT, SIZE = 30, 256


def cutout(seed: int) -> np.ndarray:
    """A round galaxy amid stars and the grain of the sky, (SIZE, SIZE, 3) uint8: all alike at first sight."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    image = 150 * np.exp(-np.hypot(x, y) / rng.uniform(10, 14))
    for _ in range(25):
        row, column = rng.uniform(-SIZE / 2, SIZE / 2, 2)
        image += rng.uniform(10, 60) * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8)
    grain = cv2.GaussianBlur(rng.normal(0, 12, (SIZE, SIZE)), (0, 0), 1.5)
    return np.repeat(np.clip(image + 25 + grain, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


def shift(image: np.ndarray, by: int = 2) -> np.ndarray:
    moved = np.zeros_like(image)
    moved[by:, :-by] = image[:-by, by:]
    return moved


def brighten(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image * 1.1), 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda image: image,
    "quarter turn": np.rot90,
    "half turn": lambda image: np.rot90(image, 2),
    "three quarters": lambda image: np.rot90(image, 3),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "transposed": lambda image: image.transpose(1, 0, 2),
    "across": lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    "re-compressed": jpeg,
    "shifted by 2 px": shift,
    "shifted by 10 px": lambda image: shift(image, 10),
    "10 % brighter": brighten,
    "smaller": lambda image: cv2.resize(image, (100, 100), interpolation=cv2.INTER_AREA),
    "all at once": lambda image: jpeg(np.ascontiguousarray(brighten(shift(np.rot90(image)[::-1])))),
}


@pytest.fixture(scope="module")
def originals() -> np.ndarray:
    return np.stack([cutout(seed) for seed in range(COUNT)])


def thumbnails(images: np.ndarray | list[np.ndarray]) -> np.ndarray:
    return np.stack([thumbnail(numbers(image)) for image in images])


@pytest.mark.parametrize("name", COPIES)
def test_every_copy_is_found_and_nothing_else(originals, name):
    copies = thumbnails([COPIES[name](image) for image in originals])
    pairs = near_duplicates(np.concatenate([thumbnails(originals), copies]))
    assert pairs.rows.tolist() == [[row, row + COUNT] for row in range(COUNT)]
    assert pairs.score.min() >= duplicates.COPY_SIMILARITY
    assert pairs.score.max() <= 1 + 1e-5


def test_order_and_blocks_do_not_matter(originals, monkeypatch):
    images = thumbnails([*originals[:12], *(jpeg(image) for image in originals[:4]), *originals[2:5, ::-1]])
    whole = near_duplicates(images)
    assert len(whole.rows) == 4 + 3 + 2  # 2 and 3 have two copies each, which are copies of each other
    monkeypatch.setattr(duplicates, "BLOCK_ROWS", 5)
    in_blocks = near_duplicates(images)
    np.testing.assert_array_equal(in_blocks.rows, whole.rows)
    np.testing.assert_allclose(in_blocks.score, whole.score, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = near_duplicates(images[order])
    assert {frozenset(order[pair].tolist()) for pair in shuffled.rows} == {frozenset(p) for p in whole.rows.tolist()}


def test_many_pictures_are_not_compared_each_with_each_and_the_copies_are_found_all_the_same(originals, monkeypatch):
    rng = np.random.default_rng(0)
    shifts = rng.integers(-90, 90, (240, 2))
    many = [np.roll(originals[number % COUNT], shift, (0, 1)) for number, shift in enumerate(shifts)]
    images = thumbnails([*many, *(jpeg(shift(np.rot90(image))) for image in many[:60])])
    each_with_each = near_duplicates(images)
    compared = []
    monkeypatch.setattr(duplicates, "ALL_PAIRS", 100)
    monkeypatch.setattr(duplicates, "COMPANY", 5)
    monkeypatch.setattr(duplicates, "NEAREST", 4)
    companies = duplicates._companies

    def seen(*arguments, **options):
        found = companies(*arguments, **options)
        compared.extend(len(company) ** 2 for company in found[1])
        return found

    monkeypatch.setattr(duplicates, "_companies", seen)
    sorted_first = near_duplicates(images)
    assert sorted_first.rows.tolist() == each_with_each.rows.tolist()
    assert {(row, row + 240) for row in range(60)} <= set(map(tuple, sorted_first.rows.tolist()))
    assert sum(compared) < 300**2 / 2
    order = rng.permutation(len(images))
    shuffled = near_duplicates(images[order])
    assert {frozenset(order[pair].tolist()) for pair in shuffled.rows} == set(
        map(frozenset, sorted_first.rows.tolist())
    )


def test_many_pictures_that_are_all_the_same(originals, monkeypatch):
    monkeypatch.setattr(duplicates, "ALL_PAIRS", 4)
    monkeypatch.setattr(duplicates, "COMPANY", 1)
    assert len(near_duplicates(np.repeat(thumbnails(originals[:1]), 6, axis=0)).rows) == 15


def test_only_the_rows_that_are_asked_for_are_compared(originals):
    images = thumbnails([*originals[:3], *originals[:3, ::-1]])
    assert near_duplicates(images, np.array([0, 2, 4, 5])).rows.tolist() == [[2, 5]]


def test_pictures_that_show_nothing_are_no_copies_of_each_other():
    rng = np.random.default_rng(0)
    empty = [np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 200, np.uint8)]
    grainy = list(rng.integers(20, 24, (6, SIDE, SIDE), dtype=np.uint8))
    assert len(near_duplicates(np.stack([*empty, *empty, *grainy])).rows) == 0


def test_padding_makes_no_copies():
    rng = np.random.default_rng(0)
    wide = [rng.integers(0, 256, (100, 300, 3), dtype=np.uint8) for _ in range(8)]
    assert len(near_duplicates(thumbnails(wide)).rows) == 0
    turned_too = thumbnails([*wide, *(np.rot90(image) for image in wide)])
    assert near_duplicates(turned_too).rows.tolist() == [[row, row + 8] for row in range(8)]


def test_half_of_a_picture_amid_another_is_no_copy(originals):
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    middle = (np.hypot(x, y) < 0.35 * SIZE)[..., None]
    swapped = np.where(middle, originals[:-1], originals[1:])
    assert len(near_duplicates(thumbnails([*originals, *swapped])).rows) == 0


def test_a_symmetric_picture_and_its_copy_are_one_pair(originals):
    symmetric = (originals[0] // 2) + (originals[0] // 2)[:, ::-1]
    pairs = near_duplicates(thumbnails([symmetric, jpeg(symmetric)]))
    assert pairs.rows.tolist() == [[0, 1]]


def test_a_part_of_another_shape_is_no_copy(originals):
    part = originals[0].copy()
    part[:50] = part[-50:] = 0
    assert len(near_duplicates(thumbnails([originals[0], part])).rows) == 0


def test_nothing_to_compare():
    assert near_duplicates(np.empty((0, SIDE, SIDE), np.uint8)).rows.shape == (0, 2)
    assert near_duplicates(np.zeros((1, SIDE, SIDE), np.uint8)).rows.shape == (0, 2)


def test_turned_hashes_are_hashes_of_turned_pictures(originals):
    pictures = thumbnails(originals[:3])
    versions = [pictures, np.rot90(pictures, axes=(1, 2)), pictures[:, :, ::-1], pictures.transpose(0, 2, 1)]
    for turned_hashes, version in zip(turned(hash_pictures(pictures)[0]), versions, strict=True):
        again = hash_pictures(version)[0]
        np.testing.assert_allclose(turned_hashes.spectra, again.spectra, atol=1e-4)
        np.testing.assert_allclose(turned_hashes.amplitudes, again.amplitudes, atol=1e-3)
        np.testing.assert_allclose(similarity(again, hash_pictures(version[:, ::-1, ::-1])[0]), 1, atol=1e-4)


def test_exact_duplicates_are_paired_with_the_first():
    pairs = exact_duplicates(np.array(["b", "a", "b", "c", "a", "b"]))
    assert pairs.rows.tolist() == [[0, 2], [0, 5], [1, 4]]
    assert pairs.score.tolist() == [1, 1, 1]
    assert exact_duplicates(np.array(["a", "b"])).rows.shape == (0, 2)
    assert exact_duplicates(np.array([], str)).rows.shape == (0, 2)


def test_two_compact_sources_on_black_are_alike_and_no_copies_of_each_other():
    y, x = np.mgrid[:64, :64]
    pair = [200 * np.exp(-((y - 32) ** 2 + (x - column) ** 2) / 2) for column in (29, 35)]
    first = np.clip(np.sum(pair, axis=0), 0, 255)
    second = np.clip(0.9 * pair[0] + pair[1], 0, 255)
    assert len(near_duplicates(np.stack([first, second]).astype(np.uint8)).rows) == 0
