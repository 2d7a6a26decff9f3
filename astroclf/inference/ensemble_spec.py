"""What ``model.json`` says of an ensemble that is one model: its members, and what is done to their mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from astroclf.errors import ConfigError
from astroclf.evaluation.answering import Answering
from astroclf.inference.spec import Description, answering_of, shown

MEMBER_FOLDER = r"member-\d+"  # in which a package of an ensemble has that of each member


@dataclass(frozen=True, kw_only=True)
class EnsembleSpec(Description):
    """The description of a packaged ensemble, in plain values.

    Attributes
    ----------
    members : list of str
        The folders of their packages, in order.
    members_sha256 : list of str
        Of the ``model.json`` of each, which has that of its weights.
    classes : list of str
        In label order.
    calibration, conformal : mapping
        As of `ModelSpec`, for the mean of what the members answer; under ``novelty`` the arguments of `NoveltyScale`.
    facts, metrics : mapping
        For whoever reads the file: which models the members were, what their test together said.

    Raises
    ------
    ConfigError
        A value that no ensemble has; the message names its key.
    """

    members: Sequence[str]
    members_sha256: Sequence[str]
    classes: Sequence[str]
    calibration: Mapping[str, Any] = field(default_factory=dict)
    conformal: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        folders = [str(name) for name in self.members if re.fullmatch(MEMBER_FOLDER, str(name))]
        if len(set(folders)) < max(2, len(self.members)) or len(self.members_sha256) != len(self.members):
            raise ConfigError(f"'members' must be two folders or more, with their digests, not {shown(self.members)}")
        _ = self.answering

    @property
    def answering(self) -> Answering:
        """What is done to the mean before anybody sees it."""
        return answering_of(self.calibration, self.conformal, len(self.classes), uncertainty_head=False)
