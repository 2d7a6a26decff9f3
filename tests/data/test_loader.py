"""Batches: the same samples in the same order, wherever the images are kept and whatever reads them ahead."""

from __future__ import annotations

import gc
import threading
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from astroclf.data import loader as data_loader
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.loader import Batch, BatchLoader, PixelBuffer
from astroclf.errors import ConfigError, DataError
from astroclf.util.programs import Programs
from astroclf.util.replay import Replay
from tests.data.augment.recipes import recipe, recipe_values
from tests.on_gpu import gpu

COUNT, SIZE = 43, 16
AUGMENTATION = recipe(dihedral=True, brightness=0.2, zoom=(0.9, 1.1), noise=0.01)
LABELS = np.arange(COUNT) % 7
VOTES = np.random.default_rng(1).dirichlet(np.ones(7), COUNT).astype(np.float32)


@pytest.fixture
def memmap(tmp_path: Path) -> np.memmap:
    images = np.memmap(tmp_path / "images.u8", dtype=np.uint8, mode="w+", shape=(COUNT, SIZE, SIZE, 3))
    images[:] = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    images.flush()
    return np.memmap(tmp_path / "images.u8", dtype=np.uint8, mode="r", shape=(COUNT, SIZE, SIZE, 3))


def loader(images: np.ndarray, **changes: Any) -> BatchLoader:
    options: dict[str, Any] = {
        "rows": np.arange(2, COUNT),
        "batch_size": 8,
        "augmentation": AUGMENTATION,
        "seed": 1,
        "train": True,
        "targets": VOTES,
        "num_workers": 1,
        **changes,
    }
    pixels = PixelBuffer(images, options.pop("keep_images_on", "memory"), options.pop("device", "cpu"))
    return BatchLoader(pixels, LABELS, options.pop("rows"), **options)


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.rows_B, b.rows_B)
        assert torch.equal(a.images_BCHW, b.images_BCHW)
        assert torch.equal(a.labels_B, b.labels_B)
        np.testing.assert_array_equal(a.targets_BC, VOTES[b.rows_B])


def no_threads_left() -> bool:
    return not any(thread.name.startswith(("astroclf-ahead", "astroclf-augment")) for thread in threading.enumerate())


def test_training_shuffles_each_epoch_anew_and_drops_the_rest(memmap: np.memmap) -> None:
    trained = loader(memmap)
    epochs = [list(trained.epoch(e)) for e in range(2)]
    for batches in epochs:
        assert len(batches) == len(trained) == 41 // 8
        rows = np.concatenate([batch.rows_B for batch in batches])
        assert len(np.unique(rows)) == 40
        assert set(rows) <= set(range(2, COUNT))
        for batch in batches:
            assert batch.images_BCHW.shape == (8, 3, SIZE, SIZE)
            assert batch.images_BCHW.dtype == torch.float32
            np.testing.assert_array_equal(batch.labels_B.numpy(), LABELS[batch.rows_B])
            assert batch.labels_B.dtype == torch.int64
            np.testing.assert_array_equal(batch.targets_BC.numpy(), VOTES[batch.rows_B])
    assert not np.array_equal(epochs[0][0].rows_B, epochs[1][0].rows_B)


def test_evaluation_keeps_order_all_rows_and_the_pixels(memmap: np.memmap) -> None:
    evaluated = loader(memmap, train=False, augmentation=recipe(rotation=(0, 90), mean=[0.0], std=[1.0]))
    batches = list(evaluated.epoch(0))
    assert len(batches) == len(evaluated) == 6
    np.testing.assert_array_equal(np.concatenate([batch.rows_B for batch in batches]), np.arange(2, COUNT))
    seen = torch.cat([batch.images_BCHW for batch in batches]).permute(0, 2, 3, 1).numpy() * 255
    np.testing.assert_array_equal(np.rint(seen), memmap[2:])


