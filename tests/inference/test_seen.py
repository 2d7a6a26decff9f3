"""The images of a model's training are known again by their pixels, whatever a data set calls them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astroclf.errors import WeightsError
from astroclf.inference.seen import SEEN_FILE, SeenImages, read_seen, write_seen

DIGESTS = np.array([f"{number:016x}{'f' * 48}" for number in range(5)])


def test_images_that_were_trained_or_validated_on_are_known_and_others_are_not() -> None:
    seen = SeenImages.of(DIGESTS[:2], DIGESTS[2:4])
    assert seen.among(DIGESTS[::-1]).tolist() == ["", "val", "val", "train", "train"]
    assert SeenImages.of(DIGESTS[:2], DIGESTS[1:4]).among(DIGESTS[1:2]).tolist() == ["train"], "the graver of the two"


def test_a_package_keeps_them_of_both_splits(tmp_path: Path) -> None:
    assert read_seen(tmp_path) is None
    write_seen(tmp_path, SeenImages.of(DIGESTS[:1], DIGESTS[1:3]))
    found = read_seen(tmp_path)
    assert found is not None
    assert found.among(DIGESTS).tolist() == ["train", "val", "val", "", ""]


def test_a_damaged_file_is_told_and_not_taken_for_none(tmp_path: Path) -> None:
    whole = tmp_path / SEEN_FILE
    write_seen(tmp_path, SeenImages.of(DIGESTS[:1], DIGESTS[1:3]))
    whole.write_bytes(whole.read_bytes()[:100])
    with pytest.raises(WeightsError, match="is damaged"):
        read_seen(tmp_path)
    np.savez(whole, train=np.zeros(2), val=np.zeros(1, np.uint64))
    with pytest.raises(WeightsError, match="it holds no digests"):
        read_seen(tmp_path)
