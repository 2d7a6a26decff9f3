"""Batches on the device from decoded images: the order of samples, where the images are kept, and prefetch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from copy import copy
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
import torch

from astroclf.data.augment.draws import Draws, permutation
from astroclf.data.augment.mixing import draw_mix, mix_images
from astroclf.data.augment.on_torch import send
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.cache.packed import Images, PackedImages
from astroclf.errors import ConfigError, DataError
from astroclf.settings.dataset import ImagePlace
from astroclf.util.lazy import lazy_import
from astroclf.util.programs import Programs
from astroclf.util.ranks import ALONE, Ranks, launch
from astroclf.util.replay import Replay
from astroclf.util.threads import available_cores, run_ahead

if TYPE_CHECKING:
    import psutil
else:
    psutil = lazy_import("psutil")  # of training's packages, which a model can be used without

DEVICE_MEMORY_SHARE = 0.6  # of what is free there, that `auto` gives to images; the rest is for the network
MAIN_MEMORY_SHARE = 0.5  # of what is available; other processes, and the next sweep trial, want some too
COPIED_BYTES = 64 * 2**20  # to the device at a time
MOST_REPLAYED = (
    2**22
)  # pixels of a batch as stored: beyond, kernels take longer than their launches, and a recording much memory


class PixelBuffer:
    """The images of a data set, kept where reading them is cheapest; several loaders share one.

    Parameters
    ----------
    images
        (N, H, W, C) uint8, typically the memmap of an `ImageCache`, or its compressed images.
    keep_images_on
        ``device``: all in the accelerator's memory (main memory if the device is the CPU); ``memory``: all in main
        memory; ``disk``: read when needed; ``auto``: the first of these that fits with room to spare.
    device
        Where batches are wanted.

    Attributes
    ----------
    keep_images_on : ImagePlace
        What was chosen: ``device``, ``memory`` or ``disk``.

    Raises
    ------
    ConfigError
        If `keep_images_on` is unknown, or the pixels cannot fit where they are asked to live.
    """

    def __init__(self, images: Images, keep_images_on: ImagePlace = "auto", device: torch.device | str = "cpu") -> None:
        if keep_images_on not in get_args(ImagePlace):
            known = ", ".join(get_args(ImagePlace))
            raise ConfigError(f"dataset.keep_images_on={keep_images_on} is unknown: choose one of {known}.")
        self.device = torch.device(device)
        self.keep_images_on = _choose(keep_images_on, images, self.device)
        self._on_device: torch.Tensor | None = None
        # A memmap's own indexing is slower.
        self._images: Images = images if isinstance(images, PackedImages) else images.view(np.ndarray)
        if self.keep_images_on == "device":
            self._on_device = _load(self._images, self.device)
        elif self.keep_images_on == "memory" and _is_on_disk(images):
            self._images = np.array(self._images)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and bands of an image."""
        height, width, bands = self._images.shape[1:]
        return height, width, bands

    def gather(self, rows: np.ndarray) -> torch.Tensor:
        """Return the images of these rows, in this order: (B, H, W, C) uint8.

        On the device with ``device``; otherwise in main memory, page-locked where the device is a CUDA one
        so that the copy there can overlap with computation. May be called from several threads.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} asked of {len(self)} images")
        if self._on_device is not None:
            return self._on_device.index_select(0, send(rows, self.device))
        to_cuda = self.device.type == "cuda"
        # A new thread starts on GPU 0; pinning there would open a second context beside the one that is used.
        with torch.cuda.device(self.device) if to_cuda else nullcontext():
            batch_BHWC = torch.empty((len(rows), *self.shape), dtype=torch.uint8, pin_memory=to_cuda)
        if isinstance(self._images, PackedImages):
            self._images.take(rows, batch_BHWC.numpy())
        else:
            np.take(self._images, rows, axis=0, out=batch_BHWC.numpy(), mode="clip")  # other modes copy once more
        return batch_BHWC


class Partners(NamedTuple):
    """The other image that is seen in each image of a mixed batch."""

    labels_B: torch.Tensor  # int64
    targets_BC: torch.Tensor | None  # float32: its soft label
    shares_B: torch.Tensor  # float32: how much of the image is the other's


class Batch(NamedTuple):
    """A batch of prepared images: what a training step needs."""

    images_BCHW: torch.Tensor  # float32, channels_last, normalised, on the device; of V views, V · B: each view of all
    labels_B: torch.Tensor  # int64, on the device
    rows_B: np.ndarray  # int64: which rows of the pixels these are
    targets_BC: torch.Tensor | None = None  # float32, on the device: soft labels, where the loss takes them
    partners: Partners | None = None  # on the device: of training batches that are mixed
    shared: int | None = None  # images of the whole batch, where this is one process's part of it

    @property
    def images(self) -> int:
        """How many images the batch has, those of other processes included."""
        return len(self.labels_B) if self.shared is None else self.shared

    def on_device(self) -> Iterator[torch.Tensor]:
        """Yield the tensors of the batch."""
        for each in (*self[:2], self.targets_BC, *(self.partners or ())):
            if each is not None:
                yield each

    def with_tensors(self, tensors: Iterator[torch.Tensor]) -> Batch:
        """Return this batch with others in place of its tensors, in the order of `on_device`."""
        images_BCHW, labels_B = next(tensors), next(tensors)
        targets_BC = None if self.targets_BC is None else next(tensors)
        partners = None
        if self.partners is not None:
            soft = self.partners.targets_BC is not None
            partners = Partners(next(tensors), next(tensors) if soft else None, next(tensors))
        return Batch(images_BCHW, labels_B, self.rows_B, targets_BC, partners, self.shared)


class BatchLoader:
    """Batches of some rows of a data set, epoch after epoch.

    Order and augmentation are functions of (seed, epoch) and (seed, epoch, row) alone: not of batch size, workers,
    where the images are kept, or where an epoch was started. A training loader shuffles, augments, and drops the last
    batch if it is not full and not the only one (BatchNorm's statistics over a few samples would disturb the others').
    Where the recipe mixes images, what is mixed with what is a function of these and of the batch's samples.
    Other loaders keep order and all rows, and only crop, resize and normalise.

    Parameters
    ----------
    labels
        (N,) int, of all images in `pixels`.
    rows
        (n,) int: the rows to make batches of.
    targets
        (N, C) soft labels of all images in `pixels`, where the loss takes them.
    views
        Versions of each training image in a batch, augmented independently.
    num_workers
        Threads that read ahead. 0: none. None: half the cores on the CPU, where the network needs the others, nearly
        all beside a GPU; 8 at most. Images kept on ``device`` need none.
    cuda_graph
        Record on a GPU what is done to batches that are not large, and replay it.
    ranks
        The processes that share the training: of each of its batches, this one makes its part alone.

    Attributes
    ----------
    data_wait_seconds : float
        Time that the consumer has waited for batches so far.
    """

    def __init__(
        self,
        pixels: PixelBuffer,
        labels: np.ndarray,
        rows: np.ndarray,
        *,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        train: bool,
        targets: np.ndarray | None = None,
        views: int = 1,
        num_workers: int | None = None,
        cuda_graph: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"trainer.batch_size={batch_size} cannot work: a batch has at least 1 image.")
        if train and len(rows) == 0:
            raise DataError(
                "There are no images to train on: the training split is empty. Look at the data set with "
                "`astroclf check`, or lower the fractions held out for validation and test."
            )
        if len(labels) != len(pixels):
            raise ValueError(f"{len(labels)} labels for {len(pixels)} images")
        if targets is not None and len(targets) != len(pixels):
            raise ValueError(f"{len(targets)} soft labels for {len(pixels)} images")
        self.pixels = pixels
        self.rows = np.asarray(rows, dtype=np.int64)
        self.ranks = ranks
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed
        self.train = train
        self.views = views
        self.num_workers = _default_workers(pixels.device) if num_workers is None else num_workers
        self.data_wait_seconds = 0.0
        recorded = cuda_graph and pixels.device.type == "cuda"
        self._replay = Replay("The augmentation") if recorded else None
        self._programs: Programs | None = None
        self._labels = torch.from_numpy(np.array(labels, dtype=np.int64)).to(pixels.device)
        self._targets: torch.Tensor | None = None
        if targets is not None:
            self._targets = torch.from_numpy(np.array(targets, dtype=np.float32)).to(pixels.device)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        whole, rest = divmod(len(self.rows), self.batch_size)
        drop_rest = self.train and whole > 0
        return whole + (1 if rest and not drop_rest else 0)

    def part(self, ranks: Ranks) -> BatchLoader:
        """Return a loader of one process's part of the rows, where several share what is not trained on."""
        part = copy(self)
        part.rows = ranks.part_of(self.rows)
        return part

    def compile_augmentation(self) -> None:
        """Let the augmentation of large batches on a GPU be compiled when the first one comes."""
        if self.pixels.device.type == "cuda":
            self._programs = Programs("The augmentation")

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch from number `start` on: the same ones that an epoch begun at 0 yields there.

        Threads that read ahead end when the generator is exhausted, closed or interrupted; an exception in one is
        raised here.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start {start} is not within the {len(self)} batches of an epoch")
        return self._timed(self._batches(epoch, start))

    def _timed(self, batches: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
        try:
            while True:
                began = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                finally:
                    self.data_wait_seconds += time.perf_counter() - began
                yield batch
        finally:
            batches.close()

    def _batches(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        rows = self.rows[permutation(self.seed, epoch, len(self.rows))] if self.train else self.rows
        todo = [rows[k * self.batch_size : (k + 1) * self.batch_size] for k in range(start, len(self))]
        if self.train:
            todo = [self.ranks.part_of(rows_B) for rows_B in todo]
        if self.pixels.keep_images_on == "device":
            for rows_B in todo:
                yield self._finish(self.pixels.gather(rows_B), rows_B, epoch)
        elif self.pixels.device.type == "cuda":
            yield from self._through_side_stream(todo, epoch)
        else:
            yield from self._made_on_cpu(todo, epoch)

    def _finish(self, images_BHWC: torch.Tensor, rows_B: np.ndarray, epoch: int, threads: int | None = None) -> Batch:
        """Augment gathered images where they are, and put the labels beside them."""
        draws = self.augmentation.draw(self.seed, epoch * self.views, rows_B) if self.train else None
        images_BCHW = self._augmented(images_BHWC, draws, threads)
        if self.train and self.views > 1:  # the others are drawn as those of further epochs would be
            epochs = range(epoch * self.views + 1, (epoch + 1) * self.views)
            others = (self.augmentation.draw(self.seed, number, rows_B) for number in epochs)
            parts = [images_BCHW, *(self._augmented(images_BHWC, each, threads) for each in others)]
            images_BCHW = torch.cat(parts)
        rows = send(rows_B, self.pixels.device)
        targets_BC = None if self._targets is None else self._targets[rows]
        shared = min(self.batch_size, len(self.rows)) if self.train and self.ranks.is_shared else None
        batch = Batch(images_BCHW, self._labels[rows], rows_B, targets_BC, shared=shared)
        return batch if draws is None or not self.augmentation.mixes else self._mixed(batch, draws)

    def _augmented(self, images_BHWC: torch.Tensor, draws: Draws | None, threads: int | None) -> torch.Tensor:
        large = images_BHWC[..., 0].numel() > MOST_REPLAYED
        recorded = self._programs if large else self._replay
        if recorded is None:
            return self.augmentation(images_BHWC, draws, threads)
        return self.augmentation(images_BHWC, draws, threads, recorded)

    def _mixed(self, batch: Batch, draws: Draws) -> Batch:
        """Let each image of the batch be seen in another."""
        height, width = batch.images_BCHW.shape[2:]
        mix = draw_mix(draws.key, (height, width), self.augmentation.mixup, self.augmentation.cutmix)
        device = self.pixels.device
        others_B = send(mix.partners_B, device)
        targets_BC = None if batch.targets_BC is None else batch.targets_BC[others_B]
        partners = Partners(batch.labels_B[others_B], targets_BC, send(mix.shares_B, device))
        return batch._replace(images_BCHW=mix_images(batch.images_BCHW, mix), partners=partners)

    def _made_on_cpu(self, todo: list[np.ndarray], epoch: int) -> Generator[Batch, None, None]:
        # Whole batches in parallel; one thread each. Without workers, the caller's thread uses all cores.
        threads = 1 if self.num_workers else None

        def make(rows_B: np.ndarray) -> Batch:
            return self._finish(self.pixels.gather(rows_B), rows_B, epoch, threads)

        return run_ahead(make, todo, self.num_workers)

    def _through_side_stream(self, todo: list[np.ndarray], epoch: int) -> Generator[Batch, None, None]:
        """Gather in threads, copy and augment on a CUDA stream beside the network's, one batch ahead of it."""
        device = self.pixels.device
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))  # the labels were put there by the current one
        staged: deque[tuple[Batch, torch.cuda.Event]] = deque()

        def hand_over() -> Batch:
            batch, copied = staged.popleft()
            current = torch.cuda.current_stream(device)
            current.wait_event(copied)
            for tensor in batch.on_device():
                tensor.record_stream(current)  # the allocator must not reuse it while the network reads
            return batch

        with closing(run_ahead(self.pixels.gather, todo, self.num_workers)) as gathered:
            for images_BHWC, rows_B in zip(gathered, todo, strict=True):
                with torch.cuda.stream(side):
                    batch = self._finish(images_BHWC.to(device, non_blocking=True), rows_B, epoch)
                    staged.append((batch, side.record_event()))
                if len(staged) > 1:
                    yield hand_over()
            while staged:
                yield hand_over()


