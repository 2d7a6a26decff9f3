"""Steps that are not finite, whichever optimizer, number format and step; gradients that do not arrive."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from astroclf.config.build import build
from astroclf.engine.optimizer_step import OptimizerStep
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.losses.criterion import Criterion
from astroclf.models.classifier import Classifier
from astroclf.models.precision import Precision
from astroclf.run.parts import has_fused_form
from astroclf.settings.components import locate
from astroclf.settings.network import BackboneSettings
from astroclf.settings.training import LossSettings, OptimizerSettings
from astroclf.settings.yaml_files import config_dir, yaml_values
from tests.backbones import EVERY_BACKBONE, backbone_options
from tests.on_gpu import DEVICES, gpu, waiting_is_an_error

OTHERS = {  # of torch's with a fused form
    "Adam": {},
    "AdamW": {"amsgrad": True},
    "SGD": {},
    "SGD momentum": {"momentum": 0.9},
    "SGD nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "Adagrad": {},
}
OURS = sorted(path.stem for path in (config_dir() / "optimizer").glob("*.yaml"))
FORMATS = ("fp32", "bf16", "fp16")


def settings(name, **changes):
    values = yaml_values(f"optimizer/{name}") | changes
    target = values.pop("_target_")
    return OptimizerSettings(target=target, **values)


def make_optimizer(name, groups):
    if name in OURS:
        on_gpu = groups[0]["params"][0].is_cuda
        return build(settings(name, lr=0.01), params=groups, fused=True, capturable=on_gpu)
    target, device = f"torch.optim.{name.split()[0]}", groups[0]["params"][0].device
    fused = True if has_fused_form(OptimizerSettings(target=target, lr=0.01), device) else None
    return locate("optimizer", target)(groups, lr=0.01, fused=fused, **OTHERS[name])


def make_step(name, number_format="fp32", device="cpu", grad_clip_norm=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(device)
    optimizer = make_optimizer(name, parameter_groups(model, 0.1))
    return OptimizerStep(model, optimizer, Precision(number_format, torch.device(device)), grad_clip_norm)


def train(step, factors, first=0):
    """Take a step for each factor of the loss; those of the same place among the finite ones see the same images."""
    device = next(step.model.parameters()).device
    place = first
    for factor in factors:
        images = torch.rand(5, 6, generator=torch.Generator().manual_seed(place)).to(device)
        step.prepare()
        step.backward(step.model(images).square().mean() * factor)
        norm = step.take()
        assert bool(torch.isfinite(norm)) == math.isfinite(factor)
        place += math.isfinite(factor)
    return torch.cat([parameter.detach().flatten().cpu() for parameter in step.model.parameters()])


@pytest.fixture
def dirty_memory(monkeypatch):
    """What torch leaves uninitialised holds NaN, as it may on any machine."""
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: empty_like(*a, **k).fill_(math.nan))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("places", [(0,), (0, 1), (2,), (3,), (0, 2, 3)], ids=str)
@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_a_run_with_steps_that_are_not_finite_equals_one_that_never_saw_them(
    dirty_memory, name, number_format, places, device
):
    factors = [1.0 if place not in places else math.nan if place else math.inf for place in range(4)]
    spoilt = train(make_step(name, number_format, device), factors)
    assert torch.isfinite(spoilt).all()
    assert not torch.equal(spoilt, train(make_step(name, number_format, device), []))
    never = train(make_step(name, number_format, device), [factor for factor in factors if factor == 1.0])
    torch.testing.assert_close(spoilt, never, rtol=0, atol=1e-7 if number_format == "fp16" else 0)


@pytest.mark.parametrize("places", [(0,), (1,), (2, 3)], ids=str)
def test_what_an_optimizer_without_a_fused_form_did_is_taken_back_on_the_device(places):
    """Here on the CPU, where its capturable form does not run, but is taken back alike."""

    def radam():
        step = make_step("radam")
        step.optimizer.defaults["capturable"] = True
        return step

    spoilt = train(radam(), [math.nan if place in places else 1.0 for place in range(5)])
    assert torch.equal(spoilt, train(make_step("radam"), [1.0] * (5 - len(places))))


@gpu
@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_no_step_on_a_gpu_after_the_first_waits_for_the_device(name, number_format):
    step = make_step(name, number_format, "cuda", grad_clip_norm=1.0)
    if not (step.optimizer.defaults.get("fused") or step.optimizer.defaults.get("capturable")):
        pytest.skip(f"torch {torch.__version__} has no form of it that steps without the host")
    images = torch.rand(5, 6, device="cuda")
    factors = torch.tensor([1.0, 1.0, math.nan, 1.0], device="cuda").unbind()
    for place, factor in enumerate(factors):
        with waiting_is_an_error() if place else nullcontext():
            step.prepare()
            step.backward(step.model(images).square().mean() * factor)
            step.take()
    assert all(torch.isfinite(parameter).all() for parameter in step.model.parameters())


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_state_that_was_saved_after_a_bad_step_goes_on_as_if_never_saved(dirty_memory, name, stop):
    factors = [math.nan, 1.0, math.inf, 1.0]
    whole = make_step(name)
    train(whole, factors)
    first, second = make_step(name), make_step(name)
    train(first, factors[:stop])
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(first.state_dict())
    train(second, factors[stop:], first=stop - 1)
    for one, two in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_parameters_whose_first_gradient_comes_later_step_as_an_optimizer_of_their_own_would(dirty_memory, name):
    def weights(early_factors, late_factors):
        torch.manual_seed(0)
        model = nn.ModuleDict({"early": nn.Linear(6, 3), "late": nn.Linear(6, 3)})
        step = OptimizerStep(
            model, make_optimizer(name, parameter_groups(model, 0.1)), Precision("fp32", torch.device("cpu")), None
        )
        images = torch.ones(2, 6)
        for early, late in zip(early_factors, late_factors, strict=True):
            losses = [
                model[part](images).square().mean() * factor
                for part, factor in (("early", early), ("late", late))
                if factor is not None
            ]
            step.backward(sum(losses))
            step.take()
        return {part: [parameter.detach() for parameter in model[part].parameters()] for part in model}

    together = weights([1.0, 1.0, 1.0, 1.0, 1.0], [None, None, math.nan, 1.0, 1.0])
    early, late = weights([1.0] * 4, [None] * 4), weights([None] * 2, [1.0] * 2)
    for one, two in zip(together["early"] + together["late"], early["early"] + late["late"], strict=True):
        assert torch.equal(one, two)


def test_fp16_lowers_its_scale_after_a_first_step_that_overflows():
    step = make_step("sgd", "fp16")
    before = step.state_dict()["scaler"]["scale"]
    train(step, [math.inf])
    assert step.state_dict()["scaler"]["scale"] == before / 2


@pytest.mark.parametrize(("before", "after"), [("fp32", "fp16"), ("bf16", "fp16"), ("fp16", "fp32"), ("fp16", "bf16")])
def test_the_scale_of_another_number_format_is_not_taken_over(before, after):
    saved, step = make_step("adamw", before), make_step("adamw", after)
    train(saved, [1.0])
    step.load_state_dict(saved.state_dict())
    expected = make_step("adamw", after)
    loss = torch.ones((), requires_grad=True)
    step.backward(loss)
    again = torch.ones((), requires_grad=True)
    expected.backward(again)
    assert loss.grad == again.grad == (1.0 if after != "fp16" else 65536.0)


def test_what_the_optimizer_is_told_comes_from_its_settings_not_from_the_saved_state():
    saved, step = make_step("adamw"), make_step("adamw")
    train(saved, [1.0])
    for group, decay in zip(step.optimizer.param_groups, (0.3, 0.0), strict=True):
        group["weight_decay"], group["betas"] = decay, (0.8, 0.9)
    step.load_state_dict(saved.state_dict())
    assert [group["weight_decay"] for group in step.optimizer.param_groups] == [0.3, 0.0]
    assert step.optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    assert step.optimizer.state[step.model[0].weight]["step"] == 1


class Partly(nn.Module):
    """Layers of which one is not used, and another all off."""

    def __init__(self, unused=1):
        super().__init__()
        self.used, self.off, self.out = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 3)
        nn.init.constant_(self.off.bias, -100.0)
        self.spare = nn.ModuleList(nn.Linear(2, 2) for _ in range(unused))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, images):
        return self.out(self.used(images).relu() + self.off(images).relu())


def warnings_of(model, factors, caplog):
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.1), lr=0.01, fused=True)
    step = OptimizerStep(model, optimizer, Precision("fp32", torch.device("cpu")), 1.0)
    with caplog.at_level(logging.WARNING, logger="astroclf"):
        train(step, factors)
    return [record.getMessage() for record in caplog.records]


def test_parameters_without_a_gradient_are_named_once_at_the_first_sound_step(caplog):
    (said,) = warnings_of(Partly(), [math.nan, 1.0, 1.0], caplog)
    assert "4 of the network's 8 parameter tensors" in said
    assert "off.weight, off.bias, spare.0.weight, spare.0.bias." in said
    assert "frozen" not in said


def test_many_parameters_without_a_gradient_are_counted(caplog):
    (said,) = warnings_of(Partly(unused=10), [1.0], caplog)
    assert "spare.4.bias and 10 more." in said


def test_of_sound_gradients_nothing_is_said(caplog):
    assert warnings_of(nn.Linear(6, 3), [1.0, 1.0], caplog) == []


def conf(group):
    """The choices of a group."""
    return sorted(path.stem for path in (config_dir() / group).glob("[!_]*.yaml"))


@pytest.mark.parametrize("heads", [True, False], ids=["all heads", "no heads"])
@pytest.mark.parametrize("loss_name", conf("loss"))
@pytest.mark.parametrize("backbone_name", EVERY_BACKBONE)
def test_every_backbone_head_and_loss_of_ours_gives_all_parameters_a_gradient(caplog, backbone_name, loss_name, heads):
    torch.manual_seed(0)
    sections = []
    chosen = ((BackboneSettings, backbone_options(backbone_name)), (LossSettings, yaml_values(f"loss/{loss_name}")))
    for settings_class, values in chosen:
        sections.append(settings_class(target=values.pop("_target_"), **values))
    backbone = build(sections[0], image_size=32, channels=3, weights=None)
    criterion = Criterion(build(sections[1], class_counts=[3, 5, 2, 1]))
    model = Classifier(backbone, 4, refinement=heads, attention=heads, uncertainty=heads, hidden=16)
    if (bias := criterion.loss.initial_bias(4)) is not None:
        model.set_output_bias(bias)
    optimizer = torch.optim.SGD(parameter_groups(model, 0.0), lr=0.01, fused=True)
    step = OptimizerStep(model, optimizer, Precision("fp32", torch.device("cpu")), 1.0)
    labels = torch.tensor([0, 1, 2, 3, 1, 0, 1, 1])
    with caplog.at_level(logging.WARNING, logger="astroclf"):
        step.backward(criterion(model(torch.randn(8, 3, 32, 32)), labels).total_B.mean())
        assert torch.isfinite(step.take())
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["adamw", "sgd", *OTHERS])
def test_weights_in_channels_last_get_the_same_step_where_they_lie(name):
    """A fused optimizer sees them in the order of memory: nothing is copied, and nothing is seen of it afterwards."""

    def after_steps(memory_format):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 5, 1), nn.Flatten(), nn.Linear(20, 2))
        model.to(memory_format=memory_format)
        optimizer = make_optimizer(name, parameter_groups(model, 0.1))
        step = OptimizerStep(model, optimizer, Precision("fp32", torch.device("cpu")), 1.0)
        places = [parameter.data_ptr() for parameter in model.parameters()]
        for seed in range(3):
            torch.manual_seed(seed)
            step.backward(model(torch.randn(2, 4, 4, 4)).square().sum())
            step.take()
        assert [parameter.data_ptr() for parameter in model.parameters()] == places
        return model, optimizer

    (plain, _), (model, optimizer) = after_steps(torch.contiguous_format), after_steps(torch.channels_last)
    for parameter, expected in zip(model.parameters(), plain.parameters(), strict=True):
        assert parameter.shape == expected.shape
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-6)
        for value in optimizer.state[parameter].values():
            if torch.is_tensor(value) and value.dim() == 4:
                assert value.shape == parameter.shape
                assert value.stride() == parameter.stride()


def test_a_fused_optimizer_on_a_cpu_is_shown_contiguous_weights(monkeypatch):
    model = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    optimizer = make_optimizer("adamw", parameter_groups(model, 0.1))
    step, seen = OptimizerStep(model, optimizer, Precision("fp32", torch.device("cpu")), None), []
    taken = optimizer.step
    monkeypatch.setattr(optimizer, "step", lambda: (seen.append(model.weight.is_contiguous()), taken()))
    for _ in range(2):
        step.backward(model(torch.randn(2, 4, 4, 4)).sum())
        step.take()
    assert seen == [True, True]
    assert not model.weight.is_contiguous()
    assert model.weight.grad is None
