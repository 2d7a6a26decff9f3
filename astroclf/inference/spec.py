"""What ``model.json`` says: every key with its type, checked once, before anything is built from it."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from astroclf.data.augment.plan import per_band
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.decode.tone import tones_from_plain
from astroclf.errors import ConfigError, WeightsError
from astroclf.evaluation.answering import Answering
from astroclf.evaluation.calibration import Calibration
from astroclf.evaluation.confidence import NormConfidence, ScaledConfidence
from astroclf.evaluation.conformal import Conformal
from astroclf.evaluation.novelty import NoveltyScale
from astroclf.models.classifier import Classifier
from astroclf.models.network import NetworkSpec
from astroclf.settings.base import Range, Settings, at_least
from astroclf.settings.components import locate, parameters_of
from astroclf.settings.reading import ReadSettings
from astroclf.util.text import nearest

FORMAT = 4
SPEC_FILE = "model.json"
IMAGE_SIDES = Range(at_least=1, below=2**14)  # pixels: a larger image of three bands has a gigabyte
Part = TypeVar("Part", Calibration, NormConfidence, ScaledConfidence, Conformal, NoveltyScale)
_SHOWN_LENGTH = 60  # characters of a wrong value that an error shows


@dataclass(frozen=True, kw_only=True)
class Description(Settings):
    """What a ``model.json`` says, in plain values, each of the type that is declared, just as JSON gives it."""

    def __post_init__(self) -> None:
        _check_types(self)
        super().__post_init__()

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the description that the keys of a file make.

        Raises
        ------
        ConfigError
            A key is missing or unknown, or has a value that no model has.
        """
        _check_keys(plain, cls.declared())
        return cls(**plain)


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Description):
    """The description of a packaged model, in plain values.

    Attributes
    ----------
    backbone : mapping
        ``_target_`` and keyword arguments of that class.
    classes : list of str
        In label order.
    image_size : int
        Side to which raw images are fitted, pixels.
    augment : mapping
        Keyword arguments of `Augmentation`, of which the evaluation transform is used.
    head : mapping
        Keyword arguments of `Classifier`.
    activation : str
        That of the loss.
    tta_views : int
        1, or 8: mean over the symmetries of the square.
    reading, tones : mapping
        How files became pixels: `ReadSettings`, and the `Tone` of each kind of numbers.
    calibration : mapping
        Keyword arguments of `Calibration`, and under ``confidence`` of `NormConfidence` or `ScaledConfidence`; empty:
        probabilities and confidence are the network's own.
    conformal : mapping
        Keyword arguments of `Conformal`; empty: it gives no prediction sets.
    facts, metrics : mapping
        For whoever reads the file: where the model comes from, what its test said.
    weights_sha256 : str
        Of the file with the weights.

    Raises
    ------
    ConfigError
        A value that no model has; the message names its key.
    """

    backbone: Mapping[str, Any]
    classes: Sequence[str]
    image_size: Annotated[int, IMAGE_SIDES]
    augment: Mapping[str, Any]
    weights_sha256: str
    head: Mapping[str, Any] = field(default_factory=dict)
    channels: Annotated[int, at_least(1)] = 3
    activation: Literal["softmax", "sigmoid"] = "softmax"
    tta_views: Literal[1, 8] = 1
    reading: Mapping[str, Any] = field(default_factory=dict)
    tones: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    conformal: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.classes or "" in self.classes or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"'classes' must be names, each of them once, not {shown(self.classes)}")
        _check_arguments("augment", Augmentation, self.augment)
        for name in ("mean", "std"):
            per_band(self.augmentation, name, self.channels)
        size = self.network.image_size
        if not IMAGE_SIDES.holds(size):
            raise ConfigError(f"'augment.output_size' is {size}; it must be {IMAGE_SIDES}")
        _check_arguments("head", Classifier, self.head, given=("backbone", "num_classes"))
        _ = self.answering
        try:
            ReadSettings.from_plain(self.reading)
            tones_from_plain(self.tones)
        except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(f"'reading' and 'tones' are not what a training wrote: {error}") from error

    def check_backbone(self) -> None:
        """Check the arguments of the backbone, whose class is imported for it.

        Raises
        ------
        ConfigError
            It is none of the classes that may be named, or takes no such arguments.
        """
        cls = locate("backbone", str(self.backbone.get("_target_", "")))
        own = {key: value for key, value in self.backbone.items() if key != "_target_"}
        _check_arguments("backbone", cls, own, given=("weights", "image_size", "channels"))

    @property
    def augmentation(self) -> Augmentation:
        """The recipe whose evaluation transform prepares the images."""
        return Augmentation(**self.augment)

    @property
    def answering(self) -> Answering:
        """What is done to the network's predictions before anybody sees them."""
        has_head = bool(self.head.get("uncertainty", False))
        return answering_of(self.calibration, self.conformal, len(self.classes), uncertainty_head=has_head)

    @property
    def network(self) -> NetworkSpec:
        """The description of the network alone."""
        return NetworkSpec(
            backbone=self.backbone,
            num_classes=len(self.classes),
            image_size=self.augment.get("output_size") or self.image_size,
            channels=self.channels,
            head=self.head,
        )


