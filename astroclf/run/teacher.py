"""The teacher of a training: models by their names, refused where they would teach something else, or too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astroclf.data.augment.recipe import Augmentation
from astroclf.errors import ConfigError
from astroclf.inference.predictor import Predictor
from astroclf.inference.teacher import Teacher
from astroclf.models.precision import Precision
from astroclf.registry.load import load
from astroclf.registry.names import found_model
from astroclf.registry.pretrained import TEACHER
from astroclf.run.data import Data
from astroclf.settings.config import Config
from astroclf.util.logs import log


@dataclass(frozen=True)
class Teachers:
    """The models of a teacher, as they were found.

    Attributes
    ----------
    names
        What the given names mean, for good: an alias may be another version's tomorrow.
    """

    names: tuple[str, ...]
    members: tuple[Predictor, ...]

    @property
    def origin(self) -> dict[str, str]:
        """Who they are, by the names that facts and tags have for it."""
        digests = ", ".join(member.spec.weights_sha256 for member in self.members)
        return dict(zip(TEACHER, (", ".join(self.names), digests), strict=True))


def load_teachers(named: Sequence[str], uri: str | None, precision: Precision) -> Teachers:
    """Load the models of a teacher onto the student's device; members of an ensemble are taken one by one.

    Raises
    ------
    AstroclfError
        There is no such model.
    """
    names, members = [], list[Predictor]()
    for each in named:
        with found_model(each, uri) as found:
            names.append(found.name)
            members += load(found.path, uri, precision.device.type, precision.name).members
    return Teachers(tuple(names), tuple(members))


def check_preparation(teachers: Teachers, config: Config) -> None:
    """Refuse a teacher that was trained on images of another size, number of channels or part of the picture.

    Raises
    ------
    ConfigError
        The message names what differs.
    """
    augment = config.augment.values()
    ours = {
        "dataset.image_size": config.dataset.image_size,
        "dataset.channels": config.dataset.channels,
        "augment.output_size": augment.get("output_size"),
        "augment.crop": augment.get("crop"),
    }
    for member in teachers.members:
        spec = member.spec
        theirs = (spec.image_size, spec.channels, spec.augment.get("output_size"), spec.augment.get("crop"))
        for (key, own), other in zip(ours.items(), theirs, strict=True):
            if own != other:
                raise ConfigError(
                    f"{_named(teachers)} was trained with {key}={_typed(other)}, and this training has "
                    f"{_typed(own)}: teacher and student see the same pixels. Set {key}={_typed(other)}, or take "
                    "another teacher."
                )


def teacher_for(teachers: Teachers, config: Config, data: Data, augmentation: Augmentation) -> Teacher:
    """Return the teacher of a student.

    Raises
    ------
    ConfigError
        It knows other classes, read its images in another way, or was trained on images that the student
        is to be tested on.
    """
    reading = config.dataset.reading.to_plain()
    for member in teachers.members:
        if set(member.classes) != set(data.classes):
            others = ", ".join(sorted(set(member.classes) ^ set(data.classes)))
            raise ConfigError(
                f"{_named(teachers)} knows other classes than the data set: only one of them has {others}. A teacher "
                "was trained on the same classes, in whatever order."
            )
        for name, own in (("reading", reading), ("tones", dict(data.cache.tones))):
            if getattr(member.spec, name) != own:
                raise ConfigError(
                    f"{_named(teachers)} was trained on images that were read in another way (its {name}, in "
                    "model.json, are not as here): teacher and student see the same pixels. Train both on the same "
                    "data set, with the same keys of dataset."
                )
    _look_for_leaks(teachers, data)
    return Teacher(teachers.members, data.classes, augmentation)


def _look_for_leaks(teachers: Teachers, data: Data) -> None:
    """Refuse a teacher that has seen test images in its training; tell of what else would flatter the student."""
    digests, splits = data.cache.pixel_digests, data.splits
    for member in teachers.members:
        if member.seen is None:
            log.warning("Whether %s has seen test images is not known: its package does not say.", _named(teachers))
            continue
        tested = int((member.seen.among(digests[splits.test]) != "").sum())
        if tested:
            raise ConfigError(
                f"{_named(teachers)} has seen {tested:,} of the {len(splits.test):,} test images in its training, and "
                "would tell the student their labels. Train the teacher on the same splits (dataset.split_seed, "
                "dataset.fold and the fractions as here), or give these splits by dataset.split_file."
            )
        validated = int((member.seen.among(digests[splits.val]) == "train").sum())
        if validated:
            log.warning(
                "%s was trained on %d of the %d validation images: validation figures of its student are too good, and "
                "calibration fitted on them is too sure.", _named(teachers), validated, len(splits.val),
            )  # fmt: skip


def _named(teachers: Teachers) -> str:
    return f"loss.teacher={teachers.names[0] if len(teachers.names) == 1 else '[' + ','.join(teachers.names) + ']'}"


def _typed(value: object) -> str:
    return "null" if value is None else str(value).replace(" ", "")
