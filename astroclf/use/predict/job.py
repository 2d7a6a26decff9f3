"""``astroclf predict``, the whole: a trained model's answers on any number of files, as a table."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from astroclf.errors import ConfigError, Interrupted
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.inputs import STANDARD_INPUT, Inputs
from astroclf.inference.predictor import Predictor
from astroclf.inference.samples import prepare_ahead
from astroclf.registry.load import load
from astroclf.settings.base import Settings
from astroclf.settings.verbs.asking import PredictConfig
from astroclf.use.asked import surveyed_inputs
from astroclf.use.predict.gallery import write_gallery
from astroclf.use.predict.journal import Journal, other_facts
from astroclf.use.predict.rows import AnswerRows
from astroclf.use.predict.summary import Summary, show_rows
from astroclf.use.predict.tables import check_format, write_answers
from astroclf.util.atomic import write_text
from astroclf.util.heap import keep_freed_memory
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.version import __version__

ALL_SHOWN = 20  # answers that are shown in the terminal as they are
DEFAULT_FOLDER = Path("experiments") / "predictions"


def predict(config: PredictConfig, command: str) -> int:
    """Classify the inputs, write the table, and show a summary.

    Returns
    -------
    int
        The status to end with: 0 all well, 1 some images could not be read, 2 none could.

    Raises
    ------
    AstroclfError
        There is no such model or input, or the output cannot be written.
    Interrupted
        Ctrl-C; the same command goes on.
    """
    if config.output is not None:
        check_format(Path(config.output))
    keep_freed_memory()
    predictor = load(config.names, config.tracking.uri, config.trainer.device, config.trainer.precision)
    preparation = predictor.preparation
    if any(member.novelty is None for member in predictor.members):
        log.info("The model does not know what its training images are like: its answers have no novelty.")
    inputs, survey = surveyed_inputs(config.words, preparation, config.column)
    first, stop = config.rows_of_shard(survey.count)
    facts = {
        "model": _model_fingerprint(predictor),
        "inputs": survey.fingerprint,
        "images": survey.count,
        "shard": config.shard,
        "features": config.features,
    }
    output = _output(config, facts)
    if (done := _done(output, facts, overwrite=config.overwrite)) is not None:
        log.info("It has all rows already, by the same model of the same inputs.")
        if config.report:
            log.info("A report is made with the table: add overwrite=true.")
        return _tell(done, output)
    rows = AnswerRows(predictor, inputs.columns, config.batch_size, features=config.features)
    with Journal(_journal_of(output), rows.schema, facts, fresh=config.overwrite) as journal:
        _answer(config, inputs, rows, journal, first, stop)
        summary = Summary.of(journal.batches(), predictor.classes)
        write_answers(output, journal.batches, rows.schema, list(rows.carried.values()))
        record = {"model": config.model, "inputs": config.words, "column": config.column, "command": command}
        machine = {"device": predictor.precision.device.type, "precision": predictor.precision.name}
        plain = {**record, **machine, "astroclf": __version__, "facts": facts, "summary": summary.to_plain()}
        write_text(_record_of(output), json.dumps(plain, indent=2) + "\n")
        if config.report:
            about = [
                ("model", " + ".join(config.names)),
                ("table", str(output)),
                ("command", command),
                ("astroclf", __version__),
            ]
            page = output.with_name(f"{output.name}.html")
            write_gallery(page, journal.batches(), summary, inputs, first, preparation, about)
            log.info("Report    %s", page)
        if stop - first <= ALL_SHOWN:
            show_rows(journal.batches())
        journal.remove()
    return _tell(summary, output)


def _answer(config: PredictConfig, inputs: Inputs, rows: AnswerRows, journal: Journal, first: int, stop: int) -> None:
    """Add a row for every image that has none yet: threads decode ahead while the network computes."""
    total = stop - first
    if journal.rows:
        log.info("Going on after %s of %s images: %s.", f"{journal.rows:,}", f"{total:,}", journal.path)
    waiting = islice(inputs.samples(), first + journal.rows, stop)
    blocks = prepare_ahead(rows.predictor.preparation, waiting, config.batch_size, config.trainer.num_workers)
    try:
        with ProgressBar("Predicting", total, done=journal.rows) as bar, closing(blocks):
            for block in blocks:
                journal.append(rows.of(block))
                bar.advance(len(block.samples))
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Stopped by Ctrl-C after {journal.rows:,} of {total:,} images, whose answers are kept in {journal.path}. "
            "The same command goes on from there.",
            130,
        ) from error


def _tell(summary: Summary, output: Path) -> int:
    """Show what came out, and return the status to end with."""
    summary.show()
    for text in summary.errors:
        log.warning("%s", text)
    if more := summary.failed - len(summary.errors):
        log.warning("%s more images have their error in the column `error`.", f"{more:,}")
    log.info("%s", summary.sentence())
    log.info("Answers   %s", output)
    return summary.status


# ---- files ----------------------------------------------------------------------------------------------------------


def _output(config: PredictConfig, facts: dict[str, Any]) -> Path:
    """Return where the table is written: by default under a name that the same command gives again."""
    if config.output is None:
        digest = hashlib.sha256(json.dumps({**facts, "shard": None}).encode()).hexdigest()[:8]
        return _of_shard(DEFAULT_FOLDER / f"{_name_of(config.words[0])}-{digest}.csv", config)
    return _of_shard(Path(config.output), config)


def _of_shard(output: Path, config: PredictConfig) -> Path:
    if config.shard is None:
        return output
    number, count = config.shard_numbers
    return output.with_name(f"{output.stem}.{number:0{len(str(count))}d}-of-{count}{output.suffix}")


def _name_of(word: str) -> str:
    """Make a file's name of what the first input is called."""
    words = re.findall(r"[\w.-]+", Path(word).absolute().name if word != STANDARD_INPUT else "list")
    return "_".join(words).strip(".-_") or "images"


def _journal_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial")


def _record_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.json")


def _done(output: Path, facts: dict[str, Any], *, overwrite: bool) -> Summary | None:
    """Return the summary of an output that is whole, and of this model and these inputs; None: there is none yet.

    Raises
    ------
    ConfigError
        The output is of something else.
    """
    if overwrite or not output.exists() or _journal_of(output).exists():
        return None
    record = _record_of(output)
    found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if "facts" not in found:
        raise ConfigError(f"{output} exists already. Give another output=, or write over it with overwrite=true.")
    if found["facts"] != facts:
        raise ConfigError(other_facts(output, found["facts"], facts))
    return Summary(**found["summary"])


def _model_fingerprint(predictor: Predictor | Ensemble) -> str:
    """Return a digest of the weights and of all that decides an answer."""
    specs: list[Settings] = [each.spec for each in predictor.members]
    if isinstance(predictor, Ensemble) and predictor.spec is not None:
        specs.append(predictor.spec)
    plain = "".join(json.dumps(spec.to_plain(), sort_keys=True, default=str) for spec in specs)
    plain += "".join(each.profile.digest for each in predictor.members if each.profile is not None)
    return hashlib.sha256(plain.encode()).hexdigest()
