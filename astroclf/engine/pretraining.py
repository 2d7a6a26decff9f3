"""LeJEPA: a backbone learns from images without labels, by what stays the same in several views of one image.

Two terms (Balestriero & LeCun 2025, arXiv:2511.08544): the embeddings of the views of an image are drawn together, and
those of different images are spread as an isotropic Gaussian is, which no collapsed network can do. There is no
teacher, no predictor and no moving average; one number weighs the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from astroclf.data.loader import Batch, BatchLoader
from astroclf.models.precision import Precision

KNOTS = 17  # of the integral over t, from 0 to T_MAX: the statistic is even in t
T_MAX = 3.0  # where the weight, exp(-t²/2), is 1 %
HIDDEN = 1024  # width of the projector
NEIGHBOURS = 20


class PretrainingNetwork(nn.Module):
    """A backbone, and the projector that is thrown away after the pretraining.

    Parameters
    ----------
    backbone : nn.Module
        With a `num_features` attribute; images to features (B, num_features).
    embedding : int
        Numbers of an embedding.
    """

    def __init__(self, backbone: nn.Module, embedding: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = nn.Sequential(
            nn.Linear(int(backbone.num_features), HIDDEN, bias=False),  # type: ignore[arg-type]
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, HIDDEN, bias=False),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, embedding),
        )

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Compute embeddings (B, E) in float32, for their characteristic function is compared with a Gaussian's."""
        features_BF = self.backbone(images_BCHW)
        with torch.autocast(features_BF.device.type, enabled=False):
            embeddings_BE: Tensor = self.projector(features_BF.float())
        return embeddings_BE


def sigreg(embeddings_NE: Tensor, directions_ER: Tensor) -> Tensor:
    """Compute how far embeddings are from an isotropic Gaussian: Epps & Pulley's statistic, the mean over directions.

    Of each direction, N times the integral over t of exp(-t²/2) |φ(t) − exp(-t²/2)|², where φ is the characteristic
    function of the embeddings along it: of order 1 for a standard normal, of order N for anything else.

    Parameters
    ----------
    directions_ER : (E, R) float32
        Unit vectors.
    """
    t_K = torch.linspace(0.0, T_MAX, KNOTS, device=embeddings_NE.device)
    gaussian_K = torch.exp(-t_K.square() / 2)
    step = T_MAX / (KNOTS - 1)
    weights_K = 2 * step * gaussian_K  # both signs of t, by the trapezoidal rule
    weights_K[0], weights_K[-1] = weights_K[0] / 2, weights_K[-1] / 2
    phases_NRK = (embeddings_NE @ directions_ER).unsqueeze(-1) * t_K
    gaps_RK = (phases_NRK.cos().mean(dim=0) - gaussian_K).square() + phases_NRK.sin().mean(dim=0).square()
    return len(embeddings_NE) * (gaps_RK @ weights_K).mean()


