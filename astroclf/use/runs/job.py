"""What ``astroclf runs`` does: list the runs, lay two beside each other, or write the report of one again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from astroclf.settings.verbs.records import RunsConfig
from astroclf.use.runs.difference import compare_runs, difference_rows, difference_values, show_difference
from astroclf.use.runs.listing import as_csv, as_json, chosen_runs, listing_text, runs_table, title
from astroclf.use.runs.records import all_runs, find_run
from astroclf.use.runs.report import report_again
from astroclf.util.terminal import console


def list_or_compare(config: RunsConfig) -> None:
    """Print the table of runs or what sets two of them apart, or write the report of one again.

    Raises
    ------
    AstroclfError
        A name, data set or metric that no run has, or a database that does not answer.
    """
    runs = all_runs(config)
    if config.action == "compare":
        uri = config.tracking.uri
        one, other = (find_run(str(name), runs, uri) for name in (config.one, config.other))
        found = compare_runs(one, other, uri)
        if config.format == "table":
            show_difference(found, console())
        else:
            text = as_json(difference_values(found)) if config.format == "json" else as_csv(difference_rows(found))
            print(text, end="")
        return
    if config.action == "report":
        run, named = find_run(str(config.one), runs, config.tracking.uri), Path(str(config.one)).expanduser()
        if (named / "config.yaml").is_file():  # the copy of a run's folder gets the page, and not the folder it is of
            run = replace(run, folder=str(named.absolute()))
        path, missing = report_again(run, config.tracking.uri)
        for each in missing:
            print(f"The page is without {each}")
        print(f"Report    {path}")
        return
    shown = chosen_runs(runs, config)
    if config.format != "table":
        print(listing_text(shown, config.format), end="")
        return
    if not runs:
        print(f"No run is recorded in {config.tracking.uri}, and none lies in {config.folder}.")
        return
    total = len([run for run in runs if config.trials or not run.parent])
    console().print(runs_table(shown, title(len(shown), total)))
