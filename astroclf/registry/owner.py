"""Whose a registered model is: two data sets never share one because their folders have the same name."""

from __future__ import annotations

from astroclf.errors import ConfigError
from astroclf.registry.gate import FINGERPRINT_TAG
from astroclf.registry.versions import RegisteredModel, registered_names
from astroclf.tracking.address import absolute_uri


def refuse_other_data_set(uri: str, name: str, path: str, test_fingerprint: str) -> None:
    """Refuse to train for a registered model whose newest version is of another data set.

    A folder that has moved is the same data set as long as its test images are, and one that has grown as long as it
    has not moved.

    Parameters
    ----------
    uri
        The tracking database.
    name
        The registered model, called after the data set's folder.
    path, test_fingerprint
        The data set's place, and the fingerprint of its test images.

    Raises
    ------
    ConfigError
        Both differ from those of the newest version; the message says how to go on.
    """
    uri = absolute_uri(uri)
    if name not in registered_names(uri):
        return
    model = RegisteredModel(uri, name)
    newest = next(iter(model.versions()), None)
    if newest is None or newest.tags.get(FINGERPRINT_TAG) == test_fingerprint:
        return
    theirs = model.data_path(newest)
    if theirs not in (None, path):
        raise ConfigError(
            f"The registered model {name} is of another data set: its version {newest.number} was trained on {theirs}, "
            f"and {path} has other test images. Give this data set a name of its own, dataset.name=NAME; if it is the "
            f"same one, moved and changed, say tracking.model_name={name}."
        )