def read_spec(folder: str | Path) -> ModelSpec:
    """Read ``model.json`` and check every key of it.

    Raises
    ------
    WeightsError
        There is none, it is damaged, or it has another format than this version of astroclf reads.
    """
    path, plain = read_plain(folder)
    try:
        return ModelSpec.from_plain(plain)
    except ConfigError as error:
        raise damaged(path, str(error)) from error


def read_plain(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """Read the keys of ``model.json``, and return them with its path; those of a model are not checked yet.

    Raises
    ------
    WeightsError
        As `read_spec`.
    """
    path = Path(folder) / SPEC_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise WeightsError(f"{folder} is no model package: {SPEC_FILE} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"no valid JSON: {error}") from error
    if not isinstance(plain, dict):
        raise damaged(path, f"it holds {shown(plain)} instead of keys")
    found = plain.pop("format", None)
    if found != FORMAT or isinstance(found, bool):
        raise WeightsError(
            f"{path} has format {shown(found)}; this version of astroclf reads format {FORMAT}. Use the version that "
            "wrote it."
        )
    return path, plain


def write_spec(folder: Path, spec: Description) -> None:
    """Write ``model.json``; metrics without a value become null, since JSON knows no NaN."""
    text = json.dumps(_without_nan({"format": FORMAT, **spec.to_plain()}), indent=2, allow_nan=False)
    (folder / SPEC_FILE).write_text(text + "\n", encoding="utf-8")


def damaged(path: Path, fault: str) -> WeightsError:
    """Return the error that refuses a file of a package."""
    return WeightsError(f"{path} is damaged ({fault.rstrip('.')}). Fetch or package the model again.")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def answering_of(
    calibration: Mapping[str, Any], conformal: Mapping[str, Any], classes: int, *, uncertainty_head: bool
) -> Answering:
    """Make what is done to predictions of the keys ``calibration`` and ``conformal`` of a ``model.json``.

    Raises
    ------
    ConfigError
        A key of theirs is wrong, or they are for another number of classes.
    """
    own = {key: value for key, value in calibration.items() if key not in ("confidence", "novelty")}
    confidence, novelty = calibration.get("confidence", {}), calibration.get("novelty", {})
    for name, values in (("confidence", confidence), ("novelty", novelty)):
        if not _holds(Mapping, values):
            raise ConfigError(f"'calibration.{name}' cannot be {shown(values)}")
    scaled = "temperature" in confidence
    answering = Answering(
        calibration=_part("calibration", Calibration, own),
        confidence=_part("calibration.confidence", ScaledConfidence, confidence)
        if scaled
        else _part("calibration.confidence", NormConfidence, confidence),
        conformal=_part("conformal", Conformal, conformal),
        novelty=_part("calibration.novelty", NoveltyScale, novelty),
        uncertainty_head=uncertainty_head,
    )
    answering.check(classes)
    return answering


def _check_types(spec: Description) -> None:
    """Refuse, by a ConfigError, values of other types than a description declares, just as JSON gives them."""
    for name, key in spec.declared().items():
        if not _holds(key.type, getattr(spec, name)):
            raise ConfigError(f"'{name}' cannot be {shown(getattr(spec, name))}")


def _check_keys(plain: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse, by a ConfigError, a file that lacks keys or has others."""
    if missing := [key for key in known if key not in plain]:
        raise ConfigError(f"it lacks {', '.join(missing)}")
    for key in plain:
        if key not in known:
            raise ConfigError(f"'{key}' is no key of a model. {nearest(key, known)}")


def _part(section: str, cls: type[Part], arguments: Mapping[str, Any]) -> Part | None:
    """Make a part of the answering of its arguments; None where there are none."""
    if not arguments:
        return None
    _check_arguments(section, cls, arguments)
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{section}: {error}") from error


def _check_arguments(section: str, cls: type, arguments: Mapping[str, Any], given: Sequence[str] = ()) -> None:
    """Refuse arguments that a class does not take, by their names and the types that it declares.

    Parameters
    ----------
    given
        Further arguments, which the caller passes.
    """
    parameters = parameters_of(cls)
    try:
        hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    except NameError:  # of types that an outside package imports for its type checker alone
        hints = {}
    for key, value in arguments.items():
        if key not in parameters and "**" not in parameters:
            raise ConfigError(f"'{section}.{key}' is no key of {cls.__name__}. {nearest(key, parameters)}")
        if not _holds(hints.get(key, Any), value):
            raise ConfigError(f"'{section}.{key}' cannot be {shown(value)}")
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in (*arguments, *given, "**"):
            raise ConfigError(f"it lacks {section}.{key}")


def _holds(hint: Any, value: Any) -> bool:
    """Tell whether a type holds a value just as JSON gives it: no text for a number, no true for 1, no infinity."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_holds(part, value) for part in parts)
    if kind is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and all(_holds(parts[0] if parts else Any, item) for item in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
    if kind is Mapping:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    return kind not in (bool, int, str, NoneType) or type(value) is kind  # of others, JSON has no form


def shown(value: Any) -> str:
    """Write a wrong value for an error, shortened."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinity by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value
