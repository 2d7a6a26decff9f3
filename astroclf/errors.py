"""The errors a user can cause: each says in one paragraph what happened, where, and what to do about it."""


class AstroclfError(Exception):
    """Base of all errors that a user can cause; shown as one paragraph, without a traceback."""


class ConfigError(AstroclfError):
    """A key, value or combination in the configuration that cannot work."""


class DataError(AstroclfError):
    """A data set that is missing, incomplete or contradicts itself."""


class ImageError(DataError):
    """One file that does not hold a usable image.

    Parameters
    ----------
    kind : str
        What is wrong with it, in a word or two by which such files are counted: ``missing``, ``empty``, ``truncated``,
        ``damaged``, ``constant``, ``no image``, ``too large``, ``bad pixels``, ``wrong bands``, ``no decoder``.
    """

    def __init__(self, message: str, kind: str = "damaged") -> None:
        super().__init__(message)
        self.kind = kind


class DownloadError(AstroclfError):
    """A file that could not be fetched, or is not what it should be."""


class WeightsError(AstroclfError):
    """Pretrained weights that are missing or do not fit the network."""


class CheckpointError(AstroclfError):
    """A run folder or checkpoint that cannot be resumed from."""


class TrainingError(AstroclfError):
    """A training that cannot go on (loss stays non-finite, device out of memory, disk full)."""


class DeviceError(AstroclfError):
    """A GPU without room for what was asked."""


class SweepError(AstroclfError):
    """A sweep that cannot start, go on or be joined."""


class Pruned(AstroclfError):
    """A trial that its sweep gave up, since others were better at the same point; its state is saved."""


class TakenOver(AstroclfError):
    """A trial that another process went on with, while this one gave no sign of life: nothing of it may be touched."""


class TrackingError(AstroclfError):
    """The tracking database or server, or the model registry, refused."""


class DiskError(AstroclfError):
    """A disk that is full or read-only: what was written before is intact, and the same command goes on from there."""


class Interrupted(AstroclfError):
    """A run that was asked to stop (Ctrl-C, SIGTERM) and saved its state first.

    Parameters
    ----------
    exit_code : int
        What the process ends with: 128 + the signal's number, as shells have it.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
