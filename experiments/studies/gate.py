"""How often the gate's condition "no class pays for it" is wrong, on either side; exact, nothing is drawn.

``python experiments/studies/gate.py`` prints the tables of docs/registry.md, in seconds.
"""

from __future__ import annotations

from functools import cache

from scipy.stats import multinomial

from astroclf.evaluation.compare import RecallLoss
from astroclf.registry.conditions import no_class_pays

CLASSES = 10
ALLOWED = 0.1  # promotion.max_recall_loss
IMAGES = (4, 10, 20, 50, 100, 200)  # of each class, in the test
CHURN = (0.1, 0.2, 0.3)  # shares of a class's images that only one of two equally good models gets right
LOSSES = (0.1, 0.2, 0.3, 0.5)  # of recall, in truth


@cache
def blocks(images: int, lost: int, won: int) -> bool:
    """Tell whether a class that lost and won so many of its images keeps a version from being champion."""
    return no_class_pays([RecallLoss.of("class", images, lost, won)], ALLOWED).passed is False


def chance(images: int, losing: float, winning: float, *, point: bool = False) -> float:
    """Compute how often a class blocks; `point`: by the rule that compares the loss as it is, as a reference."""
    total = 0.0
    for lost in range(images + 1):
        for won in range(images - lost + 1):
            wrong = (lost - won) / images > ALLOWED + 1e-9 if point else blocks(images, lost, won)
            if wrong:
                left = 1 - losing - winning
                total += float(multinomial.pmf([lost, won, images - lost - won], images, [losing, winning, left]))
    return total


def any_of(one: float) -> float:
    """Return how often at least one of the classes blocks."""
    return 1 - (1 - one) ** CLASSES


def main() -> None:
    """Print both tables."""
    print(f"No class loses recall: a sound version is blocked by one of {CLASSES} classes (by the point rule)")
    for images in IMAGES:
        row = [(any_of(chance(images, c / 2, c / 2)), any_of(chance(images, c / 2, c / 2, point=True))) for c in CHURN]
        print(f"| {images} | " + " | ".join(f"{100 * ours:.1f} % ({100 * point:.0f} %)" for ours, point in row) + " |")
    print("One class loses recall in truth: the version is blocked by it")
    for images in IMAGES:
        row = [chance(images, loss + 0.05, 0.05) for loss in LOSSES]
        print(f"| {images} | " + " | ".join(f"{100 * caught:.0f} %" for caught in row) + " |")


if __name__ == "__main__":
    main()
