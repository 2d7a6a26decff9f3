"""Training in batches of one or two images, and with a rest of one: refused before it begins, or sound to the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.engine.schedule import Constant
from astroclf.engine.state import planned_steps
from astroclf.engine.trainer import Trainer
from astroclf.errors import ConfigError
from astroclf.evaluation.forward import Validation, evaluate
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.blocks import single_valued_norm
from astroclf.models.classifier import Classifier
from astroclf.models.precision import choose_precision
from astroclf.settings.components import locate
from astroclf.settings.training import TrainerSettings
from astroclf.tracking.none import NullTracker
from tests.backbones import EVERY_BACKBONE, backbone_options
from tests.data.augment.recipes import recipe
from tests.settings.defaults import default

SIZE, TRAIN_IMAGES = 33, 5  # 33 pixels leave ResNet18's last maps 2x2, so that one image has a variance there
NORMED = {"timm": {"name": "test_efficientnet"}}  # BatchNorm all over, but none of it behind the pooling
SIZES = {"resnet18_d4": 64}  # halves only what is even
HEADS = {
    "plain": {},
    "refined": {"refinement": True, "attention": True, "uncertainty": True, "hidden": 16},
}


def backbone_of(name: str, grad_checkpointing: bool, image_size: int) -> nn.Module:
    options = backbone_options(name) | NORMED.get(name, {}) | {"grad_checkpointing": grad_checkpointing}
    torch.manual_seed(0)
    return locate("backbone", options.pop("_target_"))(image_size=image_size, **options)


def network_of(backbone: str, head: str, grad_checkpointing: bool) -> Classifier:
    size = SIZES.get(backbone, SIZE)
    return Classifier(backbone_of(backbone, grad_checkpointing, size), 2, **HEADS[head])


def trainer_of(network: Classifier, folder: Path, batch_size: int, grad_accum_steps: int, size: int = SIZE) -> Trainer:
    labels = np.arange(TRAIN_IMAGES + 1) % 2
    pictures = np.random.default_rng(0).integers(100, 256, (len(labels), size, size, 3), dtype=np.uint8)
    pixels, rows = PixelBuffer(pictures, "memory"), np.arange(len(labels))
    loaders = [
        BatchLoader(pixels, labels, part, batch_size=batch_size, augmentation=recipe(), seed=0, train=train)
        for part, train in ((rows[:-1], True), (rows[-1:], False))  # validation has one image
    ]
    settings = default(
        TrainerSettings, epochs=1, batch_size=batch_size, grad_accum_steps=grad_accum_steps, precision="fp32"
    )
    criterion, precision = Criterion(CrossEntropy([3, 2])), choose_precision("fp32", torch.device("cpu"))
    return Trainer(
        network,
        criterion,
        loaders[0],
        Validation(criterion, loaders[1], precision, ("a", "b")),
        torch.optim.SGD(parameter_groups(network, 0.0), lr=1e-3),
        Constant(peak_lr=1e-3, total_steps=planned_steps(settings, len(loaders[0]))),
        precision,
        settings,
        folder,
        NullTracker(),
    )


@pytest.mark.parametrize(
    ("head", "batch_size", "grad_accum_steps"),
    [
        ("plain", 1, 1),  # its norms in larger batches are among those of the other
        ("refined", 1, 1),
        ("refined", 2, 1),
        ("refined", 4, 1),
        ("refined", 2, 2),
    ],
)
@pytest.mark.parametrize("backbone", EVERY_BACKBONE)
@pytest.mark.usefixtures("seeded_and_single_threaded")
def test_every_statistic_moves_once_a_batch_or_the_batch_is_refused(
    tmp_path: Path, backbone: str, head: str, batch_size: int, grad_accum_steps: int
) -> None:
    """Of five images, batches of two and of four leave a rest of one."""
    network = network_of(backbone, head, grad_checkpointing=grad_accum_steps > 1)
    size = SIZES.get(backbone, SIZE)
    starved = single_valued_norm(network, size, 3)
    if batch_size == 1 and starved is not None:
        assert starved == "refinement.1"
        assert head == "refined"
        return
    trainer = trainer_of(network, tmp_path, batch_size, grad_accum_steps, size)
    norms = {name: layer for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)}
    before = {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()}
    assert np.isfinite(trainer.fit().best["val/loss"])

    for name, norm in norms.items():
        assert int(norm.num_batches_tracked) == TRAIN_IMAGES // batch_size, name
        for moved, start in zip((norm.running_mean, norm.running_var), before[name], strict=True):
            assert (moved != start).float().mean() > 0.5, name
    assert all(bool(torch.isfinite(buffer).all()) for buffer in network.buffers())


@pytest.mark.usefixtures("seeded_and_single_threaded")
def test_evaluation_after_batches_of_one_goes_by_what_training_saw(tmp_path: Path) -> None:
    """With statistics left as they began, features would be normalised by a mean of 0 and a variance of 1."""
    network = network_of("resnet18", "plain", grad_checkpointing=False)
    trainer = trainer_of(network, tmp_path, batch_size=1, grad_accum_steps=1)
    seen: list[torch.Tensor] = []
    hook = network.backbone.bn1.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    network.train()
    for _ in range(12):  # epochs of the same five pictures, without a step: the running mean settles
        for batch in trainer.train_loader.epoch(0):
            network(batch.images_BCHW)
    hook.remove()
    mean = torch.cat(seen[-TRAIN_IMAGES:]).mean(dim=(0, 2, 3))
    norm = network.backbone.bn1
    assert (norm.running_mean - mean).abs().max() < 0.2 * mean.abs().max()
    arguments = (trainer.criterion, trainer.validate.loader, trainer.precision, ("a", "b"))
    sound = evaluate(network, *arguments).losses["loss"]
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
    assert abs(evaluate(network, *arguments).losses["loss"] - sound) > 0.1 * sound


@pytest.mark.parametrize("backbone_name", EVERY_BACKBONE)
@pytest.mark.usefixtures("seeded_and_single_threaded")
def test_a_layer_is_named_where_torch_would_raise(backbone_name: str) -> None:
    for image_size in (8, 32, 33):
        try:
            backbone = backbone_of(backbone_name, grad_checkpointing=True, image_size=image_size)
        except ConfigError:  # a size that this network does not take
            assert image_size != 32
            continue
        for head in HEADS.values():
            network = Classifier(backbone, 2, **head)
            before = {name: value.clone() for name, value in network.state_dict().items()}
            layer = single_valued_norm(network, image_size, 3)
            assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
            try:
                network.train()(torch.randn(1, 3, image_size, image_size))
            except ValueError:
                assert isinstance(network.get_submodule(str(layer)), nn.modules.batchnorm._BatchNorm)
            else:
                assert layer is None
