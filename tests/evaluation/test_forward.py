import numpy as np
import pytest
import torch

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.evaluation.forward import evaluate, predict_proba
from astroclf.losses.criterion import Criterion
from astroclf.losses.focal import FocalLoss
from astroclf.models.classifier import Classifier, Prediction, probabilities
from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.precision import choose_precision
from tests.data.augment.recipes import recipe
from tests.on_gpu import gpu

CLASSES = ("a", "b", "c")


@pytest.fixture
def parts():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (7, 32, 32, 3), dtype=np.uint8), np.arange(7) % 3
    model = Classifier(Custom6Conv(image_size=32), 3, uncertainty=True)
    criterion = Criterion(FocalLoss([3, 2, 2], activation="sigmoid", gamma=2.0))

    def loader(pictures, **options):
        pixels = PixelBuffer(np.ascontiguousarray(pictures), "memory", "cpu")
        fixed = {"batch_size": 3, "augmentation": recipe(), "seed": 0, "train": False}
        return BatchLoader(pixels, labels, np.arange(7), **(fixed | options))

    return model, criterion, loader, images


def test_every_image_once_in_order_and_the_mode_put_back(parts):
    model, criterion, loader, images = parts
    model.train()
    result = evaluate(model, criterion, loader(images), choose_precision("fp32", torch.device("cpu")), CLASSES)
    assert model.training
    assert result.ids.tolist() == [str(row) for row in range(7)]
    assert result.probabilities.shape == (7, 3)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), np.ones(7), rtol=1e-6)
    assert {"loss", "accuracy", "macro_f1", "ece"} <= set(result.metrics())


def test_images_are_named_by_the_data_sets_ids_or_by_their_rows(parts):
    model, criterion, loader, images = parts
    precision = choose_precision("fp32", torch.device("cpu"))
    names = np.array([f"{row}.jpg" for row in range(7)])
    assert evaluate(model, criterion, loader(images), precision, CLASSES).ids.tolist() == list("0123456")
    assert evaluate(model, criterion, loader(images), precision, CLASSES, ids=names).ids.tolist() == names.tolist()


@pytest.mark.parametrize("tta_views", [1, 8])
def test_both_terms_of_the_loss_are_there_and_add_up(parts, tta_views):
    model, criterion, loader, images = parts
    precision = choose_precision("fp32", torch.device("cpu"))
    metrics = evaluate(model, criterion, loader(images), precision, CLASSES, tta_views=tta_views).metrics()
    total = metrics["classification_loss"] + criterion.uncertainty_weight * metrics["uncertainty_loss"]
    assert metrics["loss"] == pytest.approx(total, rel=1e-5)
    model.uncertainty = None
    metrics = evaluate(model, criterion, loader(images), precision, CLASSES, tta_views=tta_views).metrics()
    assert not {"classification_loss", "uncertainty_loss"} & metrics.keys()


def test_eight_views_do_not_care_how_an_image_is_turned(parts):
    model, criterion, loader, images = parts
    precision = choose_precision("fp32", torch.device("cpu"))
    plain = evaluate(model, criterion, loader(images), precision, CLASSES, tta_views=8)
    turned = evaluate(
        model, criterion, loader(np.rot90(images, 1, axes=(1, 2))[:, :, ::-1]), precision, CLASSES, tta_views=8
    )
    np.testing.assert_allclose(plain.probabilities, turned.probabilities, rtol=1.3e-6, atol=1e-5)
    np.testing.assert_allclose(plain.uncertainty, turned.uncertainty, rtol=1.3e-6, atol=1e-5)
    assert plain.losses["loss"] == pytest.approx(turned.losses["loss"], rel=1e-5)


def test_eight_views_are_the_mean_over_the_views(parts):
    model, criterion, loader, images = parts
    precision = choose_precision("fp32", torch.device("cpu"))
    batch = next(iter(loader(images).epoch(0)))
    model.eval()
    with torch.no_grad():
        views = [probabilities(model(view).logits_BC, "sigmoid") for view in dihedral_views(batch.images_BCHW)]
    result = evaluate(model, criterion, loader(images), precision, CLASSES, tta_views=8)
    np.testing.assert_allclose(result.probabilities[:3], torch.stack(views).mean(dim=0), rtol=1.3e-6, atol=1e-5)


def test_without_the_head_uncertainty_is_what_confidence_lacks():
    said = predict_proba(lambda images: Prediction(images, None), torch.tensor([[2.0, -1.0, 0.5]]), "softmax")
    assert said.uncertainty_B.item() == pytest.approx(1 - said.probabilities_BC.max().item())


def test_soft_labels_change_the_loss_alone(parts):
    model, criterion, loader, images = parts
    votes = np.random.default_rng(1).dirichlet(np.ones(3), 7)
    precision = choose_precision("fp32", torch.device("cpu"))
    hard = evaluate(model, criterion, loader(images), precision, CLASSES)
    soft = evaluate(model, criterion, loader(images, targets=votes), precision, CLASSES)
    (batch,) = loader(images, targets=votes, batch_size=7).epoch(0)
    with torch.no_grad():
        expected = criterion(model.eval()(batch.images_BCHW), batch.labels_B, torch.from_numpy(votes).float()).total_B
    assert soft.losses["loss"] == pytest.approx(float(expected.mean()), rel=1e-5)
    assert soft.losses["uncertainty_loss"] == hard.losses["uncertainty_loss"]
    np.testing.assert_array_equal(soft.labels, hard.labels)
    np.testing.assert_array_equal(soft.probabilities, hard.probabilities)


@pytest.mark.parametrize(("images", "passes"), [(1, [8]), (20, [60, 60, 40]), (70, [70] * 8)])
def test_views_of_few_images_go_through_the_network_together(images, passes):
    seen = []

    def network(images_BCHW):
        seen.append(len(images_BCHW))
        return Prediction(images_BCHW.mean(dim=(2, 3)), None)

    said = predict_proba(network, torch.rand(images, 3, 4, 4), "softmax", tta_views=8)
    assert seen == passes
    assert len(said.outputs) == 8
    assert said.probabilities_BC.shape == (images, 3)


@gpu
@pytest.mark.parametrize("tta_views", [1, 8])
def test_a_gpu_says_what_a_cpu_says(parts, tta_views):
    model, criterion, loader, images = parts
    on_cpu = evaluate(
        model, criterion, loader(images), choose_precision("fp32", torch.device("cpu")), CLASSES, tta_views=tta_views
    )
    device = torch.device("cuda", torch.cuda.current_device())
    pixels = PixelBuffer(images, "device", device)
    there = BatchLoader(
        pixels, np.arange(7) % 3, np.arange(7), batch_size=3, augmentation=recipe(), seed=0, train=False
    )
    for precision, far in (("fp32", 5e-3), ("bf16", 0.05)):  # convolutions in fp32 round to TF32 there
        found = evaluate(
            model.to(device), criterion.to(device), there, choose_precision(precision, device), CLASSES,
            tta_views=tta_views,
        )  # fmt: skip
        np.testing.assert_allclose(found.probabilities, on_cpu.probabilities, atol=far)
        np.testing.assert_allclose(found.uncertainty, on_cpu.uncertainty, atol=far)
        np.testing.assert_array_equal(found.labels, on_cpu.labels)
        assert found.losses["loss"] == pytest.approx(on_cpu.losses["loss"], rel=10 * far)
