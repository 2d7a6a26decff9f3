"""From composed yaml to a typed config.

Hydra composes plain yaml; `typed` then checks each key and value against `astroclf.settings.schema`, so that a
misspelt one is refused by its nearest valid name before torch is imported. Groups that people extend (dataset,
backbone, loss, augment, optimizer, scheduler, tracking) may carry keys of their own: those that the chosen yaml
declares, with the type of the value there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, make_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from astroclf.errors import ConfigError
from astroclf.evaluation.metrics import MONITORS
from astroclf.settings.components import check_target
from astroclf.settings.fits import FitsSettings
from astroclf.settings.schema import COMPONENT_KEYS, SECTIONS, Component, Config
from astroclf.settings.split import SplitSettings
from astroclf.util.text import nearest

Schema = TypeVar("Schema")


def typed(
    composed: DictConfig,
    declared: Mapping[str, Mapping[str, Any]],
    schema: type[Schema] = Config,  # type: ignore[assignment]
) -> Schema:
    """Check a composed config, key by key, and return it typed.

    Parameters
    ----------
    composed : DictConfig
        What Hydra composed (without the ``hydra`` node).
    declared : mapping
        For each group of `COMPONENT_KEYS`, the keys and default values of the chosen yaml file.
    schema : type
        `Config`, or the dataclass of another front door: its fields are groups, sections and keys.

    Raises
    ------
    ConfigError
        An unknown key, a value of the wrong type or out of range, or a mandatory value that is missing.
    """
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The configuration does not resolve: {error}") from error
    assert isinstance(plain, dict)
    known = {name: hint for name, hint in get_type_hints(schema).items() if name != "plain"}
    for key in map(str, plain):
        if key not in known:
            raise ConfigError(f"'{key}' is no key of the configuration. {nearest(key, known)}")
    keys = {name: hint for name, hint in known.items() if name not in COMPONENT_KEYS and name not in SECTIONS}
    top = OmegaConf.structured(make_dataclass("Keys", [(name, hint, MISSING) for name, hint in keys.items()]))
    parts: dict[str, Any] = {}
    for name in known:
        if name in COMPONENT_KEYS:
            parts[name] = _component(name, plain.get(name) or {}, declared.get(name, {}))
        elif name in SECTIONS:
            parts[name] = _section(name, SECTIONS[name], plain.get(name) or {})
        elif name in plain:
            parts[name] = _assign(top, name, name, plain[name])
    if "plain" in {f.name for f in fields(schema)}:  # type: ignore[arg-type]
        parts["plain"] = {str(key): value for key, value in plain.items()}
    config = schema(**parts)
    if isinstance(config, Config):
        _check_ranges(config)
    _require_at_least({"num_workers": (parts.get("num_workers"), 1)})
    _check_dataset(parts["dataset"].options)
    return config


def _component(group: str, given: Mapping[str, Any], declared: Mapping[str, Any]) -> Component:
    common = get_type_hints(COMPONENT_KEYS[group])
    schema = OmegaConf.structured(COMPONENT_KEYS[group])
    options: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{group}.{key}"
        if value == "???":
            raise ConfigError(f"'{name}' has no value yet. Give it on the command line: {name}=...")
        if key not in declared:
            valid = {f"{group}.{k}" for k in declared if not k.startswith("_")}
            raise ConfigError(f"'{name}' is no key of the chosen {group}. {nearest(name, valid)}")
        if is_dataclass(common.get(key)):
            options[key] = _nested(name, common[key], value)
        else:
            options[key] = _assign(schema, key, name, value) if key in common else _like(name, declared[key], value)
    target = options.pop("_target_", None)
    if target is None:
        raise ConfigError(f"The chosen {group} names no class: its yaml needs a `_target_` line.")
    check_target(group, str(target))
    return Component(group, str(target), options)


def _nested(name: str, schema: type, given: Any) -> dict[str, Any]:
    """A mapping below a key of a group, checked against the dataclass that will be made of it."""
    if not isinstance(given, Mapping):
        example = f"{name}.{fields(schema)[0].name}"
        raise ConfigError(f"'{name}' cannot be {given!r}: it holds keys of its own, such as {example}.")
    node = OmegaConf.structured(schema)
    OmegaConf.set_readonly(node, False)  # a frozen dataclass is one that cannot be assigned to
    checked = _assign_each(node, name, schema, given)
    schema(**checked)  # refuses what is out of range
    return checked


def _section(name: str, schema: type, given: Mapping[str, Any]) -> Any:
    valid = [f.name for f in fields(schema)]
    node = OmegaConf.structured(schema)
    _assign_each(node, name, schema, given)
    absent = [key for key in valid if key not in given]
    if absent:
        raise ConfigError(f"The {name} section lacks {', '.join(f'{name}.{key}' for key in absent)}.")
    return OmegaConf.to_object(node)


def _assign_each(node: DictConfig, name: str, schema: type, given: Mapping[str, Any]) -> dict[str, Any]:
    valid = [f.name for f in fields(schema)]
    for key in map(str, given):
        if key not in valid:
            full = f"{name}.{key}"
            raise ConfigError(f"'{full}' is no key of {name}. {nearest(full, [f'{name}.{k}' for k in valid])}")
    return {str(key): _assign(node, str(key), f"{name}.{key}", value) for key, value in given.items()}


def _assign(node: DictConfig, key: str, name: str, value: Any) -> Any:
    """Put a value through the schema's own conversion (``"1e-3"`` to float, choices of a Literal)."""
    try:
        OmegaConf.update(node, key, value, merge=False)
        converted = node[key]
    except OmegaConfBaseException as error:
        hint = _remedy(_hint(node, key), value) or str(error).splitlines()[0].rstrip(".") + "."
        raise ConfigError(f"'{name}' cannot be {value!r}. {hint}") from error
    if isinstance(converted, (DictConfig, ListConfig)):
        return OmegaConf.to_container(converted)
    return converted


