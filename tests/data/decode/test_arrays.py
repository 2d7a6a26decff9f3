"""One .npy array a file."""

from __future__ import annotations

import io

import numpy as np
import pytest

from astroclf.data.decode.images import is_image, read_values
from astroclf.errors import ImageError
from tests.data.decode.pictures import decoded_file, reading

COLOR = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_color_in_either_order_is_a_picture(tmp_path, order):
    np.save(tmp_path / "a.npy", COLOR.transpose(order))
    assert is_image(tmp_path / "a.npy")
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.npy"), COLOR)


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "i4", "f2", "<f4", ">f8"])
def test_every_type_keeps_its_numbers(tmp_path, kind):
    grey = COLOR[..., 0].astype(kind)
    np.save(tmp_path / "a.npy", np.asfortranarray(grey))
    read = read_values(tmp_path / "a.npy", reading(), 3)
    np.testing.assert_array_equal(read.pixels_HWP[..., 0], grey)
    assert read.pixels_HWP.dtype.isnative
    assert read.kind == {"u1": "8-bit", "u2": "uint16", "i4": "int32"}.get(kind.strip("<>"), "float")


def test_booleans_and_transparency(tmp_path):
    np.save(tmp_path / "a.npy", COLOR[..., 0] > 99)
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.npy")[..., 1], (COLOR[..., 0] > 99) * 255)
    alpha = np.full((20, 30, 1), 128, np.uint8)
    np.save(tmp_path / "b.npy", np.concatenate([COLOR, alpha], axis=2))
    read = read_values(tmp_path / "b.npy", reading(), 3)
    np.testing.assert_array_equal(read.pixels_HWP, np.rint(COLOR * (128 / 255)))
    assert [note.kind for note in read.notes] == ["guessed axes"]
    assert read_values(tmp_path / "b.npy", reading(), 4).pixels_HWP.shape == (20, 30, 4)


def test_bands_and_planes(tmp_path):
    stack = np.random.default_rng(0).random((7, 20, 30)).astype(np.float32)
    np.save(tmp_path / "a.npy", stack)
    np.testing.assert_array_equal(read_values(tmp_path / "a.npy", reading(), 7).pixels_HWP, np.moveaxis(stack, 0, 2))
    chosen = read_values(tmp_path / "a.npy", reading(planes=[6, 0, 2]), 3)
    np.testing.assert_array_equal(chosen.pixels_HWP, np.moveaxis(stack[[6, 0, 2]], 0, 2))
    collapsed = read_values(tmp_path / "a.npy", reading(collapse="max"), 3)
    np.testing.assert_array_equal(collapsed.pixels_HWP[..., 0], stack.max(axis=0))
    with pytest.raises(ImageError, match=r"a\.npy: its 7 x 20 x 30 numbers give 1 band, but dataset\.channels=5"):
        read_values(tmp_path / "a.npy", reading(), 5)


def saved(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, COLOR)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message", "kind"),
    [
        (archive(), r"an archive of arrays \(\.npz\) under the name of one array", "no image"),
        (saved(np.array([{"a": 1}, None], dtype=object), allow_pickle=True), "it holds Python objects", "no image"),
        (saved(np.arange(5)), r"of shape \(5,\) is no image", "no image"),
        (saved(np.zeros((4, 4), complex)), "array of complex128 is no image", "no image"),
        (saved(np.zeros((4, 4), "U3")), "is no image: numbers are wanted", "no image"),
        (saved(np.zeros((2, 5, 6, 7))), "4 axes", "no image"),
        (saved(np.zeros((0, 5))), "axis of size zero", "no image"),
        (saved(COLOR)[:-1], "truncated", "truncated"),
        (saved(COLOR) + b"12", "2 bytes more than its shape", "damaged"),
        (b"path,label\n", "damaged, or no array that numpy.save wrote", "damaged"),
        (saved(COLOR).replace(b"(20, 30, 3)", b"(99999,9999)"), "more than the limit|truncated", None),
    ],
)
def test_what_is_no_image_is_named_in_one_paragraph(tmp_path, content, message, kind):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\.npy: .*({message})") as caught:
        decoded_file(tmp_path / "a.npy")
    assert kind in (None, caught.value.kind)
    assert "\n" not in str(caught.value)
