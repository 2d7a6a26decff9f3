"""Lightning with a DataLoader and torchvision's transforms, as its documentation teaches them."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from itertools import pairwise

import lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Taught(lightning.LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class Clock(lightning.Callback):
    """Seconds of each block of steps, the first of which are left out: the workers are still starting."""

    def __init__(self, block: int, wait: Callable[[], None]) -> None:
        self.block, self.wait = block, wait
        self.marks: list[float] = []

    def on_train_batch_end(self, trainer: object, module: object, outputs: object, batch: object, number: int) -> None:
        if (number + 1) % self.block == 0:
            self.wait()
            self.marks.append(time.perf_counter())


def lightning_loop(
    network: nn.Module,
    dataset: Dataset,
    batch: int,
    workers: int,
    precision: str,
    device: torch.device,
    block: int,
    blocks: int,
    wait: Callable[[], None],
) -> list[float]:
    """Return the seconds of each block of steps.

    Parameters
    ----------
    precision
        ``32-true``, which is the default, or ``bf16-mixed``.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    on_cuda = device.type == "cuda"
    loader = DataLoader(dataset, batch, shuffle=True, num_workers=workers, pin_memory=on_cuda, drop_last=True)
    clock = Clock(block, wait)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="gpu" if on_cuda else "cpu",
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            max_epochs=1,
            limit_train_batches=block * (blocks + 1),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock],
        )
        trainer.fit(Taught(network), loader)
    return [after - before for before, after in pairwise(clock.marks)]