def _is_on_disk(images: Images) -> bool:
    return isinstance(images, np.memmap | PackedImages)


def _choose(keep_images_on: ImagePlace, images: Images, device: torch.device) -> ImagePlace:
    """Choose where images are kept, or refuse where they cannot fit."""
    on_cuda = device.type == "cuda"
    free_device = torch.cuda.mem_get_info(device)[0] if on_cuda else 0
    # Pixels that already are in main memory need no more of it.
    free_memory = (
        psutil.virtual_memory().available // launch().local_count if _is_on_disk(images) else 4 * images.nbytes
    )
    if keep_images_on == "auto":
        if images.nbytes < DEVICE_MEMORY_SHARE * free_device:
            return "device"
        return "memory" if images.nbytes < MAIN_MEMORY_SHARE * free_memory else "disk"
    if keep_images_on == "device" and device.type == "cpu":
        keep_images_on = "memory"
    short_device = keep_images_on == "device" and on_cuda and images.nbytes > free_device
    if short_device or (keep_images_on == "memory" and images.nbytes > free_memory):
        free, where = (free_device, f"of the memory of {device}") if short_device else (free_memory, "of main memory")
        raise ConfigError(
            f"dataset.keep_images_on={keep_images_on} cannot work: the pixels take {images.nbytes / 2**30:.1f} GiB, "
            f"and only {free / 2**30:.1f} GiB {where} are free. Use dataset.keep_images_on=auto, or a smaller "
            "dataset.image_size."
        )
    return keep_images_on


def _load(images: Images, device: torch.device) -> torch.Tensor:
    """Copy all images to the device in pieces, so that main memory never holds them whole."""
    loaded = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, COPIED_BYTES // max(1, images.nbytes // max(1, len(images))))
    for first in range(0, len(images), step):
        loaded[first : first + step].copy_(torch.from_numpy(np.array(images[first : first + step])))
    return loaded


def _default_workers(device: torch.device) -> int:
    cores = available_cores()
    return min(8, max(1, cores - 1 if device.type == "cuda" else cores // 2))
