import numpy as np
import pytest
import torch

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.evaluation.inference import estimate, evaluate
from astroclf.losses.criterion import Criterion
from astroclf.losses.focal import FocalLoss
from astroclf.models.classifier import Classifier, Prediction
from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.precision import choose_precision


@pytest.fixture
def parts():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (7, 32, 32, 3), dtype=np.uint8), np.arange(7) % 3
    model = Classifier(Custom6Conv(image_size=32), 3, uncertainty=True)
    criterion = Criterion(FocalLoss([3, 2, 2], activation="sigmoid"))

    def loader(pictures):
        pixels = PixelBuffer(np.ascontiguousarray(pictures), "memory", "cpu")
        return BatchLoader(pixels, labels, np.arange(7), batch_size=3, augmentation=Augmentation(), seed=0, train=False)

    return model, criterion, loader, images


def test_every_image_once_in_order_and_the_mode_put_back(parts):
    model, criterion, loader, images = parts
    model.train()
    result = evaluate(model, criterion, loader(images), choose_precision("fp32", torch.device("cpu")))
    assert model.training
    assert result.rows.tolist() == list(range(7))
    assert result.probabilities.shape == (7, 3)
    torch.testing.assert_close(result.probabilities.sum(dim=1), torch.ones(7))
    assert {"loss", "accuracy", "macro_f1", "ece"} <= set(result.metrics(("a", "b", "c")))


def test_eight_views_do_not_care_how_an_image_is_turned(parts):
    model, criterion, loader, images = parts
    precision = choose_precision("fp32", torch.device("cpu"))
    plain = evaluate(model, criterion, loader(images), precision, tta_views=8)
    turned = evaluate(model, criterion, loader(np.rot90(images, 1, axes=(1, 2))[:, :, ::-1]), precision, tta_views=8)
    torch.testing.assert_close(plain.probabilities, turned.probabilities)
    torch.testing.assert_close(plain.uncertainty, turned.uncertainty)
    assert plain.loss == pytest.approx(turned.loss, rel=1e-5)


def test_eight_views_are_the_mean_over_the_views(parts):
    model, criterion, loader, images = parts
    precision = choose_precision("fp32", torch.device("cpu"))
    batch = next(iter(loader(images).epoch(0)))
    model.eval()
    with torch.no_grad():
        views = [estimate(model(view), "sigmoid")[0] for view in dihedral_views(batch.images_BCHW)]
    result = evaluate(model, criterion, loader(images), precision, tta_views=8)
    torch.testing.assert_close(result.probabilities[:3], torch.stack(views).mean(dim=0))


def test_without_the_head_uncertainty_is_what_confidence_lacks():
    probabilities, uncertainty = estimate(Prediction(torch.tensor([[2.0, -1.0, 0.5]]), None), "softmax")
    assert uncertainty.item() == pytest.approx(1 - probabilities.max().item())
