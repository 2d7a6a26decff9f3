"""Bands of one field that lie in files of their own, told by names such as ``m51_g.fits`` and ``m51_r.fits``.

They show the same piece of sky, but are no copies. `dataset.fits.files` makes one sample of them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from astroclf.data.catalog import Catalog
from astroclf.settings.fits import FITS_NAME, ID, is_fits

# Bands by the names that files give them, with roughly their wavelengths in nm: a picture shows the redder first.
_WAVELENGTHS = {
    "fuv": 153, "uvw2": 193, "uvm2": 225, "nuv": 231, "uvw1": 260, "u": 365, "b": 440, "g": 480, "hb": 486,
    "oiii": 501, "v": 550, "r": 630, "ha": 656, "halpha": 656, "nii": 658, "sii": 672, "i": 780, "z": 900, "y": 1000,
    "j": 1250, "h": 1650, "k": 2200, "ks": 2150, "w1": 3400, "ch1": 3600, "ch2": 4500, "w2": 4600, "ch3": 5800,
    "ch4": 8000, "w3": 12000, "w4": 22000,
}  # fmt: skip
_FILTER = re.compile(r"f(\d{3,4})(?:w|m|n|lp|x)\d?")  # of HST and JWST: nm, or of the infrared ones tens of nm
_WITH_UNIT = re.compile(r"(\d+)(nm|um|mum|micron|mhz|ghz)")
_NANOMETRES = {"nm": 1.0, "um": 1e3, "mum": 1e3, "micron": 1e3}
_HERTZ = {"mhz": 1e6, "ghz": 1e9}
_LIGHT_NM = 2.998e17  # speed of light, nm a second
_SEPARATORS = "_-.+ "
_INFRARED_FILTERS = 200  # below it, the number of a filter counts tens of nm


class FieldBands(NamedTuple):
    """One field: samples of one class whose names differ in nothing but the band."""

    rows: tuple[int, ...]  # the redder bands first
    bands: tuple[str, ...]  # as the names have them
    before: str  # what stands in the ids before the band
    after: str


def wavelength(token: str) -> float | None:
    """Return roughly the wavelength of a band by its name, in nm; None where it is no name of a band."""
    name = token.lower()
    if match := _FILTER.fullmatch(name):
        number = float(match[1])
        return 10 * number if number < _INFRARED_FILTERS else number
    if match := _WITH_UNIT.fullmatch(name):
        number, unit = float(match[1]) or 1.0, match[2]
        return number * _NANOMETRES[unit] if unit in _NANOMETRES else _LIGHT_NM / (number * _HERTZ[unit])
    return _WAVELENGTHS.get(name)


def find_fields(catalog: Catalog) -> list[FieldBands]:
    """Find samples of one class whose names differ in one word, which is a band in all of them.

    ``star_a.png`` beside ``star_b.png`` and ``star_g.png`` says that the letters are no bands.
    """
    groups: dict[tuple[int, str, str], dict[str, int]] = defaultdict(dict)
    for row, (name, label) in enumerate(zip(catalog.ids.tolist(), catalog.labels.tolist(), strict=True)):
        for before, word, after in _words(name):
            if wavelength(word) is not None:
                groups[label, before, after][word] = row
    groups = {key: rows for key, rows in groups.items() if len(rows) > 1}
    if groups:
        for name, label in zip(catalog.ids.tolist(), catalog.labels.tolist(), strict=True):
            for before, word, after in _words(name):
                if wavelength(word) is None:
                    groups.pop((label, before, after), None)
    found, taken = [], set[int]()
    for (_, before, after), rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        if taken.isdisjoint(rows.values()):
            taken.update(rows.values())
            bands = sorted(rows, key=lambda word: (-(wavelength(word) or 0.0), word))
            found.append(FieldBands(tuple(rows[band] for band in bands), tuple(bands), before, after))
    return sorted(found, key=lambda field: min(field.rows))


def _words(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield each word of a name with what stands before and after it."""
    for match in re.finditer(r"[A-Za-z0-9]+", name):
        yield name[: match.start()], match[0], name[match.end() :]


def field_pairs(fields: Sequence[FieldBands]) -> np.ndarray:
    """Link each sample of a field with the field's first: (m, 2) int64, the smaller row first, sorted."""
    pairs = sorted((min(field.rows), row) for field in fields for row in field.rows if row != min(field.rows))
    return np.array(pairs, np.int64).reshape(-1, 2)


def joining_patterns(fields: Sequence[FieldBands]) -> tuple[str, ...]:
    """Return the patterns for `dataset.fits.files` that join the bands of most fields; none where no pattern can."""
    if not fields:
        return ()
    bands = Counter(field.bands for field in fields).most_common(1)[0][0]
    alike = [field for field in fields if field.bands == bands]
    for pattern in (_id_before_band, _id_after_band):
        patterns, *others = {tuple(pattern(field, band) for band in bands) for field in alike}
        if not others and all(is_fits(PurePosixPath(name)) for name in patterns):
            return patterns
    return ()


def _id_before_band(field: FieldBands, band: str) -> str:
    """Return the pattern of ``ngc1300_g.fits``; empty text where the names are not so."""
    stem = field.before.rpartition("/")[2]
    named = stem.rstrip(_SEPARATORS)
    return f"{ID}{stem[len(named) :]}{band}{field.after}" if named and "/" not in field.after else ""


def _id_after_band(field: FieldBands, band: str) -> str:
    """Return the pattern of ``frame-g-0042.fits`` or ``g/ngc1300.fits``; empty text where the names are not so."""
    ending = FITS_NAME.search(field.after)
    rest = field.after[: ending.start()] if ending else ""
    named = rest.lstrip(_SEPARATORS + "/")
    if not ending or not named or "/" in named:
        return ""
    return f"{field.before.rpartition('/')[2]}{band}{rest[: -len(named)]}{ID}{ending[0]}"


def joining_hint(fields: Sequence[FieldBands]) -> str:
    """Say in one sentence, ready to paste, how the bands of these fields become one sample each."""
    patterns = joining_patterns(fields)
    if not patterns:
        return "Name FITS files so that only the band differs, and dataset.fits.files makes one sample of each field."
    quoted = ",".join(f"'{pattern}'" for pattern in patterns)
    channels = "" if len(patterns) == 3 else f" dataset.channels={len(patterns)}"
    return f'One sample of each field, with its bands as channels, is "dataset.fits.files=[{quoted}]"{channels}'