def test_a_sample_looks_different_in_each_epoch_and_alike_in_the_same(memmap: np.memmap) -> None:
    one = loader(memmap, rows=np.array([4]))
    looks = [next(one.epoch(e)).images_BCHW for e in (0, 1, 0)]
    assert not torch.equal(looks[0], looks[1])
    assert torch.equal(looks[0], looks[2])


def test_fewer_rows_than_a_batch_are_one_batch(memmap: np.memmap) -> None:
    few = loader(memmap, rows=np.arange(3))
    assert len(few) == 1
    assert sorted(next(few.epoch(0)).rows_B) == [0, 1, 2]


@pytest.mark.parametrize("train", [True, False])
def test_an_epoch_resumed_anywhere_is_bit_equal(memmap: np.memmap, train: bool) -> None:
    whole = list(loader(memmap, train=train).epoch(3))
    for start in range(len(whole) + 1):
        assert_same(list(loader(memmap, train=train).epoch(3, start)), whole[start:])
    with pytest.raises(ValueError, match="start 9"):
        loader(memmap).epoch(0, start=9)


@pytest.mark.parametrize("keep_images_on", ["auto", "device", "memory", "disk"])
@pytest.mark.parametrize("num_workers", [0, 1, 3, None])
def test_where_images_are_kept_and_workers_change_nothing(
    memmap: np.memmap, keep_images_on: str, num_workers: int | None
) -> None:
    expected = list(loader(memmap, num_workers=0).epoch(1))
    assert_same(list(loader(memmap, keep_images_on=keep_images_on, num_workers=num_workers).epoch(1)), expected)
    assert no_threads_left()


def test_a_sample_looks_the_same_in_batches_of_any_size(memmap: np.memmap) -> None:
    by_row: dict[int, torch.Tensor] = {}
    for batch in loader(memmap, batch_size=8).epoch(2):
        by_row.update(zip(batch.rows_B.tolist(), batch.images_BCHW, strict=True))
    order = [batch.rows_B for batch in loader(memmap, batch_size=5).epoch(2)]
    np.testing.assert_array_equal(np.concatenate(order), np.array(list(by_row)))
    for batch in loader(memmap, batch_size=5).epoch(2):
        for row, image in zip(batch.rows_B.tolist(), batch.images_BCHW, strict=True):
            assert torch.equal(image, by_row[row])


def test_threads_end_when_the_consumer_stops_early(memmap: np.memmap) -> None:
    for _ in loader(memmap, num_workers=3, batch_size=2).epoch(0):
        break
    gc.collect()
    assert no_threads_left()
    batches = loader(memmap, num_workers=3, batch_size=2).epoch(0)
    next(batches)
    assert not no_threads_left()
    batches.close()
    assert no_threads_left()


