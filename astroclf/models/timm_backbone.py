"""Any network of timm as a backbone, with random weights, its own pretrained ones, or those of a file."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from astroclf.errors import ConfigError, WeightsError
from astroclf.models.backbone import DataConfig, TokenLayer
from astroclf.models.hub import hub_network
from astroclf.models.weights import NO_PRETRAINED, load_into, read_state, with_channels
from astroclf.util.lazy import lazy_import
from astroclf.util.text import closest

if TYPE_CHECKING:
    import timm
    from timm import data as timm_data
    from timm import models as timm_models
else:
    timm = lazy_import("timm")  # 2 s to import
    timm_data = lazy_import("timm.data")
    timm_models = lazy_import("timm.models")

HUB = ("hf_hub:", "hf-hub:")  # what timm calls a network of the Hugging Face hub
PIXELS = 32  # sizes that are proposed in place of one that a network does not take are multiples
_OWN = "network."  # before timm's names of parameters


class Timm(nn.Module):
    """A network of timm without its classifier: pooled features of an image.

    Parameters
    ----------
    image_size : int
        Side of the images in pixels. Networks that are made for one size are made for this one.
    name : str
        Of the architecture, with or without the tag of its weights: ``convnext_nano.in12k_ft_in1k``.
    channels : int
        Channels of an image.
    weights : str or None
        ``imagenet``: the weights that timm has under that name and tag, from the Hugging Face hub, whatever they were
        trained on. ``hf_hub:OWNER/MODEL``: of any network there of this architecture. A path: a file of timm's, or an
        astroclf checkpoint. None: timm's initialisation.
    grad_checkpointing : bool
        Compute activations again in the backward pass: less memory, about a third more time.
    drop_path : float
        Stochastic depth (Huang et al. 2016, arXiv:1603.09382): probability of leaving a block out, rising with depth
        up to this.

    Attributes
    ----------
    data_config : DataConfig
        How the images were prepared that the weights of this name were trained on.

    Raises
    ------
    ConfigError
        There is no such network, or it takes no images of this size, no checkpointing or no stochastic depth.
    WeightsError
        The weights cannot be fetched or read, or do not fit.
    """

    def __init__(
        self,
        image_size: int,
        name: str,
        channels: int = 3,
        weights: str | None = None,
        grad_checkpointing: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check_name(name)
        self.network: Any
        self._channels, self._grad_checkpointing = channels, False
        self.network, self.num_features = _created(name, image_size, channels, drop_path)
        self.data_config = _data_config(self.network)
        if weights is not None:
            self._load(weights, name, image_size)
        self.grad_checkpointing = grad_checkpointing

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Compute features (B, num_features)."""
        return self.network(images_BCHW)

    @property
    def grad_checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass."""
        return self._grad_checkpointing

    @grad_checkpointing.setter
    def grad_checkpointing(self, enable: bool) -> None:
        """Let activations be computed again, or not."""
        self._grad_checkpointing = enable
        if not enable:
            return
        try:
            self.network.set_grad_checkpointing(self.training)
        except (AssertionError, AttributeError) as error:
            raise ConfigError(
                f"backbone.grad_checkpointing=true: timm has none for {self.network.pretrained_cfg['architecture']}. "
                "Halve trainer.batch_size and double trainer.grad_accum_steps instead."
            ) from error
        for layer in self.network.modules():
            if isinstance(layer, _BatchNorm) and not layer._forward_pre_hooks:
                layer.register_forward_pre_hook(_count_no_batch_twice)
                layer.register_forward_hook(_count_again, always_call=True)  # it may be stopped half-way

    def train(self, mode: bool = True) -> Timm:
        """Set training or evaluation mode; only the first computes activations again."""
        super().train(mode)
        if self._grad_checkpointing:
            self.network.set_grad_checkpointing(mode)
        return self

    def stages(self) -> list[list[str]]:
        """Return the names of the parameters by stage, from input to output, as timm groups them where it does."""
        if hasattr(self.network, "group_matcher"):
            groups = timm_models.group_parameters(self.network, self.network.group_matcher(coarse=True))
            stages = [[f"{_OWN}{name}" for name in groups[number]] for number in sorted(groups)]
        else:  # by its parts, of a list of parts each
            parts: dict[str, list[str]] = {}
            for name, _ in self.network.named_parameters():
                part = re.match(r"\w+(\.\d+)?", name)
                parts.setdefault(part[0] if part else name, []).append(f"{_OWN}{name}")
            stages = [*parts.values()]
        shapes = {name: parameter.ndim for name, parameter in self.named_parameters()}
        if len(stages) > 1 and all(shapes[name] <= 1 for name in stages[-1]):  # the norm after the last stage
            stages[-2:] = [stages[-2] + stages[-1]]
        return stages

    def no_weight_decay(self) -> set[str]:
        """Return the names of further parameters that timm spares from weight decay: positions, tokens."""
        spared = self.network.no_weight_decay() if hasattr(self.network, "no_weight_decay") else ()
        return {f"{_OWN}{name}" for name in spared}

    def token_layer(self) -> TokenLayer | None:
        """Return the layer before the last attention of a transformer of one grid; None of any other network."""
        blocks = getattr(self.network, "blocks", None)
        layer = getattr(blocks[-1], "norm1", None) if isinstance(blocks, (nn.Sequential, nn.ModuleList)) else None
        grid = getattr(getattr(self.network, "patch_embed", None), "grid_size", None)
        if layer is None or grid is None:
            return None
        return TokenLayer(layer, tuple(grid))

    def _load(self, weights: str, name: str, image_size: int) -> None:
        if weights == "imagenet":
            state = self._pretrained(name, image_size)
        elif weights.startswith(HUB):
            state = self._from_hub(weights, name, image_size)
        else:
            state = self._of_file(weights, name, image_size)
        state = {f"{_OWN}{key}": value for key, value in self._fitted(state).items()}
        load_into(self, state, "", weights)

    def _pretrained(self, name: str, image_size: int) -> Mapping[str, Tensor]:
        """Return the weights that timm has for a name."""
        config = _config_of(name)
        if not config.has_weights:
            others = timm.list_pretrained(f"{name.partition('.')[0]}.*")[:3]
            there = f"These have: {', '.join(f'backbone.name={each}' for each in others)}. " if others else ""
            raise WeightsError(
                f"timm has no pretrained weights of {name}. {there}{NO_PRETRAINED}backbone.weights=FILE."
            )
        return hub_network(name, config.hf_hub_id or config.url, **_for_size(name, image_size)).state_dict()

    def _from_hub(self, weights: str, name: str, image_size: int) -> Mapping[str, Tensor]:
        """Return the weights of a network of the hub, whose normalisation is taken over with them."""
        hub, architecture = weights.partition(":")[2], name.partition(".")[0]
        found: Any = hub_network(f"hf-hub:{hub}", hub, **_for_size(name, image_size))
        if (other := found.pretrained_cfg["architecture"]) != architecture:
            raise WeightsError(
                f"backbone.weights={weights} are of {other}, not of {architecture}: give backbone.name={other}."
            )
        self.data_config = _data_config(found)
        return found.state_dict()

    def _of_file(self, weights: str, name: str, image_size: int) -> Mapping[str, Tensor]:
        """Return the weights of a file, resized where they were trained on images of another size."""
        own, classifiers = self.network.state_dict(), self.network.pretrained_cfg.get("classifier") or ()
        classifiers = (classifiers,) if isinstance(classifiers, str) else classifiers
        without = {f"{each}.{kind}" for each in classifiers for kind in ("weight", "bias")}
        state = {key.removeprefix(_OWN): value for key, value in read_state(weights).items()}
        state = self._fitted({key: value for key, value in state.items() if key in own or key not in without})
        if own.keys() - state.keys() or all(state[key].shape == value.shape for key, value in own.items()):
            return state
        try:
            found = timm.create_model(
                name,
                pretrained=True,
                pretrained_cfg_overlay={"state_dict": state},
                in_chans=self._channels,
                num_classes=0,
                **_for_size(name, image_size),
            )
        except (RuntimeError, KeyError, AssertionError):  # timm cannot resize them: it is told which do not fit
            return state
        return found.state_dict()

    def _fitted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fit the kernels of first convolutions to the number of image channels; all else stays as it is.

        A stem that takes blocks of pixels as channels has a multiple of them, those of the image innermost.
        """
        own, fitted = self.network.state_dict(), dict(state)
        for name, kernel in state.items():
            wanted = own[name].shape if name in own else kernel.shape
            if kernel.ndim != 4 or len(wanted) != 4 or (kernel.shape[0], *kernel.shape[2:]) != (wanted[0], *wanted[2:]):
                continue
            blocks = max(1, wanted[1] // self._channels)
            if wanted[1] != kernel.shape[1] and kernel.shape[1] % blocks == 0:
                by_block = kernel.reshape(-1, kernel.shape[1] // blocks, *kernel.shape[2:])
                fitted[name] = with_channels(by_block, self._channels).reshape(wanted)
        return fitted


def _config_of(name: str) -> Any:
    """Return what timm knows of the weights of a name."""
    return timm.get_pretrained_cfg(name)


def _data_config(network: nn.Module) -> DataConfig:
    found = timm_data.resolve_model_data_config(network)
    return DataConfig(tuple(found["mean"]), tuple(found["std"]), int(found["input_size"][-1]))


def _check_name(name: str) -> None:
    """Refuse a name that is none of timm's: nothing else is looked up, and nothing fetched for it."""
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        close = closest(architecture, known)
        meant = f"Did you mean {' or '.join(close)}?" if close else "timm.list_models() has their names."
        raise ConfigError(f"backbone.name={name} is no network of timm {timm.__version__}. {meant}")
    tags = [each.partition(".")[2] for each in timm.list_models(f"{architecture}.*", include_tags=True)]
    if tag and tag not in tags:
        close = closest(tag, tags) or tags
        meant = ", ".join(f"{architecture}.{each}" for each in close[:6] if each)
        raise ConfigError(f"backbone.name={name}: timm knows no weights {tag} of {architecture}. There are {meant}.")


def _for_size(name: str, image_size: int) -> dict[str, Any]:
    """Return what timm is told of the size of the images; nothing where a network takes any."""
    return {"img_size": image_size} if _config_of(name).fixed_input_size else {}


def _created(name: str, image_size: int, channels: int, drop_path: float) -> tuple[nn.Module, int]:
    """Make the network with random weights, nothing being fetched; return it with the number of its features.

    Raises
    ------
    ConfigError
        It takes no images of this size, or has no stochastic depth.
    """
    stochastic = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        return _sound(name, image_size, channels, **stochastic)
    except _WrongSize as error:
        config = _config_of(name)
        below = image_size // PIXELS * PIXELS
        tried = dict.fromkeys(
            size for size in (below, below + PIXELS, config.input_size[-1]) if size not in (0, image_size)
        )
        good = " or ".join(str(size) for size in tried if _takes(name, size, channels))
        raise ConfigError(
            f"backbone.name={name} takes no images of {image_size} x {image_size} px: {error}. Set dataset.image_size "
            f"to {good or 'another size'}, or augment.output_size, to which the stored images are scaled."
        ) from error
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise ConfigError(
            f"backbone.drop_path={drop_path:g}: {name} has no stochastic depth; leave it at 0."
        ) from error


class _WrongSize(Exception):
    """A network takes no images of a size; the message is the reason, in one clause."""


def _sound(name: str, image_size: int, channels: int, **options: Any) -> tuple[nn.Module, int]:
    """Make a network that takes images of a size: tried by one pass whose tensors have shapes and no content."""
    try:
        network = timm.create_model(name, in_chans=channels, num_classes=0, **_for_size(name, image_size), **options)
        patch = getattr(getattr(network, "patch_embed", None), "patch_size", None) or 1
        side = max(patch) if isinstance(patch, tuple) else patch
        if _for_size(name, image_size) and image_size % side:
            raise ValueError(
                f"its patches are {side} px large"
            )  # timm cuts the rest off at two sides, and says nothing
        with torch.no_grad():
            shapes_only = copy.deepcopy(network).to("meta").eval()
            features_BF = shapes_only(torch.empty(1, channels, image_size, image_size, device="meta"))
    except TypeError:
        raise
    except Exception as error:  # of whatever kind its layers raise
        raise _WrongSize(re.split(r"\n|\. ", str(error).strip())[0].rstrip(".") or type(error).__name__) from error
    if not isinstance(features_BF, Tensor) or features_BF.ndim != 2:
        raise ConfigError(f"backbone.name={name} is no network that makes features of a whole image.")
    return network, int(features_BF.shape[1])


def _takes(name: str, image_size: int, channels: int) -> bool:
    try:
        _sound(name, image_size, channels)
    except _WrongSize:
        return False
    return True


def _count_no_batch_twice(norm: Any, _: tuple[Tensor, ...]) -> None:
    """Keep BatchNorm from counting a batch into its statistics again while checkpointing computes it anew.

    It is computed anew inside of a backward pass, where no forward pass has any other business.
    """
    if norm.training and not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        norm.__dict__["_kept"] = (norm.momentum, norm.num_batches_tracked)
        norm.momentum, norm.num_batches_tracked = 0.0, None


def _count_again(norm: Any, _: tuple[Tensor, ...], __: Tensor) -> None:
    if "_kept" in norm.__dict__:
        norm.momentum, norm.num_batches_tracked = norm.__dict__.pop("_kept")
