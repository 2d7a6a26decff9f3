"""``python -m astroclf.promote``: which model is champion, why, and how to overrule that by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from astroclf.errors import AstroclfError, ConfigError, Interrupted, TrackingError, WeightsError

if TYPE_CHECKING:
    from rich.console import Console

    from astroclf.registry.versions import RegisteredModel

_EPILOG = """examples:
  python -m astroclf.promote                        every registered model, and its champion
  python -m astroclf.promote history galaxy10       its versions, and every change of champion
  python -m astroclf.promote explain galaxy10 7     why version 7 is champion, or is not
  python -m astroclf.promote champion galaxy10 7 --reason "better on faint galaxies, which the test set lacks"
  python -m astroclf.promote rollback galaxy10 --reason "calls every satellite trail a merger"

Whoever loads models:/galaxy10@champion gets the new champion from the next load on.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, show or move, print what was done; returns the exit status."""
    options = _parser().parse_args(arguments)
    from astroclf.cli.application import report

    try:
        _run(options)
    except AstroclfError as error:
        return report(error)
    except KeyboardInterrupt:
        return report(
            Interrupted("Stopped by Ctrl-C. `python -m astroclf.promote history NAME` says what was done.", 130)
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m astroclf.promote",
        description=__doc__.split(": ", 1)[1] if __doc__ else None,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--uri",
        default=argparse.SUPPRESS,
        help="where runs are recorded, as tracking.uri of training (default sqlite:///mlflow.db)",
    )
    parser.add_argument("--uri", default="sqlite:///mlflow.db", help=argparse.SUPPRESS)
    actions = parser.add_subparsers(dest="action", metavar="{history,explain,champion,rollback}")
    history = actions.add_parser("history", parents=[store], help="versions with their tests, and changes of champion")
    explain = actions.add_parser(
        "explain", parents=[store], help="the gate's decision about a version, with its numbers"
    )
    champion = actions.add_parser("champion", parents=[store], help="make a version champion by hand")
    rollback = actions.add_parser("rollback", parents=[store], help="make the champion before this one champion again")
    for action in (history, explain, champion, rollback):
        action.add_argument("name", metavar="NAME", help="registered model, such as galaxy10")
    for action in (explain, champion):
        action.add_argument("version", type=int, metavar="VERSION", help="such as 7")
    for action in (champion, rollback):
        action.add_argument("--reason", required=True, help="why; kept with the version and in the model's history")
    return parser


def _run(options: argparse.Namespace) -> None:
    # Imported late, so that --help and a mistyped option answer at once.
    from rich.console import Console

    from astroclf.registry import history
    from astroclf.registry.versions import RegisteredModel, registered_names
    from astroclf.tracking.database import existing_database

    if not getattr(options, "reason", "given").strip():
        raise ConfigError("--reason is empty: say in a few words why, for whoever asks next year.")
    uri = existing_database(options.uri)
    console = Console(markup=False, highlight=False, soft_wrap=False)
    if options.action is None:
        console.print(history.overview([RegisteredModel(uri, name) for name in registered_names(uri)]))
        return
    model = RegisteredModel(uri, options.name)
    if options.action == "history":
        console.print(history.history(model))
    elif options.action == "explain":
        console.print(history.explanation(model, model.version(options.version)))
    elif options.action == "champion":
        _promote(model, options.version, options.reason, console)
    else:
        _roll_back(model, options.reason, console)


def _promote(model: RegisteredModel, number: int, reason: str, console: Console) -> None:
    from astroclf.registry.decision import promote, recorded

    decision = recorded(model.version(number))
    _check_loads(model, number)
    previous = promote(model, number, reason)
    before = "there was none before" if previous is None else f"before: version {previous}"
    console.print(f"models:/{model.name}/{number} is now champion; {before}.")
    said = f"The gate had said: {decision.sentence}." if decision else "The gate has no decision about it."
    console.print(f"By hand: it loads, but it was not compared with another version, nor tested again. {said}")


def _roll_back(model: RegisteredModel, reason: str, console: Console) -> None:
    from astroclf.registry.decision import champion_before, roll_back

    _check_loads(model, champion_before(model))
    previous, number = roll_back(model, reason)
    before = "there was none" if previous is None else f"not version {previous}"
    console.print(f"models:/{model.name}/{number} is champion again, {before}.")


def _check_loads(model: RegisteredModel, number: int) -> None:
    from astroclf.registry.load import load

    try:
        load(f"models:/{model.name}/{number}", model.uri, device="cpu")
    except WeightsError as error:
        raise TrackingError(
            f"models:/{model.name}/{number} was not made champion: it does not load. {error}"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
