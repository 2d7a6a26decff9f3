"""Which parts of a pretrained backbone do not train, as a function of the step: a resumed run needs nothing else."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from astroclf.errors import ConfigError
from astroclf.models.backbone import stages_of
from astroclf.models.classifier import Classifier
from astroclf.settings.training import FinetuneSettings


class Freezing:
    """The stages of a backbone that stay as they are, for some steps or for good.

    Their weights get no gradient: no optimizer changes them, and where everything below is frozen no backward pass
    goes there. Their BatchNorm normalises by its stored statistics, as in evaluation, and leaves them as they are.

    Parameters
    ----------
    network : Classifier
        Whose optimizer is made already: it is over all parameters, as they may train later.
    settings : FinetuneSettings
    steps_per_epoch : int
        Optimizer steps.

    Raises
    ------
    ConfigError
        The backbone has fewer stages than are to be frozen.
    """

    def __init__(self, network: Classifier, settings: FinetuneSettings, steps_per_epoch: int) -> None:
        self._network, self._settings = network, settings
        stages = stages_of(network.backbone)
        count = len(stages) if settings.freeze == "all" else int(settings.freeze)
        if count > len(stages):
            raise ConfigError(
                f"finetune.freeze={count} is more than this backbone has: {len(stages)} stages. Take fewer, or all."
            )
        names = {name for stage in stages[:count] for name in stage}
        own = dict(network.backbone.named_parameters())
        self._weights = [own[name] for name in sorted(names)]
        norms = {name: layer for name, layer in network.backbone.named_modules() if isinstance(layer, _BatchNorm)}
        self._norms = [*norms.values()]
        self._frozen_norms = [norm for name, norm in norms.items() if _is_of(name, norm, names, count == len(stages))]
        self.until = math.inf if settings.freeze_epochs is None else round(settings.freeze_epochs * steps_per_epoch)

    def apply(self, step: int) -> None:
        """Set what trains in the optimizer step number `step` (the first is 0), and what does not.

        To be called before each step: setting the network to training mode frees its norms.
        """
        frozen = step < self.until
        for weight in self._weights:
            weight.requires_grad_(not frozen)
        still = self._norms if self._settings.frozen_norms else self._frozen_norms if frozen else []
        training = self._network.training
        for norm in self._norms:
            norm.train(training)
        for norm in still:
            norm.eval()


def _is_of(name: str, norm: nn.Module, frozen: set[str], whole: bool) -> bool:
    """Return whether a norm is of a frozen stage: by its weights, and one without any where all stages are."""
    own = [f"{name}.{each}" for each, _ in norm.named_parameters(recurse=False)]
    return set(own) <= frozen if own else whole
