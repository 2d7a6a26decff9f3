"""One check of a data set, from typed config to report: list it, decode it, look, write down what was found."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclf.audit.copies import SAME_OBJECT_ARCSEC, bands_of_fields, copies, leaks, sky_neighbours
from astroclf.audit.files import blank_pictures, given_away, small_images, unreadable_files
from astroclf.audit.findings import Case, Finding, Severity, finding
from astroclf.audit.gallery import GalleryRow, draw_gallery
from astroclf.audit.labels import (
    Agreement,
    balance,
    class_findings,
    few_for_folds,
    like_classes,
    suspects_of,
    suspicious_labels,
    unknown_to_model,
)
from astroclf.audit.notes import noted_images, unread_files
from astroclf.audit.report import SHIFT_FIGURE, write_audit_report
from astroclf.audit.summary import (
    STATUS_WORDS,
    Audit,
    class_table,
    findings_table,
    shift_table,
    write_shift,
    write_summary,
)
from astroclf.audit.tones import narrow_ranges
from astroclf.config.build import build
from astroclf.data.cache.image_cache import ImageCache, Skipped, open_image_cache
from astroclf.data.cache.packed import Images
from astroclf.data.catalog import SPLITS, DatasetReader, HasLeftOut
from astroclf.data.decode.headers import FileFacts, HasFacts, read_facts
from astroclf.data.decode.tone import kinds_in_words, kinds_of, tones_from_plain
from astroclf.data.readers.accounts import account
from astroclf.data.readers.find_table import AUTO
from astroclf.data.readers.samples import wrong_rows
from astroclf.data.readers.tables import TableRules
from astroclf.data.split.assign import Splits
from astroclf.data.split.links import Links, find_links
from astroclf.data.split.splits import check_classes, split_image_cache
from astroclf.errors import ConfigError, DataError
from astroclf.evaluation.suspects import write_suspects
from astroclf.settings.columns import ColumnSettings
from astroclf.settings.dataset import DatasetSettings
from astroclf.settings.verbs.data import CheckConfig
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.terminal import console
from astroclf.util.version import __version__

if TYPE_CHECKING:
    from astroclf.audit import folds as fold_trainings
    from astroclf.audit import reference
    from astroclf.evaluation import plots
    from astroclf.inference.predictor import Predictor
    from astroclf.registry import load as registry
else:
    plots = lazy_import("astroclf.evaluation.plots")  # matplotlib
    fold_trainings = lazy_import("astroclf.audit.folds")  # most checks need neither torch nor a model
    reference = lazy_import("astroclf.audit.reference")
    registry = lazy_import("astroclf.registry.load")

IMAGES_PER_STEP = 256  # of the progress bar, while a model is asked


def inspect(config: CheckConfig, folder: str | Path, command: str) -> int:
    """Check the configured data set, and write ``report.html`` and ``check.json`` into `folder`.

    With a model or folds, ``suspects.csv`` beside them lists the suspicious labels; with a reference, ``shift.csv`` and
    ``shift.png`` say how far the images are from it.

    Returns
    -------
    int
        The status to end with: 0 clean, 1 warnings, 2 errors.

    Raises
    ------
    AstroclfError
        There is no such data set or model, or something else that keeps it from being looked at.
    """
    if config.reference is not None:
        reference.check_reference(config)
    predictor = _load_model(config)  # first: nobody waits for a data set to be decoded to hear that there is none
    reader, found = _list(config.dataset)
    if reader is None:
        audit, images = _audit(config, command, found), None
        gallery: list[GalleryRow] = []
    else:
        left_out = tuple(reader.left_out) if isinstance(reader, HasLeftOut) else ()
        audit, images = _look(config, command, reader, found + unread_files(left_out), predictor)
        audit = replace(audit, left_out=left_out)
        gallery = [] if images is None else draw_gallery(audit, images, reader, _first_hdu(config.dataset))
    folder = Path(folder)
    write_summary(folder / "check.json", audit)
    if predictor is not None or config.folds is not None:
        write_suspects(folder / "suspects.csv", suspects_of(audit.findings))
    if audit.shift is not None:
        write_shift(folder / "shift.csv", audit.shift)
        plots.plot_shift(audit.shift, folder / SHIFT_FIGURE)
    write_audit_report(folder, audit, images, gallery)
    _show(audit, folder)
    return audit.status


def _first_hdu(dataset: DatasetSettings) -> int | str | None:
    """Return the HDU that FITS files are drawn from: the first that is named, None for the first that there is."""
    hdu = dataset.reading.fits.hdu
    return hdu[0] if isinstance(hdu, list) else hdu


def _load_model(config: CheckConfig) -> Predictor | None:
    if config.model is None:
        return None
    channels = config.dataset.channels
    predictor = registry.load_one(
        config.model, "doubt labels here", config.tracking.uri, config.trainer.device, config.trainer.precision
    )
    if channels != predictor.spec.channels and (channels, predictor.spec.channels) != (3, 1):
        raise ConfigError(
            f"model={config.model} takes images of {predictor.spec.channels} channels, but dataset.channels={channels}."
        )
    return predictor


def _check_kinds(config: CheckConfig, predictor: Predictor, cache: ImageCache) -> None:
    """Refuse a model that has no rule for such numbers as the data set holds."""
    held, known = kinds_of(tones_from_plain(cache.tones)), predictor.preparation.kinds
    if held - known:
        raise ConfigError(
            f"model={config.model} learned from {kinds_in_words(known)}, and the data set holds "
            f"{kinds_in_words(held - known)}: its doubts about their labels would mean nothing."
        )


def _list(dataset: DatasetSettings) -> tuple[DatasetReader | None, list[Finding]]:
    """List the data set as configured; where its classes are not those asked for, as it is."""
    try:
        return build(dataset, reading=dataset.reading), []
    except DataError as error:
        if not dataset.path or not Path(dataset.path).exists():
            raise
        if isinstance(dataset.classes, list) and (reader := _as_found(dataset)) is not None:
            wrong = class_findings(dataset.classes, dataset.exclude_classes or [], reader.catalog)
            if wrong:
                return reader, wrong
        return None, finding("unusable", "error", map(Case, _wrong_rows(dataset) or [str(error)]))


def _as_found(dataset: DatasetSettings) -> DatasetReader | None:
    """List the data set with whatever classes it has; None where that is not what is wrong with it."""
    try:
        return build(replace(dataset, classes="found", exclude_classes=[]), reading=dataset.reading)
    except (ConfigError, DataError):
        return None


def _wrong_rows(dataset: DatasetSettings) -> list[str]:
    """Find every row of a folder's table that cannot be right: listing it as usual stops at the first."""
    if not dataset.path or not Path(dataset.path).is_dir():
        return []
    columns, classes = dataset.columns or ColumnSettings.with_defaults(), dataset.classes
    wanted = classes if isinstance(classes, list) else None
    rules = TableRules(columns, dataset.min_vote or 0.0, dataset.on_unlabelled == "skip", wanted)
    return wrong_rows(Path(dataset.path), dataset.table or AUTO, rules)


