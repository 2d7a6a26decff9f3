"""Cross entropy over a softmax, with optional label smoothing and class balance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.losses.class_weights import class_weights


class CrossEntropy(nn.Module):
    """The usual loss of a classifier, computed in float32.

    With soft labels t it is ``-sum_c t_c log p_c``: the mean over the votes of the loss that each as label gives.

    Parameters
    ----------
    class_counts : (C,) int
        Training samples of each class.
    beta : float
        Class balance, see `class_weights`; the true class's weight multiplies the sample's loss. 0: none. Also with
        soft labels, that is the class of the label.
    label_smoothing : float
        Share of the truth, hard or soft, spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    """

    activation = "softmax"

    def __init__(
        self, class_counts: Sequence[int] | np.ndarray | Tensor, beta: float = 0.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be at least 0 and below 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing
        self.weights_C: Tensor
        self.register_buffer("weights_C", class_weights(class_counts, beta), persistent=False)

    def forward(self, logits_BC: Tensor, labels_B: Tensor, targets_BC: Tensor | None = None) -> Tensor:
        """Compute the loss of each sample, (B,) float32, against its label or, if given, its soft label."""
        truth = labels_B if targets_BC is None else targets_BC
        losses_B = F.cross_entropy(logits_BC.float(), truth, reduction="none", label_smoothing=self.label_smoothing)
        return self.weights_C[labels_B] * losses_B

    def initial_bias(self, num_classes: int) -> float | None:
        """Return None: a softmax gives every class 1/C with any common bias."""
        return None
