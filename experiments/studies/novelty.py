"""Which score tells images of another kind from those that a model was trained on.

    OMP_NUM_THREADS=1 python experiments/studies/novelty.py MODEL DATA OTHER [OTHER ...] [--limit 500] [--beside MODEL]

MODEL is one that was trained on the folder DATA, by any of its names; of DATA, the images are taken that it has not
seen. Each OTHER is a folder or file of images of another kind. Prints the tables of experiments/novelty.md: the AUROC
of each score with its 95 % interval, and the share of the images beyond the limit that the model keeps; and how well
both sets of images are told apart by the statistics and the embeddings of `astroclf check reference=…`, also where the
others are DATA's own images with twice their noise. A model `beside` it was trained on the same images: the last table
is of the mean novelty of both, on the scale of the members and on one of its own.
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
from astroclf.evaluation.image_statistics import measure, spread_evenly
from astroclf.evaluation.novelty import fit_scale
from astroclf.evaluation.shift import Shift, shift_between
from astroclf.inference.inputs import Inputs
from astroclf.inference.predictor import Predictor
from astroclf.inference.samples import prepare_ahead
from astroclf.registry.load import load_one
from astroclf.run.data import decoded
from astroclf.settings.verbs.asking import EvaluateConfig
from astroclf.use.evaluation.images import reader_for


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


def apart(model: Predictor, images_NHWC: np.ndarray, own_NHWC: np.ndarray) -> Shift:
    """Tell images from those of the data set, by their statistics and by what the model makes of them."""
    embeddings = model.embed(images_NHWC), model.embed(own_NHWC)
    return shift_between(measure(images_NHWC), measure(own_NHWC), "the others", embeddings)


def with_twice_the_noise(images_NHWC: np.ndarray) -> np.ndarray:
    """Add noise to images until they have twice what they have, by the median."""
    sigma = np.sqrt(3) * np.median(measure(images_NHWC)["noise"])
    noise = np.random.default_rng(0).normal(0, sigma, images_NHWC.shape)
    return np.clip(np.rint(images_NHWC + noise), 0, 255).astype(np.uint8)


def flagged_by_the_mean(distances: list[np.ndarray]) -> None:
    """Print which share of images two models and their mean flag; scales are fitted on half of them, 400 times."""
    rng, count = np.random.default_rng(0), len(distances[0])
    print(f"\nCorrelation of the distances: {np.corrcoef(distances)[0, 1]:.2f}; {count} images\n")
    print("| share of the fit | flagged by each | by the mean of both | by the mean on a scale of its own |")
    print("|---|---|---|---|")
    for share in (0.01, 0.05, 0.1):
        found = []
        for _ in range(400):
            fit, asked = np.split(rng.permutation(count), [count // 2])
            scales = [fit_scale(each[fit], share) for each in distances]
            scaled_MN = np.stack([scale(each) for scale, each in zip(scales, distances, strict=True)])
            mean_N = scaled_MN.mean(axis=0)
            own_N = fit_scale(mean_N[fit], share)(mean_N)
            found.append([(values[..., asked] > 1).mean() for values in (scaled_MN, mean_N, own_N)])
        print(f"| {share:.0%} | " + " | ".join(f"{value:.1%}" for value in np.mean(found, axis=0)) + " |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--beside", action="append", default=[])
    given = parser.parse_args()
    model = load_one(given.model, "be studied", precision="fp32")
    novelty = model.novelty
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
    told_apart = []
    print(f"| themselves | {len(own_NF)} |" + " – |" * len(scores) + f" {(novelty(own_NF) > 1).mean():.1%} |")
    for words in given.others:
        images_NHWC = read(model, words, given.limit)
        told_apart.append((Path(words).stem, images_NHWC))
        logits_NC, features_NF = seen_by(model, images_NHWC)
        is_other = np.arange(len(own_NF) + len(features_NF)) >= len(own_NF)
        cells = []
        for score in scores.values():
            values = np.concatenate([score(own_NC, own_NF), score(logits_NC, features_NF)])
            auroc, (low, high) = auroc_interval(values, is_other)
            cells.append(f"{auroc:.3f} [{low:.3f}, {high:.3f}]")
        flagged = (novelty(features_NF) > 1).mean()
        print(f"| {Path(words).stem} | {len(features_NF)} | {' | '.join(cells)} | {flagged:.1%} |", flush=True)
    own_NHWC = cache.images[split == ""]
    halves = own_NHWC[::2], own_NHWC[1::2]  # the others are other galaxies: no image is in both sets
    print("\n| told from these | by statistics | by embedding |\n|---|---|---|")
    told_apart.append(("themselves with twice the noise", with_twice_the_noise(halves[0])))
    for name, images_NHWC in told_apart:
        shift = apart(model, images_NHWC, halves[1] if name.startswith("themselves") else own_NHWC)
        cells = [f"{each.auroc:.3f} {each.interval}" for each in (shift.by_statistics, shift.by_embedding)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    unfitted_NHWC = cache.images[split != "train"]
    for other in given.beside:
        members = [model, load_one(other, "be studied", precision="fp32")]
        flagged_by_the_mean([member.novelty.distance(member.embed(unfitted_NHWC)) for member in members])


if __name__ == "__main__":
    main()
