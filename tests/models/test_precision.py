import pytest
import torch
from torch import nn

from astroclf.errors import ConfigError
from astroclf.models.classifier import Classifier
from astroclf.models.precision import Precision, choose_device, choose_precision, for_inference
from astroclf.models.resnet18 import ResNet18

CPU = torch.device("cpu")


def test_auto_takes_what_the_cpu_multiplies():
    abilities = torch.cpu.get_capabilities()
    has_bf16 = bool(abilities.get("amx_bf16") or abilities.get("avx512_bf16"))
    assert choose_precision("auto", CPU).name == ("bf16" if has_bf16 else "fp32")


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_multiplies_in_the_named_format(name, dtype):
    with choose_precision(name, CPU).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_fp16_on_a_cpu_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="bf16, fp32 or auto"):
        choose_precision("fp16", CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="trainer.device=cpu"):
        choose_device("cuda")
    assert choose_device("auto") == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_auto_on_a_gpu():
    device = choose_device("auto")
    assert device.type == "cuda"
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    assert choose_precision("auto", device).name == ("bf16" if ampere else "fp16")


def test_what_answers_fastest_answers_as_autocast_does_to_the_bit():
    torch.manual_seed(0)
    network = Classifier(ResNet18(image_size=32, stem="small"), 3, uncertainty=True).eval()
    images_BCHW = torch.randn(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    precision = Precision("bf16", CPU)
    with torch.inference_mode():
        exact = network(images_BCHW)
        with precision.autocast():
            rounded = network(images_BCHW)
            fast = for_inference(network, precision)
            found = fast(images_BCHW)
        assert torch.equal(found.logits_BC, rounded.logits_BC)
        assert torch.equal(found.uncertainty_B, rounded.uncertainty_B)
        assert not torch.equal(found.logits_BC, exact.logits_BC), "the network's own weights are not rounded"
        assert torch.equal(network(images_BCHW).logits_BC, exact.logits_BC)
        assert for_inference(network, Precision("fp32", CPU)) is network
    assert {layer.weight.dtype for layer in fast.modules() if isinstance(layer, nn.Conv2d)} == {torch.bfloat16}
