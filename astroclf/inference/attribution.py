"""Where a network looked: heat maps of a class, a check of them by hiding parts, and what the feature gate does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.data.augment.dihedral import dihedral_views, undone_views
from astroclf.errors import ConfigError
from astroclf.models.backbone import token_layer_of
from astroclf.models.classifier import Classifier, probabilities
from astroclf.util.lazy import lazy_import
from astroclf.util.pictures import as_rgb

if TYPE_CHECKING:
    from captum import attr as captum_attr
    from scipy import stats

    from astroclf.inference.predictor import Predictor
else:
    captum_attr = lazy_import("captum.attr")
    stats = lazy_import("scipy.stats")

FINE_CELLS = 7  # to a side of a map that still shows where something is
CELLS = 8  # to a side, in which a heat map and the hidden parts are compared
HIDDEN_CELLS = 2  # side of a hidden part, in cells: it moves by one
SHUT = 0.1  # a gate below lets next to nothing of its feature through
OVERLAY = 0.45  # weight of the colors where the heat is greatest


@dataclass(frozen=True)
class Attributions:
    """Where a network looked in N images, each for one class.

    Attributes
    ----------
    seen_NHWC : uint8
        The images as the network gets them: cropped and scaled, before they are normalised.
    maps_NHW : float32
        Of the same size: parts of the strongest that speaks for the class or against it anywhere in the image, from 0
        to 1. Nearly all 0 where little speaks for the class.
    agreement_N : float, optional
        Rank correlation of the map with what hiding each part costs the class; NaN where either is flat.
    """

    seen_NHWC: np.ndarray
    maps_NHW: np.ndarray
    agreement_N: np.ndarray | None = None


@dataclass(frozen=True)
class GateEffect:
    """What the gate over the features (``head.attention``) does to N images.

    Attributes
    ----------
    mean : float
        Of all gates of all images: 0 shuts a feature out, 1 lets it through.
    shut : float
        The share of gates below 0.1.
    varying : float
        Standard deviation of a feature's gate over the images, the mean over the features: 0 is no gate, but a weight.
    changed_labels : float
        The share of images that get another label when all gates are open.
    changed_probability : float
        The mean change in the probability of the label, as a number from 0 to 1.
    """

    mean: float
    shut: float
    varying: float
    changed_labels: float
    changed_probability: float


class _Logits(nn.Module):
    """The class scores of a network alone, as captum wants them."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.network(images_BCHW).logits_BC


def attribute(
    predictor: Predictor,
    images_NHWC: np.ndarray,
    classes_N: np.ndarray,
    *,
    occlusion: bool = False,
    batch_size: int = 32,
) -> Attributions:
    """Find where a model looked, image by image, by the element-wise form of Grad-CAM.

    Each of a layer's maps is multiplied by its gradient (HiResCAM, Draelos & Carin 2020, arXiv:2011.08891), what speaks
    for the class is kept, and the mean over the eight symmetries of the square is taken. At the last maps of a network
    that averages them this is Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391); unlike that, it can be read from
    earlier maps, which small images need: `last_maps` chooses the layer. The map is enlarged smoothly.

    Parameters
    ----------
    images_NHWC : (N, S, S, C) uint8
        Prepared images, as `Predictor.classify` takes them.
    classes_N : (N,) int
        The class that each is asked about.
    occlusion : bool
        Whether to check each map by hiding parts of the image: 49 passes more (Zeiler & Fergus 2014, arXiv:1311.2901).

    Raises
    ------
    ConfigError
        The backbone has no layer that gives maps.
    """
    network = predictor.model
    layer = last_maps(predictor)
    logits = _Logits(network)
    seen, maps, agreement = [], [], []
    for images_BCHW, classes_B in _batches(predictor, images_NHWC, classes_N, batch_size):
        explained = captum_attr.LayerGradientXActivation(logits, layer)
        heat_BHW = _heat(explained, network.backbone, images_BCHW, classes_B)
        maps.append(heat_BHW)
        seen.append(predictor.augmentation.to_uint8(images_BCHW))
        if occlusion:
            costs_BHW = _costs_of_hiding(logits, images_BCHW, classes_B)
            agreement.append(np.array([_rank_correlation(*pair) for pair in zip(heat_BHW, costs_BHW, strict=True)]))
    return Attributions(np.concatenate(seen), np.concatenate(maps), np.concatenate(agreement) if occlusion else None)


