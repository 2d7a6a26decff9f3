"""Which score tells images of another kind from those that a model was trained on.

    OMP_NUM_THREADS=1 python experiments/studies/novelty.py MODEL DATA OTHER [OTHER ...] [--limit 500]

MODEL is one that was trained on the folder DATA, by any of its names; of DATA, the images are taken that it has not
seen. Each OTHER is a folder or file of images of another kind. Prints the tables of experiments/novelty.md: the AUROC
of each score with its 95 % interval, and the share of the images beyond the limit that the model keeps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf

import astroclf.run.folder  # noqa: F401 - registers the resolvers of the configuration
from astroclf.config.compose import composed_as
from astroclf.evaluation.doubt import auroc_interval
from astroclf.evaluation.image_statistics import spread_evenly
from astroclf.inference.inputs import Inputs
from astroclf.inference.predictor import Predictor
from astroclf.inference.samples import prepare_ahead
from astroclf.registry.load import load_one
from astroclf.settings.verbs.asking import EvaluateConfig
from astroclf.use.evaluation.images import decoded, reader_for


def read(model: Predictor, words: str, limit: int) -> np.ndarray:
    """Read some of the images that a path names, as the model takes them."""
    inputs = Inputs([words], model.preparation.reading, model.preparation.channels)
    places = set(spread_evenly(inputs.survey().count, limit).tolist())
    samples = [sample for place, sample in enumerate(inputs.samples()) if place in places]
    return np.concatenate([block.images_NHWC for block in prepare_ahead(model.preparation, samples, 64, 1)])


@torch.inference_mode()
def seen_by(model: Predictor, images_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits (N, C) and features (N, F) of images, of one view."""
    logits, features = [], []
    for start in range(0, len(images_NHWC), 64):
        batch = torch.from_numpy(np.ascontiguousarray(images_NHWC[start : start + 64])).to(model.device)
        output = model.model(model.augmentation(batch, None))
        logits.append(output.logits_BC.float().cpu().numpy())
        features.append(output.features_BF.float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(features)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--limit", type=int, default=500)
    given = parser.parse_args()
    model = load_one(given.model, "be studied", precision="fp32")
    novelty = model.profile.novelty
    dataset = composed_as(EvaluateConfig, "evaluate", [f"model={given.model}", f"dataset.path={given.data}"]).dataset
    cache = decoded(reader_for(model, dataset), dataset, 1)
    split = model.seen.among(cache.pixel_digests)
    (_, training_NF), (own_NC, own_NF) = (seen_by(model, cache.images[split == name]) for name in ("train", ""))
    labels_N = cache.catalog.labels[split == "train"]
    center_F = training_NF.mean(axis=0)
    means_F = np.stack([training_NF[labels_N == label].mean(axis=0) for label in np.unique(labels_N)])
    within = LedoitWolf(assume_centered=True).fit(training_NF - means_F[np.unique(labels_N, return_inverse=True)[1]])
    whole = LedoitWolf(assume_centered=True).fit(training_NF - center_F)

    def squared(features_NF: np.ndarray, mean_F: np.ndarray, precision_FF: np.ndarray) -> np.ndarray:
        off_NF = features_NF - mean_F
        return np.einsum("nf,fg,ng->n", off_NF, precision_FF, off_NF)

    def relative(features_NF: np.ndarray) -> np.ndarray:
        nearest = np.min([squared(features_NF, mean_F, within.precision_) for mean_F in means_F], axis=0)
        return nearest - squared(features_NF, center_F, whole.precision_)

    scores = {
        "Mahalanobis": lambda _, features: novelty.distance(features),
        "relative Mahalanobis": lambda _, features: relative(features),
        "energy": lambda logits, _: -logsumexp(logits, axis=1),
        "1 − highest probability": lambda logits, _: 1 - softmax(logits, axis=1).max(axis=1),
    }
    print(f"{(split == 'train').sum()} training images, {(split == '').sum()} that the model has not seen\n")
    print("| beside these | images |", " | ".join(scores), "| beyond the limit |")
    print("|---|---|" + "---|" * (len(scores) + 1))
    print(f"| themselves | {len(own_NF)} |" + " – |" * len(scores) + f" {(novelty(own_NF) > 1).mean():.1%} |")
    for words in given.others:
        logits_NC, features_NF = seen_by(model, read(model, words, given.limit))
        is_other = np.arange(len(own_NF) + len(features_NF)) >= len(own_NF)
        cells = []
        for score in scores.values():
            values = np.concatenate([score(own_NC, own_NF), score(logits_NC, features_NF)])
            auroc, (low, high) = auroc_interval(values, is_other)
            cells.append(f"{auroc:.3f} [{low:.3f}, {high:.3f}]")
        flagged = (novelty(features_NF) > 1).mean()
        print(f"| {Path(words).stem} | {len(features_NF)} | {' | '.join(cells)} | {flagged:.1%} |", flush=True)


if __name__ == "__main__":
    main()
