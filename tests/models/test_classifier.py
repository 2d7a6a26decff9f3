from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from astroclf.models.classifier import Classifier, probabilities
from astroclf.models.custom6conv import Custom6Conv


@pytest.mark.parametrize(("refinement", "attention", "uncertainty"), [*itertools.product([False, True], repeat=3)])
def test_each_head_can_be_switched(
    new_backbone: Callable[..., nn.Module], refinement: bool, attention: bool, uncertainty: bool
) -> None:
    model = Classifier(
        new_backbone(image_size=32),
        num_classes=7,
        refinement=refinement,
        attention=attention,
        uncertainty=uncertainty,
        hidden=48,
    )
    prediction = model(torch.randn(3, 3, 32, 32))
    assert prediction.logits_BC.shape == (3, 7)
    outputs = prediction.logits_BC.sum()
    if uncertainty:
        assert prediction.uncertainty_B is not None
        assert prediction.uncertainty_B.shape == (3,)
        outputs = outputs + prediction.uncertainty_B.sum()
    else:
        assert prediction.uncertainty_B is None
    outputs.backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not unused
    heads = {name.partition(".")[0] for name in model.state_dict()} - {"backbone", "scores"}
    asked = {"refinement": refinement, "attention": attention, "uncertainty": uncertainty}
    assert heads == {name for name, wanted in asked.items() if wanted}


def test_the_uncertainty_head_also_teaches_the_backbone(new_backbone: Callable[..., nn.Module]) -> None:
    model = Classifier(new_backbone(image_size=32), 3, uncertainty=True)
    uncertainty = model(torch.randn(2, 3, 32, 32)).uncertainty_B
    uncertainty.sum().backward()
    assert sum(float(parameter.grad.abs().sum()) for parameter in model.backbone.parameters()) > 0


@pytest.mark.parametrize("refinement", [False, True])
def test_the_uncertainty_head_reads_the_features_before_the_gate(refinement: bool) -> None:
    """As the first forerunner's does; with every gate shut, its answer is what it was and the scores are their bias."""
    model = Classifier(Custom6Conv(32), 3, refinement=refinement, attention=True, uncertainty=True, hidden=16).eval()
    images = torch.randn(2, 3, 32, 32)
    assert model.attention is not None
    with torch.no_grad():
        open_gate = model(images)
        model.attention.gate[-1].bias.fill_(-torch.inf)
        shut_gate = model(images)
    assert torch.equal(open_gate.uncertainty_B, shut_gate.uncertainty_B)
    assert not torch.equal(open_gate.logits_BC, shut_gate.logits_BC)
    torch.testing.assert_close(shut_gate.logits_BC, model.scores.bias.expand(2, 3))


def test_training_under_bfloat16_autocast_gives_float32_outputs_and_finite_gradients(
    new_backbone: Callable[..., nn.Module],
) -> None:
    model = Classifier(new_backbone(image_size=32), 4, refinement=True, attention=True, uncertainty=True)
    model = model.to(memory_format=torch.channels_last).train()
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, uncertainty, features = model(images)
    assert logits.dtype == uncertainty.dtype == features.dtype == torch.float32
    (logits.square().sum() + uncertainty.sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_it_can_be_exported_with_any_batch_size(new_backbone: Callable[..., nn.Module]) -> None:
    """torch.export is how a model is packaged without pickled code."""
    model = Classifier(new_backbone(image_size=32), 4, refinement=True, attention=True, uncertainty=True).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(images), model(images))


def test_the_output_bias_sets_the_first_probabilities() -> None:
    model = Classifier(Custom6Conv(image_size=32), num_classes=10).eval()
    model.set_output_bias(-math.log(9))
    with torch.no_grad():
        first = model(torch.randn(8, 3, 32, 32)).logits_BC.sigmoid()
    assert (first - 0.1).abs().max() < 0.05


def test_it_can_learn_a_handful_of_images(new_backbone: Callable[..., nn.Module]) -> None:
    labels = torch.arange(4)
    images = torch.randn(4, 3, 32, 32) * 0.3 + torch.linspace(-1, 1, 4)[:, None, None, None]
    model = Classifier(new_backbone(image_size=32), 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(images).logits_BC, labels)
        if loss < 0.5:  # chance is log 4 = 1.39
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=12))
def test_probabilities_sum_to_one_in_the_order_of_the_logits(activation: str, logits: list[float]) -> None:
    scores = torch.tensor([logits])
    chances = probabilities(scores, activation)
    assert torch.isfinite(chances).all()
    assert (chances >= 0).all()
    assert abs(chances.sum().item() - 1) < 1e-5
    assert chances[0, scores.argmax()] == chances.max()


def test_sigmoid_probabilities_are_the_sigmoids_shares() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5]])
    sigmoids = scores.sigmoid()
    torch.testing.assert_close(probabilities(scores, "sigmoid"), sigmoids / sigmoids.sum())
    torch.testing.assert_close(probabilities(scores, "softmax"), scores.softmax(1))


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="tanh"):
        probabilities(torch.zeros(1, 2), "tanh")


def test_compiled_all_of_it_is_one_graph(tiny_backbone: type[nn.Module]) -> None:
    model = Classifier(tiny_backbone(), num_classes=7, uncertainty=True).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    images = torch.randn(2, 3, 32, 32)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            torch.testing.assert_close(compiled(images).logits_BC, model(images).logits_BC)
