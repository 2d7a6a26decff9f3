"""An HDF5 file that cannot be read: what is said of it, and that it is only called damaged where it is."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from astroclf.data.readers.array_files import open_arrays
from astroclf.data.readers.hdf5 import WrongFile, in_words, read_rows
from astroclf.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "g.h5", "w") as opened:
        opened["images"] = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    return tmp_path / "g.h5"


def test_a_locked_file_is_called_locked(file):
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for act in (lambda: open_arrays(file), lambda: read_rows(file, "images", 0, 2)):
            with pytest.raises(DataError, match=r"g\.h5 is locked.*HDF5_USE_FILE_LOCKING=FALSE") as caught:
                act()
            assert not isinstance(caught.value, WrongFile)
    assert read_rows(file, "images", 0, 2).shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "may not be read by you"),
        (OSError(errno.EIO, "Input/output error"), "its disk does not answer.*may be intact"),
        (OSError(errno.ESTALE, "Stale file handle"), "its disk does not answer"),
        (MemoryError(), "memory is short"),
        (OSError("Can't open (file is already open for write (may use <h5clear file>))"), "is open for writing, or"),
        (OSError("Can't open (required filter 'blosc' is not registered)"), "compression is not known here"),
    ],
)
def test_what_is_no_fault_of_the_file_is_not_called_damage(error, message):
    said = in_words(Path("g.h5"), error, "rows 0 to 9 of `images`")
    with pytest.raises(DataError, match=message):
        raise said
    assert not isinstance(said, WrongFile)
    for word in ("damaged", "remov", "fetch"):
        assert word not in str(said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_called_forbidden(file):
    file.chmod(0)
    with pytest.raises(DataError, match="may not be read by you"):
        open_arrays(file)


def test_a_file_that_is_cut_off_is_called_so(file):
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WrongFile, match="cut off"):
        open_arrays(file)


def test_a_block_before_the_signature_is_allowed(file, tmp_path):
    (tmp_path / "user.h5").touch()
    with h5py.File(tmp_path / "user.h5", "w", userblock_size=1024) as opened:
        opened["images"] = np.ones((2, 3, 3))
    assert open_arrays(tmp_path / "user.h5").shape("images") == (2, 3, 3)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<u2", "|u1"])
@pytest.mark.parametrize("layout", [{}, {"chunks": (4, 3, 3), "compression": "gzip"}])
def test_rows_of_any_type_come_back_equal(tmp_path, dtype, layout):
    values = np.random.default_rng(0).integers(0, 255, (10, 7, 5)).astype(dtype)
    with h5py.File(tmp_path / "v.h5", "w") as opened:
        opened.create_dataset("images", data=values, **layout)
    np.testing.assert_array_equal(read_rows(tmp_path / "v.h5", "images", 2, 9), values[2:9])