def _look(
    config: CheckConfig, command: str, reader: DatasetReader, found: list[Finding], predictor: Predictor | None
) -> tuple[Audit, Images | None]:
    """Look at everything that can be seen of a data set that can be listed."""
    dataset = config.dataset
    gravity: Severity = "error" if dataset.on_error == "raise" else "warning"
    try:
        cache = open_image_cache(
            reader,
            Path(dataset.cache_dir),
            on_error="skip",
            compression=dataset.cache_compression,
            num_workers=config.trainer.num_workers,
        )
    except DataError:
        skipped = _all_faults(reader)
        if skipped is None:
            raise
        found = found + unreadable_files(skipped, reader.catalog, "error")
        return _audit(config, command, found, listed=len(reader.catalog)), None
    facts = _facts(reader, cache, config.trainer.num_workers)
    log.info("Comparing images")
    log.info("%s", account(reader, len(cache.catalog), (skipped.id for skipped in cache.skipped)))
    links = find_links(cache, near=True, sky_arcsec=dataset.sky_arcsec or SAME_OBJECT_ARCSEC)
    splits, refused = _split(cache, dataset)
    found = [
        *found,
        *refused,
        *unreadable_files(cache.skipped, reader.catalog, gravity),
        *noted_images(cache),
        *blank_pictures(cache),
        *narrow_ranges(cache),
        *copies(cache, links),
        *bands_of_fields(cache, links.fields),
        *sky_neighbours(cache, links.sky, kept_together=dataset.sky_arcsec is not None),
        *leaks(cache, links, _split_of_row(cache, splits)),
        *balance(cache.catalog, splits.test if splits else None),
        *(like_classes(cache.catalog) if dataset.classes == "found" else []),
    ]
    if facts:
        found += given_away(facts, cache.catalog) + small_images(facts, cache.catalog, dataset.image_size)
    details = {"decoded images": f"{cache.path}, of {dataset.image_size} px", "data_fingerprint": cache.fingerprint}
    if cache.tones:
        details["numbers to grey"] = " ".join(cache.tone_sentences())
    details |= {f"{name}_fingerprint": value for name, value in (splits.fingerprints if splits else {}).items()}
    if predictor is not None:
        _check_kinds(config, predictor, cache)
        found += unknown_to_model(cache.catalog, predictor.classes)
        trained_on, details["model"] = _training_of(config, predictor, cache, splits)
        found += suspicious_labels(cache.catalog, _probabilities(predictor, cache), predictor.classes, trained_on)
    if config.folds is not None:
        doubts, details["out of fold"] = _doubts_of_folds(config, cache, links)
        found += doubts
    audit = _audit(
        config,
        command,
        found,
        listed=len(reader.catalog),
        catalog=cache.catalog,
        facts=facts,
        shift=None if config.reference is None else reference.compare(config, cache, predictor),
        splits={name: getattr(splits, name) for name in SPLITS} if splits else None,
        details=details,
    )
    return audit, cache.images


def _audit(config: CheckConfig, command: str, found: list[Finding], **known: Any) -> Audit:
    details = {"astroclf": __version__, **known.pop("details", {})}
    return Audit(config.dataset.name, config.dataset.path or "", command, tuple(found), details=details, **known)