class SelfSupervision:
    """The loss of LeJEPA, of a batch of which each image is there in several views.

    Parameters
    ----------
    views : int
        Versions of each image in a batch, each of all images after the other.
    sigreg_weight : float
        Weight of the regularisation, between 0 and 1; that of the invariance is the rest.
    slices : int
        Random directions in which the embeddings are compared with a Gaussian, new ones in each step.
    """

    def __init__(self, views: int, sigreg_weight: float, slices: int) -> None:
        self.views, self.sigreg_weight, self.slices = views, sigreg_weight, slices

    def sums(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its two terms, times the images of the batch."""
        images = len(batch.labels_B)
        embeddings_VBE = output.float().unflatten(0, (self.views, images))
        invariance = (embeddings_VBE - embeddings_VBE.mean(dim=0)).square().mean()
        directions_ER = torch.randn(output.shape[1], self.slices, device=output.device)
        directions_ER = directions_ER / directions_ER.norm(dim=0)
        regularity = torch.stack([sigreg(view_BE, directions_ER) for view_BE in embeddings_VBE]).mean()
        loss = (1 - self.sigreg_weight) * invariance + self.sigreg_weight * regularity
        return {"loss": loss * images, "invariance": invariance * images, "sigreg": regularity * images}


@dataclass(frozen=True)
class RepresentationValidation:
    """What a backbone has learned, measured on images that it is not trained on.

    Attributes
    ----------
    views
        Of held-out images, as training sees its own: the loss is of these, the same views each time.
    held_out
        The same images as they are.
    neighbours
        Of images that are trained on, as they are: those that held-out ones are compared with where labels exist.
    labelled
        Whether their labels mean anything. They are for the eye: nothing is fitted to them.
    """

    criterion: SelfSupervision
    views: BatchLoader
    held_out: BatchLoader
    neighbours: BatchLoader
    precision: Precision
    labelled: bool

    @property
    def images(self) -> int:
        """How many images go through the network, each view of one counted."""
        return len(self.views.rows) * self.views.views + len(self.held_out.rows) + len(self.neighbours.rows)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return the loss and its terms, and what `representation` says of the features."""
        was_training = model.training
        model.eval()
        with torch.random.fork_rng(devices=[self.precision.device] if self.precision.device.type == "cuda" else []):
            torch.manual_seed(0)  # the same directions each time; training's own random numbers stay as they are
            metrics = self._losses(model)
        metrics |= self.representation(model)
        model.train(was_training)
        return metrics

    def _losses(self, model: nn.Module) -> dict[str, float]:
        sums: dict[str, float] = {}
        images = 0
        for batch in self.views.epoch(0):
            with self.precision.autocast():
                output = model(batch.images_BCHW)
            for name, value in self.criterion.sums(output, batch).items():
                sums[name] = sums.get(name, 0.0) + float(value)
            images += len(batch.labels_B)
        return {name: value / images for name, value in sums.items()}

    @torch.no_grad()
    def representation(self, model: nn.Module) -> dict[str, float]:
        """Return ``effective_rank``, ``feature_std`` and, where there are labels, ``knn_accuracy`` of held-out images.

        A collapsed network has an effective rank near 1, and features that hardly vary.
        """
        features_NF, labels_N = features(model.backbone, self.held_out, self.precision)  # type: ignore[arg-type]
        found = {
            "effective_rank": effective_rank(features_NF),
            "feature_std": float(features_NF.std(dim=0).mean()),
        }
        if self.labelled:
            known_NF, known_N = features(model.backbone, self.neighbours, self.precision)  # type: ignore[arg-type]
            found["knn_accuracy"] = knn_accuracy(known_NF, known_N, features_NF, labels_N)
        return found


@torch.no_grad()
def features(backbone: nn.Module, loader: BatchLoader, precision: Precision) -> tuple[Tensor, Tensor]:
    """Return the features of all images of a loader, (N, F) float32, and their labels, (N,)."""
    parts, labels = [], []
    was_training = backbone.training
    backbone.eval()
    for batch in loader.epoch(0):
        with precision.autocast():
            parts.append(backbone(batch.images_BCHW).float())
        labels.append(batch.labels_B)
    backbone.train(was_training)
    return torch.cat(parts), torch.cat(labels)


def effective_rank(features_NF: Tensor) -> float:
    """Compute in how many directions features vary: exp of the entropy of their normalised singular values.

    Roy & Vetterli 2007 ("The effective rank"), of centred features; as a measure of representations, Garrido et al.
    2023 (arXiv:2210.02885). At most the smaller of N − 1 and F; 1 if all lie on a line.
    """
    if not torch.isfinite(features_NF).all():
        return math.nan
    values = torch.linalg.svdvals((features_NF - features_NF.mean(dim=0)).double())
    total = values.sum()
    if total == 0:
        return 1.0
    shares = values[values > 0] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


def knn_accuracy(known_NF: Tensor, known_N: Tensor, asked_NF: Tensor, asked_N: Tensor) -> float:
    """Compute the share of images that most of their nearest labelled neighbours, by cosine, give their own label."""
    mean_F = known_NF.mean(dim=0)  # features after a ReLU all point into one corner: cosines tell little there
    known_NF, asked_NF = (nn.functional.normalize(each - mean_F, dim=1) for each in (known_NF, asked_NF))
    nearest = (asked_NF @ known_NF.T).topk(min(NEIGHBOURS, len(known_NF)), dim=1)
    votes_NC = torch.zeros(len(asked_N), int(max(known_N.max(), asked_N.max())) + 1, device=asked_N.device)
    votes_NC.scatter_add_(1, known_N[nearest.indices], (nearest.values / 0.1).exp())  # the nearer count for more
    return float((votes_NC.argmax(dim=1) == asked_N).float().mean())
