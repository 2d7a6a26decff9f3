"""What a run needs of its record only at its end, tried before anything takes long; nothing of it is left."""

from __future__ import annotations

from astroclf.registry.permission import try_registry
from astroclf.settings.config import Config, PretrainConfig
from astroclf.settings.tracking import TrackingSettings
from astroclf.tracking.address import artifact_root, hide_password, said_by_environment, warn_of_password
from astroclf.tracking.database import check_database
from astroclf.tracking.experiments import try_files
from astroclf.util.logs import log


def check_record(tracking: TrackingSettings) -> None:
    """Check that the tracking database can be had, without making it, and say which it is if nobody typed it.

    Raises
    ------
    TrackingError
        It cannot, or nobody has said where files go.
    """
    uri = tracking.uri
    if not uri:
        return
    if said_by_environment(uri):
        log.info("Recorded in MLflow at %s, as MLFLOW_TRACKING_URI says.", hide_password(uri))
    warn_of_password("tracking.uri", uri)
    artifact_root(uri, tracking.artifact_root or None)
    check_database(uri)


def try_record(config: Config | PretrainConfig) -> None:
    """Try what is needed only at the end of a run: that files can be kept and a model registered. Nothing is left.

    Raises
    ------
    TrackingError
        What would have been lost at the end.
    """
    tracking = config.tracking
    if tracking.uri:
        try_files(tracking.uri, str(tracking.experiment), tracking.artifact_root or None)
        if isinstance(config, Config) and config.registers:
            try_registry(tracking.uri, config.model_name)
