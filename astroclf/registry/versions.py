"""One registered model: its versions, who is champion and challenger, and every change of champion there was.

A change of champion is kept as a tag of the registered model, one tag a change, named by its time: the record outlives
the versions that it speaks of, and MLflow's page shows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from astroclf.errors import DataError, TrackingError
from astroclf.tracking.address import hide_password, is_there, lock_file
from astroclf.tracking.client import connect, first_line, is_of_mlflow, is_passing, retry, tracking_errors
from astroclf.tracking.database import LOCK_SECONDS
from astroclf.tracking.names import limited_text
from astroclf.util.lazy import lazy_import
from astroclf.util.text import closest, nearest

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient, artifacts
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.utils import uri as uri_utils
else:
    mlflow = lazy_import("mlflow")
    artifacts = lazy_import("mlflow.artifacts")
    uri_utils = lazy_import("mlflow.utils.uri")

CHAMPION, CHALLENGER = "champion", "challenger"
REASON_LENGTH = 1000
MODEL_TAG_LENGTH, DESCRIPTION_LENGTH = 5000, 5000  # what MLflow's tables hold
_MOVE_TAG = "champion."  # what the tags of changes of champion begin with
_PAGE_SIZE = 200  # versions or models that one request asks for

MoveKind = Literal["gate", "by hand", "rollback"]


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes
    ----------
    created : datetime
        In UTC.
    run_id : str
        The MLflow run that trained it; empty for one that was registered by other means.
    """

    number: int
    created: datetime
    run_id: str
    description: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Move:
    """One change of champion.

    Attributes
    ----------
    time : datetime
        In UTC.
    previous : int or None
        The champion before; None where there was none.
    who : str
        The user's name.
    """

    time: datetime
    version: int
    previous: int | None
    how: MoveKind
    who: str
    reason: str


def registered_names(uri: str) -> list[str]:
    """Return the names of all registered models, sorted; none where there is no database yet."""
    if not is_there(uri):
        return []
    client = connect(uri)
    with tracking_errors(uri, "list the models of"):
        return sorted(model.name for model in _all_pages(client.search_registered_models))


def find_version(client: MlflowClient, model: str, uri: str) -> ModelVersion:
    """Return the registered version behind ``models:/name@alias`` or ``models:/name/3``.

    Raises
    ------
    TrackingError
        There is none; the message names what exists.
    """
    reference = model.removeprefix("models:/")
    name, _, alias = reference.partition("@")
    number = ""
    if not alias:
        name, _, number = reference.rpartition("/")
    if not name or not (alias or number.isdigit()):
        raise TrackingError(
            f"{model} names no version of a model: write models:/name@alias or models:/name/3. "
            f"{_nearest_version(client, model)}{known_models(client)}"
        )
    try:
        if alias:
            return retry(lambda: client.get_model_version_by_alias(name, alias))
        return retry(lambda: client.get_model_version(name, number))
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise TrackingError(
            f"There is no {model} in the registry at {hide_password(uri)}. "
            f"{_nearest_version(client, model)}{known_models(client)}"
        ) from error


def _nearest_version(client: MlflowClient, wrong: str) -> str:
    """Return a sentence that names the version nearest to a wrong name; nothing where none is near."""
    names = []
    for model in _all_pages(client.search_registered_models):
        names += [f"models:/{model.name}@{alias}" for alias in model.aliases]
        names += [f"models:/{model.name}/{found.version}" for found in _versions_of(client, model.name)]
    close = closest(wrong, names)
    return f"Did you mean {close[0]}? " if close else ""


def known_models(client: MlflowClient) -> str:
    """Return a sentence that lists the registered models."""
    models = client.search_registered_models(max_results=20)
    if not models:
        return "No model is registered there yet: every finished training registers one."
    described = []
    for model in models:
        newest = max((int(found.version) for found in _versions_of(client, model.name)), default=0)
        aliases = "".join(f", @{alias}" for alias in model.aliases)
        described.append(f"models:/{model.name}/{newest}{aliases}")
    return f"Registered (newest version): {'; '.join(described)}."


