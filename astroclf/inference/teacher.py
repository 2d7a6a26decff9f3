"""Models that answer as one about the pixels that another network is being trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from astroclf.data.augment.plan import per_band
from astroclf.data.augment.recipe import Augmentation
from astroclf.inference.predictor import Predictor


class Teacher:
    """The mean of what some networks say of images that are augmented and normalised for a student.

    It is what the networks themselves say, of the one view that is shown: before calibration, without test-time views.

    Parameters
    ----------
    members
        On the student's device.
    classes
        Of the student, in its label order; the members know the same.
    augmentation
        Of the student, whose normalisation the images have; members that have another get theirs.
    """

    def __init__(self, members: Sequence[Predictor], classes: Sequence[str], augmentation: Augmentation) -> None:
        self._members = []
        for member in members:
            channels, own = member.spec.channels, member.augmentation
            device = member.device
            mean, std, own_mean, own_std = (
                torch.from_numpy(per_band(recipe, name, channels).copy()).float().view(-1, 1, 1).to(device)
                for recipe in (augmentation, own)
                for name in ("mean", "std")
            )
            factor, shift = std / own_std, (mean - own_mean) / own_std
            same = bool((factor == 1).all() and (shift == 0).all())
            order = torch.tensor([member.classes.index(name) for name in classes], device=device)
            self._members.append((member, None if same else (factor, shift), order))

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Compute the mean probabilities, (B, C) float32, without gradients."""
        said = []
        for member, normalisation, order in self._members:
            own_BCHW = images_BCHW
            if normalisation is not None:
                factor, shift = normalisation
                own_BCHW = images_BCHW * factor + shift
            said.append(member.say(own_BCHW)[:, order])
        return torch.stack(said).mean(dim=0)