def test_threads_end_on_keyboard_interrupt(memmap: np.memmap) -> None:
    def consume() -> None:
        for _ in loader(memmap, num_workers=3, batch_size=2).epoch(0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    gc.collect()
    assert no_threads_left()


class Slow(Augmentation):
    """Fails on white images, and takes its time before each batch."""

    def __call__(self, images_BHWC: torch.Tensor, draws: Any, threads: int | None = None) -> torch.Tensor:
        time.sleep(0.1)
        if (images_BHWC == 255).all():
            raise OSError("the disk went away")
        return super().__call__(images_BHWC, draws, threads)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_exception_in_a_worker_reaches_the_consumer_in_its_place(num_workers: int) -> None:
    images = np.zeros((COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    images[5] = 255
    broken = loader(
        images,
        rows=np.arange(10),
        batch_size=1,
        train=False,
        num_workers=num_workers,
        augmentation=Slow(**recipe_values()),
    )
    seen: list[int] = []
    with pytest.raises(OSError, match="the disk went away"):
        seen.extend(int(batch.rows_B[0]) for batch in broken.epoch(0))
    assert seen == [0, 1, 2, 3, 4]
    assert no_threads_left()


def test_work_ahead_is_bounded_and_waiting_is_counted() -> None:
    made = []

    class Counting(Slow):
        def __call__(self, images_BHWC: torch.Tensor, draws: Any, threads: int | None = None) -> torch.Tensor:
            made.append(len(images_BHWC))
            return super().__call__(images_BHWC, draws, threads)

    images = np.zeros((COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    patient = loader(images, batch_size=1, num_workers=2, augmentation=Counting(**recipe_values()))
    batches = patient.epoch(0)
    list(islice(batches, 2))
    waited = patient.data_wait_seconds
    assert waited > 0.08
    time.sleep(0.8)
    assert len(made) <= 2 + 2 + 2
    assert patient.data_wait_seconds == waited
    next(batches)
    assert patient.data_wait_seconds - waited < 0.08  # it was ready, and none is made in 0.08 s
    batches.close()


@pytest.mark.parametrize(
    ("available", "keep_images_on"), [(COUNT * SIZE * SIZE * 3 * 3, "memory"), (COUNT * SIZE * SIZE * 3, "disk")]
)
def test_auto_takes_memory_only_with_room_to_spare(
    memmap: np.memmap, monkeypatch: pytest.MonkeyPatch, available: int, keep_images_on: str
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available))
    pixels = PixelBuffer(memmap, "auto", "cpu")
    assert pixels.keep_images_on == keep_images_on
    np.testing.assert_array_equal(pixels.gather(np.array([4, 1])).numpy(), memmap[[4, 1]])


def test_requests_that_cannot_work_are_named(memmap: np.memmap, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="auto, device, memory, disk"):
        PixelBuffer(memmap, "gpu")
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=0"):
        loader(memmap, batch_size=0)
    with pytest.raises(DataError, match="no images to train on"):
        loader(memmap, rows=np.array([], dtype=int))
    with pytest.raises(IndexError):
        PixelBuffer(memmap).gather(np.array([COUNT]))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(ConfigError, match=r"keep_images_on=memory.*keep_images_on=auto"):
        PixelBuffer(memmap, "memory")


def test_an_empty_evaluation_loader_has_no_batches(memmap: np.memmap) -> None:
    empty = loader(memmap, rows=np.array([], dtype=int), train=False)
    assert len(empty) == 0
    assert list(empty.epoch(0)) == []


@gpu
@pytest.mark.parametrize("keep_images_on", ["device", "memory", "disk"])
def test_cuda_batches_equal_cpu_batches(memmap: np.memmap, keep_images_on: str) -> None:
    on_cuda = loader(memmap, keep_images_on=keep_images_on, device="cuda", num_workers=2)
    again = [batch.images_BCHW.clone() for batch in on_cuda.epoch(1)]
    for ours, theirs, repeated in zip(on_cuda.epoch(1), loader(memmap).epoch(1), again, strict=True):
        assert ours.images_BCHW.is_cuda
        assert ours.labels_B.is_cuda
        np.testing.assert_array_equal(ours.targets_BC.cpu().numpy(), VOTES[theirs.rows_B])
        np.testing.assert_array_equal(ours.rows_B, theirs.rows_B)
        assert torch.equal(ours.labels_B.cpu(), theirs.labels_B)
        assert (ours.images_BCHW.cpu() - theirs.images_BCHW).abs().max() < 2 * 2 / 255
        assert torch.equal(ours.images_BCHW, repeated)
    assert no_threads_left()


@gpu
@pytest.mark.parametrize("keep_images_on", ["device", "disk"])
@pytest.mark.parametrize("options", [{}, {"train": False}, {"views": 2}], ids=str)
def test_cuda_batches_are_the_same_bits_replayed_and_launched(
    memmap: np.memmap, keep_images_on: str, options: dict[str, Any]
) -> None:
    replayed, launched = (
        loader(memmap, keep_images_on=keep_images_on, device="cuda", num_workers=2, cuda_graph=graph, **options)
        for graph in (True, False)
    )
    for epoch in range(3):
        for ours, theirs in zip(list(replayed.epoch(epoch)), launched.epoch(epoch), strict=True):
            assert torch.equal(ours.images_BCHW, theirs.images_BCHW)
            assert torch.equal(ours.labels_B, theirs.labels_B)
    assert replayed._replay is not None
    assert len(replayed._replay) == 1


def test_batches_are_recorded_if_they_are_not_large_and_compiled_if_that_is_asked_for(
    memmap: np.memmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the augmentation is told of it, here where it records nothing."""
    told: list[object] = []

    class Watched(SimpleNamespace):
        draw, mixes = AUGMENTATION.draw, False

        def __call__(self, images: torch.Tensor, draws: Any, threads: Any, recorded: object = None) -> torch.Tensor:
            told.append(recorded)
            return AUGMENTATION(images, draws, threads)

    made = loader(memmap, augmentation=Watched(), num_workers=0)
    made._replay = replay = Replay.__new__(Replay)
    next(made.epoch(0))
    monkeypatch.setattr(data_loader, "MOST_REPLAYED", 8 * SIZE * SIZE)
    next(made.epoch(0))
    monkeypatch.setattr(data_loader, "MOST_REPLAYED", 8 * SIZE * SIZE - 1)
    next(made.epoch(0))
    made._programs = programs = Programs("The augmentation")
    next(made.epoch(0))
    assert told == [replay, replay, None, programs]
    made.compile_augmentation()
    assert made._programs is programs, "on a CPU nothing is compiled"


@gpu
@pytest.mark.parametrize("most", [8 * SIZE * SIZE, 8 * SIZE * SIZE - 1])
def test_large_cuda_batches_are_compiled_where_that_is_asked_for_and_never_recorded(
    memmap: np.memmap, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_loader, "MOST_REPLAYED", most)
    large = most < 8 * SIZE * SIZE
    compiled, as_it_is = (loader(memmap, keep_images_on="device", device="cuda") for _ in range(2))
    compiled.compile_augmentation()
    for ours, theirs in zip(list(compiled.epoch(0)), as_it_is.epoch(0), strict=True):
        torch.testing.assert_close(ours.images_BCHW, theirs.images_BCHW, atol=0.1 * 2 / 255, rtol=0)
    for each, programs in ((compiled, int(large)), (as_it_is, 0)):
        assert each._replay is not None
        assert len(each._replay) == int(not large)
        assert len(each._programs or ()) == programs


def test_without_soft_labels_a_batch_has_none(memmap: np.memmap) -> None:
    assert next(loader(memmap, targets=None).epoch(0)).targets_BC is None
    with pytest.raises(ValueError, match="42 soft labels for 43 images"):
        loader(memmap, targets=VOTES[1:])


def test_views_are_independent_versions_of_the_same_samples(memmap: np.memmap) -> None:
    one, three = loader(memmap, batch_size=8), loader(memmap, batch_size=8, views=3)
    batch, views = next(one.epoch(0)), next(three.epoch(0))
    assert views.rows_B.tolist() == batch.rows_B.tolist()
    assert views.labels_B.tolist() == batch.labels_B.tolist()
    assert torch.equal(views.images_BCHW[:8], batch.images_BCHW)
    whole = loader(memmap, batch_size=COUNT - 2, views=3)
    versions: dict[int, set[bytes]] = {}
    for epoch in (0, 1):
        (every,) = whole.epoch(epoch)
        for row, image_CHW in zip(np.tile(every.rows_B, 3), every.images_BCHW, strict=True):
            versions.setdefault(int(row), set()).add(image_CHW.numpy().tobytes())
    assert {len(each) for each in versions.values()} == {6}
    plain = loader(memmap, batch_size=8, train=False, views=3)
    assert len(next(plain.epoch(0)).images_BCHW) == 8
