"""The recipe of an augmentation as plain values, and the two things it does: draw parameters, apply them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from astroclf.data.augment.draws import DRAWN, Draws, sample_keys, uniforms
from astroclf.data.augment.plan import per_band, plan
from astroclf.errors import ConfigError
from astroclf.settings.training import ColorOrder
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from astroclf.data.augment import on_cpu, on_torch
    from astroclf.util.programs import Programs
    from astroclf.util.replay import Replay
else:  # torch and OpenCV load when the first batch is made: a recipe can be checked without them
    torch = lazy_import("torch")
    on_cpu = lazy_import("astroclf.data.augment.on_cpu")
    on_torch = lazy_import("astroclf.data.augment.on_torch")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A recipe that makes normalised float tensors of stored uint8 pixels, with or without random changes.

    The steps, in this order: centre crop, color, blur, (area averaging where the output is smaller than the crop),
    flips, rotation, zoom, shift and resize as one bilinear resampling, normalisation, noise; with ``color:
    after_geometry`` the color follows on the resampling. What rotation, zoom and shift show of the outside of the crop
    is filled with its background: in each band, the median of the pixels on the crop's border, with the color of the
    image. (Around pictures that were padded to a square that is the padding, black.)

    Parameters
    ----------
    crop : [height, width] or None
        Centre crop in pixels of an image `reference_size` pixels wide; scaled to images of another size. None: no crop.
    reference_size : int
        Image size that `crop` is given for, pixels.
    color : {"before_geometry", "after_geometry"}
        Whether brightness, contrast, saturation and hue come before or after the resampling. After it, the mean grey
        that contrast stretches about is that of the resampled image, with what was filled in.
    brightness, contrast, saturation : float
        Factors are uniform in [max(0, 1 − value), 1 + value]. 0: off.
    hue : float
        Shift uniform in [−value, value] turns, at most 0.5. 0: off.
    blur_kernel : int
        Side of the Gaussian kernel, odd, pixels of the stored image. 0: off.
    blur_sigma : [low, high]
        Standard deviation of the blur, pixels.
    hflip, vflip : float
        Probability of a left-right and of an up-down flip.
    dihedral : bool
        One of the square's eight symmetries, each as likely; takes the place of `hflip` and `vflip`.
    rotation : [low, high]
        Angle in degrees, counter-clockwise.
    zoom : [low, high]
        Magnification; above 1 the object grows.
    shift : float
        Both coordinates move by a uniform fraction of the side in [−value, value].
    noise : float
        Standard deviation of the Gaussian noise, in units of the full brightness range. Not clipped: cutting
        negative values off would brighten the dark sky.
    trivial : bool
        TrivialAugment first of all: one of 14 changes of random strength; see `trivial`.
    degrade : float
        Share of the images that are shown as another survey would have taken them: the eight keys that follow act on
        these, and on no others.
    softening : float or None
        Flux, as a share of white, at which the asinh that the pictures were drawn with turns from linear to
        logarithmic: seeing, depth, dimming, zero points and gradients act on flux. None: brightness is flux.
    pixel_scale : float or None
        Arcseconds a pixel of an image `reference_size` pixels wide, for `seeing`. None: that is in such pixels.
    seeing : float
        Full width at half maximum of the Gaussian that the image is blurred with, uniform in [0, value], arcseconds. A
        point source of width w gets √(w² + value²).
    depth : float
        Loss of depth, uniform in [0, value] magnitudes: the noise of the sky grows by 10^(0.4 loss). 0: it stays, also
        where the image is blurred or dimmed.
    dimming : float
        What is above the background loses a uniform [0, value] magnitudes; the noise of the sky stays.
    zero_point : float
        What is above the background gets a uniform ± value magnitudes in each band of its own: calibration, filters.
    gradient : float
        Rise of the background from one side to the other in any direction, uniform in [0, value] times its noise.
    jpeg : int or None
        Lowest quality of a further JPEG compression, which half of these images get, uniform in [value, 99]. None: off.
    gaps : float
        Share of all images that lack a strip across, as between chips, or a disc, as over a bright star: 2 to 12 % of
        the side wide (the disc twice that), black.
    mixup, cutmix : float
        α of the Beta(α, α) that the share of another image of the batch is drawn from, blended in, or pasted in as a
        rectangle; see `mixing`. 0: off. With both, a batch gets one of them. The loader does this, not the recipe.
    output_size : int or None
        Side of the square output, pixels. None: the size of the stored image.
    mean, std : list of float or None
        Normalisation (x / 255 − mean) / std; one value for all bands, or one for each. None: ImageNet's for three
        bands, 0.5 for any other number.

    Notes
    -----
    Photometry is one affine map of a pixel's bands, M x + o. Brightness b multiplies; contrast c stretches about the
    mean grey of the (cropped) image; saturation s blends with the pixel's grey (0.299 R + 0.587 G + 0.114 B). It
    differs from torchvision's ``ColorJitter`` in three ways: hue turns the color about the grey axis of the RGB cube,
    which keeps R + G + B and is linear, where torchvision turns the hexagonal H of HSV; the order is always
    brightness, contrast, saturation, hue, where torchvision shuffles it; values are clipped to 0…255 once, at
    the end. Rotation is bilinear; torchvision's default is nearest neighbour.

    Images of other than three bands have no hue. Exposure is common to their bands, so brightness and contrast are one
    factor for all (contrast about each band's own mean); saturation is a factor of its own for each band, from
    [1 − value, 1 + value], which changes the ratios between bands as saturation changes those of RGB.
    """

    reference_size: int
    color: ColorOrder
    blur_sigma: Sequence[float]
    mean: Sequence[float] | float | None
    std: Sequence[float] | float | None
    crop: Sequence[int] | None = None
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur_kernel: int = 0
    hflip: float = 0.0
    vflip: float = 0.0
    dihedral: bool = False
    rotation: Sequence[float] = (0.0, 0.0)
    zoom: Sequence[float] = (1.0, 1.0)
    shift: float = 0.0
    noise: float = 0.0
    trivial: bool = False
    degrade: float = 0.0
    softening: float | None = None
    pixel_scale: float | None = None
    seeing: float = 0.0
    depth: float = 0.0
    dimming: float = 0.0
    zero_point: float = 0.0
    gradient: float = 0.0
    jpeg: int | None = None
    gaps: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    output_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, (float(value),) if isinstance(value, (int, float)) else tuple(value))
        for name in ("crop", "blur_sigma", "rotation", "zoom"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        _check(self)

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0

    def draw(self, seed: int, epoch: int, rows: np.ndarray) -> Draws:
        """Draw the random parameters of the samples `rows` (B,) in an epoch: for each a function of (seed, epoch, row).

        Every parameter has its own place in the row's stream of numbers, so that switching one step on or off
        leaves the draws of all others as they were.
        """
        keys = sample_keys(seed, epoch, np.atleast_1d(rows))
        u = uniforms(keys, DRAWN).T
        return Draws(
            brightness=_between(u[0], *_jitter(self.brightness)),
            contrast=_between(u[1], *_jitter(self.contrast)),
            saturation=_between(u[2], *_jitter(self.saturation)),
            hue=_between(u[3], -self.hue, self.hue),
            blur_sigma=_between(u[4], *self.blur_sigma),
            flip_horizontal=u[5] < (0.5 if self.dihedral else self.hflip),
            flip_vertical=u[6] < self.vflip,
            quarter_turns=(u[7] * 4).astype(np.int64) * int(self.dihedral),
            angle=_between(u[8], *self.rotation),
            zoom=_between(u[9], *self.zoom),
            shift_x=_between(u[10], -self.shift, self.shift),
            shift_y=_between(u[11], -self.shift, self.shift),
            key=keys,
        )

    def __call__(
        self,
        images_BHWC: torch.Tensor,
        draws: Draws | None,
        threads: int | None = None,
        recorded: Replay | Programs | None = None,
    ) -> torch.Tensor:
        """Apply the recipe to a batch, on the batch's device.

        Parameters
        ----------
        images_BHWC : uint8
        draws
            From `draw`, one per image. None: the evaluation transform, which only crops, resizes and normalises.
        threads
            CPU threads for a batch in main memory. None: one per core; 1 where the caller runs several at once.
        recorded
            Of a caller with many batches on a GPU: what is done to them is recorded there, or compiled.

        Returns
        -------
        images_BCHW : float32, channels_last
            On the device of the input. OpenCV computes in main memory, torch on other devices; they agree to 2/255; to
            4/255 where strong colors come after the geometry, whose rounding they stretch.

        Raises
        ------
        ConfigError
            If `mean` or `std` has neither one value nor one per band.
        """
        if images_BHWC.dtype != torch.uint8 or images_BHWC.ndim != 4:
            raise TypeError(f"needs uint8 images (B, H, W, C), got {images_BHWC.dtype} {tuple(images_BHWC.shape)}")
        steps = plan(self, tuple(images_BHWC.shape), draws)
        if images_BHWC.device.type != "cpu":
            return on_torch.apply(images_BHWC, steps, recorded)
        images_out = on_cpu.apply(images_BHWC.numpy(), steps, threads)
        return torch.from_numpy(images_out).permute(0, 3, 1, 2)  # NHWC memory seen as BCHW is channels_last

    def to_uint8(self, images_BCHW: torch.Tensor) -> np.ndarray:
        """Undo the normalisation, for pictures of what the network sees: (B, H, W, C) uint8 in main memory."""
        images_BHWC = images_BCHW.detach().float().cpu().permute(0, 2, 3, 1).numpy()
        mean, std = (per_band(self, name, images_BHWC.shape[3]) for name in ("mean", "std"))
        values = (images_BHWC * std + mean) * 255.0
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _between(u: np.ndarray, low: float, high: float) -> np.ndarray:
    return low + (high - low) * u


def _jitter(amount: float) -> tuple[float, float]:
    return max(0.0, 1.0 - amount), 1.0 + amount


def _check(recipe: Augmentation) -> None:
    def require(good: bool, key: str, rule: str) -> None:
        if not good:
            value: Any = getattr(recipe, key)
            shown = list(value) if isinstance(value, tuple) else value
            raise ConfigError(f"augment.{key}={shown} cannot work: {rule}.")

    size = recipe.reference_size
    require(size >= 1, "reference_size", "it is a size in pixels, at least 1")
    require(
        recipe.crop is None or (len(recipe.crop) == 2 and all(1 <= side <= size for side in recipe.crop)),
        "crop",
        f"give [height, width] between 1 and augment.reference_size ({size}) pixels, or null for no crop",
    )
    known = get_args(ColorOrder)
    require(recipe.color in known, "color", f"brightness and its like come {' or '.join(known)}")
    for key in ("brightness", "contrast", "saturation"):
        require(getattr(recipe, key) >= 0, key, "factors are drawn from 1 ± the value, so it is 0 (off) or more")
    require(0 <= recipe.hue <= 0.5, "hue", "the shift is in turns, from 0 (off) to 0.5 (any hue)")
    odd_or_off = recipe.blur_kernel == 0 or (recipe.blur_kernel > 0 and recipe.blur_kernel % 2 == 1)
    require(odd_or_off, "blur_kernel", "the kernel's side is an odd number of pixels, or 0 for no blur")
    for key in ("blur_sigma", "rotation", "zoom"):
        bounds = getattr(recipe, key)
        require(len(bounds) == 2 and bounds[0] <= bounds[1], key, "give [low, high] with low ≤ high")
    require(recipe.blur_sigma[0] > 0, "blur_sigma", "a Gaussian's standard deviation is above 0 pixels")
    require(recipe.zoom[0] > 0, "zoom", "a magnification is above 0; 1 leaves the size as it is")
    for key in ("hflip", "vflip"):
        require(0 <= getattr(recipe, key) <= 1, key, "it is a probability from 0 to 1")
        redundant = recipe.dihedral and getattr(recipe, key) > 0
        require(not redundant, key, "augment.dihedral=true already contains the flips, so set this to 0.0")
    require(0 <= recipe.shift <= 1, "shift", "it is a fraction of the image's side from 0 to 1")
    require(recipe.noise >= 0, "noise", "a standard deviation is 0 (off) or more")
    for key in ("degrade", "gaps"):
        require(0 <= getattr(recipe, key) <= 1, key, "it is a share of the images from 0 (off) to 1")
    require(recipe.softening is None or recipe.softening > 0, "softening", "give a share of white, or null for none")
    for key in ("mixup", "cutmix"):
        require(getattr(recipe, key) >= 0, key, "it is the α of a Beta distribution above 0, or 0 (off)")
    for key in ("seeing", "depth", "dimming", "zero_point", "gradient"):
        require(getattr(recipe, key) >= 0, key, "it is the largest change, so it is 0 (off) or more")
    require(recipe.pixel_scale is None or recipe.pixel_scale > 0, "pixel_scale", "give arcseconds, or null for pixels")
    require(recipe.jpeg is None or 1 <= recipe.jpeg <= 99, "jpeg", "a quality is from 1 to 99, or null for none")
    require(recipe.output_size is None or recipe.output_size >= 1, "output_size", "give pixels, or null for no change")
    for key in ("mean", "std"):
        require(getattr(recipe, key) != (), key, "give one value for all bands, one for each, or null")
    require(recipe.std is None or bool(np.all(np.asarray(recipe.std) > 0)), "std", "it is divided by, so it is above 0")
