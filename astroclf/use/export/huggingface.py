"""A folder for the Hugging Face hub: weights as safetensors, what they are, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from astroclf.inference.predictor import Predictor
from astroclf.inference.profile import write_profile
from astroclf.inference.spec import ModelSpec, write_spec
from astroclf.registry.distribution import WHEEL, write_wheel
from astroclf.registry.package import load_package, public_facts
from astroclf.registry.weights import SAFETENSORS_FILE, sha256
from astroclf.use.export.bundle import example_image
from astroclf.use.export.check import Trial, check_package
from astroclf.util.lazy import lazy_import
from astroclf.util.version import __version__

if TYPE_CHECKING:
    from safetensors import torch as safetensors_torch
else:
    safetensors_torch = lazy_import("safetensors.torch")

_FIGURES = {  # of model.json: the hub's name of the metric, and the card's
    "accuracy": ("accuracy", "accuracy"),
    "macro_f1": ("f1", "macro F1"),
}


def fill_hub_folder(predictor: Predictor, folder: Path, name: str, license: str, trials: Sequence[Trial]) -> str:
    """Write all files of the folder, compare the model in it with this one, and return in words what it holds.

    Parameters
    ----------
    folder
        Exists, and is empty.
    name
        What the model is called.
    license
        Of the weights, by the hub's name of it.
    trials
        The images that they are compared on.
    """
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in predictor.model.state_dict().items()}
    (folder / SAFETENSORS_FILE).write_bytes(safetensors_torch.save(state, metadata={"format": "pt"}))
    facts = public_facts(predictor.spec.facts)
    spec = replace(predictor.spec, facts=facts, weights_sha256=sha256(folder / SAFETENSORS_FILE))
    write_spec(folder, spec)
    if predictor.profile is not None:
        write_profile(folder, predictor.profile)
    config = json.dumps(_config(spec), indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    card = model_card(spec, name, license, knows_novelty=predictor.novelty is not None)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_wheel(folder)
    agreement = check_package(predictor, load_package(folder, device="cpu", precision="fp32"), trials)
    return f"a folder for the Hugging Face hub, which `astroclf.load` takes too; {agreement}. Nothing was uploaded."


def _config(spec: ModelSpec) -> dict[str, Any]:
    """Return what the hub and its readers look for; all that astroclf needs is in model.json."""
    labels = dict(enumerate(spec.classes))
    return {
        "library_name": "astroclf",
        "astroclf_version": __version__,
        "architectures": [str(spec.backbone["_target_"]).rpartition(".")[2]],
        "num_labels": len(labels),
        "id2label": {str(place): label for place, label in labels.items()},
        "label2id": {label: place for place, label in labels.items()},
        "image_size": spec.image_size,
        "num_channels": spec.channels,
    }


def model_card(spec: ModelSpec, name: str, license: str, *, knows_novelty: bool) -> str:
    """Write the card: what people and the hub's pages are told of a model."""
    head = yaml.safe_dump(_head(spec, name, license), sort_keys=False, allow_unicode=True)
    return f"""\
---
{head}---

# {name}

{_what_it_is(spec)}

## How good it is

{_figures(spec)}

## Intended use

Sorting images like those that it was trained on (same survey or telescope, same bands, same cut-out size) into the
classes above, and finding the ones that a person should look at: each answer comes with the estimated probability that
it is wrong.

## Limits

- Every image gets one of the {len(spec.classes)} classes, also one that shows none of them{
        "; `novelty` beyond 1 (`unlike_training`) flags most such images, not all" if knows_novelty else ""
    }.
- Images of another survey, seeing, depth or pixel scale than the training's are answered less well than the figures
  above say, and the confidence does not always tell. Test it on labelled images of your own first:
  `astroclf evaluate`.
- Labels of the training set that are wrong were learned, too.
- An image's answer is no measurement: fractions of classes in a sample need the model's confusions corrected for.

## How to use it

The folder holds astroclf itself, `{WHEEL}`: names in a public package index may be somebody else's.

```sh
pip install ./{WHEEL}
```

```python
import astroclf

model = astroclf.load("path/to/this/folder")
print(model.predict(["{example_image(spec)}"]))  # files, folders, arrays: a row for each image
```

## Where it comes from

{_origin(spec)}
"""


def _head(spec: ModelSpec, name: str, license: str) -> dict[str, Any]:
    head: dict[str, Any] = {
        "license": license,
        "library_name": "astroclf",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "astronomy", "pytorch", "safetensors"],
    }
    found = [
        {"type": kind, "name": title, "value": round(spec.metrics[f"test/{key}"], 4)}
        for key, (kind, title) in _FIGURES.items()
        if _number(spec.metrics, f"test/{key}") is not None
    ]
    if found:
        head["metrics"] = [metric["type"] for metric in found]
        fingerprint = str(spec.facts.get("test_fingerprint", "unknown"))
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"type": "custom", "name": f"held-out test images (fingerprint {fingerprint})"},
            "metrics": found,
        }
        head["model-index"] = [{"name": name, "results": [result]}]
    return head


def _what_it_is(spec: ModelSpec) -> str:
    network = str(spec.backbone["_target_"]).rpartition(".")[2]
    classes = "\n".join(f"- {label}" for label in spec.classes)
    parameters = _number(spec.metrics, "model/parameters")
    size = f", {parameters:,.0f} parameters" if parameters else ""
    views = " Answers are the mean over the eight symmetries of the square." if spec.tta_views > 1 else ""
    return (
        f"A classifier of astronomical images: {network}{size}, for images of {spec.image_size} × {spec.image_size} "
        f"pixels and {spec.channels} channel{'s' if spec.channels > 1 else ''}; others are fitted to that.{views}\n\n"
        f"Classes:\n\n{classes}"
    )


def _figures(spec: ModelSpec) -> str:
    rows = []
    for key, (_, title) in _FIGURES.items():
        value, low, high = (_number(spec.metrics, f"test/{key}{end}") for end in ("", "_low", "_high"))
        if value is not None:
            rows.append(f"| {title} | {value:.3f} | {f'{low:.3f} to {high:.3f}' if low and high else '–'} |")
    for key, title in (("ece", "calibration error (ECE)"), ("chance_accuracy", "accuracy of guessing"),
                       ("majority_accuracy", "accuracy of always saying the most common class")):  # fmt: skip
        value = _number(spec.metrics, f"test/{key}")
        if value is not None:
            rows.append(f"| {title} | {value:.3f} | – |")
    if not rows:
        return "Its package holds no test results."
    count = _number(spec.metrics, "test/images")
    of = f"On {count:,.0f} test images" if count else "On test images"
    table = "\n".join(["| | value | 95 % interval |", "|---|---|---|", *rows])
    recalls = [
        f"| {label} | {value:.3f} |"
        for label in spec.classes
        if (value := _number(spec.metrics, f"test/{label}/accuracy")) is not None
    ]
    by_class = "\n".join(["| class | share of its images that are recognised |", "|---|---|", *recalls])
    return f"{of} that it was not trained on:\n\n{table}" + (f"\n\n{by_class}" if recalls else "")


def _origin(spec: ModelSpec) -> str:
    """Return lines that say which data and which versions made it."""
    rows = [f"- {name.replace('_', ' ')}: `{value}`" for name, value in spec.facts.items()]
    return "\n".join([*rows, f"- weights sha256: `{spec.weights_sha256}`"])


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    value = metrics.get(name)
    return float(value) if isinstance(value, (int, float)) else None
