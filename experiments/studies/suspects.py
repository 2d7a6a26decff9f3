"""How well `check folds=5` finds planted wrong labels, beside cleanlab on the same predictions.

    python experiments/studies/suspects.py folds FOLDER [--data IMAGES_WITH_TABLE] [--draws 1] [--epochs N]
    python experiments/studies/suspects.py tests PREDICTIONS_CSV...

Both turn 10 % of the labels into another, each of the others as likely, and rank all images by what networks say of
them. `folds` trains as `astroclf check folds=5` does, on the turned labels, and keeps the out-of-fold probabilities in
FOLDER, from which a second run begins; without --data, on simulated galaxies. `tests` takes the test images of runs
that are trained already, on labels that were not turned: 200 draws of wrong labels cost seconds.
Both print the tables of experiments/suspects.md. Needs `pip install cleanlab`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

import astroclf.run.folder  # noqa: F401 - registers the resolvers of the configuration
from astroclf.audit.folds import divide, out_of_fold
from astroclf.config.build import build
from astroclf.config.compose import composed_as
from astroclf.data.cache.image_cache import ImageCache, open_image_cache
from astroclf.data.split.links import find_links
from astroclf.evaluation.predictions import read_predictions
from astroclf.evaluation.suspects import find_suspects
from astroclf.settings.verbs.data import CheckConfig

FLIPPED, SIMULATED = 0.1, 2400
TEST_DRAWS = 200  # of wrong labels, on test images
CLEANLAB = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


class Answers(NamedTuple):
    """What was said out of fold of the images of one data set with one draw of wrong labels."""

    ids: np.ndarray
    truth_N: np.ndarray
    given_N: np.ndarray
    probabilities_NC: np.ndarray

    @property
    def wrong_N(self) -> np.ndarray:
        """Where the label was turned."""
        return self.truth_N != self.given_N


def with_flips(labels_N: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return the labels, a share of them turned into any other, each equally likely."""
    random = np.random.default_rng(seed)
    turned = random.choice(len(labels_N), round(FLIPPED * len(labels_N)), replace=False)
    given_N = labels_N.copy()
    given_N[turned] = (labels_N[turned] + random.integers(1, classes, len(turned))) % classes
    return given_N


def answers(config: CheckConfig, folder: Path, seed: int) -> Answers:
    """Train the folds of a data set with turned labels, unless they are trained already, and return what they say."""
    reader = build(config.dataset, reading=config.dataset.reading)
    cache: ImageCache = open_image_cache(reader, Path(config.dataset.cache_dir))
    catalog = cache.catalog
    given_N = with_flips(catalog.labels, len(catalog.classes), seed)
    cache = replace(cache, catalog=replace(catalog, labels=given_N))
    links = find_links(cache, near=True, sky_arcsec=config.dataset.sky_arcsec)
    assert config.folds is not None
    folds = divide(cache.catalog, cache.digests, links, config.folds, config.dataset.split_seed)
    said = Answers(catalog.ids, catalog.labels, given_N, out_of_fold(config, cache, folds))
    np.savez(folder / f"{config.dataset.name}_{seed}.npz", classes=catalog.classes, **said._asdict())
    return said


def rankings(probabilities_NC: np.ndarray, given_N: np.ndarray) -> dict[str, np.ndarray]:
    """Return the images, the most suspicious first, by each of the rankings; ours is the list, and then the rest."""
    listed = find_suspects(probabilities_NC, given_N).rows
    by_own = np.argsort(probabilities_NC[np.arange(len(given_N)), given_N], kind="stable")
    scores = {
        f"cleanlab, {method}{', adjusted' if adjusted else ''}": get_label_quality_scores(
            given_N, probabilities_NC, method=method, adjust_pred_probs=adjusted
        )
        for method in CLEANLAB
        for adjusted in (False, True)[: 1 if method == "confidence_weighted_entropy" else 2]
    }
    return {
        "ours": np.append(listed, by_own[~np.isin(by_own, listed)]),
        **{name: np.argsort(score_N, kind="stable") for name, score_N in scores.items()},
    }


