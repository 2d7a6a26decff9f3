"""Whether a registry would take a version of a model, asked at the start of a training and not at its end."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from astroclf.tracking.address import sqlite_file
from astroclf.tracking.client import connect, retry, tracking_errors
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import mlflow
else:
    mlflow = lazy_import("mlflow")


def try_registry(uri: str, name: str) -> None:
    """Try whether a version of the registered model `name` could be made, on a server that may forbid it.

    A tag of the model is set and taken away; where there is no such model, another of a new name is made and deleted.
    An SQLite file has no rights beside those to write it.

    Raises
    ------
    TrackingError
        The server refused.
    """
    if sqlite_file(uri) is not None:
        return
    client, trial = connect(uri), f"astroclf-trial-{secrets.token_hex(6)}"
    with tracking_errors(uri, f"register a model as {name!r} in"):
        try:
            retry(lambda: client.get_registered_model(name))
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            retry(lambda: client.create_registered_model(trial))
            retry(lambda: client.delete_registered_model(trial))
        else:
            retry(lambda: client.set_registered_model_tag(name, trial, "may be removed"))
            retry(lambda: client.delete_registered_model_tag(name, trial))
