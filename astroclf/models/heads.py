"""What can stand between a backbone's features and the class scores. Each takes and gives (B, features)."""

from __future__ import annotations

from torch import Tensor, nn

from astroclf.models.blocks import kaiming_init, output_init


class Refinement(nn.Sequential):
    """Two blocks of Linear, BatchNorm, ReLU, Dropout: (B, num_features) to (B, hidden)."""

    def __init__(self, num_features: int, hidden: int = 512, dropout: float = 0.3) -> None:
        super().__init__(*_refining(num_features, hidden, dropout), *_refining(hidden, hidden, dropout))
        kaiming_init(self)
        self.num_features = hidden


class Attention(nn.Module):
    """A learned gate over features: each is multiplied by a number between 0 and 1 that follows from all of them.

    It is the excitation of squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507) for features that are pooled
    already; there is no attention between positions or tokens.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        narrow = max(1, num_features // 2)
        self.gate = nn.Sequential(nn.Linear(num_features, narrow), nn.ReLU(), nn.Linear(narrow, num_features))
        kaiming_init(self)
        output_init(_last_linear(self.gate))

    def forward(self, features_BF: Tensor) -> Tensor:
        """Compute the gated features, (B, num_features)."""
        return features_BF * self.gate(features_BF).sigmoid()


class Uncertainty(nn.Module):
    """A logit per image: how likely its predicted class is wrong (the sigmoid is the probability)."""

    def __init__(self, num_features: int, dropout: float = 0.3) -> None:
        super().__init__()
        narrow = max(1, num_features // 2)
        self.layers = nn.Sequential(
            nn.Linear(num_features, narrow), nn.ReLU(), nn.Dropout(dropout), nn.Linear(narrow, 1)
        )
        kaiming_init(self)
        output_init(_last_linear(self.layers))

    def forward(self, features_BF: Tensor) -> Tensor:
        """Compute the logits, (B,)."""
        return self.layers(features_BF).squeeze(1)


def _refining(before: int, after: int, dropout: float) -> tuple[nn.Module, ...]:
    return (nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(dropout))


def _last_linear(layers: nn.Sequential) -> nn.Linear:
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    return last
