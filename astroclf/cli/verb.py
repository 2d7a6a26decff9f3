"""A verb of the command ``astroclf``: from the words that were typed to the exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from astroclf.cli.adapter import HydraSession, in_our_words
from astroclf.cli.answers import Answers
from astroclf.cli.errors import report, report_lost, wants_traceback
from astroclf.cli.grammar import DATA_PATH
from astroclf.cli.help import help_page
from astroclf.cli.options import Options, read_options
from astroclf.cli.vocabulary import Vocabulary
from astroclf.cli.words import WordReader
from astroclf.config.compose import checked_as
from astroclf.config.resume import resumed_config, split_changes
from astroclf.errors import AstroclfError, ConfigError, Interrupted
from astroclf.run.folder import RunFolder
from astroclf.settings.base import Settings
from astroclf.settings.config import RESUMABLE
from astroclf.settings.yaml_files import config_dir
from astroclf.util.disk import in_one_paragraph
from astroclf.util.gpu_memory import no_room
from astroclf.util.invocation import Command, program, set_typed_command, typed_command, use_utf8
from astroclf.util.logs import log_to_file
from astroclf.util.output import unfailing_output
from astroclf.util.ranks import launch
from astroclf.util.version import __version__

Typed = TypeVar("Typed", bound=Settings)
_RUN_DIR = "hydra.run.dir="
_BATCH_KEYS = ("trainer.batch_size", "batch_size")


@dataclass(frozen=True)
class Job:
    """What a job knows of the command that it belongs to.

    Attributes
    ----------
    folder
        Where it leaves its files.
    command
        What does it again, in a folder of its own.
    """

    folder: Path
    command: str


@dataclass(frozen=True)
class Verb(Generic[Typed]):
    """One verb: what it takes, and the job that it does.

    Attributes
    ----------
    job
        Called with the checked settings; with ``-m`` once for each combination of values.
    config_name
        The verb's yaml file, without its ending, where it is not the verb's name.
    positional
        The keys that words without an equals sign are values of, in their order.
    instead
        The choices of ``dataset`` that a path which stands alone means in place of the usual ones.
    takes_many
        Whether the last of these keys takes all further words as well, one a line: what a shell makes of a glob.
    gives_status
        Whether the job returns an exit status.
    error_status
        The exit status of an error that keeps the job from its end.
    only_prints
        Whether a job is done in vain if what it prints is lost.
    interrupted
        What is said after Ctrl-C, where the job itself says nothing.
    follow
        Takes part in the job of the first of several processes that `torchrun` started, and returns the exit status.
    """

    name: str
    settings: type[Typed]
    job: Callable[[Typed, Job], Any]
    config_name: str = ""
    positional: tuple[str, ...] = (DATA_PATH,)
    instead: Mapping[str, str] = field(default_factory=dict)
    takes_many: bool = False
    gives_status: bool = False
    error_status: int = 1
    only_prints: bool = False
    interrupted: str = "Stopped by Ctrl-C."
    follow: Callable[[], int] | None = None

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Do what the command line says, and return the exit status.

        Parameters
        ----------
        arguments
            The words after the verb; by default those that this process was started with.
        """
        if arguments is None:
            use_utf8()
        return _Command(self, list(sys.argv[1:] if arguments is None else arguments)).main()

    def session(self, options: Options) -> contextlib.AbstractContextManager[HydraSession]:
        """Make Hydra ready for this verb, with the yaml files of ``--config-dir`` beside ours."""
        folders = [config_dir()]
        for given in options.config_dirs:
            folder = Path(given).expanduser().absolute()
            if not folder.is_dir():
                raise ConfigError(f"--config-dir: there is no folder {folder}.")
            folders.append(folder)
        own = self.config_name or self.name
        return HydraSession.begin(self.name, options.config_name or own, folders, own)


