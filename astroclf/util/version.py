"""The version of astroclf, which pyproject.toml and ``astroclf.__version__`` read."""

__version__ = "0.1.0"
