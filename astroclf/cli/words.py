"""The words that people type, made into overrides that Hydra understands.

Hydra's grammar reads ``#``, ``=``, brackets, commas and letters with accents as syntax, which paths are full of. The
value of a key that takes a text is therefore taken as it stands, to the end of the shell's word, and a path may stand
alone. What means nothing is answered here, in one sentence, before Hydra composes the configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from astroclf.cli.answers import DEVICE, OPEN, Answers
from astroclf.cli.grammar import DATA_PATH, Assignment, data_set_words, exists, hydra_value, parse, quoted
from astroclf.cli.options import Options
from astroclf.cli.vocabulary import Vocabulary
from astroclf.config.resume import dotted_keys

_SEARCH_PATH = "hydra.searchpath"
_FUNCTION = re.compile(r"(choice|range|interval|glob|tag|sort|shuffle|extend_list|str|int|float|bool|json_str)\(.*\)")


@dataclass(frozen=True)
class WordReader:
    """Reads the words of one command line.

    Attributes
    ----------
    positional
        The keys that words without an equals sign are values of, in their order.
    takes_many
        Whether the last of these keys takes all further words as well.
    instead
        The choices of ``dataset`` that a path which stands alone means in place of the usual ones.
    """

    vocabulary: Vocabulary
    answers: Answers
    options: Options
    positional: Sequence[str]
    takes_many: bool = False
    instead: Mapping[str, str] = field(default_factory=dict)

    def overrides(self) -> list[str]:
        """Return the overrides that the words mean, each of a key or choice that the verb has.

        Raises
        ------
        ConfigError
            A word that means nothing; the message says what was probably meant.
        """
        if self.options.unknown:
            raise self.answers.unknown_option(*self.options.unknown[0], self._composed([]))
        words = [self._literal(word) for word in self._with_keys(self.options.words)]
        overrides = [self._parsed(word) for word in words]
        multirun = self.options.multirun or any(o.key_or_group == "hydra.mode" for o in overrides)
        for override in overrides:
            if override.is_sweep_override() and not multirun:
                raise self.answers.several_values(str(override.input_line))
        resumed = any(override.key_or_group == "resume" and override.value() for override in overrides)
        if not (resumed and "resume" in self.vocabulary.typed_keys):
            self._check(overrides, multirun)  # a resumed run's own configuration says which keys there are
        return words

    # ---- words and values ------------------------------------------------------------------------------------------

    def _with_keys(self, words: Sequence[str]) -> list[str]:
        """Return the words, with keys before the values that stand alone."""
        result: list[str] = []
        given = {Assignment.of(word).key for word in words if self._is_assignment(word)} - {DATA_PATH}
        slots = [key for key in self.positional if key not in given]
        many: list[str] = []
        for index, word in enumerate(words):
            before, after = "".join(words[max(0, index - 1) : index]), "".join(words[index + 1 : index + 2])
            if after == "=":
                after += "".join(words[index + 2 : index + 3])
            if self._is_assignment(word):
                result.append(word)
            elif spaced := self.answers.spaced(before, word, after):
                raise spaced
            elif self.takes_many and slots == [self.positional[-1]]:
                many.append(word)
            elif slots and slots[0] != DATA_PATH:
                result.append(f"{slots.pop(0)}={word}")
            elif slots and "resume" in self.vocabulary.typed_keys and exists(f"{word}/checkpoints"):
                raise self.answers.run_folder(word)
            elif slots and exists(word):
                slots.pop(0)
                chosen = any(other.startswith(("dataset=", "resume=")) for other in words)
                result += data_set_words(word, self.instead, reader_is_chosen=chosen)
            else:
                raise self.answers.stray_word(word, after, self._composed([]), may_be_path=bool(slots))
        return [*result, f"{slots[0]}={_one_value(many)}"] if many else result

    def _is_assignment(self, word: str) -> bool:
        if "=" not in word:
            return word.startswith("~") and not exists(word)  # takes a key out; ~/images and ~ann/images are paths
        key = Assignment.of(word).key
        return bool(key) and (key in self.vocabulary.groups or key in self.vocabulary.typed_keys or not exists(word))

    def _literal(self, word: str) -> str:
        """Return the word, its value in Hydra's quotes where it is a text that Hydra would read as something else."""
        given = Assignment.of(word)
        value = given.value
        if value in ("", "null") or given.prefix.startswith("~") or _is_quoted(value):
            return word
        if given.key in OPEN and value.startswith("{"):
            return str(given._replace(prefix="++"))  # Hydra takes no new entry by a single plus, nor without one
        override = parse(word)
        if given.key not in self.vocabulary.texts:
            # A reader of somebody else's may have paths among its keys.
            return word if override is not None or not exists(value) else str(given._replace(value=hydra_value(value)))
        if not exists(value):
            sweeps = self.options.multirun and override is not None and override.is_sweep_override()
            if sweeps or _FUNCTION.fullmatch(value):
                return word
        home = os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
        return str(given._replace(value=hydra_value(home)))

    def _parsed(self, word: str) -> Override:
        override = parse(word)
        if override is None:
            given = Assignment.of(word)
            if given.key in self.vocabulary.groups:
                raise self.answers.unknown_choice(given.key, given.value)
            composed = self._composed([])
            if given.key in dotted_keys(composed) or self.vocabulary.choices_with(given.key):
                raise self.answers.unreadable(given)
            raise self.answers.unknown_key(given.key, given.value, composed)
        override.config_loader = self.vocabulary.session.loader  # knows the choices that glob(*) stands for
        return override

    # ---- choices and keys ------------------------------------------------------------------------------------------

    def _check(self, overrides: Sequence[Override], multirun: bool) -> None:
        choices = [override for override in overrides if self._chooses(override)]
        if not any(override.key_or_group == _SEARCH_PATH for override in overrides):  # it may bring choices of its own
            for override in choices:
                self._check_choice(override)
        values = [override for override in overrides if override not in choices and override.package is None]
        if values:
            composed = self._composed([o for o in overrides if o in choices or o.key_or_group == _SEARCH_PATH])
            known = set(dotted_keys(composed))
            for override in values:
                self._check_key(override, composed, known, multirun)

    def _chooses(self, override: Override) -> bool:
        """Return whether an override chooses among yaml files."""
        key = override.key_or_group
        return key in self.vocabulary.groups or bool(self.vocabulary.choices(key))

    def _check_choice(self, override: Override) -> None:
        group = override.key_or_group
        if group not in self.vocabulary.groups and not group.startswith("hydra/") and not override.is_add():
            raise self.answers.foreign_group(group)
        if override.is_delete():
            return
        if override.is_choice_sweep():
            values = [getattr(value, "text", value) for value in override.sweep_iterator()]
        else:
            values = [override.value()]
        for value in values:
            if value is None or value == "":
                if self.vocabulary.groups.get(group) is not None:
                    raise self.answers.no_choice(group, str(override.input_line))
            elif str(value) not in self.vocabulary.choices(group):
                raise self.answers.unknown_choice(group, str(value))

    def _check_key(self, override: Override, composed: DictConfig, known: set[str], multirun: bool) -> None:
        key = override.key_or_group
        if override.is_force_add():
            return
        if override.is_add():
            if key in known and not OmegaConf.is_missing(composed, key) and OmegaConf.select(composed, key) is not None:
                raise self.answers.is_there(str(override.input_line))
        elif not (key in known or "[" in key or (multirun and self.vocabulary.choices_with(key))):
            value = "" if override.is_sweep_override() else str(override.value() or "")
            raise self.answers.unknown_key(key, value, composed)
        elif key == DEVICE and not override.is_sweep_override() and override.value() not in self.vocabulary.values(key):
            raise self.answers.no_device(str(override.value()))

    def _composed(self, choices: Sequence[Override]) -> DictConfig:
        """Return the composition of the chosen groups, which has the keys that there are."""
        return self.vocabulary.session.compose([_first(override) for override in choices])


def _first(override: Override) -> str:
    """Return the override, or the first of those that it sweeps over."""
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def _one_value(words: Sequence[str]) -> str:
    """Return the value that several words are together: a text of lines, which Hydra reads faster than a list."""
    if any("\n" in word for word in words):
        return f"[{','.join(map(quoted, words))}]"
    return hydra_value("\n".join(words))


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