def _hint(node: DictConfig, key: str) -> Any:
    schema = OmegaConf.get_type(node)
    assert schema is not None
    return get_type_hints(schema).get(key)


def _remedy(hint: Any, value: Any) -> str:
    """What to give instead, where the type says it better than OmegaConf."""
    if get_origin(hint) is Literal:
        return nearest(str(value), get_args(hint))
    if list in (get_origin(part) for part in (hint, *get_args(hint))):
        return "Give a list, such as [a,b]."
    return ""


def _like(name: str, default: Any, value: Any) -> Any:
    """`value` as the type of `default`, the value in the yaml that declares the key; null there takes anything."""
    if default is None or value is None or default == "???":
        return value
    if isinstance(default, float) and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(default, str) and _is_number(default):  # yaml reads 1e-3 as text
        return _like(name, float(default), value)
    kind = type(default)
    if isinstance(value, kind) and isinstance(value, bool) == isinstance(default, bool):
        return value
    raise ConfigError(f"'{name}' cannot be {value!r}: it takes a {kind.__name__}, such as {default!r}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_ranges(config: Config) -> None:
    trainer = config.trainer
    at_least: dict[str, tuple[Any, float]] = {
        "trainer.epochs": (trainer.epochs, 1),
        "trainer.batch_size": (trainer.batch_size, 1),
        "trainer.grad_accum_steps": (trainer.grad_accum_steps, 1),
        "trainer.max_steps": (trainer.max_steps, 0),
        "trainer.validate_every_steps": (trainer.validate_every_steps, 1),
        "trainer.keep_lowest_loss": (trainer.keep_lowest_loss, 0),
        "trainer.keep_every": (trainer.keep_every, 1),
        "trainer.max_nonfinite_steps": (trainer.max_nonfinite_steps, 1),
        "trainer.num_workers": (trainer.num_workers, 1),
        "head.hidden": (config.head.hidden, 1),
        "head.uncertainty_weight": (config.head.uncertainty_weight, 0),
        "optimizer.weight_decay": (config.optimizer.options.get("weight_decay"), 0),
        "loss.gamma": (config.loss.options.get("gamma"), 0),
        "scheduler.start_lr": (config.scheduler.options.get("start_lr"), 0),
        "scheduler.end_lr": (config.scheduler.options.get("end_lr"), 0),
        "seed": (config.seed, 0),
    }
    _require_at_least(at_least)
    above_zero = {
        "trainer.grad_clip_norm": trainer.grad_clip_norm,
        "trainer.validate_every": trainer.validate_every,
        "trainer.patience": trainer.patience,
        "trainer.save_every_minutes": trainer.save_every_minutes,
        "optimizer.lr": config.optimizer.options.get("lr"),
    }
    for name, value in above_zero.items():
        if value is not None and not value > 0:
            raise ConfigError(f"'{name}' is {value}; it must be above 0.")
    below_one = {
        "trainer.ema_decay": trainer.ema_decay,
        "head.dropout": config.head.dropout,
        "loss.beta": config.loss.options.get("beta"),
        "loss.label_smoothing": config.loss.options.get("label_smoothing"),
        "scheduler.warmup_fraction": config.scheduler.options.get("warmup_fraction"),
    }
    _require_fractions(below_one)
    if config.monitor not in MONITORS:
        raise ConfigError(f"'monitor' cannot be {config.monitor!r}. {nearest(config.monitor, MONITORS)}")
    if config.evaluation.tta_views not in (1, 8):
        raise ConfigError(f"'evaluation.tta_views' is {config.evaluation.tta_views}; it must be 1 or 8.")
    name = str(config.tracking.options.get("model_name") or config.dataset["name"])
    if not name.strip() or "/" in name or ":" in name:
        raise ConfigError(f"A model cannot be registered as {name!r}: set 'tracking.model_name' without / and :.")


def _check_dataset(data: Mapping[str, Any]) -> None:
    _require_at_least(
        {"dataset.image_size": (data.get("image_size"), 8), "dataset.channels": (data.get("channels"), 1)}
    )
    _require_fractions({f"dataset.{name}": data.get(name) for name in ("val_fraction", "test_fraction")})
    if data["val_fraction"] + data["test_fraction"] >= 1:
        raise ConfigError("'dataset.val_fraction' and 'dataset.test_fraction' together leave nothing to train on.")
    SplitSettings.from_config(data)  # refuses what is out of range
    if (arcsec := data.get("sky_arcsec")) is not None and not arcsec > 0:
        raise ConfigError(f"'dataset.sky_arcsec' is {arcsec}; it must be above 0, or null.")
    classes = data.get("classes")
    if not (classes is None or classes == "found" or isinstance(classes, list)):
        raise ConfigError(f"'dataset.classes' cannot be {classes!r}: give a list such as [star,galaxy], or found.")
    if "fits" in data:
        FitsSettings(**data["fits"]).check_channels(data["channels"])


def _require_at_least(values: Mapping[str, tuple[Any, float]]) -> None:
    for name, (value, low) in values.items():
        if value is not None and not value >= low:
            raise ConfigError(f"'{name}' is {value}; it must be at least {low}.")


def _require_fractions(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is not None and not 0 <= value < 1:
            raise ConfigError(f"'{name}' is {value}; it must be at least 0 and below 1.")


def config_from_plain(plain: Mapping[str, Any]) -> Config:
    """The typed form of a run folder's resolved `config.yaml`, whose groups declare their own keys."""
    declared = {group: plain.get(group) or {} for group in COMPONENT_KEYS}
    return typed(OmegaConf.create(dict(plain)), declared)
