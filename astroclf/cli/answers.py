"""What is said to somebody who typed a key, a choice or an option that is none: what they meant, in a sentence."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from astroclf.cli.grammar import DATA_PATH, Assignment, data_set_words, exists, quoted
from astroclf.cli.options import OPTION_NAMES
from astroclf.cli.vocabulary import Vocabulary, is_leaf, meant
from astroclf.errors import ConfigError
from astroclf.util.text import closest, nearest, nearest_path

# Names that other tools have for a key of ours, and those that we had for it before.
_HABITS = {
    "amp": "trainer.precision",
    "arch": "backbone",
    "augmentation": "augment",
    "batch": "trainer.batch_size",
    "bs": "trainer.batch_size",
    "checkpoint": "resume",
    "ckpt": "resume",
    "criterion": "loss",
    "data": DATA_PATH,
    "data_dir": DATA_PATH,
    "data_path": DATA_PATH,
    "dataset.contradictions": "dataset.label_conflicts",
    "dataset.residency": "dataset.keep_images_on",
    "fp16": "trainer.precision",
    "img_size": "dataset.image_size",
    "learning_rate": "optimizer.lr",
    "network": "backbone",
    "objective": "monitor",
    "output": "hydra.run.dir",
    "output_dir": "hydra.run.dir",
    "pretrained": "backbone.weights",
    "trainer.max_skipped": "trainer.max_nonfinite_steps",
    "transforms": "augment",
    "workers": "trainer.num_workers",
}
# Names of what is done in another way altogether: the key that does it, and the answer.
DEVICE = "trainer.device"
_GPU = (
    DEVICE,
    "The device is chosen with trainer.device=cuda or cpu, and which of several GPUs before the command, as in "
    "CUDA_VISIBLE_DEVICES=0 astroclf train.",
)
_CLASSES = (
    "dataset.classes",
    "The classes are found in the data set and need no number; dataset.classes=[star,galaxy] keeps some of them.",
)
_NETWORK = (
    "backbone",
    "The network is chosen with backbone=, weights to start from are given with backbone.weights=, and a stopped run "
    "goes on with resume=.",
)
_OTHER_WAYS = {
    **dict.fromkeys(("gpu", "gpus", "gpu_id", "gpu_ids", "cuda", "device_id", "devices"), _GPU),
    **dict.fromkeys(("num_classes", "n_classes", "nb_classes", "labels"), _CLASSES),
    "model": _NETWORK,
}
OPEN = (  # mappings that take new entries
    "hydra.sweeper.params",
    "hydra.sweeper.when",
    "hydra.sweeper.slurm.options",
    "hydra.sweeper.ray.env",
    "hydra.job.env_set",
)
_COMPLETION = '--completion, as in eval "$(astroclf --completion bash)", completes words in the shell.'


class Answers:
    """Answers in the words of one verb.

    Parameters
    ----------
    vocabulary
        What the verb understands.
    program
        How the verb is called, such as ``astroclf train``.
    """

    def __init__(self, vocabulary: Vocabulary, program: str) -> None:
        self.vocabulary, self.program = vocabulary, program

    # ---- keys and values -------------------------------------------------------------------------------------------

    def unknown_key(self, key: str, value: str, composed: DictConfig) -> ConfigError:
        """Return what to say about a key that the composition has not got; its value may be the path of images."""
        if key.startswith(tuple(f"{mapping}." for mapping in OPEN)):
            return ConfigError(f"'{key}' is a new entry, which is added with a plus sign: +{key}=...")
        if holders := self.vocabulary.choices_with(key):
            group = key.partition(".")[0]
            chosen = composed.hydra.runtime.choices.get(group)
            text = f"'{key}' is no key of the chosen {group}, {chosen}, only of {_listed(holders)}."
            return ConfigError(f"{text} {self._reader(value)}" if key == DATA_PATH and exists(value) else text)
        return ConfigError(f"'{key}' is no key of this configuration. {self._instead(key, value, composed)}")

    def _reader(self, path: str) -> str:
        """Return a sentence that says how to read what lies at a path."""
        return f"What is there is read with\n  {self.program} {shlex.join(data_set_words(path))}"

    def _instead(self, key: str, value: str, composed: DictConfig) -> str:
        """Return a sentence that says what to type instead of a wrong key."""
        known = self._known(composed)
        about, sentence = _OTHER_WAYS.get(key.lower(), ("", ""))
        if about in known:
            return sentence
        names = self._meant(key, known)
        if not names:
            return f"`{self.program} --help` lists the keys."
        if names[0] == DATA_PATH and exists(value):
            return self._reader(value)
        chosen = {*self.vocabulary.groups, *self.vocabulary.keys(composed)}
        holders = [] if names[0] in chosen else self.vocabulary.choices_with(names[0])
        remark = f" It is a key of {names[0].partition('.')[0]}={_listed(holders, 'or')}." if holders else ""
        return f"Did you mean {' or '.join(map(repr, names))}?{remark}"

    def _meant(self, key: str, known: Sequence[str]) -> list[str]:
        """Return the keys that a wrong one may have been meant for."""
        habit = _HABITS.get(key.lower().replace("-", "_"), "")
        return [habit] if habit in known else meant(key, known)

    def _known(self, composed: DictConfig) -> list[str]:
        """Return the groups and keys of this composition, then those that other choices of its groups would have."""
        names = [*self.vocabulary.groups, *sorted(self.vocabulary.keys(composed))]
        for by_choice in self.vocabulary.keys_by_choice.values():
            for keys in by_choice.values():
                names += sorted(keys)
        return list(dict.fromkeys(names))

    def is_there(self, override: str) -> ConfigError:
        """Return what to say about ``+key=value`` where the key exists."""
        plain = override.lstrip("+")
        return ConfigError(f"'{plain.partition('=')[0]}' is a key already. Leave out the plus sign: {plain}")

    def unreadable(self, word: Assignment) -> ConfigError:
        """Return what to say about a value that Hydra's grammar cannot read."""
        if word.key in self.vocabulary.typed_keys:
            return ConfigError(
                f"{word} cannot be read: is there a bracket or quote without its partner, or a stray sign?"
            )
        paste = shlex.quote(f"{word.prefix}{word.key}={quoted(word.value)}")
        return ConfigError(
            f"{word} cannot be read: brackets, commas, quotes, = and # have a meaning in a value. If it is one text, "
            f"it needs quotes of its own:\n  {paste}"
        )

    def several_values(self, override: str) -> ConfigError:
        """Return what to say about a sweep without ``-m``."""
        key, _, value = override.partition("=")
        no_list = "(" in value or key in self.vocabulary.groups
        a_list = "" if no_list else f" If it is one list, write {key}=[{value}]."
        return ConfigError(f"{override} is several values: add -m to run each of them.{a_list}")

    def no_device(self, value: str) -> ConfigError:
        """Return what to say about ``trainer.device=gpu`` and its like."""
        return ConfigError(f"'{DEVICE}' cannot be '{value}'. {_GPU[1]}")

    # ---- choices ---------------------------------------------------------------------------------------------------

    def unknown_choice(self, group: str, choice: str) -> ConfigError:
        """Return what to say about a choice that a group has not got."""
        text = f"There is no {group} called '{choice}'"
        if group == "dataset" and exists(choice):
            kind = "folder" if Path(choice).expanduser().is_dir() else "file"
            return ConfigError(f"{text}, but a {kind} of that name. {self._reader(choice)}")
        return ConfigError(f"{text}. {nearest(choice, self.vocabulary.choices(group))}")

    def no_choice(self, group: str, override: str) -> ConfigError:
        """Return what to say about a group that is left without a choice, and needs one."""
        choices = nearest(override.partition("=")[2], self.vocabulary.choices(group))
        return ConfigError(f"{override} cannot be: a run needs a {group}. {choices}")

    def foreign_group(self, group: str) -> ConfigError:
        """Return what to say about a group that only other verbs have."""
        own = f"only {_listed(list(self.vocabulary.groups))}" if self.vocabulary.groups else "none"
        return ConfigError(f"'{group}' is chosen in other commands; `{self.program}` has {own} to choose.")

    # ---- words without an equals sign, and options -----------------------------------------------------------------

    def spaced(self, before: str, word: str, after: str) -> ConfigError | None:
        """Return what to say about a space beside an equals sign; None where there is none."""
        joined = ""
        if word.startswith("=") and before and "=" not in before:
            joined = f"{before}={word[1:] or after}"
        elif after.startswith("="):
            joined = f"{word}{after}"
        elif before.endswith("=") and not exists(word):
            joined = f"{before}{word}"
        return ConfigError(f"Leave no space beside the equals sign: {joined}") if joined else None

    def stray_word(self, word: str, after: str, composed: DictConfig, *, may_be_path: bool) -> ConfigError:
        """Return what to say about a word that stands alone, before another one, and means nothing."""
        known = self._known(composed)
        if word in known:
            value = after if after and "=" not in after else self._example(word)
            return ConfigError(f"'{word}' has no value. Give it one with an equals sign, and no space: {word}={value}")
        if keys := self._keys_with_value(word):
            ways = " or ".join(f"{key}={word}" for key in keys)
            return ConfigError(f"'{word}' stands alone. Did you mean {ways}?")
        if may_be_path:
            return self._no_such_path(Path(word).expanduser())
        if exists(word) and DATA_PATH in known:
            return ConfigError(f"One path at a time: {word} is a second one.")
        if names := self._meant(word, known):
            return ConfigError(f"'{word}' stands alone. Did you mean {' or '.join(f'{name}=...' for name in names)}?")
        return ConfigError(f"'{word}' stands alone, and means nothing: `{self.program}` takes key=value.")

    def run_folder(self, word: str) -> ConfigError:
        """Return what to say about the folder of a run where that of a data set is wanted."""
        return ConfigError(
            f"{word} is the folder of a run, and no data set. Go on with it by\n"
            f"  {self.program} {shlex.quote(f'resume={word}')}"
        )

    def _keys_with_value(self, word: str) -> list[str]:
        """Return the groups that have a choice of this name, or else a few keys that have such a value."""
        vocabulary = self.vocabulary
        groups = [group for group in vocabulary.groups if word in vocabulary.choices(group)]
        return groups or [key for key in vocabulary.typed_keys if word in vocabulary.values(key)][:3]

    def _example(self, key: str) -> str:
        """Return what may stand after the equals sign."""
        return self.vocabulary.values(key)[-1] if self.vocabulary.values(key) else "..."

    def _no_such_path(self, path: Path) -> ConfigError:
        close = nearest_path(path)
        hint = f" Did you mean {close}?" if close else ""
        return ConfigError(f"There is neither a file nor a folder {path.absolute()}.{hint}")

    def unknown_option(self, option: str, after: str | None, composed: DictConfig) -> ConfigError:
        """Return what to say about an option that is none, mostly a key with dashes before it."""
        name, equals, value = option.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if option in ("-sc", "--shell-completion"):
            return ConfigError(f"{option} is no option here: {_COMPLETION}")
        known = self._known(composed)
        about, sentence = _OTHER_WAYS.get(name, ("", ""))
        if about in known:
            return ConfigError(f"{option} is no option. {sentence}")
        names = [name] if name in known else self._meant(name, known)
        close = closest(option, OPTION_NAMES)
        if names and (is_leaf(name, names[0]) or not close):
            given = value if equals else after if after is not None else self._example(names[0])
            ways = " or ".join(f"{key}={given}" for key in names)
            return ConfigError(f"{option} is no option: values are given without dashes, as key=value. Type {ways}")
        hint = f"Did you mean {close[0]}?" if close else f"`{self.program} --help` lists the keys."
        return ConfigError(f"{option} is no option of `{self.program}`. {hint}")


def _listed(names: Sequence[str], word: str = "and") -> str:
    """Return names as a sentence has them, three at most."""
    *first, last = names if len(names) < 4 else [*names[:3], "others"]
    return f"{', '.join(first)} {word} {last}" if first else last