class _Command:
    """One command of a verb, with all that has to be remembered while it runs."""

    def __init__(self, verb: Verb[Any], arguments: list[str]) -> None:
        self.verb, self.arguments = verb, arguments
        self.changes: list[str] = []  # of a resumed run, which its own configuration takes and Hydra never sees
        self.batch_key: str | None = None  # the verb's key for how many images the network gets at once, if it has one
        self.began = False  # the job was reached
        self.results: list[Any] = []  # of its jobs: several with -m
        self.failure: AstroclfError | None = None  # of a single run, kept from Hydra, which would print a line about it

    def main(self) -> int:
        # Read when torch starts its threads. Threads that spin while they wait for each other starve as soon as
        # anything else runs on the machine: a training on two cores fell from 7.6 to 0.3 steps/s beside one other
        # process.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        with unfailing_output() as output:
            status = self._status()
            sys.stdout.flush()
            in_vain = report_lost(output) and (self.verb.only_prints or not self.began)
            return self.verb.error_status if in_vain and status == 0 else status

    def _status(self) -> int:
        """Do what was typed, say what went wrong, and return the exit status."""
        try:
            if launch().leads:
                self._answer(read_options(self.arguments))
            elif self.verb.follow is not None:
                return self.verb.follow()
        except KeyboardInterrupt:
            return report(Interrupted(self.verb.interrupted, 130))
        except Exception as error:
            known = self._known(error)
            if known is not None and not wants_traceback():
                status = report(known)
            elif self.verb.error_status == 1:
                raise
            else:
                traceback.print_exc()
                status = 1
            return self.verb.error_status if status == 1 else status
        return max(self.results, default=0) if self.verb.gives_status else 0

    def _known(self, error: Exception) -> AstroclfError | None:
        """Return the error in our words, or None for a fault of the program."""
        if isinstance(error, AstroclfError):
            return error
        if isinstance(error, (HydraException, OmegaConfBaseException)):
            return in_our_words(error)
        if refused := in_one_paragraph(error) or no_room(error, self.batch_key):
            return refused
        if isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError)) and not self.began:
            where = f"{error.filename}: {error.strerror}"
            return ConfigError(f"The run folder cannot be made: {where}. Choose another with hydra.run.dir=.")
        return None

    def _answer(self, options: Options) -> None:
        """Print what the options ask for, or do the job."""
        if options.version:
            print(f"astroclf {__version__}")
            return
        set_typed_command(Command(program(self.verb.name), tuple(self.arguments), options.sources()))
        if launch().is_shared and (self.verb.follow is None or options.multirun):
            raise ConfigError(
                f"torchrun started {launch().count} processes to share one training. That is what `astroclf train` "
                "does without -m, and nothing else: a sweep starts processes of its own (hydra.sweeper.n_jobs). Leave "
                "torchrun out."
            )
        with self.verb.session(options) as session:
            if options.hydra_help:
                session.print_hydra_help([])
                return
            vocabulary, typed_program = Vocabulary(session, self.verb.settings), program(self.verb.name)
            self.batch_key = next((key for key in _BATCH_KEYS if key in vocabulary.typed_keys), None)
            answers = Answers(vocabulary, typed_program)
            reader = WordReader(
                vocabulary, answers, options, self.verb.positional, self.verb.takes_many, self.verb.instead
            )
            words = reader.overrides()
            overrides, self.changes = split_changes(words)
            if options.help:
                print(help_page(vocabulary, session.compose(overrides), typed_program))
            elif options.info is not None:
                session.print_info(options.info, overrides)
            elif options.cfg is not None:
                self._show(session, options, overrides)
            else:
                session.run(self._task, overrides, multirun=options.multirun)
                if self.failure is not None:
                    raise self.failure

    def _show(self, session: HydraSession, options: Options, overrides: list[str]) -> None:
        """Print the configuration, if a run would take it."""
        if options.multirun:
            raise ConfigError("--cfg shows the configuration of one run: leave out -m.")
        composed = session.compose(overrides)
        hydra = composed.hydra
        with open_dict(composed):
            del composed["hydra"]
        config = self._typed(composed, hydra)
        if composed.get("resume") is not None and options.cfg == "job":
            print(OmegaConf.to_yaml(OmegaConf.create(config.to_plain())), end="")
        else:
            session.print_config(options.cfg or "job", overrides, package=options.package, resolve=options.resolve)

    def _task(self, composed: DictConfig) -> Any:
        """Do the verb's job with one composition; called by Hydra."""
        self.began = True
        hydra = HydraConfig.get()
        folder = HydraSession.job_folder()
        try:
            result = self.verb.job(self._typed(composed, hydra), Job(folder, self._command(hydra)))
        except Exception as error:
            known = self._known(error)
            if known is None:
                log_to_file(traceback.format_exc(), logging.ERROR)
                raise
            if known is not error:
                known.__cause__ = error
            if hydra.mode == RunMode.MULTIRUN:
                raise known  # noqa: B904  # its cause is there
            if (folder / "config.yaml").exists():
                log_to_file(str(known), logging.ERROR)
            else:
                _leave_no_empty_folder(folder)
            self.failure = known
            return None
        self.results.append(result)
        return result

    def _command(self, hydra: Any) -> str:
        """Write the command for the records: what was typed, or with ``-m`` this combination of it alone.

        Where the run's files are to go is left out: a repetition would write over them.
        """
        typed = typed_command()
        if hydra.mode == RunMode.MULTIRUN:
            return str(typed.with_arguments(*hydra.overrides.task))
        kept = [word for word in typed.arguments if not word.lstrip("+").startswith(_RUN_DIR)]
        return str(replace(typed, arguments=tuple(kept)))

    def _typed(self, composed: DictConfig, hydra: Any) -> Any:
        """Return the checked settings: those of a resumed run are its own, with the command line's changes."""
        if composed.get("resume") is None or self.verb.settings not in RESUMABLE:
            return checked_as(self.verb.settings, composed, hydra)
        if hydra.mode == RunMode.MULTIRUN:
            raise ConfigError("A resumed run cannot be part of a multirun. Leave out -m, or leave out resume.")
        folder = RunFolder.resumed(composed.resume).path
        return resumed_config(self.verb.settings, folder, composed.resume, self.changes)


def _leave_no_empty_folder(folder: Path) -> None:
    """Remove the run folder that Hydra made for a run that never began; never where the user stands."""
    if Path.cwd().is_relative_to(folder):
        return
    (folder / ".lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the first that is not empty ends it
        for path in [folder, *folder.parents][:4]:
            path.rmdir()