class RegisteredModel:
    """A registered model of the database at `uri`, an absolute name of one that is there (see `existing_database`).

    Raises
    ------
    TrackingError
        It has no model of this name; the message names the nearest.
    """

    def __init__(self, uri: str, name: str) -> None:
        self.uri, self.name = uri, name
        self._client = connect(uri)
        if name not in (names := registered_names(uri)):
            known = (
                nearest(name, names) if names else "None is registered there yet: a finished training registers one."
            )
            raise TrackingError(f"There is no registered model {name!r} in {hide_password(uri)}. {known}")

    def versions(self) -> list[Version]:
        """Return all versions that were not deleted, the newest first."""
        with self._errors("list the versions of"):
            found, aliases = _versions_of(self._client, self.name), self._aliases()
        versions = [_plain(version, aliases) for version in found]
        return sorted(versions, key=lambda version: -version.number)

    def version(self, number: int) -> Version:
        """Return the version of this number.

        Raises
        ------
        TrackingError
            There is none.
        """
        versions = self.versions()
        for version in versions:
            if version.number == number:
                return version
        numbers = ", ".join(str(version.number) for version in versions[:20]) or "none"
        raise TrackingError(f"{self.name} has no version {number}. Versions: {numbers}.")

    def holder(self, alias: str) -> int | None:
        """Return the number of the version that has an alias; None where none has it."""
        with self._errors("read the aliases of"):
            return self._aliases().get(alias)

    def moves(self) -> list[Move]:
        """Return every change of champion, the oldest first."""
        with self._errors("read the history of"):
            tags = retry(lambda: self._client.get_registered_model(self.name)).tags
        moves = [_move(tags[key]) for key in sorted(tags) if key.startswith(_MOVE_TAG)]
        return [move for move in moves if move is not None]

    def former_champions(self) -> list[int]:
        """Return the versions that were champion before the present one and can be again, the latest last.

        A rollback takes the rolled-back version out of the line, so that rolling back twice goes back two champions.
        """
        line: list[int] = []
        for move in self.moves():
            while move.how == "rollback" and line and line[-1] != move.version:
                line.pop()
            if not line or line[-1] != move.version:
                line.append(move.version)
        there = {version.number for version in self.versions()}
        champion = self.holder(CHAMPION)
        if line and line[-1] == champion:
            line.pop()
        return [number for number in line if number in there and number != champion]

    # ---- what is written -------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other processes from changing aliases meanwhile.

        That is: those of this machine; for SQLite, those that share the file.
        """
        lock = FileLock(lock_file(self.uri, "promotion"), timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise TrackingError(
                f"Another process has been deciding about a champion in {hide_password(self.uri)} for more than "
                f"{LOCK_SECONDS:.0f} s. If none is running, remove {lock.lock_file} and start again."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def set_champion(
        self, number: int, previous: int | None, how: MoveKind, who: str, reason: str, time: datetime
    ) -> bool:
        """Move the alias from `previous` to this version, and remember it. Doing it again changes nothing.

        Returns
        -------
        bool
            False where neither `previous` nor this version is champion: somebody was faster.
        """
        with self._errors("move the champion of"):
            aliases = self._aliases()
            if aliases.get(CHAMPION) not in (previous, number):
                return False
            retry(lambda: self._client.set_registered_model_alias(self.name, CHAMPION, str(number)))
            if aliases.get(CHALLENGER) == number:
                retry(lambda: self._client.delete_registered_model_alias(self.name, CHALLENGER))
            moves = self.moves()
            if aliases.get(CHAMPION) == number and moves and moves[-1].version == number:
                return True
            record = {"version": number, "previous": previous, "time": time.isoformat(timespec="microseconds")}
            record |= {"how": how, "who": who, "reason": limited_text(reason, REASON_LENGTH)}
            key = f"{_MOVE_TAG}{time:%Y-%m-%dT%H:%M:%S.%f}.v{number}"
            value = json.dumps(record, ensure_ascii=False)
            retry(lambda: self._client.set_registered_model_tag(self.name, key, value))
        return True

    def set_challenger(self, number: int) -> None:
        """Make a version challenger, unless a newer one is, or it is champion."""
        with self._errors("name the challenger of"):
            aliases = self._aliases()
            if aliases.get(CHAMPION) != number and number > aliases.get(CHALLENGER, 0):
                retry(lambda: self._client.set_registered_model_alias(self.name, CHALLENGER, str(number)))

    def set_tags(self, number: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version, in the given order."""
        with self._errors("tag a version of"):
            for key, value in tags.items():
                shortened = limited_text(value, MODEL_TAG_LENGTH)
                retry(partial(self._client.set_model_version_tag, self.name, str(number), key, shortened))

    def set_description(self, number: int, description: str) -> None:
        """Replace a version's description (markdown)."""
        shortened = limited_text(description, DESCRIPTION_LENGTH)
        with self._errors("describe a version of"):
            retry(lambda: self._client.update_model_version(self.name, str(number), shortened))

    def fetch(self, version: Version, artifact: str, folder: str) -> Path:
        """Download a file of the run that trained a version into `folder`, and return its path.

        Raises
        ------
        DataError
            The run or its file is gone.
        TrackingError
            The database or the store of files does not answer now.
        """
        with self._errors(f"fetch {artifact} of version {version.number} of"):
            try:
                # Not by the client: where there are models too, it hides why a file of the run does not come.
                place = retry(lambda: self._client.get_run(version.run_id)).info.artifact_uri
                source = uri_utils.append_to_uri_path(place, artifact)
                return Path(retry(lambda: artifacts.download_artifacts(source, dst_path=folder, tracking_uri=self.uri)))
            except Exception as error:
                if is_passing(error) or not is_of_mlflow(error):
                    raise
                raise DataError(
                    f"its {artifact} cannot be had any more from MLflow run {version.run_id or '(none)'}: "
                    f"{first_line(error)}"
                ) from error

    def data_path(self, version: Version) -> str | None:
        """Return where the data set of a version was; None where its run does not tell, or is gone."""
        if not version.run_id:
            return None
        with self._errors(f"read the run of version {version.number} of"):
            try:
                return retry(lambda: self._client.get_run(version.run_id)).data.params.get("dataset.path")
            except mlflow.MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def _aliases(self) -> dict[str, int]:
        found = retry(lambda: self._client.get_registered_model(self.name)).aliases
        return {alias: int(number) for alias, number in found.items()}

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return tracking_errors(self.uri, f"{doing} the model {self.name!r} in")


