"""A .npy file that grows by rows and loses some at the end."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.data.cache.npy_file import RowFile


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 3, 5), np.uint8)


def test_rows_written_in_any_order_are_an_npy_file(tmp_path, rows):
    with RowFile(tmp_path / "a.npy", rows.shape) as file:
        assert file.is_new
        for start in (8, 0, 4):
            file.write(start, file.packed(rows[start : start + 4]))
        assert file.read(4, 6) == rows[4:6].tobytes()
        file.sync()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)


def test_rows_survive_opening_again_but_not_another_shape(tmp_path, rows):
    for shape, is_new in ((rows.shape, True), (rows.shape, False), ((12, 3, 6), True)):
        with RowFile(tmp_path / "a.npy", shape) as file:
            assert file.is_new is is_new
            if shape == rows.shape:
                assert file.read(0, 12) == (bytes(rows.nbytes) if is_new else rows.tobytes())
                file.write(0, file.packed(rows))
            else:
                assert file.read(0, 12) == bytes(12 * 3 * 6)


def test_rows_left_out_close_the_gap(tmp_path, rows):
    kept = np.array([1, 2, 5, 11])
    with RowFile(tmp_path / "a.npy", rows.shape) as file:
        file.write(0, file.packed(rows))
        file.keep(kept)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows[kept])


def test_room_still_needed_shrinks_as_rows_are_written(tmp_path):
    shape = (4, 1024, 1024)
    with RowFile(tmp_path / "a.npy", shape) as file:
        empty = file.missing_bytes(0)
        file.write(0, np.ones((2, 1024, 1024), np.uint8))
        file.sync()
        assert empty > 4e6 > file.missing_bytes(0)
