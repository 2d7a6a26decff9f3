"""One registered model: its versions, who is champion and challenger, and every change of champion there was.

A change of champion is kept as a tag of the registered model, one tag a change, named by its time: the record outlives
the versions that it speaks of, and MLflow's page shows it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from astroclf.errors import TrackingError
from astroclf.tracking.client import connect, hide_password, retry, tracking_errors
from astroclf.tracking.database import LOCK_SECONDS, absolute_uri, ensure_database
from astroclf.tracking.names import text
from astroclf.util.text import nearest

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
REASON_LENGTH = 1000
TAG_LENGTH, DESCRIPTION_LENGTH = 5000, 5000  # what MLflow's tables hold
_MOVE = "champion."
_SQLITE = "sqlite:///"
_PAGE = 200

How = Literal["gate", "by hand", "rollback"]


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    number: int
    created: datetime  # UTC
    run_id: str
    description: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Move:
    """One change of champion."""

    time: datetime  # UTC
    version: int
    previous: int | None  # who was champion before; None: nobody
    how: How
    who: str  # the user's name
    reason: str


def existing_store(uri: str) -> str:
    """The absolute name of a tracking store that is there already; looking at one must not make it.

    Raises
    ------
    TrackingError
        There is no such database, or it cannot be used.
    """
    uri = absolute_uri(uri)
    path = Path(uri.removeprefix(_SQLITE).partition("?")[0])
    if uri.startswith(_SQLITE) and not (path.is_file() and path.stat().st_size):
        raise TrackingError(
            f"There is no tracking database {path}. Go to the folder that you train in, or name the one that the runs "
            "were recorded in: --uri sqlite:////home/you/mlflow.db, http://host:5000 or postgresql://user@host/name."
        )
    return ensure_database(uri)


def registered_names(uri: str) -> list[str]:
    """The names of all registered models, sorted."""
    client, names, token = connect(uri), [], None
    with tracking_errors(uri, "list the models of"):
        while True:
            page = retry(lambda: client.search_registered_models(max_results=_PAGE, page_token=token))  # noqa: B023
            names += [model.name for model in page]
            token = page.token
            if not token:
                return sorted(names)


class RegisteredModel:
    """A registered model of the store at `uri` (absolute, and there: see `existing_store`).

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
        """All that were not deleted, the newest first."""
        quote = '"' if "'" in self.name else "'"
        found: list[ModelVersion] = []
        token = None
        with self._errors("list the versions of"):
            while True:
                page = retry(
                    lambda: self._client.search_model_versions(
                        f"name = {quote}{self.name}{quote}",
                        max_results=_PAGE,
                        page_token=token,  # noqa: B023
                    )
                )
                found += page
                token = page.token
                if not token:
                    break
            aliases = self._aliases()
        versions = [_plain(version, aliases) for version in found]
        return sorted(versions, key=lambda version: -version.number)

    def version(self, number: int) -> Version:
        """The version of this number.

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
        """The number of the version that has this alias; None where none has it."""
        with self._errors("read the aliases of"):
            return self._aliases().get(alias)

    def moves(self) -> list[Move]:
        """Every change of champion, the oldest first."""
        with self._errors("read the history of"):
            tags = retry(lambda: self._client.get_registered_model(self.name)).tags
        moves = [_move(tags[key]) for key in sorted(tags) if key.startswith(_MOVE)]
        return [move for move in moves if move is not None]

    def former_champions(self) -> list[int]:
        """Who was champion before the present one and can be again, the latest last.

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

    # What is written --------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process of this machine (for SQLite: of any that shares the file) changes aliases meanwhile."""
        lock = FileLock(self._lock_path(), timeout=LOCK_SECONDS)
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

    def set_champion(self, number: int, previous: int | None, how: How, who: str, reason: str, time: datetime) -> bool:
        """Move the alias from `previous` to this version, and remember it. Doing it again changes nothing.

        Returns
        -------
        bool
            Whether it was done; False where neither `previous` nor this version is champion: somebody was faster.
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
            record |= {"how": how, "who": who, "reason": text(reason, REASON_LENGTH)}
            key = f"{_MOVE}{time:%Y-%m-%dT%H:%M:%S.%f}.v{number}"
            value = json.dumps(record, ensure_ascii=False)
            retry(lambda: self._client.set_registered_model_tag(self.name, key, value))
        return True

    def set_challenger(self, number: int) -> None:
        """Give the alias to this version, unless a newer one has it."""
        with self._errors("name the challenger of"):
            aliases = self._aliases()
            if aliases.get(CHAMPION) != number and number > aliases.get(CHALLENGER, 0):
                retry(lambda: self._client.set_registered_model_alias(self.name, CHALLENGER, str(number)))

    def set_tags(self, number: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version, in this order."""
        with self._errors("tag a version of"):
            for key, value in tags.items():
                self._set_tag(number, key, text(value, TAG_LENGTH))

    def set_description(self, number: int, description: str) -> None:
        """Replace a version's description (markdown)."""
        shortened = text(description, DESCRIPTION_LENGTH)
        with self._errors("describe a version of"):
            retry(lambda: self._client.update_model_version(self.name, str(number), shortened))

    def fetch(self, version: Version, artifact: str, folder: str) -> Path:
        """A file of the run that trained this version, in `folder`.

        Raises
        ------
        TrackingError
            The run or its file is gone.
        """
        with self._errors(f"fetch {artifact} of version {version.number} of"):
            return Path(retry(lambda: self._client.download_artifacts(version.run_id, artifact, folder)))

    # ------------------------------------------------------------------------------------------------------------------

    def _set_tag(self, number: int, key: str, value: str) -> None:
        retry(lambda: self._client.set_model_version_tag(self.name, str(number), key, value))

    def _aliases(self) -> dict[str, int]:
        found = retry(lambda: self._client.get_registered_model(self.name)).aliases
        return {alias: int(number) for alias, number in found.items()}

    def _errors(self, doing: str):  # type: ignore[no-untyped-def]
        return tracking_errors(self.uri, f"{doing} the model {self.name!r} in")

    def _lock_path(self) -> Path:
        if self.uri.startswith(_SQLITE):
            path = Path(self.uri.removeprefix(_SQLITE).partition("?")[0])
            return path.with_name(path.name + ".promotion.lock")
        store = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"astroclf-{store}.promotion.lock"


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
    """The move that a tag tells of; None for a tag that somebody else named so, or changed."""
    try:
        record = json.loads(written)
        return Move(**(record | {"time": datetime.fromisoformat(record["time"])}))
    except (ValueError, TypeError, KeyError):
        return None