def _versions_of(client: MlflowClient, name: str) -> list[ModelVersion]:
    quote = '"' if "'" in name else "'"
    return _all_pages(client.search_model_versions, f"name = {quote}{name}{quote}")


def _all_pages(search: Callable[..., Any], *conditions: str) -> list[Any]:
    """Return everything that a search of MLflow's finds, page after page."""
    found: list[Any] = []
    token = None
    while True:
        page = retry(partial(search, *conditions, max_results=_PAGE_SIZE, page_token=token))
        found += page
        token = page.token
        if not token:
            return found


def _plain(version: ModelVersion, aliases: Mapping[str, int]) -> Version:
    number = int(version.version)
    return Version(
        number=number,
        created=datetime.fromtimestamp((version.creation_timestamp or 0) / 1000, UTC),
        run_id=version.run_id or "",
        description=version.description or "",
        tags=dict(version.tags),
        aliases=tuple(sorted(alias for alias, holder in aliases.items() if holder == number)),
    )


def _move(written: str) -> Move | None:
    """Return the move that a tag tells of; None for a tag that somebody else named so, or changed."""
    try:
        record = json.loads(written)
        return Move(**(record | {"time": datetime.fromisoformat(record["time"])}))
    except (ValueError, TypeError, KeyError):
        return None
