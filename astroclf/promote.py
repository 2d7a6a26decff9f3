"""``astroclf promote``: show which registered model is champion and why, and overrule that by hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.records import PromoteConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.registry import by_hand, history, versions
    from astroclf.tracking import database
    from astroclf.util import terminal
else:
    by_hand = lazy_import("astroclf.registry.by_hand")  # MLflow is imported only once the configuration is sound
    history = lazy_import("astroclf.registry.history")
    versions = lazy_import("astroclf.registry.versions")
    database = lazy_import("astroclf.tracking.database")
    terminal = lazy_import("astroclf.util.terminal")


def promote(config: PromoteConfig, job: Job) -> None:
    """Show a registry, a model or a version of it, or make another version champion."""
    uri = database.existing_database(config.tracking.uri)
    screen = terminal.console()
    if config.model is None:
        models = [versions.RegisteredModel(uri, name) for name in versions.registered_names(uri)]
        screen.print(history.overview(models))
        return
    model = versions.RegisteredModel(uri, config.model)
    if config.action == "champion":
        assert config.version is not None
        screen.print(by_hand.make_champion(model, config.version, config.reason or ""))
    elif config.action == "rollback":
        screen.print(by_hand.restore_champion(model, config.reason or ""))
    elif config.version is None:
        screen.print(history.history(model))
    else:
        screen.print(history.explanation(model, model.version(config.version)))


VERB = Verb(
    "promote",
    PromoteConfig,
    promote,
    positional=("model", "version"),
    only_prints=True,
    interrupted="Stopped by Ctrl-C. `astroclf promote model=NAME` says what was done.",
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
