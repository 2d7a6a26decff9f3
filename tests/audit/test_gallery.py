"""The gallery: for each class and kind of file what the network sees, beside what the file shows."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest

from astroclf.audit import gallery as module
from astroclf.audit.gallery import PAIRS, PAIRS_OF_A_KIND, draw_gallery
from astroclf.audit.rendering import render_source
from astroclf.audit.report import write_audit_report
from astroclf.audit.summary import Audit
from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import HasSources, Source
from astroclf.data.decode.headers import FileFacts, read_facts
from astroclf.data.readers.arrays import Arrays
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.simulation import write_galaxy10
from tests.audit.planted import catalog, opened, picture, save, write_clean


def audit_of(reader: ClassFolder, cache: ImageCache) -> Audit:
    facts = dict(zip(reader.catalog.ids, read_facts(reader, num_workers=1, progress=False), strict=True))
    return Audit("sky", "", "", [], catalog=cache.catalog, facts=[facts[name] for name in cache.catalog.ids])


def pixels(uri: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    write_clean(tmp_path / "sky", each=5)
    for number in range(2):
        save(tmp_path / "sky" / "star" / f"more{number}.jpg", picture(9000 + number))
    return tmp_path / "sky"


def test_each_class_and_kind_of_file_is_shown_beside_the_file_itself(sky, tmp_path):
    reader, cache = opened(sky, tmp_path)
    rows = draw_gallery(audit_of(reader, cache), cache.images, reader)
    assert [(row.label, row.kind, row.count, len(row.pairs)) for row in rows] == [
        ("galaxy", "PNG RGB 8-bit", 5, PAIRS_OF_A_KIND),
        ("nebula", "PNG RGB 8-bit", 5, PAIRS_OF_A_KIND),
        ("star", "PNG RGB 8-bit", 5, PAIRS_OF_A_KIND),
        ("star", "JPEG RGB 8-bit", 2, 2),
    ]
    for pair in (pair for row in rows for pair in row.pairs):
        (file,) = pair.files
        assert np.corrcoef(pixels(pair.seen).ravel(), pixels(file.picture).ravel())[0, 1] > 0.97
    page = write_audit_report(tmp_path, audit_of(reader, cache), cache.images, rows).read_text(encoding="utf-8")
    assert "star/more1.jpg" in page
    assert "2 JPEG RGB 8-bit" in page


def test_a_wrong_axis_in_decoding_meets_the_eye(sky, tmp_path):
    reader, cache = opened(sky, tmp_path)
    rows = draw_gallery(audit_of(reader, cache), cache.images.transpose(0, 2, 1, 3), reader)
    for pair in (pair for row in rows for pair in row.pairs):
        assert np.corrcoef(pixels(pair.seen).ravel(), pixels(pair.files[0].picture).ravel())[0, 1] < 0.7


def test_a_file_that_cannot_be_drawn_says_so(sky, tmp_path):
    reader, cache = opened(sky, tmp_path)
    audit = audit_of(reader, cache)
    (sky / "star" / "more0.jpg").unlink()
    rows = draw_gallery(audit, cache.images, reader)
    (file,) = rows[-1].pairs[0].files
    assert file.picture == ""
    assert "not drawn: [Errno 2]" in file.words
    assert file.words.split(":")[0] in write_audit_report(tmp_path, audit, cache.images, rows).read_text("utf-8")


def test_many_classes_and_kinds_stay_small():
    labels = list(range(120)) * 3
    facts = [FileFacts("PNG", "L", bits, 64, 64) for bits in (8, 16, 32) for _ in range(120)]
    audit = Audit("", "", "", [], catalog=catalog(labels, classes=tuple(map(str, range(120)))), facts=facts)
    rows = draw_gallery(audit, np.zeros((360, 8, 8, 3), np.uint8))
    assert len(rows) == PAIRS
    assert sum(len(row.pairs) for row in rows) == PAIRS
    assert all(not pair.files for row in rows for pair in row.pairs)


def test_of_images_within_an_array_one_of_a_class_is_drawn(sky, tmp_path, monkeypatch):
    reader, cache = opened(sky, tmp_path)
    np.save(tmp_path / "images.npy", cache.images)
    asked: list[int] = []

    def source(row: int) -> Source:
        asked.append(row)
        return Source((tmp_path / "images.npy",), row)

    monkeypatch.setattr(reader, "source", source)
    monkeypatch.setattr(module, "PAIRS_OF_A_KIND", 3)
    rows = draw_gallery(audit_of(reader, cache), cache.images, reader)
    assert [[len(pair.files) for pair in row.pairs] for row in rows] == [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0]]


def test_every_reader_says_where_its_images_lie(tmp_path):
    write_galaxy10(tmp_path / "g.h5", samples=12, image_size=32, seed=0)
    random = np.random.default_rng(0)
    (tmp_path / "own").mkdir()
    np.save(tmp_path / "own" / "images.npy", random.integers(0, 256, (4, 32, 32, 3), np.uint8))
    np.save(tmp_path / "own" / "labels.npy", np.arange(4) % 2)
    for reader in (Galaxy10(tmp_path / "g.h5", image_size=32), Arrays(tmp_path / "own", image_size=32)):
        assert isinstance(reader, HasSources)
        for rows in reader.blocks():
            for row, image in zip(rows, reader.read(rows).images_BHWC, strict=True):
                (drawing,) = render_source(reader.source(row))
                np.testing.assert_allclose(drawing.image_HWC, stretched(image), atol=1)


def stretched(image: np.ndarray) -> np.ndarray:
    """From its least number to its largest."""
    return (image - float(image.min())) * (255 / float(np.ptp(image)))
