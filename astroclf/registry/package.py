"""The trained model as others load it: a folder with ``model.json`` (what it is) and ``weights.pt`` (its numbers).

A folder that was exported for the Hugging Face hub has ``model.safetensors`` in place of ``weights.pt``. That of an
ensemble has a ``model.json`` that names its members, each of which is such a folder in it.

Loading runs no pickled code and no code that came with the model: the network is rebuilt from astroclf's own classes by
the names in ``model.json``, and the weights are read with torch's restricted unpickler.

``mlflow.pyfunc.load_model`` comes in by `_load_pyfunc`. Registered models name this module as their loader, so its
dotted name, ``astroclf.registry.package``, and that function's stay as they are from now on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from astroclf.errors import AstroclfError, ConfigError, WeightsError
from astroclf.evaluation.answering import Answering
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.ensemble_spec import EnsembleSpec
from astroclf.inference.predictor import Predictor
from astroclf.inference.profile import TrainingProfile, read_profile, write_profile
from astroclf.inference.seen import SeenImages, read_seen, write_seen
from astroclf.inference.spec import SPEC_FILE, ModelSpec, damaged, read_plain, read_spec, write_spec
from astroclf.registry.serving import ServedModel, in_one_thread
from astroclf.registry.weights import WEIGHTS_FILE, build_model, chosen_device, read_weights, sha256, weights_path
from astroclf.util.atomic import atomic_path

RUN_FOLDER_PACKAGE = "model"  # where a run folder keeps its package
LOADER_MODULE = "astroclf.registry.package"
_PRIVATE = ("run_folder", "mlflow_run")  # facts that mean something on one machine alone


def write_package(
    folder: str | Path,
    spec: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    seen: SeenImages | None = None,
    profile: TrainingProfile | None = None,
) -> Path:
    """Write a model package, as `write_and_load` does, and return its folder."""
    write_and_load(folder, spec, state_dict, seen, profile=profile)
    return Path(folder)


def write_and_load(
    folder: str | Path,
    spec: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    seen: SeenImages | None = None,
    device: str = "cpu",
    profile: TrainingProfile | None = None,
) -> Predictor:
    """Write a model package, load it to be sure that others can, and return it as loaded.

    Parameters
    ----------
    folder
        Made by this call, once the package loads; must not exist yet.
    spec
        The attributes of `ModelSpec`, of which those with a default can be left out, without ``weights_sha256``.
    state_dict
        Weights of the whole `Classifier`.
    seen
        The images that it was trained on, for whoever tests it.
    device
        Where the loaded model is.
    profile
        What the images that it was trained on are like.

    Raises
    ------
    WeightsError
        The description is of no model, or the weights do not fit it.
    AstroclfError
        The folder exists, or the disk is full.
    """
    folder = Path(folder)
    _refuse_existing(folder)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        with open(temporary / WEIGHTS_FILE, "wb") as file:  # by its path, torch would hide why a disk refuses
            torch.save({name: tensor.detach().cpu() for name, tensor in state_dict.items()}, file)
        try:
            described = ModelSpec(**spec, weights_sha256=sha256(temporary / WEIGHTS_FILE))
        except ConfigError as error:
            raise WeightsError(f"The model package {folder} was not written: {error}.") from error
        write_spec(temporary, described)
        if seen is not None:
            write_seen(temporary, seen)
        if profile is not None:
            write_profile(temporary, profile)
        predictor = load_single(temporary, device)
    return predictor


def write_ensemble(
    folder: str | Path,
    members: Sequence[Predictor],
    answering: Answering,
    *,
    for_others: bool = False,
    **about: Mapping[str, Any],
) -> Path:
    """Write several models as one package, each with all that it is in a folder of its own.

    Parameters
    ----------
    folder
        Made by this call; must not exist yet.
    answering
        What is done to the mean of their answers.
    for_others
        As of `write_again`, for the members.
    about
        ``facts`` and ``metrics`` of `EnsembleSpec`.

    Raises
    ------
    AstroclfError
        The folder exists, the disk is full, or the models know different classes.
    """
    folder = Path(folder)
    _refuse_existing(folder)
    ensemble = Ensemble(members)
    names = [f"member-{number}" for number in range(1, len(ensemble.members) + 1)]
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, member in zip(names, ensemble.members, strict=True):
            write_again(temporary / name, member, for_others=for_others)
        digests = [sha256(temporary / name / SPEC_FILE) for name in names]
        spec = EnsembleSpec(
            members=names, members_sha256=digests, classes=ensemble.classes, **answering.to_plain(), **about
        )
        write_spec(temporary, spec)
        load_package(temporary, device="cpu")
    return folder


def write_again(folder: Path, model: Predictor | Ensemble, *, for_others: bool = False) -> Path:
    """Write a model that was loaded as a package of its own.

    Parameters
    ----------
    for_others
        Whether it goes to another machine: then with the `public_facts` alone.
    """
    facts = {} if model.spec is None else public_facts(model.spec.facts) if for_others else model.spec.facts
    if isinstance(model, Ensemble):
        about = {"facts": facts, "metrics": model.spec.metrics} if model.spec is not None else {}
        return write_ensemble(folder, model.members, model.answering, for_others=for_others, **about)
    given = {field.name: getattr(model.spec, field.name) for field in fields(model.spec)} | {"facts": facts}
    del given["weights_sha256"]
    return write_package(folder, given, model.model.state_dict(), model.seen, model.profile)


def public_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what others may read of a model's facts: no run of this machine, and of a path its last name alone."""

    def public(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [public(each) for each in value]
        return PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value

    return {name: public(value) for name, value in facts.items() if name not in _PRIVATE}


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise AstroclfError(f"The model package {folder} exists already; remove it or write to another folder.")


def load_package(folder: str | Path, device: str = "auto", precision: str = "auto") -> Predictor | Ensemble:
    """Rebuild the model of a package, or the ensemble of one that has several.

    Parameters
    ----------
    device
        ``auto``: the GPU if there is one.
    precision
        Number format of its answers: bf16, fp16, fp32, or ``auto``, the fastest that the device does well.

    Raises
    ------
    WeightsError
        A file is missing or damaged, holds anything but plain values and tensors, or names a class outside astroclf.
    """
    folder = Path(folder)
    spec = read_description(folder)
    if isinstance(spec, ModelSpec):
        return _rebuilt(folder, spec, device, precision)
    path = folder / SPEC_FILE
    for name, digest in zip(spec.members, spec.members_sha256, strict=True):
        if not (folder / name / SPEC_FILE).is_file():
            raise damaged(path, f"its {name} is missing")
        if sha256(folder / name / SPEC_FILE) != digest:
            raise WeightsError(
                f"{folder / name} is not the model that {path} belongs to (its SHA-256 differs). Get all of it again."
            )
    ensemble = Ensemble([load_single(folder / name, device, precision) for name in spec.members], spec)
    if ensemble.classes != tuple(spec.classes):
        raise damaged(path, "'classes' are not those of its members")
    return ensemble


def read_description(folder: str | Path) -> ModelSpec | EnsembleSpec:
    """Read what a package says that it is, of one model or of an ensemble.

    Raises
    ------
    WeightsError
        As `read_spec`.
    """
    path, plain = read_plain(folder)
    try:
        return EnsembleSpec.from_plain(plain) if "members" in plain else ModelSpec.from_plain(plain)
    except ConfigError as error:
        raise damaged(path, str(error)) from error


def load_single(folder: Path, device: str = "auto", precision: str = "auto") -> Predictor:
    """Rebuild the model of a package that has no other in it.

    Raises
    ------
    WeightsError
        As `load_package`.
    """
    return _rebuilt(folder, read_spec(folder), device, precision)


def _rebuilt(folder: Path, spec: ModelSpec, device: str, precision: str) -> Predictor:
    state = read_weights(folder, spec)
    model = build_model(spec, state, described_in=folder / SPEC_FILE, weights_in=weights_path(folder))
    profile = read_profile(folder, int(model.backbone.num_features), spec.channels)  # type: ignore[arg-type]
    return Predictor(model, spec, chosen_device(device), read_seen(folder), precision, profile)


def _load_pyfunc(data_path: str) -> ServedModel:
    """Load a package for ``mlflow.pyfunc.load_model``, which calls the function of this name."""
    return ServedModel(in_one_thread(load_package, data_path))
