import pytest
import timm
import torch

from astroclf.errors import ConfigError
from astroclf.models.precision import choose_device, choose_precision
from tests.on_gpu import gpu

CPU = torch.device("cpu")


@pytest.fixture
def of_this_cpu() -> str:
    abilities = torch.cpu.get_capabilities()
    return "bf16" if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else "fp32"


def test_auto_takes_what_the_cpu_multiplies(of_this_cpu):
    assert choose_precision("auto", CPU).name == of_this_cpu


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenetv4_conv_small_035", "test_convnext", "resnet10t"])
def test_on_a_cpu_auto_is_fp32_for_networks_of_inverted_bottlenecks(name, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True})
    network = timm.create_model(name, num_classes=0)
    slow = name.startswith(("efficientnet", "mobilenet"))
    assert choose_precision("auto", CPU, network).name == ("fp32" if slow else "bf16")
    assert choose_precision("bf16", CPU, network).name == "bf16"


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_multiplies_in_the_named_format(name, dtype):
    with choose_precision(name, CPU).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_fp16_on_a_cpu_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="bf16, fp32 or auto"):
        choose_precision("fp16", CPU)


def test_cuda_without_a_gpu_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="trainer.device=cpu"):
        choose_device("cuda")
    assert choose_device("auto") == CPU


@pytest.mark.parametrize(
    ("built_for", "visible", "why"),
    [
        ("13.0", None, "finds no CUDA GPU here"),
        ("13.0", "7", "CUDA_VISIBLE_DEVICES=7 shows torch none"),
        (None, None, "is a build for CPUs alone"),
    ],
)
def test_why_there_is_no_gpu_is_said(built_for, visible, why, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", built_for)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ConfigError, match=why):
        choose_device("cuda")


@gpu
def test_auto_on_a_gpu():
    device = choose_device("auto")
    assert device.type == "cuda"
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    assert choose_precision("auto", device).name == ("bf16" if ampere else "fp16")


@gpu
def test_the_gradients_of_attention_are_the_same_bits_again(deterministic):
    """Torch's fused kernels warn that theirs are not, which would end this test."""
    network = timm.create_model("test_vit", num_classes=3, img_size=64).cuda()
    images_BCHW = torch.randn(8, 3, 64, 64, device="cuda")

    def gradients() -> list[torch.Tensor]:
        network.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            network(images_BCHW).square().sum().backward()
        return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]

    first, again = gradients(), gradients()
    assert len(first) > 10
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
