"""Samples whose bands are FITS files of their own, told by name patterns such as ``{id}_g.fits``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from astroclf.settings.fits import ID


class BandFiles:
    """The name patterns of one sample's files, in channel order.

    A sample is named by its folder and what stands for ``{id}``: with ``{id}_i.fits`` and ``{id}_g.fits``,
    ``spiral/ngc1300`` is the files ``spiral/ngc1300_i.fits`` and ``spiral/ngc1300_g.fits``. A pattern may begin with
    folders: with ``i/{id}.fits``, the file is ``spiral/i/ngc1300.fits``. All paths are relative POSIX paths.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        # The longest first: of `{id}.fits` and `{id}_r.fits`, the second says more about `m51_r.fits`.
        self._expressions = [_expression(pattern) for pattern in sorted(patterns, key=len, reverse=True)]

    def files(self, sample: str) -> list[str]:
        """Name the files of a sample, in channel order."""
        folder, slash, name = sample.rpartition("/")
        return [f"{folder}{slash}{pattern.replace(ID, name)}" for pattern in self.patterns]

    def sample_of(self, file: str) -> str | None:
        """Return the sample that a file's name says it is of; None: it fits no pattern."""
        return next(self._samples_of(file), None)

    def _samples_of(self, file: str) -> Iterator[str]:
        matches = (expression.fullmatch(file) for expression in self._expressions)
        return (match["folder"] + match["id"] for match in matches if match)

    def group(self, files: Iterable[str]) -> tuple[list[str], list[str]]:
        """Sort files into samples.

        Returns
        -------
        samples
            Those that are complete, and those that lack some of their files.
        unused
            Files that fit no pattern.
        """
        there = set(files)
        named = {sample for file in there for sample in self._samples_of(file)}
        samples = {sample for sample in named if there.issuperset(self.files(sample))}
        # A name can fit two patterns; what a complete sample uses is no sample of its own.
        rest = there.difference(*map(self.files, samples))
        torn = {file: self.sample_of(file) for file in rest}
        samples |= {sample for sample in torn.values() if sample}
        return sorted(samples), sorted(file for file, sample in torn.items() if not sample)


def _expression(pattern: str) -> re.Pattern[str]:
    before, after = map(re.escape, pattern.split(ID))
    return re.compile(f"(?P<folder>(?:.*/)?){before}(?P<id>[^/]+){after}")