def _heat(explained: Any, backbone: nn.Module, images_BCHW: Tensor, classes_B: Tensor) -> np.ndarray:
    """Compute the map of each image, the mean over its views, as parts of its strongest evidence: (B, H, W).

    That may be evidence against the class: else the noise of an empty sky would be red where the object is against it.
    """
    views = list(dihedral_views(images_BCHW))
    with torch.enable_grad():
        found = [explained.attribute(view_BCHW, target=classes_B) for view_BCHW in views]
    maps = [_as_maps(values, backbone).sum(dim=1, keepdim=True) for values in found]
    upright_VB1hw = torch.stack(list(undone_views([map_B1hw.detach().float() for map_B1hw in maps])))
    heat_B1HW, against_B1HW = (
        F.interpolate(part_VB1hw.clamp_min(0).mean(dim=0), images_BCHW.shape[2:], mode="bilinear")
        for part_VB1hw in (upright_VB1hw, -upright_VB1hw)
    )
    peak_B111 = torch.maximum(heat_B1HW, against_B1HW).amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(peak_B111 > 0, heat_B1HW / peak_B111.clamp_min(1e-30), heat_B1HW)[:, 0].cpu().numpy()


def _as_maps(values: Tensor, backbone: nn.Module) -> Tensor:
    """Lay out what a layer gives as maps (B, C, H, W): of tokens those of the image, and channels before positions."""
    tokens = token_layer_of(backbone)
    if values.ndim == 3 and tokens is not None:
        rows, columns = tokens.grid
        return values[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
    channels_last = values.shape[1] == values.shape[2] != values.shape[3]  # images are square, and so are their maps
    return values.permute(0, 3, 1, 2) if channels_last else values


@torch.inference_mode()
def last_maps(predictor: Predictor) -> nn.Module:
    """Find the last layer of a model's backbone whose maps are still fine enough to show where something is.

    It is the last to give maps of 7 by 7 or more, as ResNet18's fourth stage does of images of 224 pixels and its
    second of 64. Where no layer does, it is the first to give the finest that there are. A transformer's is the last
    one whose tokens decide the answer.

    Raises
    ------
    ConfigError
        No layer gives maps, (B, channels, rows, columns).
    """
    backbone, spec = predictor.model.backbone, predictor.spec
    if (tokens := token_layer_of(backbone)) is not None:
        return tokens.layer
    given: list[tuple[int, nn.Module]] = []  # the shorter side of its maps, in the order in which they are computed

    def look(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and len(output) == 1:
            rows, columns = _as_maps(output, backbone).shape[2:]
            if rows == columns:  # others are no maps of a square image, but tokens by heads
                given.append((rows, layer))

    handles = [layer.register_forward_hook(look) for layer in backbone.modules()]
    try:
        pixels_BHWC = torch.zeros(1, spec.image_size, spec.image_size, spec.channels, dtype=torch.uint8)
        predictor.model(predictor.augmentation(pixels_BHWC.to(predictor.device), None))
    finally:
        for handle in handles:
            handle.remove()
    if not given:
        raise ConfigError(
            f"{type(backbone).__name__} has no layer that gives maps (batch, channels, rows, columns), so nothing can "
            "be said of where it looked."
        )
    fine = [layer for side, layer in given if side >= FINE_CELLS]
    return fine[-1] if fine else max(given, key=lambda found: found[0])[1]


@torch.inference_mode()
def gate_effect(predictor: Predictor, images_NHWC: np.ndarray, batch_size: int = 32) -> GateEffect | None:
    """Compare a model's answers with and without the gate over its features; None where it has none.

    Parameters
    ----------
    images_NHWC : (N, S, S, C) uint8
        Prepared images, as `Predictor.classify` takes them.
    """
    gate = predictor.model.attention
    if gate is None:
        return None
    gates: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        gates.append(gate.gate(inputs[0]).sigmoid().cpu())

    given_NC = _probabilities(predictor, images_NHWC, batch_size, record)
    opened_NC = _probabilities(predictor, images_NHWC, batch_size, lambda _, inputs, __: inputs[0])
    gates_NF, labels_N1 = torch.cat(gates), given_NC.argmax(dim=1, keepdim=True)
    return GateEffect(
        mean=float(gates_NF.mean()),
        shut=float((gates_NF < SHUT).float().mean()),
        varying=float(gates_NF.std(dim=0, correction=0).mean()),
        changed_labels=float((opened_NC.argmax(dim=1, keepdim=True) != labels_N1).float().mean()),
        changed_probability=float((opened_NC - given_NC).gather(1, labels_N1).abs().mean()),
    )


def _probabilities(
    predictor: Predictor, images_NHWC: np.ndarray, batch_size: int, hook: Callable[..., Tensor | None]
) -> Tensor:
    """Compute the network's own probabilities of the plain images, (N, C), with a hook on its gate."""
    network = predictor.model
    assert network.attention is not None
    handle = network.attention.register_forward_hook(hook)
    try:
        unasked_N = np.zeros(len(images_NHWC), np.int64)
        said = [
            probabilities(network(images_BCHW).logits_BC, predictor.spec.activation)
            for images_BCHW, _ in _batches(predictor, images_NHWC, unasked_N, batch_size)
        ]
    finally:
        handle.remove()
    return torch.cat(said).cpu()


def overlay(seen_HWC: np.ndarray, map_HW: np.ndarray) -> np.ndarray:
    """Lay a heat map over its image, blue where it is 0 and red where it is 1: (H, W, 3) uint8."""
    picture = as_rgb(seen_HWC).astype(np.float32)
    heat = np.rint(np.clip(map_HW, 0, 1) * 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB).astype(np.float32)
    return np.rint((1 - OVERLAY) * picture + OVERLAY * colors).astype(np.uint8)


def _batches(
    predictor: Predictor, images_NHWC: np.ndarray, classes_N: np.ndarray, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images as the network takes them, with their classes, on its device."""
    for start in range(0, len(images_NHWC), batch_size):
        part = slice(start, start + batch_size)
        pixels_BHWC = torch.from_numpy(np.ascontiguousarray(images_NHWC[part])).to(predictor.device)
        classes_B = torch.from_numpy(np.asarray(classes_N[part], np.int64)).to(predictor.device)
        yield predictor.augmentation(pixels_BHWC, None), classes_B


def _costs_of_hiding(logits: nn.Module, images_BCHW: Tensor, classes_B: Tensor) -> np.ndarray:
    """Compute how much the score of the class falls where a part is hidden behind the image's median, (B, H, W)."""
    channels, *sides = images_BCHW.shape[1:]
    steps = [max(1, side // CELLS) for side in sides]
    windows = [min(side, HIDDEN_CELLS * step) for side, step in zip(sides, steps, strict=True)]
    median_BC11 = images_BCHW.flatten(2).median(dim=2).values[..., None, None]
    with torch.no_grad():
        costs_BCHW = captum_attr.Occlusion(logits).attribute(
            images_BCHW,
            sliding_window_shapes=(channels, *windows),
            strides=(channels, *steps),
            baselines=median_BC11.expand_as(images_BCHW),
            target=classes_B,
        )
    return costs_BCHW[:, 0].float().cpu().numpy()


def _rank_correlation(heat_HW: np.ndarray, costs_HW: np.ndarray) -> float:
    """Compute Spearman's correlation of two maps over `CELLS` by `CELLS` cells; NaN where one of them is flat."""
    cells = [
        cv2.resize(np.ascontiguousarray(values), (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
        for values in (heat_HW, costs_HW)
    ]
    if any(np.ptp(values) == 0 for values in cells):
        return float("nan")
    return float(stats.spearmanr(*cells).statistic)
