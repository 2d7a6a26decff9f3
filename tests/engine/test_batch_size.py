"""The batch size that `auto` stands for: what fits with room to spare, and enough steps an epoch."""

from __future__ import annotations

import pytest
import torch

from astroclf.engine import batch_size
from astroclf.engine.batch_size import batch_size_limit, fitting_batch_size
from astroclf.errors import TrainingError
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.classifier import Classifier
from astroclf.models.precision import choose_precision
from astroclf.settings.training import TrainerSettings
from tests.on_gpu import gpu
from tests.settings.defaults import default
from tests.tiny import Tiny


def fitting(images: int = 10**6, device: str = "cpu", network=None, **settings) -> int:
    return fitting_batch_size(
        network or Classifier(Tiny(), 3),
        Criterion(CrossEntropy([1, 1, 1])).to(device),
        choose_precision("fp32", torch.device(device)),
        default(TrainerSettings, ema_decay=0.9, **settings),
        (3, 16, 16),
        3,
        images,
        prepare=lambda model: model.to(device),
        make_optimizer=lambda model: torch.optim.AdamW(model.parameters()),
    )


@pytest.mark.parametrize(
    ("images", "accumulated", "device", "most"),
    [
        (10**6, 1, "cuda", 1024),
        (10**6, 1, "cpu", 64),
        (2000, 1, "cuda", 64),  # 100 would be 20 steps an epoch
        (2000, 4, "cuda", 16),
        (90, 1, "cuda", 8),
        (5, 1, "cpu", 4),
        (1, 1, "cpu", 2),
    ],
)
def test_an_epoch_keeps_twenty_steps(images, accumulated, device, most):
    assert batch_size_limit(images, accumulated, torch.device(device)) == most


def test_real_steps_leave_network_and_random_numbers_as_they_were():
    network, random = Classifier(Tiny(), 3), torch.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert fitting(images=700, network=network) == 32
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(("megabytes", "found"), [(100, 64), (70, 32), (19, 8)])
def test_on_a_cpu_a_size_is_tried_only_if_twice_the_memory_of_its_half_is_free(monkeypatch, megabytes, found):
    tried = []

    def taken(step, batch, before):
        tried.append(len(batch.labels_B))
        return len(batch.labels_B) * 10**6

    monkeypatch.setattr(batch_size, "_bytes_of_steps", taken)
    monkeypatch.setattr(batch_size, "_free_bytes", lambda device: megabytes * 10**6)
    assert fitting() == found
    assert tried[-1] == found


class Greedy(Tiny):
    """Runs out of memory from some batch on."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, images_BCHW):
        if len(images_BCHW) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(images_BCHW)


def test_running_out_of_memory_ends_the_search_and_less_than_the_least_is_an_error():
    assert fitting(network=Classifier(Greedy(16), 3)) == 16
    with pytest.raises(TrainingError, match=r"Not even a batch of 8 images of 16 x 16 px.*grad_checkpointing"):
        fitting(network=Classifier(Greedy(4), 3))


@gpu
def test_on_a_gpu_it_fits_and_leaves_nothing_taken():
    fitting(images=100, device="cuda")  # libraries start, and keep the memory that they work in
    before = torch.cuda.memory_allocated()
    assert fitting(device="cuda") == 1024
    assert torch.cuda.memory_allocated() == before
