from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from astroclf.tracking.database import ensure_database


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database made as users make it; MLflow needs two seconds for that, so tests take copies."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    ensure_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_uri(made_database: Path, tmp_path: Path) -> str:
    shutil.copy(made_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"