def precisions(probabilities_NC: np.ndarray, given_N: np.ndarray, wrong_N: np.ndarray) -> dict[str, float]:
    """Compute which share of the first k is wrong by each ranking, k being how many labels are wrong."""
    k = int(wrong_N.sum())
    ranked = rankings(probabilities_NC, given_N)
    return {f"precision@k, {name}": float(wrong_N[rows[:k]].mean()) for name, rows in ranked.items()}


def figures(said: Answers) -> Iterator[tuple[str, float]]:
    """Compute the precision among the first k, and of the lists, of which nobody says where they should end."""
    judged = np.isfinite(said.probabilities_NC).all(axis=1)
    wrong_N, given_N, probabilities_NC = said.wrong_N[judged], said.given_N[judged], said.probabilities_NC[judged]
    k, predicted_N = int(wrong_N.sum()), probabilities_NC.argmax(axis=1)
    yield "images", len(wrong_N)
    yield "wrong labels, k", k
    yield "out-of-fold accuracy, by the true labels", float((predicted_N == said.truth_N[judged]).mean())
    yield "out-of-fold accuracy, by the given labels", float((predicted_N == given_N).mean())
    yield from precisions(probabilities_NC, given_N, wrong_N).items()
    lists = {
        "suspects.csv": find_suspects(probabilities_NC, given_N).rows,
        "cleanlab": np.flatnonzero(find_label_issues(given_N, probabilities_NC, n_jobs=1)),
    }
    for name, rows in lists.items():
        yield f"listed, {name}", len(rows)
        yield f"precision of the list, {name}", float(wrong_N[rows].mean())
        yield f"recall of the list, {name}", float(wrong_N[rows].sum() / k)


def of_folds(config: CheckConfig, folder: Path, draws: int) -> dict[str, list[float]]:
    """Compute the figures of one data set, for each draw of wrong labels."""
    columns = [dict(figures(answers(config, folder, seed))) for seed in range(draws)]
    return {name: [column[name] for column in columns] for name in columns[0]}


def of_test(path: Path) -> dict[str, float]:
    """Compute the mean precision among the first k on the test images of a trained run, over draws of wrong labels."""
    said = read_predictions(path)
    drawn = []
    for seed in range(TEST_DRAWS):
        given_N = with_flips(said.truth, len(said.classes), seed)
        drawn.append(precisions(said.probabilities, given_N, given_N != said.truth))
    accuracy = float((said.probabilities.argmax(axis=1) == said.truth).mean())
    means = {name: float(np.mean([each[name] for each in drawn])) for name in drawn[0]}
    return {"images": len(said), "accuracy": accuracy} | means


def show(title: str, heads: Sequence[str], rows: Mapping[str, Sequence[float]]) -> None:
    """Print one table."""
    print(f"\n| {title} | {' | '.join(heads)} |")
    print("|---|" + "---|" * len(heads))
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(str(v) if isinstance(v, int) else f"{v:.3f}" for v in values) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    trained = kinds.add_parser("folds")
    trained.add_argument("folder", type=Path)
    trained.add_argument("--data", type=Path)
    trained.add_argument("--draws", type=int, default=1)
    trained.add_argument("--epochs", default="auto")
    kinds.add_parser("tests").add_argument("predictions", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.kind == "tests":
        found = [of_test(path) for path in arguments.predictions]
        names = [path.parent.name for path in arguments.predictions]
        show(f"mean of {TEST_DRAWS} draws", names, {name: [each[name] for each in found] for name in found[0]})
    else:
        root = arguments.folder.absolute()
        root.mkdir(parents=True, exist_ok=True)
        words = ["folds=5", f"fold_epochs={arguments.epochs}", f"dataset.cache_dir={root / 'cache'}"]
        data = f"dataset.path={arguments.data.absolute()}" if arguments.data else ""
        words += [
            "dataset.image_size=64",
            *(["dataset=folder", data] if data else ["dataset=galaxy10_sim", f"dataset.samples={SIMULATED}"]),
        ]
        config = composed_as(CheckConfig, "check", words)
        heads = [f"draw {seed}" for seed in range(arguments.draws)]
        show(config.dataset.name, heads, of_folds(config, root, arguments.draws))