def _all_faults(reader: DatasetReader) -> list[Skipped] | None:
    """Say what is wrong with each file where none can be read; None as soon as one can."""
    skipped: list[Skipped] = []
    for rows in reader.blocks():
        with warnings.catch_warnings(action="ignore"):  # decoders' remarks; what is wrong comes as a fault
            block = reader.read(rows)
        if len(block.faults) < len(rows):
            return None
        skipped += [Skipped(str(reader.catalog.ids[row]), *fault) for row, fault in block.faults.items()]
    return skipped


def _facts(reader: DatasetReader, cache: ImageCache, num_workers: int | None) -> list[FileFacts | None]:
    """Read what the files of the cache's rows are; nothing where the reader cannot tell."""
    if not isinstance(reader, HasFacts):
        return []
    of_id = dict(zip(reader.catalog.ids.tolist(), read_facts(reader, num_workers=num_workers), strict=True))
    return [of_id[name] for name in cache.catalog.ids.tolist()]


def _split(cache: ImageCache, dataset: DatasetSettings) -> tuple[Splits | None, list[Finding]]:
    """Draw the splits that a training would use, or find why it would refuse."""
    kind = "one class"
    try:
        check_classes(cache.catalog, dataset.name)
        kind = "unsplittable"
        return split_image_cache(cache, dataset).splits, []
    except (ConfigError, DataError) as error:
        return None, finding(kind, "error", [Case(str(error))])


def _split_of_row(cache: ImageCache, splits: Splits | None) -> np.ndarray:
    """Name the split of each row, (N,) str; where none can be drawn, the one that it comes with."""
    if splits is None:
        return np.full(len(cache.catalog), "") if cache.catalog.split is None else np.asarray(cache.catalog.split)
    names = np.full(len(cache.catalog), "", dtype=object)
    for name in SPLITS:
        names[getattr(splits, name)] = name
    return names


def _training_of(
    config: CheckConfig, predictor: Predictor, cache: ImageCache, splits: Splits | None
) -> tuple[np.ndarray, str]:
    """Find the rows that the model is known to have been trained on, (N,) bool, and say what is known."""
    facts = predictor.spec.facts
    trained_on = np.zeros(len(cache.catalog), bool)
    if splits and facts.get("train_fingerprint") == splits.fingerprints["train"]:
        trained_on[splits.train] = True
        return trained_on, f"{config.model}, trained on the train split of this data set"
    if facts.get("data_fingerprint") == cache.fingerprint:
        return trained_on, f"{config.model}, trained on this data set, split in another way"
    return trained_on, f"{config.model}; which of these images it was trained on is not known"


def _doubts_of_folds(config: CheckConfig, cache: ImageCache, links: Links) -> tuple[list[Finding], str]:
    """Train the folds, and find what they doubt; say how far they can be trusted."""
    catalog = cache.catalog
    assert config.folds is not None
    if np.count_nonzero(catalog.class_counts()) < 2:
        return [], "nothing was trained: there are not two classes to tell apart"
    folds = fold_trainings.divide(catalog, cache.digests, links, config.folds, config.dataset.split_seed)
    few = few_for_folds(catalog, folds.apart, folds.count)
    probabilities_NC = fold_trainings.out_of_fold(config, cache, folds)
    agreement = Agreement.of(catalog, probabilities_NC)
    severity: Severity = "warning" if agreement.beats_guessing else "note"
    doubted = suspicious_labels(catalog, probabilities_NC, catalog.classes, np.zeros(len(catalog), bool))
    if not doubted:
        log.info("No label is suspicious. %s", agreement.sentence)
    return few + [replace(f, severity=severity, hint=agreement.sentence) for f in doubted], agreement.sentence


def _probabilities(predictor: Predictor, cache: ImageCache) -> np.ndarray:
    """Ask the model about every image, (N, M), for each of its M classes."""
    parts = []
    with ProgressBar("Asking the model", len(cache.images)) as bar:
        for start in range(0, len(cache.images), IMAGES_PER_STEP):
            images = cache.images[start : start + IMAGES_PER_STEP]
            parts.append(predictor.classify(images).probabilities)
            bar.advance(len(images))
    return np.concatenate(parts)


def _show(audit: Audit, folder: Path) -> None:
    """Show the tables in the terminal, and where the report is."""
    screen = console()
    if audit.classes:
        screen.print(class_table(audit))
    if audit.findings:
        screen.print()
        screen.print(findings_table(audit))
    if audit.shift is not None:
        screen.print()
        screen.print(shift_table(audit.shift))
    screen.print()
    for found in audit.findings:
        if found.hint:
            log.info("%s: %s", found.title, found.hint)
    for sentence in audit.shift.sentences if audit.shift is not None else ():
        log.info("%s", sentence)
    log.info("Report    %s", folder / "report.html")
    log.info("As data   %s", folder / "check.json")
    words = STATUS_WORDS[audit.status] + (" but for notes" if audit.status == 0 and audit.findings else "")
    log.info("%s (exit status %d)", words.capitalize(), audit.status)
